"""One evaluation of a stored model on newer bars: a thread that lives as long as its child. Worker thread.

The child dies with this thread, as every job's does.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QObject, Signal

from app.i18n import tr
from app.workers.base import WorkerThread
from core.clock import Clock
from core.config import DataPaths
from core.errors import UserError
from core.jobs import JobCancelled, JobFailed, JobFinished, JobLog, JobProgress
from ml.evaluation_plan import EVALUATE_MODEL_JOB, EvaluationProgress, ModelResult

if TYPE_CHECKING:
    from ml.evaluation_plan import ModelJob

log = logging.getLogger(__name__)

_POLL_S = 0.1
_FLUSH_TIMEOUT_S = 20.0


class Books(Protocol):
    """Where live candles wait for the disk; `app.workers.store.StoreWorker` is one."""

    def flush(self) -> Future[None]:
        """Bring everything given so far to the disk."""
        ...


class ModelEvaluationWorker(WorkerThread):
    """Judges a model in a child process and keeps the result.

    Attributes:
        model_id: which.

    Signals:
        progressed(object): a `ml.evaluation_plan.EvaluationProgress`.
        evaluated(object): the `ml.evaluation_plan.ModelResult` that was kept.
    """

    progressed = Signal(object)
    evaluated = Signal(object)

    def __init__(
        self, paths: DataPaths, model_id: str, books: Books, clock: Clock, parent: QObject | None = None
    ) -> None:
        super().__init__("model-evaluation", parent)
        self.model_id = model_id
        self._paths, self._books, self._clock = paths, books, clock

    def work(self) -> None:
        from ml.newer_bars import newer_bars_job

        self._wait_for_the_disk()
        if self.stop_requested:
            return
        result = self._run(newer_bars_job(self._paths, self.model_id))
        if result is not None:
            from ml.evaluation_records import save_evaluation

            save_evaluation(self._paths.models, result, self._clock)
            self.evaluated.emit(result)

    def _wait_for_the_disk(self) -> None:
        """Let the newest live candles reach the files that the child reads; the store reports a failed write."""
        flushed, until = self._books.flush(), time.monotonic() + _FLUSH_TIMEOUT_S
        while not flushed.done() and not self.stop_requested and time.monotonic() < until:
            time.sleep(_POLL_S)

    def _run(self, job: ModelJob) -> ModelResult | None:
        """Return what the child found; None where it was stopped.

        Raises:
            UserError: it failed.
        """
        from core.job_supervisor import (
            JobSupervisor,  # brings multiprocessing, which the first window does not wait for
        )

        with JobSupervisor() as supervisor:
            try:
                supervisor.start(f"evaluation-{self.model_id}", EVALUATE_MODEL_JOB, job.to_json())
            except OSError as exc:  # no memory or no process left for a child
                message = tr("The process cannot be started: {reason}.", reason=exc.strerror or str(exc))
                raise UserError(message, tr("Close other programs and try again.")) from exc
            while True:
                if self.stop_requested:
                    supervisor.request_stop()
                for event in supervisor.poll(_POLL_S):
                    if isinstance(event, JobProgress):
                        self.progressed.emit(EvaluationProgress.from_json(event.payload))
                    elif isinstance(event, JobLog):
                        log.log(logging.getLevelNamesMapping().get(event.level.upper(), logging.INFO), event.message)
                    elif isinstance(event, JobFinished):
                        return ModelResult.from_json(event.result)
                    elif isinstance(event, JobCancelled):
                        return None
                    elif isinstance(event, JobFailed):
                        raise self._failure(event)

    def _failure(self, event: JobFailed) -> UserError:
        """Return why there is no result; what a supervisor advises about a process that died is meant for training."""
        if event.user_error:
            return UserError(event.message, event.remedy)
        log.error("the evaluation of %s failed: %s", self.model_id, event.details)
        return UserError(event.message, tr("Close other programs, which may need the memory, and judge it again."))
