"""A dialog that judges its form twice a second and has one button that acts. GUI thread only."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtGui import QKeyEvent, QShowEvent
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QLayout, QPushButton, QVBoxLayout, QWidget

from app.flows.amount import Sentence
from app.i18n import tr
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look
from app.ui.widgets.fit import fit_height

LOOK_MS = 500


class DeedDialog(QDialog):
    """What dialogs that send something share; Enter in a field sends nothing, Ctrl+Enter or the button does.

    Subclasses lay their form out, call `begin_looking`, and implement `refresh` and `_on_deed`.

    Args:
        prefix: begins the object names of its parts.
        deed_name: object name of the button.
        title: of the window.
        width: smallest, in grid units.
    """

    def __init__(self, prefix: str, deed_name: str, title: str, width: int, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.setMinimumWidth(width * GRID)
        self.preview = self.line(f"{prefix}_preview")
        self.warning = self.line(f"{prefix}_warning", "warning")
        self.leave, self.deed = QPushButton(tr("Cancel"), self), QPushButton(self)
        self.leave.setObjectName(f"{prefix}_cancel")
        self.deed.setObjectName(deed_name)
        set_look(self.deed, "variant", "primary")
        for button in (self.deed, self.leave):
            button.setAutoDefault(False)
        self._clock = QTimer(self)
        self._clock.setInterval(LOOK_MS)

    def begin_looking(self) -> None:
        """Judge now and from now on; to be called once everything is there."""
        self.deed.clicked.connect(self._on_deed)
        self.leave.clicked.connect(self.reject)
        self._clock.timeout.connect(self.refresh)
        self._clock.start()
        self.refresh()

    @Slot()
    def refresh(self) -> None:
        """Judge what stands in the fields against the world as it is now."""
        raise NotImplementedError

    def show_judgement(
        self, blocker: str, preview: Sequence[Sentence], warnings: Sequence[Sentence], deed: str, *, ready: bool
    ) -> None:
        """Show what would happen, or why nothing can.

        Args:
            blocker: why nothing can be sent; "" where something can.
            preview / warnings: what the deed does and what should be minded.
            deed: text of the button.
            ready: whether it can be pressed where nothing blocks.
        """
        self.preview.setText(blocker or "\n".join(sentence.text() for sentence in preview))
        set_look(self.preview, "role", "muted" if blocker else "")
        self.warning.setText("\n".join(f"⚠ {warning.text()}" for warning in warnings))
        self.warning.setVisible(bool(warnings))
        self.deed.setText(deed)
        self.deed.setAccessibleName(deed)
        self.deed.setEnabled(not blocker and ready)
        self.deed.setToolTip(blocker or tr("Send (Ctrl+Enter)"))
        self._fit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        control = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier == Qt.KeyboardModifier.ControlModifier
        if control and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.deed.click()
            return
        super().keyPressEvent(event)

    def lay_out(self, *parts: QWidget | QLayout) -> None:
        """Put the parts below each other and the buttons at the end."""
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addStretch(1)
        buttons.addWidget(self.leave)
        buttons.addWidget(self.deed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        for part in parts:
            if isinstance(part, QWidget):
                layout.addWidget(part)
            else:
                layout.addLayout(part)
        layout.addStretch(1)
        layout.addLayout(buttons)

    def line(self, name: str, role: str = "") -> QLabel:
        """Return a line of text."""
        label = QLabel(self)
        label.setObjectName(name)
        label.setWordWrap(True)
        if role:
            set_look(label, "role", role)
        return label

    @Slot()
    def _on_deed(self) -> None:
        raise NotImplementedError

    def _fit(self) -> None:
        fit_height(self, max(self.width(), self.minimumWidth()))
