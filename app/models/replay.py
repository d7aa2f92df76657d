"""The judged pass of an agent as the window replays it. Values without Qt, any thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.flows.origin_text import market_title
from core.domain.data_origin import DataOrigin
from ml.agents.episode import Episode
from ml.arrays import Float32Array, FloatArray

HOLD = "hold"  # as `ml.agents.baselines` calls it
_LEAST_SPREAD = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class AgentReplay:
    """A stored episode with what its window needs beside it.

    Attributes:
        model_id: of the agent.
        origin: whose bars they are.
        algorithm: that it learned with.
        episode: the pass.
        markets: that it was judged on together; the episode is of the first, with an account of its own.
        centre / spread: mean and standard deviation of every observed number over the episode, shape (D,).
    """

    model_id: str
    origin: DataOrigin
    algorithm: str
    episode: Episode
    centre: FloatArray
    spread: FloatArray
    markets: int = 1

    @classmethod
    def of(cls, model_id: str, origin: DataOrigin, algorithm: str, episode: Episode, markets: int = 1) -> AgentReplay:
        """Measure how far each number usually moves."""
        seen = episode.observed[episode.decided[episode.first_observed :]]
        if not len(seen):
            nothing = np.zeros(len(episode.names))
            return cls(model_id, origin, algorithm, episode, nothing, nothing, markets)
        centre, spread = seen.mean(axis=0, dtype=np.float64), seen.std(axis=0, dtype=np.float64)
        return cls(model_id, origin, algorithm, episode, centre, spread, markets)

    @property
    def title(self) -> str:
        """Name the market in the present language."""
        return market_title(self.episode.symbol, self.episode.timeframe, self.origin)

    def __len__(self) -> int:
        return len(self.episode)

    def unusual(self, seen: Float32Array) -> FloatArray:
        """Return how many standard deviations numbers are from their mean; 0 for what never changes, shape (D,)."""
        away = seen - self.centre
        return np.divide(away, self.spread, out=np.zeros(len(seen)), where=self.spread > _LEAST_SPREAD)

    @property
    def target(self) -> FloatArray:
        """Weights it chose, NaN where nothing is decided, shape (m,)."""
        return np.where(self.episode.decided, self.episode.target, np.nan)

    @property
    def hold(self) -> FloatArray | None:
        """Equity of buying and holding, shape (m,)."""
        return self.episode.rules.get(HOLD)

    def trades(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return bars in which it traded, the end of each that a mark stands at, and the side, shape (n,) each."""
        episode = self.episode
        rows = np.flatnonzero(episode.traded)
        sign = np.sign(episode.traded[rows])
        return rows.astype(np.float64), np.where(sign > 0, episode.low[rows], episode.high[rows]), sign

    def row_at(self, time_ns: int) -> int:
        """Return the bar in which a moment lies, or the one before it; the first where it is earlier."""
        return max(0, int(np.searchsorted(self.episode.time_ns, time_ns, side="right")) - 1)
