from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import ensemble, linear_model, metrics
from threadpoolctl import threadpool_limits

from ml import baselines
from ml.baselines import BASELINES, BaselineInputs, fit_baselines

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
FloatArray = NDArray[np.float64]


def market(signal: float = 0.3, size: int = 6_000, seed: int = 2) -> tuple[BaselineInputs, FloatArray]:
    """Return a split of outcomes with clustered volatility that one of five features explains, and test outcomes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, 5)).astype(np.float32)
    unit = 0.01 * np.exp(0.5 * np.sin(np.arange(size) / 50))
    y = unit * (signal * x[:, 0] + np.sqrt(1 - signal**2) * rng.normal(size=size))
    last = np.concatenate([[0.0], y[:-1]])
    classes = np.digitize(y / unit, (-0.5, 0.5))
    a, b = slice(0, 3_500), slice(3_510, 4_500)
    c = slice(4_510, size)
    inputs = BaselineInputs(
        x_train=x[a],
        y_train=y[a],
        unit_train=unit[a],
        last_train=last[a],
        x_valid=x[b],
        y_valid=y[b],
        unit_valid=unit[b],
        x_test=x[c],
        unit_test=unit[c],
        last_test=last[c],
        levels=LEVELS,
        seed=5,
        classes_train=classes[a],
        classes_valid=classes[b],
    )
    return inputs, y[c]


def test_every_baseline_gives_what_it_knows_in_the_right_shape() -> None:
    inputs, outcome = market()
    forecasts = fit_baselines(inputs)
    assert [row.name for row in forecasts] == list(BASELINES)
    for row in forecasts:
        if row.name != "logistic":
            assert row.point is not None
            assert row.quantiles is not None
            assert row.point.shape == outcome.shape
            assert row.quantiles.shape == (len(outcome), 5)
            assert (np.diff(row.quantiles, axis=1) >= 0).all()
            coverage = ((row.quantiles[:, 0] <= outcome) & (outcome <= row.quantiles[:, -1])).mean()
            assert coverage == pytest.approx(0.9, abs=0.035)
        if row.probabilities is not None:
            np.testing.assert_allclose(row.probabilities.sum(axis=1), 1.0, atol=1e-9)
    assert [row.name for row in forecasts if row.probabilities is not None] == ["climatology", "boosting", "logistic"]


def test_the_naive_ones_are_what_they_are_called() -> None:
    inputs, outcome = market()
    zero, persistence, climatology = fit_baselines(inputs, ("zero", "persistence", "climatology"))
    assert zero.point is not None
    assert climatology.point is not None
    assert not zero.point.any()
    np.testing.assert_array_equal(persistence.point, inputs.last_test)
    np.testing.assert_allclose(climatology.point, inputs.y_train.mean())
    scaled = np.quantile(inputs.y_train / inputs.unit_train, LEVELS)
    np.testing.assert_allclose(zero.quantiles, inputs.unit_test[:, None] * scaled)
    np.testing.assert_allclose(climatology.quantiles, np.tile(np.quantile(inputs.y_train, LEVELS), (len(outcome), 1)))
    errors = np.quantile((inputs.y_train - inputs.last_train) / inputs.unit_train, LEVELS)
    np.testing.assert_allclose(persistence.quantiles, inputs.last_test[:, None] + inputs.unit_test[:, None] * errors)
    assert inputs.classes_train is not None
    np.testing.assert_allclose(climatology.probabilities[0], np.bincount(inputs.classes_train) / 3_500)  # type: ignore[index]


def test_ridge_equals_sklearn_with_the_strength_that_validates_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_CHUNK", 1_000)  # the sums over parts are those over the whole
    inputs, _ = market(0.1)
    (ridge,) = fit_baselines(inputs, ("ridge",))
    target = inputs.y_train / inputs.unit_train
    x = [part.astype(np.float64) for part in (inputs.x_train, inputs.x_valid, inputs.x_test)]
    best = min(
        (linear_model.Ridge(10.0**power).fit(x[0], target) for power in range(-2, 9)),
        key=lambda model: np.mean((inputs.y_valid - inputs.unit_valid * model.predict(x[1])) ** 2),
    )
    np.testing.assert_allclose(ridge.point, inputs.unit_test * best.predict(x[2]), atol=1e-9)
    errors = inputs.y_valid / inputs.unit_valid - best.predict(x[1])
    wanted = inputs.unit_test[:, None] * (best.predict(x[2])[:, None] + np.quantile(errors, LEVELS))
    np.testing.assert_allclose(ridge.quantiles, wanted, atol=1e-9)


def test_learned_baselines_find_a_signal() -> None:
    inputs, outcome = market(0.3)
    ridge, boosting = fit_baselines(inputs, ("ridge", "boosting"))
    for row in (ridge, boosting):
        assert 1 - np.mean((outcome - row.point) ** 2) / np.mean(outcome**2) == pytest.approx(0.09, abs=0.035)


def test_boosting_finds_what_is_not_linear() -> None:
    inputs, _ = market(0.0)
    rng = np.random.default_rng(1)

    def bent(x: NDArray[np.float32] | FloatArray, unit: FloatArray) -> FloatArray:
        return np.asarray(unit * (np.abs(x[:, 0]) - 0.8 + 0.3 * rng.normal(size=len(x))), np.float64)

    inputs = replace(
        inputs, y_train=bent(inputs.x_train, inputs.unit_train), y_valid=bent(inputs.x_valid, inputs.unit_valid)
    )
    outcome = bent(inputs.x_test, inputs.unit_test)
    ridge, boosting = fit_baselines(inputs, ("ridge", "boosting"))
    assert np.mean((outcome - boosting.point) ** 2) < 0.4 * np.mean((outcome - ridge.point) ** 2)


def test_boosting_stops_by_the_validation_rows_it_is_given() -> None:
    inputs, _ = market(0.3)
    (boosting,) = fit_baselines(inputs, ("boosting",))
    (again,) = fit_baselines(inputs, ("boosting",))
    np.testing.assert_array_equal(boosting.point, again.point)
    # Where the validation rows contradict the training rows, no tree helps and the training mean is left.
    (contrary,) = fit_baselines(replace(inputs, y_valid=-inputs.y_valid), ("boosting",))
    mean = (inputs.y_train / inputs.unit_train).mean()
    np.testing.assert_allclose(contrary.point, inputs.unit_test * mean)


def test_boosting_equals_sklearn_at_the_best_round() -> None:
    inputs, _ = market(0.3)
    (boosting,) = fit_baselines(inputs, ("boosting",))
    with threadpool_limits(limits=1):  # many threads on few rows only wait for each other
        model = ensemble.HistGradientBoostingRegressor(
            learning_rate=0.03,
            max_iter=300,
            max_leaf_nodes=15,
            min_samples_leaf=35,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=5,
        ).fit(inputs.x_train, inputs.y_train / inputs.unit_train)
        errors = [
            np.mean((inputs.y_valid - inputs.unit_valid * staged) ** 2)
            for staged in model.staged_predict(inputs.x_valid)
        ]
    staged = list(model.staged_predict(inputs.x_test))[int(np.argmin(errors))]
    np.testing.assert_allclose(boosting.point, inputs.unit_test * staged, atol=1e-12)


def test_classifiers_beat_the_shares_where_there_is_a_signal_and_no_more_where_there_is_none() -> None:
    for signal, better in ((0.5, True), (0.0, False)):
        inputs, outcome = market(signal)
        classes = np.digitize(outcome / inputs.unit_test, (-0.5, 0.5))
        rows = {row.name: row.probabilities for row in fit_baselines(inputs, ("climatology", "boosting", "logistic"))}
        losses = {name: metrics.log_loss(classes, values) for name, values in rows.items()}
        for name in ("boosting", "logistic"):
            assert (losses[name] < losses["climatology"] - 0.02) is better
            assert losses[name] < losses["climatology"] + 0.01


def test_a_class_that_training_never_saw_gets_no_probability() -> None:
    inputs, outcome = market(0.5)
    assert inputs.classes_train is not None
    inputs = replace(inputs, classes_train=np.where(inputs.classes_train == 1, 2, inputs.classes_train))
    for row in fit_baselines(inputs, ("climatology", "boosting", "logistic")):
        assert row.probabilities is not None
        assert row.probabilities.shape == (len(outcome), 3)
        assert not row.probabilities[:, 1].any()


def test_without_classes_nothing_is_classified() -> None:
    inputs, _ = market()
    rows = fit_baselines(replace(inputs, classes_train=None, classes_valid=None))
    assert [row.name for row in rows] == ["zero", "persistence", "climatology", "ridge", "boosting"]
    assert all(row.probabilities is None for row in rows)
    assert inputs.classes_train is not None
    single = replace(inputs, classes_train=np.full_like(inputs.classes_train, 2))
    climatology, boosting = fit_baselines(single, ("climatology", "boosting", "logistic"))
    assert boosting.probabilities is None
    assert climatology.probabilities is not None
    assert (climatology.probabilities == [0.0, 0.0, 1.0]).all()


def test_scikit_learn_is_loaded_only_where_it_is_used() -> None:
    code = "import sys, ml.evaluators; sys.exit(any(name in sys.modules for name in ('sklearn', 'scipy', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
