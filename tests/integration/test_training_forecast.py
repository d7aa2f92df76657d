"""Training as a user does it: a real child under the supervisor, and the command line."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.data.atomic_file import write_atomically
from core.data.data_storage import CandleStore
from core.data.importer import import_candles
from core.domain.data_origin import BINANCE, practice_origin
from core.job_supervisor import JobSupervisor
from core.jobs import JobCancelled, JobEvent, JobFailed, JobFinished, JobLog, JobPaused, JobProgress
from ml.api import (
    TRAIN_FORECAST_JOB,
    DataRange,
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    SplitSpec,
    TrainingProgress,
    TrainingResult,
    TrainingSpec,
)
from ml.inference import load_predictor
from ml.spec_file import read_spec
from ml.trial_ledger import TrialLedger
from tests.integration.learning_commands import cli, interrupted, last_json
from tests.job_kit import training_job
from tests.trained_model import Trained
from tests.unit.ml.helpers import ar1_returns, frame_from_returns

BTC = Path("ohlcv_binance_btc_2017_2024") / "BTC_USDT-1h.feather"

LONG = ForecastSpec(
    features=FeatureSpec("price", 1, horizons=(1, 4), window=24),
    model=ModelSpec(hidden_size=8),
    training=TrainingSpec(epochs=5_000, segment_length=64, burn_in=8, patience=5_000),
    evaluation=EvaluationSpec(seeds=1),
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    CandleStore(tmp_path / "candles").write("binance", frame_from_returns(ar1_returns(4_000, 0.3, 1)), "import")
    return tmp_path


def start(supervisor: JobSupervisor, data_dir: Path, spec: ForecastSpec, *, resume: bool = False) -> None:
    supervisor.start("run-1", TRAIN_FORECAST_JOB, training_job(data_dir, spec, resume=resume), threads=1)


def drain(supervisor: JobSupervisor) -> list[JobEvent]:
    events: list[JobEvent] = []
    while supervisor.running:
        events += supervisor.poll(0.2)
    return events


def wait_for_epoch(supervisor: JobSupervisor, epoch: int) -> None:
    while True:
        for event in supervisor.poll(0.2):
            assert not isinstance(event, JobFailed), event
            if isinstance(event, JobProgress) and event.payload["epoch"] >= epoch:
                return


def test_a_run_is_cancelled_gently_and_its_checkpoint_goes_on(data_dir: Path) -> None:
    with JobSupervisor() as supervisor:
        start(supervisor, data_dir, LONG)
        wait_for_epoch(supervisor, 2)
        supervisor.request_stop()
        assert drain(supervisor)[-1] == JobCancelled("run-1", forced=False)
        index = json.loads((data_dir / "runs" / "run-1" / "checkpoint.json").read_bytes())
        done = len(index["state"]["history"])
        assert done >= 2
        assert not list((data_dir).glob("models/*"))
        trials = TrialLedger(data_dir / "trials.sqlite")
        begun, cancelled = trials.records()
        assert (begun.trial_id, begun.status) == ("run-1/1", "begun")
        assert (cancelled.trial_id, cancelled.status, cancelled.test_sharpe) == ("run-1/1", "cancelled", None)
        start(supervisor, data_dir, LONG, resume=True)
        wait_for_epoch(supervisor, done + 1)
        supervisor.request_stop()
        assert isinstance(drain(supervisor)[-1], JobCancelled)
        assert (trials.count(), len(trials.records())) == (1, 2)  # the same trial, however often it is interrupted


def test_a_paused_run_learns_exactly_what_an_undisturbed_one_does(data_dir: Path) -> None:
    spec = replace(LONG, training=replace(LONG.training, epochs=60))
    results = []
    for pauses in (0, 2):
        with JobSupervisor() as supervisor:
            start(supervisor, data_dir, spec)
            for epoch in range(1, pauses + 1):
                wait_for_epoch(supervisor, epoch)
                supervisor.pause()
                while not any(isinstance(event, JobPaused) for event in supervisor.poll(0.2)):
                    assert supervisor.running
                assert supervisor.poll(1.5) == []
                supervisor.resume()
            last = drain(supervisor)[-1]
            assert isinstance(last, JobFinished)
            results.append(TrainingResult.from_json(last.result))
    undisturbed, paused = results
    losses = [[(epoch.train_loss, epoch.valid_loss) for epoch in result.history] for result in results]
    assert losses[0] == losses[1]
    assert paused.metrics == undisturbed.metrics
    assert paused.total_s < undisturbed.total_s + 2.5
    assert paused.seconds < undisturbed.seconds + 1.5  # of at least 3 it waited: no epoch seems to take that long


def test_a_run_at_work_or_paused_is_not_begun_a_second_time(data_dir: Path) -> None:
    with JobSupervisor() as supervisor, JobSupervisor() as second:
        start(supervisor, data_dir, LONG)
        wait_for_epoch(supervisor, 2)
        for resume in (True, False):
            start(second, data_dir, LONG, resume=resume)
            failed = drain(second)[-1]
            assert isinstance(failed, JobFailed)
            assert (failed.message, failed.details) == ("The run run-1 is at work already.", "")
            supervisor.pause()
        supervisor.resume()
        supervisor.request_stop()
        assert drain(supervisor)[-1] == JobCancelled("run-1", forced=False)
        start(supervisor, data_dir, LONG, resume=True)  # whoever held it has gone
        wait_for_epoch(supervisor, 3)


def test_the_command_line_trains_lists_and_shows(data_dir: Path) -> None:
    config = data_dir / "run.toml"
    config.write_text(
        '[features]\nname = "price"\nwindow = 24\n[model]\nhidden_size = 8\n[training]\nsegment_length = 64\n'
    )
    done = cli(
        "train", "forecast", "--config", str(config), "--epochs", "2", "--seed", "3", "--json", data_dir=data_dir
    )
    assert done.returncode == 0, done.stderr
    result = TrainingResult.from_json(last_json(done))
    assert result.epochs_run == 2
    assert result.total_s > result.seconds + 1.0  # the start of the process and the judging
    assert "epoch 2/2" in done.stderr
    listed = last_json(cli("models", "list", "--json", data_dir=data_dir))
    assert [model["model_id"] for model in listed["models"]] == [result.model_id]
    shown = last_json(cli("models", "show", result.model_id[:6], "--json", data_dir=data_dir))
    assert shown["spec"]["training"]["seed"] == 3
    assert shown["metrics"] == result.metrics.to_json()
    for_people = cli("models", "show", result.model_id, data_dir=data_dir)
    assert result.metrics.verdict in for_people.stdout
    again = cli("train", "forecast", "--resume", result.run_id, "--json", data_dir=data_dir)
    assert again.returncode == 2
    assert last_json(again)["error"] == f"The run {result.run_id} has ended: it became model {result.model_id}."
    weights = data_dir / "models" / result.model_id / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "damaged" in cli("models", "show", result.model_id, data_dir=data_dir).stderr
    assert "unusable" in cli("models", "list", data_dir=data_dir).stdout


def test_options_override_the_configuration_and_the_settings_in_force_are_written(data_dir: Path) -> None:
    config, written = data_dir / "run.toml", data_dir / "written.toml"
    config.write_text('[model]\nkind = "lstm"\nlayers = 2\n[training]\nepochs = 7\n')
    options = {
        "--kind": "gru",
        "--head": "student_t",
        "--horizons": "1,4",
        "--features": "price",
        "--hidden": "8",
        "--schedule": "cosine",
        "--precision": "float32",
        "--valid-from": "2020-12-01",
        "--test-from": "2021-01-01",
        "--seeds": "2",
    }
    arguments = [part for pair in options.items() for part in pair]
    done = cli(
        *("train", "forecast", "--config", str(config), *arguments, "--write-config", str(written), "--json"),
        data_dir=data_dir,
    )
    assert done.returncode == 0, done.stderr
    spec = read_spec(written)
    assert ForecastSpec.from_json(last_json(done)["spec"]) == spec
    assert spec == ForecastSpec(
        features=FeatureSpec("price"),
        model=ModelSpec("gru", "student_t", hidden_size=8, layers=2, horizons=(1, 4)),
        split=SplitSpec(valid_from="2020-12-01", test_from="2021-01-01"),
        training=TrainingSpec(epochs=7, schedule="cosine"),
        evaluation=EvaluationSpec(seeds=2),
        resources=ResourceSpec(precision="float32"),
    )
    assert not list(data_dir.glob("runs/*"))
    file = data_dir / "ETH_USDT-4h.csv"
    file.write_text("")
    done = cli("train", "forecast", "--data", str(file), "--write-config", str(written), data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    data = read_spec(written).data
    assert (data.source, data.symbol, data.timeframe) == (str(file), "ETH/USDT", "4h")


def test_a_person_reads_every_table_of_the_judgement(data_dir: Path) -> None:
    config = data_dir / "run.toml"
    config.write_text(
        '[features]\nname = "price"\nwindow = 24\n[model]\nhidden_size = 8\nhead = "classes"\nhorizons = [1, 4]\n'
        "[training]\nsegment_length = 64\nepochs = 2\n[evaluation]\nseeds = 2\npermutation_repeats = 0\n"
    )
    done = cli("train", "forecast", "--config", str(config), data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    for text in (
        "1 bar ahead",
        "4 bars ahead",
        *("zero", "persistence", "climatology", "ridge", "boosting", "logistic"),
        "2 seeds alone",
        "adaptive",
        *("0 x", "1 x", "2 x", "3 x", "holding"),
        "probability",
        "trials on this market",
        "edge over naive forecasts",
    ):
        assert text in done.stdout, done.stdout
    assert "constant quantiles" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "forecast", "--symbol", "ETH/USDT"], "no closed 1h bars of ETH/USDT"),
        (["train", "forecast", "--timeframe", "7m"], "timeframe '7m'"),
        (["train", "forecast", "--data", "missing/BTC_USDT-1h.csv"], "no file"),
        (["train", "forecast", "--data", "pyproject.toml"], "symbol cannot be told"),
        (["train", "forecast", "--config", "missing.toml"], "cannot be read"),
        (["train", "forecast", "--horizons", "1;4"], "no list of horizons"),
        (["train", "forecast", "--horizons", "4,1"], "horizons must ascend"),
        (["train", "forecast", "--kind", "oracle", "--write-config", "never.toml"], "kind 'oracle'"),
        (["train", "forecast", "--resume", "run-9"], "no run 'run-9'"),
        (["train", "forecast", "--resume", "../runs/run-7"], "no run '../runs/run-7'"),
        (["train", "forecast", "--resume", "run-7/"], "no run 'run-7/'"),
        (["train", "forecast", "--resume", ""], "no run ''"),
        (["train", "forecast", "--resume", "."], "no run '.'"),
        (["train", "forecast", "--resume", "evaluation-7"], "no run 'evaluation-7'"),
        (["models", "show", "abc"], "no model 'abc'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_two(data_dir: Path, arguments: list[str], sentence: str) -> None:
    for run_id in ("run-7", "evaluation-7"):
        write_atomically(data_dir / "runs" / run_id / "spec.json", json.dumps(LONG.to_json()).encode())
    done = cli(*arguments, "--json", data_dir=data_dir)
    assert done.returncode == 2
    error = last_json(done)
    assert sentence in error["error"]
    assert error["remedy"]
    assert "Traceback" not in done.stderr


def test_the_only_stored_bars_are_taken_and_several_have_to_be_named(tmp_path: Path, trained: Trained) -> None:
    store = CandleStore(tmp_path / "candles")
    store.write(practice_origin("synthetic-1"), trained.frame, "import")
    short = [*("train", "forecast", "--epochs", "1"), "--json"]
    only = cli(*short, data_dir=tmp_path)
    assert only.returncode == 0, only.stderr
    assert "Training on the bars of practice-synthetic-1" in only.stderr
    store.write(practice_origin("synthetic-2"), trained.frame, "import")
    several = cli(*short, data_dir=tmp_path)
    assert several.returncode == 2
    assert "several markets: practice-synthetic-1, practice-synthetic-2" in last_json(several)["error"]
    store.write(BINANCE, trained.frame, "import")
    real = cli(*short, data_dir=tmp_path)
    assert real.returncode == 0, real.stderr
    assert "practice" not in real.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_cancels_and_says_how_to_continue(data_dir: Path) -> None:
    config = data_dir / "run.toml"
    config.write_text("[training]\nepochs = 9000\npatience = 9000\nsegment_length = 64\n[model]\nhidden_size = 8\n")
    rest = interrupted("train", "forecast", "--config", str(config), data_dir=data_dir, at="epoch 2/")
    run_id = rest.rsplit("--resume ", 1)[1].strip()
    resumed = cli("train", "forecast", "--resume", run_id, "--epochs", "3", "--json", data_dir=data_dir)
    assert resumed.returncode == 2
    assert "another configuration" in last_json(resumed)["error"]


@pytest.mark.realdata
def test_real_bars_train_and_the_model_forecasts_the_last_bar(tmp_path: Path, realdata: Path) -> None:
    spec = ForecastSpec(
        data=DataRange(source=str(realdata / BTC)), training=TrainingSpec(epochs=2), evaluation=EvaluationSpec(seeds=1)
    )
    started = time.time_ns()
    with JobSupervisor() as supervisor:
        start(supervisor, tmp_path, spec)
        events = drain(supervisor)
    last = events[-1]
    assert isinstance(last, JobFinished), last
    result = TrainingResult.from_json(last.result)
    progress = [TrainingProgress.from_json(event.payload) for event in events if isinstance(event, JobProgress)]
    assert [p.epoch for p in progress if p.phase == "training" and p.valid_loss is not None][-1] == 2
    assert any(isinstance(event, JobLog) for event in events)
    metrics = result.metrics
    assert metrics.targets > 8_000
    assert metrics.pinball < metrics.pinball_baseline  # volatility clusters: knowing it must help the quantiles
    assert metrics.coverage == pytest.approx(0.9, abs=0.06)
    assert abs(metrics.model.r2) < 0.05
    bars = import_candles(realdata / BTC).frame
    predictor = load_predictor(tmp_path / "models", result.model_id)
    forecast = predictor.warm_up(bars.slice(len(bars) - 200).to_candles("import"))
    assert forecast is not None
    assert abs(forecast.median) < 0.02
    assert forecast.quantiles[0] < 0 < forecast.quantiles[-1]
    (folder,) = (tmp_path / "models").iterdir()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["created_ns"] >= started
    for path in folder.iterdir():
        assert str(realdata).encode() not in path.read_bytes()  # a package names no folder of this machine
