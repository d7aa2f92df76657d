"""A model is changed between two bars: each bar is answered once, and as if its model had always been at work."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from core.domain.candles import Candle
from core.domain.signals import Forecast
from core.errors import UserError
from core.strategies.predictor import Predictor
from ml.hot_swap import SwappablePredictor
from ml.inference import OnnxPredictor
from ml.model_storage import StoredModel, load_model
from tests.trained_model import Trained

FIRST, SECOND = "a" * 16, "b" * 16
START = 300
HISTORY = 200


@pytest.fixture(scope="module")
def candles(trained: Trained) -> list[Candle]:
    return trained.frame.to_candles("test")[:3_000]


@pytest.fixture(scope="module")
def models(trained: Trained) -> dict[str, StoredModel]:
    """Two models; the second one's forecasts are three times as large, so that none is taken for the other's."""
    stored = load_model(trained.models_dir, trained.result.model_id)
    scales = tuple(3 * scale for scale in stored.scaling.target.scales)
    target = replace(stored.scaling.target, scales=scales)
    wider = replace(stored, model_id=SECOND, scaling=replace(stored.scaling, target=target))
    return {FIRST: replace(stored, model_id=FIRST), SECOND: wider}


@pytest.fixture
def load(models: dict[str, StoredModel]) -> Callable[[str], Predictor]:
    def open_model(model_id: str) -> Predictor:
        if model_id not in models:
            raise UserError(f"There is no model {model_id!r}.", "")
        return OnnxPredictor(models[model_id])

    return open_model


@pytest.fixture
def predictor(load: Callable[[str], Predictor], candles: list[Candle]) -> SwappablePredictor:
    swappable = SwappablePredictor(load(FIRST), load)
    assert swappable.warm_up(candles[START - HISTORY : START]) is not None
    return swappable


def same(one: Forecast | None, other: Forecast | None) -> bool:
    assert one is not None
    assert other is not None
    assert (one.model_id, one.bar_open_ns, one.feature_hash) == (other.model_id, other.bar_open_ns, other.feature_hash)
    return bool(np.allclose(one.quantiles, other.quantiles, rtol=0, atol=1e-7))


def restarted(load: Callable[[str], Predictor], model_id: str, history: Sequence[Candle]) -> Predictor:
    predictor = load(model_id)
    predictor.warm_up(history)
    return predictor


def test_the_next_bar_is_the_new_models(
    predictor: SwappablePredictor, load: Callable[[str], Predictor], candles: list[Candle]
) -> None:
    assert (predictor.model_id, predictor.ready) == (FIRST, None)
    predictor.prepare(SECOND, candles[START - HISTORY : START])
    assert (predictor.model_id, predictor.ready) == (FIRST, SECOND)
    other = restarted(load, SECOND, candles[START - HISTORY : START])
    for candle in candles[START : START + 5]:  # it keeps up while it stands by
        forecast = predictor.update(candle)
        other.update(candle)
        assert forecast is not None
        assert forecast.model_id == FIRST
    told = predictor.swap(SECOND)
    assert (told.model_id, told.bar_open_ns) == (SECOND, candles[START + 4].open_time_ns)
    assert (predictor.model_id, predictor.ready) == (SECOND, None)
    for candle in candles[START + 5 : START + 50]:
        assert same(predictor.update(candle), other.update(candle))


class Slow:
    """A loader that waits to be let go."""

    def __init__(self, load: Callable[[str], Predictor]) -> None:
        self._load = load
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, model_id: str) -> Predictor:
        self.reached.set()
        assert self.go.wait(30)
        return self._load(model_id)


def test_bars_that_close_during_the_preparation_are_answered_and_caught_up(
    load: Callable[[str], Predictor], candles: list[Candle]
) -> None:
    slow = Slow(load)
    predictor = SwappablePredictor(load(FIRST), slow)
    predictor.warm_up(candles[START - HISTORY : START])
    # Read a little too early and a little too late, as it comes.
    history = candles[START - HISTORY : START - 3]
    worker = threading.Thread(target=predictor.prepare, args=(SECOND, history))
    worker.start()
    assert slow.reached.wait(30)
    for candle in candles[START : START + 20]:
        forecast = predictor.update(candle)
        assert forecast is not None
        assert forecast.model_id == FIRST
        with pytest.raises(UserError, match="No model is ready"):
            predictor.swap(SECOND)
    slow.go.set()
    worker.join()
    predictor.swap(SECOND)
    other = restarted(load, SECOND, candles[START - len(history) : START])
    for candle in candles[START : START + 20]:
        other.update(candle)
    for candle in candles[START + 20 : START + 60]:
        assert same(predictor.update(candle), other.update(candle))


def test_a_history_that_runs_ahead_is_not_seen_twice(
    predictor: SwappablePredictor, load: Callable[[str], Predictor], candles: list[Candle]
) -> None:
    predictor.prepare(SECOND, candles[START - HISTORY : START + 3])
    predictor.swap(SECOND)
    other = restarted(load, SECOND, candles[START - HISTORY : START])
    for candle in candles[START : START + 10]:
        assert same(predictor.update(candle), other.update(candle))


def test_a_thousand_bars_and_many_changes(load: Callable[[str], Predictor], candles: list[Candle]) -> None:
    """Bars on one thread, changes on another: none is missed, none answered twice, none mixed from two models."""
    bars = candles[START : START + 1_000]
    predictor = SwappablePredictor(load(FIRST), load)
    predictor.warm_up(candles[START - HISTORY : START])
    answers: list[tuple[Candle, Forecast | None]] = []
    failures: list[BaseException] = []
    swaps = 0

    def stream() -> None:
        try:
            for bar in bars:
                answers.append((bar, predictor.update(bar)))
                time.sleep(0.000_5)
        except BaseException as exc:
            failures.append(exc)
            raise

    streaming = threading.Thread(target=stream)
    streaming.start()
    while streaming.is_alive():
        wanted = SECOND if predictor.model_id == FIRST else FIRST
        done = len(answers)
        predictor.prepare(wanted, candles[: START + done][-HISTORY:])
        predictor.swap(wanted)
        swaps += 1
    streaming.join()

    assert not failures
    assert swaps >= 5
    assert [bar for bar, _ in answers] == bars
    references = {model_id: restarted(load, model_id, candles[:START]) for model_id in (FIRST, SECOND)}
    seen: list[str] = []
    for bar, forecast in answers:
        expected = {model_id: reference.update(bar) for model_id, reference in references.items()}
        assert forecast is not None, "a missed bar"
        assert same(forecast, expected[forecast.model_id])
        seen.append(forecast.model_id)
    changes = sum(before != after for before, after in itertools.pairwise(seen))
    assert 5 <= changes <= swaps


@pytest.mark.parametrize("model_id", ["c" * 16, ""])
def test_a_model_that_cannot_be_loaded_leaves_the_old_one(
    predictor: SwappablePredictor, candles: list[Candle], model_id: str
) -> None:
    with pytest.raises(UserError, match="no model"):
        predictor.prepare(model_id, candles[START - HISTORY : START])
    with pytest.raises(UserError, match="No model is ready"):
        predictor.swap(SECOND)
    forecast = predictor.update(candles[START])
    assert forecast is not None
    assert forecast.model_id == FIRST


def test_too_little_history_is_no_takeover(predictor: SwappablePredictor, candles: list[Candle]) -> None:
    for history in ([], candles[START - 20 : START]):
        with pytest.raises(UserError, match="needs 35 closed bars"):
            predictor.prepare(SECOND, history)
        assert predictor.ready is None
    assert predictor.update(candles[START]) is not None


def test_a_model_for_another_market_is_refused(
    models: dict[str, StoredModel], load: Callable[[str], Predictor], candles: list[Candle]
) -> None:
    stored = models[SECOND]
    other = replace(stored, spec=replace(stored.spec, data=replace(stored.spec.data, symbol="ETH/USDT")))
    predictor = SwappablePredictor(load(FIRST), lambda model_id: OnnxPredictor(other))
    predictor.warm_up(candles[START - HISTORY : START])
    with pytest.raises(UserError, match="not on BTC/USDT 1h"):
        predictor.prepare(SECOND, candles[START - HISTORY : START])
    assert predictor.ready is None


def test_the_newest_preparation_counts(load: Callable[[str], Predictor], candles: list[Candle]) -> None:
    slow = Slow(load)
    predictor = SwappablePredictor(load(FIRST), slow)
    predictor.warm_up(candles[START - HISTORY : START])
    told: list[str] = []

    def prepare() -> None:
        try:
            predictor.prepare(FIRST, candles[START - HISTORY : START])
        except UserError as exc:
            told.append(exc.message)

    worker = threading.Thread(target=prepare)
    worker.start()
    assert slow.reached.wait(30)
    later = threading.Thread(target=predictor.prepare, args=(SECOND, candles[START - HISTORY : START]))
    later.start()
    while predictor._standby is None or predictor._standby.model_id != SECOND:
        time.sleep(0.001)
    slow.go.set()
    worker.join()
    later.join()
    assert told == [f"The preparation of model {FIRST} was given up for another."]
    assert predictor.ready == SECOND


class Breaking:
    """A predictor that fails at its n-th bar."""

    def __init__(self, inner: Predictor, bars: int) -> None:
        self._inner, self._left = inner, bars
        self.model_id, self.symbol, self.timeframe = inner.model_id, inner.symbol, inner.timeframe
        self.warm_up_bars = inner.warm_up_bars

    def warm_up(self, candles: Sequence[Candle]) -> Forecast | None:
        return self._inner.warm_up(candles)

    def update(self, candle: Candle) -> Forecast | None:
        self._left -= 1
        if not self._left:
            raise RuntimeError("broken")
        return self._inner.update(candle)


def test_one_that_breaks_while_it_stands_by_disturbs_nobody(
    load: Callable[[str], Predictor], candles: list[Candle], caplog: pytest.LogCaptureFixture
) -> None:
    predictor = SwappablePredictor(load(FIRST), lambda model_id: Breaking(load(model_id), 3))
    predictor.warm_up(candles[START - HISTORY : START])
    predictor.prepare(SECOND, candles[START - HISTORY : START])
    for candle in candles[START : START + 10]:
        assert predictor.update(candle) is not None
    assert predictor.ready is None
    assert "does not stand by any more" in caplog.text


def test_a_gap_and_a_new_start_reach_both(
    predictor: SwappablePredictor, load: Callable[[str], Predictor], candles: list[Candle]
) -> None:
    predictor.prepare(SECOND, candles[START - HISTORY : START])
    assert predictor.update(candles[START + 5]) is None  # bars are missing: both begin anew
    assert predictor.ready is None
    with pytest.raises(UserError, match="No model is ready"):
        predictor.swap(SECOND)
    later = candles[START + 10 : START + 100]
    assert predictor.warm_up(later) is not None
    assert predictor.ready == SECOND
    predictor.swap(SECOND)
    other = restarted(load, SECOND, later)
    assert same(predictor.update(candles[START + 100]), other.update(candles[START + 100]))


def test_a_bar_that_is_refused_reaches_nobody(
    predictor: SwappablePredictor, load: Callable[[str], Predictor], candles: list[Candle]
) -> None:
    predictor.prepare(SECOND, candles[START - HISTORY : START])
    for bad in (candles[START - 1], replace(candles[START], final=False)):
        with pytest.raises(ValueError, match=r"follow|closed"):
            predictor.update(bad)
    predictor.swap(SECOND)
    other = restarted(load, SECOND, candles[START - HISTORY : START])
    assert same(predictor.update(candles[START]), other.update(candles[START]))


def test_it_tells_what_the_model_at_work_tells(predictor: SwappablePredictor, load: Callable[[str], Predictor]) -> None:
    inner = load(FIRST)
    assert (predictor.symbol, predictor.timeframe, predictor.warm_up_bars) == (
        inner.symbol,
        inner.timeframe,
        inner.warm_up_bars,
    )


def test_only_the_model_that_was_meant_takes_over(predictor: SwappablePredictor, candles: list[Candle]) -> None:
    predictor.prepare(SECOND, candles[START - HISTORY : START])
    with pytest.raises(UserError, match="No model is ready"):
        predictor.swap("another")
    assert (predictor.model_id, predictor.ready) == (FIRST, SECOND)
    predictor.give_up()
    assert predictor.ready is None
    with pytest.raises(UserError, match="No model is ready"):
        predictor.swap(SECOND)
