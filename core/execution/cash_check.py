"""Does trading explain what the account holds? Looks every now and then. Executor's event loop.

The books follow orders and trades; a deposit, a withdrawal or a conversion at the venue is neither. It changes no
position, but it changes what can be bought and sold, so its person is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from core.clock import Clock
from core.domain.instruments import Instrument
from core.domain.money import parse_decimal, plain
from core.domain.positions import Balance
from core.events import EventSink, Notice, Severity
from core.execution.api.gateway import ExchangeGateway
from core.execution.cash_flows import Flows, add_fill, add_funding, unexplained
from core.execution.journal import Journal
from core.execution.order_manager import OrderManager

META_KEY = "explained_balances"


def unexplained_since(
    balances: Iterable[Balance],
    journal: Journal,
    instruments: Mapping[str, Instrument],
    first_balances: Mapping[str, Decimal],
) -> dict[str, Decimal]:
    """Return what the account holds beyond what its person knows and what was traded, by currency.

    Args:
        balances: all balances of the account now.
        first_balances: totals when the books began; they count until balances were compared for the first time.

    Raises:
        UserError: the journal cannot be read.
    """
    totals, since_ns = _given(journal) or (first_balances, -1)
    flows: Flows = {}
    for fill in journal.fills_booked_after(since_ns):
        add_fill(flows, fill, instruments.get(fill.symbol))
    for payment in journal.funding_booked_after(since_ns):
        add_funding(flows, payment)
    return unexplained(balances, totals, flows)


def describe(currency: str, amount: Decimal) -> str:
    """Say what came in or went out, in one sentence."""
    if amount > 0:
        return f"{plain(amount)} {currency} came in that no trade explains."
    return f"{plain(-amount)} {currency} went out that no trade explains."


class CashCheck:
    """Compares balances with what was booked since they last agreed.

    A difference counts when it is the same in two looks running: trades are booked a moment after the venue has changed
    the balances. What was told once is taken as given from then on.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        journal: Journal,
        manager: OrderManager,
        sink: EventSink,
        wall: Clock,
        first_balances: Callable[[], Mapping[str, Decimal]],
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._manager = manager
        self._sink = sink
        self._wall = wall
        self._first_balances = first_balances
        self._suspected: dict[str, Decimal] = {}

    def look(self, balances: tuple[Balance, ...]) -> None:
        """Compare complete balances, just read, with the books.

        Raises:
            UserError: the journal cannot be read or written.
        """
        now = self._wall.now_ns()
        if any(not record.fills_complete for record in self._manager.unsettled):
            return  # something was traded that is not in the books yet
        first = self._first_balances()
        if not first and _given(self._journal) is None:  # they could not be read when the books began
            self._remember(balances, now)
            return
        difference = unexplained_since(balances, self._journal, self._gateway.instruments, first)
        if difference and difference != self._suspected:
            self._suspected = difference
            return
        self._suspected = {}
        self._remember(balances, now)
        for currency, amount in difference.items():
            text = describe(currency, amount)
            self._sink(Notice(Severity.WARNING, "The account changed by something other than trades", text))

    def _remember(self, balances: tuple[Balance, ...], at_ns: int) -> None:
        totals = {balance.currency: plain(balance.total) for balance in balances if balance.total}
        self._journal.set_meta(META_KEY, json.dumps({"totals": totals, "at_ns": at_ns}, sort_keys=True))


def _given(journal: Journal) -> tuple[Mapping[str, Decimal], int] | None:
    """Return the totals taken as given and since when (our wall time, ns); None before the first comparison."""
    stored = journal.meta(META_KEY)
    if stored is None:
        return None
    content = json.loads(stored)
    return {currency: parse_decimal(total) for currency, total in content["totals"].items()}, content["at_ns"]
