"""Models given away and taken in, with everything that a model can look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.clock import ManualClock
from core.data.data_storage import CandleStore
from ml.api import DataRange, EvaluationSpec, FeatureSpec, ForecastSpec, ModelSpec, SeriesSource, TrainingSpec
from ml.feature_spec import parse_column
from ml.model_exchange import export_model, import_model
from ml.model_storage import load_model
from ml.network_guard import check_in_child
from tests.trained_model import train
from tests.unit.ml.helpers import frame_from_returns, noise_returns

FRAME = frame_from_returns(noise_returns(2_500, 5))
SPEC = ForecastSpec(
    model=ModelSpec(hidden_size=4),
    training=TrainingSpec(epochs=1, segment_length=64, burn_in=8),
    evaluation=EvaluationSpec(seeds=1),
)


@pytest.mark.parametrize("column", ["RSI(timeperiod=14)@4h", "log_return@ETH/USDT", "funding.level"])
def test_a_model_that_looks_at_more_than_its_own_bars_goes_there_and_back(column: str, tmp_path: Path) -> None:
    other = replace(frame_from_returns(noise_returns(2_500, 6)), symbol="ETH/USDT")
    for frame in (FRAME, other):
        CandleStore(tmp_path / "candles").write("binance", frame, "import")
    series = tmp_path / "funding.csv"
    lines = [f"{np.datetime64(int(time), 'ns')}Z,{index % 7}" for index, time in enumerate(FRAME.time_ns[::8])]
    series.write_text("\n".join(["known_at,value", *lines]))
    data = {
        "log_return@ETH/USDT": DataRange(markets=("ETH/USDT",)),
        "funding.level": DataRange(series=(SeriesSource("funding", str(series)),)),
    }
    features = FeatureSpec("custom", columns=(parse_column(column),))
    spec = replace(SPEC, data=data.get(column, DataRange()), features=features)
    model_id = train(spec, tmp_path)["result"]["model_id"]
    exported = export_model(tmp_path / "models", model_id, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    assert import_model(elsewhere, exported, check_in_child, ManualClock(9)).model_id == model_id
    assert load_model(elsewhere, model_id).spec.features == spec.features
