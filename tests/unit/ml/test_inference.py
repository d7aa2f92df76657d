from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from core.domain.candles import Candle, Timeframe
from core.domain.signals import Forecast
from core.errors import UserError
from core.strategies.predictor import Predictor
from ml.api import parse_column
from ml.arrays import Float32Array
from ml.dataset import build_dataset
from ml.features import FeaturePipeline
from ml.inference import (
    PIECES,
    Forecasts,
    OnnxForecaster,
    OnnxPredictor,
    RecurrentState,
    forecast_rows,
    load_predictor,
    open_session,
)
from ml.model_storage import load_model
from tests.trained_model import Trained


@pytest.fixture
def predictor(trained: Trained) -> Predictor:
    return load_predictor(trained.models_dir, trained.result.model_id)


@pytest.fixture(scope="module")
def candles(trained: Trained) -> list[Candle]:
    return trained.frame.to_candles("test")


def test_it_knows_its_market(predictor: Predictor, trained: Trained) -> None:
    assert predictor.model_id == trained.result.model_id
    assert (predictor.symbol, predictor.timeframe) == ("BTC/USDT", Timeframe.H1)
    assert predictor.warm_up_bars == 26 + 8 + 1


def test_bar_by_bar_equals_the_batch_over_a_gap(predictor: Predictor, trained: Trained, candles: list[Candle]) -> None:
    """The evaluation of a dataset and live trading give the same numbers on the same bars."""
    stored = load_model(trained.models_dir, trained.result.model_id)
    data = build_dataset(trained.frame, trained.spec)
    start = 3_000
    rows, forecasts = forecast_rows(
        OnnxForecaster(stored.onnx), data, start + data.pipeline.warm_up, len(candles), trained.spec.training.burn_in
    )
    batch = dict(zip(rows.tolist(), forecasts.quantiles[:, 0], strict=True))
    live: dict[int, Forecast] = {}
    for index in range(start, len(candles)):
        forecast = predictor.update(candles[index])
        if forecast is not None:
            live[index] = forecast
    assert set(batch) <= set(live)
    silent = set(range(start, len(candles))) - set(live)
    assert len(silent) == 2 * (predictor.warm_up_bars - 1)  # at the start and after the missing bar
    for row, expected in batch.items():
        np.testing.assert_allclose(live[row].quantiles, expected, atol=1e-7)


def test_a_warm_start_equals_feeding_bar_by_bar(predictor: Predictor, trained: Trained, candles: list[Candle]) -> None:
    history = candles[3_600:3_900]  # holds the missing bar
    warm = predictor.warm_up(history)
    other = load_predictor(trained.models_dir, trained.result.model_id)
    for candle in history:
        stepped = other.update(candle)
    assert warm is not None
    assert stepped is not None
    assert warm.feature_hash == stepped.feature_hash
    np.testing.assert_allclose(warm.quantiles, stepped.quantiles, atol=1e-7)
    for candle in candles[3_900:3_950]:
        a, b = predictor.update(candle), other.update(candle)
        assert a is not None
        assert b is not None
        np.testing.assert_allclose(a.quantiles, b.quantiles, atol=1e-7)


@pytest.mark.parametrize("bars", [1, 15, 16, 255, 256, 257, 1_000])
def test_bars_in_pieces_give_the_numbers_of_all_at_once(bars: int, trained: Trained) -> None:
    forecaster = OnnxForecaster(load_model(trained.models_dir, trained.result.model_id).onnx)
    x = np.random.default_rng(0).normal(size=(bars, forecaster.features)).astype(np.float32)
    given: list[int] = []
    whole = open_session(load_model(trained.models_dir, trained.result.model_id).onnx)
    start = forecaster.initial_state()
    quantiles, *state = whole.run(None, {"x": x[None], "h0": start[0], "c0": start[1]})
    session = forecaster._session

    class Watched:
        def run(self, outputs: list[str], values: dict[str, Float32Array]) -> list[Float32Array]:
            given.append(values["x"].shape[1])
            answers: list[Float32Array] = session.run(outputs, values)
            return answers

    forecaster._session = Watched()
    forecasts, after = forecaster.run(x, start)
    assert sum(given) == bars
    assert set(given) <= set(PIECES)  # what a foreign network was checked with
    np.testing.assert_allclose(forecasts.quantiles, quantiles[0], rtol=0, atol=1e-6)
    for got, wanted in zip(after, state, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)


def test_a_network_that_runs_out_of_numbers_trades_nothing(trained: Trained, candles: list[Candle]) -> None:
    predictor = OnnxPredictor(load_model(trained.models_dir, trained.result.model_id))
    predictor.warm_up(candles[:200])
    predictor._state = tuple(np.full_like(part, np.nan) for part in predictor._state)
    with pytest.raises(ValueError, match="forecasts that are not finite"):
        predictor.update(candles[200])


def test_exactly_warm_up_bars_are_needed(predictor: Predictor, candles: list[Candle]) -> None:
    needed = predictor.warm_up_bars
    assert predictor.warm_up([]) is None
    assert predictor.warm_up(candles[:5]) is None
    assert predictor.warm_up(candles[: needed - 1]) is None
    assert predictor.update(candles[needed - 1]) is not None
    assert predictor.warm_up(candles[:needed]) is not None


def test_a_forecast_carries_its_evidence(predictor: Predictor, trained: Trained, candles: list[Candle]) -> None:
    forecast = predictor.warm_up(candles[:200])
    assert forecast is not None
    assert forecast.model_id == trained.result.model_id
    assert forecast.bar_open_ns == candles[199].open_time_ns
    assert forecast.horizon_bars == 1
    assert list(forecast.quantiles) == sorted(forecast.quantiles)
    assert [expected.horizon_bars for expected in forecast.fan] == list(trained.spec.model.horizons)
    assert forecast.fan[0].quantiles == forecast.quantiles
    assert forecast.z_score == pytest.approx(forecast.median / trained.result.metrics.forecast_std)
    after = predictor.update(candles[200])
    assert after is not None
    assert after.feature_hash != forecast.feature_hash


def test_a_gap_starts_the_state_anew(predictor: Predictor, trained: Trained, candles: list[Candle]) -> None:
    assert predictor.warm_up(candles[:200]) is not None
    assert predictor.update(candles[210]) is None
    needed = predictor.warm_up_bars
    answers = [predictor.update(candle) for candle in candles[211 : 210 + needed]]
    assert answers[:-1] == [None] * (needed - 2)
    fresh = load_predictor(trained.models_dir, trained.result.model_id)
    assert answers[-1] == fresh.warm_up(candles[210 : 210 + needed])


def test_wrong_bars_are_refused(predictor: Predictor, candles: list[Candle]) -> None:
    predictor.warm_up(candles[:100])
    for candle, sentence in (
        (replace(candles[100], final=False), "closed"),
        (candles[99], "follow"),
        (replace(candles[100], symbol="ETH/USDT"), "not ETH/USDT"),
        (replace(candles[100], timeframe=Timeframe.M1), "1m"),
        (replace(candles[100], close=float("nan")), "finite"),
    ):
        with pytest.raises(ValueError, match=sentence):
            predictor.update(candle)
    with pytest.raises(ValueError, match="ascending"):
        predictor.warm_up(candles[100:50:-1])


def test_a_network_that_is_none_is_one_sentence(trained: Trained) -> None:
    with pytest.raises(UserError, match="cannot be run"):
        OnnxForecaster(b"not a model")
    stored = load_model(trained.models_dir, trained.result.model_id)
    with pytest.raises(UserError, match="another form"):
        OnnxPredictor(replace(stored, feature_digest="0" * 16))


@pytest.mark.parametrize("column", ["log_return@ETH/USDT", "funding.level"])
def test_a_model_that_looks_at_more_than_its_market_is_refused(trained: Trained, column: str) -> None:
    stored = load_model(trained.models_dir, trained.result.model_id)
    features = replace(stored.spec.features, columns=(parse_column(column),))
    digest = FeaturePipeline(features, Timeframe.H1).digest
    spec = replace(stored.spec, features=features)
    with pytest.raises(UserError, match=f"also looks at {column.split('@')[-1].split('.')[0]}, which strategies"):
        OnnxPredictor(replace(stored, spec=spec, feature_digest=digest))


def test_a_model_without_a_view_has_no_strength(trained: Trained, candles: list[Candle]) -> None:
    stored = load_model(trained.models_dir, trained.result.model_id)
    silent = OnnxPredictor(replace(stored, metrics=replace(stored.metrics, forecast_std=0.0)))
    forecast = silent.warm_up(candles[:100])
    assert forecast is not None
    assert forecast.z_score == 0.0


def test_bars_from_two_threads_take_their_turns(trained: Trained, candles: list[Candle]) -> None:
    """The next bar comes on another thread while the network still works on the last one: it waits."""
    stored = load_model(trained.models_dir, trained.result.model_id)
    bars = candles[500:560]
    reference, shared = OnnxPredictor(stored), OnnxPredictor(stored)
    reference.warm_up(candles[300:500])
    shared.warm_up(candles[300:500])
    forecaster, working, inside = shared._forecaster, threading.Event(), threading.Lock()
    overlaps: list[Float32Array] = []

    class Watched:
        def run(self, inputs: Float32Array, state: RecurrentState) -> tuple[Forecasts, RecurrentState]:
            alone = inside.acquire(blocking=False)
            if not alone:
                overlaps.append(inputs)
            working.set()
            time.sleep(0.002)  # time for the other thread to get in
            answer = forecaster.run(inputs, state)
            if alone:
                inside.release()
            return answer

    shared._forecaster = Watched()  # type: ignore[assignment]
    answers: list[Forecast | None] = []
    for first, second in zip(bars[::2], bars[1::2], strict=True):
        working.clear()
        thread = threading.Thread(target=lambda bar=first: answers.append(shared.update(bar)))
        thread.start()
        assert working.wait(30)
        later = shared.update(second)
        thread.join()
        answers.append(later)
    assert overlaps == []
    assert answers == [reference.update(bar) for bar in bars]


def test_a_bar_offered_on_two_threads_is_taken_once(predictor: Predictor, candles: list[Candle]) -> None:
    predictor.warm_up(candles[300:500])
    outcomes: list[object] = []

    def offer(bar: Candle) -> None:
        try:
            outcomes.append(predictor.update(bar))
        except ValueError as exc:
            outcomes.append(str(exc))

    for bar in candles[500:550]:
        outcomes.clear()
        threads = [threading.Thread(target=offer, args=(bar,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(isinstance(outcome, Forecast) for outcome in outcomes) == [False, True]
