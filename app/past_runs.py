"""Training runs of earlier sessions, as the training panel keeps them. Qt-free; runs on the store's thread."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.flows.training_queue import is_run_id
from app.i18n import tr
from app.ui.docks.training_networks import Network, network_of
from app.ui.docks.training_runs import RunState, TrainingRun, begun_ns, data_of
from core.errors import UserError
from ml.agents.progress import CURVES_FILE, ENCODER_FOLDER, AgentResult, PassCurves, ValidationRecord
from ml.api import CHECKPOINT_FILE, EpochRecord, TrainingResult
from ml.search_results import STUDY_FILE, SearchResult

if TYPE_CHECKING:
    from core.persistence.store import RunRecord, Store

MOST_RUNS = 50


def past_runs(store: Store, runs_dir: Path) -> tuple[TrainingRun, ...]:
    """Return the newest ended runs, oldest first.

    Raises:
        UserError: the database cannot be read.
    """
    records = [record for record in store.runs(limit=MOST_RUNS) if record.state != "running"]
    return tuple(past_run(record, runs_dir / record.run_id) for record in reversed(records))


def past_run(record: RunRecord, run_dir: Path) -> TrainingRun:
    """Return one ended run with what is left of it; what an older program wrote otherwise is left out."""
    run = TrainingRun(record.run_id, state=RunState(record.state))
    run.begun_ns = begun_ns(record.run_id, record.started_ns)
    if data_of(record.spec) is not None:  # else the id stays its title, and it cannot go on
        run.take_spec(record.spec)
    if run.agent is not None:
        run.agent.curves = _curves(run_dir)
    run.message = record.message
    if run.state is RunState.FINISHED:
        try:
            if run.is_search:
                run.take_search_result(SearchResult.from_json(record.result or {}))
                return run
            if run.agent is not None:
                run.take_agent_result(AgentResult.from_json(record.result))
                return run
            run.take_result(TrainingResult.from_json(record.result))
        except UserError as exc:
            run.message = exc.message
        return run
    if run.agent is not None:
        run.agent.take_records(record for passes in kept_passes(run_dir) for record in passes)
    else:
        run.networks = kept_networks(run_dir)
    run.resumable = run.spec is not None and can_go_on(run_dir)
    return run


def forget_run(store: Store, run_dir: Path) -> None:
    """Delete an ended run from the books, and its folder with the checkpoint.

    Raises:
        UserError: the database or the folder cannot be written.
        ValueError: the folder has no name of a run; what it holds is not this function's to delete.
    """
    if not is_run_id(run_dir.name):
        raise ValueError(run_dir.name)
    store.forget_run(run_dir.name)
    try:
        shutil.rmtree(run_dir)
    except FileNotFoundError:
        pass  # it had not come so far
    except OSError as exc:
        message = tr("{folder} cannot be deleted: {reason}.", folder=run_dir, reason=exc.strerror or exc)
        raise UserError(message, tr("Check the permissions of the folder.")) from exc


def kept_networks(run_dir: Path) -> list[Network]:
    """Return the networks of a run that have finished an epoch, in the order of their seeds.

    The checkpoint is of the network that was trained last; one that is done has a file of its own beside it.
    """
    files = (run_dir / CHECKPOINT_FILE, *run_dir.glob("member-*.json"))
    kept = {seed: network for file in files for seed, network in _network(file)}
    return [kept[seed] for seed in sorted(kept)]


def kept_passes(run_dir: Path) -> list[tuple[ValidationRecord, ...]]:
    """Return the passes over the validation part of each seed of an agent that has a checkpoint, in their order."""
    files = (*run_dir.glob("checkpoint*.json"), *run_dir.glob("member-*.json"))
    kept = {passes[0].seed: passes for file in files for passes in _passes(file)}
    return [kept[seed] for seed in sorted(kept)]


def can_go_on(run_dir: Path) -> bool:
    """Return whether there is something that a later run can go on from.

    That is an epoch of a forecaster, be it the encoder of an agent, a pass of an agent, or a trial of a search.
    """
    networks = kept_networks(run_dir) or kept_networks(run_dir / ENCODER_FOLDER)
    return bool(networks or kept_passes(run_dir)) or (run_dir / STUDY_FILE).exists()


def _network(file: Path) -> Iterator[tuple[int, Network]]:
    """Yield the network a file of the trainer is about, with its seed."""
    try:
        state = json.loads(file.read_bytes())["state"]
        history = [EpochRecord.from_json(epoch) for epoch in state["history"]]
        if history:
            yield int(state["seed"]), network_of(history, int(state["best_epoch"]))
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return  # the trainer itself says what is wrong with it, should anyone insist


def _passes(file: Path) -> Iterator[tuple[ValidationRecord, ...]]:
    """Yield the passes that a checkpoint of an agent knows of; nothing where it is none."""
    try:
        found = json.loads(file.read_bytes())["state"]["history"]
        passes = tuple(ValidationRecord.from_json(record) for record in found)
        if passes:
            yield passes
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return


def _curves(run_dir: Path) -> PassCurves | None:
    """Return the curves of an agent's newest pass; None where they are not kept, or damaged."""
    try:
        return PassCurves.from_json(json.loads((run_dir / CURVES_FILE).read_bytes()))
    except (OSError, ValueError, UserError):
        return None
