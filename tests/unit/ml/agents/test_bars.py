"""Several markets become one set of bars: split at the same times, scaled alike, never walked from one into another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.accounting.rules import MarketRules
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.agents.bars import AgentBars, MarketInput, agent_bars, funding_of_bars, universe_bars
from ml.agents.market_tensor import FUNDING_RATE
from ml.agents.run_spec import PPO, AgentSpec
from ml.api import SplitSpec
from ml.dataset import build_dataset
from ml.features import MarketHistory, PointSeries, RobustScaler
from tests.unit.ml.agents.agent_runs import short_spec
from tests.unit.ml.helpers import START_NS, ar1_returns, frame_from_returns

HOUR = Timeframe.H1.ns
SPEC = short_spec(PPO)


def market(symbol: str, size: int = 3_000, seed: int = 1, later: int = 0, missing: tuple[int, ...] = ()) -> CandleFrame:
    """Return hourly bars that begin so many hours later than others."""
    frame = frame_from_returns(ar1_returns(size, 0.3, seed, 0.01 * seed), seed, missing)
    return replace(frame, symbol=symbol, time_ns=frame.time_ns + later * HOUR)


BITCOIN = market("BTC/USDT", missing=(700, 2_400))
ETHER = market("ETH/USDT", 2_700, seed=2, later=300, missing=(500,))


def bars_of(*frames: CandleFrame, spec: AgentSpec = SPEC) -> AgentBars:
    return universe_bars([MarketInput(MarketHistory(frame)) for frame in frames], spec)


def test_a_stretch_is_of_one_market_and_without_a_gap() -> None:
    bars = bars_of(BITCOIN, ETHER)
    assert bars.market.symbols == ("BTC/USDT", "ETH/USDT")
    assert [each.first_row for each in bars.markets] == [0, len(BITCOIN)]
    assert len(bars.market) == len(bars.time_ns) == len(BITCOIN) + len(ETHER)
    for part in (bars.train, bars.valid, bars.test):
        assert {stretch.symbol for stretch in part} == {0, 1}
        assert list(part) == sorted(part)
        for stretch in part:
            first, last = (0, len(BITCOIN)) if stretch.symbol == 0 else (len(BITCOIN), len(bars.market))
            assert first <= stretch.start < stretch.stop <= last
            assert (np.diff(bars.time_ns[stretch.start : stretch.stop]) == HOUR).all()
    closes = np.concatenate([BITCOIN.close, ETHER.close])
    np.testing.assert_array_equal(bars.market.prices[:, 3].numpy(), closes)


@pytest.mark.parametrize("split", [SplitSpec(), SplitSpec(valid_from="2020-12-01", test_from="2020-12-20")])
def test_every_market_is_split_at_the_same_times(split: SplitSpec) -> None:
    bars = bars_of(BITCOIN, ETHER, spec=replace(SPEC, split=split))
    gap = split.purge_bars * HOUR

    def times(part: tuple, symbol: int) -> np.ndarray:
        return np.concatenate([bars.time_ns[s.start : s.stop] for s in part if s.symbol == symbol])

    for symbol in (0, 1):
        for other in (0, 1):
            assert times(bars.valid, other)[0] - times(bars.train, symbol)[-1] > gap
            assert times(bars.test, other)[0] - times(bars.valid, symbol)[-1] > gap
        assert times(bars.test, symbol)[0] == times(bars.test, 0)[0]
    assert bars.markets[1].data.train.start < bars.markets[1].data.train.stop


def test_a_part_ends_where_that_of_the_last_market_does() -> None:
    """Bars that one market lacks at the end of the validation part were looked at in another."""
    split = SplitSpec(valid_from="2020-12-01", test_from="2020-12-20")
    border = int(np.datetime64(split.test_from, "ns").astype(np.int64))
    row = int((border - START_NS) // HOUR)
    spec = replace(SPEC, split=split)
    bars = bars_of(market("BTC/USDT", missing=tuple(range(row - 150, row))), ETHER, spec=spec)
    own, other = (int(each.frame.time_ns[each.data.valid.stop - 1]) for each in bars.markets)
    assert own < other - 100 * HOUR
    assert bars.spans_ns["valid"][1] == other
    assert bars.spans_ns["train"][0] == START_NS + bars.markets[0].data.train.start * HOUR
    alone = bars_of(BITCOIN)
    for name, part in (("train", alone.data.train), ("valid", alone.data.valid), ("test", alone.data.test)):
        times = alone.frame.time_ns
        assert alone.spans_ns[name] == (times[part.start], times[part.stop - 1])


def test_the_scaler_knows_the_training_bars_of_all_markets_and_nothing_else() -> None:
    bars = bars_of(BITCOIN, ETHER)
    rows = [each.data.pipeline.rows(MarketHistory(each.frame)).matrix for each in bars.markets]
    inside = [each.data.train.mask(len(each.frame)) & each.data.has_input for each in bars.markets]
    wanted = RobustScaler.fit(
        np.concatenate([matrix[mask] for matrix, mask in zip(rows, inside, strict=True)]), bars.data.pipeline.names
    )
    assert bars.data.scaling.inputs == wanted
    assert bars.markets[1].data.scaling == bars.data.scaling
    for index, matrix in enumerate(rows):
        data = bars.markets[index].data
        known = data.has_input
        np.testing.assert_array_equal(data.inputs[known], wanted.transform(matrix[known]))
    later = ETHER.close.copy()
    later[bars.markets[1].data.valid.start + 100 :] *= 1.5
    changed = replace(ETHER, close=later, high=np.maximum(ETHER.high, later), low=np.minimum(ETHER.low, later))
    assert bars_of(BITCOIN, changed).data.scaling == bars.data.scaling


def test_one_market_is_what_it_was_before() -> None:
    bars, data = agent_bars(MarketHistory(BITCOIN), SPEC), build_dataset(BITCOIN, SPEC.bars)
    assert bars.data.scaling == data.scaling
    assert (bars.data.train, bars.data.valid, bars.data.test) == (data.train, data.valid, data.test)
    np.testing.assert_array_equal(bars.data.inputs, data.inputs)
    assert bars.frame is BITCOIN


def test_a_market_that_lacks_a_part_is_named() -> None:
    early = ETHER.slice(0, 1_500)
    with pytest.raises(UserError, match=r"The bars of ETH/USDT do not fit this run\. .* fewer than 30 bars"):
        bars_of(BITCOIN, early)
    with pytest.raises(UserError, match=r"^\d+ bars are too few"):
        bars_of(BITCOIN.slice(0, 40))


def test_rules_and_funding_are_those_of_each_market() -> None:
    rules = MarketRules(lot_size=0.1)
    due = START_NS + np.arange(-1, 400) * 8 * HOUR
    rates = PointSeries("ETH/USDT", due.astype(np.int64), np.linspace(-1e-3, 1e-3, len(due)))
    inputs = [MarketInput(MarketHistory(BITCOIN)), MarketInput(MarketHistory(ETHER), rates, rules)]
    tensor = universe_bars(inputs, SPEC).market
    assert tensor.rules == (MarketRules(), rules)
    funding = tensor.prices[:, FUNDING_RATE].numpy()
    assert (funding[: len(BITCOIN)] == 0.0).all()
    np.testing.assert_array_equal(funding[len(BITCOIN) :], funding_of_bars(rates, ETHER))


def frame_at(opens: list[int], timeframe: Timeframe = Timeframe.H1) -> CandleFrame:
    """Return bars that open so many hours after the start."""
    plain = BITCOIN.slice(0, len(opens))
    return replace(plain, timeframe=timeframe, time_ns=np.array([START_NS + hour * HOUR for hour in opens], np.int64))


def rates_at(*hours: float) -> PointSeries:
    """Return rates of 1, 2, 3 … due so many hours after the start."""
    due = np.array([START_NS + round(hour * HOUR) for hour in hours], np.int64)
    return PointSeries("BTC/USDT", due, np.arange(1.0, len(hours) + 1))


def test_a_rate_is_due_at_the_opening_that_it_falls_on() -> None:
    late = 5e-3 / 3_600  # venues date them some milliseconds late
    found = funding_of_bars(rates_at(-2, 6 + late, 14, 22), frame_at(list(range(20))))
    assert np.flatnonzero(found).tolist() == [6, 14]
    assert found[[6, 14]].tolist() == [2.0, 3.0]


def test_what_falls_between_openings_is_paid_by_who_held_meanwhile() -> None:
    """Of a day's three rates two fall within the day: who held until the next opening pays them there."""
    days = frame_at([0, 24, 48], Timeframe.D1)
    found = funding_of_bars(rates_at(-8, 0, 8, 16, 24, 32, 40, 48), days)
    assert found.tolist() == [2.0, 3.0 + 4.0 + 5.0, 6.0 + 7.0 + 8.0]


@pytest.mark.parametrize("hours", [(), (0,), (9, 17, 25), (-8, 0, 8), (-16, -8, 0, 24), (200, 208)])
def test_rates_that_may_be_missing_are_refused(hours: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="funding rates of BTC/USDT do not cover all its bars"):
        funding_of_bars(rates_at(*hours), frame_at(list(range(22))))
