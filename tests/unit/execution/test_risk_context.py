"""What the gate is told: the book as an order would find it, what went out lately, and what is usual."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import NS_PER_S, ManualClock
from core.domain.market import BookSnapshot
from core.domain.orders import (
    Evidence,
    Intent,
    IntentSource,
    Order,
    OrderDraft,
    OrderState,
    OrderType,
    Side,
    TradingMode,
)
from core.execution.api.gateway import GatewayError, RetryableError
from core.execution.book_reader import BOOK_DEPTH, BOOK_REMEMBERED_NS, BOOK_SHARED_NS, book_view
from core.execution.order_flow import HABIT, MINUTE_NS, OrderFlow
from core.signals.risk.context import BookView
from core.signals.risk_management import Denied, ReasonCode, RiskSettings
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue

D = Decimal
START = 1_000 * NS_PER_S
BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, D(1))


def wish(number: int = 1, **changes: Any) -> Intent:
    made = Intent(
        f"s1:{number}",
        IntentSource.STRATEGY,
        "s1",
        "BTC/USDT",
        Side.BUY,
        D(1),
        OrderType.MARKET,
        evidence=Evidence(bar_open_ns=number),
        created_ns=START,
    )
    return replace(made, **changes)


@pytest.fixture
def wall() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def flow(wall: ManualClock) -> OrderFlow:
    return OrderFlow(wall, ManualClock(0), list)


# --- the book -----------------------------------------------------------------------------------------------------

ASKS = ((100.1, 1.0), (100.3, 2.0), (101.0, 5.0))
BIDS = ((99.9, 1.0), (99.5, 1.0))


def snapshot(bids: Any = BIDS, asks: Any = ASKS, time_ns: int = 0) -> BookSnapshot:
    return BookSnapshot("BTC/USDT", bids, asks, time_ns)


@pytest.mark.parametrize(
    ("side", "quantity", "price", "offered"),
    [
        (Side.BUY, "0.5", "100.1", "8"),
        (Side.BUY, "2", "100.2", "8"),
        (Side.BUY, "4", "100.425", "8"),
        (Side.BUY, "99", "100.7125", "8"),  # as far as the book is visible
        (Side.SELL, "1", "99.9", "2"),
        (Side.SELL, "2", "99.7", "2"),
    ],
)
def test_the_average_price_of_a_market_order(side: Side, quantity: str, price: str, offered: str) -> None:
    assert book_view(snapshot(), side, D(quantity)) == BookView(D(100), D(price), D(offered))


def test_a_book_with_one_side_or_none() -> None:
    assert book_view(snapshot(asks=()), Side.BUY, D(1)) == BookView(D("99.9"), None, D(0))
    assert book_view(snapshot(bids=()), Side.BUY, D(1)) == BookView(D("100.1"), D("100.1"), D(8))
    assert book_view(snapshot((), ()), Side.BUY, D(1)) is None


@pytest.mark.parametrize(
    ("gone", "quantity", "price", "offered"),
    [("0.5", "1", "100.2", "7.5"), ("1", "1", "100.3", "7"), ("2.5", "1", "100.65", "5.5"), ("8", "1", None, "0")],
)
def test_what_is_gone_from_a_book_is_not_offered_again(
    gone: str, quantity: str, price: str | None, offered: str
) -> None:
    average = None if price is None else D(price)
    assert book_view(snapshot(), Side.BUY, D(quantity), D(gone)) == BookView(D(100), average, D(offered))


@dataclass
class Books:
    """What the venue answers when it is asked for a book, and how often it was."""

    answer: BookSnapshot
    asked: list[tuple[str, int]]

    async def fetch(self, symbol: str, depth: int = 100) -> BookSnapshot:
        self.asked.append((symbol, depth))
        return self.answer


@pytest.fixture
def books(desk: Desk) -> Books:
    made = Books(snapshot(), [])
    desk.venue.fetch_book = made.fetch  # type: ignore[method-assign]
    return made


async def test_a_market_order_is_held_against_the_book(desk: Desk, books: Books) -> None:
    executor = await desk.start()
    books.answer = snapshot(asks=((100.0, 0.5), (110.0, 9.0)))
    denied = await executor.place_order(BUY)
    assert (denied.reason_code, denied.message) == (
        "SLIPPAGE",
        "the book would fill this order near 105, more than 2.0% worse than 99.95",
    )
    assert desk.venue.sent == []
    small = await executor.place_order(replace(BUY, quantity=D("0.4")))
    assert small.state is OrderState.FILLED
    assert books.asked == [("BTC/USDT", BOOK_DEPTH)], "a book read a moment ago is the book"
    await executor.place_order(replace(BUY, order_type=OrderType.LIMIT, limit_price=D(99)))
    await executor.place_order(replace(BUY, side=Side.SELL, quantity=D("0.1"), reduce_only=True))
    await executor.place_order(replace(BUY, symbol="NO/USDT"))
    assert len(books.asked) == 1, "limit orders, closing orders and unknown markets need no book"


async def test_what_was_ordered_since_is_gone_from_a_remembered_book(desk: Desk, books: Books) -> None:
    executor = await desk.start()
    books.answer = snapshot(asks=((100.0, 0.5), (110.0, 9.0)))
    assert (await executor.place_order(replace(BUY, quantity=D("0.4")))).state is OrderState.FILLED
    again = await executor.place_order(replace(BUY, quantity=D("0.3")))
    assert (again.reason_code, len(books.asked)) == ("SLIPPAGE", 1)


async def test_an_older_book_serves_small_orders_for_a_while(desk: Desk, books: Books) -> None:
    executor = await desk.start()
    await executor.place_order(replace(BUY, quantity=D("0.1")))
    desk.venue.clock.advance(BOOK_SHARED_NS)
    await executor.place_order(replace(BUY, quantity=D("0.2")))
    assert len(books.asked) == 1
    await executor.place_order(replace(BUY, quantity=D("0.6")))  # more than a twentieth of what is offered
    assert len(books.asked) == 2
    desk.venue.clock.advance(BOOK_REMEMBERED_NS)
    await executor.place_order(replace(BUY, quantity=D("0.1")))
    assert len(books.asked) == 3


async def test_a_price_that_went_away_from_a_remembered_book_makes_it_be_read_again(desk: Desk, books: Books) -> None:
    executor = await desk.start()
    await executor.place_order(replace(BUY, quantity=D("0.1")))
    assert len(books.asked) == 1
    executor._marks.update("BTC/USDT", D("100.4"))
    await executor.place_order(replace(BUY, quantity=D("0.11")))
    assert len(books.asked) == 1
    executor._marks.update("BTC/USDT", D("100.6"))  # the slippage allowed is 2 %
    await executor.place_order(replace(BUY, quantity=D("0.12")))
    assert len(books.asked) == 2


@pytest.mark.parametrize("failure", [RetryableError("Too many requests", "429"), TimeoutError()])
async def test_without_a_book_the_order_is_judged_by_the_rest(desk: Desk, failure: Exception) -> None:
    executor = await desk.start()

    async def fetch_book(symbol: str, depth: int = 100) -> BookSnapshot:
        raise failure

    desk.venue.fetch_book = fetch_book  # type: ignore[method-assign]
    assert (await executor.place_order(BUY)).state is OrderState.FILLED


@dataclass
class BookFeed:
    """A stream of books, and what it was asked for. A book is of now where it carries no time of its own."""

    clock: ManualClock
    queue: asyncio.Queue[BookSnapshot | GatewayError]
    opened: list[str]

    async def watch(self, symbol: str, depth: int = 20) -> AsyncIterator[BookSnapshot]:
        self.opened.append(symbol)
        while True:
            item = await self.queue.get()
            if isinstance(item, GatewayError):
                raise item
            yield item

    async def tell(self, item: BookSnapshot | GatewayError) -> None:
        if isinstance(item, BookSnapshot) and not item.time_ns:
            item = replace(item, time_ns=self.clock.now_ns())
        self.queue.put_nowait(item)
        await asyncio.sleep(0.01)


@pytest.fixture
def feed(desk: Desk) -> BookFeed:
    made = BookFeed(desk.venue.clock, asyncio.Queue(), [])
    desk.venue.watch_book = made.watch  # type: ignore[method-assign]
    return made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5.0):
        while not condition():  # noqa: ASYNC110 - what happens is the executor's own doing
            await asyncio.sleep(0.01)


async def test_a_book_asked_for_once_is_followed_from_then_on(desk: Desk, books: Books, feed: BookFeed) -> None:
    executor = await desk.start()
    await executor.place_order(replace(BUY, order_type=OrderType.LIMIT, limit_price=D(99)))
    assert feed.opened == [], "a limit order needs no book"
    await executor.place_order(replace(BUY, quantity=D("0.1")))
    await feed.tell(snapshot(asks=((100.0, 0.5), (110.0, 9.0))))
    assert feed.opened == ["BTC/USDT"]
    desk.venue.clock.advance(BOOK_REMEMBERED_NS)
    await feed.tell(snapshot(asks=((100.0, 0.5), (110.0, 9.0))))
    assert (await executor.place_order(BUY)).reason_code == "SLIPPAGE", "it is judged by what the stream said last"
    desk.venue.clock.advance(NS_PER_S // 2 - 1)
    await feed.tell(snapshot(asks=((100.0, 2.0), (110.0, 9.0))))
    assert (await executor.place_order(replace(BUY, quantity=D("1.1")))).state is OrderState.FILLED
    assert len(books.asked) == 1, "and the venue is not asked again"
    desk.venue.clock.advance(1)
    await feed.tell(snapshot(asks=((100.0, 2.0), (110.0, 9.0))))
    books.answer = snapshot(asks=((100.0, 2.0), (110.0, 9.0)))
    assert (await executor.place_order(replace(BUY, quantity=D("1.2")))).state is OrderState.FILLED
    assert len(books.asked) == 2, "a book just heard may have been cut before the last order, or after it"
    desk.venue.clock.advance(BOOK_REMEMBERED_NS)
    await executor.place_order(replace(BUY, quantity=D("0.2")))
    assert len(books.asked) == 3, "where the stream has fallen silent the venue is asked"
    assert feed.opened == ["BTC/USDT"]


THIN = ((100.0, 0.5), (110.0, 9.0))


@pytest.mark.parametrize(("late_ns", "code"), [(NS_PER_S - 1, "SLIPPAGE"), (NS_PER_S, ""), (5 * NS_PER_S, "")])
@pytest.mark.parametrize("skew_ns", [0, 400_000_000, -400_000_000])
async def test_a_streamed_book_that_waited_for_long_is_no_book_of_now(
    desk: Desk, books: Books, feed: BookFeed, late_ns: int, code: str, skew_ns: int
) -> None:
    desk.venue.skew_ns = skew_ns
    executor = await desk.start()
    await executor.place_order(replace(BUY, quantity=D("0.1")))
    await asyncio.sleep(0.01)
    desk.venue.clock.advance(BOOK_REMEMBERED_NS)
    cut_ns = desk.venue.clock.now_ns() + skew_ns - late_ns
    await feed.tell(snapshot(asks=THIN, time_ns=cut_ns))
    assert (await executor.place_order(BUY)).reason_code == code
    assert len(books.asked) == (1 if code else 2), "where the stream said nothing of now the venue is asked"


async def test_a_request_that_fails_does_not_discard_what_the_stream_said_meanwhile(
    desk: Desk, books: Books, feed: BookFeed
) -> None:
    executor = await desk.start()
    await executor.place_order(replace(BUY, quantity=D("0.1")))
    desk.venue.clock.advance(BOOK_REMEMBERED_NS)
    asked = 0

    async def fails(symbol: str, depth: int = 100) -> BookSnapshot:
        nonlocal asked
        asked += 1
        await feed.tell(snapshot(asks=THIN))
        raise RetryableError("Too many requests", "429")

    desk.venue.fetch_book = fails  # type: ignore[method-assign]
    assert (await executor.place_order(BUY)).reason_code == "SLIPPAGE", "judged by the stream"
    desk.venue.clock.advance(BOOK_SHARED_NS // 2)
    assert (await executor.place_order(replace(BUY, quantity=D("1.1")))).reason_code == "SLIPPAGE"
    assert asked == 1, "and the book is still remembered"


async def test_links_cut_at_the_same_moment_do_not_return_at_the_same_moment(desk: Desk) -> None:
    executor = desk.build()
    first, second = executor._new_backoff(), executor._new_backoff()
    pauses = [(first.next_s(), second.next_s()) for _ in range(8)]
    assert all(one != other for one, other in pauses)


async def test_a_broken_book_stream_is_told_and_opened_again(desk: Desk, books: Books, feed: BookFeed) -> None:
    executor = await desk.start()
    await executor.place_order(replace(BUY, quantity=D("0.1")))
    await feed.tell(RetryableError("cut", ""))
    assert "book:BTC/USDT" in desk.venue.monitor._troubles
    await until(lambda: len(feed.opened) == 2)
    await feed.tell(snapshot())
    assert "book:BTC/USDT" not in desk.venue.monitor._troubles


# --- the clock ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "growing"), [(TradingMode.LIVE, "CLOCK_SKEW"), (TradingMode.PRACTICE, "")])
async def test_a_wrong_clock_grows_no_position_with_real_money(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, mode: TradingMode, growing: str
) -> None:
    desk.venue.mode = mode
    executor = await desk.start()
    assert (await executor.place_order(BUY)).state is OrderState.FILLED
    for number, skew_ns in enumerate((1_500_000_000, -1_500_000_000, None), start=2):
        monkeypatch.setattr(FakeVenue, "clock_skew_ns", skew_ns)
        assert (await executor.place_order(replace(BUY, quantity=D(number)))).reason_code == growing, skew_ns
    closing = replace(BUY, side=Side.SELL, quantity=D("0.5"), reduce_only=True)
    assert (await executor.place_order(closing)).state is OrderState.FILLED


# --- rates and repetition -----------------------------------------------------------------------------------------


def test_orders_and_cancels_are_counted_within_their_windows(flow: OrderFlow, wall: ManualClock) -> None:
    flow.sent(wish(1))
    flow.cancel_sent()
    wall.advance(NS_PER_S)
    flow.sent(wish(2, source=IntentSource.KILL_SWITCH))
    assert (flow.orders_within(NS_PER_S), flow.orders_within(MINUTE_NS), flow.cancels_within(MINUTE_NS)) == (1, 2, 1)
    assert flow.recent(2 * NS_PER_S) == [wish(1)]
    wall.advance(MINUTE_NS - NS_PER_S)
    assert (flow.orders_within(MINUTE_NS), flow.cancels_within(MINUTE_NS)) == (1, 0)
    wall.advance(NS_PER_S)
    assert flow.orders_within(MINUTE_NS) == 0


def test_a_replay_may_decide_many_bars_within_a_second_and_a_loop_may_not(wall: ManualClock) -> None:
    market = ManualClock(0)
    flow = OrderFlow(wall, market, list)
    for number in range(5):
        flow.sent(wish(number))
        market.advance(MINUTE_NS)
    assert (flow.orders_within(NS_PER_S), flow.orders_within(MINUTE_NS)) == (0, 0)
    for number in range(5):  # the market stands still
        flow.sent(wish(number))
        wall.advance(NS_PER_S // 10)
    assert (flow.orders_within(NS_PER_S), flow.orders_within(MINUTE_NS)) == (5, 5)


def test_the_bar_tells_the_time_of_a_market_in_lockstep_and_never_a_later_one(
    flow: OrderFlow,
) -> None:
    for bar in range(5):
        order = wish(evidence=Evidence(bar_open_ns=bar * MINUTE_NS))
        flow.hear(order)
        assert flow.orders_within(MINUTE_NS) == 0
        flow.sent(order)
    for number in range(3):  # nonsense: decided in the future
        order = wish(evidence=Evidence(bar_open_ns=(99 + number) * MINUTE_NS))
        flow.hear(order)
        assert flow.orders_within(MINUTE_NS) == number
        flow.sent(order)


@given(
    st.lists(st.tuples(st.integers(-3, 30), st.integers(0, 30), st.booleans()), max_size=40),
    st.integers(0, 60),
)
def test_windows_count_what_a_look_at_every_order_would_count(steps: list[tuple[int, int, bool]], window: int) -> None:
    wall, market = ManualClock(START), ManualClock(START)
    flow = OrderFlow(wall, market, list)
    noted: list[tuple[int, int, Intent]] = []
    for number, (on_the_wall, in_the_market, sends) in enumerate(steps):
        wall._now_ns += on_the_wall * NS_PER_S  # may be set back
        market.advance(in_the_market * NS_PER_S)
        if sends:
            flow.sent(wish(number))
            noted.append((wall.now_ns(), market.now_ns(), wish(number)))
        passed = [max(wall.now_ns() - at, market.now_ns() - bar) for at, bar, _ in noted]
        while passed and passed[0] >= MINUTE_NS:  # forgotten for good
            del passed[0], noted[0]
        inside = [intent for (*_, intent), ns in zip(noted, passed, strict=True) if 0 <= ns < window * NS_PER_S]
        assert flow.orders_within(window * NS_PER_S) == len(inside)
        assert flow.recent(window * NS_PER_S) == inside


def test_a_clock_set_back_hides_no_order(wall: ManualClock) -> None:
    class SetBack:
        now = 2 * MINUTE_NS

        def now_ns(self) -> int:
            return self.now

    other = SetBack()
    flow = OrderFlow(other, wall, list)
    flow.sent(wish())
    other.now = 0
    assert flow.orders_within(MINUTE_NS) == 1


def test_a_long_window_for_repetitions_remembers_longer(flow: OrderFlow, wall: ManualClock) -> None:
    flow.recent(300 * NS_PER_S)
    flow.sent(wish())
    wall.advance(299 * NS_PER_S)
    assert flow.orders_within(MINUTE_NS) == 0
    assert flow.recent(300 * NS_PER_S) == [wish()]
    wall.advance(NS_PER_S)
    assert flow.recent(300 * NS_PER_S) == []


def test_a_strategy_at_the_rate_limit_runs_away_and_a_person_does_not(flow: OrderFlow) -> None:
    flow.denied(Denied(wish(), ReasonCode.ORDER_RATE, "too fast"), 200)
    flow.denied(Denied(wish(source=IntentSource.MANUAL, owner="manual"), ReasonCode.ORDER_RATE, "too fast"), 200)
    assert flow.take_runaways() == {"s1": "too fast"}
    assert flow.take_runaways() == {}


def test_a_strategy_that_only_asks_and_asks_runs_away_too(flow: OrderFlow, wall: ManualClock) -> None:
    flow.sent(wish(0, owner="s2"))
    flow.sent(wish(0))
    for number in range(1, 4):
        wall.advance(NS_PER_S)
        assert flow.take_runaways() == {}
        flow.denied(Denied(wish(number), ReasonCode.DUPLICATE_INTENT, "again"), 4)
    assert flow.take_runaways() == {"s1": "4 orders were asked for within the last minute"}
    wall.advance(MINUTE_NS - 2 * NS_PER_S)
    flow.denied(Denied(wish(9), ReasonCode.DUPLICATE_INTENT, "again"), 4)
    assert flow.take_runaways() == {}, "what is longer ago than a minute does not count"


async def test_a_loop_is_stopped_by_the_gate(desk: Desk) -> None:
    desk.risk = RiskSettings(max_orders_per_second=3)
    executor = await desk.start()
    orders = [
        await executor.submit(wish(number, quantity=D("0.1"), created_ns=desk.venue.clock.now_ns()))
        for number in range(5)
    ]
    assert [o.reason_code for o in orders] == ["", "", "", "ORDER_RATE", "ORDER_RATE"]
    assert len(desk.venue.sent) == 3
    desk.venue.clock.advance(NS_PER_S)
    again = await executor.submit(wish(9, quantity=D("0.1"), created_ns=desk.venue.clock.now_ns()))
    assert again.state is OrderState.FILLED


async def test_replacing_in_a_loop_ends_although_every_cancel_passes(desk: Desk) -> None:
    desk.risk = RiskSettings(max_cancels_per_minute=2, max_orders_per_second=99)
    executor = await desk.start()
    resting = replace(BUY, order_type=OrderType.LIMIT, limit_price=D(99))
    for number in range(2):
        order = await executor.place_order(replace(resting, quantity=D(number + 1)))
        assert (await executor.cancel_order(order.client_order_id)).state is OrderState.CANCELED
    assert (await executor.place_order(replace(resting, quantity=D(3)))).reason_code == "ORDER_RATE"


async def test_a_strategy_that_decides_twice_on_one_bar_orders_once(desk: Desk) -> None:
    executor = await desk.start()
    now = desk.venue.clock.now_ns()
    first = await executor.submit(wish(1, created_ns=now))
    twice = await executor.submit(wish(1, intent_id="s1:other", created_ns=now))
    later = await executor.submit(wish(2, created_ns=now))
    assert [o.reason_code for o in (first, twice, later)] == ["", "DUPLICATE_INTENT", ""]
    assert len(desk.venue.sent) == 2


async def test_an_order_in_parts_is_asked_about_as_a_whole(desk: Desk) -> None:
    desk.risk = RiskSettings(max_order_value=D(500))
    executor = await desk.start()
    await executor.place_order(replace(BUY, quantity=D("0.1")))  # a price is known from here on
    whole = wish(1, quantity=D("5.1"))
    denied = executor._desk.check_parent(whole)
    assert denied is not None
    assert denied.code is ReasonCode.MAX_ORDER_VALUE
    assert executor._desk.check_parent(replace(whole, quantity=D(5))) is None
    assert len(desk.venue.sent) == 1, "a question sends nothing"


# --- habits -------------------------------------------------------------------------------------------------------


def test_what_is_usual_is_per_owner_and_market_and_of_entries_only(flow: OrderFlow) -> None:
    for number in range(HABIT + 2):
        flow.sent(wish(number, quantity=D(number + 1)))
    flow.sent(wish(99, quantity=D(77), owner="s2"))
    flow.sent(wish(99, quantity=D(77), symbol="ETH/USDT"))
    flow.sent(wish(99, quantity=D(77), reduce_only=True, side=Side.SELL))
    flow.sent(wish(99, quantity=D(77), source=IntentSource.KILL_SWITCH))
    flow.sent(wish(99, quantity=D("0.01"), intent_id="plan:p1:slice:1"))
    assert flow.usual_quantities("BTC/USDT", "s1") == tuple(D(n) for n in range(3, HABIT + 3))
    assert flow.usual_quantities("BTC/USDT", "s2") == (D(77),)


def test_habits_are_read_from_the_books_once(wall: ManualClock) -> None:
    asked = []

    def history() -> list[Order]:
        asked.append(1)
        states = [OrderState.FILLED, OrderState.DENIED, OrderState.REJECTED, OrderState.CANCELED]
        return [Order(str(n), wish(n, quantity=D(n + 1)), state) for n, state in enumerate(states)]

    flow = OrderFlow(wall, ManualClock(0), history)
    assert flow.usual_quantities("BTC/USDT", "s1") == (D(1), D(4))
    flow.sent(wish(9, quantity=D(9)))
    assert flow.usual_quantities("BTC/USDT", "s1") == (D(1), D(4), D(9))
    assert len(asked) == 1


async def test_a_slipped_zero_is_caught_after_a_restart_as_well(desk: Desk) -> None:
    first = await desk.start()
    for _ in range(5):
        desk.venue.clock.advance(3 * NS_PER_S)
        assert (await first.place_order(replace(BUY, quantity=D("0.6")))).state is OrderState.FILLED
    await first.stop()
    second = await desk.start()
    slip = await second.place_order(replace(BUY, quantity=D(6)))
    assert (slip.reason_code, slip.message) == ("FAT_FINGER", "a quantity of 6 is far above the usual 0.6")
    assert (await second.place_order(replace(BUY, quantity=D("5.9")))).state is OrderState.FILLED
