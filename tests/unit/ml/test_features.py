from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.data.frame import CandleFrame
from core.errors import UserError
from ml.api import FeatureSpec, feature_sets
from ml.features import FeaturePipeline, RobustScaler, StreamingFeatures, TargetUnit, bars_since_gap, pipeline_for
from tests.unit.ml.helpers import HOUR, frame_from_returns, noise_returns

SPECS = [
    FeatureSpec("price", 1),
    FeatureSpec("market", 1),
    FeatureSpec("price", 1, horizons=(1, 3, 60), window=20),
    FeatureSpec("market", 1, horizons=(1,), window=8),
]
FRAME = frame_from_returns(noise_returns(600, 3), missing=(200, 201, 350))


def changed(frame: CandleFrame, after: int, seed: int) -> CandleFrame:
    """Replace every price and volume after row `after` by something else."""
    rng = np.random.default_rng(seed)
    columns = {}
    for name in ("open", "high", "low", "close", "volume"):
        column = getattr(frame, name).copy()
        column[after + 1 :] = rng.lognormal(8, 1, len(column) - after - 1)
        columns[name] = column
    columns["high"] = np.maximum.reduce(list(columns.values())[:4])
    columns["low"] = np.minimum.reduce(list(columns.values())[:4])
    columns["high"][: after + 1] = frame.high[: after + 1]
    columns["low"][: after + 1] = frame.low[: after + 1]
    return replace(frame, **columns)


@pytest.mark.parametrize("spec", SPECS)
def test_every_row_after_the_warm_up_is_finite_and_none_before(spec: FeatureSpec) -> None:
    pipeline = FeaturePipeline(spec)
    matrix = pipeline.compute(FRAME)
    assert matrix.shape == (len(FRAME), len(pipeline.names))
    assert np.isfinite(matrix[pipeline.warm_up :]).all()
    assert np.isnan(matrix[: pipeline.warm_up]).all()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("after", [70, 199, 420])
def test_the_future_changes_nothing(spec: FeatureSpec, after: int) -> None:
    pipeline = FeaturePipeline(spec)
    before = pipeline.compute(FRAME)[: after + 1]
    mutated = pipeline.compute(changed(FRAME, after, after))
    np.testing.assert_array_equal(mutated[: after + 1], before)
    assert not np.array_equal(mutated[after + 1 :], pipeline.compute(FRAME)[after + 1 :])  # the mutation was one


@pytest.mark.parametrize("spec", SPECS)
def test_streaming_equals_the_batch_bar_by_bar_and_restarts_after_gaps(spec: FeatureSpec) -> None:
    pipeline = FeaturePipeline(spec)
    matrix, complete = pipeline.compute(FRAME), pipeline.complete_rows(FRAME.time_ns, HOUR.ns)
    stream = StreamingFeatures(pipeline, HOUR.ns)
    for index, candle in enumerate(FRAME.to_candles("test")):
        row = stream.push(candle)
        assert (row is not None) == complete[index]
        if row is not None:
            np.testing.assert_allclose(row, matrix[index], rtol=0, atol=1e-9)
    assert complete.sum() == len(FRAME) - 3 * pipeline.warm_up


@pytest.mark.parametrize("name", ["market", "technical"])
def test_features_are_scale_free(name: str) -> None:
    pipeline = FeaturePipeline(FeatureSpec(name, 1))
    scaled = replace(
        FRAME,
        open=FRAME.open * 1e4,
        high=FRAME.high * 1e4,
        low=FRAME.low * 1e4,
        close=FRAME.close * 1e4,
        volume=FRAME.volume * 1e-3,
    )
    np.testing.assert_allclose(pipeline.compute(scaled), pipeline.compute(FRAME), atol=1e-7)


def test_the_technical_set_waits_for_less_than_400_bars() -> None:
    """Its longest smoothing starts anew after every missing bar."""
    pipeline = FeaturePipeline(FeatureSpec("technical", 1))
    assert 300 < pipeline.warm_up < 400
    assert len(pipeline.names) == 32


@pytest.mark.parametrize("name", ["market", "technical"])
def test_a_market_that_stands_still_gives_finite_rows(name: str) -> None:
    frame = frame_from_returns(np.zeros(600))
    flat = replace(frame, high=frame.close, low=frame.close, volume=np.zeros(600))
    pipeline = FeaturePipeline(FeatureSpec(name, 1, horizons=(1, 4), window=16))
    assert np.isfinite(pipeline.compute(flat)[pipeline.warm_up :]).all()


def test_stream_refuses_open_and_old_bars() -> None:
    stream = StreamingFeatures(FeaturePipeline(FeatureSpec("price", 1)), HOUR.ns)
    first, second = FRAME.to_candles("test")[:2]
    stream.push(second)
    with pytest.raises(ValueError, match="follow"):
        stream.push(first)
    with pytest.raises(ValueError, match="closed"):
        stream.push(replace(second, final=False))


def test_bars_since_gap() -> None:
    times = np.array([0, 1, 2, 5, 6, 9]) * HOUR.ns
    assert bars_since_gap(times, HOUR.ns).tolist() == [0, 1, 2, 0, 1, 0]
    assert bars_since_gap(np.zeros(0, np.int64), HOUR.ns).tolist() == []


def test_the_digest_tells_feature_sets_apart() -> None:
    digests = {FeaturePipeline(spec).digest for spec in SPECS}
    assert len(digests) == len(SPECS)
    with pytest.raises(UserError, match="another form"):
        pipeline_for(SPECS[0], FeaturePipeline(SPECS[1]).digest)
    assert {info.name for info in feature_sets()} == {"price", "market", "technical"}


def test_robust_scaler_centres_scales_clips_and_survives_json() -> None:
    rng = np.random.default_rng(0)
    matrix = np.column_stack([rng.normal(5, 2, 5_000), np.full(5_000, 7.0), np.r_[np.zeros(4_999), 9.0]])
    scaler = RobustScaler.fit(matrix, ("a", "b", "c"))
    scaled = scaler.transform(matrix)
    assert scaled.dtype == np.float32
    assert scaled[:, 0].mean() == pytest.approx(0, abs=0.05)
    assert scaled[:, 0].std() == pytest.approx(1, abs=0.05)
    assert (scaled[:, 1] == 0).all()
    assert scaler.transform(np.array([[1e9, 7.0, np.nan]])).tolist() == [[6.0, 0.0, 0.0]]
    assert RobustScaler.from_json(scaler.to_json()) == scaler
    with pytest.raises(ValueError, match="finite"):
        RobustScaler.fit(np.array([[np.nan]]), ("a",))


def test_target_unit_has_a_floor() -> None:
    unit = TargetUnit(horizons=(1, 4), floor=0.01, scales=(1.0, 1.5))
    np.testing.assert_allclose(unit.at(np.array([0.0, 0.02])), [[0.01, 0.03], [0.02, 0.06]])
