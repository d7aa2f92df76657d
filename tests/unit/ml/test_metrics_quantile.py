from __future__ import annotations

import numpy as np
import pytest
import scoringrules
from scipy import stats
from sklearn import metrics

from ml.metrics.distributions import crps_normal, crps_student_t, normal_ppf, student_t_ppf
from ml.metrics.quantile import (
    crps_of_quantiles,
    crps_weights,
    interval_scores,
    mean_pinball,
    pinball_losses,
    range_metrics,
)

RNG = np.random.default_rng(4)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
OUTCOME = RNG.normal(0, 0.01, 2_000)
QUANTILES = np.sort(RNG.normal(0, 0.01, (2_000, 5)), axis=1)


def test_pinball_equals_the_libraries_and_the_known_value() -> None:
    each = [metrics.mean_pinball_loss(OUTCOME, QUANTILES[:, i], alpha=q) for i, q in enumerate(LEVELS)]
    assert mean_pinball(QUANTILES, OUTCOME, LEVELS) == pytest.approx(np.mean(each), abs=1e-12)
    np.testing.assert_allclose(
        pinball_losses(QUANTILES, OUTCOME, LEVELS)[:, 1],
        scoringrules.quantile_score(OUTCOME, QUANTILES[:, 1], 0.25),
        atol=1e-12,
    )
    normal = RNG.normal(0, 1, 400_000)
    assert mean_pinball(np.array([stats.norm.ppf(0.05)]), normal, (0.05,)) == pytest.approx(0.10314, rel=0.02)


def test_ranges_equal_the_libraries() -> None:
    row = range_metrics("model", QUANTILES, OUTCOME, LEVELS)
    low, high = QUANTILES[:, 0], QUANTILES[:, -1]
    wanted = scoringrules.interval_score(OUTCOME, low, high, 0.1)
    np.testing.assert_allclose(interval_scores(low, high, OUTCOME, 0.9), wanted, atol=1e-9)
    assert row.winkler == pytest.approx(wanted.mean(), abs=1e-9)
    assert row.coverage == ((low <= OUTCOME) & (high >= OUTCOME)).mean()
    assert (row.width, row.nominal_coverage) == pytest.approx(((high - low).mean(), 0.9))
    assert row.pinball == mean_pinball(QUANTILES, OUTCOME, LEVELS)


@pytest.mark.parametrize(
    ("levels", "missing"),
    [(LEVELS, 0.048), (tuple(np.arange(1, 20) / 20), 0.0041), (tuple(np.arange(1, 100) / 100), 0.0002)],
)
def test_the_crps_of_quantiles_is_below_the_full_one_by_as_much_as_is_said(
    levels: tuple[float, ...], missing: float
) -> None:
    z = normal_ppf((np.arange(200_000) + 0.5) / 200_000)  # outcomes spread evenly over the distribution
    score = crps_of_quantiles(normal_ppf(levels), z, levels).mean()
    full = crps_normal(z, 0.0, 1.0).mean()
    assert full == pytest.approx(1 / np.sqrt(np.pi), abs=1e-4)
    assert 1 - score / full == pytest.approx(missing, rel=0.1)


def test_the_crps_of_quantiles_converges_to_the_closed_form() -> None:
    outcome = RNG.standard_t(4, 300)
    wanted = crps_student_t(outcome, 4.0, 0.1, 1.3)
    errors = []
    for count in (19, 199, 1_999):
        levels = tuple(np.arange(1, count + 1) / (count + 1))
        score = crps_of_quantiles(0.1 + 1.3 * student_t_ppf(levels, 4.0), outcome, levels)
        errors.append(float(np.abs(score - wanted).mean()))
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 1e-3


def test_honest_quantiles_have_the_best_expected_score() -> None:
    z = normal_ppf((np.arange(20_000) + 0.5) / 20_000)
    honest = crps_of_quantiles(normal_ppf(LEVELS), z, LEVELS).mean()
    for changed in (normal_ppf(LEVELS) * 1.1, normal_ppf(LEVELS) * 0.9, normal_ppf(LEVELS) + 0.1):
        assert crps_of_quantiles(changed, z, LEVELS).mean() > honest


def test_weights_share_out_the_unit_interval() -> None:
    np.testing.assert_allclose(crps_weights(LEVELS), [0.125, 0.225, 0.25, 0.225, 0.125])
    np.testing.assert_allclose(crps_weights((0.5,)), [0.5])
