"""Making an order plan: kind, fields, what it will do, and the one button that begins it. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QWidget

from app.flows.plan_flow import PlanContext, PlanJudgement, judge
from app.flows.plan_text import KIND_TEXT
from app.i18n import tr
from app.ui.dialogs.deed_dialog import DeedDialog
from app.ui.dialogs.plan_form import PlanForm
from app.ui.widgets.mode_badge import mode_word
from core.domain.instruments import Instrument
from core.domain.order_plans import PlanKind
from core.domain.orders import MANUAL_OWNER, TradingMode


class PlanDialog(DeedDialog):
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
        super().__init__("plan", "plan_begin", tr("New order plan"), 140, parent)
        self._context = context
        self._mode = mode
        self.setObjectName("plan_dialog")
        heading = self.line("plan_market", "heading")
        title = instrument.symbol
        heading.setText(f"{title} · {owner_title}" if owner_title else title)
        self.form = PlanForm(instrument, owner, self)
        self.lay_out(heading, self.form, self.warning, self.preview)
        self.form.edited.connect(self.refresh)
        self.begin_looking()
        self.form.fields["quantity"].edit.setFocus()

    def protect(self, quantity: Decimal) -> None:
        """Choose an exit for so much of the position."""
        self.form.choose(PlanKind.EXIT)
        self.form.fields["quantity"].edit.set_value(quantity)
        self.form.fields["stop"].edit.setFocus()

    @Slot()
    def refresh(self) -> None:
        problem, judged = self._judge()
        blocker = problem or (judged.blocker.text() if judged.blocker else "")
        ready = judged.draft is not None
        self.show_judgement(blocker, judged.preview, judged.warnings, self._deed_text(), ready=ready)

    def _judge(self) -> tuple[str, PlanJudgement]:
        """Return why a field cannot be read, "" where all can, and the judgement."""
        return self.form.problem(), judge(self.form.entry(), self._context())

    def _deed_text(self) -> str:
        mode, kind = self._mode(), tr(KIND_TEXT[self.form.kind])
        if mode is None:
            return tr("Begin: {kind}", kind=kind)
        return tr("Begin: {kind} ({mode})", kind=kind, mode=mode_word(mode))

    @Slot()
    def _on_deed(self) -> None:
        problem, judged = self._judge()
        if not problem and judged.draft is not None:
            self.accepted_draft.emit(judged.draft)
            self.accept()
