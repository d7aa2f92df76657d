"""What a killed process leaves in the ledger: real children, ended with SIGKILL while they train."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.data.data_storage import CandleStore
from core.domain.data_origin import BINANCE
from core.job_supervisor import JobSupervisor
from core.jobs import JobFailed, JobFinished, JobStopped, Json
from ml.api import (
    TRAIN_FORECAST_JOB,
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    TrainingSpec,
)
from ml.evaluation_plan import EVALUATE_FOLDS_JOB, EvaluationPlan, folds_job
from ml.search_results import SEARCH_JOB, search_job
from ml.search_spec import SearchSpec, parse_range
from ml.trial_ledger import BEGUN, TRAINING, TrialLedger, TrialRecord
from ml.worker.counting import counted
from tests.job_kit import training_job
from tests.unit.ml.helpers import ar1_returns, frame_from_returns

ENDLESS = ForecastSpec(
    features=FeatureSpec("price", 1, horizons=(1, 4), window=24),
    model=ModelSpec(hidden_size=4),
    training=TrainingSpec(epochs=5_000, segment_length=64, burn_in=8, patience=5_000),
    evaluation=EvaluationSpec(seeds=2, boosting=False, permutation_repeats=0),
    resources=ResourceSpec(device="cpu", threads=1),
)


def record(index: int, status: str) -> TrialRecord:
    return TrialRecord(f"r/{index}", 1, TRAINING, "binance", "BTC/USDT", "1h", "d", "h", index, status, "r")


def begin_and_wait(path: Path, begun: Any) -> None:
    with counted(path, record) as begin:
        begin(0)
        begin(1)
        begin(0)
        begun.set()
        time.sleep(60)


def test_a_killed_process_leaves_what_it_had_begun(tmp_path: Path) -> None:
    path = tmp_path / "trials.sqlite"
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    child = context.Process(target=begin_and_wait, args=(path, begun))
    child.start()
    assert begun.wait(60)
    child.kill()
    child.join(30)
    ledger = TrialLedger(path)
    assert [(row.trial_id, row.status) for row in ledger.records()] == [("r/0", BEGUN), ("r/1", BEGUN)]
    with counted(path, record) as begin:  # goes on
        begin(0)
    ledger.append(record(0, "finished"))
    assert ledger.count() == 2
    assert (ledger.summary()[0].trials, ledger.summary()[0].finished) == (2, 1)


@pytest.mark.parametrize(("error", "status"), [(ValueError, "failed"), (JobStopped, "cancelled")])
def test_what_breaks_down_is_completed(tmp_path: Path, error: type[BaseException], status: str) -> None:
    path = tmp_path / "trials.sqlite"

    def break_down() -> None:
        with counted(path, record) as begin:
            begin(0)
            raise error

    with pytest.raises(error):
        break_down()
    ledger = TrialLedger(path)
    assert [row.status for row in ledger.records()] == [BEGUN, status]
    assert ledger.count() == 1


def training(folder: Path, *, resume: bool) -> tuple[str, Json]:
    return TRAIN_FORECAST_JOB, training_job(folder, ENDLESS, resume=resume)


def folds(folder: Path, *, resume: bool) -> tuple[str, Json]:
    job = folds_job(
        ENDLESS, EvaluationPlan(folds=2), run_id="run-1", candles_dir=folder / "candles", runs_dir=folder / "runs"
    )
    return EVALUATE_FOLDS_JOB, job


def searching(folder: Path, *, resume: bool) -> tuple[str, Json]:
    space = (parse_range("model.hidden_size", "int 2 6 step 2"),)
    spec = SearchSpec(base=ENDLESS, trials=3, pruner="none", seeds=2, space=space)
    return SEARCH_JOB, search_job(spec, run_id="run-1", candles_dir=folder / "candles", runs_dir=folder / "runs")


@pytest.mark.parametrize(
    ("job", "trial_id"),
    [(training, "run-1/1"), (folds, "run-1/fold-001/1"), (searching, "run-1/0/1")],
)
def test_a_killed_job_is_counted_once_however_often_it_goes_on(tmp_path: Path, job: Any, trial_id: str) -> None:
    CandleStore(tmp_path / "candles").write(BINANCE, frame_from_returns(ar1_returns(2_500, 0.3, 1)), "import")
    path = tmp_path / "trials.sqlite"
    for attempt in range(2):
        with JobSupervisor() as supervisor:
            name, payload = job(tmp_path, resume=attempt > 0)
            supervisor.start("run-1", name, payload, threads=1)
            wait_until_training(supervisor, tmp_path)
        records = TrialLedger(path).records()
        assert {row.trial_id for row in records} == {trial_id}, "the second seed has not begun"
        assert records[0].status == BEGUN
        assert TrialLedger(path).count() == 1
        assert replace(records[0], created_ns=0, status="") == replace(records[-1], created_ns=0, status="")


def wait_until_training(supervisor: JobSupervisor, folder: Path) -> None:
    """Return once a checkpoint of a finished epoch lies in the folder; leaving the supervisor kills the child."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        for event in supervisor.poll(0.1):
            assert not isinstance(event, JobFailed | JobFinished), event
        found = [int(file.stem.rpartition("-")[2]) for file in folder.rglob("checkpoint-*.safetensors")]
        if max(found, default=0) >= 2:
            return
    raise AssertionError("it does not train")
