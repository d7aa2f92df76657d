"""The tasks of the agents' self-test: what is learnt, with which settings, what counts as learnt. Training child only.

Settings are the product's defaults but for what stands in a task: how far ahead a reward matters there, and how long is
learnt. The markets agents are measured on are others than those they learnt on, drawn alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

from ml.agent_defaults import DDPG, PPO_DISCRETE
from ml.arrays import FloatArray
from ml.selftest import TRADING, Figure, TaskResult, task_result
from ml.selftest_agent_lab import AgentLab, Settings
from ml.selftest_gain import Gain, best_weights, measure
from ml.selftest_markets import KnownTask, ou_task

_ROWS, _FRESH_ROWS = 200_000, 200_000
_QUICK_FRESH_ROWS = 100_000
_MOST_CPU_SECONDS = 120.0

Make = Callable[[int, int], KnownTask]


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """An agent on the market that it was measured on.

    Attributes:
        fresh: the market and its answer.
        gain / weights: of the agent there.
        cpu_seconds: of its learning.
    """

    fresh: KnownTask
    gain: Gain
    weights: FloatArray
    cpu_seconds: float

    @property
    def share(self) -> float:
        """Of the optimum."""
        return self.gain.mean / self.fresh.optimum

    @property
    def best(self) -> float:
        """What the best policy gains on the same bars."""
        market = self.fresh.market
        return measure(market, best_weights(market, self.fresh.policy)).mean


def _trial(
    lab: AgentLab, name: str, make: Make, settings: Settings, number: int, *, levels: int = 0, rows: int = _ROWS
) -> _Trial:
    """Let an agent learn on one market and measure it on another.

    Args:
        lab: does it.
        name: for the progress.
        make: a market of so many rows from a seed.
        settings: of the learner.
        number: of the markets and of the agent, below 100 and another one for each agent of a task.
        levels: of the weights to choose from; 0 where any may be held.
        rows: to learn on.
    """
    agent = lab.learn(name, make(rows, lab.seed(number)).market, settings, seed=lab.seed(number), levels=levels)
    fresh = make(_QUICK_FRESH_ROWS if lab.job.quick else _FRESH_ROWS, lab.seed(500 + number))
    gain, weights = lab.measured(name, agent, fresh.market)
    return _Trial(fresh, gain, weights, agent.cpu_seconds)


# --- D and E: mean reversion ------------------------------------------------------------------------------------


def task_d(lab: AgentLab) -> TaskResult:
    """An OU price without costs: against the level at every bar; what follows does not matter."""
    lab.expect(1)
    settings = replace(PPO_DISCRETE, gamma=0.0, steps=150_000 if lab.job.quick else 250_000)
    found = _trial(lab, "PPO", ou_task, settings, 0, levels=3)
    return task_result(
        TRADING.task("D"),
        reached=found.gain.mean,
        optimum=found.fresh.optimum,
        share=found.share,
        required=0.95 if lab.job.quick else 0.97,
        note="Gain per bar of PPO with weights of −1, 0 and 1.",
        figures=(
            Figure("best policy on the same bars", found.best, found.fresh.optimum),
            Figure("CPU seconds of learning", found.cpu_seconds),
        ),
    )


def _with_cost(rows: int, seed: int) -> KnownTask:
    return ou_task(rows, seed, cost=0.5)


def task_e(lab: AgentLab) -> TaskResult:
    """An OU price with a cost: the position must be kept within a band."""
    quick = lab.job.quick
    algorithms: list[tuple[str, Settings, int]] = [
        ("PPO", replace(PPO_DISCRETE, steps=1_000_000), 3),
        ("DDPG", DDPG, 0),
    ]
    if quick:
        algorithms = [("PPO", replace(PPO_DISCRETE, steps=250_000), 3)]
    seeds = 1 if quick else 3
    lab.expect(seeds * len(algorithms))
    median_needed, worst_needed = (0.90, 0.90) if quick else (0.95, 0.90)
    figures, conditions, medians = list[Figure](), list[tuple[bool, str]](), list[_Trial]()
    for place, (name, settings, levels) in enumerate(algorithms):
        trials = [
            _trial(lab, f"{name} {seed + 1}/{seeds}", _with_cost, settings, 10 * (place + 1) + seed, levels=levels)
            for seed in range(seeds)
        ]
        shares = [trial.share for trial in trials]
        median, worst = statistics.median(shares), min(shares)
        slowest = max(trial.cpu_seconds for trial in trials)
        conditions += [
            (median >= median_needed, f"{name}: {median:.1%} in the median, {median_needed:.0%} needed."),
            (worst >= worst_needed, f"{name}: {worst:.1%} at worst, {worst_needed:.0%} needed."),
            (slowest <= _MOST_CPU_SECONDS, f"{name}: {slowest:.0f} CPU seconds, {_MOST_CPU_SECONDS:.0f} allowed."),
        ]
        figures += [Figure(f"{name} {number + 1} share", share, 1.0) for number, share in enumerate(shares)]
        figures += [Figure(f"{name} median share", median, 1.0), Figure(f"{name} worst share", worst, 1.0)]
        figures += [Figure(f"{name} CPU seconds of the slowest", slowest)]
        medians.append(next(trial for trial in trials if trial.share == median))
    lower = min(medians, key=lambda trial: trial.share)
    return task_result(
        TRADING.task("E"),
        reached=lower.gain.mean,
        optimum=lower.fresh.optimum,
        share=lower.share,
        required=median_needed,
        note=f"Gain per bar; the median of {seeds} agents, the lower one of {' and '.join(a[0] for a in algorithms)}.",
        conditions=conditions,
        figures=(*figures, Figure("best policy on the same bars", lower.best, lower.fresh.optimum)),
    )


CHECKS: dict[str, Callable[[AgentLab], TaskResult]] = {
    "D": task_d,
    "E": task_e,
}
