"""What every panel of the window shares: a title, live theme and language. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from app.i18n import tr
from app.theme import SPACE_S, SPACE_XS, ThemeManager, set_look


class Panel(QWidget):
    """Base of the panels that stand in docks.

    Class attributes:
        TITLE: English source of the dock's title.
        NAME: constant object name, the identity in saved layouts.
    """

    TITLE = ""
    NAME = ""

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setObjectName(self.NAME)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        theme.changed.connect(self.refresh_look)

    def title(self) -> str:
        """Return the dock's title in the present language."""
        return tr(self.TITLE)

    def retranslate(self) -> None:
        """Write every text in the present language; subclasses extend it."""

    @Slot()
    def refresh_look(self) -> None:
        """Take over the colours of the present theme; subclasses extend it."""


def column(parent: QWidget, *widgets: QWidget, margin: int = 0, spacing: int = 0) -> QVBoxLayout:
    """Give `parent` a vertical layout with these widgets; the last one stretches."""
    layout = QVBoxLayout(parent)
    layout.setContentsMargins(margin, margin, margin, margin)
    layout.setSpacing(spacing)
    for widget in widgets:
        layout.addWidget(widget)
    layout.setStretch(layout.count() - 1, 1)
    return layout


class ToolRow(QWidget):
    """The row of small buttons and filters above a table.

    A button that is disabled while it has the focus hands it to the table: Qt would hand it to the next button, and a
    second press of the space bar would do what nobody asked for.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._served: QWidget = self
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(SPACE_S, SPACE_XS, SPACE_S, SPACE_XS)
        self._layout.setSpacing(SPACE_XS)

    def serve(self, table: QWidget) -> None:
        """Name the table whose tools these are."""
        self._served = table

    def hand_over_focus(self) -> None:
        """Give the focus to the table."""
        self._served.setFocus(Qt.FocusReason.OtherFocusReason)

    def add(self, widget: QWidget, stretch: int = 0) -> None:
        """Append a widget."""
        self._layout.addWidget(widget, stretch)

    def add_stretch(self) -> None:
        """Push what follows to the right."""
        self._layout.addStretch(1)

    def button(self, name: str, *, variant: str = "quiet", checkable: bool = False) -> QPushButton:
        """Append a button with a constant object name and return it."""
        button = _ToolButton(self)
        button.setObjectName(name)
        button.setCheckable(checkable)
        set_look(button, "variant", variant)
        self._layout.addWidget(button)
        return button


class _ToolButton(QPushButton):
    def __init__(self, row: ToolRow) -> None:
        super().__init__(row)
        self._row = row

    def focusNextPrevChild(self, forward: bool) -> bool:
        if self.isEnabled():  # Tab; where it is disabled, Qt looks for somebody to take the focus
            return super().focusNextPrevChild(forward)
        self._row.hand_over_focus()
        return True
