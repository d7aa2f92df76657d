"""Making an order plan: kind, fields, what it will do, and the one button that begins it. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QKeyEvent, QShowEvent
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.flows.plan_flow import PlanContext, PlanJudgement, judge
from app.flows.plan_text import KIND_TEXT
from app.i18n import tr
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look
from app.ui.dialogs.plan_form import PlanForm
from app.ui.widgets.fit import fit_height
from app.ui.widgets.mode_badge import mode_word
from core.domain.instruments import Instrument
from core.domain.order_plans import PlanKind
from core.domain.orders import MANUAL_OWNER, TradingMode

LOOK_MS = 500


class PlanDialog(QDialog):
    """A form for a `PlanDraft`; Ctrl+Enter or the button begins the plan.

    Args:
        instrument: the market.
        context: returns the world around a plan of this market for its owner.
        mode: returns which money is moved, None before the executor said so.
        owner: whose position an exit closes.
        owner_title: what the owner is called; "" for the person.

    Signals:
        accepted_draft: the `PlanDraft` to begin.
    """

    accepted_draft = Signal(object)

    def __init__(
        self,
        instrument: Instrument,
        context: Callable[[], PlanContext],
        mode: Callable[[], TradingMode | None],
        owner: str = MANUAL_OWNER,
        owner_title: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._context = context
        self._mode = mode
        self.setObjectName("plan_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("New order plan"))
        self.setMinimumWidth(140 * GRID)
        self._heading = self._line("plan_market", "heading")
        title = instrument.symbol
        self._heading.setText(f"{title} · {owner_title}" if owner_title else title)
        self.form = PlanForm(instrument, owner, self)
        self.preview = self._line("plan_preview")
        self.warning = self._line("plan_warning", "warning")
        self.leave = QPushButton(tr("Cancel"), self)
        self.leave.setObjectName("plan_cancel")
        self.begin = QPushButton(self)
        self.begin.setObjectName("plan_begin")
        set_look(self.begin, "variant", "primary")
        for button in (self.begin, self.leave):
            button.setAutoDefault(False)  # Enter in a field begins nothing
        self._lay_out()
        self.form.edited.connect(self.refresh)
        self.begin.clicked.connect(self._on_begin)
        self.leave.clicked.connect(self.reject)
        self._clock = QTimer(self)
        self._clock.setInterval(LOOK_MS)
        self._clock.timeout.connect(self.refresh)
        self._clock.start()
        self.refresh()
        self.form.fields["quantity"].edit.setFocus()

    def protect(self, quantity: Decimal) -> None:
        """Choose an exit for so much of the position."""
        self.form.choose(PlanKind.EXIT)
        self.form.fields["quantity"].edit.set_value(quantity)
        self.form.fields["stop"].edit.setFocus()

    @Slot()
    def refresh(self) -> None:
        """Judge what stands in the fields against the market as it is now."""
        problem, judged = self._judge()
        blocker = problem or (judged.blocker.text() if judged.blocker else "")
        self.preview.setText(blocker or "\n".join(sentence.text() for sentence in judged.preview))
        set_look(self.preview, "role", "muted" if blocker else "")
        self.warning.setText("\n".join(f"⚠ {warning.text()}" for warning in judged.warnings))
        self.warning.setVisible(bool(judged.warnings))
        self._write_deed()
        self.begin.setEnabled(not blocker and judged.draft is not None)
        self.begin.setToolTip(blocker or tr("Send (Ctrl+Enter)"))
        self._fit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        control = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier == Qt.KeyboardModifier.ControlModifier
        if control and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.begin.click()
            return
        super().keyPressEvent(event)

    def _judge(self) -> tuple[str, PlanJudgement]:
        """Return why a field cannot be read, "" where all can, and the judgement."""
        return self.form.problem(), judge(self.form.entry(), self._context())

    def _write_deed(self) -> None:
        mode, kind = self._mode(), tr(KIND_TEXT[self.form.kind])
        text = tr("Begin: {kind}", kind=kind)
        if mode is not None:
            text = tr("Begin: {kind} ({mode})", kind=kind, mode=mode_word(mode))
        self.begin.setText(text)
        self.begin.setAccessibleName(text)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addStretch(1)
        buttons.addWidget(self.leave)
        buttons.addWidget(self.begin)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        for widget in (self._heading, self.form, self.warning, self.preview):
            layout.addWidget(widget)
        layout.addStretch(1)
        layout.addLayout(buttons)

    def _line(self, name: str, role: str = "") -> QLabel:
        label = QLabel(self)
        label.setObjectName(name)
        label.setWordWrap(True)
        if role:
            set_look(label, "role", role)
        return label

    def _fit(self) -> None:
        fit_height(self, max(self.width(), self.minimumWidth()))

    @Slot()
    def _on_begin(self) -> None:
        problem, judged = self._judge()
        if not problem and judged.draft is not None:
            self.accepted_draft.emit(judged.draft)
            self.accept()
