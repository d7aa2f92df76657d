"""Value iteration against answers that can be had otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.agents.value_iteration import best_trade, normal_cells, relative_value_iteration


def test_cells_have_the_moments_of_the_normal_variable() -> None:
    points = np.linspace(-8.0, 8.0, 81)
    mean = np.array([0.0, 0.07, -1.3])
    cells = normal_cells(mean, 1.0, points)
    assert cells.sum(axis=1) == pytest.approx(np.ones(3))
    assert cells @ points == pytest.approx(mean, abs=1e-6)
    assert (cells * (points[None, :] - mean[:, None]) ** 2).sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.floats(0.0, 2.0))
def test_best_trade_is_the_best_of_all_pairs(seed: int, count: int, cost: float) -> None:
    rng = np.random.default_rng(seed)
    positions = np.sort(rng.normal(size=count))
    after = rng.normal(size=(5, count))
    pairs = after[:, None, :] - cost * np.abs(positions[:, None] - positions[None, :])[None]
    assert best_trade(after, positions, cost) == pytest.approx(pairs.max(axis=2))


def test_two_states_that_alternate() -> None:
    """Flipping at every bar earns 1 less 2c; staying earns nothing on average."""
    reward = np.array([[-1.0, 1.0], [1.0, -1.0]])
    alternating = np.array([[0.1, 0.9], [0.9, 0.1]])
    positions = np.array([-1.0, 1.0])
    assert relative_value_iteration(reward, alternating, positions, 0.2).gain == pytest.approx(1.0 - 0.9 * 0.4)
    assert relative_value_iteration(reward, alternating, positions, 5.0).gain == pytest.approx(0.0, abs=1e-6)


def test_a_gain_that_does_not_settle_is_refused() -> None:
    """Two classes of states that never meet have a gain each."""
    reward = np.array([[0.0], [1.0]])
    with pytest.raises(ArithmeticError, match="lie between"):
        relative_value_iteration(reward, np.eye(2), np.zeros(1), 0.0)
