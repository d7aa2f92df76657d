"""Parts below each other that scroll. GUI thread only."""

from __future__ import annotations

from PySide6.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from app.theme import SPACE_M, SPACE_S


class ScrollColumn(QScrollArea):
    """A column on the background of whatever it lies in; subclasses fill `column` with children of `body`."""

    def __init__(self, parent: QWidget, top: int = SPACE_S) -> None:
        super().__init__(parent)
        self.body = QWidget(self)
        self.column = QVBoxLayout(self.body)
        self.column.setContentsMargins(SPACE_M, top, SPACE_M, SPACE_M)
        self.column.setSpacing(SPACE_S)
        self.setWidgetResizable(True)
        self.setWidget(self.body)
        self.body.setAutoFillBackground(False)
        self.viewport().setAutoFillBackground(False)
