"""Order plans: one wish that becomes several orders over time. Pure values, any thread.

A plan is the parent of its child orders. What it does next follows from the plan and its children alone, both of which
are in the journal, so a plan goes on after a restart where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from core.domain.instruments import Instrument
from core.domain.orders import MANUAL_OWNER, IntentSource, Side

TRAIL_STEP = Decimal("0.1")  # a trailing stop moves in steps of this part of its distance: each move is two requests


class PlanKind(StrEnum):
    """What a plan does."""

    EXIT = "exit"  # close a position at a stop, a trailing stop or a target; one cancels the other
    BRACKET = "bracket"  # enter, then exit as above
    TWAP = "twap"  # equal parts over time
    ICEBERG = "iceberg"  # a limit order of which only a part is shown


class PlanState(StrEnum):
    """Life of a plan."""

    WORKING = "working"
    PAUSED = "paused"  # after a restart: it would open or grow a position, and a person has not said to go on
    DONE = "done"
    CANCELED = "canceled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in (PlanState.WORKING, PlanState.PAUSED)


@dataclass(frozen=True, slots=True)
class ExitRules:
    """When a position is closed.

    Attributes:
        stop_price: it is closed once the market is at or beyond this price; rests at the venue.
        target_price: it is closed once the market reaches this price; watched here.
        trail: distance of a stop that follows the best price reached, in quote currency; instead of `stop_price`, which
            then says only where the stop begins.
    """

    stop_price: Decimal | None = None
    target_price: Decimal | None = None
    trail: Decimal | None = None

    def __post_init__(self) -> None:
        given = [price for price in (self.stop_price, self.target_price, self.trail) if price is not None]
        if not given:
            raise ValueError("an exit needs a stop, a trailing distance or a target")
        if any(not price.is_finite() or price <= 0 for price in given):
            raise ValueError("prices of an exit must be positive")


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """A plan as a person or a strategy asks for it.

    Attributes:
        side: of the entry (bracket), of the parts (TWAP, iceberg), or of the closing order (exit).
        quantity: base currency in total.
        limit_price: of the entry (None enters at the market), of an iceberg's parts, or the worst price of a TWAP.
        exits: of an exit or a bracket.
        slices / duration_s: of a TWAP.
        visible: of an iceberg, base currency.
        reduce_only: TWAP and iceberg may only shrink the position.
    """

    kind: PlanKind
    symbol: str
    side: Side
    quantity: Decimal
    limit_price: Decimal | None = None
    exits: ExitRules | None = None
    slices: int = 0
    duration_s: int = 0
    visible: Decimal | None = None
    reduce_only: bool = False
    owner: str = MANUAL_OWNER

    def __post_init__(self) -> None:
        if not self.quantity.is_finite() or self.quantity <= 0:
            raise ValueError(f"quantity must be positive, got {self.quantity}")
        if self.limit_price is not None and (not self.limit_price.is_finite() or self.limit_price <= 0):
            raise ValueError(f"the limit price must be positive, got {self.limit_price}")
        if self.kind in (PlanKind.EXIT, PlanKind.BRACKET):
            if self.exits is None:
                raise ValueError("an exit needs a stop, a trailing distance or a target")
            self._check_exits(self.exits)
        if self.kind is PlanKind.TWAP and not (self.slices >= 2 and self.duration_s >= 2 * self.slices):
            raise ValueError("a TWAP order needs at least 2 parts, and at least 2 seconds for each")
        if self.kind is PlanKind.ICEBERG:
            if self.limit_price is None:
                raise ValueError("an iceberg order needs a limit price")
            if self.visible is None or not 0 < self.visible < self.quantity:
                raise ValueError("the visible part must be smaller than the whole order")

    def _check_exits(self, exits: ExitRules) -> None:
        """Refuse a stop on the profitable side of the target or of the entry."""
        sign = self.closing_side.sign  # a sale stops below and aims above
        stop, target = exits.stop_price, exits.target_price
        if stop is not None and target is not None and (stop - target) * sign <= 0:
            raise ValueError("stop and target are on the wrong sides of each other")
        if self.kind is PlanKind.BRACKET and self.limit_price is not None:
            if stop is not None and (stop - self.limit_price) * sign <= 0:
                raise ValueError("the stop is on the wrong side of the entry")
            if target is not None and (self.limit_price - target) * sign <= 0:
                raise ValueError("the target is on the wrong side of the entry")

    @property
    def closing_side(self) -> Side:
        """Side of the orders that close the position."""
        return self.side.opposite if self.kind is PlanKind.BRACKET else self.side


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """A plan in the books.

    Attributes:
        plan_id: unique id; the intent ids of its children are derived from it.
        source: who wants it.
        stop_price: where its stop stands now; moves with a trailing stop.
        cancelled: client order ids of children the plan itself wanted cancelled; any other cancel is from outside.
        reason: why it is in this state, one sentence; empty while it works.
        created_ns / updated_ns: ns UTC.
    """

    plan_id: str
    draft: PlanDraft
    source: IntentSource = IntentSource.MANUAL
    state: PlanState = PlanState.WORKING
    stop_price: Decimal | None = None
    cancelled: frozenset[str] = field(default_factory=frozenset)
    reason: str = ""
    created_ns: int = 0
    updated_ns: int = 0

    def child_intent_id(self, role: str, number: int) -> str:
        """Return the intent id of a child: the same wish has the same id, so that it is at most one order."""
        return f"plan:{self.plan_id}:{role}:{number}"


def trailing_stop(known: Decimal | None, trail: Decimal, last: Decimal, side: Side, instrument: Instrument) -> Decimal:
    """Return where a trailing stop of this side belongs: behind the best price, moved in steps, never back.

    Args:
        known: where it stands, or where it is to begin; None where it has no place yet.
        trail: its distance to the best price.
        last: the price of the market.
        side: side of the order that closes the position.
        instrument: the market's rules.
    """
    behind = last + trail * side.sign
    following = instrument.floor_price(behind) if side is Side.SELL else instrument.ceil_price(behind)
    if known is None:
        return following
    step = max(instrument.tick_size, trail * TRAIL_STEP)
    return following if (known - following) * side.sign >= step else known


def parse_child(intent_id: str) -> tuple[str, str, int]:
    """Return (plan id, role, number) of a child's intent id.

    Raises:
        ValueError: it is not one.
    """
    prefix, plan_id, role, number = intent_id.split(":")
    if prefix != "plan":
        raise ValueError(f"not the intent of a plan: {intent_id}")
    return plan_id, role, int(number)
