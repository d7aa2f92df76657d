"""Deterministic walks of agents through a part of the bars: to choose weights by, and to judge. Training child only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ml.agent_bars import AgentBars
from ml.agent_spec import CONTINUOUS, EnvironmentSpec
from ml.arrays import Float32Array, FloatArray
from ml.environment import BatchedTradingEnv, StretchPass
from ml.market_tensor import Stretch

WeightPolicy = Callable[[Tensor], Tensor]
"""Takes observations (B, D) and returns target weights (B,)."""

_PIECE, _MOST_PIECES, _LEAD_IN = 512, 64, 64
_LEAST_EQUITY = 1e-12  # of what an account began with: what is gone has no logarithm
_MOST_OBSERVED = 20_000


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk came to.

    Attributes:
        log_return: net, over all bars.
        turnover: mean move of the target per bar; exposure: mean size of the targets.
    """

    log_return: float
    turnover: float
    exposure: float


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
        total, moves, sizes = 0.0, [], []
        for walked in env.evaluate_pass(policy, tuple(self._pieces)):
            counted = self._pieces[walked.stretch].counted_from - walked.first_row
            total += log_growth(walked.equity[counted:])
            moves.append(np.abs(np.diff(walked.weights))[counted:])
            sizes.append(np.abs(walked.weights[counted:]))
        return Walked(total, _mean(moves), _mean(sizes))


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


def log_growth(equity: FloatArray) -> float:
    """Return the logarithm of what an equity has grown to; a very small number where nothing is left."""
    return math.log(max(equity[-1], _LEAST_EQUITY * equity[0]) / equity[0]) if equity[0] > 0 else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class TestWalk:
    """One policy's pass over the test part from flat.

    Attributes:
        passes: one for each stretch.
        observations: what it saw, evenly thinned where it is very much, shape (B, D).
    """

    passes: tuple[StretchPass, ...]
    observations: Float32Array

    @property
    def weights(self) -> FloatArray:
        """Targets at all decisions."""
        return np.concatenate([walked.weights for walked in self.passes])

    @property
    def log_return(self) -> float:
        """Sum over all stretches, what is held at the end not sold."""
        return sum(log_growth(walked.equity) for walked in self.passes)

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """First row decided at, and one past the last row met, of each stretch."""
        return tuple((walked.first_row, walked.stretch.stop) for walked in self.passes)


def walk_test(
    bars: AgentBars,
    spec: EnvironmentSpec,
    policies: Sequence[WeightPolicy],
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[TestWalk, ...]:
    """Let policies walk over the test part side by side, each with an account of its own.

    Args:
        bars: of the run.
        spec: of the environment that they learned in.
        policies: observations to weights, on the CPU.
        check_stop: called before each step; raises to stop.
    """
    # Weights are given as actions of an environment in which any weight may be chosen.
    start = min(max(0.0, spec.lowest), spec.highest)
    plain = replace(spec, actions=CONTINUOUS, random_position=False, start_weight=start, cost_jitter=0.0)
    env = BatchedTradingEnv(bars.market, plain, windows=1, seed=0, stretches=bars.train, device="cpu")
    middle, half, count = (spec.highest + spec.lowest) / 2, (spec.highest - spec.lowest) / 2, len(policies)

    def act(observations: Tensor) -> Tensor:
        """Ask each policy about its own: walks of one length stand beside each other, in the order of the policies."""
        check_stop()
        weights = torch.empty(len(observations), 1, dtype=torch.float64)
        for index, policy in enumerate(policies):
            weights[index::count, 0] = policy(observations[index::count]).double()
        return (weights - middle) / half

    repeated = [stretch for stretch in bars.test for _ in policies]
    walked = env.evaluate_pass(act, repeated)
    return tuple(_test_walk(env, walked[index::count]) for index in range(count))


def _test_walk(env: BatchedTradingEnv, passes: tuple[StretchPass, ...]) -> TestWalk:
    rows = np.concatenate([np.arange(each.first_row, each.stretch.stop - 1) for each in passes])
    account = np.concatenate([each.account for each in passes])
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_OBSERVED)).astype(int))
    seen = env.observe(torch.from_numpy(rows[chosen]), torch.from_numpy(account[chosen]))
    return TestWalk(passes, np.asarray(seen.numpy(), np.float32))
