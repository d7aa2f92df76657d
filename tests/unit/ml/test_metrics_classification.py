from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn import metrics

from ml.api import ReliabilityPoint
from ml.metrics.classification import (
    area_under_curve,
    brier_score,
    class_metrics,
    expected_calibration_error,
    log_loss,
    matthews_correlation,
    reliability,
)

RNG = np.random.default_rng(9)
CHANCES = RNG.dirichlet((1.5, 1.0, 2.0), 1_500)
CLASSES = np.array([RNG.choice(3, p=row) for row in CHANCES])


def test_class_metrics_equal_sklearn() -> None:
    row = class_metrics("model", CHANCES, CLASSES)
    predicted = CHANCES.argmax(axis=1)
    assert row.accuracy == pytest.approx(metrics.accuracy_score(CLASSES, predicted), abs=1e-12)
    assert row.auc == pytest.approx(metrics.roc_auc_score(CLASSES, CHANCES, multi_class="ovr"), abs=1e-9)
    for code, auc in enumerate(row.aucs):
        assert auc == pytest.approx(metrics.roc_auc_score(code == CLASSES, CHANCES[:, code]), abs=1e-9)
    assert row.mcc == pytest.approx(metrics.matthews_corrcoef(CLASSES, predicted), abs=1e-9)
    assert row.brier == pytest.approx(metrics.brier_score_loss(CLASSES, CHANCES, scale_by_half=False), abs=1e-9)
    assert row.log_loss == pytest.approx(metrics.log_loss(CLASSES, CHANCES), abs=1e-9)


def test_ties_count_half_in_the_area() -> None:
    score = RNG.integers(0, 4, 400) / 4.0
    positive = RNG.uniform(size=400) < score
    assert area_under_curve(score, positive) == pytest.approx(metrics.roc_auc_score(positive, score), abs=1e-12)
    assert area_under_curve(score, np.zeros(400, np.bool_)) is None


def test_a_class_that_never_came_is_left_out_of_the_mean() -> None:
    classes = np.where(CLASSES == 1, 2, CLASSES)
    row = class_metrics("model", CHANCES, classes)
    assert row.aucs[1] is None
    assert row.aucs[0] is not None
    assert row.aucs[2] is not None
    assert row.auc == pytest.approx((row.aucs[0] + row.aucs[2]) / 2)
    everything = class_metrics("model", CHANCES, np.zeros(len(CHANCES), np.int64))
    assert (everything.auc, everything.mcc) == (None, 0.0)


def test_one_guess_for_all_has_no_correlation() -> None:
    assert matthews_correlation(np.zeros(9, np.int64), np.arange(9) % 3, 3) == 0.0


def test_certainty_that_fails_costs_much_but_is_finite() -> None:
    sure = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    wrong = np.array([1, 0])
    assert log_loss(sure, wrong) == pytest.approx(metrics.log_loss(wrong, sure, labels=[0, 1, 2]), abs=1e-9)
    assert brier_score(sure, wrong) == 2.0


def test_reliability_bins_hold_every_forecast_once() -> None:
    confidence = CHANCES.max(axis=1)
    correct = CHANCES.argmax(axis=1) == CLASSES
    points = reliability(confidence, correct)
    assert sum(point.count for point in points) == len(CLASSES)
    edges = np.linspace(0, 1, 11)
    wanted = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            wanted += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(points) == pytest.approx(wanted, abs=1e-12)
    assert wanted < 0.05  # outcomes were drawn from these very probabilities
    assert reliability(np.array([1.0, 1.0]), np.array([True, False])) == (ReliabilityPoint(1.0, 0.5, 2),)


def test_overconfidence_shows() -> None:
    sharpened = CHANCES**4 / (CHANCES**4).sum(axis=1, keepdims=True)
    assert class_metrics("model", sharpened, CLASSES).ece > 3 * class_metrics("model", CHANCES, CLASSES).ece
