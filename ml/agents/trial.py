"""The judgement of a trained agent on the test part, which nothing has looked at before. Training child only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ml.agents.accounts import JudgedPart
from ml.agents.bars import AgentBars
from ml.agents.check import INPUT, OUTPUT
from ml.agents.claims import with_trials
from ml.agents.episode import Episode
from ml.agents.evaluation import judged_market, judged_rows
from ml.agents.export import AgentNetwork
from ml.agents.judge import JudgeOptions, SeedPass, judge
from ml.agents.recorder import RecordedPass, record_episode
from ml.agents.results import AgentMetrics
from ml.agents.run_spec import AgentSpec
from ml.agents.walks import WeightPolicy, test_environment, walk_test
from ml.inference import open_session
from ml.trading_metrics import NS_PER_YEAR


@dataclass(frozen=True, slots=True, eq=False)
class AgentTrial:
    """What came out on the test part.

    Attributes:
        metrics: of the agent.
        episode: the pass that they are of.
    """

    metrics: AgentMetrics
    episode: Episode


def judge_agent(
    bars: AgentBars,
    spec: AgentSpec,
    network: AgentNetwork,
    onnx: bytes,
    check_stop: Callable[[], None],
) -> AgentTrial:
    """Judge the exported network, the very thing that will trade, and the agent of each seed alone.

    Args:
        bars / spec: of the run.
        network: its members are the seeds, in order.
        onnx: the network as it was exported.
        check_stop: called between the steps; raises to stop.
    """
    first = spec.algorithm.seed
    members = [(first + number, _quiet(member)) for number, member in enumerate(network.members)]
    *passes, together = walk_test(bars, spec.environment, [*members, (first, _exported(onnx))], check_stop)
    return _judged(bars, spec, passes, together, [member for _, member in members], check_stop)


def judge_again(bars: AgentBars, spec: AgentSpec, onnx: bytes, check_stop: Callable[[], None]) -> AgentMetrics:
    """Judge what trades alone: of a stored agent there is nothing else that runs.

    Args:
        bars: whose test part is judged; rules choose their parameters on its training part.
        spec / onnx: of the agent.
        check_stop: called between the steps; raises to stop.
    """
    policy = _exported(onnx)
    (whole,) = walk_test(bars, spec.environment, [(spec.algorithm.seed, policy)], check_stop)
    metrics = _judged(bars, spec, [whole], whole, [policy], check_stop).metrics
    return with_trials(replace(metrics, seeds=()), 1)


def _judged(
    bars: AgentBars,
    spec: AgentSpec,
    passes: Sequence[SeedPass],
    together: SeedPass,
    asked: Sequence[WeightPolicy],
    check_stop: Callable[[], None],
) -> AgentTrial:
    """Judge passes over the test part.

    Args:
        passes / asked: of the networks of the seeds, and these.
        together: the pass of what trades.
    """
    first = spec.algorithm.seed
    env = test_environment(bars, spec.environment)
    year = NS_PER_YEAR / bars.frame.timeframe.ns
    market = judged_market(env, bars_per_year=year, time_ns=bars.time_ns)
    train = [(stretch.start, stretch.stop) for stretch in bars.train]
    forecast = None if bars.encoded is None else bars.encoded.forecast
    metrics = judge(
        market,
        train,
        judged_rows(env, bars.test),
        passes,
        options=JudgeOptions(seed=first, resamples=spec.evaluation.resamples, draws=spec.evaluation.draws),
        ensemble=together,
        forecast=forecast,
        check_stop=check_stop,
    )
    done = RecordedPass(env, market, JudgedPart.of(market, train), bars.test, together, asked, forecast)
    return AgentTrial(metrics, record_episode(done, bars.frame.timeframe.value))


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
