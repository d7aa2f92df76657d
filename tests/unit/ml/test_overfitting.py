"""Luck or skill: the published formulas, their test values, and samples whose answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ml.overfitting import (
    BacktestOverfitting,
    SharpeMoments,
    backtest_overfitting,
    deflated_sharpe,
    expected_maximum_sharpe,
    is_possible,
    minimum_track_record,
    probabilistic_sharpe,
    sharpe_moments,
    sharpe_probability,
)

EXAMPLE = SharpeMoments(sharpe=0.1, count=500, skew=-0.5, kurtosis=5.0)


def test_published_values() -> None:
    assert probabilistic_sharpe(EXAMPLE) == pytest.approx(0.98498, abs=5e-6)
    deflated = deflated_sharpe(EXAMPLE, trials=100, trial_std=0.05)
    assert deflated.threshold == pytest.approx(0.12653, abs=5e-6)
    assert deflated.probability == pytest.approx(0.28244, abs=5e-6)


def test_moments_equal_scipy() -> None:
    returns = np.random.default_rng(1).standard_t(5, 3_000) * 0.01 + 0.001
    moments = sharpe_moments(returns)
    assert moments is not None
    assert moments.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1), rel=1e-12)
    assert moments.skew == pytest.approx(stats.skew(returns), rel=1e-9)
    assert moments.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-9)
    assert moments.count == 3_000


def test_what_has_no_ratio() -> None:
    assert sharpe_moments(np.array([0.1, 0.2])) is None
    assert sharpe_moments(np.zeros(100)) is None
    assert sharpe_moments(np.full(100, 0.1)) is None
    with pytest.raises(ValueError, match="not finite"):
        sharpe_moments(np.array([0.1, math.nan, 0.2]))
    for wrong in (SharpeMoments(0.1, 500, 3.0, 3.0), SharpeMoments(0.1, 1, 0.0, 3.0), SharpeMoments(2.0, 9, 1.0, 2.0)):
        with pytest.raises(ValueError, match="no sample"):
            probabilistic_sharpe(wrong)
        assert sharpe_probability(wrong) is None
        assert not is_possible(wrong)
    assert sharpe_probability(None) is None
    assert sharpe_probability(EXAMPLE) == probabilistic_sharpe(EXAMPLE)
    assert not is_possible(SharpeMoments(0.1, 500, 0.0, 501.0))


@given(st.lists(st.integers(-100, 100), min_size=3, max_size=40))
def test_what_was_measured_is_possible(percent: list[int]) -> None:
    moments = sharpe_moments(np.array(percent) / 100.0)
    assert moments is None or is_possible(moments)


def test_minimum_track_record_is_where_the_probability_reaches_the_confidence() -> None:
    bars = minimum_track_record(EXAMPLE, benchmark=0.02, confidence=0.95)
    assert bars is not None
    at = SharpeMoments(EXAMPLE.sharpe, round(bars), EXAMPLE.skew, EXAMPLE.kurtosis)
    assert probabilistic_sharpe(at, 0.02) == pytest.approx(0.95, abs=1e-3)
    assert minimum_track_record(EXAMPLE, benchmark=0.1) is None


def test_probabilistic_sharpe_is_calibrated() -> None:
    """Of worthless normal strategies, 5 % have a probability above 0.95."""
    rng = np.random.default_rng(2)
    sure = 0
    for _ in range(2_000):
        moments = sharpe_moments(rng.normal(0, 0.01, 250))
        assert moments is not None
        sure += probabilistic_sharpe(moments) > 0.95
    assert sure / 2_000 == pytest.approx(0.05, abs=0.015)


def test_expected_maximum_equals_simulation() -> None:
    rng = np.random.default_rng(3)
    for trials in (10, 100, 1_000):
        best = rng.normal(0, 0.05, (4_000, trials)).max(axis=1).mean()
        assert expected_maximum_sharpe(trials, 0.05) == pytest.approx(best, rel=0.03)
    assert expected_maximum_sharpe(1, 0.05) == 0.0
    assert expected_maximum_sharpe(1.001, 0.05) == 0.0
    assert expected_maximum_sharpe(50, 0.0) == 0.0
    for trials, deviation in ((0.5, 0.1), (5, -0.1), (5, math.nan), (math.nan, 0.1)):
        with pytest.raises(ValueError, match="at least one trial"):
            expected_maximum_sharpe(trials, deviation)


def test_one_trial_is_not_deflated() -> None:
    assert deflated_sharpe(EXAMPLE, 1, 0.05).probability == probabilistic_sharpe(EXAMPLE)


def test_picking_the_best_of_noise_is_no_discovery() -> None:
    """The best of 50 worthless strategies looks sure by itself in most cases and hardly ever once it is deflated."""
    rng = np.random.default_rng(9)
    plain = deflated = 0
    for _ in range(300):
        returns = rng.normal(0, 0.01, (500, 50))
        sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        moments = sharpe_moments(returns[:, sharpes.argmax()])
        assert moments is not None
        plain += probabilistic_sharpe(moments) > 0.95
        deflated += deflated_sharpe(moments, 50, float(sharpes.std(ddof=1))).probability > 0.95
    assert plain > 250
    assert deflated <= 15


def reference_pbo(returns: np.ndarray, blocks: int) -> tuple[list[float], list[float], list[float]]:
    """Do what the paper says, slowly."""
    parts = np.array_split(returns, blocks)
    logits, inner, outer = [], [], []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[i] for i in chosen])
        outside = np.concatenate([parts[i] for i in range(blocks) if i not in chosen])
        a, b = (part.mean(axis=0) / part.std(axis=0, ddof=1) for part in (inside, outside))
        best = int(a.argmax())
        omega = stats.rankdata(b)[best] / (len(b) + 1)
        logits.append(math.log(omega / (1 - omega)))
        inner.append(a[best])
        outer.append(b[best])
    return logits, inner, outer


def test_backtest_overfitting_equals_the_paper_done_slowly() -> None:
    returns = np.random.default_rng(5).normal(0.0002, 0.01, (163, 7))
    logits, inner, outer = reference_pbo(returns[3:], 8)
    result = backtest_overfitting(returns, 8)
    np.testing.assert_allclose(result.logits, logits, atol=1e-9)
    assert result.pbo == np.mean(np.array(logits) <= 0)
    assert result.slope == pytest.approx(stats.linregress(inner, outer).slope, rel=1e-9)
    assert result.probability_of_loss == np.mean(np.array(outer) < 0)
    assert (result.bars, result.blocks, result.strategies, len(result.logits)) == (160, 8, 7, 70)
    assert BacktestOverfitting.from_json(result.to_json()) == result


def test_noise_is_overfitted_half_the_time() -> None:
    found = [backtest_overfitting(np.random.default_rng(seed).normal(0, 0.01, (800, 20)), 10).pbo for seed in range(40)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_a_good_strategy_is_not_overfitted() -> None:
    returns = np.random.default_rng(6).normal(0, 0.01, (1_600, 30))
    returns[:, 7] += 0.003
    result = backtest_overfitting(returns)
    assert len(result.logits) == math.comb(16, 8)
    assert result.pbo < 0.01
    assert result.probability_of_loss < 0.01


def test_a_strategy_that_pays_only_where_it_was_fitted_is_overfitted() -> None:
    """Every strategy earns in its own half and loses as much in the other."""
    rng = np.random.default_rng(7)
    sign = np.array([np.where(np.isin(np.arange(8), c), 1, -1) for c in itertools.combinations(range(8), 4)]).T
    returns = np.repeat(sign, 50, axis=0) * 0.005 + rng.normal(0, 0.005, (400, 70))
    result = backtest_overfitting(returns, 8)
    assert result.pbo > 0.99
    assert result.probability_of_loss > 0.99


def test_strategies_that_do_nothing() -> None:
    returns = np.random.default_rng(8).normal(0, 0.01, (320, 3))
    returns[:160, 1] = 0.0
    returns[:, 2] = 0.0
    assert 0.0 <= backtest_overfitting(returns, 8).pbo <= 1.0
    flat = backtest_overfitting(np.zeros((320, 4)), 8)
    assert flat.pbo == 1.0, "nothing to choose between is no evidence"
    assert flat.slope is None
    returns[:, 2] = 0.01
    with pytest.raises(ValueError, match="has no Sharpe ratio"):
        backtest_overfitting(returns, 8)


@pytest.mark.parametrize(
    ("shape", "blocks"), [((100, 1), 4), ((100, 3), 5), ((7, 3), 4), ((100, 3), 0), ((100, 3), -2)]
)
def test_what_cannot_be_split(shape: tuple[int, int], blocks: int) -> None:
    with pytest.raises(ValueError, match="at least two strategies"):
        backtest_overfitting(np.random.default_rng(1).normal(0, 1, shape), blocks)


def test_wrong_matrices() -> None:
    with pytest.raises(ValueError, match="shape"):
        backtest_overfitting(np.zeros(100))
    with pytest.raises(ValueError, match="not finite"):
        backtest_overfitting(np.array([[1.0, math.nan], [0.0, 1.0]]))
