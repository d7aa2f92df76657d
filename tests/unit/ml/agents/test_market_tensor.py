"""Bars as tensors, and the stretches that may be walked through."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.accounting.rules import MarketRules
from ml.agents.market_tensor import Stretch, from_dataset, joined, market_tensor, part_stretches, restricted
from ml.api import ForecastSpec
from ml.dataset import Part, build_dataset
from tests.unit.ml.agents.agent_world import random_market, random_prices
from tests.unit.ml.helpers import frame_from_returns, noise_returns

FORECAST = ForecastSpec()


def test_arrays_are_shared_not_copied() -> None:
    features = np.zeros((10, 2), np.float32)
    market = market_tensor(features, random_prices(10, 1), np.full(10, 0.01), names=("a", "b"))
    assert market.features.data_ptr() == features.ctypes.data
    assert market.stretches == (Stretch(0, 10),)


@pytest.mark.parametrize("column", range(6))
def test_bars_that_are_none_are_refused_within_a_stretch_only(column: int) -> None:
    prices = random_prices(10, 1)
    prices[3, column] = np.nan
    features, volatility = np.zeros((10, 1), np.float32), np.full(10, 0.01)
    with pytest.raises(ValueError, match="no bars"):
        market_tensor(features, prices, volatility, names=("a",))
    market_tensor(features, prices, volatility, names=("a",), stretches=(Stretch(4, 10),))


def test_incomplete_features_and_volatility_are_refused() -> None:
    for row, value in ((2, np.nan), (2, 0.0)):
        volatility = np.full(10, 0.01)
        volatility[row] = value
        with pytest.raises(ValueError, match="incomplete"):
            market_tensor(np.zeros((10, 1), np.float32), random_prices(10, 1), volatility, names=("a",))
    features = np.zeros((10, 1), np.float32)
    features[5] = np.inf
    with pytest.raises(ValueError, match="incomplete"):
        market_tensor(features, random_prices(10, 1), np.full(10, 0.01), names=("a",))


def test_stretches_must_ascend_within_the_bars() -> None:
    market = random_market(20)
    for wrong in ((Stretch(0, 21),), (Stretch(5, 9), Stretch(8, 12)), (Stretch(0, 4, 2),)):
        with pytest.raises(ValueError, match=r"tretch"):
            replace(market, stretches=wrong)


def test_restriction_to_rows() -> None:
    stretches = (Stretch(0, 10), Stretch(12, 20, 1))
    assert restricted(stretches, 5, 15) == (Stretch(5, 10), Stretch(12, 15, 1))
    assert restricted(stretches, 10, 12) == ()


def test_a_part_with_holes_cuts_stretches() -> None:
    part = Part.of([(2, 6), (9, 30)])
    assert part_stretches((Stretch(0, 4), Stretch(5, 20)), part) == (Stretch(2, 4), Stretch(5, 6), Stretch(9, 20))
    assert part_stretches((Stretch(100, 110),), part, offset=100) == (Stretch(102, 106), Stretch(109, 110))


def test_joined_markets_keep_their_stretches_apart() -> None:
    first = random_market(30, stretches=(Stretch(3, 30),))
    second = random_market(20, seed=5, stretches=(Stretch(0, 8), Stretch(9, 20)))
    second = replace(second, rules=(MarketRules(lot_size=0.1), MarketRules(tick_size=0.5)))
    both = joined((first, second))
    assert both.stretches == (Stretch(3, 30), Stretch(30, 38, 2), Stretch(39, 50, 2))
    assert torch.equal(both.prices[30:], second.prices)
    assert both.symbols == ("A", "B", "A", "B")
    assert both.rules == (*first.rules, *second.rules)
    assert joined((second,)) is second
    with pytest.raises(ValueError, match="its rules"):
        replace(first, rules=())
    with pytest.raises(ValueError, match="same features"):
        joined((first, random_market(20, features=4)))


def test_a_dataset_becomes_stretches_between_its_gaps() -> None:
    frame = frame_from_returns(noise_returns(3_000, 3), missing=(1_500, 1_501))
    data = build_dataset(frame, FORECAST)
    embedding = np.ones((len(frame), 2), np.float32)
    embedding[:400] = np.nan
    market = from_dataset(data, frame, columns=embedding, column_names=("e0", "e1"))
    assert market.names == (*data.pipeline.names, "e0", "e1")
    assert market.symbols == ("BTC/USDT",)
    assert market.stretches[0].start == 400
    for stretch in market.stretches:
        rows = slice(stretch.start, stretch.stop)
        assert data.has_input[rows].all()
        assert (np.diff(frame.time_ns[rows]) == frame.timeframe.ns).all()
    covered = sum(len(stretch) for stretch in market.stretches)
    assert covered == np.count_nonzero(data.has_input[400:])
    assert np.array_equal(market.prices[:, 3].numpy(), frame.close)
    with pytest.raises(ValueError, match="other bars"):
        from_dataset(data, frame.select(np.arange(10)))


def test_a_gap_is_a_border_whatever_the_features_need() -> None:
    """Features of each bar alone are complete at the first one after a gap already."""
    frame = frame_from_returns(noise_returns(3_000, 3), missing=(1_500, 1_501))
    data = build_dataset(frame, FORECAST)
    borders = np.flatnonzero(np.diff(frame.time_ns) != frame.timeframe.ns) + 1
    known = replace(data, has_input=np.arange(len(frame)) >= 400)
    stretches = from_dataset(known, frame).stretches
    assert [(s.start, s.stop) for s in stretches] == list(itertools.pairwise([400, *borders.tolist(), len(frame)]))
    assert len(stretches) == 2
