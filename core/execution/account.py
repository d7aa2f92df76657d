"""What the account holds and earned. Runs on the executor's event loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal

from core.clock import NS_PER_S, Clock
from core.domain.money import LEDGER_CONTEXT, ZERO, parse_decimal
from core.domain.orders import Order
from core.domain.positions import Balance
from core.execution.journal import Journal
from core.execution.loss_measure import LossMeasure
from core.execution.marks import Marks
from core.execution.order_manager import OrderManager
from core.execution.position_tracker import net_pnl

DAY_NS = 86_400 * NS_PER_S
SNAPSHOT_NS = 60 * NS_PER_S


class AccountBook:
    """Balances as the venue reports them, and profit over all positions.

    Days are UTC days of the market clock: in a replay a day of the market is a day.

    Attributes:
        market: the market clock.
        is_traded: whether the venue trades a market; what it does not trade any more has no price to wait for.
        losses: what the day's loss and the drawdown are measured from.
    """

    def __init__(self, journal: Journal, manager: OrderManager, marks: Marks, market: Clock) -> None:
        self._journal = journal
        self._manager = manager
        self._marks = marks
        self.market = market
        self.losses = LossMeasure(journal)
        self.is_traded: Callable[[str], bool] = lambda symbol: True
        self._heard: dict[str, Decimal] = {}
        self._balances: dict[str, Balance] = {}
        self._day_start: tuple[int, Decimal] | None = None
        self._snapshot: tuple[int, Decimal] | None = None

    @property
    def balances(self) -> tuple[Balance, ...]:
        """All balances, by currency."""
        return tuple(self._balances[currency] for currency in sorted(self._balances))

    @property
    def free(self) -> dict[str, Decimal]:
        """Free balances by currency."""
        return {currency: balance.free for currency, balance in self._balances.items()}

    def total(self, currency: str) -> Decimal:
        """Free and locked balance of one currency."""
        balance = self._balances.get(currency)
        return balance.total if balance else ZERO

    def set_balances(self, balances: Iterable[Balance], *, complete: bool) -> bool:
        """Take over what the venue reports; `complete` reports name every currency held.

        Returns:
            Whether anything changed.
        """
        named = {balance.currency: balance for balance in balances}
        after = named if complete else {**self._balances, **named}
        changed = after != self._balances
        self._balances = after
        return changed

    def remember_first_balances(self) -> None:
        """Journal what the account held when this journal began: the books explain every change since."""
        if self._journal.meta("first_balances") is None:
            totals = {balance.currency: f"{balance.total:f}" for balance in self.balances}
            self._journal.set_meta("first_balances", json.dumps(totals, sort_keys=True))

    def first_balances(self) -> dict[str, Decimal]:
        """Return what `remember_first_balances` wrote."""
        stored = json.loads(self._journal.meta("first_balances") or "{}")
        return {currency: parse_decimal(total) for currency, total in stored.items()}

    def equity(self, quote: str) -> Decimal:
        """Return what the account is worth in `quote`; what nobody knows a price of counts as nothing."""
        rates = ((b.total, self._marks.convert(b.currency, quote)) for b in self._balances.values() if b.total)
        return sum((LEDGER_CONTEXT.multiply(total, rate) for total, rate in rates if rate is not None), start=ZERO)

    def newest_orders(self, limit: int) -> list[Order]:
        """Return the newest orders in the books, oldest first."""
        return [record.order for record in self._journal.orders(limit=limit)]

    @property
    def today(self) -> int:
        """The UTC day of the market clock, counted from the epoch."""
        return self.market.now_ns() // DAY_NS

    def unpriced(self) -> list[str]:
        """Return the traded markets with an open position that no price was heard of yet."""
        held = {p.symbol for p in self._manager.positions if p.quantity and self.is_traded(p.symbol)}
        return sorted(symbol for symbol in held if self._price(symbol) is None)

    def pnl(self) -> Decimal:
        """Profit of all owners since the journal began, in quote currency.

        A price that is too old to trade on still values a position: without it, its loss would vanish for a while.
        """
        return sum((net_pnl(p, self._price(p.symbol)) for p in self._manager.positions), start=ZERO)

    def day_pnl(self) -> Decimal:
        """Profit since the start of the UTC day, or since trading was re-armed on it."""
        self.roll_day()
        return self.losses.day_pnl(self.pnl())

    def drawdown(self) -> Decimal:
        """Fall of the profit from its highest point since trading was armed."""
        self.roll_day()
        return self.losses.drawdown(self.pnl())

    def roll_day(self) -> None:
        """Begin a new day where one has begun, and keep a snapshot of the profit now and then.

        A profit without the open part of a position is none: nothing is kept of it.
        """
        if self.unpriced():
            return
        now, pnl = self.market.now_ns(), self.pnl()
        if self._day_start is None:
            self._day_start = self._journal.day_start()
        if self._day_start is None or self._day_start[0] // DAY_NS < now // DAY_NS:
            self._journal.add_equity(now, pnl, day_start=True)
            self._day_start = self._snapshot = (now, pnl)
        elif self._snapshot is None or (now - self._snapshot[0] >= SNAPSHOT_NS and pnl != self._snapshot[1]):
            self._journal.add_equity(now, pnl)
            self._snapshot = (now, pnl)
        self.losses.observe(pnl, now // DAY_NS, self._day_start[1])

    def _price(self, symbol: str) -> Decimal | None:
        present = self._marks.price(symbol)
        if present is not None:
            self._heard[symbol] = present
        return self._heard.get(symbol)
