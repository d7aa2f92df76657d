"""How long a training run still takes, told so that it runs down evenly. Qt-free, pure; GUI thread.

A trainer measures its speed anew with every batch, and a busy machine makes that jump by half. What is learnt once is
judged afterwards, which takes its time as well: it is expected from the speed of the learning.
"""

from __future__ import annotations

import math

from ml.api import TrainingProgress

_CALM_S = 20.0  # a change of speed shows after so long
_YOUNG_S = 2.0  # and at once where little was measured so far
_EXPORT_S = 3.0  # writing the network and the package, whatever its size


class TimeLeft:
    """When one run will have ended, as far as its messages tell.

    Args:
        after: time from the end of the learning to the model, as a share of the learning of every epoch.
    """

    def __init__(self, after: float = 0.0) -> None:
        self._after = after
        self._ends_s: float | None = None
        self._rest_s = _EXPORT_S
        self._since_s = self._heard_s = 0.0
        self._epoch: tuple[int, int] | None = None
        self._judging = False

    def hear(self, progress: TrainingProgress, now_s: float) -> None:
        """Take a message, heard at `now_s` on any clock."""
        if progress.paused:
            self._ends_s = None
        elif progress.phase == "training" and progress.eta_s is not None:
            self._hear_learning(progress, progress.eta_s, now_s)
        elif progress.phase in ("exporting", "testing") and self._ends_s is not None and not self._judging:
            self._judging, self._ends_s = True, now_s + self._rest_s

    def left(self, now_s: float) -> float | None:
        """Return the seconds to the end; None where that is not known, or was to be before now."""
        if self._ends_s is None or now_s > self._ends_s:
            return None
        return self._ends_s - now_s

    def _hear_learning(self, progress: TrainingProgress, eta_s: float, now_s: float) -> None:
        epoch = (progress.seed_index, progress.epoch)
        if epoch != self._epoch:
            if self._epoch is not None and epoch[0] != self._epoch[0]:
                self._since_s = now_s  # the network before may have stopped early: what was expected is out of date
            self._epoch = epoch
            todo = progress.epochs * (progress.seeds - progress.seed_index) - progress.epoch
            if todo > 0:
                self._rest_s = _EXPORT_S + self._after * eta_s / todo * progress.epochs * progress.seeds
        ends_s = now_s + eta_s + self._rest_s
        if self._ends_s is None:
            self._ends_s, self._since_s = ends_s, now_s
        else:
            span_s = now_s - self._heard_s
            weight = max(1.0 - math.exp(-span_s / _CALM_S), span_s / (now_s - self._since_s + _YOUNG_S))
            self._ends_s += weight * (ends_s - self._ends_s)
        self._heard_s, self._judging = now_s, False
