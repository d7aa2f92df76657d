"""What went out lately, for the rules about repetition, rates and habits. Executor's event loop."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import islice
from typing import TypeVar

from core.clock import NS_PER_S, Clock
from core.domain.money import ZERO
from core.domain.orders import Intent, IntentSource, Order, OrderState, Side
from core.signals.risk_management import Denied, ReasonCode

MINUTE_NS = 60 * NS_PER_S
HABIT = 20  # so many orders of one owner in one market say what is usual
HISTORY = 500
_OURS = (IntentSource.MANUAL, IntentSource.STRATEGY)
_NEVER_AN_ORDER = (OrderState.DENIED, OrderState.REJECTED)

_T = TypeVar("_T")

Moment = tuple[int, int]  # on the wall, in the market; ns UTC


class OrderFlow:
    """What went out lately, for the rules about repetition, rates and habits.

    Time has passed where it passed on the wall or in the market: a replay decides hundreds of bars within a second of
    the wall, and a market that stands still is no excuse for a loop. The bar decided on tells the time of a market
    whose clock is only asked now and then. Rates begin anew with the program; habits are read from the books.

    Args:
        history: returns the newest orders in the books, oldest first; asked once.
    """

    def __init__(self, wall: Clock, market: Clock, history: Callable[[], Iterable[Order]]) -> None:
        self._wall = wall
        self._market = market
        self._history = history
        self._bar_ns = 0
        self._sent: deque[tuple[Moment, Intent]] = deque()
        self._cancels: deque[tuple[Moment, None]] = deque()
        self._attempts: defaultdict[str, deque[tuple[Moment, None]]] = defaultdict(deque)
        self._latest: Moment = (0, 0)
        self._set_back = False  # a clock was, once: what is noted is not in order
        self._habits: dict[tuple[str, str], deque[Decimal]] | None = None
        self._runaways: dict[str, str] = {}
        self._horizon_ns = MINUTE_NS

    def hear(self, intent: Intent) -> None:
        """Learn the market's time from the bar an intent was decided on; no market is ahead of the wall."""
        if (bar_ns := intent.evidence.bar_open_ns) is not None:
            self._bar_ns = max(self._bar_ns, min(bar_ns, self._wall.now_ns()))

    def sent(self, intent: Intent) -> None:
        """Note an order on its way."""
        self._note(self._sent, intent)
        self._attempted(intent.owner)
        if _shows_habit(intent):
            self._habit(intent.symbol, intent.owner).append(intent.quantity)

    def denied(self, denied: Denied, most_per_minute: int) -> None:
        """Note a refusal: a strategy that keeps asking, or ran into the rate limit, runs away."""
        owner = denied.intent.owner
        if denied.intent.source is not IntentSource.STRATEGY:
            return
        attempts = self._attempted(owner)
        if denied.code is ReasonCode.ORDER_RATE:
            self._runaways[owner] = denied.message
        elif attempts >= most_per_minute:
            self._runaways[owner] = f"{attempts} orders were asked for within the last minute"

    def cancel_sent(self) -> None:
        """Note a cancel on its way."""
        self._note(self._cancels, None)

    def take_runaways(self) -> dict[str, str]:
        """Return the strategies that ran away since this was last asked, and why."""
        found, self._runaways = self._runaways, {}
        return found

    def recent(self, window_ns: int) -> list[Intent]:
        """Return the manual and strategy intents sent within a window."""
        self._horizon_ns = max(self._horizon_ns, window_ns)
        return [intent for intent in self._within(self._sent, window_ns) if intent.source in _OURS]

    def now(self) -> Moment:
        """Return the time as this flow counts it."""
        return self._now()

    def passed_ns(self, moment: Moment) -> int:
        """Return how much time has passed since a moment, on the wall or in the market."""
        return _passed(moment, self._now())

    def quantity_since(self, symbol: str, side: Side, moment: Moment) -> Decimal:
        """Return how much was ordered in a market on one side since a moment less than a minute ago."""
        sent = self._within(self._sent, self.passed_ns(moment) + 1)
        return sum((i.quantity for i in sent if i.symbol == symbol and i.side is side), start=ZERO)

    def usual_quantities(self, symbol: str, owner: str) -> tuple[Decimal, ...]:
        """Return what an owner ordered last in a market; orders that only reduce say nothing of habits."""
        return tuple(self._habit(symbol, owner))

    def orders_within(self, window_ns: int) -> int:
        """Return how many orders went out within a window of up to a minute."""
        return self._count(self._sent, window_ns)

    def cancels_within(self, window_ns: int) -> int:
        """Return how many cancels went out within a window of up to a minute."""
        return self._count(self._cancels, window_ns)

    def _attempted(self, owner: str) -> int:
        """Note that an owner asked for an order; returns how often it did within the last minute."""
        self._note(self._attempts[owner], None)
        return self._count(self._attempts[owner], MINUTE_NS)

    def _habit(self, symbol: str, owner: str) -> deque[Decimal]:
        if self._habits is None:
            self._habits = {}
            for order in self._history():
                known = order.intent
                if _shows_habit(known) and order.state not in _NEVER_AN_ORDER:
                    self._habit(known.symbol, known.owner).append(known.quantity)
        return self._habits.setdefault((symbol, owner), deque(maxlen=HABIT))

    def _now(self) -> Moment:
        return self._wall.now_ns(), max(self._market.now_ns(), self._bar_ns)

    def _note(self, noted: deque[tuple[Moment, _T]], what: _T) -> None:
        noted.append((self._tick(), what))

    def _tick(self) -> Moment:
        """Return the time, and notice where a clock was set back."""
        now = self._now()
        self._set_back = self._set_back or now[0] < self._latest[0] or now[1] < self._latest[1]
        self._latest = now
        return now

    def _count(self, noted: deque[tuple[Moment, _T]], window_ns: int) -> int:
        start = self._start(noted, window_ns)
        return len(self._scan(noted, window_ns)) if start is None else len(noted) - start

    def _within(self, noted: deque[tuple[Moment, _T]], window_ns: int) -> list[_T]:
        """Return what was noted within a window."""
        start = self._start(noted, window_ns)
        return self._scan(noted, window_ns) if start is None else [what for _, what in islice(noted, start, None)]

    def _start(self, noted: deque[tuple[Moment, _T]], window_ns: int) -> int | None:
        """Return where a window begins; None where that has to be looked up one by one.

        What no window asks for any more is dropped.
        """
        now = self._tick()
        while noted and _passed(noted[0][0], now) >= self._horizon_ns:
            noted.popleft()
        if self._set_back:
            return None
        return bisect_right(noted, -window_ns, key=lambda item: -_passed(item[0], now))

    def _scan(self, noted: deque[tuple[Moment, _T]], window_ns: int) -> list[_T]:
        now = self._now()
        return [what for at, what in noted if 0 <= _passed(at, now) < window_ns]


def _shows_habit(intent: Intent) -> bool:
    """Whether an order says what its owner usually enters with; the parts of a plan are smaller than anybody's wish."""
    return intent.source in _OURS and not intent.reduce_only and not intent.parent_id


def _passed(before: Moment, now: Moment) -> int:
    return max(now[0] - before[0], now[1] - before[1])
