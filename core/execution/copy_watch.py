"""What an order of our making means that no book of ours knows: another copy trades with this key. Executor's loop.

The lock by key sees copies of one user on one machine. This sees the others, once the venue shows one of their orders.
"""

from __future__ import annotations

from core.domain.orders import TradingState
from core.events import EventSink, Notice, Severity
from core.execution.api.gateway import OrderReport
from core.execution.records import TradingStateRecord
from core.execution.trading_control import COPY_REASON, TradingControl

_TITLE = "Another copy of Maru trades with this key"


class CopyWatch:
    """Reduces trading, until a person re-arms it, at every order of a copy that is seen for the first time."""

    def __init__(self, control: TradingControl, sink: EventSink) -> None:
        self._control = control
        self._sink = sink
        self._told: TradingStateRecord | None = None

    def met(self, report: OrderReport) -> None:
        """Act on an order of our making that is not in the books; told once until a person re-arms or halts.

        Raises:
            UserError: the journal cannot be written.
        """
        self._control.reduce(COPY_REASON)
        if self._control.record == self._told:
            return
        self._told = self._control.record
        text = (
            f"Order {report.client_order_id} was placed by Maru, but not from this data folder. Only orders that "
            "reduce a position pass: two copies do not know each other's limits and positions. End the other copy, or "
            "re-arm trading to trade beside it."
        )
        if self._control.state is TradingState.HALTED:
            text = (
                f"Order {report.client_order_id} was placed by Maru, but not from this data folder. Trading stays "
                "halted. End the other copy before you re-arm trading, or re-arm it to trade beside the other."
            )
        self._sink(Notice(Severity.ERROR, _TITLE, text))
