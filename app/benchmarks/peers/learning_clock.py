"""Times learning, the program's own and that of its peers alike. Imports stable-baselines3; any process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

IN_A_ROW = 3
_LEAST_ROUNDS = 3  # the first warms up, two are measured


@dataclass
class Round:
    """After rollouts and the training on them: steps and seconds so far, and the score where one is taken."""

    steps: int
    cpu_s: float
    wall_s: float
    score: float | None = None


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        rounds: in order; evaluations are not in their times.
        reached: number of the first of `IN_A_ROW` rounds whose score is above the threshold, or None.
    """

    rounds: list[Round] = field(default_factory=list)
    reached: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return rates after the first round, and the times to the score (None where it was not reached)."""
        first, last = self.rounds[0], self.rounds[-1]
        steps = last.steps - first.steps
        goal = None if self.reached is None else self.rounds[self.reached]
        return {
            "cpu_per_s": steps / (last.cpu_s - first.cpu_s),
            "wall_per_s": steps / (last.wall_s - first.wall_s),
            "steps": last.steps,
            "cpu_s": last.cpu_s,
            "to_score": None if goal is None else {"steps": goal.steps, "cpu_s": goal.cpu_s, "wall_s": goal.wall_s},
            "scores": [round_.score for round_ in self.rounds],
        }


class LearningClock(BaseCallback):
    """Times rollouts with the training on them, evaluates between them, and ends the run when its purpose is served.

    Args:
        seconds: of processor time after which the run ends, three rounds at least.
        evaluate: returns the score of the present policy; None takes none and only times.
        threshold: the run also ends when `IN_A_ROW` scores in a row are above it.
        round_steps: a round has at least so many steps; algorithms that learn after each step have tiny rollouts.
    """

    def __init__(
        self,
        seconds: float,
        evaluate: Callable[[], float] | None = None,
        threshold: float = 0.0,
        *,
        round_steps: int = 1,
    ) -> None:
        super().__init__()
        self._round_steps, self._begun_at = round_steps, 0
        self.outcome = Outcome()
        self._seconds, self._evaluate, self._threshold = seconds, evaluate, threshold
        self._cpu = self._wall = 0.0
        self._mark: tuple[float, float] | None = None
        self._over = False

    def _on_rollout_start(self) -> None:
        if self._mark is not None and self.num_timesteps - self._begun_at < self._round_steps:
            return
        if self._mark is not None:
            self._cpu += time.process_time() - self._mark[0]
            self._wall += time.perf_counter() - self._mark[1]
            self._close_round()
        self._begun_at = self.num_timesteps
        self._mark = time.process_time(), time.perf_counter()

    def _on_step(self) -> bool:
        return not self._over

    def _close_round(self) -> None:
        score = None if self._evaluate is None else self._evaluate()
        rounds = self.outcome.rounds
        rounds.append(Round(self.num_timesteps, self._cpu, self._wall, score))
        last = [round_.score for round_ in rounds[-IN_A_ROW:]]
        if len(last) == IN_A_ROW and all(value is not None and value > self._threshold for value in last):
            self.outcome.reached = len(rounds) - IN_A_ROW
            self._over = True
        if self._cpu >= self._seconds and len(rounds) >= _LEAST_ROUNDS:
            self._over = True
