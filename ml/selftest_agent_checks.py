"""The tasks of the agents' self-test: what is learnt, with which settings, what counts as learnt. Training child only.

Settings are the product's defaults but for what stands in a task: how far ahead a reward matters there, and how long is
learnt. The markets that agents are measured on are others than those they learnt on, drawn alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from core.accounting.fast import BarArrays
from ml.agents.defaults import DDPG, PPO_CONTINUOUS, PPO_DISCRETE
from ml.agents.hindsight import hindsight_bound
from ml.agents.known_answers import SignalMarket, Unwinding, kelly_growth, kelly_weight
from ml.arrays import FloatArray
from ml.selftest import TRADING, Conditions, Figure, TaskResult, task_result
from ml.selftest_agent_exact import EXACT_CHECKS
from ml.selftest_agent_lab import Agent, AgentLab, Settings
from ml.selftest_gain import Gain, best_weights, measure
from ml.selftest_markets import (
    SCALE,
    KnownTask,
    cfm_task,
    garleanu_pedersen_task,
    kelly_task,
    leak_task,
    ou_task,
    unwinding_task,
    zero_drift_task,
)

_ROWS, _FRESH_ROWS, _QUICK_FRESH_ROWS = 200_000, 200_000, 100_000
_LEVELS = 3
_MOST_CPU_SECONDS = 120.0
_DRIFT, _SIGMA, _LOWEST_KELLY, _HIGHEST_KELLY, _MOST_OFF = 5e-4, 0.02, -1.5, 2.5, 0.15
_POSITION = Unwinding(sigma=0.02, risk_aversion=50.0)  # risk weighs as much as usual, chance a fiftieth
_MOST_TURNOVER, _LEAST_REWARD, _MOST_HELD = 0.001, -0.001, 0.1

_QUICK_DDPG = replace(DDPG, steps=500_000)

Make = Callable[[int, int], KnownTask]


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """An agent on the market that it was measured on.

    Attributes:
        agent: as it learnt.
        fresh: the market and its answer.
        gain / weights: of the agent there.
    """

    agent: Agent
    fresh: KnownTask
    gain: Gain
    weights: FloatArray

    @property
    def share(self) -> float:
        """Of the optimum."""
        return self.gain.mean / self.fresh.optimum

    @property
    def best(self) -> float:
        """What the best policy gains on the same bars."""
        market = self.fresh.market
        return measure(market, best_weights(market, self.fresh.policy)).mean

    @property
    def turnover(self) -> float:
        """Per bar."""
        return self.gain.turnover / len(self.weights)

    def figures(self, name: str = "") -> tuple[Figure, ...]:
        """Return what is told of every agent."""
        before = f"{name}: " if name else ""
        return (
            Figure(f"{before}gain", self.gain.mean, self.fresh.optimum),
            Figure(f"{before}best policy on the same bars", self.best, self.fresh.optimum),
            Figure(f"{before}CPU seconds of learning", self.agent.cpu_seconds),
        )


def _trial(
    lab: AgentLab, name: str, make: Make, settings: Settings, number: int, *, levels: int = 0, rows: int = _ROWS
) -> _Trial:
    """Let an agent learn on one market and measure it on another.

    Args:
        lab: does it.
        name: for the progress.
        make: a market of so many rows from a seed.
        settings: of the learner.
        number: of the markets and of the agent, below 500 and another one for each agent of a task.
        levels: of the weights to choose from; 0 where any may be held.
        rows: to learn on.
    """
    agent = lab.learn(name, make(rows, lab.seed(number)).market, settings, seed=lab.seed(number), levels=levels)
    fresh = make(_QUICK_FRESH_ROWS if lab.job.quick else _FRESH_ROWS, lab.seed(500 + number))
    gain, weights = lab.measured(name, agent, fresh.market)
    return _Trial(agent, fresh, gain, weights)


def _together(lab: AgentLab, make: Make, settings: Settings, count: int, *, rows: int = _ROWS) -> _Trial:
    """Let several networks learn, each on a market of its own, and measure what they do together on another.

    They act as every agent does that is stored: by the mean of what its networks want, seeing the one account.
    """
    lab.expect(count)
    agents = list[Agent]()
    for number in range(count):
        name, seed = f"PPO {number + 1}/{count}", lab.seed(number)
        agents.append(lab.learn(name, make(rows, seed).market, settings, seed=seed))
        lab.passed(name)

    def act(seen: Tensor) -> Tensor:
        return torch.stack([agent.act(seen) for agent in agents]).mean(dim=0)

    agent = Agent(act, agents[0].spec, sum(each.cpu_seconds for each in agents))
    fresh = make(_QUICK_FRESH_ROWS if lab.job.quick else _FRESH_ROWS, lab.seed(500))
    weights = lab.weights(agent, fresh.market)
    return _Trial(agent, fresh, measure(fresh.market, weights), weights)


# --- D and E: mean reversion ------------------------------------------------------------------------------------


def task_d(lab: AgentLab) -> TaskResult:
    """An OU price without costs: against the level at every bar; what follows does not matter."""
    lab.expect(1)
    settings = replace(PPO_DISCRETE, gamma=0.0, steps=150_000 if lab.job.quick else 250_000)
    found = _trial(lab, "PPO", ou_task, settings, 0, levels=_LEVELS)
    return task_result(
        TRADING.task("D"),
        reached=found.gain.mean,
        optimum=found.fresh.optimum,
        share=found.share,
        required=0.95 if lab.job.quick else 0.97,
        note="Gain per bar of PPO with weights of −1, 0 and 1.",
        figures=found.figures(),
    )


def task_e(lab: AgentLab) -> TaskResult:
    """An OU price with a cost: the position must be kept within a band."""
    quick = lab.job.quick
    make = partial(ou_task, cost=0.5)
    seeds, needed = (1, 0.90) if quick else (3, 0.95)
    algorithms: list[tuple[str, Settings, int]] = [
        ("PPO", replace(PPO_DISCRETE, steps=250_000) if quick else PPO_DISCRETE, _LEVELS)
    ]
    if not quick:
        algorithms.append(("DDPG", DDPG, 0))
    lab.expect(seeds * len(algorithms))
    figures, conditions, medians = list[Figure](), list[tuple[bool, str]](), list[_Trial]()
    for place, (name, settings, levels) in enumerate(algorithms):
        trials = [
            _trial(lab, f"{name} {seed + 1}/{seeds}", make, settings, 100 * place + seed, levels=levels)
            for seed in range(seeds)
        ]
        middle = sorted(trials, key=lambda trial: trial.share)[seeds // 2]
        medians.append(middle)
        conditions += _required_of(name, trials, needed)
        figures += [Figure(f"{name}, seed {seed + 1}: share", trial.share, 1.0) for seed, trial in enumerate(trials)]
        figures += middle.figures(f"{name}, median")
    lower = min(medians, key=lambda trial: trial.share)
    return task_result(
        TRADING.task("E"),
        reached=lower.gain.mean,
        optimum=lower.fresh.optimum,
        share=lower.share,
        required=needed,
        note=f"Gain per bar; of {' and '.join(name for name, *_ in algorithms)} the lower median of {seeds} seeds.",
        conditions=conditions,
        figures=tuple(figures),
    )


def _required_of(name: str, trials: list[_Trial], needed: float) -> Conditions:
    """Return what the seeds of an algorithm must hold to: the median, the worst and the time of each."""
    shares = [trial.share for trial in trials]
    median, worst = statistics.median(shares), min(shares)
    slowest = max(trial.agent.cpu_seconds for trial in trials)
    return (
        (median >= needed, f"{name}: {median:.1%} in the median, {needed:.0%} needed."),
        (worst >= 0.90, f"{name}: {worst:.1%} at worst, 90% needed."),
        (slowest <= _MOST_CPU_SECONDS, f"{name}: {slowest:.0f} CPU seconds, {_MOST_CPU_SECONDS:.0f} allowed."),
    )


# --- F and G: geometric Brownian motion -------------------------------------------------------------------------


def task_f(lab: AgentLab) -> TaskResult:
    """A martingale with a cost: what is held must be sold, and nothing bought."""
    quick = lab.job.quick
    seeds = 1 if quick else 3
    lab.expect(2 * seeds)
    settings = replace(PPO_DISCRETE, gamma=0.9)
    trials, held = list[_Trial](), list[float]()
    for seed in range(seeds):
        name = f"PPO {seed + 1}/{seeds}"
        # On few bars a drift that chance has drawn would be worth following.
        trial = _trial(lab, name, zero_drift_task, settings, seed, levels=_LEVELS, rows=500_000)
        trials.append(trial)
        for weight in (-1.0, 1.0):
            given = replace(trial.agent, spec=replace(trial.agent.spec, start_weight=weight))
            held.append(float(np.abs(lab.weights(given, trial.fresh.market)).mean()))
        lab.passed(f"{name}: given a position")
    worst = min(trials, key=lambda trial: trial.gain.mean)
    turnover, kept = max(trial.turnover for trial in trials), max(held)
    return task_result(
        TRADING.task("F"),
        reached=worst.gain.mean,
        optimum=0.0,
        share=None,
        required=_LEAST_REWARD,
        note=f"Reward per bar in units of its volatility, the lowest of {seeds} seeds of PPO.",
        conditions=(
            (turnover <= _MOST_TURNOVER, f"Turnover of {turnover:.4f} per bar, {_MOST_TURNOVER:g} allowed."),
            (kept <= _MOST_HELD, f"Of a position it was given {kept:.1%} was kept, {_MOST_HELD:.0%} allowed."),
        ),
        figures=(
            Figure("turnover per bar", turnover, 0.0),
            Figure("kept of a position it was given", kept, 0.0),
            *worst.figures("lowest"),
        ),
    )


def _kelly(rows: int, seed: int) -> KnownTask:
    """Return a drift whose best weight is not the middle of the range, which is what an agent begins with."""
    return kelly_task(rows, seed, drift=_DRIFT, sigma=_SIGMA, lowest=_LOWEST_KELLY, highest=_HIGHEST_KELLY)


def task_g(lab: AgentLab) -> TaskResult:
    """A drift and logarithmic utility: the weight of Kelly, whatever the bars before looked like.

    What is judged is the mean weight of several networks, as of every agent that is stored: what a drift of a fortieth
    of the volatility tells one of them in a few million bars is a tenth off by chance.
    """
    quick = lab.job.quick
    count = 3 if quick else 4
    # Each decision is used once: what is said of one bar is nearly all chance, and more of it averages out.
    settings = replace(
        PPO_CONTINUOUS,
        gamma=0.0,
        steps=2_000_000 if quick else 3_000_000,
        n_steps=16,
        batch=4_096,
        epochs=1,
        learning_rate=1e-3,
    )
    found = _together(lab, _kelly, settings, count, rows=1_000_000)
    weight, best = float(found.weights.mean()), kelly_weight(_DRIFT, _SIGMA)
    off = abs(weight / best - 1.0)
    return task_result(
        TRADING.task("G"),
        reached=found.gain.mean,
        optimum=found.fresh.optimum,
        share=found.share,
        required=0.90 if quick else 0.95,
        note=f"Growth per bar in units of its volatility, of the mean of {count} networks of PPO with any weight.",
        conditions=((off <= _MOST_OFF, f"Its weight is {off:.0%} off, {_MOST_OFF:.0%} allowed."),),
        figures=(
            Figure("mean weight", weight, best),
            Figure("standard deviation of the weight", float(found.weights.std()), 0.0),
            Figure("growth of the mean weight", kelly_growth(_DRIFT, _SIGMA, weight) / _SIGMA, found.fresh.optimum),
            *found.figures(),
        ),
    )


# --- H and I: a signal ------------------------------------------------------------------------------------------


def task_h(lab: AgentLab) -> TaskResult:
    """A signal and a quadratic cost: trade part of the way to an aim in front of the signal."""
    lab.expect(1)
    found = _trial(lab, "DDPG", garleanu_pedersen_task, _QUICK_DDPG if lab.job.quick else DDPG, 0)
    known = SignalMarket()
    return task_result(
        TRADING.task("H"),
        reached=found.gain.mean,
        optimum=found.fresh.optimum,
        share=found.share,
        required=0.80 if lab.job.quick else 0.90,
        note="Mean less risk and costs per bar, of DDPG.",
        figures=(*found.figures(), Figure("myopic policy", known.value(known.myopic))),
    )


def task_i(lab: AgentLab) -> TaskResult:
    """A predictor with no cost, a quadratic and a linear one."""
    lab.expect(3)
    settings = _QUICK_DDPG if lab.job.quick else DDPG
    found = {
        kind: _trial(lab, f"DDPG, {kind}", partial(cfm_task, kind), replace(settings, gamma=gamma), number)
        for number, (kind, gamma) in enumerate({"free": 0.0, "quadratic": 0.9, "linear": 0.9}.items())
    }
    least = min(found.values(), key=lambda trial: trial.share)
    figures = [figure for kind, trial in found.items() for figure in trial.figures(kind)]
    return task_result(
        TRADING.task("I"),
        reached=least.gain.mean,
        optimum=least.fresh.optimum,
        share=least.share,
        required=0.80 if lab.job.quick else 0.90,
        note="Mean less risk and costs per bar, of DDPG; the lowest share of the three costs.",
        figures=tuple(figures),
    )


# --- J: selling a position --------------------------------------------------------------------------------------


def _unwinding(rows: int, seed: int) -> KnownTask:
    """Return a position to sell."""
    return unwinding_task(rows, seed, _POSITION)


def task_j(lab: AgentLab) -> TaskResult:
    """A position to be sold in so many trades: what trading fast costs against the risk of trading slowly."""
    lab.expect(1)
    settings = replace(
        PPO_CONTINUOUS,
        gamma=1.0,
        steps=1_000_000 if lab.job.quick else 2_000_000,
        n_steps=_POSITION.trades - 1,
        batch=2_432,
        epochs=6,
        gae_lambda=1.0,  # chance says little here: what an episode came to is known better than guessed
        entropy=0.0,
    )
    found = _trial(lab, "PPO", _unwinding, settings, 0)
    cost, best = -found.gain.mean, -found.fresh.optimum
    even = _POSITION.total_cost(np.linspace(1.0, 0.0, _POSITION.trades + 1))
    return task_result(
        TRADING.task("J"),
        reached=cost,
        optimum=best,
        share=best / cost,
        required=1.0 / (1.05 if lab.job.quick else 1.02),
        note="Cost and risk of an episode, of PPO; share is the least possible over that.",
        figures=(Figure("even sale", even, best), *found.figures("less cost")),
    )


# --- M: leak ----------------------------------------------------------------------------------------------------


def task_m(lab: AgentLab) -> TaskResult:
    """A feature holds the next return: turn to it where it exceeds the cost."""
    lab.expect(1)
    settings = replace(PPO_DISCRETE, gamma=0.9, steps=150_000 if lab.job.quick else 250_000)
    found = _trial(lab, "PPO", leak_task, settings, 0, levels=_LEVELS)
    market = found.fresh.market
    bars = BarArrays(market.open, market.high, market.low, market.close, market.volume, market.funding)
    bound = hindsight_bound(bars, market.costs, market.rules, np.array([-1.0, 0.0, 1.0]))
    return task_result(
        TRADING.task("M"),
        reached=found.gain.mean,
        optimum=found.fresh.optimum,
        share=found.share,
        required=0.98,
        note="Gain per bar of PPO with weights of −1, 0 and 1; the optimum is that of who knows one return ahead.",
        figures=(*found.figures(), Figure("hindsight of all returns", bound.log_return / SCALE / len(found.weights))),
    )


CHECKS: dict[str, Callable[[AgentLab], TaskResult]] = {
    "D": task_d,
    "E": task_e,
    "F": task_f,
    "G": task_g,
    "H": task_h,
    "I": task_i,
    "J": task_j,
    "M": task_m,
    **EXACT_CHECKS,
}
