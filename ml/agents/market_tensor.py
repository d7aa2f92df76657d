"""One copy of the bars that agents learn from, on the device. Training child only (imports torch).

Several markets stand behind each other in the rows. A stretch is what may be walked through in one go: its bars follow
each other without a gap, belong to one market and one part of the split, and have all their features.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from core.accounting.rules import MarketRules
from core.data.frame import CandleFrame
from ml.arrays import BoolArray, Float32Array, FloatArray
from ml.dataset import ForecastDataset, Part, contiguous_stretches
from ml.feature_sources import bars_since_gap

PRICE_COLUMNS = ("open", "high", "low", "close", "volume", "funding_rate")
CLOSE, FUNDING_RATE = PRICE_COLUMNS.index("close"), PRICE_COLUMNS.index("funding_rate")


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """Rows `start` <= t < `stop` of one market that follow each other in time, with complete features.

    Decisions are made at all of them but the last, which is only met.

    Attributes:
        start / stop: of the rows.
        symbol: index of the market.
    """

    start: int
    stop: int
    symbol: int = 0

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True, eq=False)
class MarketTensor:
    """Bars of one or more markets; never written to.

    Attributes:
        features: known at the close of each bar, float32, contiguous, shape (T, F).
        prices: columns as in `PRICE_COLUMNS`, float64, shape (T, 6).
        volatility: known at the close, log return per bar, above 0, float64, shape (T,).
        stretches: ascending, disjoint.
        names: of the features, F.
        symbols: of the markets.
        rules: of each of them.
    """

    features: Tensor
    prices: Tensor
    volatility: Tensor
    stretches: tuple[Stretch, ...]
    names: tuple[str, ...]
    symbols: tuple[str, ...]
    rules: tuple[MarketRules, ...]

    def __post_init__(self) -> None:
        rows = len(self.features)
        if self.features.dtype != torch.float32 or not self.features.is_contiguous():
            raise ValueError("features must be contiguous float32")
        if self.features.shape != (rows, len(self.names)) or self.prices.shape != (rows, len(PRICE_COLUMNS)):
            raise ValueError("features, names and prices do not fit each other")
        if self.volatility.shape != (rows,) or {self.prices.dtype, self.volatility.dtype} != {torch.float64}:
            raise ValueError("prices and volatility must be float64, one row for each bar")
        if len(self.rules) != len(self.symbols):
            raise ValueError("each market has its rules")
        for stretch in self.stretches:
            if not (0 <= stretch.start < stretch.stop <= rows and 0 <= stretch.symbol < len(self.symbols)):
                raise ValueError(f"{stretch} lies outside the bars")
        if any(a.stop > b.start for a, b in itertools.pairwise(self.stretches)):
            raise ValueError("stretches must ascend and not overlap")

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device | str) -> Self:
        """Return the same bars on a device."""
        return replace(
            self,
            features=self.features.to(device),
            prices=self.prices.to(device),
            volatility=self.volatility.to(device),
        )


def market_tensor(
    features: Float32Array,
    prices: FloatArray,
    volatility: FloatArray,
    *,
    names: Sequence[str],
    stretches: Iterable[Stretch] | None = None,
    rules: MarketRules | None = None,
    symbols: Sequence[str] = ("",),
) -> MarketTensor:
    """Build from arrays; they are shared, not copied, where their types fit.

    Args:
        features: shape (T, F).
        prices: shape (T, 6), see `PRICE_COLUMNS`.
        volatility: shape (T,), log return per bar known at its close.
        names: of the features.
        stretches: None where all rows are one.
        rules: of all markets; None for those without rounding and minimums.
        symbols: of the markets.

    Raises:
        ValueError: shapes that do not fit, or within the stretches values that are no numbers or prices.
    """
    whole = (Stretch(0, len(features)),) if stretches is None else tuple(stretches)
    for stretch in whole:
        rows = slice(stretch.start, stretch.stop)
        bars, known = prices[rows], volatility[rows]
        if not (np.isfinite(features[rows]).all() and np.isfinite(known).all() and (known > 0).all()):
            raise ValueError(f"features or volatility of {stretch} are incomplete")
        _require_bars(bars, stretch)
    return MarketTensor(
        features=torch.from_numpy(np.ascontiguousarray(features, np.float32)),
        prices=torch.from_numpy(np.ascontiguousarray(prices, np.float64)),
        volatility=torch.from_numpy(np.ascontiguousarray(volatility, np.float64)),
        stretches=whole,
        names=tuple(names),
        symbols=tuple(symbols),
        rules=(rules or MarketRules(),) * len(symbols),
    )


def from_dataset(
    data: ForecastDataset,
    frame: CandleFrame,
    *,
    columns: Float32Array | None = None,
    column_names: Sequence[str] = (),
    known: BoolArray | None = None,
    funding_rate: FloatArray | None = None,
    rules: MarketRules | None = None,
) -> MarketTensor:
    """Build from prepared bars: the scaled features, and what an encoder made of them.

    Args:
        data: of the same bars as `frame`.
        frame: the bars.
        columns: further ones known at the close of each bar, such as an embedding, shape (n, E).
        column_names: E.
        known: rows that have them; None where all rows with features do.
        funding_rate: due at each bar's opening, share of a position's value; None where there is none.
        rules: of the market.
    """
    if not np.array_equal(data.time_ns, frame.time_ns):
        raise ValueError("the dataset is of other bars")
    extra = np.zeros((len(frame), 0), np.float32) if columns is None else columns
    complete = data.has_input & np.isfinite(extra).all(axis=1)
    if known is not None:
        complete &= known
    funding = np.zeros(len(frame)) if funding_rate is None else funding_rate
    bars = (frame.open, frame.high, frame.low, frame.close, frame.volume, funding)
    return market_tensor(
        np.concatenate([data.inputs, extra], axis=1, dtype=np.float32),
        np.stack(bars, axis=1),
        data.volatility,
        names=(*data.pipeline.names, *column_names),
        stretches=_unbroken(complete, bars_since_gap(frame.time_ns, frame.timeframe.ns) == 0),
        rules=rules,
        symbols=(frame.symbol,),
    )


def joined(markets: Sequence[MarketTensor]) -> MarketTensor:
    """Put several markets with the same features behind each other, each with its rules; one alone stays as it is."""
    if len(markets) == 1:
        return markets[0]
    names, devices = {market.names for market in markets}, {market.features.device for market in markets}
    if len(names) != 1 or len(devices) != 1:
        raise ValueError("markets of one batch have the same features and device")
    stretches, symbols, rows = list[Stretch](), list[str](), 0
    for market in markets:
        stretches += moved(market.stretches, rows, len(symbols))
        symbols += market.symbols
        rows += len(market)
    return MarketTensor(
        features=torch.cat([market.features for market in markets]),
        prices=torch.cat([market.prices for market in markets]),
        volatility=torch.cat([market.volatility for market in markets]),
        stretches=tuple(stretches),
        names=markets[0].names,
        symbols=tuple(symbols),
        rules=tuple(rule for market in markets for rule in market.rules),
    )


def moved(stretches: Iterable[Stretch], rows: int, symbols: int) -> list[Stretch]:
    """Return stretches where so many rows and markets stand before them."""
    return [Stretch(s.start + rows, s.stop + rows, s.symbol + symbols) for s in stretches]


def restricted(stretches: Iterable[Stretch], first_row: int, stop_row: int) -> tuple[Stretch, ...]:
    """Return what of the stretches lies in `first_row` <= row < `stop_row`."""
    cut = (Stretch(max(s.start, first_row), min(s.stop, stop_row), s.symbol) for s in stretches)
    return tuple(stretch for stretch in cut if stretch.start < stretch.stop)


def part_stretches(stretches: Iterable[Stretch], part: Part, offset: int = 0) -> tuple[Stretch, ...]:
    """Return what of the stretches lies in a part of the split, without what the part leaves out.

    Args:
        stretches: of one market.
        part: its rows count from the market's first bar.
        offset: row of that bar.
    """
    borders = [part.start, *itertools.chain.from_iterable(part.left_out), part.stop]
    whole = tuple(stretches)
    pieces = (
        restricted(whole, first + offset, stop + offset)
        for first, stop in zip(borders[::2], borders[1::2], strict=True)
    )
    return tuple(itertools.chain.from_iterable(pieces))


def _unbroken(complete: BoolArray, is_first: BoolArray) -> tuple[Stretch, ...]:
    """Return the runs of complete rows, cut where a bar does not follow the one before."""
    found = list[Stretch]()
    for start, stop in contiguous_stretches(complete):
        cuts = [start, *(start + 1 + np.flatnonzero(is_first[start + 1 : stop])).tolist(), stop]
        found += [Stretch(first, last) for first, last in itertools.pairwise(cuts)]
    return tuple(found)


def _require_bars(bars: FloatArray, stretch: Stretch) -> None:
    """Raise `ValueError` unless these are bars; the volume may be endless where nobody knows it."""
    opened, high, low, closed, volume, funding = bars.T
    sound = np.isfinite(bars[:, :4]).all() and (low > 0).all() and np.isfinite(funding).all()
    ordered = (low <= np.minimum(opened, closed)).all() and (high >= np.maximum(opened, closed)).all()
    if not (sound and ordered and (volume >= 0).all()):
        raise ValueError(f"prices of {stretch} are no bars")
