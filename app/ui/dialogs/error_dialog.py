"""One error: a sentence, what to do, the details for those who want them. Repetitions are counted, not stacked.

GUI thread only.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from app.flows.sentence_text import local_text
from app.i18n import tr
from app.theme import GRID, ICON_SIZE_L, SPACE_L, SPACE_M, SPACE_S, ThemeManager, set_look
from app.ui.widgets.fit import fit_height


class ErrorDialog(QDialog):
    """Shows the last error; the same one again only raises its count.

    One instance serves the whole program: `show_error` opens or updates it without taking the focus from a field.
    """

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._shown: tuple[str, str] = ("", "")
        self._count = 0
        self._others = 0
        self.setObjectName("error_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setMinimumWidth(120 * GRID)
        self._picture = QLabel(self)
        self.message = self._label("error_message", "heading")
        self.remedy = self._label("error_remedy", "")
        self.count = self._label("error_count", "muted")
        self.details = QPlainTextEdit(self)
        self.details.setObjectName("error_details")
        self.details.setReadOnly(True)
        self.details.hide()
        self.more = QPushButton(self)
        self.more.setCheckable(True)
        self.more.setObjectName("error_more")
        self.copy = QPushButton(self)
        self.copy.setObjectName("error_copy")
        for side_button in (self.more, self.copy):
            side_button.setAutoDefault(False)
        self.ok = QPushButton(self)
        self.ok.setObjectName("error_close")
        self.ok.setDefault(True)
        self.ok.setFocus()
        set_look(self.ok, "variant", "primary")
        self._lay_out()
        self.more.toggled.connect(self._on_more)
        self.copy.clicked.connect(self._on_copy)
        self.ok.clicked.connect(self.close)
        self.retranslate()

    def _label(self, name: str, role: str) -> QLabel:
        label = QLabel(self)
        label.setObjectName(name)
        label.setWordWrap(True)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        if role:
            set_look(label, "role", role)
        return label

    def _lay_out(self) -> None:
        texts = QVBoxLayout()
        texts.setSpacing(SPACE_S)
        for label in (self.message, self.remedy, self.count):
            texts.addWidget(label)
        top = QHBoxLayout()
        top.setSpacing(SPACE_M)
        top.addWidget(self._picture, 0, Qt.AlignmentFlag.AlignTop)
        top.addLayout(texts, 1)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addWidget(self.more)
        buttons.addWidget(self.copy)
        buttons.addStretch(1)
        buttons.addWidget(self.ok)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        layout.addLayout(top)
        layout.addWidget(self.details, 1)
        layout.addLayout(buttons)

    def show_error(self, message: str, remedy: str = "", details: str = "") -> None:
        """Show an error, or count it where it is already shown; another one while open is counted beside it."""
        if self.isVisible() and (message, remedy) == self._shown:
            self._count += 1
        elif self.isVisible():
            self._others += 1
            sentences = f"{local_text(message)} {local_text(remedy)}"
            self.details.appendPlainText(f"\n{sentences}\n{details}".rstrip())
        else:
            self._shown, self._count, self._others = (message, remedy), 1, 0
            self._show_sentences()
            self.details.setPlainText(details)
            self.more.setChecked(False)
        self._show_count()
        self.more.setVisible(bool(self.details.toPlainText()))
        fit_height(self, max(self.width(), self.minimumWidth()))
        self.show()

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.setWindowTitle(tr("Something went wrong"))
        self.more.setText(tr("Details"))
        self.copy.setText(tr("Copy"))
        self.ok.setText(tr("Close"))
        self._show_sentences()
        self._show_count()
        icon = self._theme.icon("circle-alert", self._theme.palette.danger)
        self._picture.setPixmap(icon.pixmap(ICON_SIZE_L, ICON_SIZE_L))

    def text(self) -> str:
        """Return everything shown, for the clipboard."""
        parts = (self.message.text(), self.remedy.text(), self.count.text(), self.details.toPlainText())
        return "\n".join(part for part in parts if part)

    def _show_sentences(self) -> None:
        message, remedy = (local_text(text) for text in self._shown)
        self.message.setText(message)
        self.remedy.setText(remedy)
        self.remedy.setVisible(bool(remedy))

    def _show_count(self) -> None:
        parts = []
        if self._count > 1:
            parts.append(f"×{self._count}")
        if self._others:
            parts.append(tr("{n} more in the details", n=self._others))
        self.count.setText("  ".join(parts))
        self.count.setVisible(bool(parts))

    @Slot(bool)
    def _on_more(self, shown: bool) -> None:
        self.details.setVisible(shown)
        fit_height(self, max(self.width(), self.minimumWidth()))

    @Slot()
    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text())
