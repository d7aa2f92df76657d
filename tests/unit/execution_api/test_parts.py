"""The gateway's pure parts: order of bars, state of a link, loading ccxt."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.candles import Candle, Timeframe
from core.domain.orders import TradingMode
from core.events import ConnectionState, ConnectionStatus
from core.execution.api.candle_sequence import CandleSequence
from core.execution.api.ccxt_loader import load_exchange_class
from core.execution.api.connection_monitor import ConnectionMonitor
from core.execution.api.gateway import FatalGatewayError, GatewayError, NoAnswer, RetryableError
from core.execution.api.link_probe import LinkProbe

MINUTE = Timeframe.M1.ns


def bar(index: int, *, final: bool = False, close: float = 1.0) -> Candle:
    return Candle("BTC/USDT", Timeframe.M1, index * MINUTE, 1, 1, 1, close, 1, final)


def finals(candles: list[Candle]) -> list[int]:
    return [c.open_time_ns // MINUTE for c in candles if c.final]


def test_later_bar_waits_for_the_missed_one() -> None:
    sequence = CandleSequence(Timeframe.M1)
    assert finals(sequence.offer(bar(3))) == []
    assert sequence.offer(bar(4)) == []
    assert sequence.missing_from_ns == 3 * MINUTE
    assert sequence.offer(bar(3, close=9)) == []  # late news must not overtake the re-reading
    out = sequence.refill([bar(3, close=7), bar(4, close=8)])
    assert finals(out) == [3]
    assert [c.close for c in out] == [7, 8, 1]
    assert sequence.missing_from_ns is None


def test_rest_that_lags_and_bars_that_do_not_exist() -> None:
    sequence = CandleSequence(Timeframe.M1)
    sequence.offer(bar(0, final=True))
    sequence.offer(bar(5))
    assert finals(sequence.refill([bar(1)])) == [1]  # followed by the held bar
    assert sequence.missing_from_ns == 2 * MINUTE
    assert finals(sequence.refill([bar(3), bar(5)])) == [3]  # 2 and 4 do not exist
    assert sequence.missing_from_ns is None


def test_giving_up_closes_the_bar_as_last_seen() -> None:
    sequence = CandleSequence(Timeframe.M1)
    sequence.offer(bar(0, close=5))
    sequence.offer(bar(1))
    out = sequence.give_up()
    assert finals(out) == [0]
    assert out[0].close == 5
    assert sequence.expected_ns == MINUTE


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60),
    st.randoms(use_true_random=False),
)
def test_whatever_arrives_each_bar_is_final_once_and_in_order(arrivals: list[tuple[int, bool]], random: object) -> None:
    sequence, out = CandleSequence(Timeframe.M1), []
    newest = 0
    for index, closed in arrivals:
        out += sequence.offer(bar(index, final=closed))
        newest = max(newest, index)
        since = sequence.missing_from_ns
        if since is not None:
            out += sequence.refill([bar(i) for i in range(since // MINUTE, newest + 1)])
            assert sequence.missing_from_ns is None
    done = finals(out)
    if done:
        assert done == list(range(done[0], done[-1] + 1))
    assert [c.open_time_ns for c in out] == sorted(c.open_time_ns for c in out)


OFFLINE, CONNECTING = ConnectionState.OFFLINE, ConnectionState.CONNECTING
ONLINE, DEGRADED = ConnectionState.ONLINE, ConnectionState.DEGRADED


def test_the_state_of_a_link_is_decided_from_facts() -> None:
    told: list[ConnectionStatus] = []
    monitor = ConnectionMonitor("binance", "market", TradingMode.PRACTICE, told.append)

    def news() -> list[tuple[ConnectionState, str]]:
        fresh = [(status.state, status.detail) for status in told]
        told.clear()
        return fresh

    monitor.trouble("a", "too early")
    monitor.rest(ONLINE)  # an answer to the calls that open the link
    assert news() == []
    monitor.connecting()
    monitor.rest(ONLINE)
    monitor.opened()
    assert news() == [(CONNECTING, ""), (ONLINE, "")]
    monitor.trouble("a", "silent")
    monitor.trouble("b", "cut")
    monitor.trouble("a", "still silent")
    monitor.rest(ONLINE)  # an answered ping does not mend a stream
    assert news() == [(DEGRADED, "silent")]
    monitor.rest(OFFLINE, "refused")
    monitor.trouble("c", "cut")  # a dead stream does not soften it
    monitor.recovered("a")
    assert news() == [(OFFLINE, "refused")]
    monitor.rest(ONLINE)
    monitor.recovered("b")
    monitor.recovered("c")
    monitor.recovered("c")
    assert news() == [(DEGRADED, "cut"), (ONLINE, "")]
    monitor.rest(DEGRADED, "busy")
    monitor.closed("wrong key")
    monitor.recovered("a")
    monitor.rest(ONLINE)
    monitor.trouble("a", "taken down")
    assert news() == [(DEGRADED, "busy"), (OFFLINE, "wrong key")]


def test_held_back_orders_show_in_the_detail_of_the_link() -> None:
    told: list[ConnectionStatus] = []
    monitor = ConnectionMonitor("binance", "orders", TradingMode.PRACTICE, told.append)
    monitor.hold(True)
    assert told == []  # not open yet
    monitor.opened()
    told.clear()
    monitor.rest(OFFLINE, "no connection to h")
    monitor.hold(True)
    monitor.rest(ONLINE)
    monitor.hold(False)
    assert [(status.state, status.detail) for status in told] == [
        (OFFLINE, "no connection to h"),
        (OFFLINE, "no connection to h; no new order is sent until it answers"),
        (DEGRADED, "the exchange does not answer; no new order is sent until it answers"),
        (ONLINE, ""),
    ]


async def test_a_doubt_is_looked_into_until_rest_works() -> None:
    told: list[ConnectionStatus] = []
    monitor = ConnectionMonitor("binance", "market", TradingMode.PRACTICE, told.append)
    answers: list[GatewayError | None] = []
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        answer = answers.pop(0) if answers else None
        if answer is None:
            monitor.rest(ONLINE)
        elif answer.message == "hangs":
            await asyncio.sleep(60)
        else:
            raise answer

    async def settled(state: ConnectionState, questions: int) -> None:
        async with asyncio.timeout(5):
            while monitor.status.state is not state or asked < questions:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.03)
        assert (monitor.status.state, asked) == (state, questions)

    probe = LinkProbe(monitor, ask, random.Random(1), timeout_s=0.05, pause_s=0.005)
    probe.start()
    probe.start()
    monitor.connecting()
    monitor.doubt()  # whoever connects finds out
    monitor.opened()
    told.clear()
    await settled(ONLINE, 0)
    monitor.doubt()
    await settled(ONLINE, 1)
    assert told == []  # one lost answer is no news
    answers += [NoAnswer("refused"), NoAnswer("hangs"), NoAnswer("refused")]
    monitor.doubt()
    await settled(ONLINE, 5)
    assert [status.state for status in told] == [OFFLINE, OFFLINE, OFFLINE, ONLINE]
    answers += [RetryableError("request limit reached")]
    monitor.trouble("a", "cut")
    await settled(DEGRADED, 6)
    await probe.stop()
    await probe.stop()


async def test_a_link_that_holds_orders_back_is_probed_until_they_flow_even_where_the_probe_has_to_wait() -> None:
    """Otherwise a request limit that stops the one question after an outage would leave the breaker open for good."""
    monitor = ConnectionMonitor("binance", "orders", TradingMode.PRACTICE, None)
    refusals = 3

    async def ask() -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise RetryableError("request limit reached")
        monitor.hold(False)

    probe = LinkProbe(monitor, ask, random.Random(1), timeout_s=0.5, pause_s=0.005)
    probe.start()
    monitor.opened()
    monitor.hold(True)
    monitor.doubt()
    async with asyncio.timeout(5):
        while monitor.status.state is not ONLINE:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    assert refusals == 0
    await probe.stop()


def test_an_unfinished_bar_is_never_taken_for_a_closed_one() -> None:
    """A bar still forming was stored as closed, with a wrong close (freqtrade#13397)."""
    sequence = CandleSequence(Timeframe.M1)
    for close in (5, 6, 7):
        assert finals(sequence.offer(bar(0, close=close))) == []
    assert finals(sequence.offer(bar(1, close=8))) == []  # the next one began: the old one's close is still a guess
    assert [c.close for c in sequence.refill([bar(0, close=7.5), bar(1, close=8)]) if c.final] == [7.5]


def test_unknown_venue_is_one_sentence() -> None:
    with pytest.raises(FatalGatewayError, match="knows no venue"):
        load_exchange_class("no_such_venue")


def test_only_the_configured_venue_is_loaded() -> None:
    code = (
        "import sys\n"
        "from core.execution.api.ccxt_loader import load_exchange_class\n"
        "cls = load_exchange_class('binance')\n"
        "venues = [m for m in sys.modules if m.startswith('ccxt.async_support.') and m.count('.') == 2]\n"
        "assert venues and set(venues) <= {'ccxt.async_support.binance', 'ccxt.async_support.base'}, venues\n"
        "assert 'pandas' not in sys.modules\n"
        "import ccxt.pro, ccxt, ccxt.async_support\n"
        "assert ccxt.pro.binance is cls and ccxt.NetworkError and ccxt.__version__\n"
        "assert ccxt.pro.upbit.__name__ == 'upbit' and ccxt.upbit and ccxt.async_support.Exchange\n"
        "assert not hasattr(ccxt.pro, 'nonsense')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
