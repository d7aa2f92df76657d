"""The menu bar, made of the action table. GUI thread only."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QMenuBar

from app.i18n import tr
from app.ui.actions import ACTIONS, MENU_TITLE, ActionRegistry, Menu


class Menus:
    """Fills a menu bar and keeps its texts in the present language."""

    def __init__(self, bar: QMenuBar, actions: ActionRegistry) -> None:
        self._menus: dict[Menu, QMenu] = {menu: bar.addMenu("") for menu in Menu}
        self._submenus: dict[str, QMenu] = {}
        for spec in ACTIONS:
            parent = self._menus[spec.menu]
            if spec.group and spec.group not in self._submenus:
                self._submenus[spec.group] = parent.addMenu("")
            (self._submenus[spec.group] if spec.group else parent).addAction(actions[spec.id])
        self._panels = self._menus[Menu.VIEW].addMenu("")
        self.retranslate()

    def set_panels(self, toggles: Iterable[QAction]) -> None:
        """Fill the submenu that shows and hides panels."""
        for old in self._panels.actions():  # `clear` would delete the docks' own actions
            self._panels.removeAction(old)
        for toggle in toggles:
            self._panels.addAction(toggle)

    def retranslate(self) -> None:
        """Write every title in the present language."""
        for menu, title in MENU_TITLE.items():
            self._menus[menu].setTitle(tr(title))
        for group, submenu in self._submenus.items():
            submenu.setTitle(tr(group))
        self._panels.setTitle(tr("Panels"))
