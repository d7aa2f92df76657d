"""Training runs as the panel keeps them. Qt-free; GUI thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.flows.origin_text import data_title
from core.domain.data_origin import caution
from ml.api import DataRange, EpochRecord, TrainingProgress, TrainingResult


class RunState(StrEnum):
    """Life of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # the program ended before the run did

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self in (RunState.FINISHED, RunState.FAILED, RunState.CANCELLED, RunState.INTERRUPTED)


_BEFORE = ("loading", "features")


@dataclass(slots=True)
class TrainingRun:
    """One run and all that was heard of it.

    Attributes:
        run_id: identity.
        data: which bars it learns from; None where that is not known.
        state: see `RunState`.
        progress: newest message.
        train / valid: loss by epoch.
        result: once finished.
        message / remedy: once failed.
        spec: what was asked for (`ml.api.ForecastSpec` as JSON); None where that is not known.
        resumable: it ended early and has a checkpoint to go on from.
        begun_ns: when it was started, or went on, ns UTC.
    """

    run_id: str
    data: DataRange | None = None
    state: RunState = RunState.QUEUED
    progress: TrainingProgress | None = None
    train: dict[int, float] = field(default_factory=dict)
    valid: dict[int, float] = field(default_factory=dict)
    result: TrainingResult | None = None
    message: str = ""
    remedy: str = ""
    spec: dict[str, Any] | None = None
    resumable: bool = False
    begun_ns: int | None = None

    @property
    def title(self) -> str:
        """What a person calls it, in the present language."""
        return self.run_id if self.data is None else data_title(self.data)

    @property
    def caution(self) -> str:
        """What must be said beside its result, in English; "" where its bars are a real market's, or not known."""
        return "" if self.data is None else caution(self.data.origin)

    def begin_again(self) -> None:
        """Wait for its turn once more; the losses of the finished epochs stay."""
        self.state, self.progress, self.result = RunState.QUEUED, None, None
        self.message = self.remedy = ""
        self.resumable = False

    def take_history(self, history: Iterable[EpochRecord]) -> None:
        """Take the losses of finished epochs in place of what progress messages told."""
        records = tuple(history)
        self.train = {record.epoch: record.train_loss for record in records}
        self.valid = {record.epoch: record.valid_loss for record in records}

    def take_progress(self, progress: TrainingProgress) -> None:
        """Add a progress message; after the end, or while cancelling, it changes no state."""
        if self.state.is_over:
            return
        if self.state is RunState.QUEUED:
            self.state = RunState.RUNNING
        self.progress = progress
        if progress.train_loss is not None:
            self.train[progress.epoch] = progress.train_loss
        if progress.valid_loss is not None:
            self.valid[progress.epoch] = progress.valid_loss

    def take_result(self, result: TrainingResult) -> None:
        """Finish; the result's own history replaces what progress messages may have skipped."""
        self.state, self.result = RunState.FINISHED, result
        self.take_history(result.history)

    @property
    def best_epoch(self) -> int | None:
        """Epoch with the lowest validation loss."""
        if self.result is not None:
            return self.result.best_epoch or None
        if self.progress is not None:
            return self.progress.best_epoch or None
        return min(self.valid, key=self.valid.__getitem__) if self.valid else None

    @property
    def learns(self) -> bool:
        """Whether the newest message counts epochs; before the training it counts bars, or nothing."""
        return self.progress is not None and self.progress.epochs > 0 and self.progress.phase not in _BEFORE

    @property
    def share(self) -> float | None:
        """How much is done, 0 to 1; None while it cannot be told."""
        if self.state is RunState.FINISHED:
            return 1.0
        if self.progress is None or self.progress.epochs <= 0 or not (self.learns or self.progress.epoch):
            return None
        return min(1.0, self.progress.epoch / self.progress.epochs)
