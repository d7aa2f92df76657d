"""Opens the dialogs of orders and order plans and passes on what the person decides. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QDialog, QWidget

from app.flows.plan_flow import PlanContext
from app.i18n import tr
from app.models.hub import WindowModels
from app.services import TradingCommands
from app.ui.dialogs.change_order_dialog import ChangeOrderDialog
from app.ui.dialogs.plan_dialog import PlanDialog
from app.ui.dialogs.resolve_dialog import ResolveDialog
from core.domain.money import ZERO
from core.domain.orders import MANUAL_OWNER, Order, Side, TradingMode
from core.domain.positions import Position
from core.events import Notice, Severity


class OrderDialogs(QObject):
    """One dialog for each order and one for a new plan at a time.

    Args:
        symbol: returns the market looked at.
        now_ns: wall time, ns UTC.
    """

    def __init__(
        self,
        window: QWidget,
        trading: TradingCommands,
        models: WindowModels,
        symbol: Callable[[], str],
        now_ns: Callable[[], int],
    ) -> None:
        super().__init__(window)
        self._window = window
        self._trading = trading
        self._models = models
        self._symbol = symbol
        self._now_ns = now_ns

    @Slot(object)
    def resolve(self, order: Order) -> None:
        """Open the dialog about an order without an answer."""
        if self._is_open(f"resolve_{order.client_order_id}"):
            return
        present = partial(self._models.orders.record, order.client_order_id)
        instrument = self._models.ticket_context(order.intent.symbol).instrument
        dialog = ResolveDialog(order, present, instrument, self._now_ns, self._window)
        dialog.ask_requested.connect(self._trading.ask_about)
        dialog.gone_requested.connect(self._trading.declare_gone)
        dialog.show()

    @Slot(object)
    def change(self, order: Order) -> None:
        """Open the dialog that changes a working order."""
        if self._is_open(f"change_{order.client_order_id}"):
            return
        present = partial(self._models.orders.record, order.client_order_id)
        context = partial(self._models.ticket_context, order.intent.symbol)
        dialog = ChangeOrderDialog(order, present, context, self._mode, self._window)
        dialog.change_requested.connect(self._trading.replace_order)
        dialog.show()

    @Slot()
    def new_plan(self) -> None:
        """Open the dialog for a plan in the market looked at."""
        dialog = self._plan_dialog(self._symbol(), MANUAL_OWNER)
        if dialog is not None:
            dialog.show()

    @Slot(object)
    def protect(self, position: Position) -> None:
        """Open the dialog for an exit of a position, with what no other plan closes."""
        dialog = self._plan_dialog(position.symbol, position.owner)
        if dialog is not None:
            held = self._models.ticket_context(position.symbol).closable(position.owner, Side.SELL)
            dialog.protect(max(ZERO, held - self._models.protected(position.symbol, position.owner)))
            dialog.show()

    def _plan_dialog(self, symbol: str, owner: str) -> PlanDialog | None:
        """Return a new dialog; None where one is open already or the market's rules are not known yet."""
        instrument = self._models.ticket_context(symbol).instrument
        if instrument is None:
            text = tr("The rules of this market are not known yet.")
            self._models.add_notice(Notice(Severity.WARNING, tr("No order plan can be made now"), text))
            return None
        if self._is_open("plan_dialog"):
            return None
        title = "" if owner == MANUAL_OWNER else self._models.names.title(owner)
        context = partial(self._plan_context, symbol, owner)
        dialog = PlanDialog(instrument, context, self._mode, owner, title, self._window)
        dialog.accepted_draft.connect(self._trading.create_plan)
        return dialog

    def _plan_context(self, symbol: str, owner: str) -> PlanContext:
        return PlanContext(self._models.ticket_context(symbol), self._models.protected(symbol, owner))

    def _mode(self) -> TradingMode | None:
        return self._models.mode

    def _is_open(self, name: str) -> bool:
        """Bring a dialog to the front where it is open."""
        # One that was closed a moment ago is still there until Qt deletes it.
        shown = [dialog for dialog in self._window.findChildren(QDialog, name) if dialog.isVisible()]
        for dialog in shown:
            dialog.activateWindow()
        return bool(shown)
