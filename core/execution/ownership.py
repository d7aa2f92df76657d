"""Who may trade a market: decisions only. Pure functions; any thread.

Three ways (`core.domain.positions.Ownership`), shared unless said otherwise:

- SHARED: strategies and the person trade side by side, every owner with a position of its own.
- MANUAL: the person has taken the market over. Strategies may not trade it at all, not even to leave a position: what
  is to become of it is the person's to say. Positions stay with their owners unless they are moved.
- BOT: the market is left to its strategies. The person may only reduce positions.

Cancels, the kill switch and what the venue reports are never refused here.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.domain.orders import MANUAL_OWNER, Intent, IntentSource, Order, OrderState
from core.domain.positions import Ownership
from core.execution.records import EXTERNAL_OWNER


def who_may_trade(ownership: Ownership, intent: Intent) -> str:
    """Return why the market's ownership forbids an intent, one sentence, or "" where it does not."""
    if ownership is Ownership.MANUAL and intent.source is IntentSource.STRATEGY:
        return f"{intent.symbol} was taken over by hand; strategies may not trade it"
    if ownership is Ownership.BOT and intent.source is IntentSource.MANUAL and not intent.reduce_only:
        return f"{intent.symbol} is left to its strategies; a manual order may only reduce a position"
    return ""


def is_strategy(owner: str) -> bool:
    """Return whether an owner is a strategy."""
    return owner not in (MANUAL_OWNER, EXTERNAL_OWNER)


def strategy_orders(working: Iterable[Order], symbol: str) -> list[Order]:
    """Return the working orders that strategies sent in a market; what a person sent for one of them is not."""
    return [o for o in working if o.intent.symbol == symbol and o.intent.source is IntentSource.STRATEGY]


def manual_orders(working: Iterable[Order], symbol: str) -> list[Order]:
    """Return the working orders of the person in a market that may open a position."""
    return [
        o
        for o in working
        if o.intent.symbol == symbol and o.intent.source is IntentSource.MANUAL and not o.intent.reduce_only
    ]


def undecided(orders: Iterable[Order], symbol: str) -> bool:
    """Return whether the fate of an order in a market is open.

    Args:
        orders: working ones, without those whose answer is awaited right now.
    """
    open_states = (OrderState.UNKNOWN, OrderState.SUBMITTED)
    return any(o.intent.symbol == symbol and o.state in open_states for o in orders)
