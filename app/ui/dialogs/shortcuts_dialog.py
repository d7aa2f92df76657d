"""Every key on one page. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.i18n import mark, tr
from app.theme import SPACE_L, SPACE_M, SPACE_S, SPACE_XL, set_look
from app.ui.actions import ACTIONS

TICKET_KEYS = (
    ("B / S", mark("Buy or sell (outside the fields)")),
    ("↑ / ↓", mark("One step of price or quantity")),
    ("Shift+↑ / Shift+↓", mark("Ten steps")),
    ("Enter", mark("Review the order")),
    ("Ctrl+Enter", mark("Send the reviewed order")),
    ("Esc", mark("Back to the fields")),
)
CHART_KEYS = (
    ("1 – 9", mark("Choose the bar length (1m … 1w)")),
    ("+ / -", mark("Zoom in or out")),
    ("← / →", mark("Earlier or later bars")),
    ("Home / End", mark("Oldest or newest bar")),
    ("F", mark("Fit the chart")),
    ("Space", mark("Follow new bars")),
)


class ShortcutsDialog(QDialog):
    """Two columns: the window's keys, and those of the ticket and the chart."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("shortcuts_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Keyboard shortcuts"))
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE_M)
        grid.setVerticalSpacing(SPACE_S)
        grid.setColumnMinimumWidth(2, SPACE_XL)
        everywhere = tuple((spec.shortcut, spec.text) for spec in ACTIONS if spec.shortcut)
        self._fill(grid, (0, 0), tr("Everywhere"), everywhere)
        self._fill(grid, (0, 3), tr("In the order ticket"), TICKET_KEYS)
        self._fill(grid, (len(TICKET_KEYS) + 2, 3), tr("In the chart"), CHART_KEYS)
        close = QPushButton(tr("Close"), self)
        close.setDefault(True)
        close.clicked.connect(self.close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_L)
        layout.addLayout(grid)
        layout.addStretch(1)
        layout.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)

    def _fill(self, grid: QGridLayout, place: tuple[int, int], title: str, keys: tuple[tuple[str, str], ...]) -> None:
        top, first = place
        heading = QLabel(title, self)
        set_look(heading, "role", "heading")
        grid.addWidget(heading, top, first, 1, 2)
        for row, (key, text) in enumerate(keys, start=top + 1):
            keycap = QLabel(key, self)
            set_look(keycap, "role", "muted")
            grid.addWidget(keycap, row, first)
            grid.addWidget(QLabel(tr(text), self), row, first + 1)
