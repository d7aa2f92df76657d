"""The account that an agent trades: its capital and what its own trades have made of it. Pure; any thread.

It lies in no file of its own. What is held, what it cost and what was earned are the strategy's books; beside them the
journal keeps an `AccountMemory`, written with each decision. So a restart finds the account as it was, whatever others
trade in the same market.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from core.domain.candles import Candle
from core.domain.money import LEDGER_CONTEXT
from core.domain.positions import Position
from core.execution.position_tracker import net_pnl
from core.strategies.agent_policy import AccountView


@dataclass(frozen=True, slots=True)
class AccountMemory:
    """What the books do not say of an account.

    Attributes:
        opening_pnl: net profit that stood in the books when the account was opened, quote currency: of an earlier
            strategy of the same id.
        quantity: base currency held when it was decided last.
        changed_ns: open time of the bar in which that became other than before, ns UTC.
        peak: highest equity at a close that was decided on, quote currency.
    """

    opening_pnl: Decimal
    quantity: Decimal
    changed_ns: int
    peak: Decimal


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """An account at the close of a bar, marked there.

    Attributes:
        candle: that bar.
        mark / equity / cash: quote currency.
        quantity: base currency held.
        entry_price: average price of it.
        memory: to be kept for the next bar.
    """

    candle: Candle
    mark: Decimal
    equity: Decimal
    cash: Decimal
    quantity: Decimal
    entry_price: Decimal
    memory: AccountMemory

    @property
    def view(self) -> AccountView:
        """What an agent is told of it."""
        return AccountView(
            units=float(self.quantity),
            mark=self.candle.close,
            entry_price=float(self.entry_price) if self.quantity else 0.0,
            equity=float(self.equity),
            peak=float(self.memory.peak),
            bars_since_change=(self.candle.open_time_ns - self.memory.changed_ns) // self.candle.timeframe.ns,
        )


def own_account(
    capital: Decimal, position: Position, candle: Candle, memory: AccountMemory | None, last_bar_ns: int | None
) -> OwnAccount:
    """Return a strategy's account at the close of a bar.

    Args:
        capital: quote currency it began with.
        position: its own books.
        memory: of the last decision; None opens the account, with the equity of its capital.
        last_bar_ns: open time of the bar decided on last, ns UTC. What was ordered there is filled in the next one.
    """
    mark = Decimal(repr(candle.close))
    earned = net_pnl(position, mark)
    if memory is None or last_bar_ns is None:
        memory = AccountMemory(earned, position.quantity, candle.open_time_ns, capital)
    elif position.quantity != memory.quantity:
        changed_ns = last_bar_ns + candle.timeframe.ns
        memory = replace(memory, quantity=position.quantity, changed_ns=changed_ns)
    equity = equity_of(capital, earned, memory)
    return OwnAccount(
        candle=candle,
        mark=mark,
        equity=equity,
        cash=LEDGER_CONTEXT.subtract(equity, LEDGER_CONTEXT.multiply(position.quantity, mark)),
        quantity=position.quantity,
        entry_price=position.average_price,
        memory=replace(memory, peak=max(memory.peak, equity)),
    )


def equity_of(capital: Decimal, earned: Decimal, memory: AccountMemory) -> Decimal:
    """Return what an account is worth, quote currency.

    Args:
        capital: that it began with.
        earned: net profit in the strategy's books.
    """
    return LEDGER_CONTEXT.add(capital, LEDGER_CONTEXT.subtract(earned, memory.opening_pnl))
