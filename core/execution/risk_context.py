"""What the risk gate is told of an intent: books, prices, limits used, and what went out lately. Executor's event loop.

The order desk asks `RiskContexts.of` before every check and tells the `OrderFlow` what became of it.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from typing import TypeVar

from core.clock import NS_PER_S, Clock
from core.domain.market import BookSnapshot
from core.domain.money import LEDGER_CONTEXT, ZERO
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side, TradingMode
from core.execution.account import AccountBook
from core.execution.api.gateway import ExchangeGateway, GatewayError
from core.execution.marks import Marks
from core.execution.order_manager import OrderManager
from core.execution.trading_control import TradingControl
from core.signals.risk.context import BookView, RiskContext
from core.signals.risk_management import Denied, ReasonCode, RiskManager

MINUTE_NS = 60 * NS_PER_S
BOOK_DEPTH = 100
BOOK_PATIENCE_S = 1.0
# A book read a moment ago is the book. An older one still tells a small order what it meets, while the price stays.
BOOK_SHARED_NS = NS_PER_S
BOOK_REMEMBERED_NS = 10 * NS_PER_S
SMALL_SHARE = Decimal("0.05")  # of what a book offers
NEAR_SHARE = Decimal("0.25")  # of the slippage allowed: how far the price may have gone from a remembered book
HABIT = 20  # so many orders of one owner in one market say what is usual
HISTORY = 500
_OURS = (IntentSource.MANUAL, IntentSource.STRATEGY)
_NEVER_AN_ORDER = (OrderState.DENIED, OrderState.REJECTED)

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


_Moment = tuple[int, int]


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
        self._sent: deque[tuple[_Moment, Intent]] = deque()
        self._cancels: deque[tuple[_Moment, None]] = deque()
        self._attempts: defaultdict[str, deque[tuple[_Moment, None]]] = defaultdict(deque)
        self._latest: _Moment = (0, 0)
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

    def now(self) -> _Moment:
        """Return the time as this flow counts it."""
        return self._now()

    def passed_ns(self, moment: _Moment) -> int:
        """Return how much time has passed since a moment, on the wall or in the market."""
        return _passed(moment, self._now())

    def quantity_since(self, symbol: str, side: Side, moment: _Moment) -> Decimal:
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

    def _now(self) -> _Moment:
        return self._wall.now_ns(), max(self._market.now_ns(), self._bar_ns)

    def _note(self, noted: deque[tuple[_Moment, _T]], what: _T) -> None:
        noted.append((self._tick(), what))

    def _tick(self) -> _Moment:
        """Return the time, and notice where a clock was set back."""
        now = self._now()
        self._set_back = self._set_back or now[0] < self._latest[0] or now[1] < self._latest[1]
        self._latest = now
        return now

    def _count(self, noted: deque[tuple[_Moment, _T]], window_ns: int) -> int:
        start = self._start(noted, window_ns)
        return len(self._scan(noted, window_ns)) if start is None else len(noted) - start

    def _within(self, noted: deque[tuple[_Moment, _T]], window_ns: int) -> list[_T]:
        """Return what was noted within a window."""
        start = self._start(noted, window_ns)
        return self._scan(noted, window_ns) if start is None else [what for _, what in islice(noted, start, None)]

    def _start(self, noted: deque[tuple[_Moment, _T]], window_ns: int) -> int | None:
        """Return where a window begins; None where that has to be looked up one by one.

        What no window asks for any more is dropped.
        """
        now = self._tick()
        while noted and _passed(noted[0][0], now) >= self._horizon_ns:
            noted.popleft()
        if self._set_back:
            return None
        return bisect_right(noted, -window_ns, key=lambda item: -_passed(item[0], now))

    def _scan(self, noted: deque[tuple[_Moment, _T]], window_ns: int) -> list[_T]:
        now = self._now()
        return [what for at, what in noted if 0 <= _passed(at, now) < window_ns]


def _shows_habit(intent: Intent) -> bool:
    """Whether an order says what its owner usually enters with; the parts of a plan are smaller than anybody's wish."""
    return intent.source in _OURS and not intent.reduce_only and not intent.parent_id


def _passed(before: _Moment, now: _Moment) -> int:
    return max(now[0] - before[0], now[1] - before[1])


class RiskContexts:
    """Builds what the gate is told.

    Args:
        in_doubt: whether the books have yet to be compared with the venue.
        clock_skew_ns: the venue's clock minus ours, None where nobody has measured it.
        owner_denies: why an intent's owner must not trade its market now, one sentence; empty where it may.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        manager: OrderManager,
        risk: RiskManager,
        control: TradingControl,
        account: AccountBook,
        marks: Marks,
        flow: OrderFlow,
        wall: Clock,
        *,
        in_doubt: Callable[[], bool],
        clock_skew_ns: Callable[[], int | None],
        owner_denies: Callable[[Intent], str] = lambda intent: "",
    ) -> None:
        self._gateway = gateway
        self._manager = manager
        self._risk = risk
        self._control = control
        self._account = account
        self._marks = marks
        self._flow = flow
        self._wall = wall
        self._in_doubt = in_doubt
        self._clock_skew_ns = clock_skew_ns
        self._owner_denies = owner_denies
        self._readings: dict[str, _Reading] = {}

    def of(self, intent: Intent, book: BookView | None = None) -> RiskContext:
        """Return the world around an intent at this moment."""
        self._flow.hear(intent)
        symbol, owner = intent.symbol, intent.owner
        instrument = self._gateway.instruments.get(symbol)
        working = self._manager.working
        prices = {s: self._marks.price(s) for s in {order.intent.symbol for order in working}}
        return RiskContext(
            now_ns=self._wall.now_ns(),
            trading_state=self._control.state,
            keeps_protection=self._control.keeps_protection,
            instrument=instrument,
            mark_price=self._marks.price(symbol),
            mark_age_ns=self._marks.age_ns(symbol),
            marks={s: price for s, price in prices.items() if price is not None},
            in_doubt=self._in_doubt(),
            owner_quantity=self._manager.position(symbol, owner).quantity,
            account_quantity=self._manager.account_quantity(symbol),
            holdings=self._account.total(instrument.base) if instrument else ZERO,
            free=self._account.free,
            equity=self._account.equity(instrument.quote) if instrument else None,
            working=working,
            day_pnl=self._account.day_pnl(),
            drawdown=self._account.drawdown(),
            recent=self._flow.recent(self._risk.settings.duplicate_window_s * NS_PER_S),
            usual_quantities=self._flow.usual_quantities(symbol, owner),
            orders_last_second=self._flow.orders_within(NS_PER_S),
            orders_last_minute=self._flow.orders_within(MINUTE_NS),
            cancels_last_minute=self._flow.cancels_within(MINUTE_NS),
            book=book,
            live=self._gateway.mode is TradingMode.LIVE,
            clock_skew_ns=self._clock_skew_ns(),
            symbol_owner_denies=self._owner_denies(intent),
        )

    def without(self, intent: Intent, former: Order) -> RiskContext:
        """Return the world as it will be once `former`, an order of the same market, is cancelled: it locks nothing."""
        context = self.of(intent)
        instrument = context.instrument
        if instrument is None:
            return context
        selling = former.intent.side is Side.SELL
        price = former.intent.limit_price or context.mark_price or ZERO
        currency = instrument.base if selling else instrument.quote
        locked = former.remaining_quantity if selling else former.remaining_quantity * price
        return replace(
            context,
            working=[order for order in context.working if order.client_order_id != former.client_order_id],
            free={**context.free, currency: context.free.get(currency, ZERO) + locked},
        )

    async def look_at_book(self, intent: Intent) -> BookView | None:
        """Tell what the book offers where the gate judges an intent by it; None where the venue does not tell in time.

        Asking the venue takes longer than everything else before an order is sent, so a reading is remembered. What
        was ordered since is gone from it. Its age counts in market time as well: a replay runs ahead of the wall.
        """
        closes = intent.reduce_only or intent.source is IntentSource.KILL_SWITCH
        if closes or intent.order_type is not OrderType.MARKET or intent.symbol not in self._gateway.instruments:
            return None
        remembered = self._readings.get(intent.symbol)
        if remembered is not None and (view := self._remembered(intent, remembered)) is not None:
            return view
        begun = self._flow.now()
        try:
            async with asyncio.timeout(BOOK_PATIENCE_S):
                snapshot = await self._gateway.fetch_book(intent.symbol, BOOK_DEPTH)
        except (GatewayError, TimeoutError) as exc:
            _log.info("no book of %s for a market order: %s", intent.symbol, exc)
            self._readings.pop(intent.symbol, None)
            return None
        self._readings[intent.symbol] = reading = _Reading(snapshot, begun)
        return self._view(intent, reading)

    def _remembered(self, intent: Intent, reading: _Reading) -> BookView | None:
        """Return what an earlier reading says of an intent; None where it does not count any more."""
        view, age_ns = self._view(intent, reading), self._flow.passed_ns(reading.begun)
        mark = self._marks.price(intent.symbol)
        if view is None or mark is None or not 0 <= age_ns < BOOK_REMEMBERED_NS:
            return None
        near = abs(mark - view.middle) <= NEAR_SHARE * self._risk.settings.max_slippage * view.middle
        small = intent.quantity <= SMALL_SHARE * view.quantity
        return view if near and (small or age_ns < BOOK_SHARED_NS) else None

    def _view(self, intent: Intent, reading: _Reading) -> BookView | None:
        gone = self._flow.quantity_since(intent.symbol, intent.side, reading.begun)
        return book_view(reading.book, intent.side, intent.quantity, gone)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A book, and when it was asked for."""

    book: BookSnapshot
    begun: _Moment


def book_view(book: BookSnapshot, side: Side, quantity: Decimal, gone: Decimal = ZERO) -> BookView | None:
    """Return what a book offers a market order; None where it shows nothing at all.

    Args:
        gone: so much of the best offers is taken already.
    """
    bids, asks = _exact(book.bids), _exact(book.asks)
    best = [levels[0][0] for levels in (bids, asks) if levels]
    if not best:
        return None
    offered = paid = taken = ZERO
    for price, size in asks if side is Side.BUY else bids:
        skipped = min(size, gone)
        gone -= skipped
        part = min(size - skipped, quantity - taken)
        paid = LEDGER_CONTEXT.add(paid, LEDGER_CONTEXT.multiply(part, price))
        taken += part
        offered += size - skipped
    average = LEDGER_CONTEXT.divide(paid, taken) if taken else None
    return BookView(LEDGER_CONTEXT.divide(sum(best, start=ZERO), Decimal(len(best))), average, offered)


def _exact(levels: Iterable[tuple[float, float]]) -> list[tuple[Decimal, Decimal]]:
    # repr gives the shortest decimal that is this float: the number the venue wrote.
    return [(Decimal(repr(price)), Decimal(repr(size))) for price, size in levels]
