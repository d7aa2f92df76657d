"""The market that agents and their peers are measured on. Needs numpy only; any process.

A price that returns to its mean, traded at a cost. The best policy is long or short and changes sides outside of a band
only, so an agent has to find the price's place among other features and to know its own position.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_REVERSION = 0.1
_LOG_RETURN = 1e-3  # of a move of one unit
_FEE = 0.5 * _LOG_RETURN
_NOISE_DECAY = 0.9


@dataclass(frozen=True)
class Problem:
    """The market that everybody learns on.

    Attributes:
        features: shape (T, F), known at the close of each bar.
        close: of each bar; orders are filled at the close they are decided by.
        split: first row of the validation part.
        window: bars in an observation.
        fee: share of the notional.
        scale: what a log return is multiplied by to be the reward.
    """

    features: NDArray[np.float32]
    close: NDArray[np.float64]
    split: int
    window: int
    fee: float
    scale: float

    @classmethod
    def load(cls, file: Path) -> Problem:
        """Read what `save` wrote."""
        with np.load(file, allow_pickle=False) as stored:
            split, window = int(stored["split"]), int(stored["window"])
            fee, scale = float(stored["fee"]), float(stored["scale"])
            return cls(stored["features"], stored["close"], split, window, fee, scale)

    def save(self, file: Path) -> None:
        """Write everything into an npz file."""
        rest = {"split": self.split, "window": self.window, "fee": self.fee, "scale": self.scale}
        np.savez(file, features=self.features, close=self.close, **rest)  # type: ignore[arg-type]  # scalars are arrays

    def part(self, start: int, stop: int) -> Problem:
        """Return a stretch of it; its `split` is its end."""
        return Problem(
            self.features[start:stop], self.close[start:stop], stop - start, self.window, self.fee, self.scale
        )

    def training(self, parts: int) -> list[Problem]:
        """Cut the training part into so many stretches, so that environments side by side see different bars."""
        edges = np.linspace(0, self.split, parts + 1).astype(int)
        return [self.part(start, stop) for start, stop in itertools.pairwise(edges)]

    def validation(self) -> Problem:
        """Return the validation part."""
        return self.part(self.split, len(self.close))


def net_score(weights: Sequence[float] | NDArray[np.float64], close: NDArray[np.float64], fee: float) -> float:
    """Return the mean net log return of holding `weights[i]` from `close[i]` to `close[i + 1]`, from flat."""
    held = np.asarray(weights, dtype=np.float64)
    turnover = np.abs(np.diff(held, prepend=0.0))
    returns = close[1 : len(held) + 1] / close[: len(held)] - 1.0
    return float(np.mean(np.log1p(held * returns - fee * turnover)))


def mean_reverting(*, training: int, validation: int, features: int, window: int, seed: int) -> Problem:
    """Return a seeded problem: the first feature is the price's distance from its mean, the second its last move.

    The others are autoregressive noise; all have unit variance.
    """
    rng = np.random.default_rng(seed)
    rows = training + validation
    place = _autoregression(rng, rows, 1.0 - _REVERSION)
    move = np.diff(place, prepend=place[0])
    noise = [_autoregression(rng, rows, _NOISE_DECAY) for _ in range(features - 2)]
    columns = [column / column.std() for column in (place, move, *noise)]
    return Problem(
        features=np.ascontiguousarray(np.column_stack(columns), dtype=np.float32),
        close=np.exp(_LOG_RETURN * place),
        split=training,
        window=window,
        fee=_FEE,
        scale=1.0 / _LOG_RETURN,
    )


def best_score(problem: Problem) -> float:
    """Return the score of the best band on a problem: the side is changed beyond it only."""
    place = np.log(problem.close) * problem.scale
    bands = np.linspace(0.0, 3.0, 31)
    return problem.scale * max(net_score(_banded(place, band), problem.close, problem.fee) for band in bands)


def _banded(place: NDArray[np.float64], band: float) -> NDArray[np.float64]:
    """Return +1 since the place was last below the band and -1 since it was last above; flat before both."""
    sides = np.where(place < -band, 1.0, np.where(place > band, -1.0, 0.0))[:-1]
    last = np.maximum.accumulate(np.where(sides != 0.0, np.arange(len(sides)), 0))
    held: NDArray[np.float64] = sides[last]
    return held


def _autoregression(rng: np.random.Generator, rows: int, decay: float) -> NDArray[np.float64]:
    values = rng.normal(size=rows)
    values[0] /= np.sqrt(1.0 - decay**2)
    for row in range(1, rows):
        values[row] += decay * values[row - 1]
    return values
