from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.errors import UserError
from ml.api import (
    DataRange,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    SeriesSource,
    SplitSpec,
    TrainingSpec,
    parse_column,
)
from ml.dataset import (
    Part,
    build_dataset,
    contiguous_stretches,
    load_bars,
    load_history,
    make_segments,
    prepare_bars,
    split_rows,
)
from ml.features import MarketHistory, PointSeries
from ml.model_storage import data_lineage, history_lineage
from tests.unit.ml.helpers import HOUR, frame_from_returns, noise_returns

SPEC = ForecastSpec(
    features=FeatureSpec("price", 1, horizons=(1, 4), window=16),
    model=ModelSpec(horizons=(3,)),
    split=SplitSpec(purge_bars=10),
    training=TrainingSpec(segment_length=64, burn_in=8),
)
GAPS = (700, 701, 1500)
FRAME = frame_from_returns(noise_returns(3_000, 5), missing=GAPS)


def test_targets_are_future_log_returns_and_never_cross_a_gap() -> None:
    data = build_dataset(FRAME, SPEC)
    row = 100
    assert data.log_return[row] == pytest.approx(np.log(FRAME.close[row + 3] / FRAME.close[row]))
    assert data.target[row] == pytest.approx(data.log_return[row] / data.unit[row], rel=1e-6)
    first_after_gap = int(np.flatnonzero(np.diff(FRAME.time_ns) > HOUR.ns)[0]) + 1
    assert not data.has_target[first_after_gap - 3 : first_after_gap].any()
    assert data.has_target[first_after_gap - 4]
    assert not data.has_input[first_after_gap : first_after_gap + data.pipeline.warm_up].any()
    assert not data.has_target[-3:].any()
    assert data.target[data.has_target].std() == pytest.approx(1.0, abs=0.1)


def test_the_split_is_chronological_with_purge_and_horizon_between() -> None:
    data = build_dataset(FRAME, SPEC)
    train, valid, test = (data.rows(part) for part in (data.train, data.valid, data.test))
    gap = SPEC.split.purge_bars + SPEC.model.horizon_bars
    assert train[-1] + gap < valid[0]
    assert valid[-1] + gap < test[0]
    total = len(train) + len(valid) + len(test)
    assert len(train) / total == pytest.approx(0.7, abs=0.02)
    # No bar that enters a training target is seen as a validation bar.
    assert (train + SPEC.model.horizon_bars).max() < valid.min()


def test_scaling_knows_the_training_part_only() -> None:
    data = build_dataset(FRAME, SPEC)
    limit = data.train.stop + SPEC.model.horizon_bars
    wild = FRAME.close.copy()
    wild[limit:] *= np.exp(np.cumsum(noise_returns(len(wild) - limit, 9, sigma=0.2)))
    other = build_dataset(replace(FRAME, close=wild, high=np.maximum(wild, FRAME.high)), SPEC)
    assert other.scaling == data.scaling
    np.testing.assert_array_equal(other.inputs[: data.train.stop], data.inputs[: data.train.stop])
    early = FRAME.close.copy()
    early[200:400] *= 1.5
    assert build_dataset(replace(FRAME, close=early, high=np.maximum(early, FRAME.high)), SPEC).scaling != data.scaling


@pytest.mark.parametrize("offset", [0, 1, 30, 55])
@pytest.mark.parametrize("lead_in", [False, True])
def test_segments_are_contiguous_and_count_each_target_once(offset: int, lead_in: bool) -> None:
    data = build_dataset(FRAME, SPEC)
    part = data.valid if lead_in else data.train
    segments = make_segments(data, part, length=64, burn_in=8, offset=offset, lead_in=lead_in)
    counted = segments.rows[segments.weight > 0]
    assert len(np.unique(counted)) == len(counted)
    assert set(counted.tolist()) <= set(data.rows(part).tolist())
    assert (segments.weight[:, :8] == 0).all()
    inside = np.diff(segments.rows, axis=1)
    assert set(np.unique(inside).tolist()) <= {0, 1}
    assert data.has_input[segments.rows].all()
    times = FRAME.time_ns[segments.rows]
    assert set(np.unique(np.diff(times, axis=1)).tolist()) <= {0, HOUR.ns}  # no jump over a missing bar
    stretches = 3 if part is data.train else 1
    lost = len(data.rows(part)) - len(counted)
    assert 0 <= lost <= 8 * stretches
    if lead_in:
        assert lost == 0


def test_stretches() -> None:
    assert contiguous_stretches(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 2), (3, 4), (6, 7)]
    assert contiguous_stretches(np.zeros(3, bool)) == []


def test_too_few_bars_is_one_sentence() -> None:
    with pytest.raises(UserError, match="at least"):
        build_dataset(frame_from_returns(noise_returns(300, 1)), SPEC)
    with pytest.raises(UserError, match="too few to split"):
        split_rows(np.arange(50), SplitSpec(), 1, np.arange(50))
    with pytest.raises(UserError, match="purge"):
        split_rows(np.arange(1_000), SplitSpec(purge_bars=200), 1, np.arange(1_000))


@pytest.mark.parametrize(
    "dates", [("2030-01-01", "2031-01-01"), ("2001-01-01", "2002-01-01"), ("2020-10-01", "2020-10-02")]
)
def test_dates_outside_the_data_or_too_close_are_named(dates: tuple[str, str]) -> None:
    split = SplitSpec(valid_from=dates[0], test_from=dates[1])
    with pytest.raises(UserError, match=f"The split at {dates[0]} and {dates[1]} leaves"):
        split_rows(np.arange(len(FRAME)), split, 1, FRAME.time_ns)


def test_a_price_that_never_moves_is_refused() -> None:
    with pytest.raises(UserError, match="hardly moves"):
        build_dataset(frame_from_returns(np.zeros(3_000)), SPEC)


def test_segments_need_stretches_longer_than_the_burn_in() -> None:
    data = build_dataset(FRAME, SPEC)
    with pytest.raises(UserError, match="burn-in"):
        make_segments(data, data.valid, length=4_000, burn_in=2_000)


def test_bars_come_from_the_store_or_a_file(tmp_path: Path) -> None:
    CandleStore(tmp_path).write("binance", FRAME, "import")
    loaded = load_bars(DataRange(), tmp_path)
    np.testing.assert_array_equal(loaded.close, FRAME.close)
    start = int(FRAME.time_ns[10])
    assert len(load_bars(DataRange(start_ns=start, end_ns=start + 5 * HOUR.ns), tmp_path)) == 5
    with pytest.raises(UserError, match="no closed 1h bars of ETH/USDT"):
        load_bars(DataRange(symbol="ETH/USDT"), tmp_path)
    csv = tmp_path / "bars.csv"
    rows = [
        f"{t},{o!r},{h!r},{low!r},{c!r},{v!r}"
        for t, o, h, low, c, v in zip(
            *(getattr(FRAME, name).tolist() for name in ("time_ns", "open", "high", "low", "close", "volume")),
            strict=True,
        )
    ]
    csv.write_text("\n".join(["time,open,high,low,close,volume", *rows]))
    np.testing.assert_array_equal(load_bars(DataRange(source=str(csv)), tmp_path).close, FRAME.close)


def test_borders_can_be_dates() -> None:
    valid_from = int(FRAME.time_ns[1_500])
    test_from = int(FRAME.time_ns[2_200])
    dates = [np.datetime64(ns, "ns").astype("datetime64[s]").astype(str) for ns in (valid_from, test_from)]
    data = build_dataset(FRAME, replace(SPEC, split=SplitSpec(valid_from=dates[0], test_from=dates[1])))
    assert FRAME.time_ns[data.rows(data.valid)[0]] >= valid_from > FRAME.time_ns[data.rows(data.train)[-1]]
    assert FRAME.time_ns[data.rows(data.test)[0]] >= test_from > FRAME.time_ns[data.rows(data.valid)[-1]]
    with pytest.raises(UserError, match="is no date"):
        SplitSpec(valid_from="x", test_from="y").validate()
    with pytest.raises(UserError, match="Only one border"):
        SplitSpec(valid_from="2020-01-01").validate()
    with pytest.raises(UserError, match="before the validation"):
        SplitSpec(valid_from="2021-01-01", test_from="2020-01-01").validate()


def test_several_horizons_are_several_targets_of_one_bar() -> None:
    data = build_dataset(FRAME, replace(SPEC, model=ModelSpec(horizons=(1, 5))))
    row = int(data.rows(data.test)[7])
    for column, horizon in enumerate((1, 5)):
        wanted = np.log(FRAME.close[row + horizon] / FRAME.close[row])
        assert data.log_return[row, column] == pytest.approx(wanted)
        assert data.target[data.rows(data.train), column].std() == pytest.approx(1.0, abs=0.01)


def test_other_markets_and_series_come_along_and_their_gaps_are_masked(tmp_path: Path) -> None:
    eth = replace(frame_from_returns(noise_returns(3_000, 6), missing=(1_000,)), symbol="ETH/USDT")
    for frame in (FRAME, eth):
        CandleStore(tmp_path).write("binance", frame, "import")
    known = FRAME.time_ns[::8]
    lines = [f"{np.datetime64(int(time), 'ns')}Z,{index % 7}" for index, time in enumerate(known)]
    (tmp_path / "funding.csv").write_text("\n".join(["known_at,value", *lines]))
    funding = SeriesSource("funding", str(tmp_path / "funding.csv"))
    spec = replace(
        SPEC,
        data=DataRange(markets=("ETH/USDT",), series=(funding,)),
        features=replace(
            SPEC.features,
            columns=(parse_column("log_return@ETH/USDT"), parse_column("funding.level"), parse_column("BODY@4h")),
        ),
    ).validate()
    history = load_history(spec.data, tmp_path)
    data = build_dataset(history, spec)
    assert data.inputs.shape[1] == len(data.pipeline.names) == 8
    alone = build_dataset(FRAME, SPEC)
    lost = np.flatnonzero(alone.has_input & ~data.has_input)
    missing = int(np.searchsorted(FRAME.time_ns, int(eth.time_ns[999]) + HOUR.ns))
    assert {missing, missing + 1} <= set(lost.tolist())  # that bar, and the return from it
    assert np.isfinite(data.inputs).all()
    column = data.pipeline.names.index("log_return@ETH/USDT")
    row = missing + 10
    at = int(np.searchsorted(eth.time_ns, FRAME.time_ns[row]))
    scaler = data.scaling.inputs
    wanted = (np.log(eth.close[at] / eth.close[at - 1]) - scaler.center[column]) / scaler.scale[column]
    assert data.inputs[row, column] == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(UserError, match="series 'funding'"):
        build_dataset(FRAME, spec)
    lineage = history_lineage(history)
    assert lineage["markets"]["ETH/USDT"]["bars"] == len(eth)
    assert lineage["series"]["funding"]["points"] == len(known)
    assert set(history_lineage(MarketHistory(FRAME))) == set(data_lineage(FRAME))
    assert str(tmp_path) not in str(spec.data.without_folders())


def test_a_part_may_have_holes_and_no_segment_crosses_one() -> None:
    part = Part.of([(300, 700), (700, 800), (1_000, 1_400)])
    assert part == Part(300, 1_400, ((800, 1_000),))
    data = build_dataset(FRAME, SPEC)
    rows = data.rows(part)
    np.testing.assert_array_equal(
        rows, np.intersect1d(np.flatnonzero(data.has_target), [*range(300, 800), *range(1_000, 1_400)])
    )
    segments = make_segments(data, part, length=64, burn_in=8, offset=5)
    counted = segments.rows[segments.weight > 0]
    assert len(np.unique(counted)) == len(counted)
    assert np.isin(counted, rows).all()
    for segment in segments.rows:
        assert segment.max() < 800 or segment.min() >= 1_000
    whole = make_segments(data, Part(300, 800), length=64, burn_in=8, offset=5)
    np.testing.assert_array_equal(segments.rows[: len(whole.rows)], whole.rows)


def gaps_from(first: int, every: int) -> CandleFrame:
    return frame_from_returns(noise_returns(3_000, 5), missing=tuple(range(first, 3_000, every)))


@pytest.mark.parametrize("first", [300, 1_490, 2_390])  # in all parts, from the validation on, in the test alone
def test_a_part_without_bars_behind_a_burn_in_is_refused_before_training(first: int) -> None:
    dates = [str(np.datetime64(int(FRAME.time_ns[row]), "ns").astype("datetime64[s]")) for row in (1_500, 2_400)]
    spec = replace(
        SPEC, training=replace(SPEC.training, burn_in=16), split=SplitSpec(valid_from=dates[0], test_from=dates[1])
    )
    every = prepare_bars(FRAME, SPEC).pipeline.warm_up + 16 + 3  # which leaves bars with a target, but none to judge
    with pytest.raises(UserError, match=r"has only [0-9]+ bars that follow (16|32) complete bars"):
        build_dataset(gaps_from(first, every), spec)
    data = build_dataset(gaps_from(2_390, 100), spec)
    assert len(data.rows(data.test)) > 300


@pytest.mark.parametrize(("part", "before"), [("valid", 0), ("test", 32)])
def test_rows_behind_a_burn_in_are_those_that_are_forecast(part: str, before: int) -> None:
    prepared, data = prepare_bars(FRAME, SPEC), build_dataset(FRAME, SPEC)
    chosen: Part = getattr(data, part)
    found = prepared.led_in_rows(chosen, 8, before)
    assert set(found.tolist()) <= set(data.rows(chosen).tolist())
    wanted = [row for row in data.rows(chosen) if row - 8 >= max(0, chosen.start - before)]
    assert found.tolist() == [row for row in wanted if data.has_input[row - 8 : row].all()]


@pytest.mark.parametrize(
    ("returns", "horizons", "same"),
    [(np.where(np.arange(3_000) % 2, 0.01, -0.01), (1, 2), 2), (np.full(3_000, 0.001), (3, 5), 3)],
)
def test_a_price_that_always_moves_alike_is_not_said_to_stand_still(
    returns: np.ndarray, horizons: tuple[int, ...], same: int
) -> None:
    with pytest.raises(UserError, match=f"At the horizon of {same} all price changes"):
        build_dataset(frame_from_returns(returns), replace(SPEC, model=ModelSpec(horizons=horizons)))


@pytest.mark.parametrize(
    ("first_day", "words"),
    [
        (0, None),
        (400, "No value of the series 'funding' was known by 2021-01-16, the end of the bars. Choose a range"),
        (-200, "'funding' is known from 2020-02-26 to 2020-06-30: only 0 of the 2,997 bars have a value"),
        (120, "'funding' is known from 2021-01-11 to 2021-01-16: only 121"),
    ],
)
def test_a_series_of_another_time_is_named(tmp_path: Path, first_day: int, words: str | None) -> None:
    day = 24 * HOUR.ns
    known = int(FRAME.time_ns[0]) + first_day * day + np.arange(0, 125 * 3) * (day // 3)
    known = known[known <= FRAME.time_ns[-1] + HOUR.ns]  # what a run keeps of a series
    series = PointSeries("funding", known, np.sin(np.arange(len(known))))
    spec = replace(SPEC, features=replace(SPEC.features, columns=(parse_column("funding.level"),)))
    history = MarketHistory(FRAME, series=(series,))
    if words is None:
        assert len(build_dataset(history, spec).rows(Part(0, len(FRAME)))) > 2_000
        return
    with pytest.raises(UserError) as caught:
        build_dataset(history, spec)
    assert words in str(caught.value)


def test_another_market_of_another_time_is_named() -> None:
    later = replace(FRAME, time_ns=FRAME.time_ns + 2_950 * HOUR.ns, symbol="ETH/USDT")
    spec = replace(SPEC, features=replace(SPEC.features, columns=(parse_column("log_return@ETH/USDT"),)))
    with pytest.raises(UserError, match="ETH/USDT are of 2021-01-14 to 2021-05-19: only 50 of the 2,997 bars"):
        build_dataset(MarketHistory(FRAME, others=(later,)), spec)
