"""Ctrl+K: every action, market and strategy by typing a few letters. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QLabel, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from app.flows.fuzzy import score
from app.i18n import tr
from app.models.hub import WindowModels
from app.theme import GRID, SPACE_S, set_look
from app.ui.actions import ACTIONS, ActionId, ActionRegistry, ActionSpec

WIDTH, HEIGHT = 140 * GRID, 90 * GRID
MAX_ROWS = 50


@dataclass(frozen=True, slots=True)
class PaletteEntry:
    """One thing to choose.

    Attributes:
        key: what is given back when chosen.
        title: shown and searched.
        hint: shown behind it: kind or shortcut.
    """

    key: str
    title: str
    hint: str = ""


def palette_entries(actions: ActionRegistry, models: WindowModels) -> list[PaletteEntry]:
    """Return every action, market and strategy; keys are "action:…", "market:…" and "strategy:…".

    Before anything is typed they stand in this order, the first one preselected: what Enter may do by mistake first,
    what ends or destroys something last.
    """
    offered = [spec for spec in ACTIONS if spec.id is not ActionId.PALETTE]  # it is open
    markets = [PaletteEntry(f"market:{i.symbol}", i.symbol, tr("Symbol")) for i in models.instruments]
    strategies = [
        PaletteEntry(f"strategy:{s.strategy_id}", s.title, tr("Strategy")) for s in models.strategies.records()
    ]
    return [
        *(_action_entry(spec, actions) for spec in offered if not spec.grave),
        *markets,
        *strategies,
        *(_action_entry(spec, actions) for spec in offered if spec.grave),
    ]


def _action_entry(spec: ActionSpec, actions: ActionRegistry) -> PaletteEntry:
    title = f"{tr(spec.group)}: {tr(spec.text)}" if spec.group else tr(spec.text)
    return PaletteEntry(f"action:{spec.id.value}", title, actions[spec.id].shortcut().toString())


class CommandPalette(QFrame):
    """An overlay over the window; Esc or a click elsewhere closes it and the focus returns to where it was.

    Signals:
        chosen: key of the entry.
    """

    chosen = Signal(str)

    def __init__(self, entries: Callable[[], list[PaletteEntry]], window: QWidget) -> None:
        super().__init__(window)
        self._entries = entries
        self._before: QWidget | None = None
        self.setObjectName("command_palette")
        self.setProperty("card", "true")
        self.setFixedSize(WIDTH, HEIGHT)
        self.search = QLineEdit(self)
        self.search.setObjectName("palette_search")
        self.list = QListWidget(self)
        self.list.setObjectName("palette_list")
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_S, SPACE_S, SPACE_S, SPACE_S)
        layout.setSpacing(SPACE_S)
        self.nothing = QLabel(self)
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        set_look(self.nothing, "role", "muted")
        layout.addWidget(self.search)
        layout.addWidget(self.list)
        layout.addWidget(self.nothing, 1)
        self.search.installEventFilter(self)
        self.search.textChanged.connect(self._fill)
        self.list.itemClicked.connect(self._on_item)
        self.hide()

    @Slot()
    def open(self) -> None:
        """Show the palette with everything in it."""
        window = self.parentWidget()
        if window is None:
            return
        self._before = window.focusWidget()
        self.search.setPlaceholderText(tr("Type a command, a market or a strategy"))
        self.nothing.setText(tr("Nothing found."))
        self.search.setAccessibleName(tr("Command palette"))
        self.search.clear()
        self._fill("")
        self.move((window.width() - self.width()) // 2, window.height() // 8)
        self.show()
        self.raise_()
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def dismiss(self) -> None:
        """Hide it and give the focus back."""
        if not self.isVisible():
            return
        self.hide()
        if self._before is not None:
            self._before.setFocus(Qt.FocusReason.OtherFocusReason)
        self._before = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusOut and self.isVisible() and not self.underMouse():
            self.hide()
        if event.type() != QEvent.Type.KeyPress or not isinstance(event, QKeyEvent):
            return False
        rows = self.list.count()
        match event.key():
            case Qt.Key.Key_Escape:
                self.dismiss()
            case Qt.Key.Key_Down | Qt.Key.Key_Up if rows:
                step = 1 if event.key() == Qt.Key.Key_Down else -1
                self.list.setCurrentRow((self.list.currentRow() + step) % rows)
            case Qt.Key.Key_Return | Qt.Key.Key_Enter:
                item = self.list.currentItem()
                if item is not None:
                    self._on_item(item)
            case _:
                return False
        return True

    @Slot(str)
    def _fill(self, query: str) -> None:
        rated = [(score(query, entry.title), number, entry) for number, entry in enumerate(self._entries())]
        found = sorted((-points, number, entry) for points, number, entry in rated if points is not None)
        self.list.clear()
        for _points, _number, entry in found[:MAX_ROWS]:
            item = QListWidgetItem(f"{entry.title}    {entry.hint}".rstrip(), self.list)
            item.setData(Qt.ItemDataRole.UserRole, entry.key)
        self.list.setVisible(bool(found))
        self.nothing.setVisible(not found)
        if found:
            self.list.setCurrentRow(0)

    @Slot(QListWidgetItem)
    def _on_item(self, item: QListWidgetItem) -> None:
        key = str(item.data(Qt.ItemDataRole.UserRole))
        self.dismiss()
        self.chosen.emit(key)
