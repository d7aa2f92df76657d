"""How the networks of a training run learn, one after the other. Qt-free; GUI thread, and the store's for past runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from ml.api import EpochRecord, TrainingProgress


class Series(StrEnum):
    """What is drawn by epoch."""

    VALID = "valid"
    TRAIN = "train"
    CRPS = "crps"
    RATE = "rate"
    SPEED = "speed"


@dataclass(slots=True)
class Network:
    """One network of a run.

    Attributes:
        curves: figure by epoch, for each series.
        best_epoch: whose weights it has so far; 0 where no epoch was better than the untrained network, None while
            that is not known.
    """

    curves: dict[Series, dict[int, float]] = field(default_factory=lambda: {series: {} for series in Series})
    best_epoch: int | None = None

    @property
    def epochs(self) -> int:
        """How many epochs have ended."""
        return max(self.curves[Series.VALID], default=0)

    def take(self, progress: TrainingProgress) -> None:
        """Keep what a message says of its last finished epoch; rate and speed are those at its end."""
        if progress.epoch < 1:
            return
        found = {
            Series.TRAIN: progress.train_loss,
            Series.VALID: progress.valid_loss,
            Series.CRPS: progress.crps,
            Series.RATE: progress.learning_rate or None,
            Series.SPEED: progress.targets_per_s or None,
        }
        for series, value in found.items():
            if value is None:
                continue
            if series in (Series.RATE, Series.SPEED):
                self.curves[series].setdefault(progress.epoch, value)
            else:
                self.curves[series][progress.epoch] = value
        self.best_epoch = progress.best_epoch


def network_of(history: Iterable[EpochRecord], best_epoch: int | None = None) -> Network:
    """Return a network with the figures of its finished epochs."""
    records = tuple(history)
    curves = {
        Series.TRAIN: {record.epoch: record.train_loss for record in records},
        Series.VALID: {record.epoch: record.valid_loss for record in records},
        Series.CRPS: {record.epoch: record.crps for record in records if record.crps is not None},
        Series.RATE: {record.epoch: record.learning_rate for record in records if record.learning_rate},
        Series.SPEED: {record.epoch: record.targets_per_s for record in records if record.targets_per_s},
    }
    return Network(curves, best_epoch)


def histories(records: Iterable[EpochRecord]) -> list[list[EpochRecord]]:
    """Divide the epochs of a run into those of its networks: each counts from one."""
    found: list[list[EpochRecord]] = []
    for record in records:
        if not found or record.epoch <= found[-1][-1].epoch:
            found.append([])
        found[-1].append(record)
    return found
