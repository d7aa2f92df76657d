"""A search as a user runs it: real children that train tiny networks, stopped in every way, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from core.data.atomic_file import write_atomically
from core.data.data_storage import CandleStore
from core.domain.candles import Timeframe
from core.job_supervisor import JobSupervisor
from core.jobs import JobCancelled, JobEvent, JobFailed, JobFinished, JobProgress
from ml.search_results import SEARCH_FILE, SEARCH_JOB, STUDY_FILE, SearchProgress, SearchResult, search_job
from ml.search_spec import FeatureGroup, SearchSpec, parse_range
from ml.spec import FeatureSpec, ForecastSpec, ModelSpec, ResourceSpec, TrainingSpec, spec_from_mapping
from ml.trial_ledger import TrialLedger
from tests.integration.learning_commands import ROOT, cli, command, last_json
from tests.unit.ml.helpers import appended, ar1_returns, frame_from_returns

BARS = 2_500
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SPEC = SearchSpec(
    base=ForecastSpec(
        features=FeatureSpec("price", 1, horizons=(1, 4), window=24),
        model=ModelSpec(hidden_size=4, horizons=(1, 3)),
        training=TrainingSpec(epochs=3, segment_length=64, burn_in=8),
        resources=ResourceSpec(device="cpu"),
    ),
    trials=7,
    finalists=2,
    space=(
        parse_range("model.kind", "choice lstm gru"),
        parse_range("model.hidden_size", "int 2 6 step 2"),
        parse_range("training.learning_rate", "log 1e-4 3e-2"),
        parse_range("features.window", "choice 24 48"),
    ),
    groups=(FeatureGroup("momentum", ("RSI(timeperiod=14)",)),),
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    CandleStore(tmp_path / "candles").write("binance", frame_from_returns(ar1_returns(BARS, 0.3, 1)), "import")
    return tmp_path


def start(supervisor: JobSupervisor, data_dir: Path, spec: SearchSpec, run_id: str = "run-1") -> None:
    job = search_job(spec, run_id=run_id, candles_dir=data_dir / "candles", runs_dir=data_dir / "runs")
    supervisor.start(run_id, SEARCH_JOB, job, threads=1)


def result_of(supervisor: JobSupervisor) -> SearchResult:
    events: list[JobEvent] = []
    while supervisor.running:
        events += supervisor.poll(0.2)
    assert isinstance(events[-1], JobFinished), events[-1]
    return SearchResult.from_json(events[-1].result)


def wait_for_done(supervisor: JobSupervisor, done: int) -> SearchProgress:
    while True:
        for event in supervisor.poll(0.1):
            assert not isinstance(event, JobFailed | JobFinished), event
            if isinstance(event, JobProgress):
                progress = SearchProgress.from_json(event.payload)
                if progress.phase == "searching" and progress.done >= done:
                    return progress


def comparable(result: SearchResult) -> SearchResult:
    """Leave out what says when and where."""
    trials = tuple(replace(trial, seconds=0.0) for trial in result.trials)
    return replace(result, run_id="", trials=trials, config_file="", seconds=0.0)


def test_a_killed_search_goes_on_and_ends_as_one_that_was_left_alone(data_dir: Path) -> None:
    with JobSupervisor() as supervisor:
        start(supervisor, data_dir, SPEC, "run-whole")
        whole = result_of(supervisor)

        before = set(psutil.Process().children())
        start(supervisor, data_dir, SPEC, "run-parts")
        (child,) = set(psutil.Process().children()) - before
        family = [child]
        while len(family) < 2:  # early: a slow reader may hear of the third trial when the worker has ended already
            family = [child, *child.children(recursive=True)]
        wait_for_done(supervisor, 3)
        child.kill()
        while supervisor.running:
            supervisor.poll(0.1)
        psutil.wait_procs(family, 10)
        assert not any(process.is_running() for process in family)

        candles = CandleStore(data_dir / "candles")
        candles.write("binance", appended(candles.read("binance", "BTC/USDT", Timeframe.H1)), "import")
        start(supervisor, data_dir, SPEC, "run-parts")
        assert wait_for_done(supervisor, 3).done >= 3
        parts = result_of(supervisor)

    assert comparable(parts) == comparable(whole)
    assert [trial.number for trial in whole.trials] == list(range(7))
    assert {trial.status for trial in whole.trials} <= {"finished", "pruned"}
    ended = {trial.number: trial for trial in whole.trials}
    assert whole.finalists[0].number == whole.winner
    assert whole.finalists[0].crps <= whole.finalists[1].crps
    assert {seed.seed for finalist in whole.finalists for seed in finalist.seeds} == {2, 3, 4}
    best = min(trial.crps for trial in whole.trials if trial.crps is not None)
    assert best in {ended[finalist.number].crps for finalist in whole.finalists}

    ledger = TrialLedger(data_dir / "trials.sqlite")
    records = [record for record in ledger.records() if record.run_id == "run-parts"]
    assert {record.kind for record in records} == {"search"}
    counted = {record.trial_id for record in records}
    assert counted == {f"run-parts/{n}/1" for n in range(7)} | {
        f"run-parts/finalist-{finalist.number}/{seed}" for finalist in whole.finalists for seed in (2, 3, 4)
    }
    assert all(record.test_sharpe is None for record in records)
    ended_well = [record for record in records if record.status not in ("begun", "cancelled")]
    assert all(record.valid_sharpe is not None for record in ended_well)
    assert {record.status for record in records if "/finalist-" in record.trial_id} == {"begun", "finished"}

    text = Path(whole.config_file).read_text(encoding="utf-8")
    assert spec_from_mapping(tomllib.loads(text)) == whole.spec.validate()
    assert whole.spec.split.valid_from < whole.spec.split.test_from
    assert whole.spec.data == SPEC.base.data


def test_several_processes_try_each_configuration_once_and_a_stop_keeps_everything(data_dir: Path) -> None:
    two = replace(SPEC, processes=2, pruner="hyperband")
    with JobSupervisor() as supervisor:
        start(supervisor, data_dir, two)
        wait_for_done(supervisor, 2)
        supervisor.request_stop()
        events: list[JobEvent] = []
        while supervisor.running:
            events += supervisor.poll(0.1)
        assert events[-1] == JobCancelled("run-1", forced=False)
        start(supervisor, data_dir, two)
        result = result_of(supervisor)
    assert [trial.number for trial in result.trials] == list(range(7))
    assert "cancelled" not in {trial.status for trial in result.trials}
    records = TrialLedger(data_dir / "trials.sqlite").records()
    assert len({record.trial_id for record in records if "finalist" not in record.trial_id}) == 7
    # None where both had just ended when the stop came.
    assert sum(record.status == "cancelled" for record in records) <= 2


def test_a_time_limit_ends_the_trials_but_not_the_search(data_dir: Path) -> None:
    short = replace(SPEC, trials=1_000, timeout_min=0.02, finalists=1)
    with JobSupervisor() as supervisor:
        start(supervisor, data_dir, short)
        result = result_of(supervisor)
    assert 1 <= len(result.trials) < 100
    assert len(result.finalists) == 1


@pytest.mark.parametrize(
    ("lengths", "trials", "said"),
    [("int 1024 2048 step 64", 10, "10 trials failed one after the other"), ("choice 1024 2048", 2, "No trial came")],
)
def test_trials_that_fail_one_after_the_other_end_the_search(
    data_dir: Path, lengths: str, trials: int, said: str
) -> None:
    hungry = replace(SPEC, space=(parse_range("training.segment_length", lengths),), groups=(), trials=30)
    with JobSupervisor() as supervisor:
        start(supervisor, data_dir, hungry)
        events: list[JobEvent] = []
        while supervisor.running:
            events += supervisor.poll(0.2)
    assert isinstance(events[-1], JobFailed)
    assert events[-1].user_error
    assert events[-1].message.startswith(said)
    assert "bars are too few" in events[-1].message
    assert [record.status for record in TrialLedger(data_dir / "trials.sqlite").records()] == ["failed"] * trials


CONFIG = """
[features]
name = "price"
horizons = [1, 4]
window = 24
[training]
epochs = 2
segment_length = 64
burn_in = 8
[resources]
device = "cpu"
[search]
trials = 4
finalists = 1
[search.space]
model.hidden_size = "choice 2 4"
"training.learning_rate" = "log 1e-3 3e-2"
"""


def test_the_command_searches_and_the_winner_can_be_trained(data_dir: Path) -> None:
    config = data_dir / "search.toml"
    config.write_text(CONFIG, encoding="utf-8")
    done = cli("train", "search", "--config", str(config), "--json", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    result = SearchResult.from_json(last_json(done))
    assert len(result.trials) == 4
    assert "trial 4/4" in done.stderr
    again = cli("train", "search", "--resume", result.run_id, data_dir=data_dir)
    assert again.returncode == 0, again.stderr
    assert f"train forecast --config {result.config_file}" in again.stdout
    assert "by CRPS on the validation part" in again.stdout


@POSIX
def test_ctrl_c_keeps_the_trials(data_dir: Path) -> None:
    config = data_dir / "search.toml"
    config.write_text(CONFIG.replace("trials = 4", "trials = 400"), encoding="utf-8")
    with subprocess.Popen(
        command(data_dir, "train", "search", "--config", str(config)), cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("trial 1/"):
                break
        begun = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(20) == 1
        assert time.monotonic() - begun < 10
    (run_dir,) = (data_dir / "runs").iterdir()
    assert f"Continue with: train search --resume {run_dir.name}" in rest
    assert (run_dir / STUDY_FILE).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume", "run-none"), "There is no search 'run-none'"),
        (("--resume", ""), "There is no search ''"),
        (("--resume", "../runs/run-7"), "There is no search '../runs/run-7'"),
        (("--trials", "0"), "number of trials 0"),
        (("--resume", "x", "--config", "y.toml"), "its own settings"),
    ],
)
def test_a_mistake_is_one_sentence(data_dir: Path, arguments: tuple[str, ...], message: str) -> None:
    search = SearchSpec().to_json()
    write_atomically(data_dir / "runs" / "run-7" / SEARCH_FILE, json.dumps(search).encode())
    done = cli("train", "search", *arguments, data_dir=data_dir)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
