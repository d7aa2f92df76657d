"""Changing a working order: price, stop price and quantity. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QFormLayout, QWidget

from app.flows.order_care import ChangeInput, ChangeJudgement, describe, judge_change
from app.flows.order_flow import TicketContext
from app.i18n import tr
from app.theme import SPACE_M, SPACE_S
from app.ui.dialogs.deed_dialog import DeedDialog
from app.ui.widgets.decimal_edit import DecimalField
from app.ui.widgets.mode_badge import mode_word
from core.domain.orders import Order, OrderType, TradingMode


class ChangeOrderDialog(DeedDialog):
    """A form for an `OrderChange`; Ctrl+Enter or the button asks for it.

    Args:
        present: returns the order as it stands, None where it is not known any more.
        context: returns what an order ticket for its market would see.
        mode: returns which money is moved, None before the executor said so.

    Signals:
        change_requested: client order id and the `OrderChange`.
    """

    change_requested = Signal(str, object)

    def __init__(
        self,
        order: Order,
        present: Callable[[], Order | None],
        context: Callable[[], TicketContext],
        mode: Callable[[], TradingMode | None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__("change", "change_deed", tr("Change order"), 110, parent)
        self._order = order
        self._present = present
        self._context = context
        self._mode = mode
        self.setObjectName(f"change_{order.client_order_id}")
        self.price, self.stop = self._field("change_price", tr("Price")), self._field("change_stop", tr("Stop price"))
        self.quantity = self._field("change_quantity", tr("Quantity in total"), round_down=True)
        self._lay_out()
        self._fill()
        for field in (self.price, self.stop, self.quantity):
            field.edit.value_changed.connect(self.refresh)
        self.begin_looking()
        self.price.edit.setFocus()
        self.price.edit.selectAll()

    @property
    def has_stop(self) -> bool:
        """Whether the order has a stop price."""
        return self._order.intent.order_type is OrderType.STOP_LOSS_LIMIT

    @Slot()
    def refresh(self) -> None:
        problem, judged = self._judge()
        blocker = problem or (judged.blocker.text() if judged.blocker else "")
        mode = self._mode()
        text = tr("Change order") if mode is None else tr("Change order ({mode})", mode=mode_word(mode))
        preview = () if judged.preview is None else (judged.preview,)
        self.show_judgement(blocker, preview, judged.warnings, text, ready=judged.change is not None)

    def _judge(self) -> tuple[str, ChangeJudgement]:
        """Return why a field cannot be read, "" where all can, and the judgement."""
        problems = [field.edit.problem() for field in (self.price, self.stop, self.quantity)]
        problem = next((p.text() for p in problems if p is not None), "")
        entry = ChangeInput(
            self.quantity.edit.rounded(),
            self.price.edit.rounded(),
            self.stop.edit.rounded() if self.has_stop else None,
        )
        return problem, judge_change(self._present() or self._order, entry, self._context())

    def _fill(self) -> None:
        intent, instrument = self._order.intent, self._context().instrument
        base, _, quote = intent.symbol.partition("/")
        if instrument is not None:
            self.quantity.edit.set_step(instrument.lot_size)
            for field in (self.price, self.stop):
                field.edit.set_step(instrument.tick_size)
        self.quantity.set_unit(base)
        self.quantity.edit.set_value(intent.quantity)
        for field, value in ((self.price, intent.limit_price), (self.stop, intent.stop_price)):
            field.set_unit(quote)
            field.edit.set_value(value)

    def _lay_out(self) -> None:
        heading = self.line("change_order", "heading")
        heading.setText(describe(self._order.intent, self._context().instrument).text())
        hint = self.line("change_hint", "small")
        hint.setText(
            tr(
                "The order is cancelled first; the new one is sent only once that is proven. "
                "Its place in the queue is lost."
            )
        )
        form = QFormLayout()
        form.setHorizontalSpacing(SPACE_M)
        form.setVerticalSpacing(SPACE_S)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        form.addRow(tr("Price"), self.price)
        if self.has_stop:
            form.addRow(tr("Stop price"), self.stop)
        self.stop.setVisible(self.has_stop)
        form.addRow(tr("Quantity in total"), self.quantity)
        self.lay_out(heading, hint, form, self.warning, self.preview)

    def _field(self, name: str, title: str, *, round_down: bool = False) -> DecimalField:
        field = DecimalField(parent=self, round_down=round_down)
        field.edit.setObjectName(name)
        field.edit.setAccessibleName(title)
        return field

    @Slot()
    def _on_deed(self) -> None:
        problem, judged = self._judge()
        if not problem and judged.change is not None:
            self.change_requested.emit(self._order.client_order_id, judged.change)
            self.accept()
