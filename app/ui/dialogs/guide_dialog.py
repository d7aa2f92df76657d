"""The user guide in a window of the program. GUI thread only."""

from __future__ import annotations

import re
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, QUrl, Slot
from PySide6.QtGui import QTextBlock, QTextBlockFormat, QTextCursor
from PySide6.QtWidgets import QDialog, QHBoxLayout, QListWidget, QPushButton, QTextBrowser, QVBoxLayout, QWidget

from app.i18n import current_language, tr
from app.language import LanguageManager
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, SPACE_XS, ThemeManager

DOCS = Path(__file__).resolve().parents[3] / "Docs"
SIZE = (240 * GRID, 170 * GRID)
LIST_WIDTH = 56 * GRID
_LINE_PERCENT = 130  # of the font's own line height
_CHAPTER = 2  # level of the headings that stand in the list


class GuideDialog(QDialog):
    """The chapters on the left, the text on the right; follows language and theme while it is open.

    Other pages of the documentation that the guide points to open in the same place.
    """

    def __init__(self, theme: ThemeManager, language: LanguageManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._page = ""
        self._chapters: list[QTextBlock] = []
        self.setObjectName("guide_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(*SIZE)
        self.chapters = QListWidget(self)
        self.chapters.setObjectName("guide_chapters")
        self.chapters.setFixedWidth(LIST_WIDTH)
        self.text = QTextBrowser(self)
        self.text.setObjectName("guide_text")
        self.text.setOpenLinks(False)  # the browser knows neither the headings nor the documentation's folder
        self.text.document().setDocumentMargin(SPACE_L)
        self._back, self._close = QPushButton(self), QPushButton(self)
        self._back.setObjectName("guide_back")
        self._back.setAutoDefault(False)
        self._close.setDefault(True)
        self._lay_out()
        self.chapters.currentRowChanged.connect(self._on_chapter)
        self.text.anchorClicked.connect(self.follow)
        self._back.clicked.connect(self.show_guide)
        self._close.clicked.connect(self.close)
        theme.changed.connect(self._on_theme_changed)
        language.changed.connect(self.show_guide)
        self.show_guide()
        self.text.setFocus()

    def _lay_out(self) -> None:
        middle = QHBoxLayout()
        middle.setSpacing(SPACE_M)
        middle.addWidget(self.chapters)
        middle.addWidget(self.text, 1)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addWidget(self._back)
        buttons.addStretch(1)
        buttons.addWidget(self._close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        layout.addLayout(middle, 1)
        layout.addLayout(buttons)

    @Slot()
    def show_guide(self) -> None:
        """Show the guide of the present language from its beginning."""
        self.setWindowTitle(tr("User guide"))
        self.chapters.setAccessibleName(tr("Chapters"))
        self._back.setText(tr("Back to the guide"))
        self._close.setText(tr("Close"))
        self._show_page(f"user_guide.{current_language().value}.md")

    @Slot(QUrl)
    def follow(self, link: QUrl) -> None:
        """Go where a link of the page points: another page of the documentation, a heading, or both."""
        name = Path(link.path()).name
        if name and (DOCS / name).is_file():
            self._show_page(name)
        heading = link.fragment()
        found = next((block for block in self._headings() if anchor_of(block.text()) == heading), None)
        if found is not None:
            self._scroll_to(found)

    def _show_page(self, name: str) -> None:
        self._page = name
        try:
            source = (DOCS / name).read_text(encoding="utf-8")
        except OSError:  # an installation without its documentation
            source = tr("The page {name} is missing. Install the program again.", name=name)
        self.text.setMarkdown(source)
        self._space_out()
        self._chapters = [block for block in self._headings() if block.blockFormat().headingLevel() == _CHAPTER]
        with QSignalBlocker(self.chapters):
            self.chapters.clear()
            self.chapters.addItems([block.text() for block in self._chapters])
        self._back.setVisible(not name.startswith("user_guide."))
        self.text.verticalScrollBar().setValue(0)

    def _space_out(self) -> None:
        """Give paragraphs room: the text comes without any between them."""
        cursor, spaced = QTextCursor(self.text.document()), QTextBlockFormat()
        spaced.setLineHeight(_LINE_PERCENT, QTextBlockFormat.LineHeightTypes.ProportionalHeight.value)
        for block in self._blocks():
            cursor.setPosition(block.position())
            heading = bool(block.blockFormat().headingLevel())
            spaced.setTopMargin(SPACE_L if heading else 0)
            spaced.setBottomMargin(SPACE_S if heading or block.textList() is None else SPACE_XS)
            if cursor.currentTable() is None:
                cursor.mergeBlockFormat(spaced)

    def _headings(self) -> list[QTextBlock]:
        return [block for block in self._blocks() if block.blockFormat().headingLevel()]

    def _blocks(self) -> list[QTextBlock]:
        found, block = [], self.text.document().begin()
        while block.isValid():
            found.append(block)
            block = block.next()
        return found

    def _scroll_to(self, block: QTextBlock) -> None:
        document = self.text.document()
        document.size()  # lays everything out, else a block far below has no place yet
        top = document.documentLayout().blockBoundingRect(block).top()
        self.text.verticalScrollBar().setValue(round(top - SPACE_S))

    @Slot(int)
    def _on_chapter(self, row: int) -> None:
        if 0 <= row < len(self._chapters):
            self._scroll_to(self._chapters[row])

    @Slot()
    def _on_theme_changed(self) -> None:
        place = self.text.verticalScrollBar().value()
        self._show_page(self._page)  # the colour of links is written into the text
        self.text.verticalScrollBar().setValue(place)


def anchor_of(heading: str) -> str:
    """Return the anchor that links use for a heading: as on GitHub, lower case with hyphens and without punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
