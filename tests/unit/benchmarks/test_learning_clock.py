from __future__ import annotations

import itertools
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO

from app.benchmarks.peers import learning_clock
from app.benchmarks.peers.learning_clock import LearningClock, Outcome, Round


class Still(gymnasium.Env[np.ndarray, int]):
    """Pays nothing and never ends."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(1, np.float32), 0.0, False, False, {}


def run(clock: LearningClock) -> Outcome:
    """Train on rollouts of eight steps until the clock ends it."""
    model = PPO("MlpPolicy", Still(), n_steps=8, batch_size=8, n_epochs=1, seed=1, device="cpu")
    model.learn(8 * 50, callback=clock)
    return clock.outcome


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look at the processor's clock be one second later, at the wall's clock ten."""
    for name, step in (("process_time", 1.0), ("perf_counter", 10.0)):
        times = itertools.count(0.0, step)
        monkeypatch.setattr(learning_clock.time, name, times.__next__)


def scores(*values: float) -> Callable[[], float]:
    return itertools.chain(values, itertools.repeat(values[-1])).__next__


def test_three_rounds_are_taken_at_least_and_the_first_does_not_count(ticking: None) -> None:
    outcome = run(LearningClock(0.5))
    assert [round_.steps for round_ in outcome.rounds] == [8, 16, 24]
    told = outcome.to_json()
    assert told["cpu_per_s"] == pytest.approx(16 / 2.0)
    assert told["wall_per_s"] == pytest.approx(16 / 20.0)
    assert told["to_score"] is None


def test_a_run_goes_on_until_its_time_is_over(ticking: None) -> None:
    assert len(run(LearningClock(7.0)).rounds) == 7


def test_a_score_is_reached_with_the_first_of_three_rounds_above_it(ticking: None) -> None:
    outcome = run(LearningClock(1_000.0, scores(0.1, 0.9, 0.9, 0.2, 0.9, 0.8, 0.7, 0.6), 0.5))
    assert outcome.reached == 4
    assert len(outcome.rounds) == 7
    assert outcome.to_json()["to_score"] == {"steps": 40, "cpu_s": 5.0, "wall_s": 50.0}


def test_a_score_that_is_not_held_is_not_reached(ticking: None) -> None:
    outcome = run(LearningClock(6.0, scores(0.9, 0.9, 0.5, 0.9, 0.9, 0.5), 0.5))
    assert outcome.reached is None
    assert outcome.to_json()["to_score"] is None


def test_the_time_of_evaluations_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(learning_clock.time, "process_time", lambda: now[0])

    def slow() -> float:
        now[0] += 100.0
        return 0.0

    rounds = run(LearningClock(0.0, slow, 1.0)).rounds
    assert now[0] >= 300.0
    assert all(round_.cpu_s == 0.0 for round_ in rounds)


def test_rates_are_those_of_the_rounds_after_the_first() -> None:
    told = Outcome([Round(10, 9.0, 90.0), Round(20, 10.0, 92.0), Round(40, 12.0, 96.0)]).to_json()
    assert (told["cpu_per_s"], told["wall_per_s"]) == (10.0, 5.0)
    assert (told["steps"], told["cpu_s"]) == (40, 12.0)
