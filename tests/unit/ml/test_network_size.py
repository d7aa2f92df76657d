"""The number of parameters said before training is that of the network trained."""

from __future__ import annotations

import pytest

from ml.api import FeatureSpec, ForecastSpec, ModelSpec, parse_column
from ml.feature_spec import column_names
from ml.network_size import parameter_count
from ml.recurrent import RecurrentForecaster


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("head", ["quantile", "student_t", "classes"])
@pytest.mark.parametrize(("layers", "layer_norm", "horizons"), [(1, False, (1,)), (3, True, (1, 4, 24))])
@pytest.mark.parametrize("columns", [(), ("BBANDS", "RSI(timeperiod=7)")])
def test_count_equals_the_network(
    kind: str, head: str, layers: int, layer_norm: bool, horizons: tuple[int, ...], columns: tuple[str, ...]
) -> None:
    features = FeatureSpec(columns=tuple(parse_column(text) for text in columns))
    model = ModelSpec(kind, head, 24, layers, 0.1, layer_norm, horizons=horizons)
    network = RecurrentForecaster(len(column_names(features)), model)
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert parameter_count(ForecastSpec(features=features, model=model)) == counted
