from __future__ import annotations

import re
from dataclasses import replace

import pytest

from core.errors import UserError
from ml.model_storage import StoredModel, load_model
from tests.trained_model import Trained
from tools.forecast_table import tables


@pytest.fixture
def model(trained: Trained) -> StoredModel:
    return load_model(trained.models_dir, trained.result.model_id)


def test_every_row_has_the_columns_of_its_table_and_nothing_is_no_number(model: StoredModel) -> None:
    text = tables([model, replace(model, spec=replace(model.spec, model=replace(model.spec.model, kind="gru")))])
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            assert len({line.count("|") for line in lines}) == 1, lines[0]
            assert len(lines) > 2
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_the_figures_are_those_of_the_model(model: StoredModel) -> None:
    text = tables([model])
    horizon = model.metrics.horizons[0]
    (row,) = [line for line in text.splitlines() if line.startswith("| LSTM") and f"{horizon.model.mae:.6f}" in line]
    assert f"{horizon.model.r2:+.2%}" in row
    assert f"{horizon.model.hit_rate:.1%}" in row
    assert f"{horizon.ranges.crps:.6f}" in text
    assert f"{horizon.targets:,} forecasts" in text
    assert model.metrics.verdict in text
    for baseline in horizon.baselines:
        assert f"| {baseline.name} | {baseline.mae:.6f} |" in text


def test_a_comparison_says_who_is_better(model: StoredModel) -> None:
    horizon = model.metrics.horizons[0]
    tests = tuple(replace(test, gain=1.0, p_value=0.0004) for test in horizon.comparisons)
    better = replace(model.metrics, horizons=(replace(horizon, comparisons=tests), *model.metrics.horizons[1:]))
    assert "| squared error | < 0.001 + | < 0.001 + | < 0.001 + |" in tables([replace(model, metrics=better)])
    worse = tuple(replace(test, gain=-1.0, p_value=0.25) for test in horizon.comparisons)
    metrics = replace(better, horizons=(replace(horizon, comparisons=worse), *model.metrics.horizons[1:]))
    assert "| squared error | 0.250 − | 0.250 − | 0.250 − |" in tables([replace(model, metrics=metrics)])


def test_models_of_several_markets_are_refused(model: StoredModel) -> None:
    other = replace(model, spec=replace(model.spec, data=replace(model.spec.data, symbol="ETH/USDT")))
    with pytest.raises(UserError, match="several markets"):
        tables([model, other])
    with pytest.raises(UserError, match="no models"):
        tables([])
