"""What the cards of forecasters and agents share: title, verdict and pages. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QTabWidget, QVBoxLayout, QWidget

from app.flows.model_words import foreign_sentence
from app.theme import SPACE_M, SPACE_S, ThemeManager
from app.ui.model_card.page import CardPage, sentence


class CardFrame(QWidget):
    """Base of the cards: subclasses fill `pages` and write a model into them.

    Signals:
        marks_changed(object, str): tags (a tuple) and note to be kept for the model shown.
    """

    marks_changed = Signal(object, str)

    def __init__(self, theme: ThemeManager, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.theme = theme
        self._tabs: tuple[CardPage, ...] = ()
        self.title = sentence(self, "heading")
        self.verdict = sentence(self, "warning")
        self.verdict.setObjectName("model_verdict")
        self.foreign = sentence(self, "warning")
        self.pages = QTabWidget(self)
        self.pages.setObjectName("model_pages")
        self.pages.setDocumentMode(True)
        self._head = QHBoxLayout()
        self._head.setSpacing(SPACE_S)
        self._head.addWidget(self.title, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_M, SPACE_S, SPACE_M, 0)
        layout.setSpacing(SPACE_S)
        layout.addLayout(self._head)
        layout.addWidget(self.verdict)
        layout.addWidget(self.foreign)
        layout.addWidget(self.pages, 1)

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        for page in self._tabs:
            page.refresh_look()

    def _add_pages(self, pages: Sequence[CardPage]) -> None:
        self._tabs = tuple(pages)
        for page in pages:
            self.pages.addTab(page, "")

    def _name_pages(self, titles: Sequence[str]) -> None:
        """Write the fixed texts of the pages and their titles in the present language."""
        for page, title in zip(self._tabs, titles, strict=True):
            page.retranslate()
            self.pages.setTabText(self.pages.indexOf(page), title)

    def _write_foreign(self, foreign: bool) -> None:
        self.foreign.setVisible(foreign)
        self.foreign.setText(foreign_sentence())
