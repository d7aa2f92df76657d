"""Yardsticks fitted on the same split as a model: on its training rows, tuned on its validation rows.

Runs in the training child, which alone imports scikit-learn (inside the functions that need it). Each baseline gives a
point forecast and quantiles, so that ranges are compared as fairly as points: its errors in units of volatility, as
they were on rows before the test, around its point forecast.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray, IntArray
from ml.metrics.classification import log_loss

FeatureArray = NDArray[np.float32] | NDArray[np.float64]

CLASSES = 3  # down, flat, up
_RIDGE_STRENGTHS = tuple(10.0**power for power in range(-2, 9))
_LOGISTIC_STRENGTHS = (1e-4, 1e-2, 1.0)
_ROUNDS = 300
_PATIENCE = 20
_CHUNK = 100_000  # rows widened to double precision at a time


@dataclass(frozen=True, slots=True, eq=False)
class BaselineForecast:
    """What one baseline says about the test rows.

    Attributes:
        name: one of `BASELINES`.
        point: log returns over the horizon, shape (n,); None where it only knows classes.
        quantiles: at the model's levels, shape (n, Q); None as above.
        probabilities: of down, flat and up, shape (n, 3); None where it knows no classes.
    """

    name: str
    point: FloatArray | None = None
    quantiles: FloatArray | None = None
    probabilities: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BaselineInputs:
    """Rows of the split a model was trained on; outcomes of the test rows are not among them.

    Attributes:
        x_*: scaled features of one bar, finite, shape (n, F).
        y_*: log returns over the horizon, shape (n,).
        unit_*: volatility of the outcome as known at the forecast, in log return, positive, shape (n,).
        last_*: log return over the last `horizon` bars, shape (n,).
        levels: of the quantiles.
        seed: of the boosting.
        classes_*: codes 0 (down) to 2 (up), shape (n,); None where nothing is classified.
        threads: for scikit-learn.
    """

    x_train: FeatureArray
    y_train: FloatArray
    unit_train: FloatArray
    last_train: FloatArray
    x_valid: FeatureArray
    y_valid: FloatArray
    unit_valid: FloatArray
    x_test: FeatureArray
    unit_test: FloatArray
    last_test: FloatArray
    levels: tuple[float, ...]
    seed: int = 0
    classes_train: IntArray | None = None
    classes_valid: IntArray | None = None
    threads: int = 1


def fit_baselines(
    inputs: BaselineInputs, names: Sequence[str] | None = None, before: Callable[[str], None] | None = None
) -> tuple[BaselineForecast, ...]:
    """Fit baselines and forecast the test rows.

    Args:
        inputs: the split.
        names: which of `BASELINES`, all of them if None; `logistic` is left out where nothing is classified.
        before: called with the name of each before it is fitted; what it raises ends the work.
    """
    forecasts = []
    for name in BASELINES if names is None else names:
        if name == "logistic" and not _can_classify(inputs):
            continue
        if before is not None:
            before(name)
        forecasts.append(BASELINES[name](inputs))
    return tuple(forecasts)


def zero_baseline(inputs: BaselineInputs) -> BaselineForecast:
    """Forecast that the price stays, with the training outcomes in units of volatility as ranges."""
    errors = inputs.y_train / inputs.unit_train
    point = np.zeros(len(inputs.x_test))
    return BaselineForecast("zero", point, _around(point, errors, inputs))


def persistence_baseline(inputs: BaselineInputs) -> BaselineForecast:
    """Forecast that the last return over the horizon repeats."""
    errors = (inputs.y_train - inputs.last_train) / inputs.unit_train
    return BaselineForecast("persistence", inputs.last_test, _around(inputs.last_test, errors, inputs))


def climatology_baseline(inputs: BaselineInputs) -> BaselineForecast:
    """Forecast the mean, the quantiles and the class shares of the training outcomes, whatever the volatility."""
    size = len(inputs.x_test)
    quantiles = np.tile(np.quantile(inputs.y_train, inputs.levels), (size, 1))
    probabilities = None
    if inputs.classes_train is not None:
        shares = np.bincount(inputs.classes_train, minlength=CLASSES) / len(inputs.classes_train)
        probabilities = np.tile(shares, (size, 1))
    return BaselineForecast("climatology", np.full(size, inputs.y_train.mean()), quantiles, probabilities)


def ridge_baseline(inputs: BaselineInputs) -> BaselineForecast:
    """Fit outcomes in units of volatility by ridge regression; its strength has the least squared validation error."""
    gram, moment = _moments(inputs.x_train, inputs.y_train / inputs.unit_train)
    best: FloatArray = np.zeros(len(moment))
    valid: FloatArray = np.zeros(len(inputs.y_valid))
    least = math.inf
    for strength in _RIDGE_STRENGTHS:
        penalty = np.full(len(moment), strength)
        penalty[0] = 1e-9  # the intercept is free
        weights = np.asarray(np.linalg.solve(gram + np.diag(penalty), moment), np.float64)
        forecast = inputs.unit_valid * _linear(inputs.x_valid, weights)
        error = float(((inputs.y_valid - forecast) ** 2).mean())
        if error < least:
            best, valid, least = weights, forecast, error
    point = inputs.unit_test * _linear(inputs.x_test, best)
    return BaselineForecast("ridge", point, _around(point, (inputs.y_valid - valid) / inputs.unit_valid, inputs))


def boosting_baseline(inputs: BaselineInputs) -> BaselineForecast:
    """Fit outcomes in units of volatility by gradient boosting; its rounds have the least squared validation error."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(**_boosting_options(inputs))
    target_train, target_valid = inputs.y_train / inputs.unit_train, inputs.y_valid / inputs.unit_valid
    with _limited(inputs.threads):
        model.fit(inputs.x_train, target_train, X_val=inputs.x_valid, y_val=target_valid)
        # Round 0 is the training mean: where no tree helps, none is used.
        mean = float(target_train.mean())
        valid, rounds = np.full(len(target_valid), mean), 0
        least = float(((inputs.y_valid - inputs.unit_valid * valid) ** 2).mean())
        for number, staged in enumerate(model.staged_predict(inputs.x_valid), start=1):
            error = float(((inputs.y_valid - inputs.unit_valid * staged) ** 2).mean())
            if error < least:
                valid, rounds, least = staged, number, error
        scaled = np.full(len(inputs.x_test), mean)
        if rounds:
            scaled = _at_round(model.staged_predict(inputs.x_test), rounds)
        point = inputs.unit_test * scaled
        probabilities = _boosted_classes(inputs) if _can_classify(inputs) else None
    return BaselineForecast("boosting", point, _around(point, target_valid - valid, inputs), probabilities)


def logistic_baseline(inputs: BaselineInputs) -> BaselineForecast:
    """Fit the classes by multinomial logistic regression; its strength has the least validation log loss."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    assert inputs.classes_train is not None
    assert inputs.classes_valid is not None
    best, least = None, math.inf
    with _limited(inputs.threads), warnings.catch_warnings():
        # A fit that stops early is still one to choose from by its validation loss.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in _LOGISTIC_STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=200)
            model.fit(inputs.x_train, inputs.classes_train)
            loss = log_loss(_all_classes(model.predict_proba(inputs.x_valid), model.classes_), inputs.classes_valid)
            if best is None or loss < least:
                best, least = model, loss
        assert best is not None
        probabilities = _all_classes(best.predict_proba(inputs.x_test), best.classes_)
    return BaselineForecast("logistic", probabilities=probabilities)


BASELINES: dict[str, Callable[[BaselineInputs], BaselineForecast]] = {
    "zero": zero_baseline,
    "persistence": persistence_baseline,
    "climatology": climatology_baseline,
    "ridge": ridge_baseline,
    "boosting": boosting_baseline,
    "logistic": logistic_baseline,
}


def chosen_baselines(*, boosting: bool) -> list[str]:
    """Return the names of all baselines; boosting, which takes longest, only where it is wanted."""
    return [name for name in BASELINES if boosting or name != "boosting"]


def _around(point: FloatArray, errors: FloatArray, inputs: BaselineInputs) -> FloatArray:
    """Return quantiles around a point forecast from errors in units of volatility, shape (n, Q)."""
    quantiles: FloatArray = point[:, None] + inputs.unit_test[:, None] * np.quantile(errors, inputs.levels)
    return quantiles


def _moments(x: FeatureArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return X'X and X'y of the features with a column of ones before them."""
    size = x.shape[1] + 1
    gram, moment = np.zeros((size, size)), np.zeros(size)
    for start in range(0, len(x), _CHUNK):
        part = x[start : start + _CHUNK].astype(np.float64)
        design = np.column_stack([np.ones(len(part)), part])
        gram += design.T @ design
        moment += design.T @ y[start : start + _CHUNK]
    return gram, moment


def _linear(x: FeatureArray, weights: FloatArray) -> FloatArray:
    forecast: FloatArray = weights[0] + x @ weights[1:]
    return forecast


def _boosting_options(inputs: BaselineInputs) -> dict[str, Any]:
    """Return settings that suit returns: a weak signal in much noise, so small steps and large leaves."""
    return {
        "learning_rate": 0.03,
        "max_iter": _ROUNDS,
        "max_leaf_nodes": 15,
        "min_samples_leaf": max(20, min(500, len(inputs.x_train) // 100)),
        "l2_regularization": 1.0,
        "early_stopping": True,  # on the validation rows handed over, never on a random part of the training rows
        "n_iter_no_change": _PATIENCE,
        "random_state": inputs.seed,
    }


def _boosted_classes(inputs: BaselineInputs) -> FloatArray:
    """Return test probabilities of gradient boosting with as many rounds as validate best, shape (n, 3)."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    assert inputs.classes_train is not None
    assert inputs.classes_valid is not None
    known = np.unique(inputs.classes_train)
    judged = np.isin(inputs.classes_valid, known)
    model = HistGradientBoostingClassifier(**_boosting_options(inputs))
    model.fit(inputs.x_train, inputs.classes_train, X_val=inputs.x_valid[judged], y_val=inputs.classes_valid[judged])
    shares = np.bincount(inputs.classes_train, minlength=CLASSES) / len(inputs.classes_train)
    rounds, least = 0, log_loss(np.tile(shares, (len(inputs.x_valid), 1)), inputs.classes_valid)
    for number, staged in enumerate(model.staged_predict_proba(inputs.x_valid), start=1):
        loss = log_loss(_all_classes(staged, model.classes_), inputs.classes_valid)
        if loss < least:
            rounds, least = number, loss
    if not rounds:
        return np.tile(shares, (len(inputs.x_test), 1))
    return _all_classes(_at_round(model.staged_predict_proba(inputs.x_test), rounds), model.classes_)


def _at_round(staged: Iterator[Any], rounds: int) -> FloatArray:
    """Return the forecast after so many rounds."""
    return np.asarray(next(itertools.islice(staged, rounds - 1, None)), np.float64)


def _all_classes(probabilities: Any, known: IntArray) -> FloatArray:
    """Return probabilities with a column for every class, 0 for those that the training rows do not hold."""
    full = np.zeros((len(probabilities), CLASSES))
    full[:, known] = probabilities
    summed: FloatArray = full / full.sum(axis=1, keepdims=True)  # single precision sums to 1 in single precision only
    return summed


def _can_classify(inputs: BaselineInputs) -> bool:
    if inputs.classes_train is None or inputs.classes_valid is None:
        return False
    return len(np.unique(inputs.classes_train)) > 1


def _limited(threads: int) -> AbstractContextManager[Any]:
    """Return a context in which scikit-learn and its libraries use at most so many threads."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(limits=threads)
    return limits
