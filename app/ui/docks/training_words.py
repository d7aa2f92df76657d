"""What the state of any training run is called, and what it means. Qt-free, pure, any thread."""

from __future__ import annotations

from app.flows.sentence_text import local_text
from app.i18n import tr
from app.ui.docks.training_runs import RunState, TrainingRun


def state_headline(run: TrainingRun, after: str = "") -> str:
    """Return the state in a few words; `after` names the run it waits for."""
    if run.state is RunState.QUEUED and after:
        return tr("Starts when {run} has ended", run=after)
    words = {
        RunState.QUEUED: tr("Waiting for its turn …"),
        RunState.HELD: tr("On hold"),
        RunState.STARTING: tr("Starting the trainer …"),
        RunState.RUNNING: tr("Training"),
        RunState.PAUSING: tr("Pausing …"),
        RunState.PAUSED: tr("Paused"),
        RunState.CANCELLING: tr("Cancelling …"),
        RunState.CANCELLED: tr("Cancelled"),
        RunState.INTERRUPTED: tr("Interrupted"),
        RunState.FAILED: tr("Training failed"),
    }
    return words.get(run.state, tr("Finished"))


def state_note(run: TrainingRun) -> tuple[str, str] | None:
    """Return what a state means, and the role of its look; None where it speaks for itself."""
    if run.state is RunState.FAILED:
        return f"{local_text(run.message)} {local_text(run.remedy)}".strip(), "danger"
    if run.state is RunState.CANCELLED:
        return _ended(run, _stopped_with(run), _stopped_early(run)), "muted"
    if run.state is RunState.INTERRUPTED:
        return _ended(run, _cut_off_with(run), _cut_off(run)), "muted"
    if run.state is RunState.FINISHED:
        return tr("Its figures cannot be read: {reason}", reason=local_text(run.message)), "muted"
    waiting = {
        RunState.HELD: tr("It is not started, and others may pass it, until you let it continue."),
        RunState.PAUSING: tr("It pauses at the end of the step it is at."),
        RunState.PAUSED: tr("It stands still, keeps its memory and its place, and goes on as if nothing had been."),
    }
    return (waiting[run.state], "muted") if run.state in waiting else None


def _ended(run: TrainingRun, kept: str, lost: str) -> str:
    return kept if run.resumable else lost


def _only_forecaster(run: TrainingRun) -> bool:
    """Whether all that a run can go on from is the forecaster that its agent sees through."""
    return run.agent is not None and not any(seed.records for seed in run.agent.seeds.values())


def _stopped_with(run: TrainingRun) -> str:
    if _only_forecaster(run):
        return tr("The run stopped at your request, before its first validation: only the forecaster is kept.")
    return tr("The run stopped at your request. Its checkpoint is kept.")


def _cut_off_with(run: TrainingRun) -> str:
    if _only_forecaster(run):
        return tr("The program ended before this run did, before its first validation: only the forecaster is kept.")
    return tr("The program ended before this run did. Its checkpoint is kept.")


def _stopped_early(run: TrainingRun) -> str:
    if run.agent is not None:
        return tr("The run stopped at your request, before its first validation.")
    return tr("The run stopped at your request, before its first epoch.")


def _cut_off(run: TrainingRun) -> str:
    if run.agent is not None:
        return tr("The program ended before this run did, before its first validation.")
    return tr("The program ended before this run did, before its first epoch.")
