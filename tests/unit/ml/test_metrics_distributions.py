from __future__ import annotations

import numpy as np
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from ml.metrics import distributions as own

RNG = np.random.default_rng(7)
FREEDOM = (0.4, 1.0, 1.5, 2.0, 3.0, 4.5, 8.0, 30.0, 59.9, 60.1, 199.0, 201.0, 5_000.0, 1e6)


@pytest.mark.parametrize("df", FREEDOM)
def test_student_t_equals_scipy(df: float) -> None:
    x = np.concatenate([RNG.standard_t(max(df, 1.0), 200), [0.0, 1e-3, -1e-3, 40.0, -40.0, 1e4, -1e4]])
    np.testing.assert_allclose(own.student_t_cdf(x, df), stats.t.cdf(x, df), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(own.student_t_pdf(x, df), stats.t.pdf(x, df), rtol=1e-9)
    p = np.concatenate([RNG.uniform(0, 1, 200), [0.5, 1e-9, 1 - 1e-9, 0.05, 0.25, 0.5 + 1e-9]])
    np.testing.assert_allclose(own.student_t_ppf(p, df), stats.t.ppf(p, df), rtol=1e-9, atol=1e-9)


def test_degrees_of_freedom_broadcast_and_end_in_the_normal() -> None:
    levels, df = np.array([0.05, 0.5, 0.95]), np.array([[3.0], [7.0]])
    quantiles = own.student_t_ppf(levels, df)
    np.testing.assert_allclose(quantiles, stats.t.ppf(levels, df), rtol=1e-12)
    np.testing.assert_allclose(own.student_t_cdf(quantiles, df), np.tile(levels, (2, 1)), rtol=1e-12)
    far = np.array([-30.0, -3.0, 0.0, 0.4, 6.0])
    np.testing.assert_allclose(own.student_t_cdf(far, 1e12), stats.norm.cdf(far), rtol=1e-6)
    np.testing.assert_allclose(own.student_t_ppf(levels, 1e12), stats.norm.ppf(levels), atol=1e-9)


@given(p=st.floats(1e-12, 1 - 1e-12), df=st.floats(0.3, 1e5))
def test_quantile_and_distribution_function_are_inverse(p: float, df: float) -> None:
    assert float(own.student_t_cdf(own.student_t_ppf(p, df), df)) == pytest.approx(p, rel=1e-9, abs=1e-15)


def test_the_normal_equals_scipy() -> None:
    z = np.linspace(-8, 8, 101)
    np.testing.assert_allclose(own.normal_cdf(z), stats.norm.cdf(z), rtol=1e-12)
    np.testing.assert_allclose(own.normal_pdf(z), stats.norm.pdf(z), rtol=1e-12)
    p = np.linspace(0.001, 0.999, 97)
    np.testing.assert_allclose(own.normal_ppf(p), stats.norm.ppf(p), rtol=1e-12, atol=1e-14)
    far, ends = np.array([-37.0, -30.0, -8.5, 8.5]), np.array([1e-12, 1e-6, 1 - 1e-6, 1 - 1e-9])
    np.testing.assert_allclose(own.normal_cdf(far), stats.norm.cdf(far), rtol=1e-10)
    np.testing.assert_allclose(own.normal_ppf(ends), stats.norm.ppf(ends), rtol=1e-9)
    for wrong in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match=r"0\.0 < p < 1\.0"):
            own.normal_ppf(wrong)


def test_kolmogorov_equals_scipy() -> None:
    for x in np.linspace(0.02, 3.0, 200):
        assert own.kolmogorov_sf(float(x)) == pytest.approx(special.kolmogorov(x), abs=1e-12)
    assert own.kolmogorov_sf(0.0) == 1.0


def test_closed_forms_of_the_crps_equal_scoringrules() -> None:
    outcome, mean, scale = RNG.normal(0, 3, 300), RNG.normal(0, 1, 300), RNG.uniform(0.1, 4, 300)
    np.testing.assert_allclose(
        own.crps_normal(outcome, mean, scale), scoringrules.crps_normal(outcome, mean, scale), atol=1e-9
    )
    for df in (1.2, 2.0, 3.5, 10.0, 300.0):
        np.testing.assert_allclose(
            own.crps_student_t(outcome, df, mean, scale), scoringrules.crps_t(outcome, df, mean, scale), atol=1e-9
        )
    np.testing.assert_allclose(
        own.crps_student_t(outcome, 1e9, mean, scale), own.crps_normal(outcome, mean, scale), atol=1e-6
    )


def test_the_crps_of_samples_equals_scoringrules_and_converges_to_the_closed_form() -> None:
    outcome, samples = RNG.normal(0, 1, 200), RNG.normal(0, 1, (200, 51))
    np.testing.assert_allclose(
        own.crps_samples(samples, outcome), scoringrules.crps_ensemble(outcome, samples, estimator="nrg"), atol=1e-9
    )
    many = own.normal_ppf((np.arange(4_000) + 0.5) / 4_000)
    score = own.crps_samples(np.tile(many, (5, 1)), outcome[:5])
    np.testing.assert_allclose(score, own.crps_normal(outcome[:5], 0.0, 1.0), atol=1e-3)
