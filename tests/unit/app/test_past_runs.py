"""Training runs of earlier sessions: what is left of them, and how they are forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.past_runs import forget_run, past_runs
from app.ui.docks.training_networks import Series
from core.config import DataPaths
from core.errors import UserError
from core.persistence.schema import ensure_migrated
from core.persistence.store import Store
from ml.api import EpochRecord, ForecastSpec


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    made = DataPaths(tmp_path).create()
    ensure_migrated(made)
    return made


def test_a_forgotten_run_is_gone_from_the_books_and_the_disk(paths: DataPaths) -> None:
    store = Store(paths.store_db)
    for run_id in ("run-1", "run-2", "run-3"):
        store.begin_run(run_id, "forecast", ForecastSpec().to_json(), 5)
    for run_id in ("run-1", "run-2"):
        store.finish_run(run_id, "cancelled", 6)
    folder = paths.runs / "run-1"
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text("{}")
    forget_run(store, folder)
    forget_run(store, paths.runs / "run-2")  # it never got a folder
    forget_run(store, paths.runs / "unknown")
    store.forget_run("run-3")  # runs: it stays
    assert not folder.exists()
    assert [run.run_id for run in store.runs()] == ["run-3"]
    assert past_runs(store, paths.runs) == ()
    store.close()


def kept(seed: int, *losses: float, best: int = 1) -> str:
    epochs = [EpochRecord(n, loss, loss, 2.0).to_json() for n, loss in enumerate(losses, start=1)]
    return json.dumps({"state": {"seed": seed, "best_epoch": best, "history": epochs}})


def test_a_run_cut_off_between_two_networks_goes_on_with_the_curves_of_those_that_are_done(paths: DataPaths) -> None:
    store = Store(paths.store_db)
    store.begin_run("run-1", "forecast", ForecastSpec().to_json(), 5)
    store.interrupt_runs(6)
    folder = paths.runs / "run-1"
    folder.mkdir(parents=True)
    (run,) = past_runs(store, paths.runs)
    assert not run.resumable
    (folder / "checkpoint.json").write_text(kept(11))  # of a network without a finished epoch
    (folder / "member-10.json").write_text(kept(10, 0.7, best=0))
    (folder / "member-9.json").write_text(kept(9, 0.9, 0.8, best=2))
    (folder / "member-odd.json").write_text('{"state": {"seed": "odd", "best_epoch": 0, "history": [1]}}')
    (folder / "member-11.json").write_text("{")
    (run,) = past_runs(store, paths.runs)
    assert run.resumable
    assert [network.curves[Series.VALID] for network in run.networks] == [{1: 0.9, 2: 0.8}, {1: 0.7}]
    assert [network.best_epoch for network in run.networks] == [2, 0]
    (folder / "checkpoint.json").write_text(kept(10, 0.7, best=0))  # of the one that was done last
    assert len(past_runs(store, paths.runs)[0].networks) == 2
    (folder / "checkpoint.json").write_text(kept(11, 0.6))
    assert [network.epochs for network in past_runs(store, paths.runs)[0].networks] == [2, 1, 1]
    store.close()


@pytest.mark.parametrize("name", ["..", "", "a b", "x.y"])
def test_only_the_folder_of_a_run_is_ever_deleted(paths: DataPaths, name: str) -> None:
    store = Store(paths.store_db)
    kept = paths.runs / "kept"
    kept.mkdir(parents=True)
    with pytest.raises(ValueError, match=r".*"):
        forget_run(store, Path(f"{paths.runs}/{name}") if name else Path("/"))
    assert kept.exists()
    store.close()


def test_a_folder_that_cannot_be_deleted_is_said(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    store = Store(paths.store_db)
    monkeypatch.setattr("app.past_runs.shutil.rmtree", refuse)
    with pytest.raises(UserError, match="cannot be deleted: Permission denied"):
        forget_run(store, paths.runs / "run-1")
    store.close()
