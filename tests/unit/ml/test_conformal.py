"""Conformal intervals cover what they promise; adaptive ones also when the market changes."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ml.conformal import (
    AdaptiveConformal,
    AdaptiveOptions,
    AdaptiveState,
    ConformalOffset,
    adaptive_intervals,
    calibrate,
    calibrate_horizons,
    calibrate_quantiles,
    conformal_quantiles,
    conformal_rank,
    conformity_scores,
)

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def market(size: int, seed: int, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return outcomes with slowly changing volatility and that volatility; `shift` multiplies the later half's."""
    rng = np.random.default_rng(seed)
    sigma = 0.01 * np.exp(0.8 * np.sin(np.arange(size) / 200.0))
    scale = np.where(np.arange(size) < size // 2, 1.0, shift)
    return rng.normal(0, 1, size) * sigma * scale, sigma


def start(options: AdaptiveOptions, scores: np.ndarray | None = None) -> AdaptiveState:
    return AdaptiveState(options, options.alpha, tuple(scores.tolist() if scores is not None else ()))


@pytest.mark.parametrize(
    ("count", "alpha", "rank"),
    [(99, 0.1, 90), (9, 0.1, 9), (8, 0.1, 9), (9, 0.7, 3), (19, 0.05, 19), (1_000, 0.1, 901)],
)
def test_ranks(count: int, alpha: float, rank: int) -> None:
    assert conformal_rank(count, alpha) == rank


def test_the_offset_is_the_score_of_that_rank() -> None:
    outcome = np.arange(1.0, 20.0)
    zero, unit = np.zeros(19), np.full(19, 2.0)
    assert calibrate(zero, zero, outcome, unit, 0.1) == ConformalOffset(0.1, 19, 18 / 2)
    assert calibrate(zero, zero, outcome, unit, 0.5) == ConformalOffset(0.5, 19, 10 / 2)
    assert calibrate(zero[:8], zero[:8], outcome[:8], unit[:8], 0.1).offset is None
    inside = calibrate(zero - 100, zero + 100, outcome, unit, 0.1)
    assert inside.offset == (18 - 100) / 2, "an interval too wide is narrowed"
    np.testing.assert_allclose(conformity_scores(zero - 3, zero + 1, outcome, unit), (outcome - 1) / 2)


def test_finite_sample_coverage_is_exact() -> None:
    """With n calibration outcomes a new one is covered with probability rank / (n + 1), whatever the distribution."""
    rng = np.random.default_rng(1)
    size, alpha, runs = 19, 0.1, 20_000
    scores = np.abs(rng.standard_t(2, (runs, size + 1)))
    rank = conformal_rank(size, alpha)
    covered = scores[:, -1] <= np.sort(scores[:, :-1], axis=1)[:, rank - 1]
    assert covered.mean() == pytest.approx(rank / (size + 1), abs=0.007)


@pytest.mark.parametrize("width", [0.3, 1.0, 4.0])
def test_coverage_on_heteroskedastic_outcomes(width: float) -> None:
    """Whatever the model's width; and, by the unit, in calm and in wild bars alike."""
    outcome, sigma = market(20_000, 2)
    lower, upper = -width * sigma, width * sigma
    past, later = slice(0, 10_000), slice(10_000, None)
    found = calibrate(lower[past], upper[past], outcome[past], sigma[past], 0.1)
    assert found.offset == pytest.approx(stats.norm.ppf(0.95) - width, abs=0.05)
    moved = conformal_quantiles(np.column_stack([lower, 0 * sigma, upper]), sigma, (found,))[later]
    covered = (outcome[later] >= moved[:, 0]) & (outcome[later] <= moved[:, 2])
    assert covered.mean() == pytest.approx(0.9, abs=0.012)
    wild = sigma[later] > np.median(sigma)
    assert covered[wild].mean() == pytest.approx(0.9, abs=0.02)
    assert covered[~wild].mean() == pytest.approx(0.9, abs=0.02)


def test_all_pairs_and_horizons() -> None:
    outcome, sigma = market(6_000, 3)
    wrong = np.array([-0.8, -0.3, 0.1, 0.3, 0.8])
    quantiles = np.stack([sigma[:, None] * wrong, sigma[:, None] * wrong * 2], axis=1)
    both, unit = np.column_stack([outcome, 2 * outcome]), np.column_stack([sigma, sigma])
    both[:100, 1] = math.nan
    offsets = calibrate_horizons(quantiles, LEVELS, both, unit)
    assert [len(pairs) for pairs in offsets] == [2, 2]
    assert [round(pair.alpha, 9) for pair in offsets[0]] == [0.1, 0.5]
    assert (offsets[0][0].count, offsets[1][0].count) == (6_000, 5_900)
    assert offsets[0] == calibrate_quantiles(quantiles[:, 0], LEVELS, outcome, sigma)
    for horizon in range(2):
        moved = conformal_quantiles(quantiles[100:, horizon], sigma[100:], offsets[horizon])
        assert (np.diff(moved, axis=1) >= 0).all()
        np.testing.assert_array_equal(moved[:, 2], quantiles[100:, horizon, 2])
        seen = both[100:, horizon]
        assert ((seen >= moved[:, 0]) & (seen <= moved[:, 4])).mean() == pytest.approx(0.9, abs=0.01)
        assert ((seen >= moved[:, 1]) & (seen <= moved[:, 3])).mean() == pytest.approx(0.5, abs=0.02)
    assert ConformalOffset.from_json(offsets[0][0].to_json()) == offsets[0][0]


def test_quantiles_never_cross() -> None:
    inward = (ConformalOffset(0.1, 99, -5.0), ConformalOffset(0.5, 99, 2.0))
    moved = conformal_quantiles(np.array([-3.0, -1.0, 0.5, 1.0, 3.0]), np.array(1.0), inward)
    assert moved.tolist() == [-3.0, -3.0, 0.5, 3.0, 3.0]
    collapsed = conformal_quantiles(np.array([-3.0, 0.5, 3.0]), np.array(1.0), inward[:1])
    assert collapsed.tolist() == [0.5, 0.5, 0.5]
    unbounded = conformal_quantiles(np.array([-3.0, 0.5, 3.0]), np.array(1.0), (ConformalOffset(0.1, 3, None),))
    assert unbounded.tolist() == [-math.inf, 0.5, math.inf]


def test_adaptive_regains_coverage_after_a_shift_and_split_does_not() -> None:
    outcome, sigma = market(12_000, 4, shift=2.5)
    lower, upper = -sigma, sigma
    past = slice(0, 2_000)
    scores = conformity_scores(lower[past], upper[past], outcome[past], sigma[past])
    fixed = calibrate(lower[past], upper[past], outcome[past], sigma[past], 0.1).offset
    assert fixed is not None
    later, calm = slice(7_000, None), slice(2_000, 6_000)
    inside = conformity_scores(lower, upper, outcome, sigma) <= fixed
    assert inside[calm].mean() == pytest.approx(0.9, abs=0.02)
    assert inside[later].mean() < 0.55
    options = AdaptiveOptions(alpha=0.1, gamma=0.01, window=500)
    found = adaptive_intervals(*(x[2_000:] for x in (lower, upper, outcome, sigma)), start(options, scores))
    assert found.covered[:4_000].mean() == pytest.approx(0.9, abs=0.01)
    assert found.covered[5_000:].mean() == pytest.approx(0.9, abs=0.01)
    shift = found.covered[4_000:4_050].mean()
    assert shift < 0.7, "it has to notice first"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    alpha=st.floats(0.02, 0.6),
    gamma=st.floats(0.002, 0.3),
    window=st.integers(1, 60),
    wild=st.floats(0, 30),
)
def test_the_long_run_guarantee_holds_for_any_sequence(
    seed: int, alpha: float, gamma: float, window: int, wild: float
) -> None:
    """|misses / T − α| <= (max(α, 1 − α) + γ) / (T γ), Gibbs & Candès 2021, proposition 4.1."""
    rng = np.random.default_rng(seed)
    size = 400
    outcome = rng.normal(0, 1, size) * np.exp(wild * rng.random(size)) + np.linspace(0, wild, size)
    ends = np.zeros(size)
    found = adaptive_intervals(
        ends, ends, outcome, np.ones(size), start(AdaptiveOptions(alpha=alpha, gamma=gamma, window=window))
    )
    bound = (max(alpha, 1 - alpha) + gamma) / (size * gamma)
    assert abs((~found.covered).mean() - alpha) <= bound + 1e-9
    assert (found.level >= -gamma - 1e-9).all()
    assert (found.level <= 1 + gamma + 1e-9).all()


@pytest.mark.parametrize("horizon", [1, 3, 24])
def test_batch_equals_streaming_through_json(horizon: int) -> None:
    """Live: outcomes arrive `horizon` bars late, some never, and the program restarts every now and then."""
    outcome, sigma = market(900, 5, shift=3.0)
    outcome[300:310] = math.nan
    options = AdaptiveOptions(alpha=0.2, gamma=0.02, window=150, horizon=horizon)
    begin = start(options, np.random.default_rng(6).normal(0, 1, 200))
    batch = adaptive_intervals(-sigma, sigma, outcome, sigma, begin)
    live, ends, level, covered = AdaptiveConformal(begin), [], [], []
    for row in range(900):
        if row >= horizon:
            due = outcome[row - horizon]
            covered.append(bool(live.observe(None if math.isnan(due) else float(due))))
        if row % 97 == 0:
            live = AdaptiveConformal(AdaptiveState.from_json(json.loads(json.dumps(live.state().to_json()))))
        level.append(live.level)
        ends.append(live.forecast(float(-sigma[row]), float(sigma[row]), float(sigma[row])))
    np.testing.assert_array_equal(np.array(ends).T, [batch.lower, batch.upper])
    np.testing.assert_array_equal(level, batch.level)
    assert batch.covered[: 900 - horizon].tolist() == covered
    assert live.state() == batch.state
    inside = (outcome >= batch.lower) & (outcome <= batch.upper)
    np.testing.assert_array_equal(inside[batch.known], batch.covered[batch.known])
    assert batch.state.observed == 900 - horizon - 10
    assert len(batch.state.pending) == horizon


def test_delayed_outcomes_are_not_seen_early() -> None:
    outcome, sigma = market(300, 7)
    options = AdaptiveOptions(window=50, horizon=5)
    changed = outcome.copy()
    changed[200:] += 1.0
    first, second = (adaptive_intervals(-sigma, sigma, x, sigma, start(options)) for x in (outcome, changed))
    np.testing.assert_array_equal(first.upper[:205], second.upper[:205])
    assert first.upper[205] != second.upper[205]


def test_delayed_intervals_still_cover_in_the_long_run() -> None:
    outcome, sigma = market(20_000, 8)
    total = np.convolve(outcome, np.ones(24), "full")[23:][:20_000]
    found = adaptive_intervals(-sigma, sigma, total, sigma, start(AdaptiveOptions(gamma=0.01, horizon=24)))
    assert found.covered.mean() == pytest.approx(0.9, abs=0.015)


def test_before_anything_is_known_only_the_whole_line_will_do() -> None:
    live = AdaptiveConformal.start(AdaptiveOptions(), np.empty(0))
    assert live.forecast(-1.0, 1.0, 1.0) == (-math.inf, math.inf)
    assert live.observe(50.0) is True


def test_a_level_above_one_covers_nothing() -> None:
    state = dataclasses.replace(start(AdaptiveOptions(), np.zeros(20)), level=1.01)
    live = AdaptiveConformal(state)
    assert live.forecast(-1.0, 3.0, 1.0) == (1.0, 1.0)
    assert live.observe(1.0) is False
    assert live.level < 1.01


def test_misuse_is_refused() -> None:
    live = AdaptiveConformal.start(AdaptiveOptions(horizon=2), np.zeros(5))
    with pytest.raises(ValueError, match="no forecast waits"):
        live.observe(1.0)
    live.forecast(-1.0, 1.0, 1.0)
    live.forecast(-1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="due first"):
        live.forecast(-1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="not finite"):
        live.observe(math.nan)
    assert len(live.state().pending) == 2, "a refused outcome takes nothing away"
    live.observe(0.0)
    for wrong in ((math.nan, 1.0, 1.0), (0.0, math.inf, 1.0), (0.0, 1.0, 0.0)):
        with pytest.raises(ValueError, match="unit not positive"):
            live.forecast(*wrong)
    with pytest.raises(ValueError, match="wait already"):
        adaptive_intervals(np.zeros(3), np.zeros(3), np.zeros(3), np.ones(3), live.state())
    with pytest.raises(ValueError, match="wait than the horizon"):
        AdaptiveConformal(dataclasses.replace(live.state(), pending=live.state().pending * 3))
    with pytest.raises(ValueError, match="score is not finite"):
        AdaptiveConformal(start(AdaptiveOptions(), np.array([math.nan])))
    for options in ({"alpha": 0.0}, {"alpha": 1.0}, {"gamma": 0.0}, {"window": 0}, {"horizon": 0}):
        with pytest.raises(ValueError, match="out of range"):
            AdaptiveConformal.start(AdaptiveOptions(**options), np.zeros(3))


def test_wrong_calibrations() -> None:
    one, zero = np.ones(5), np.zeros(5)
    for alpha in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            calibrate(zero, zero, one, one, alpha)
    with pytest.raises(ValueError, match="at least one outcome"):
        calibrate(zero[:0], zero[:0], one[:0], one[:0], 0.1)
    for unit in (zero, one * math.nan):
        with pytest.raises(ValueError, match="positive and finite"):
            calibrate(zero, zero, one, unit, 0.1)
    with pytest.raises(ValueError, match="not finite"):
        calibrate(zero, zero, one * math.nan, one, 0.1)
    with pytest.raises(ValueError, match="odd number"):
        calibrate_quantiles(np.zeros((5, 2)), (0.1, 0.9), one, one)
    with pytest.raises(ValueError, match="one offset"):
        conformal_quantiles(np.zeros((5, 5)), one, (ConformalOffset(0.1, 9, 0.0),))
