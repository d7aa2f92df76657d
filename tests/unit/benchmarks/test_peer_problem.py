from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.benchmarks.peers.problem import Problem, best_score, mean_reverting, net_score


def small(**changes: int) -> Problem:
    return mean_reverting(**{"training": 3_000, "validation": 1_000, "features": 4, "window": 8, "seed": 1} | changes)


def test_the_score_of_holding_is_the_move_less_the_entry() -> None:
    close = np.array([100.0, 110.0, 99.0])
    assert net_score([1.0, 1.0], close, 0.0) == pytest.approx(np.log(0.99) / 2)
    assert net_score([1.0, 1.0], close, 0.01) == pytest.approx((np.log(1.09) + np.log(0.9)) / 2)
    assert net_score([-1.0, -1.0], close, 0.0) == pytest.approx((np.log(0.9) + np.log(1.1)) / 2)


def test_a_change_of_sides_costs_twice_the_fee() -> None:
    flat = np.full(5, 50.0)
    assert net_score([0.0, 0.0, 0.0], flat, 0.01) == 0.0
    assert net_score([-1.0, 1.0], flat, 0.01) == pytest.approx((np.log(0.99) + np.log(0.98)) / 2)


def test_the_best_band_earns_what_theory_says() -> None:
    # The optimum of this process with these costs by value iteration is 0.1223 with a band of 1.55.
    assert best_score(small(validation=200_000).validation()) == pytest.approx(0.1223, rel=0.05)


def test_features_are_known_at_their_bar_and_of_unit_variance() -> None:
    problem = small(training=50_000)
    place = np.log(problem.close)
    assert np.corrcoef(problem.features[:, 0], place)[0, 1] == pytest.approx(1.0)
    assert np.corrcoef(problem.features[1:, 1], np.diff(place))[0, 1] == pytest.approx(1.0)
    assert problem.features.std(axis=0) == pytest.approx(np.ones(4), rel=1e-3)
    noise = np.corrcoef(np.column_stack([problem.features[:-1, 2:], np.diff(place)]), rowvar=False)[-1, :-1]
    assert np.abs(noise).max() < 0.03


def test_a_seed_gives_the_same_problem_and_a_file_keeps_it(tmp_path: Path) -> None:
    first, second = small(), small()
    first.save(tmp_path / "problem.npz")
    for other in (second, Problem.load(tmp_path / "problem.npz")):
        assert np.array_equal(first.features, other.features)
        assert np.array_equal(first.close, other.close)
        assert (other.split, other.window, other.fee, other.scale) == (3_000, 8, first.fee, first.scale)
    assert not np.array_equal(first.close, small(seed=2).close)


def test_parts_of_the_training_are_disjoint_and_the_validation_is_none_of_them() -> None:
    problem = small()
    parts = problem.training(7)
    assert sum(len(part.close) for part in parts) == problem.split
    assert np.array_equal(np.concatenate([part.close for part in parts]), problem.close[: problem.split])
    assert np.array_equal(problem.validation().close, problem.close[problem.split :])
