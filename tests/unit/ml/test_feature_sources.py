from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import from_datetime
from core.data.importer import import_candles
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.api import FeatureSpec, parse_column
from ml.feature_sources import aggregate_bars, floor_times, last_closed, sample_points
from ml.features import FeaturePipeline, MarketHistory, PointSeries, load_point_series
from tests.unit.ml.feature_world import ETH, STEP, market, streamed

TIMES = ("2024-01-01T00:00:00Z", "2024-01-01T08:00:00.001Z", "2024-01-01T16:00:00Z")
NS = [1_704_067_200_000_000_000, 1_704_096_000_001_000_000, 1_704_124_800_000_000_000]


def csv(folder: Path, text: str) -> Path:
    path = folder / "points.csv"
    path.write_text(text)
    return path


@given(st.lists(st.integers(0, 2 * 10**18), min_size=1), st.sampled_from(Timeframe))
def test_floors_of_whole_columns_are_those_of_the_timeframe(times: list[int], timeframe: Timeframe) -> None:
    expected = [timeframe.floor(time) for time in times]
    assert floor_times(np.array(times, np.int64), timeframe).tolist() == expected


@given(st.sets(st.integers(0, 99), max_size=20), st.sampled_from([Timeframe.H2, Timeframe.H4, Timeframe.D1]))
def test_longer_bars_are_made_of_all_their_bars(missing: set[int], longer: Timeframe) -> None:
    frame = market(100, 1, missing)
    made = aggregate_bars(frame, STEP, longer)
    by_open: dict[int, list[int]] = {}
    for row, time in enumerate(frame.time_ns.tolist()):
        by_open.setdefault(longer.floor(time), []).append(row)
    whole = {time: rows for time, rows in by_open.items() if len(rows) == longer.ns // STEP}
    assert made.time_ns.tolist() == list(whole)
    for index, rows in enumerate(whole.values()):
        assert made.open[index] == frame.open[rows[0]]
        assert made.close[index] == frame.close[rows[-1]]
        assert made.high[index] == max(frame.high[rows])
        assert made.low[index] == min(frame.low[rows])
        assert made.volume[index] == pytest.approx(sum(frame.volume[rows]))


def test_weeks_open_on_mondays() -> None:
    hours = market(24 * 21, 1)
    weeks = aggregate_bars(hours, STEP, Timeframe.W1)
    assert len(weeks.time_ns) == 2
    assert {(int(time) // (24 * STEP) + 3) % 7 for time in weeks.time_ns} == {0}  # the epoch was a Thursday


def test_the_last_closed_bar_has_closed() -> None:
    times = np.arange(0, 30) * STEP
    closed = last_closed(times, STEP, Timeframe.H4)
    assert (closed + Timeframe.H4.ns <= times + STEP).all()
    assert (closed + 2 * Timeframe.H4.ns > times + STEP).all()


def test_samples_are_the_newest_known_and_not_too_old() -> None:
    series = PointSeries("spread", np.array([10, 20, 40]), np.array([1.0, 2.0, 4.0]))
    closes = np.array([9, 10, 19, 20, 25, 26, 40, 45, 46])
    np.testing.assert_array_equal(
        sample_points(series, closes, 5), [np.nan, 1.0, np.nan, 2.0, 2.0, np.nan, 4.0, 4.0, np.nan]
    )
    empty = PointSeries("spread", np.zeros(0, np.int64), np.zeros(0))
    assert np.isnan(sample_points(empty, closes, 5)).all()


def test_impossible_series_and_histories_are_bugs() -> None:
    for known, value, sentence in (
        ([2, 1], [0.0, 0.0], "ascend"),
        ([1, 1], [0.0, 0.0], "ascend"),
        ([1], [0.0, 0.0], "1 times for 2 values"),
        ([1, 2], [0.0, np.inf], "finite"),
    ):
        with pytest.raises(ValueError, match=sentence):
            PointSeries("x", np.array(known, np.int64), np.array(value))
    with pytest.raises(ValueError, match="int64"):
        PointSeries("x", np.array([1.0]), np.array([1.0]))
    own, other = market(5, 1), market(5, 2, symbol=ETH)
    with pytest.raises(ValueError, match="bars of 4h"):
        MarketHistory(own, (replace(other, timeframe=Timeframe.H4),))
    with pytest.raises(ValueError, match="twice"):
        MarketHistory(own, (other, other))


@pytest.mark.parametrize(("name", "delay_s"), [("known_at", None), ("known_at", 0.0), ("date", 0.0)])
def test_a_csv_file_of_points(tmp_path: Path, name: str, delay_s: float | None) -> None:
    rows = "\n".join(f"{time},{value}" for time, value in zip(TIMES, (1, -2.5, 3e-5), strict=True))
    series = load_point_series(csv(tmp_path, f"{name},value\n{rows}\n"), "funding", delay_s=delay_s)
    assert series.name == "funding"
    assert series.known_ns.tolist() == NS
    assert series.value.tolist() == [1.0, -2.5, 3e-5]


def test_feather_and_parquet_files_of_points(tmp_path: Path) -> None:
    table = pa.table(
        {
            "date": pa.array(NS, pa.timestamp("ns", "UTC")),
            "rate": pa.array([1, 2, 3], pa.int64()),
        }
    )
    pyarrow.feather.write_feather(table, str(tmp_path / "a.feather"), compression="uncompressed")
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    for suffix in ("feather", "parquet"):
        series = load_point_series(tmp_path / f"a.{suffix}", "funding", "rate", delay_s=0.5)
        assert series.known_ns.tolist() == [time + 500_000_000 for time in NS]
        assert series.value.tolist() == [1.0, 2.0, 3.0]


def test_another_zone_is_the_same_moment(tmp_path: Path) -> None:
    series = load_point_series(csv(tmp_path, "known_at,value\n2024-01-01T09:00:00+09:00,1\n"), "x")
    assert series.known_ns.tolist() == NS[:1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("known_at,value\n2024-01-01T00:00:00,1\n", "no time zone"),
        ("known_at,value\n2024-01-01 00:00:00,1\n", "no time zone"),
        ("known_at,value\n2024-01-01,1\n", "no time zone"),
        ("known_at,value\nyesterday,1\n", "cannot be read"),
        ("known_at,value\n1704067200,1\n", "cannot be read"),
        (f"known_at,value\n{TIMES[1]},1\n{TIMES[0]},1\n", "Row 2 of points.csv is not newer"),
        (f"known_at,value\n{TIMES[0]},1\n{TIMES[0]},1\n", "Row 2 of points.csv is not newer"),
        (f"known_at,value\n{TIMES[0]},1\n{TIMES[1]},nan\n", "Row 2 of points.csv has no valid value"),
        (f"known_at,value\n{TIMES[0]},1\n{TIMES[1]},\n", "Row 2 of points.csv has no valid value"),
        (f"known_at,value\n{TIMES[0]},much\n", "no number"),
        (f"time,value\n{TIMES[0]},1\n", "needs the columns known_at and value; it has time, value"),
        (f"known_at,rate\n{TIMES[0]},1\n", "needs the columns known_at and value"),
        (f"date,value\n{TIMES[0]},1\n", "date of points.csv does not say when its values became known"),
    ],
)
def test_unclear_files_are_refused_with_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        load_point_series(csv(tmp_path, text), "x")
    assert refused.value.remedy


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        load_point_series(tmp_path / "none.csv", "x")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="damaged"):
        load_point_series(tmp_path / "bad.parquet", "x")


@pytest.mark.realdata
def test_real_funding_rates_beside_real_bars(realdata: Path) -> None:
    folder = realdata / "perp_1m_funding_2025"
    symbols = {name: f"{name}/USDT:USDT" for name in ("BTC", "ETH")}
    frames = {
        name: import_candles(
            folder / f"{name}_USDT_USDT-5m-futures.feather", symbol=symbol, timeframe=Timeframe.M5
        ).frame.finals()
        for name, symbol in symbols.items()
    }
    funding = load_point_series(folder / "BTC_USDT_USDT-8h-funding_rate.feather", "funding", "open", delay_s=0.0)
    assert abs(funding.value).max() < 0.01
    columns = ("funding.level", "funding(window=96).diff", "log_return@ETH/USDT:USDT", "CUTLER_RSI(timeperiod=3)@4h")
    spec = FeatureSpec("custom", columns=tuple(map(parse_column, columns)))
    pipeline = FeaturePipeline(spec, Timeframe.M5)
    world = MarketHistory(frames["BTC"], (frames["ETH"],), (funding,))
    rows = pipeline.rows(world)
    assert rows.complete.mean() > 0.95
    settled = from_datetime(datetime(2025, 3, 20, 8, tzinfo=UTC))
    times = world.frame.time_ns
    level = pipeline.names.index("funding.level")
    before, after = (rows.matrix[np.searchsorted(times, settled + bars * Timeframe.M5.ns), level] for bars in (-2, 1))
    known = funding.value[np.searchsorted(funding.known_ns, [settled - 1, settled + 10**9]) - 1]
    assert [before, after] == known.tolist()
    assert before != after
    part = MarketHistory(world.frame.slice(3_000, 4_500), world.others, world.series)
    batch = pipeline.rows(part)
    came, live = streamed(pipeline, part)
    np.testing.assert_array_equal(came, batch.complete)
    np.testing.assert_allclose(live[came], batch.matrix[came], rtol=0, atol=1e-9)
