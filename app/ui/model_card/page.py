"""What the pages of a model card share: a scrolling column of captions, sentences, tables and plots. GUI thread."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QLayout, QVBoxLayout, QWidget

from app.models.model_card import ModelCard
from app.theme import SPACE_L, SPACE_M, SPACE_S, ThemeManager, set_look
from app.ui.widgets.scroll_column import ScrollColumn


class CardPage(ScrollColumn):
    """Base of the pages: subclasses add parts, write a card into them and follow language and theme."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(parent, top=SPACE_M)
        self.theme = theme
        self._captions: dict[QLabel, str] = {}
        self.setFrameShape(QFrame.Shape.NoFrame)

    def show_card(self, card: ModelCard, horizon: int) -> None:
        """Write a model; `horizon` numbers the one of its horizons that is looked at."""

    def retranslate(self) -> None:
        """Write the fixed texts in the present language; subclasses extend it."""

    def refresh_look(self) -> None:
        """Take over the colours of the present theme; subclasses extend it."""

    def add(self, part: QWidget | QLayout, stretch: int = 0) -> None:
        """Append a part."""
        if isinstance(part, QLayout):
            self.column.addLayout(part, stretch)
        else:
            self.column.addWidget(part, stretch)

    def add_caption(self) -> QLabel:
        """Append the heading of what follows."""
        if self.column.count():
            self.column.addSpacing(SPACE_S)
        label = QLabel(self.body)
        set_look(label, "role", "strong")
        label.setWordWrap(True)
        self.column.addWidget(label)
        return label

    def add_sentence(self, role: str = "small") -> QLabel:
        """Append a sentence."""
        label = sentence(self.body, role)
        self.column.addWidget(label)
        return label

    def end(self) -> None:
        """Leave the rest of the height empty."""
        self.column.addStretch(1)


def sentence(parent: QWidget, role: str = "small") -> QLabel:
    """Return a label for a sentence that can be selected and copied."""
    label = QLabel(parent)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    set_look(label, "role", role)
    return label


def beside(*parts: QWidget | QLayout) -> QHBoxLayout:
    """Return a row of parts of equal width."""
    row = QHBoxLayout()
    row.setSpacing(SPACE_L)
    for part in parts:
        if isinstance(part, QLayout):
            row.addLayout(part, 1)
        else:
            row.addWidget(part, 1)
    return row


def captioned(caption: QLabel, part: QWidget) -> QVBoxLayout:
    """Return a part under its small caption."""
    set_look(caption, "role", "small")
    caption.setWordWrap(True)
    column = QVBoxLayout()
    column.setSpacing(SPACE_S)
    column.addWidget(caption)
    column.addWidget(part, 1)
    return column
