"""A widget that repaints at a steady pace however often its data changes. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Slot
from PySide6.QtWidgets import QWidget

FRAME_MS = 100  # ten frames a second: numbers that change faster cannot be read


class PacedWidget(QWidget):
    """Collects changes and repaints once per frame; hidden, it only remembers that it must."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._frame = QTimer(self)
        self._frame.setSingleShot(True)
        self._frame.setInterval(FRAME_MS)
        self._frame.timeout.connect(self._on_frame)

    def changed(self) -> None:
        """Repaint within one frame."""
        if self.isVisible() and not self._frame.isActive():
            self._frame.start()

    def stop(self) -> None:
        """Stop the timer; the widget is not used again."""
        self._frame.stop()

    @Slot()
    def _on_frame(self) -> None:
        self.update()
