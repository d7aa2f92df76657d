from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.errors import UserError
from ml.model_compare import compare_models
from ml.model_storage import StoredModel, load_model
from tests.trained_model import Trained


@pytest.fixture
def model(trained: Trained) -> StoredModel:
    return load_model(trained.models_dir, trained.result.model_id)


def variant(stored: StoredModel, name: str, **metrics: Any) -> StoredModel:
    """Return a model of the same market and bars with other figures."""
    return replace(stored, model_id=name, metrics=replace(stored.metrics, **metrics))


def with_point(model: StoredModel, name: str, **point: Any) -> StoredModel:
    return variant(model, name, model=replace(model.metrics.model, **point))


def test_what_differs_is_shown_and_nothing_else(model: StoredModel) -> None:
    larger = replace(
        model,
        model_id="larger",
        spec=replace(
            model.spec,
            model=replace(model.spec.model, hidden_size=64),
            features=replace(model.spec.features, horizons=(1, 2)),
        ),
    )
    comparison = compare_models([model, larger])
    assert comparison.model_ids == (model.model_id, "larger")
    assert comparison.differences == {"model.hidden_size": (8, 64), "features.horizons": ([1, 4], [1, 2])}
    assert comparison.not_comparable == ()
    assert comparison.metrics["model.r2"] == (model.metrics.model.r2,) * 2
    ridge = next(row for row in model.metrics.baselines if row.name == "ridge")
    assert comparison.metrics["baselines.ridge.mae"] == (ridge.mae, ridge.mae)


@pytest.mark.parametrize(
    ("metric", "worse", "better"),
    [
        ("r2", {"r2": -0.5}, {"r2": 0.5}),
        ("model.mae", {"mae": 0.5}, {"mae": 0.001}),
        ("ic", {"ic": None}, {"ic": -0.9}),
    ],
)
def test_the_best_comes_first(model: StoredModel, metric: str, worse: Any, better: Any) -> None:
    models = [with_point(model, "worse", **worse), with_point(model, "better", **better)]
    assert compare_models(models, metric).model_ids == ("better", "worse")
    assert compare_models(models[::-1], metric).model_ids == ("better", "worse")


def test_coverage_is_best_where_it_was_promised(model: StoredModel) -> None:
    models = [variant(model, name, coverage=value) for name, value in (("all", 1.0), ("near", 0.89), ("few", 0.5))]
    assert compare_models(models, "coverage").model_ids == ("near", "all", "few")


def other_test_range(model: StoredModel) -> StoredModel:
    manifest = copy.deepcopy(model.manifest)
    manifest["split"]["test"]["last_open_ns"] += 3_600_000_000_000
    return replace(model, model_id="other", manifest=manifest)


def other_bars(model: StoredModel) -> StoredModel:
    manifest = copy.deepcopy(model.manifest)
    manifest["data"]["sha256"] = "0" * 64
    return replace(model, model_id="other", manifest=manifest)


def other_market(model: StoredModel) -> StoredModel:
    return replace(model, spec=replace(model.spec, data=replace(model.spec.data, symbol="ETH/USDT")))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_test_range, "tested on different bars"),
        (other_bars, "are not the same"),
        (other_market, "different markets"),
        (lambda model: variant(model, "other", targets=3), "different numbers of bars"),
    ],
)
def test_figures_of_different_bars_are_not_ranked(
    model: StoredModel, change: Callable[[StoredModel], StoredModel], reason: str
) -> None:
    models = [model, change(model)]
    (told,) = compare_models(models).not_comparable
    assert told.startswith("not comparable: ")
    assert reason in told
    with pytest.raises(UserError, match="cannot be ranked"):
        compare_models(models, "r2")


def test_a_metric_that_nobody_has(model: StoredModel) -> None:
    with pytest.raises(UserError, match="no metric 'luck'") as caught:
        compare_models([model, model], "luck")
    assert len(str(caught.value)) < 300
    assert caught.value.remedy.startswith("Use crps, pinball, coverage, r2, skill, ic, ")
    names = caught.value.remedy.removeprefix("Use ").partition(", or ")[0].split(", ")
    for name in names:
        compare_models([model, model], name)
    with pytest.raises(UserError) as caught:
        compare_models([model, model], "x" * 10_000)
    assert len(caught.value.message) < 100
