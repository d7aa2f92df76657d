"""The tasks of the agents' self-test that hold to the last digits: causality and accounting. Training child only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from core.accounting.fast import BarArrays, run_targets
from core.accounting.rules import CostRates
from ml.agents.defaults import PPO_CONTINUOUS
from ml.agents.environment_spec import REWARDS
from ml.arrays import BoolArray, FloatArray
from ml.environment import BatchedTradingEnv
from ml.selftest import TRADING, Figure, TaskResult, task_result
from ml.selftest_agent_lab import Agent, AgentLab
from ml.selftest_environment import environment_of, tensor_of
from ml.selftest_markets import CASH, TaskMarket, kelly_task, ou_task

_ALTERED_FROM = (999, 2_000)
_LIVE_WINDOWS, _LIVE_STEPS = 64, 60
_EXACT = 1e-9

# --- N: causality -----------------------------------------------------------------------------------------------


def task_n(lab: AgentLab) -> TaskResult:
    """Other bars from some bar on: nothing an agent sees, does or is paid up to it may move by a bit."""
    lab.expect(1 + len(_ALTERED_FROM))
    market = ou_task(2_500, lab.seed(0), cost=0.5).market
    agent = lab.learn("PPO", market, replace(PPO_CONTINUOUS, steps=40_000), seed=lab.seed(0))
    lab.passed("PPO: learnt")
    held, total, blind = 0, 0, 0
    for number, row in enumerate(_ALTERED_FROM):
        other = altered_after(market, row, lab.seed(10 + number))
        for same, differs in _comparisons(agent, market, other, row, lab.seed(20 + number)):
            total += 1
            held += same
            blind += not differs
        lab.passed(f"other bars after {row:,}")
    return task_result(
        TRADING.task("N"),
        reached=held / total,
        optimum=1.0,
        share=held / total,
        required=1.0,
        note=f"Share of {total} comparisons, bit by bit, of passes and of episodes with each kind of reward.",
        conditions=((blind == 0, "The environment did not notice that the bars had changed: this says nothing."),),
        figures=(Figure("comparisons", float(total)), Figure("unchanged", float(held), float(total))),
    )


def altered_after(market: TaskMarket, row: int, seed: int) -> TaskMarket:
    """Return the market with other bars, features and volatility after `row`."""
    rng, size = np.random.default_rng(seed), len(market)
    later = np.arange(size) > row
    factor = np.where(later, np.exp(np.cumsum(np.where(later, rng.normal(0.0, 0.01, size), 0.0))), 1.0)
    prices = {name: getattr(market, name) * factor for name in ("open", "high", "low", "close")}
    drawn = rng.normal(0.0, 3.0, market.features.shape)
    return replace(
        market,
        **prices,
        features=np.where(later[:, None], drawn, market.features).astype(np.float32),
        volume=np.where(later, market.volume * rng.uniform(0.1, 10.0, size), market.volume),
        volatility=np.where(later, market.volatility * rng.uniform(0.5, 2.0, size), market.volatility),
        funding=np.where(later, rng.normal(0.0, 1e-4, size), market.funding),
    )


def _comparisons(
    agent: Agent, market: TaskMarket, other: TaskMarket, row: int, seed: int
) -> Iterator[tuple[bool, bool]]:
    """Yield whether all is the same up to a row and differs after it: of a pass, and of episodes by reward."""
    before, after = (_passed(agent, each) for each in (market, other))
    yield np.array_equal(before[: row + 1], after[: row + 1]), not np.array_equal(before[row + 1 :], after[row + 1 :])
    for reward in REWARDS:
        rewarded = replace(agent, spec=replace(agent.spec, reward=reward, random_position=True, cost_jitter=1.0))
        (ours, known), (theirs, _) = (_lived(rewarded, each, row, seed) for each in (market, other))
        yield np.array_equal(ours[known], theirs[known]), not np.array_equal(ours[~known], theirs[~known])


def _passed(agent: Agent, market: TaskMarket) -> FloatArray:
    """Return what was seen, done and owned at each decision of one walk, shape (T - 1, ...)."""
    env = BatchedTradingEnv(tensor_of(market), agent.spec, windows=1, seed=0)
    (walked,) = env.evaluate_pass(agent.act)
    rows = walked.first_row + torch.arange(len(walked.weights))
    seen = env.observe(rows, torch.from_numpy(walked.account)).numpy()
    return np.concatenate([seen, walked.weights[:, None], walked.equity[:-1, None]], axis=1)


def _lived(agent: Agent, market: TaskMarket, row: int, seed: int) -> tuple[FloatArray, BoolArray]:
    """Return what windows were paid for the step before, saw and did, and where none of it is later than a row.

    A window that has passed the row once is not looked at again: its next episode begins where the bars ended the last.

    Returns:
        Shapes (steps, windows, ...) and (steps, windows).
    """
    typical = float(np.median(market.volatility[: row + 1]))
    env = BatchedTradingEnv(tensor_of(market), agent.spec, windows=_LIVE_WINDOWS, seed=seed, typical_volatility=typical)
    seen = env.reset_tensor()
    paid, reached = torch.zeros((_LIVE_WINDOWS, 1)), env.account
    passed = env.rows > row
    found, later = list[Tensor](), list[Tensor]()
    for _ in range(_LIVE_STEPS):
        actions = agent.act(seen)
        found.append(torch.cat([seen, env.weights_of(actions).float()[:, None], paid, reached], dim=1))
        later.append(passed)
        went = env.step_tensor(actions)
        seen, paid, reached = went.obs, went.reward[:, None], went.account
        passed = passed | (went.rows > row) | (went.next_rows > row)
    return torch.stack(found).numpy(), ~torch.stack(later).numpy()


# --- O: accounting ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Constant:
    """A constant target weight and the equity that a formula gives it, shape (T,), of an account of `CASH`.

    Attributes:
        name: for a person.
        weight: the target.
        band: around it, within which nothing is traded.
        market / costs: that it is held in.
        equity: at each close.
    """

    name: str
    weight: float
    band: float
    market: TaskMarket
    costs: CostRates
    equity: FloatArray


def task_o(lab: AgentLab) -> TaskResult:
    """Constant policies: environment and compiled kernel must both come to the equity of the closed form."""
    figures, held = list[Figure](), 0
    cases = constant_policies(lab.seed(0))
    lab.expect(len(cases))
    for case in cases:
        for name, equity in (("environment", _in_environment(case)), ("kernel", _in_kernel(case))):
            error = float(np.abs(equity / case.equity - 1.0).max())
            held += error <= _EXACT
            figures.append(Figure(f"{case.name}, {name}: largest error", error, 0.0))
        lab.passed(case.name)
    return task_result(
        TRADING.task("O"),
        reached=held / len(figures),
        optimum=1.0,
        share=held / len(figures),
        required=1.0,
        note=f"Share of {len(figures)} runs whose equity at every bar is that of the formula to {_EXACT:g}.",
        figures=tuple(figures),
    )


def constant_policies(seed: int, rows: int = 1_000) -> list[_Constant]:
    """Return constant policies with their equity in closed form.

    Those that hold what they once bought or sold pay all costs that a fixed quantity has; their band is so wide that
    nothing is traded again. Those that keep a weight trade at every bar, which is free.
    """
    free = kelly_task(rows, seed, drift=0.0, sigma=0.001, lowest=-1.0, highest=1.0).market
    dear = _with_gaps(free, seed)
    costs = CostRates(taker_fee=1e-3, half_spread=2e-4, slippage=3e-4, borrow_base=1e-6)
    nothing = CostRates(taker_fee=0.0)
    kept = [
        _Constant(f"weight of {weight:+g} kept", weight, 0.0, free, nothing, _kept(free, weight))
        for weight in (-1.0, -0.5, 0.5)
    ]
    return [
        _Constant("flat", 0.0, 0.0, dear, costs, np.full(rows, CASH)),
        _Constant("buy and hold", 1.0, 0.5, dear, costs, _bought(dear, costs)),
        _Constant("sell and hold", -1.0, 1.0, dear, costs, _sold(dear, costs)),
        *kept,
    ]


def _with_gaps(market: TaskMarket, seed: int) -> TaskMarket:
    """Return bars that open elsewhere than the one before closed, with funding."""
    rng, size = np.random.default_rng(seed + 1), len(market)
    opened = market.open * np.exp(rng.normal(0.0, 5e-4, size))
    return replace(
        market,
        open=opened,
        high=np.maximum(opened, market.close),
        low=np.minimum(opened, market.close),
        funding=rng.normal(1e-6, 1e-5, size),
    )


def _kept(market: TaskMarket, weight: float) -> FloatArray:
    """Return Π(1 + w r)."""
    returns = market.close[1:] / market.open[1:] - 1.0
    return CASH * np.concatenate([[1.0], np.cumprod(1.0 + weight * returns)])


def _bought(market: TaskMarket, costs: CostRates) -> FloatArray:
    """Return the equity of who puts all cash into coins at the second bar's opening, the fee included.

    Target and cash both limit what is bought: it was decided at the close before, and there is no debt.
    """
    price = market.open[1] * (1.0 + costs.half_spread + costs.slippage)
    lots = min(CASH / market.close[0], CASH / (price * (1.0 + costs.taker_fee)))
    cash = CASH - lots * price * (1.0 + costs.taker_fee)
    return _held(market, cash, lots, 0.0)


def _sold(market: TaskMarket, costs: CostRates) -> FloatArray:
    """Return the equity of who sells borrowed coins at the second bar's opening, as many as keep the leverage at 1.

    Of the equity that stands behind them the difference to the middle and the fee are lost at once.
    """
    middle = market.open[1]
    price = middle * (1.0 - costs.half_spread - costs.slippage)
    lost = middle - price + price * costs.taker_fee
    lots = min(CASH / market.close[0], CASH / (middle + lost))
    return _held(market, CASH + lots * price * (1.0 - costs.taker_fee), -lots, costs.borrow_base)


def _held(market: TaskMarket, cash: float, lots: float, interest: float) -> FloatArray:
    """Return the equity of a fixed quantity: funding is due at openings, interest on coins owed at closes."""
    funding = lots * np.cumsum(np.concatenate([[0.0], market.open[2:] * market.funding[2:]]))
    owed = max(-lots, 0.0) * interest * np.cumsum(market.close[1:])
    return np.concatenate([[CASH], cash + lots * market.close[1:] - funding - owed])


def _in_environment(case: _Constant) -> FloatArray:
    """Return the equity of a walk of the environment."""
    market = replace(case.market, costs=case.costs)
    spec = replace(environment_of(market), band=case.band)
    env = BatchedTradingEnv(tensor_of(market), spec, windows=1, seed=0)
    (walked,) = env.evaluate_pass(lambda seen: torch.full((len(seen), 1), case.weight))
    return walked.equity


def _in_kernel(case: _Constant) -> FloatArray:
    """Return the equity of the compiled kernel."""
    market = case.market
    bars = BarArrays(market.open, market.high, market.low, market.close, market.volume, market.funding)
    weights = np.full(len(market) - 1, case.weight)
    return run_targets(weights, bars, case.costs, replace(market.rules, band=case.band), cash=CASH).equity


EXACT_CHECKS: dict[str, Callable[[AgentLab], TaskResult]] = {"N": task_n, "O": task_o}
