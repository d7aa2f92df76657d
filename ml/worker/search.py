"""The search job: runs in a spawned child under `core.job_supervisor`, and trains in children of its own. Torch-free.

The child plans, keeps the books and decides; `ml.worker.search_trial` trains. Its processes are jobs, too: they die
with it, however it ends. While the search is paused no trial begins; those under way wait at the end of their epoch
for the answer whether to go on, or come to their end where nobody is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from core.data.atomic_file import write_atomically
from core.domain.candles import Timeframe
from core.errors import UserError
from core.jobs import JobCancelled, JobChannel, JobFailed, JobFinished, JobProgress, JobStopped, Json
from ml.api import ForecastSpec
from ml.crew import Crew, children_allowed
from ml.dataset import ForecastDataset, build_dataset
from ml.features import MarketHistory
from ml.model_storage import history_lineage
from ml.search import PlannedTrial, SearchStudy, best_trials, overfitting
from ml.search_results import (
    SEARCH_FILE,
    STUDY_FILE,
    WINNER_FILE,
    FinalistResult,
    SearchJob,
    SearchProgress,
    SearchResult,
    SeedOutcome,
    TrialResult,
)
from ml.search_rows import judged_rows
from ml.search_spec import SearchSpec
from ml.search_tasks import ENDED, TRIAL_JOB, EpochAnswer, TrialReport, TrialTask, TrialWorkerJob
from ml.spec_file import spec_to_toml
from ml.trial_ledger import CANCELLED, FAILED, FINISHED, PRUNED, TrialLedger
from ml.worker.counting import search_record
from ml.worker.pinned_bars import load_pinned_history
from ml.worker.run_lock import run_lock

_MOST_FAILURES = 10  # in a row
_WAIT_SECONDS = 0.01
_SMALLEST_SHARE = 0.05
_FINALIST = "finalist-"


def run(spec: Json, channel: JobChannel) -> Json:
    """Search for settings.

    Args:
        spec: `ml.search_results.SearchJob` as JSON.
        channel: progress goes out as `ml.search_results.SearchProgress` as JSON.

    Returns:
        `ml.search_results.SearchResult` as JSON.

    Raises:
        JobStopped: asked to stop; every trial that ended stays, those under way are repeated when it goes on.
        UserError: unusable data or settings, a full disk, or trials that fail one after the other.
    """
    job = SearchJob.from_json(spec)
    run_dir = Path(job.run_dir)
    with ExitStack() as stack:
        stack.enter_context(children_allowed())
        stack.enter_context(run_lock(run_dir, job.run_id))
        # Also when it goes on: it may have been given more trials or processes.
        write_atomically(run_dir / SEARCH_FILE, json.dumps(job.spec.to_json(), indent=1).encode())
        return _Search(job, channel, stack).run().to_json()


class _Workers:
    """The processes that train."""

    def __init__(self, job: TrialWorkerJob, run_id: str, count: int, channel: JobChannel) -> None:
        self._channel = channel
        self._crew: Crew[TrialTask] = Crew(run_id, TRIAL_JOB, job.to_json(), count, channel.log)

    def close(self) -> None:
        """End them at once: whatever they are at is begun anew later."""
        self._crew.close()

    @property
    def free(self) -> bool:
        """Whether one waits for work."""
        return self._crew.free

    @property
    def keys(self) -> tuple[str, ...]:
        """What they are at."""
        return tuple(task.key for task in self._crew.tasks)

    def submit(self, task: TrialTask) -> None:
        """Give a task to a free one."""
        self._crew.submit(task)

    def answer(self, key: str, *, prune: bool) -> None:
        """Say whether a trial goes on."""
        for task in self._crew.tasks:
            if task.key == key:
                self._crew.tell(task, EpochAnswer(key, prune))

    def reports(self) -> Iterator[TrialReport]:
        """Yield what they have said since the last call; a process that died has failed its trial."""
        for task, event in self._crew.events(_WAIT_SECONDS):
            if not isinstance(event, JobProgress):
                yield self._died(task, event)
                continue
            report = TrialReport.from_json(event.payload)
            if report.kind == ENDED and task is not None:
                self._crew.release(task)
            yield report

    def _died(self, task: TrialTask | None, event: JobFailed | JobCancelled | JobFinished) -> TrialReport:
        message = event.message if isinstance(event, JobFailed) else "The process ended."
        if isinstance(event, JobFailed) and event.details:
            self._channel.log("ERROR", event.details)
        if task is None:
            remedy = event.remedy if isinstance(event, JobFailed) else ""
            raise UserError(message, remedy)
        return TrialReport(ENDED, task.key, status=FAILED, message=message)


class _Search:
    """One session of a search."""

    def __init__(self, job: SearchJob, channel: JobChannel, stack: ExitStack) -> None:
        self._job, self._channel, self._spec = job, channel, job.spec
        self._run_dir = Path(job.run_dir)
        self._begun = channel.clock()
        self._progress = SearchProgress(job.run_id, "loading", trials=job.spec.trials)
        self._show()
        history = load_pinned_history(job.spec.base.data, Path(job.candles_dir), self._run_dir)
        self._data_hash = str(history_lineage(history)["sha256"])
        base = build_dataset(history, job.spec.base)
        self._fixed = fixed_base(job.spec, history, base)
        self._ledger = TrialLedger(Path(job.trials_file))
        self._study = stack.enter_context(closing(SearchStudy(self._run_dir / STUDY_FILE, job.spec)))
        self._study.bind(json.dumps(history_lineage(history), sort_keys=True))
        judged = self._study.judged_rows(lambda: judged_rows(job.spec, history, base))
        self._former_seconds = self._study.seconds
        for result in self._study.recover():
            self._count(result)
        worker = TrialWorkerJob(
            self._fixed, job.candles_dir, job.run_dir, job.trials_file, job.run_id, self._data_hash, judged
        )
        self._workers = stack.enter_context(closing(_Workers(worker, job.run_id, job.spec.processes, channel)))
        self._failures = 0
        self._ending = ""  # what there is to say about an end before all trials
        self._limited_from = self._begun
        self._took = [result.seconds for result in self._study.results() if result.seconds]

    def run(self) -> SearchResult:
        """Run the trials, then the finalists."""
        self._try_all()
        finalists = self._repeat_best()
        return self._result(finalists)

    # --- trials ---------------------------------------------------------------------------------------------------

    def _try_all(self) -> None:
        self._limited_from = self._channel.clock()
        self._tell()
        wanted = True
        while wanted or self._workers.keys:
            self._check_stop()
            while wanted and self._workers.free:
                planned = None if self._out_of_time() else self._study.ask()
                if planned is None:
                    wanted = False
                    self._say_if_exhausted()
                else:
                    self._workers.submit(self._task(planned))
            for report in self._workers.reports():
                self._take(report)

    def _say_if_exhausted(self) -> None:
        if self._study.exhausted:
            self._ending = (
                f"No further combination was found that can be trained and is new: the search ends after "
                f"{len(self._study.results()):,} of {self._spec.trials:,} trials."
            )
            self._channel.log("WARNING", self._ending)
            self._tell()

    def _out_of_time(self) -> bool:
        limit = self._spec.timeout_min * 60.0
        return bool(limit) and self._channel.clock() - self._limited_from >= limit

    def _task(self, planned: PlannedTrial) -> TrialTask:
        return TrialTask(str(planned.number), self._trial_spec(planned.spec), watched=self._spec.pruner != "none")

    def _trial_spec(self, spec: ForecastSpec) -> ForecastSpec:
        """Return a configuration as it is tried: on fixed bars, with one thread, unless for more by the search."""
        fixed = self._fixed
        return replace(
            spec,
            data=fixed.data,
            split=fixed.split,
            resources=fixed.resources,
            evaluation=replace(spec.evaluation, seeds=self._spec.seeds),
        )

    def _take(self, report: TrialReport) -> None:
        number = int(report.key)
        if report.kind != ENDED:
            assert report.crps is not None
            self._workers.answer(report.key, prune=self._study.report(number, report.epoch, report.crps))
            return
        planned = self._study.spec_of(number)
        self._book(report.key, self._trial_spec(planned), report.status, report.seeds)
        self._study.finish(number, report.status, report.seeds, report.seconds, report.message)
        self._study.spend(self._seconds())
        if report.status == FINISHED:
            self._took.append(report.seconds)
        self._failures = self._failures + 1 if report.status == FAILED else 0
        if self._failures >= _MOST_FAILURES:
            raise UserError(
                f"{_MOST_FAILURES} trials failed one after the other; the last one said: {report.message}",
                "Change the range of the search, or the base configuration.",
            )
        self._tell(f"Trial {number + 1} failed: {report.message}" if report.status == FAILED else "")

    # --- finalists ------------------------------------------------------------------------------------------------

    def _repeat_best(self) -> tuple[FinalistResult, ...]:
        """Train the best configurations again with seeds that had no part in their being the best."""
        results = self._study.results()
        best = best_trials(results, self._spec.finalists)
        failed = [result for result in results if result.status == FAILED]
        if not best and failed:
            raise UserError(
                f"No trial came to an end; the last that failed said: {failed[-1].message}",
                "Change the range of the search, or the base configuration.",
            )
        if not best:
            raise UserError("No trial came to an end, so there is nothing to choose from.", "Search longer.")
        pending = [trial.number for trial in best if self._study.finalist(trial.number) is None]
        self._progress = replace(self._progress, phase="finalists", finalists=len(best), eta_s=None, note=self._ending)
        self._show(finalists_done=len(best) - len(pending))
        while pending or self._workers.keys:
            self._check_stop()
            while pending and self._workers.free:
                number = pending.pop(0)
                self._workers.submit(TrialTask(f"{_FINALIST}{number}", self._finalist_spec(number), watched=False))
            for report in self._workers.reports():
                self._take_finalist(report)
        found = [kept for trial in best if (kept := self._study.finalist(trial.number)) is not None]
        return tuple(sorted(found, key=lambda finalist: (finalist.crps, finalist.number)))

    def _finalist_spec(self, number: int) -> ForecastSpec:
        spec = self._trial_spec(self._study.spec_of(number))
        return replace(
            spec,
            training=replace(spec.training, seed=spec.training.seed + self._spec.seeds),
            evaluation=replace(spec.evaluation, seeds=self._spec.finalist_seeds),
        )

    def _take_finalist(self, report: TrialReport) -> None:
        number = int(report.key.removeprefix(_FINALIST))
        self._book(report.key, self._finalist_spec(number), report.status, report.seeds)
        if report.status != FINISHED:
            raise UserError(
                f"Trial {number + 1} could not be repeated: {report.message}", "Continue the search to retry."
            )
        scores = [seed.crps for seed in report.seeds]
        self._study.keep_finalist(
            FinalistResult(number, float(np.mean(scores)), float(np.std(scores, ddof=1)), report.seeds)
        )
        self._study.spend(self._seconds())
        self._show(finalists_done=self._progress.finalists_done + 1)

    # --- result ---------------------------------------------------------------------------------------------------

    def _result(self, finalists: tuple[FinalistResult, ...]) -> SearchResult:
        winner = finalists[0].number
        # The winner's test part stays the one that no trial has seen; bars that come later join it.
        spec = replace(self._study.spec_of(winner), split=self._fixed.split)
        file = self._run_dir / WINNER_FILE
        write_atomically(file, spec_to_toml(spec, full=True).encode())
        results = self._study.results()
        self._show(phase="judging")
        result = SearchResult(
            run_id=self._job.run_id,
            symbol=spec.data.symbol,
            timeframe=spec.data.timeframe,
            trials=results,
            finalists=finalists,
            winner=winner,
            spec=spec,
            config_file=str(file),
            importance=self._study.importance(),
            overfitting=overfitting(self._run_dir, results),
            seconds=self._seconds(),
        )
        self._show(phase="done")
        return result

    # --- books ----------------------------------------------------------------------------------------------------

    def _count(self, result: TrialResult) -> None:
        """Put a trial that was interrupted into the ledger."""
        spec = self._trial_spec(self._study.spec_of(result.number))
        self._book(str(result.number), spec, result.status, result.seeds)

    def _book(self, key: str, spec: ForecastSpec, status: str, seeds: tuple[SeedOutcome, ...]) -> None:
        """Write one record per network into the ledger; those that were not measured have no figures."""
        measured = {seed.seed: seed for seed in seeds}
        first = spec.training.seed
        count = 1 if status == PRUNED else spec.evaluation.seeds  # only the first network is ever given up
        self._ledger.append_all(
            replace(
                search_record(self._job.run_id, key, spec, self._data_hash, seed, status),
                valid_sharpe=measured[seed].valid_sharpe if seed in measured else None,
                score=measured[seed].crps if seed in measured else None,
                score_name="crps",
            )
            for seed in range(first, first + count)
        )

    def _check_stop(self) -> None:
        if not self._channel.should_stop():
            return
        repeated = [key for key in self._workers.keys if key.startswith(_FINALIST)]
        self._workers.close()
        for result in self._study.interrupt():
            self._count(result)
        for key in repeated:
            spec = self._finalist_spec(int(key.removeprefix(_FINALIST)))
            self._book(key, spec, CANCELLED, ())
        self._study.spend(self._seconds())
        raise JobStopped

    def _seconds(self) -> float:
        return self._former_seconds + self._channel.clock() - self._begun

    def _tell(self, note: str = "") -> None:
        """Report how far the trials are."""
        results = self._study.results()
        by_status = [result.status for result in results if result.status != CANCELLED]
        best = best_trials(results, 1)
        left = self._spec.trials - len(by_status)
        known = self._took and not self._ending
        eta = left * float(np.mean(self._took)) / self._spec.processes if known else None
        self._progress = replace(
            self._progress,
            phase="searching",
            done=len(by_status),
            pruned=by_status.count(PRUNED),
            failed=by_status.count(FAILED),
            best=best[0].crps if best else None,
            best_trial=best[0].number if best else None,
            eta_s=eta,
            scores=tuple(result.crps for result in results),
            note=note or self._ending,
        )
        self._show()

    def _show(self, *, phase: str | None = None, finalists_done: int | None = None) -> None:
        progress = self._progress
        if phase is not None:
            progress = replace(progress, phase=phase, eta_s=0.0)
        if finalists_done is not None:
            progress = replace(progress, finalists_done=finalists_done)
        self._progress = progress
        self._channel.progress(progress.to_json())


def fixed_base(spec: SearchSpec, history: MarketHistory, data: ForecastDataset) -> ForecastSpec:
    """Return the base as all trials share it: the same bars, borders by date, and one thread each.

    With shares instead of dates, features with a longer warm-up would move the borders: trials would be measured on
    different bars, and some of one trial's test part would be in the validation part of another.
    """
    frame, base = history.frame, spec.base
    bar = Timeframe(base.data.timeframe).ns
    share = base.resources.memory_share / spec.processes
    return replace(
        base,
        data=replace(base.data, start_ns=int(frame.time_ns[0]), end_ns=int(frame.time_ns[-1]) + bar),
        split=replace(
            base.split,
            valid_from=_date(int(frame.time_ns[data.valid.start])),
            test_from=_date(int(frame.time_ns[data.test.start])),
        ),
        resources=replace(base.resources, threads=1, memory_share=max(_SMALLEST_SHARE, share)),
    )


def _date(instant_ns: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant_ns // 1_000)
    return moment.replace(tzinfo=None).isoformat()
