"""What a panel shows when it has nothing to show: an icon, a sentence, and the next step. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from app.theme import ICON_SIZE_L, SPACE_L, SPACE_S, SPACE_XS, ThemeManager, set_look


class EmptyState(QWidget):
    """A centred sentence with an optional explanation and button.

    Signals:
        triggered: the button was pressed.
    """

    triggered = Signal()

    def __init__(self, theme: ThemeManager, icon_name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._icon_name = icon_name
        self._icon = QLabel(self)
        self._text = QLabel(self)
        self._detail = QLabel(self)
        self.button = QPushButton(self)
        self.button.setObjectName("empty_state_button")
        self.button.clicked.connect(self._on_clicked)
        set_look(self._text, "role", "muted")
        set_look(self._detail, "role", "small")
        set_look(self.button, "variant", "primary")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_S, SPACE_L, SPACE_S)
        layout.setSpacing(SPACE_S)
        layout.addStretch(1)
        for label in (self._icon, self._text, self._detail):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            label.setWordWrap(label is not self._icon)
            layout.addWidget(label)
        layout.addSpacing(SPACE_XS)
        layout.addWidget(self.button, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(1)
        self.set_text("")
        self.refresh_look()

    def set_text(self, text: str, action: str = "", detail: str = "") -> None:
        """Set the sentence, the button's text and a smaller explanation; an empty one hides its part."""
        for widget, content in ((self._text, text), (self._detail, detail), (self.button, action)):
            widget.setText(content)
            widget.setVisible(bool(content))

    def refresh_look(self) -> None:
        """Draw the icon in the colours of the present theme."""
        picture = self._theme.icon(self._icon_name, self._theme.palette.muted)
        self._icon.setPixmap(picture.pixmap(ICON_SIZE_L, ICON_SIZE_L))

    @Slot()
    def _on_clicked(self) -> None:
        self.triggered.emit()
