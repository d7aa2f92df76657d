"""A button that says in full what it does, on two lines where one is too narrow. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QPushButton, QSizePolicy, QStyle, QStyleOptionButton, QWidget

from app.theme import SPACE_S

_BREAK = " @ "  # between what is traded and for how much


class DeedButton(QPushButton):
    """As wide as it is allowed to be; nothing that is about to be sent may be cut off."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._deed = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def deed(self) -> str:
        """Return the text on one line."""
        return self._deed

    def set_deed(self, text: str) -> None:
        """Set the text."""
        self._deed = text
        self.setAccessibleName(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def sizeHint(self) -> QSize:
        hint = super().sizeHint()
        return QSize(hint.width(), hint.height() + SPACE_S) if "\n" in self.text() else hint

    def _fit(self) -> None:
        room = self._room()
        needed: QSize = self.fontMetrics().size(Qt.TextFlag.TextShowMnemonic, self._deed)
        shown = self._deed if needed.width() <= room else self._deed.replace(_BREAK, f"\n{_BREAK.strip()} ", 1)
        if shown != self.text():
            self.setText(shown)
            self.updateGeometry()

    def _room(self) -> int:
        """Return how many pixels of the width the text may take: what the style leaves inside border and padding."""
        self.ensurePolished()
        option = QStyleOptionButton()
        self.initStyleOption(option)
        return self.style().subElementRect(QStyle.SubElement.SE_PushButtonContents, option, self).width()
