"""A stored model that only looks: the same forecasts as a strategy's, and honest words about how they turned out."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.data_storage import CandleStore
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import BINANCE
from core.domain.signals import Forecast, HorizonRange
from core.errors import UserError
from ml.feature_columns import parse_column
from ml.inference import load_predictor
from ml.jsonvalues import encode
from ml.model_storage import package_files, store_files
from ml.model_tags import ModelTags
from ml.onlooker import PAST_BARS, Onlooker, PastForecasts, longer_history, open_onlooker
from ml.outlook import LookedAt, Outcomes
from tests.trained_model import Trained
from tests.unit.ml.helpers import appended
from tests.unit.ml.packages import edited

HOUR = Timeframe.H1.ns


def go_on() -> bool:
    return False


@pytest.fixture
def onlooker(trained: Trained) -> Onlooker:
    return open_onlooker(trained.models_dir, trained.result.model_id)


@pytest.fixture(scope="module")
def candles(trained: Trained) -> list[Candle]:
    return trained.frame.to_candles("test")


@pytest.fixture
def models(tmp_path: Path, trained: Trained) -> Path:
    shutil.copytree(trained.models_dir / trained.result.model_id, tmp_path / "models" / trained.result.model_id)
    return tmp_path / "models"


def forecast(bar: int, low: float, high: float, horizon: int = 1) -> Forecast:
    values = (low, (low + high) / 2, high)
    return Forecast("BTC/USDT", bar * HOUR, horizon, (0.1, 0.5, 0.9), values, 0.0, "m", "f")


def test_it_says_what_a_strategy_would_be_told(onlooker: Onlooker, trained: Trained, candles: list[Candle]) -> None:
    history, later = candles[100:700], candles[700:730]
    strategy = load_predictor(trained.models_dir, trained.result.model_id)
    expected = strategy.warm_up(history)
    outlook = onlooker.begin(history, go_on)
    for candle in later:
        assert outlook is not None
        assert expected is not None
        assert outlook.forecast is not None
        assert outlook.forecast.bar_open_ns == outlook.bar_open_ns == expected.bar_open_ns
        np.testing.assert_allclose(outlook.forecast.quantiles, expected.quantiles, atol=1e-7)
        assert outlook.forecast.feature_hash == expected.feature_hash
        expected, outlook = strategy.update(candle), onlooker.update(candle)
        assert outlook.close == candle.close


def test_what_it_is(onlooker: Onlooker, trained: Trained) -> None:
    assert onlooker.about == LookedAt(trained.result.model_id, "BTC/USDT", "1h", BINANCE, foreign=False)
    assert onlooker.needed == 26 + 8 + 1


def test_bars_it_was_made_from_count_for_nothing(onlooker: Onlooker, trained: Trained, candles: list[Candle]) -> None:
    outlook = onlooker.begin(candles, go_on)
    assert outlook is not None
    assert outlook.forecast is not None
    assert outlook.outcomes is None
    later = appended(trained.frame, 300).to_candles("test")
    outlook = onlooker.update(later[0])
    assert outlook.outcomes is None  # the first unseen bar has no outcome yet
    outlook = onlooker.update(later[1])
    assert outlook.outcomes is not None
    assert outlook.outcomes.judged == 1
    outlook = onlooker.begin([*candles, *later], go_on)
    assert outlook is not None
    assert outlook.outcomes is not None
    assert outlook.outcomes.judged == PAST_BARS
    assert outlook.outcomes.share == pytest.approx(
        trained.spec.model.quantile_levels[-1] - trained.spec.model.quantile_levels[0]
    )


def test_of_a_model_made_elsewhere_only_what_came_after_its_import_counts(
    models: Path, trained: Trained, candles: list[Candle]
) -> None:
    later = appended(trained.frame, 60).to_candles("test")
    imported_ns = later[39].open_time_ns + 1
    ModelTags(models).mark_imported(trained.result.model_id, "gift.maru-model", imported_ns)
    onlooker = open_onlooker(models, trained.result.model_id)
    assert onlooker.about.foreign
    outlook = onlooker.begin([*candles, *later], go_on)
    assert outlook is not None
    assert outlook.outcomes is not None
    assert outlook.outcomes.judged == 60 - 40 - 1


def test_too_few_bars_are_counted_and_a_gap_starts_anew(onlooker: Onlooker, candles: list[Candle]) -> None:
    outlook = onlooker.begin(candles[:20], go_on)
    assert outlook is not None
    assert (outlook.forecast, outlook.bars, outlook.needed) == (None, 20, 35)
    for candle in candles[20:34]:
        outlook = onlooker.update(candle)
        assert outlook.forecast is None
    outlook = onlooker.update(candles[34])
    assert outlook.forecast is not None
    assert outlook.bars == 35
    outlook = onlooker.update(candles[40])
    assert (outlook.forecast, outlook.bars) == (None, 1)
    gap = onlooker.begin([*candles[:100], *candles[110:130]], go_on)
    assert gap is not None
    assert (gap.forecast, gap.bars) == (None, 20)
    assert onlooker.begin([], go_on) is None


def test_it_ends_between_two_bars(onlooker: Onlooker, candles: list[Candle]) -> None:
    asked: list[int] = []

    def rest() -> bool:
        asked.append(1)
        return len(asked) == 3

    assert onlooker.begin(candles[:300], rest) is None
    assert len(asked) == 3
    assert onlooker.begin(candles[:300], go_on) is not None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_forecast_that_is_no_number_is_one_sentence(trained: Trained, candles: list[Candle], value: float) -> None:
    class Broken:
        model_id, symbol, timeframe, warm_up_bars = "m", "BTC/USDT", Timeframe.H1, 1

        def warm_up(self, bars: Sequence[Candle]) -> Forecast | None:
            return replace(forecast(1, 0.0, 0.1), fan=(HorizonRange(1, (0.0, value, 0.1)),))

        def update(self, candle: Candle) -> Forecast | None:
            raise RuntimeError("the runtime says no")

    onlooker = Onlooker(Broken(), LookedAt("m", "BTC/USDT", "1h", BINANCE, foreign=False), 0)
    with pytest.raises(UserError, match="Model m failed on a bar of the chart"):
        onlooker.begin(candles[:1], go_on)
    with pytest.raises(UserError, match="Model m failed on a bar of the chart"):
        onlooker.update(candles[1])


def test_prices_that_give_no_features_are_one_sentence(onlooker: Onlooker, candles: list[Candle]) -> None:
    onlooker.begin(candles[:100], go_on)
    with pytest.raises(UserError, match="failed on a bar of the chart"):
        onlooker.update(replace(candles[100], close=math.nan))


def test_what_cannot_be_looked_at_is_refused_in_words(models: Path, trained: Trained) -> None:
    model_id = trained.result.model_id
    with pytest.raises(UserError, match="There is no model"):
        open_onlooker(models, "0" * 16)
    (models / "tags.json").write_text("{")
    with pytest.raises(UserError, match=r"tags\.json"):
        open_onlooker(models, model_id)
    (models / "tags.json").unlink()
    onnx = models / model_id / "model.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"model\.onnx of model .* is damaged"):
        open_onlooker(models, model_id)


def test_a_model_with_other_inputs_is_refused_in_words(models: Path, trained: Trained) -> None:
    texts = [encode(parse_column("log_return@ETH/USDT"))]
    files = package_files(models, trained.result.model_id)
    model_id = store_files(models, edited(files, "config", lambda c: c["spec"]["features"].update(columns=texts)))
    with pytest.raises(UserError, match=r"also looks at ETH/USDT, which the chart does not receive"):
        open_onlooker(models, model_id)


def test_stored_bars_go_before_those_of_a_chart_that_are_too_few(tmp_path: Path, trained: Trained) -> None:
    frame = trained.frame.slice(0, 900)
    CandleStore(tmp_path).write(BINANCE, frame, "import")
    chart = frame.slice(850)
    joined = longer_history(tmp_path, BINANCE, chart, 300)
    assert joined.equals(frame.slice(600))
    assert longer_history(tmp_path, BINANCE, chart, 50) is chart
    gap = frame.select(np.array([*range(800, 850), *range(860, 900)]))
    assert longer_history(tmp_path, BINANCE, gap, 300).equals(gap)  # nothing stored mends a gap of the chart
    empty = frame.slice(0, 0)
    assert len(longer_history(tmp_path, BINANCE, empty, 300)) == 0


def test_an_outcome_is_the_close_after_the_horizon() -> None:
    past = PastForecasts(HOUR, unseen_from_ns=0)
    past.take(0, 100.0, forecast(0, -0.01, 0.01, horizon=2))
    past.take(HOUR, 150.0, forecast(1, -0.01, 0.01, horizon=2))
    assert past.outcomes is None
    past.take(2 * HOUR, 100.5, None)
    assert past.outcomes == Outcomes(1, 1, pytest.approx(0.8), 2)
    past.take(3 * HOUR, 100.5, None)
    assert past.outcomes == Outcomes(2, 1, pytest.approx(0.8), 2)


def test_an_outcome_at_a_missing_bar_is_left_out() -> None:
    past = PastForecasts(HOUR, unseen_from_ns=0)
    past.take(0, 100.0, forecast(0, -0.01, 0.01))
    past.take(2 * HOUR, 100.0, forecast(2, -0.01, 0.01))
    assert past.outcomes is None
    past.take(3 * HOUR, 100.0, None)
    assert past.outcomes == Outcomes(1, 1, pytest.approx(0.8), 1)


@given(
    returns=st.lists(st.floats(-0.05, 0.05), min_size=2, max_size=40),
    horizon=st.integers(1, 4),
    unseen_from=st.integers(0, 20),
)
def test_the_count_is_that_of_a_plain_loop(returns: list[float], horizon: int, unseen_from: int) -> None:
    closes = [100.0 * math.exp(sum(returns[: n + 1])) for n in range(len(returns))]
    past = PastForecasts(HOUR, unseen_from * HOUR)
    for bar, close in enumerate(closes):
        past.take(bar * HOUR, close, forecast(bar, -0.013, 0.017, horizon))
    judged = [
        closes[bar] * math.exp(-0.013) <= closes[bar + horizon] <= closes[bar] * math.exp(0.017)
        for bar in range(unseen_from, len(closes) - horizon)
    ]
    found = past.outcomes
    assert (0, 0) if found is None else (found.judged, found.held) == (len(judged), sum(judged))
    assert (found is None) == (not judged)
