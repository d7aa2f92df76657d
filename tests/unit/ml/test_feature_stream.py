from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.importer import import_candles
from core.domain.candles import Timeframe
from core.errors import UserError
from core.indicators.catalogue import catalogue
from ml.api import FeatureSpec, parse_column
from ml.features import FeaturePipeline, MarketHistory, StreamingFeatures, bars_since_gap
from tests.unit.ml.feature_world import ETH, STEP, history, market, pipeline_of, points, streamed
from tests.unit.ml.helpers import HOUR
from tests.unit.ml.test_feature_causality import INDICATORS, OWN, SERIES

SHORT = (
    "return(horizon=3, window=5)",
    "volatility_ratio(fast=2, slow=6)",
    "CUTLER_RSI(timeperiod=4)",
    "BODY@2h",
    "log_return@4h",
    "return(horizon=1, window=2)@4h",
    f"log_return@{ETH}",
    f"VOLUME_Z(timeperiod=5)@{ETH}",
    f"RANGE_POSITION(timeperiod=2)@4h@{ETH}",
    "TIME_OF_DAY",
    "funding.level",
    "book_imbalance(window=3).diff",
    "spread(window=4, max_age_hours=2).zscore",
    "onchain:active_addresses(max_age_hours=30).zscore",
)


def assert_equal(pipeline: FeaturePipeline, world: MarketHistory, lead: int = 0) -> int:
    """Compare batch and stream at every bar and return how many rows are complete."""
    batch = pipeline.rows(world)
    came, rows = streamed(pipeline, world, lead)
    np.testing.assert_array_equal(came, batch.complete)
    np.testing.assert_allclose(rows[came], batch.matrix[batch.complete], rtol=0, atol=1e-9)
    assert np.isfinite(rows[came]).all()
    return int(came.sum())


holes = st.lists(st.integers(0, 139), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    own=holes,
    other=holes,
    late=st.lists(st.integers(0, 60), max_size=3),
    lead=st.sampled_from([0, 0, 1, 500]),
)
def test_bar_by_bar_equals_the_batch_whatever_is_missing(
    seed: int, own: list[int], other: list[int], late: list[int], lead: int
) -> None:
    world = history(140, seed, missing=own, other_missing=other, point_missing=late)
    assert_equal(pipeline_of(*SHORT), world, lead)


def test_the_comparison_sees_rows_at_all() -> None:
    world = history(300, missing=(100,), other_missing=(200,))
    assert assert_equal(pipeline_of(*SHORT), world) > 150


@pytest.mark.parametrize("name", ["price", "market", "technical", "custom"])
def test_every_named_set(name: str) -> None:
    pipeline = pipeline_of(name=name, window=24)
    size = 2 * pipeline.warm_up + 300
    assert assert_equal(pipeline, history(size, missing=(size // 2,))) == size - 2 * pipeline.warm_up - 1


def test_every_kind_of_every_source() -> None:
    own = [text for text in OWN if text not in ("log_return", "volatility")]
    columns = [*own, *(text + source for text in OWN for source in ("@4h", f"@{ETH}", f"@4h@{ETH}")), *SERIES]
    columns = [text if "@4h@" not in text else text.replace("@4h@", "@") + "@4h" for text in columns]
    pipeline = pipeline_of(*columns)
    assert assert_equal(pipeline, history(700, missing=(310,), other_missing=(20,))) > 100


def test_every_indicator() -> None:
    """Those with a long memory apart, so that the others are compared at many bars."""
    memory = {name: pipeline_of(name).warm_up for name in INDICATORS}
    for names in ([n for n in INDICATORS if memory[n] <= 700], [n for n in INDICATORS if memory[n] > 700]):
        pipeline = pipeline_of(*names)
        assert assert_equal(pipeline, history(pipeline.warm_up + 60)) == 60
    assert len(INDICATORS) == sum(not info.chart_only for info in catalogue())


@pytest.mark.parametrize(
    ("columns", "warm_up"),
    [
        ((), 8),
        (("return(horizon=30)",), 48),
        (("BODY@4h",), 8),  # the window of volatility is longer than seven bars
        (("log_return@4h",), 2 * 4 + 4 - 2),
        (("SMA(timeperiod=5)@1d",), 5 * 24 + 24 - 2),
        ((f"SMA(timeperiod=50)@{ETH}",), 8),
        (("funding(window=20).diff",), 20),
        (("funding(window=20).zscore",), 19),
        (("funding(window=20).level",), 8),
    ],
)
def test_the_warm_up_is_exact(columns: tuple[str, ...], warm_up: int) -> None:
    """Wherever in a longer bar the history begins, a row comes after `warm_up` bars; for some beginning not before."""
    pipeline = pipeline_of(*columns)
    assert pipeline.warm_up == warm_up
    whole = history(400)
    needed = []
    for start in range(100, 124):
        begun = replace(whole, frame=whole.frame.slice(start))
        came, _ = streamed(pipeline, begun)
        assert came[warm_up:].all()
        assert not came[:warm_up].any()
        longer = {column.timeframe for column in pipeline.spec.columns} - {""}
        if longer:
            needed.append(_first_value(pipeline, begun, Timeframe(longer.pop())))
    assert not needed or max(needed) <= warm_up
    assert not needed or warm_up == 8 or max(needed) == warm_up


def _first_value(pipeline: FeaturePipeline, world: MarketHistory, longer: Timeframe) -> int:
    """Return the first row at which the columns of the longer timeframe could have a value, by counting bars."""
    (column,) = pipeline.spec.columns
    depth = 5 if column.name == "SMA" else 2 if column.name == "log_return" else 1
    whole_bars = np.cumsum(
        [
            longer.floor(int(t)) + longer.ns == int(t) + STEP and longer.floor(int(t)) >= int(world.frame.time_ns[0])
            for t in world.frame.time_ns
        ]
    )
    return int(np.argmax(whole_bars >= depth))


def test_no_bar_before_the_warm_up_matters() -> None:
    """A live program that starts with just enough bars gives the rows of the whole history."""
    pipeline = pipeline_of(*(text for text in SHORT if ETH not in text and "." not in text), "EMA(timeperiod=3)@4h")
    frame = market(400, 4)
    whole = pipeline.compute(frame)
    bars = frame.to_candles("test")
    for row in range(300, 330):
        stream = StreamingFeatures(pipeline, STEP)
        rows = [stream.push(candle) for candle in bars[row - pipeline.warm_up : row + 1]]
        last = rows.pop()
        assert rows == [None] * pipeline.warm_up
        assert last is not None
        np.testing.assert_allclose(last, whole[row], rtol=0, atol=1e-9)


def test_a_longer_bar_counts_from_its_close_and_only_whole() -> None:
    pipeline = pipeline_of("log_return@4h")
    frame = market(200, 3, missing=(101,))
    values = pipeline.compute(MarketHistory(frame))[:, -1]
    closes = {int(t) + STEP: price for t, price in zip(frame.time_ns, frame.close, strict=True)}
    four = Timeframe.H4
    checked = 0
    for row in range(pipeline.warm_up, len(frame)):
        end = four.floor(int(frame.time_ns[row]) + STEP)
        opens = [end - 8 * STEP + hour * STEP for hour in range(8)]
        if not set(opens) <= set(frame.time_ns.tolist()):
            assert np.isnan(values[row])
            continue
        assert values[row] == pytest.approx(np.log(closes[end] / closes[end - four.ns]))
        checked += 1
    assert checked > 150
    assert np.isnan(values).sum() > pipeline.warm_up


def test_a_missing_bar_of_another_market_makes_the_row_incomplete() -> None:
    pipeline = pipeline_of(f"log_return@{ETH}")
    world = history(100, other_missing=(50, 51))
    complete = pipeline.rows(world).complete
    assert np.flatnonzero(~complete[pipeline.warm_up :]).tolist() == [50 - 8, 51 - 8, 52 - 8]
    other = world.others[0]
    assert pipeline.rows(world).matrix[40, -1] == pytest.approx(np.log(other.close[40] / other.close[39]))


def test_a_series_goes_stale() -> None:
    pipeline = pipeline_of("funding(max_age_hours=9).level")
    world = history(200, point_missing=(12,))
    rows = pipeline.rows(world)
    (funding,) = [series for series in world.series if series.name == "funding"]
    late = np.flatnonzero(~rows.complete[pipeline.warm_up :]) + pipeline.warm_up
    # The point of hour 96 is missing: that of hour 88 serves the closes up to hour 97.
    assert late.tolist() == list(range(97, 103 + 1))
    at = np.searchsorted(funding.known_ns, world.frame.time_ns[150] + STEP, side="right") - 1
    assert rows.matrix[150, -1] == funding.value[at]


def test_a_point_counts_from_the_nanosecond_it_is_known() -> None:
    pipeline = pipeline_of("spread(max_age_hours=1000).level")
    frame = market(40, 1)
    close = int(frame.time_ns[20]) + STEP
    for known, row in ((close, 20), (close + 1, 21)):
        series = replace(points("spread", 1, 0, every_h=1), known_ns=np.array([known]), value=np.array([3.0]))
        complete = pipeline.rows(MarketHistory(frame, (), (series,))).complete
        assert np.flatnonzero(complete)[0] == row
        assert assert_equal(pipeline, MarketHistory(frame, (), (series,))) == 40 - row


def test_amounts_without_a_relative_change_make_the_row_incomplete() -> None:
    pipeline = pipeline_of("open_interest(window=2).change")
    world = history(60)
    value = next(s for s in world.series if s.name == "open_interest").value.copy()
    value[30] = 0.0
    series = tuple(replace(s, value=value) if s.name == "open_interest" else s for s in world.series)
    assert assert_equal(pipeline, replace(world, series=series)) == 60 - 8 - 2


def test_what_is_missing_altogether_is_one_sentence() -> None:
    world = history(50)
    with pytest.raises(UserError, match="bars of ETH/USDT"):
        pipeline_of(f"log_return@{ETH}").compute(replace(world, others=()))
    with pytest.raises(UserError, match="series 'funding'"):
        pipeline_of("funding").compute(world.frame)
    with pytest.raises(ValueError, match="length of own bars"):
        FeaturePipeline(FeatureSpec("custom", columns=(parse_column("funding"),)))


def test_a_stream_refuses_what_would_make_it_differ_from_history() -> None:
    stream = StreamingFeatures(pipeline_of(f"log_return@{ETH}", "funding"), STEP)
    own, other = market(5, 1).to_candles("test"), market(5, 2, symbol=ETH).to_candles("test")
    stream.push_point("funding", own[0].open_time_ns + 5, 1.0)
    stream.push_other(ETH, other[0])
    stream.push(own[0])
    with pytest.raises(ValueError, match="no feature looks at SOL/USDT"):
        stream.push_other("SOL/USDT", other[1])
    with pytest.raises(ValueError, match="does not follow"):
        stream.push_other(ETH, other[0])
    with pytest.raises(ValueError, match="closed bars only"):
        stream.push_other(ETH, replace(other[1], final=False))
    with pytest.raises(ValueError, match="no feature looks at the series spread"):
        stream.push_point("spread", own[1].open_time_ns, 1.0)
    with pytest.raises(ValueError, match="not finite"):
        stream.push_point("funding", own[4].open_time_ns, float("nan"))
    with pytest.raises(ValueError, match="should have known it"):
        stream.push_point("funding", own[0].open_time_ns + 6, 1.0)
    stream.push_point("funding", own[3].open_time_ns, 1.0)
    with pytest.raises(ValueError, match="does not follow"):
        stream.push_point("funding", own[3].open_time_ns, 2.0)


def test_a_late_bar_of_another_market_serves_the_rows_after_it() -> None:
    """It came too late for its own row, but the next rows are those of the batch."""
    pipeline = pipeline_of(f"log_return(horizon=2)@{ETH}")
    own, other = market(60, 1), market(60, 2, symbol=ETH)
    batch = pipeline.compute(MarketHistory(own, (other,)))
    stream = StreamingFeatures(pipeline, STEP)
    bars, others = own.to_candles("test"), other.to_candles("test")
    for index, candle in enumerate(bars):
        if index != 30:
            for late in others[30:31] if index == 31 else ():
                stream.push_other(ETH, late)
            stream.push_other(ETH, others[index])
        row = stream.push(candle)
        assert (row is None) == (index < pipeline.warm_up or index == 30)
        if row is not None:
            np.testing.assert_allclose(row, batch[index], rtol=0, atol=1e-9)


def test_reset_forgets_other_markets_and_series_too() -> None:
    pipeline = pipeline_of(*SHORT)
    world = history(120)
    stream = StreamingFeatures(pipeline, STEP)
    first = market(3, 9, symbol=ETH).to_candles("test")
    for candle in first:
        stream.push_other(ETH, candle)
    stream.push_point("funding", first[2].open_time_ns, 1.0)
    stream.reset()
    stream.push_other(ETH, first[0])
    stream.push_point("funding", first[1].open_time_ns, 1.0)
    assert stream.last_time_ns is None
    assert assert_equal(pipeline, world) > 0


@pytest.mark.realdata
def test_real_hours_with_their_outages(realdata: Path) -> None:
    frame = import_candles(realdata / "ohlcv_binance_btc_2017_2024" / "BTC_USDT-1h.feather").frame.finals()
    spec = FeatureSpec("technical", 1, columns=(parse_column("RSI(timeperiod=3)@4h"), parse_column("ER@12h")))
    pipeline = FeaturePipeline(spec, HOUR)
    rows = pipeline.rows(MarketHistory(frame))
    assert np.isfinite(rows.matrix[rows.complete]).all()
    assert rows.complete.mean() > 0.7
    gaps = np.flatnonzero(bars_since_gap(frame.time_ns, STEP)[1:] == 0) + 1
    assert len(gaps) == 28
    assert not any(rows.complete[gap : gap + 100].any() for gap in gaps)
    outage = int(gaps[15])  # with the hours before and after it
    part = frame.slice(outage - pipeline.warm_up - 300, outage + pipeline.warm_up + 301)
    came, streamed_rows = streamed(pipeline, MarketHistory(part))
    offset = outage - pipeline.warm_up - 300
    both = np.flatnonzero(came)
    assert len(both) > 300
    np.testing.assert_allclose(streamed_rows[both], rows.matrix[both + offset], rtol=0, atol=1e-9)
