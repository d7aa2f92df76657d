"""How the price moves while what was decided at judged bars is held. Pure values, any thread; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.arrays import FloatArray, IntArray
from ml.trading_metrics import bars_per_year


@dataclass(frozen=True, slots=True, eq=False)
class HeldMoves:
    """From each judged bar's close to the close at which the next decision is taken.

    A position is decided anew at judged bars only, and held until the next of them: over missing bars, over the warm-up
    behind them and over the last bars before them, which have no target of the longest horizon.

    Attributes:
        log_close: logarithms of the two closes, shape (n, 2).
        time_ns: open times of their bars, ns UTC, shape (n, 2).
    """

    log_close: FloatArray
    time_ns: IntArray

    @classmethod
    def between(
        cls, log_close: FloatArray, time_ns: IntArray, rows: IntArray, left_out: Sequence[tuple[int, int]] = ()
    ) -> HeldMoves:
        """Return the moves between judged bars.

        Args:
            log_close / time_ns: of all bars, shape (m,).
            rows: judged bars, ascending, each with a bar behind it, shape (n,).
            left_out: half-open intervals of rows on purpose not judged. Nothing is held over them, because a model may
                have learnt from them: the bar before one is held for one bar.
        """
        until = rows + 1
        until[:-1] = rows[1:]
        for start, _ in left_out:
            behind = int(np.searchsorted(rows, start))
            if behind:
                until[behind - 1] = rows[behind - 1] + 1
        ends = np.stack([rows, until], axis=1)
        return cls(log_close[ends], time_ns[ends])

    @property
    def log_return(self) -> FloatArray:
        """Log return while each position is held, shape (n,)."""
        result: FloatArray = self.log_close[:, 1] - self.log_close[:, 0]
        return result

    @property
    def bars_per_year(self) -> float:
        """How many such bars a year of the time in which positions are held has."""
        return bars_per_year(len(self.time_ns), int((self.time_ns[:, 1] - self.time_ns[:, 0]).sum()))


def held_on(parts: Sequence[HeldMoves]) -> HeldMoves:
    """Return parts that follow each other in time as one: the last position of each is held until the next begins."""
    joined = held_apart(parts)
    behind = np.cumsum([len(part.time_ns) for part in parts])[:-1]
    log_close, time_ns = joined.log_close.copy(), joined.time_ns.copy()
    log_close[behind - 1, 1], time_ns[behind - 1, 1] = log_close[behind, 0], time_ns[behind, 0]
    return HeldMoves(log_close, time_ns)


def held_apart(parts: Sequence[HeldMoves]) -> HeldMoves:
    """Return parts with something else between them as one; nothing is held in between."""
    return HeldMoves(
        np.concatenate([part.log_close for part in parts]), np.concatenate([part.time_ns for part in parts])
    )
