"""Nothing that happens after the close of a bar may change a feature at or before it: every kind, every source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.data.frame import CandleFrame
from core.indicators.catalogue import catalogue
from ml.column_kinds import SeriesKind, kind_of, native_kinds
from ml.features import FeaturePipeline, MarketHistory, PointSeries
from tests.unit.ml.feature_world import ETH, STEP, history, pipeline_of

KINDS = [name + (":active_addresses" if name == "onchain" else "") for name in native_kinds()]
SERIES = [name for name in KINDS if isinstance(kind_of(name), SeriesKind)]
OWN = [name for name in KINDS if name not in SERIES]
INDICATORS = [info.name for info in catalogue() if not info.chart_only]
CALENDAR = {info.name for info in catalogue() if info.inputs == ("time_ns",)}
# Other lengths and markets go through the same computations; one of each nature is enough there.
ELSEWHERE = ["log_return", "return(window=4)", "volatility(window=4)", "RSI(timeperiod=3)", "MFI(timeperiod=5)", "BODY"]
SIZE = 900


def changed_frame(frame: CandleFrame, after_ns: int, seed: int) -> CandleFrame:
    """Replace every bar that opens at or after `after_ns` by another one."""
    rng = np.random.default_rng(seed)
    late = frame.time_ns >= after_ns
    prices = np.sort(rng.lognormal(5, 1, (4, len(frame))), axis=0)
    new = {"low": prices[0], "open": prices[1], "close": prices[2], "high": prices[3]}
    new["volume"] = rng.lognormal(8, 2, len(frame))
    return replace(frame, **{name: np.where(late, values, getattr(frame, name)) for name, values in new.items()})


def changed(world: MarketHistory, row: int, seed: int) -> MarketHistory:
    """Replace all that becomes known after the close of `row`."""
    close = int(world.frame.time_ns[row]) + STEP
    rng = np.random.default_rng(seed)

    def points(series: PointSeries) -> PointSeries:
        other = rng.lognormal(3, 1, len(series.value))
        return replace(series, value=np.where(series.known_ns > close, other, series.value))

    return MarketHistory(
        changed_frame(world.frame, close, seed),
        tuple(changed_frame(other, close, seed + 1) for other in world.others),
        tuple(points(series) for series in world.series),
    )


def cut(world: MarketHistory, row: int) -> MarketHistory:
    """Return what is known at the close of `row`."""
    close = int(world.frame.time_ns[row]) + STEP
    return MarketHistory(
        world.frame.between(None, close),
        tuple(other.between(None, close) for other in world.others),
        tuple(PointSeries(s.name, s.known_ns[s.known_ns <= close], s.value[s.known_ns <= close]) for s in world.series),
    )


def check(pipeline: FeaturePipeline, world: MarketHistory, rows: list[int]) -> None:
    whole = pipeline.compute(world)
    for row in rows:
        mutated = pipeline.compute(changed(world, row, row))
        np.testing.assert_array_equal(mutated[: row + 1], whole[: row + 1])
        np.testing.assert_array_equal(pipeline.compute(cut(world, row)), whole[: row + 1])
        both = zip(pipeline.names, whole[row + 1 :].T, mutated[row + 1 :].T, strict=True)
        calm = [name for name, old, new in both if np.array_equal(old, new, equal_nan=True)]
        # The mutation reached every column but the calendar; a rare candle pattern need not be in either.
        assert [name for name in calm if not is_calendar(name) and not name.startswith("CDL")] == []


def is_calendar(name: str) -> bool:
    return name.split(".")[0] in CALENDAR or name in ("day_sin", "day_cos", "week_sin", "week_cos")


@pytest.mark.parametrize("name", ["price", "market", "technical"])
def test_named_sets(name: str) -> None:
    pipeline = pipeline_of(name=name, window=24)
    size = pipeline.warm_up + 200
    check(pipeline, history(size, missing=(size - 90,)), [size - 150, size - 90, size - 30])


def test_every_own_kind_at_every_source() -> None:
    names = [*(name for name in OWN), *ELSEWHERE]
    columns = dict.fromkeys(text + source for text in names for source in ("", "@4h", f"@{ETH}", f"@{ETH}@4h"))
    own = [text for text in columns if text not in ("log_return", "volatility")]  # those every set has
    pipeline = pipeline_of(*own)
    world = history(SIZE, missing=(300,), other_missing=(411,))
    # Rows around the close of a longer bar, which is where a leak would be.
    check(pipeline, world, [700, 701, 702, 703, 704])


def test_every_series_kind() -> None:
    pipeline = pipeline_of(*SERIES, "spread(max_age_hours=3)", "funding(window=50, max_age_hours=30)")
    check(pipeline, history(SIZE, missing=(300,), point_missing=(60,)), [500, 503, 504, 505, 640])


def test_every_indicator() -> None:
    pipeline = pipeline_of(*INDICATORS)
    size = pipeline.warm_up + 300
    world = history(size)
    assert np.isfinite(pipeline.compute(world)[pipeline.warm_up :]).all()
    check(pipeline, world, [size - 200, size - 77])


def test_a_leak_would_be_seen() -> None:
    """The check itself can fail: a column that looks one bar ahead."""
    pipeline = pipeline_of("BODY", "log_return@4h")
    world = history(SIZE)
    ahead = replace(world, others=(), frame=replace(world.frame, close=np.roll(world.frame.close, -1)))
    whole = pipeline.compute(ahead)
    other = changed(world, 500, 1).frame
    mutated = pipeline.compute(replace(ahead, frame=replace(other, close=np.roll(other.close, -1))))
    assert not np.array_equal(mutated[:501], whole[:501], equal_nan=True)
