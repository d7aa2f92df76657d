"""The judgement of a trained agent on the test part, which nothing has looked at before. Training child only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from core.accounting.fast import BarArrays
from ml.agent_accounts import JudgedMarket
from ml.agent_bars import AgentBars
from ml.agent_check import INPUT, OUTPUT
from ml.agent_diagnostics import Observed
from ml.agent_export import AgentNetwork
from ml.agent_judge import JudgeOptions, SeedPass, judge
from ml.agent_results import AgentMetrics
from ml.agent_run_spec import AgentSpec
from ml.agent_walks import TestWalk, WeightPolicy, walk_test
from ml.arrays import Float32Array, FloatArray
from ml.hindsight import MOST_POSITIONS, hindsight_bound
from ml.inference import open_session
from ml.market_tensor import PRICE_COLUMNS
from ml.trading_metrics import NS_PER_YEAR


def judge_agent(
    bars: AgentBars,
    spec: AgentSpec,
    network: AgentNetwork,
    onnx: bytes,
    check_stop: Callable[[], None],
) -> AgentMetrics:
    """Judge the exported network, the very thing that will trade, and the agent of each seed alone.

    Args:
        bars / spec: of the run.
        network: its members are the seeds, in order.
        onnx: the network as it was exported.
        check_stop: called between the steps; raises to stop.
    """
    members: list[WeightPolicy] = [_quiet(member) for member in network.members]
    *alone, together = walk_test(bars, spec.environment, [*members, _exported(onnx)], check_stop)
    market, first = judged_market(bars, spec), spec.algorithm.seed
    size = spec.environment.window * len(bars.market.names)
    passes = [
        _pass(first + number, walk, member, size, spec)
        for number, (walk, member) in enumerate(zip(alone, members, strict=True))
    ]
    bound = hindsight_return(market, together.stretches) if spec.evaluation.hindsight else None
    check_stop()
    return judge(
        market,
        [(stretch.start, stretch.stop) for stretch in bars.train],
        together.stretches,
        passes,
        options=JudgeOptions(
            seed=first,
            resamples=spec.evaluation.resamples,
            draws=spec.evaluation.draws,
            hindsight_return=bound,
        ),
        ensemble=_pass(first, together, _exported(onnx), size, spec),
        forecast=None if bars.encoded is None else bars.encoded.forecast,
        check_stop=check_stop,
    )


def judged_market(bars: AgentBars, spec: AgentSpec) -> JudgedMarket:
    """Return the bars as accounts are judged on them, with the costs that the agent was charged."""
    environment, frame, market = spec.environment, bars.frame, bars.market
    columns = dict(zip(PRICE_COLUMNS, np.ascontiguousarray(market.prices.numpy().T), strict=True))
    step_ns = frame.timeframe.ns
    cuts = [0, *(np.flatnonzero(np.diff(frame.time_ns) != step_ns) + 1).tolist(), len(frame)]
    return JudgedMarket(
        bars=BarArrays(**columns),
        volatility=market.volatility.numpy(),
        runs=tuple(itertools.pairwise(cuts)),
        costs=environment.costs,
        rules=environment.rules(market.rules),
        bars_per_year=NS_PER_YEAR / step_ns,
        cash=environment.cash,
        lowest=environment.lowest,
        highest=environment.highest,
        time_ns=frame.time_ns,
    )


def hindsight_return(market: JudgedMarket, stretches: Sequence[tuple[int, int]]) -> float:
    """Return the net log return of who knows every price, summed over the stretches, each from flat."""
    low, high = market.bounds
    grid = np.unique(np.append(np.linspace(low, high, MOST_POSITIONS - 1), min(max(0.0, low), high)))
    total = 0.0
    for start, stop in stretches:
        cut = {name: getattr(market.bars, name)[start:stop] for name in PRICE_COLUMNS}
        total += hindsight_bound(BarArrays(**cut), market.costs, market.rules, grid, close_out=True).log_return
    return total


def _pass(seed: int, walk: TestWalk, policy: WeightPolicy, market_size: int, spec: AgentSpec) -> SeedPass:
    def weights_of(observations: Float32Array) -> FloatArray:
        return policy(torch.from_numpy(observations)).numpy().astype(np.float64)

    is_growth = spec.environment.reward == "log_return"
    return SeedPass(
        seed=seed,
        weights=walk.weights,
        observed=Observed(weights_of, walk.observations, market_size),
        rewards=walk.log_return if is_growth else None,
    )


def _quiet(member: torch.nn.Module) -> WeightPolicy:
    @torch.no_grad()
    def ask(observations: Tensor) -> Tensor:
        weights: Tensor = member(observations)
        return weights

    return ask


def _exported(onnx: bytes) -> WeightPolicy:
    session = open_session(onnx)

    def ask(observations: Tensor) -> Tensor:
        (weight,) = session.run([OUTPUT], {INPUT: observations.numpy()})
        return torch.from_numpy(weight)

    return ask
