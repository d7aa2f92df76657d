"""Does trading explain what the account holds? Looks every now and then. Executor's event loop.

The books follow orders and trades; a deposit, a withdrawal or a conversion at the venue is neither. It changes no
position, but it changes what can be bought and sold, so its person is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal

from core.clock import Clock
from core.domain.money import parse_decimal, plain
from core.domain.positions import Balance
from core.events import EventSink, Notice, Severity
from core.execution.api.gateway import ExchangeGateway
from core.execution.cash_flows import Flows, add_fill, add_funding, unexplained
from core.execution.journal import Journal
from core.execution.order_manager import OrderManager

META_KEY = "explained_balances"


class CashCheck:
    """Compares balances with what was booked since they last agreed.

    A difference counts when it is the same in two looks running: trades are booked a moment after the venue has changed
    the balances. What was told once is taken as given from then on.
    """

    def __init__(
        self, gateway: ExchangeGateway, journal: Journal, manager: OrderManager, sink: EventSink, wall: Clock
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._manager = manager
        self._sink = sink
        self._wall = wall
        self._suspected: dict[str, Decimal] = {}

    def look(self, balances: tuple[Balance, ...]) -> None:
        """Compare complete balances, just read, with the books.

        Raises:
            UserError: the journal cannot be read or written.
        """
        now = self._wall.now_ns()
        known = self._known()
        if known is None:
            self._remember(balances, now)
            return
        if any(not record.fills_complete for record in self._manager.unsettled):
            return  # something was traded that is not in the books yet
        totals, since_ns = known
        difference = unexplained(balances, totals, self._flows(since_ns))
        if difference and difference != self._suspected:
            self._suspected = difference
            return
        self._suspected = {}
        self._remember(balances, now)
        for currency, amount in difference.items():
            self._tell(currency, amount)

    def _tell(self, currency: str, amount: Decimal) -> None:
        if amount > 0:
            text = f"{plain(amount)} {currency} came in that no trade explains."
        else:
            text = f"{plain(-amount)} {currency} went out that no trade explains."
        self._sink(Notice(Severity.WARNING, "The account changed by something other than trades", text))

    def _flows(self, since_ns: int) -> Flows:
        flows: Flows = {}
        for fill in self._journal.fills_booked_after(since_ns):
            add_fill(flows, fill, self._gateway.instruments.get(fill.symbol))
        for payment in self._journal.funding_booked_after(since_ns):
            add_funding(flows, payment)
        return flows

    def _known(self) -> tuple[Mapping[str, Decimal], int] | None:
        stored = self._journal.meta(META_KEY)
        if stored is None:
            return None
        content = json.loads(stored)
        return {currency: parse_decimal(total) for currency, total in content["totals"].items()}, content["at_ns"]

    def _remember(self, balances: tuple[Balance, ...], at_ns: int) -> None:
        totals = {balance.currency: plain(balance.total) for balance in balances if balance.total}
        self._journal.set_meta(META_KEY, json.dumps({"totals": totals, "at_ns": at_ns}, sort_keys=True))
