"""Metrics of class probabilities. Any thread; numpy only.

Probabilities have shape (n, C) and sum to 1 in each row; classes (n,) are codes from 0 to C − 1.
"""

from __future__ import annotations

import math

import numpy as np

from ml.arrays import BoolArray, FloatArray, IntArray
from ml.metric_results import ClassMetrics, ReliabilityPoint
from ml.metrics.point import ranks

_BINS = 10
_LEAST = float(np.finfo(np.float64).eps)  # a probability of zero that comes true would cost an infinite loss


def area_under_curve(score: FloatArray, positive: BoolArray) -> float | None:
    """Return the area under the ROC curve, ties counting half; None where one class is missing."""
    hits = int(positive.sum())
    misses = len(positive) - hits
    if not hits or not misses:
        return None
    return (float(ranks(score)[positive].sum()) - hits * (hits + 1) / 2.0) / (hits * misses)


def matthews_correlation(predicted: IntArray, classes: IntArray, count: int) -> float:
    """Return Matthews' correlation for several classes (Gorodkin's), 0 where one side is constant."""
    table = np.bincount(classes * count + predicted, minlength=count * count).reshape(count, count).astype(np.float64)
    total, right = table.sum(), np.trace(table)
    actual, guessed = table.sum(axis=1), table.sum(axis=0)
    covariance = right * total - float(actual @ guessed)
    scale = math.sqrt((total**2 - float(guessed @ guessed)) * (total**2 - float(actual @ actual)))
    return float(covariance / scale) if scale > 0.0 else 0.0


def brier_score(probabilities: FloatArray, classes: IntArray) -> float:
    """Return the mean squared distance of probabilities and outcomes summed over the classes, 0 to 2."""
    error = probabilities - np.eye(probabilities.shape[1])[classes]
    return float((error**2).sum(axis=1).mean())


def log_loss(probabilities: FloatArray, classes: IntArray) -> float:
    """Return the mean negative log likelihood; probabilities are kept an epsilon from 0 and 1."""
    chosen = probabilities[np.arange(len(classes)), classes]
    return float(-np.log(np.clip(chosen, _LEAST, 1.0 - _LEAST)).mean())


def reliability(confidence: FloatArray, correct: BoolArray) -> tuple[ReliabilityPoint, ...]:
    """Return the non-empty ones of ten bins of equal width, (0, 0.1], … (0.9, 1]."""
    index = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    counts = np.bincount(index, minlength=_BINS)
    stated = np.bincount(index, weights=confidence, minlength=_BINS)
    true = np.bincount(index, weights=correct.astype(np.float64), minlength=_BINS)
    return tuple(
        ReliabilityPoint(float(stated[k] / counts[k]), float(true[k] / counts[k]), int(counts[k]))
        for k in range(_BINS)
        if counts[k]
    )


def expected_calibration_error(points: tuple[ReliabilityPoint, ...]) -> float:
    """Return the mean distance of confidence and observed share, weighted by how many forecasts a bin holds."""
    total = sum(point.count for point in points)
    return sum(point.count * abs(point.observed - point.confidence) for point in points) / total


def class_metrics(name: str, probabilities: FloatArray, classes: IntArray) -> ClassMetrics:
    """Return the quality of a forecaster's class probabilities."""
    count = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    correct = predicted == classes
    points = reliability(probabilities.max(axis=1), correct)
    aucs = tuple(area_under_curve(probabilities[:, k], classes == k) for k in range(count))
    known = [auc for auc in aucs if auc is not None]
    return ClassMetrics(
        name=name,
        accuracy=float(correct.mean()),
        auc=sum(known) / len(known) if known else None,
        aucs=aucs,
        mcc=matthews_correlation(predicted, classes, count),
        brier=brier_score(probabilities, classes),
        log_loss=log_loss(probabilities, classes),
        ece=expected_calibration_error(points),
        reliability=points,
    )
