"""A question that does not block the program. GUI thread only.

Never `exec()`: a nested event loop inside a coroutine ends other tasks.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look
from app.ui.widgets.fit import fit_height


class ConfirmDialog(QDialog):
    """A sentence, what is at stake, and buttons. Closing it in any other way answers "cancel".

    Args:
        name: constant object name.
        title: window title and heading.
        text: the question with its consequence.
        stakes: one line each.

    Signals:
        answered: the name of the button pressed, "cancel" otherwise. Emitted exactly once.
        agreed(object): the deed of `offer` was chosen; what it was offered for.
    """

    answered = Signal(str)
    agreed = Signal(object)

    def __init__(
        self, parent: QWidget | None, *, name: str, title: str, text: str, stakes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(100 * GRID)
        self._answer = "cancel"
        self._answered = False
        self._deed = ""
        self._subject: object = None
        heading = QLabel(title, self)
        set_look(heading, "role", "heading")
        heading.setWordWrap(True)
        question = QLabel(text, self)
        question.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        layout.addWidget(heading)
        layout.addWidget(question)
        self._body = layout
        for stake in stakes:
            line = QLabel(f"•  {stake}", self)
            line.setObjectName("stake")
            line.setWordWrap(True)
            layout.addWidget(line)
        layout.addStretch(1)
        self._buttons = QHBoxLayout()
        self._buttons.setSpacing(SPACE_S)
        self._buttons.addStretch(1)
        layout.addLayout(self._buttons)

    def insert_widget(self, widget: QWidget) -> None:
        """Put a field below the question."""
        self._body.insertWidget(2, widget)

    def add_button(self, answer: str, text: str, *, variant: str = "", default: bool = False) -> QPushButton:
        """Append a button whose press gives `answer` (also its object name)."""
        button = QPushButton(text, self)
        button.setObjectName(answer)
        button.setAutoDefault(True)  # Enter presses the button it is on, and the default one elsewhere
        button.setDefault(default)
        if variant:
            set_look(button, "variant", variant)
        button.clicked.connect(self._on_pressed)
        self._buttons.addWidget(button)
        if default:
            button.setFocus()
        return button

    def offer(self, deed: str, text: str, *, keep: str, subject: object) -> None:
        """Append the buttons of a deed and of leaving everything as it is, which is the default.

        Args:
            deed: the answer of its button, which looks dangerous.
            text / keep: on the two buttons.
            subject: what `agreed` brings.
        """
        self._deed, self._subject = deed, subject
        self.add_button("cancel", keep, default=True)
        self.add_button(deed, text, variant="danger")
        self.answered.connect(self._on_answered)

    @Slot(str)
    def _on_answered(self, answer: str) -> None:
        if answer == self._deed:
            self.agreed.emit(self._subject)

    @Slot()
    def _on_pressed(self) -> None:
        sender = self.sender()
        self._answer = sender.objectName() if sender is not None else "cancel"
        self.accept()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        fit_height(self, max(self.width(), self.minimumWidth()))

    def done(self, result: int) -> None:
        # Every way out (button, Esc, the window's own close button) ends here.
        super().done(result)
        if not self._answered:
            self._answered = True
            self.answered.emit(self._answer)
