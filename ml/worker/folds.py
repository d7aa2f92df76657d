"""The job that judges a configuration by training it anew in every fold: runs in a spawned child (imports torch).

A finished fold is kept in the run's folder, a fold under way keeps its checkpoints there: started again with the same
run id, specification and plan, the job goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from core.clock import SystemClock
from core.data.atomic_file import write_atomically
from core.errors import UserError
from core.jobs import JobChannel, Json, stop_if_asked
from ml.api import CHECKPOINT_FILE, SPEC_FILE, ForecastMetrics, ResourceSpec, TrainingProgress, spec_hash
from ml.baselines import chosen_baselines
from ml.dataset import ForecastDataset, Part, PreparedBars, prepare_bars
from ml.evaluate_folds import (
    Folds,
    fold_dataset,
    fold_score,
    judged_parts,
    path_scores,
    paths_verdict,
    plan_folds,
    spread,
    walk_forward_metrics,
    walk_forward_verdict,
)
from ml.evaluation_plan import PLAN_FILE, EvaluationProgress, FoldsJob, FoldsResult, PathScore, plan_hash
from ml.evaluators import judged_pairs
from ml.features import MarketHistory
from ml.fold_store import Block, FoldOutcome, FoldRecord, SeedRecord, load_fold, save_fold
from ml.held_moves import held_apart
from ml.inference import Forecasts, SequenceForecaster
from ml.judge import PartForecasts, part_forecasts
from ml.lstm_trainer import TrainedForecaster, train_lstm_model
from ml.model_storage import history_lineage
from ml.run_metrics import sign_sharpe
from ml.run_resources import arithmetic
from ml.trial_claims import judged_tries, settle_claims
from ml.trial_ledger import EVALUATION, FINISHED, TrialLedger, TrialRecord, trial_record
from ml.validation import Fold
from ml.worker.counting import counted
from ml.worker.forecast import NetworkForecaster
from ml.worker.pinned_bars import load_pinned_history
from ml.worker.run_lock import run_lock


def run(spec: Json, channel: JobChannel) -> Json:
    """Train and judge every fold of a plan.

    Args:
        spec: `ml.evaluation_plan.FoldsJob` as JSON.
        channel: progress goes out as `ml.evaluation_plan.EvaluationProgress` as JSON.

    Returns:
        `ml.evaluation_plan.FoldsResult` as JSON.

    Raises:
        JobStopped: asked to stop; finished folds and the checkpoint of the one under way stay.
        UserError: unusable data or settings, too few bars, kept folds of another configuration, a full disk,
            or another process is at the evaluation.
    """
    job = FoldsJob.from_json(spec)
    with run_lock(Path(job.run_dir), job.run_id):
        return _run(job, channel)


def _run(job: FoldsJob, channel: JobChannel) -> Json:
    folder = Path(job.run_dir)
    channel.progress(EvaluationProgress("loading").to_json())
    history = load_pinned_history(job.spec.data, Path(job.candles_dir), folder)
    channel.progress(EvaluationProgress("features").to_json())
    prepared = prepare_bars(history, job.spec)
    layout = plan_folds(prepared, job.spec, job.plan)
    for name, value in ((SPEC_FILE, job.spec.to_json()), (PLAN_FILE, job.plan.to_json())):
        if not (folder / name).exists():
            write_atomically(folder / name, json.dumps(value, indent=1).encode())
    runner = _Runner(job, channel, history, prepared, len(layout.folds))
    outcomes = [runner.outcome(number, fold) for number, fold in enumerate(layout.folds, start=1)]
    runner.tell("judging", len(outcomes))
    return _result(job, outcomes, layout, runner.check_stop).to_json()


class _Runner:
    """Trains fold after fold; belongs to one thread."""

    def __init__(
        self, job: FoldsJob, channel: JobChannel, history: MarketHistory, prepared: PreparedBars, folds: int
    ) -> None:
        self._job, self._channel, self._prepared, self._folds = job, channel, prepared, folds
        self._spec, self._frame = job.spec, history.frame
        lineage = history_lineage(history)
        self._data_hash = str(lineage["sha256"])
        settings = replace(job.spec, resources=ResourceSpec()).to_json()
        text = json.dumps([settings, job.plan.to_json(), lineage, arithmetic(job.spec)], sort_keys=True)
        self._fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self._taken: list[float] = []  # seconds of finished folds

    def outcome(self, number: int, fold: Fold) -> FoldOutcome:
        """Return what came of a fold, from the folder where it is there already."""
        self.check_stop()
        folder = Path(self._job.run_dir) / f"fold-{number:03d}"
        found = load_fold(folder, self._fingerprint, self._spec.model.quantile_levels)
        if found is None:
            found = self._trained(number, fold, folder)
        TrialLedger(Path(self._job.trials_file)).append_all(self._finished_trials(number, found))
        self._taken.append(found.record.seconds)
        shutil.rmtree(folder / "training", ignore_errors=True)  # of no more use; what is left costs space only
        return found

    def check_stop(self) -> None:
        """Raise `JobStopped` where that is wanted."""
        stop_if_asked(self._channel)

    def tell(self, phase: str, number: int, progress: TrainingProgress | None = None, spent_s: float = 0.0) -> None:
        """Report progress within a fold."""
        told = EvaluationProgress(phase, fold=number, folds=self._folds, seeds=self._spec.evaluation.seeds)
        if progress is not None:
            told = replace(
                told,
                seed_index=progress.seed_index,
                epoch=progress.epoch,
                epochs=progress.epochs,
                eta_s=self._seconds_left(number, progress.eta_s, spent_s),
            )
        self._channel.progress(told.to_json())

    def _seconds_left(self, number: int, in_fold_s: float | None, spent_s: float) -> float | None:
        """Return the time to the end: this fold's, and for each that follows the mean of those done."""
        if in_fold_s is None:
            return None
        each = float(np.mean(self._taken)) if self._taken else spent_s + in_fold_s
        return in_fold_s + (self._folds - number) * each

    def _trained(self, number: int, fold: Fold, folder: Path) -> FoldOutcome:
        started = self._channel.clock()
        data = fold_dataset(self._prepared, fold)
        training = folder / "training"
        with counted(Path(self._job.trials_file), partial(self._trial, number)) as begin:

            def on_progress(progress: TrainingProgress) -> None:
                begin(progress.seed_index)
                self.tell("training", number, progress, self._channel.clock() - started)

            trained = train_lstm_model(
                data,
                self._spec,
                run_id=self._job.run_id,
                run_dir=training,
                on_progress=on_progress,
                should_stop=self._channel.should_stop,
                clock=self._channel.clock,
                resume=(training / CHECKPOINT_FILE).exists(),
            )
            self.tell("testing", number)
            self.check_stop()
            return self._judged(data, fold, trained, folder, self._channel.clock() - started)

    def _judged(
        self, data: ForecastDataset, fold: Fold, trained: TrainedForecaster, folder: Path, seconds: float
    ) -> FoldOutcome:
        """Forecast the test blocks as live trading would, and keep everything."""
        members = [NetworkForecaster(member) for member in trained.members]
        blocks = [self._block(data, part, members) for part in judged_parts(fold)]
        train, alone = data.rows(data.train), self._forecasts(members, data, data.valid)
        valid = _mean(alone)
        seeds = []
        for state, own in zip(trained.states, alone, strict=True):
            sharpe = sign_sharpe(own.median, data.held(own.rows, data.valid).log_return) if len(own.rows) else None
            seeds.append(SeedRecord(state.seed, len(state.history), state.best_epoch, state.best_loss, sharpe))
        record = FoldRecord(
            fingerprint=self._fingerprint,
            arrays_sha256="",
            train_from_ns=int(self._frame.time_ns[train[0]]),
            train_to_ns=int(self._frame.time_ns[train[-1]]),
            train_targets=len(train),
            valid_targets=len(data.rows(data.valid)),
            forecast_std=float(valid.median.std()) if len(valid.rows) else 0.0,
            target_std=float(data.log_return[train, 0].std()),
            seeds=tuple(seeds),
            seconds=seconds,
        )
        return save_fold(folder, record, blocks)

    def _block(self, data: ForecastDataset, part: Part, members: Sequence[SequenceForecaster]) -> Block:
        alone = self._forecasts(members, data, part)
        test = _mean(alone)
        if len(test.rows) < 2:
            raise UserError(
                "A fold holds no stretch without a gap that is longer than the burn-in.",
                "Use a shorter burn-in, fewer folds or data with fewer gaps.",
            )
        pairs = judged_pairs(
            data,
            self._frame,
            test.rows,
            test.forecasts,
            self._spec.model.quantile_levels,
            flat_band=self._spec.model.flat_band,
            baselines=chosen_baselines(boosting=self._spec.evaluation.boosting),
            before_baseline=lambda _: self.check_stop(),
        )
        first = np.stack([own.forecasts.quantiles[:, 0] for own in alone])
        return Block(tuple(pairs), data.held(test.rows, part), first)

    def _forecasts(
        self, members: Sequence[SequenceForecaster], data: ForecastDataset, part: Part
    ) -> list[PartForecasts]:
        return [part_forecasts(member, data, part, self._spec.training.burn_in) for member in members]

    def _trial(self, number: int, index: int, status: str) -> TrialRecord:
        """Return the record of one seed in one fold, whatever came of it."""
        job, seed = self._job, self._spec.training.seed + index
        hashes = self._data_hash, plan_hash(spec_hash(self._spec), job.plan)
        now_ns, part = SystemClock().now_ns(), f"fold-{number:03d}"
        return trial_record(EVALUATION, self._spec, job.run_id, hashes, seed, status, now_ns, part=part)

    def _finished_trials(self, number: int, outcome: FoldOutcome) -> list[TrialRecord]:
        levels = self._spec.model.quantile_levels
        quantiles = np.concatenate([block.seed_quantiles for block in outcome.blocks], axis=1)
        moved = held_apart([block.held for block in outcome.blocks]).log_return
        return [
            replace(
                self._trial(number, index, FINISHED),
                valid_sharpe=record.valid_sharpe,
                test_sharpe=sign_sharpe(quantiles[index][:, len(levels) // 2], moved),
                score=record.valid_loss,
                score_name="valid_loss",
            )
            for index, record in enumerate(outcome.record.seeds)
        ]


def _mean(alone: Sequence[PartForecasts]) -> PartForecasts:
    """Return the forecasts of several networks as one, as `ml.recurrent.EnsembleForecaster` gives them."""
    chances = [own.forecasts.probabilities for own in alone]
    known = [each for each in chances if each is not None]
    quantiles = np.mean([own.forecasts.quantiles for own in alone], axis=0)
    return PartForecasts(alone[0].rows, Forecasts(quantiles, np.mean(known, axis=0) if known else None))


def _result(
    job: FoldsJob, outcomes: Sequence[FoldOutcome], layout: Folds, check_stop: Callable[[], None]
) -> FoldsResult:
    spec = job.spec
    folds = tuple(fold_score(number, outcome, spec) for number, outcome in enumerate(outcomes, start=1))
    ledger = TrialLedger(Path(job.trials_file))
    metrics: ForecastMetrics | None = None
    paths: tuple[PathScore, ...] = ()
    if layout.splits is None:
        metrics = walk_forward_metrics(outcomes, spec, check_stop=check_stop)
        metrics = settle_claims(metrics, ledger, spec)
        over = spread(folds, spec.training.seed)
        verdict = walk_forward_verdict(metrics, folds)
    else:
        tries = judged_tries(ledger, spec.data)
        paths = path_scores(outcomes, layout.splits, spec, tries)
        over = spread(paths, None)
        verdict = paths_verdict(over, paths, tries)
    return FoldsResult(
        run_id=job.run_id,
        symbol=spec.data.symbol,
        timeframe=spec.data.timeframe,
        venue=spec.data.venue,
        plan=job.plan,
        folds=folds,
        spread=over,
        paths=paths,
        metrics=metrics,
        verdict=verdict,
        seconds=sum(outcome.record.seconds for outcome in outcomes),
    )
