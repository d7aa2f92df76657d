"""What the wizard counts as usable is what a run finds complete."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.flows.datasets import Dataset, SeriesExtent, SourceKind, dataset_from_frame
from app.flows.training_coverage import coverage, side_columns
from core.domain.data_origin import BINANCE
from core.errors import UserError
from ml.api import FeatureSpec, ForecastSpec, ModelSpec, parse_column, warm_up_bars
from ml.dataset import prepare_bars
from ml.feature_spec import bound_columns
from tests.unit.ml.feature_world import HOUR, history

COLUMNS = (
    "RSI(timeperiod=14)",
    "log_return@4h",
    "RSI(timeperiod=5)@ETH/USDT",
    "funding(window=21).zscore",
    "funding(max_age_hours=3).level",
    "spread(window=4).diff",
    "open_interest(window=6).change",
    "onchain:active_addresses(max_age_hours=20,window=2).change",
)
_HOLES = st.sets(st.integers(0, 699), max_size=5)


@settings(max_examples=150, deadline=None)
@given(st.sets(st.sampled_from(COLUMNS), min_size=1), _HOLES, _HOLES, st.sets(st.integers(0, 80), max_size=6))
def test_targets_are_counted_as_a_run_finds_them(
    texts: set[str], missing: set[int], other_missing: set[int], point_missing: set[int]
) -> None:
    world = history(700, missing=missing, other_missing=other_missing, point_missing=point_missing)
    features = FeatureSpec("price", 1, (1, 4), 16, tuple(map(parse_column, sorted(texts))))
    spec = ForecastSpec(features=features, model=ModelSpec(horizons=(1, 3)))
    found = coverage(
        dataset_from_frame(world.frame, SourceKind.STORE, BINANCE),
        (None, None),
        side_columns(bound_columns(features)),
        {points.name: SeriesExtent(points.known_ns) for points in world.series},
        {other.symbol: dataset_from_frame(other, SourceKind.STORE, BINANCE) for other in world.others},
    )
    assert found.chosen.bars == len(found.times) == len(world.frame)
    try:
        expected = int(prepare_bars(world, spec).has_target.sum())
    except UserError:
        expected = 0  # a run without a single one ends there and names the series
    assert found.targets(warm_up_bars(features, HOUR), 3) == expected


@pytest.mark.parametrize("limits", [(None, None), (100, None), (None, 300), (120, 121), (699, 700), (900, 1_000)])
def test_a_range_is_cut_as_the_store_cuts_it(limits: tuple[int | None, int | None]) -> None:
    frame = history(700, missing=(5, 110, 111, 290)).frame
    start, end = (None if bar is None else int(frame.time_ns[0]) + bar * HOUR.ns for bar in limits)
    found = coverage(dataset_from_frame(frame, SourceKind.STORE, BINANCE), (start, end))
    assert list(found.times) == list(frame.between(start, end).time_ns)
    assert found.usable == found.chosen.bars == found.summary().bars
    assert found.targets(0, 0) == found.chosen.bars
    assert found.chosen == found.summary()


@pytest.mark.parametrize("bars", [1, 2, 8_999, 9_000, 58_419])
def test_not_a_bar_of_a_long_history_is_lost(bars: int) -> None:
    start = 1_704_067_200_000_000_000
    history = Dataset(SourceKind.STORE, BINANCE, "BTC/USDT", HOUR, start, start + (bars - 1) * HOUR.ns, bars)
    assert coverage(history, (None, None)).usable == bars
