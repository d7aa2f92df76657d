"""Deterministic walks of agents through a part of the bars: to choose weights by, and to judge. Training child only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ml.agents.bars import AgentBars
from ml.agents.diagnostics import Observed
from ml.agents.environment_spec import CONTINUOUS, EnvironmentSpec
from ml.agents.evaluation import bar_returns, rewards_of, seen_on
from ml.agents.judge import SeedPass
from ml.agents.market_tensor import Stretch
from ml.agents.shared_bars import LearningBars
from ml.arrays import Float32Array, FloatArray
from ml.environment import BatchedTradingEnv, StretchPass

WeightPolicy = Callable[[Tensor], Tensor]
"""Takes observations (B, D) and returns target weights (B,)."""

_PIECE, _MOST_PIECES, _LEAD_IN = 512, 64, 64


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk came to.

    Attributes:
        log_return: net, over all bars, each market for itself.
        turnover: mean move of the target per bar, from what was held before the first; exposure: mean size of the
            targets.
        path: net log return behind each decision, in the order of the stretches, shape (m,).
    """

    log_return: float
    turnover: float
    exposure: float
    path: FloatArray


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bars that are walked through, and from which row on they count."""

    stretch: Stretch
    counted_from: int


class ValidationWalk:
    """One pass over the validation part in pieces that are walked through side by side.

    One long walk would take a step for every bar. Each piece begins some bars before what counts, so that the position
    which the agent would hold there anyway has been entered.
    """

    def __init__(self, stretches: Sequence[Stretch], window: int) -> None:
        """Cut the part.

        Args:
            stretches: longer than the window.
            window: bars in an observation.
        """
        self._pieces = {piece.stretch: piece for stretch in stretches for piece in _pieces(stretch, window)}

    def run(self, env: BatchedTradingEnv, policy: Callable[[Tensor], Tensor]) -> Walked:
        """Walk; the environment's own episodes are not touched.

        Args:
            env: of the training.
            policy: observations to actions, deterministic.
        """
        moves, sizes, path = [], [], []
        for walked in env.evaluate_pass(policy, tuple(self._pieces), start_weight=0.0):
            counted = self._pieces[walked.stretch].counted_from - walked.first_row
            path.append(bar_returns(walked.equity[counted:]))
            moves.append(np.abs(np.diff(walked.weights, prepend=0.0))[counted:])
            sizes.append(np.abs(walked.weights[counted:]))
        whole = np.concatenate(path)
        return Walked(float(whole.sum()), _mean(moves), _mean(sizes), whole)


def _mean(parts: Sequence[FloatArray]) -> float:
    values = np.concatenate(parts)
    return float(values.mean()) if len(values) else 0.0


def _pieces(stretch: Stretch, window: int) -> list[_Piece]:
    first = stretch.start + window - 1
    count = min(_MOST_PIECES, max(1, (stretch.stop - first) // _PIECE))
    borders = np.linspace(first, stretch.stop - 1, count + 1).astype(int).tolist()
    return [
        _Piece(Stretch(max(stretch.start, begin - _LEAD_IN - window + 1), end + 1, stretch.symbol), begin)
        for begin, end in itertools.pairwise(borders)
    ]


def walk_test(
    bars: AgentBars,
    spec: EnvironmentSpec,
    policies: Sequence[tuple[int, WeightPolicy]],
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[SeedPass, ...]:
    """Let policies walk over the test part side by side from flat, each with an account of its own.

    Args:
        bars: of the run.
        spec: of the environment that they learned in.
        policies: with their seeds: observations to weights, on the CPU.
        check_stop: called before each step; raises to stop.
    """
    env, count = test_environment(bars, spec), len(policies)

    def choose(observations: Tensor) -> Tensor:
        """Ask each policy about its own: walks of one length stand beside each other, in the order of the policies."""
        check_stop()
        weights = torch.empty(len(observations), dtype=torch.float64)
        for index, (_, policy) in enumerate(policies):
            weights[index::count] = policy(observations[index::count]).double()
        return weights

    stretches = [stretch for stretch in bars.test for _ in policies]
    walked = env.evaluate_pass(choose, stretches, start_weight=0.0, says_weights=True)
    return tuple(_seed_pass(env, walked[index::count], seed, policy) for index, (seed, policy) in enumerate(policies))


def test_environment(bars: AgentBars | LearningBars, spec: EnvironmentSpec) -> BatchedTradingEnv:
    """Return where agents are judged: nothing is random, and actions are any weight, for the mean of several agents.

    Its own episodes begin within the range of weights; a walk begins with nothing (`walk_test`), as an account does.
    """
    start = min(max(0.0, spec.lowest), spec.highest)
    plain = replace(spec, actions=CONTINUOUS, random_position=False, start_weight=start, cost_jitter=0.0)
    return BatchedTradingEnv(bars.market, plain, windows=1, seed=0, stretches=bars.train, device="cpu")


def _seed_pass(env: BatchedTradingEnv, walks: Sequence[StretchPass], seed: int, policy: WeightPolicy) -> SeedPass:
    def weights_of(observations: Float32Array) -> FloatArray:
        return np.asarray(policy(torch.from_numpy(observations)).numpy(), np.float64)

    return SeedPass(
        seed=seed,
        weights=np.concatenate([walk.weights for walk in walks]),
        observed=Observed(weights_of, seen_on(env, walks, seed), env.market_size),
        rewards=rewards_of(env, walks),
        account=np.concatenate([walk.account for walk in walks]),
    )
