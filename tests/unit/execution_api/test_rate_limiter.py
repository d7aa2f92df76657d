"""Request limits: whatever is sent, no window of the venue ever holds more than it allows; others' use is seen."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.execution.api.binance_api import BinanceDialect
from core.execution.api.gateway import RetryableError
from core.execution.api.rate_limiter import BUCKETS, LimitKind, LimitPool, LimitUse, RequestLimit, SlidingWindow
from core.execution.api.request_budget import SHARES, BudgetRegistry, Lane, RateLimiter

MINUTE = RequestLimit(LimitKind.WEIGHT, 100, 60.0)
ORDERS = RequestLimit(LimitKind.ORDERS, 10, 10.0)


class Time:
    """Monotonic seconds that stand still until told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


# --- the window ---------------------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 9)), max_size=80)


@given(STEPS)
def test_the_sliding_sum_is_never_too_small_and_at_most_one_bucket_late(steps: list[tuple[float, int]]) -> None:
    window, now_s, sent = SlidingWindow(60.0), 0.0, list[tuple[float, int]]()
    for pause_s, amount in steps:
        now_s += pause_s
        window.add(now_s, amount)
        sent.append((now_s, amount))
        total = window.total(now_s)
        assert total >= sum(n for t, n in sent if t > now_s - 60.0)
        assert total <= sum(n for t, n in sent if t >= now_s - 60.0 - 60.0 / BUCKETS - 1e-6)


@given(STEPS, st.integers(1, 60))
def test_the_promised_wait_is_long_enough(steps: list[tuple[float, int]], excess: int) -> None:
    window, now_s = SlidingWindow(60.0), 0.0
    for pause_s, amount in steps:
        now_s += pause_s
        window.add(now_s, amount)
    before = window.total(now_s)
    wait_s = window.wait_s(now_s, excess)
    assert 0 <= wait_s <= 60.0 + 60.0 / BUCKETS + 1e-6
    assert window.total(now_s + wait_s + 1e-6) <= max(0, before - min(excess, before)) + 1e-9


def test_a_long_silence_empties_it_at_once() -> None:
    window = SlidingWindow(10.0)
    window.add(5.0, 7)
    assert window.total(1e9) == 0


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 40)), max_size=60), st.floats(0, 60))
def test_no_fixed_window_of_the_venue_ever_holds_more_than_its_limit(
    demands: list[tuple[float, int]], phase_s: float
) -> None:
    """A token bucket of the same size fails this: a full bucket and what flows in meet within one minute."""
    pool, now_s, sent = LimitPool(MINUTE), 0.0, dict[int, float]()
    for pause_s, weight in demands:
        now_s += pause_s
        while (wait_s := pool.wait_s(now_s, weight, 1.0)) > 0:
            now_s += wait_s
        pool.take(now_s, weight)
        minute = int((now_s + phase_s) // 60)  # the venue's clock cuts elsewhere than ours
        sent[minute] = sent.get(minute, 0) + weight
    assert all(total <= MINUTE.limit for total in sent.values())


# --- the venue's own figure ---------------------------------------------------------------------------------------


def test_what_others_use_is_seen_until_the_venues_window_ends() -> None:
    pool = LimitPool(MINUTE, margin=0.0)
    pool.take(0.0, 10)
    pool.told(0.0, 95, 20.0)  # another program on this address
    assert pool.used(0.0) == 95
    assert pool.wait_s(0.0, 5, 1.0) == 0
    assert pool.wait_s(0.0, 6, 1.0) == pytest.approx(21.0)
    pool.take(0.0, 5)
    assert pool.used(0.0) == 100  # our own goes on top of what was told
    assert pool.used(22.0) == 15  # their window is over; ours slides


def test_an_answer_that_was_overtaken_does_not_lower_the_figure_and_a_new_window_does() -> None:
    pool = LimitPool(MINUTE, margin=0.0)
    pool.told(0.0, 90, 30.0)
    pool.told(0.5, 70, 29.5)
    assert pool.used(0.5) == 90
    pool.told(30.6, 3, 59.4)
    assert pool.used(30.6) == 3


def test_a_call_above_its_whole_share_waits_until_nothing_is_used() -> None:
    pool = LimitPool(MINUTE, margin=0.0)
    assert pool.wait_s(0.0, 500, 0.5) == 0
    pool.take(0.0, 1)
    assert pool.wait_s(0.0, 500, 0.5) > 59


def test_headers_and_limits_are_read_as_binance_writes_them() -> None:
    dialect = BinanceDialect()
    headers = {
        "x-mbx-used-weight": "7",  # without an interval: an older form that says nothing
        "x-mbx-used-weight-1m": "1200",
        "x-mbx-order-count-10s": "3",
        "x-mbx-order-count-1d": "450",
        "x-mbx-used-weight-5m": "many",
    }
    assert set(dialect.limit_uses(headers)) == {
        LimitUse(LimitKind.WEIGHT, 60.0, 1_200.0),
        LimitUse(LimitKind.ORDERS, 10.0, 3.0),
        LimitUse(LimitKind.ORDERS, 86_400.0, 450.0),
    }
    body = """{"timezone":"UTC","rateLimits":[
        {"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000},
        {"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":61000},
        {"rateLimitType":"CONNECTIONS","interval":"MINUTE","intervalNum":5,"limit":300},
        {"rateLimitType":"ORDERS","interval":"DAY","intervalNum":1,"limit":200000}],"symbols":[]}"""
    assert dialect.request_limits("https://h/api/v3/exchangeInfo?x=1", body) == [
        RequestLimit(LimitKind.WEIGHT, 6_000, 60.0),
        RequestLimit(LimitKind.RAW, 61_000, 300.0),
        RequestLimit(LimitKind.ORDERS, 200_000, 86_400.0),
    ]
    assert dialect.request_limits("https://h/api/v3/order", body) == []
    assert dialect.request_limits("https://h/api/v3/exchangeInfo", "{}") == []


# --- lanes, pauses, bans ------------------------------------------------------------------------------------------


def limiter(clock: Time, *limits: RequestLimit) -> RateLimiter:
    registry = BudgetRegistry(clock)
    address, account = registry.address("v", "h"), registry.account("v", "h", "k")
    for budget in (address, account):
        budget.configure(limits or (MINUTE, ORDERS))
    return RateLimiter(registry, address, account)


async def refused(made: RateLimiter, lane: Lane, weight: float = 1) -> float:
    with pytest.raises(RetryableError) as caught:
        await made.acquire(lane, weight, max_wait_s=0)
    return caught.value.retry_after_s


async def test_market_data_gives_way_first_and_a_cancel_always_finds_room() -> None:
    made = limiter(Time(), MINUTE, RequestLimit(LimitKind.ORDERS, 1_000, 10.0))
    spent = dict.fromkeys(Lane, 0)
    for lane in Lane:
        while True:
            try:
                await made.acquire(lane, 1, max_wait_s=0)
            except RetryableError:
                break
            spent[lane] += 1
    assert all(spent.values())
    assert spent[Lane.MARKET] == round(90 * SHARES[Lane.MARKET])
    assert sum(spent.values()) == 90  # the safety margin is nobody's


async def test_orders_are_counted_by_account_and_only_orders() -> None:
    made = limiter(Time())
    for _ in range(9):
        await made.acquire(Lane.SUBMIT, 1, max_wait_s=0)
    assert 9 < await refused(made, Lane.SUBMIT) <= 11
    await made.acquire(Lane.CANCEL, 1, max_wait_s=0)
    assert made.account.used(LimitKind.ORDERS, 10.0) == 9
    assert made.address.used(LimitKind.WEIGHT, 60.0) == 10  # the refused one was booked nowhere


@pytest.mark.parametrize("hit", Lane)
async def test_too_many_requests_pauses_the_lane_that_was_hit_and_those_below(hit: Lane) -> None:
    clock = Time()
    made = limiter(clock)
    made.address.pause(hit, 30)
    for lane in Lane:
        if lane <= hit:
            assert await refused(made, lane) == pytest.approx(30)
        else:
            await made.acquire(lane, 1, max_wait_s=0)
    clock.now_s += 31
    await made.acquire(hit, 1, max_wait_s=0)


async def test_a_banned_address_sends_nothing_at_all_and_says_until_when() -> None:
    clock = Time()
    made = limiter(clock)
    made.address.ban(120, 1_700_000_000_000_000_000)
    made.address.ban(60, 1_600_000_000_000_000_000)  # a shorter one does not shorten it
    for lane in Lane:
        with pytest.raises(RetryableError, match="until 2023-11-14 22:13:20 UTC") as caught:
            await made.acquire(lane, 1, max_wait_s=1)
        assert caught.value.retry_after_s == pytest.approx(120)
    assert made.address.used(LimitKind.WEIGHT, 60.0) == 0
    clock.now_s += 121
    await made.acquire(Lane.MARKET, 1, max_wait_s=0)


def test_a_limit_the_venue_lowers_keeps_what_was_used() -> None:
    clock = Time()
    made = limiter(clock)
    budget = made.address
    budget.configure([RequestLimit(LimitKind.WEIGHT, 50, 60.0), RequestLimit(LimitKind.RAW, 5, 300.0), ORDERS])
    assert budget.used(LimitKind.ORDERS, 10.0) == 0  # no pool of an address
    for _ in range(4):
        asyncio.run(made.acquire(Lane.CANCEL, 1, max_wait_s=0))
    budget.configure([RequestLimit(LimitKind.WEIGHT, 10, 60.0)])
    assert budget.used(LimitKind.WEIGHT, 60.0) == 4


async def test_waiting_really_waits_in_order_of_arrival() -> None:
    registry = BudgetRegistry()
    address = registry.address("v", "h")
    address.configure([RequestLimit(LimitKind.WEIGHT, 10 / 0.9 * 0.2 / 0.7, 0.3)])  # 2 at a time for market data
    made, order = RateLimiter(registry, address, registry.account("v", "h", "")), list[int]()

    async def one(number: int) -> None:
        await made.acquire(Lane.MARKET, 1, max_wait_s=5)
        order.append(number)

    started = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(4)))
    assert order == [0, 1, 2, 3]
    assert time.monotonic() - started >= 0.3


async def test_waiting_for_ones_turn_counts_as_waiting() -> None:
    made = limiter(Time())
    made.address.pause(Lane.MARKET, 1_000)
    first = asyncio.create_task(made.acquire(Lane.MARKET, 1, max_wait_s=2_000))
    await asyncio.sleep(0.01)
    started = time.monotonic()
    with pytest.raises(RetryableError):
        await made.acquire(Lane.MARKET, 1, max_wait_s=0.05)
    assert time.monotonic() - started < 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


def test_two_links_on_two_threads_share_one_budget() -> None:
    """The window's market data and its orders come from one address: together they stay below the limit."""
    registry = BudgetRegistry()
    registry.address("v", "h").configure([RequestLimit(LimitKind.WEIGHT, 1_000, 600.0)])
    granted = [0, 0]

    def link(index: int) -> None:
        async def spend() -> None:
            made = RateLimiter(registry, registry.address("v", "h"), registry.account("v", "h", str(index)))
            while True:
                try:
                    await made.acquire(Lane.CANCEL, 1, max_wait_s=0)
                except RetryableError:
                    return
                granted[index] += 1

        asyncio.run(spend())

    threads = [threading.Thread(target=link, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 900
    assert registry.address("v", "h") is not registry.address("v", "elsewhere")
    assert registry.account("v", "h", "0") is not registry.account("v", "h", "1")
