"""Markets, side series and a feed that brings them in the order in which a live program would learn of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from core.data.frame import CandleFrame
from ml.api import FeatureSpec, parse_column
from ml.features import FeaturePipeline, MarketHistory, PointSeries, StreamingFeatures
from tests.unit.ml.helpers import HOUR, START_NS, frame_from_returns, noise_returns

ETH = "ETH/USDT"
STEP = HOUR.ns


def market(size: int, seed: int, missing: Iterable[int] = (), symbol: str = "BTC/USDT") -> CandleFrame:
    """Return hourly bars of a random walk, some of them missing."""
    frame = frame_from_returns(noise_returns(size, seed), seed, tuple(missing))
    return CandleFrame(
        frame.time_ns, frame.open, frame.high, frame.low, frame.close, frame.volume, frame.final, symbol, HOUR
    )


def points(name: str, size: int, seed: int, *, every_h: float, missing: Iterable[int] = ()) -> PointSeries:
    """Return positive numbers about every `every_h` hours over `size` bars, some milliseconds late."""
    rng = np.random.default_rng(seed)
    count = int(size / every_h)
    times = START_NS + np.round(np.arange(count) * every_h * STEP).astype(np.int64) + rng.integers(0, 10**9, count)
    keep = np.setdiff1d(np.arange(count), tuple(missing))
    return PointSeries(name, times[keep], rng.lognormal(0, 0.3, count)[keep])


def history(
    size: int,
    seed: int = 1,
    *,
    missing: Iterable[int] = (),
    other_missing: Iterable[int] = (),
    point_missing: Iterable[int] = (),
) -> MarketHistory:
    """Return a market, a second one, and one series of each pace."""
    return MarketHistory(
        market(size, seed, missing),
        (market(size, seed + 100, other_missing, ETH),),
        (
            points("funding", size, seed + 200, every_h=8, missing=point_missing),
            points("book_imbalance", size, seed + 300, every_h=0.5, missing=point_missing),
            points("spread", size, seed + 400, every_h=1, missing=point_missing),
            points("flow_imbalance", size, seed + 500, every_h=1),
            points("open_interest", size, seed + 600, every_h=1),
            points("taker_buy_volume", size, seed + 700, every_h=1),
            points("onchain:active_addresses", size, seed + 800, every_h=24),
        ),
    )


def pipeline_of(*columns: str, name: str = "custom", window: int = 8) -> FeaturePipeline:
    """Return a pipeline for columns in their text form."""
    spec = FeatureSpec(name, 1, horizons=(1, 2), window=window, columns=tuple(map(parse_column, columns)))
    return FeaturePipeline(spec, HOUR)


def streamed(
    pipeline: FeaturePipeline, world: MarketHistory, lead: int = 0
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Feed a history bar by bar and return which rows came, shape (n,), and all rows, shape (n, F).

    Args:
        pipeline: what to compute.
        world: the history.
        lead: how many bars earlier than needed other markets and series arrive.
    """
    step = world.frame.timeframe.ns
    stream = StreamingFeatures(pipeline, step)
    others = {
        frame.symbol: frame.to_candles("test")[::-1] for frame in world.others if frame.symbol in pipeline.markets
    }
    series = {
        one.name: list(zip(one.known_ns.tolist(), one.value.tolist(), strict=True))[::-1]
        for one in world.series
        if one.name in pipeline.series
    }
    rows = np.full((len(world.frame), len(pipeline.names)), np.nan)
    came = np.zeros(len(rows), np.bool_)
    for index, candle in enumerate(world.frame.to_candles("test")):
        horizon = candle.open_time_ns + lead * step
        for symbol, waiting in others.items():
            while waiting and waiting[-1].open_time_ns <= horizon:
                stream.push_other(symbol, waiting.pop())
        for name, known in series.items():
            while known and known[-1][0] <= horizon + step:
                stream.push_point(name, *known.pop())
        row = stream.push(candle)
        if row is not None:
            came[index], rows[index] = True, row
    return came, rows
