from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.errors import UserError
from ml.api import (
    DataRange,
    ForecastJob,
    ForecastSpec,
    ModelSpec,
    TrainingProgress,
    TrainingSpec,
    forecast_job,
    log_training_progress,
    new_run_id,
    run_begun_ns,
    spec_from_mapping,
)


def test_a_specification_survives_json() -> None:
    spec = ForecastSpec(data=DataRange(start_ns=1, end_ns=2, source="a.csv"), model=ModelSpec(layers=2))
    assert ForecastSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_defaults_are_valid() -> None:
    assert ForecastSpec().validate() == ForecastSpec()


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("data", {"timeframe": "7m"}, "timeframe '7m'"),
        ("data", {"symbol": ""}, "market is needed"),
        ("data", {"venue": ""}, "venue is needed"),
        ("data", {"source": ""}, "No data source"),
        ("data", {"symbol": "A" * 5_000 + "/USDT"}, "no name of a market"),
        ("data", {"symbol": "가" * 30 + "/USDT"}, "no name of a market"),
        ("data", {"symbol": "BTC\0/USDT"}, "no name of a market"),
        ("data", {"symbol": "\udcff/USDT"}, "no name of a market"),
        ("data", {"venue": "v" * 300}, "no name of a market"),
        ("data", {"markets": ["A" * 81]}, "no name of a market"),
        ("data", {"start_ns": 5, "end_ns": 5}, "ends before"),
        ("features", {"name": "magic"}, "feature set 'magic'"),
        ("features", {"version": 9}, "version 9"),
        ("features", {"horizons": []}, "horizons"),
        ("features", {"horizons": [4, 2]}, "horizons"),
        ("features", {"window": 2}, "feature window 2"),
        ("model", {"kind": "oracle"}, "kind 'oracle'"),
        ("model", {"hidden_size": 0}, "hidden size 0"),
        ("model", {"dropout": 1.0}, "dropout 1"),
        ("model", {"horizons": [0]}, "horizon 0"),
        ("model", {"quantile_levels": [0.1, 0.9]}, "quantile levels"),
        ("model", {"quantile_levels": [0.2, 0.5, 0.9]}, "quantile levels"),
        ("split", {"train_fraction": 0.9, "valid_fraction": 0.1}, "nothing to test"),
        ("split", {"purge_bars": -1}, "purge -1"),
        ("training", {"epochs": 0}, "number of epochs 0"),
        ("training", {"learning_rate": 0.0}, "learning rate"),
        ("training", {"segment_length": 64, "burn_in": 40}, "burn-in"),
        ("training", {"seed": -1}, "seed -1"),
        ("resources", {"device": "abacus"}, "device 'abacus'"),
        ("resources", {"threads": 1_000}, "threads 1000"),
    ],
)
def test_wrong_values_are_one_sentence(section: str, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        spec_from_mapping({section: values}).validate()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"model": {"hiden": 3}}, "model.hiden is not known"),
        ({"model": {"layers": "two"}}, "model.layers must be a whole number"),
        ({"model": {"layers": 1.5}}, "whole number"),
        ({"model": {"layers": True}}, "whole number"),
        ({"model": {"layers": 10**400}}, "model.layers must be a whole number"),
        ({"model": {"layers": [16**5_000]}}, "must be a whole number, not one that long"),
        ({"model": {"layers": float("inf")}}, "whole number"),
        ({"model": {"dropout": 10**400}}, "model.dropout must be a number"),
        ({"model": {"layers": list(range(10_000))}}, "9, 1.*…"),
        ({"model": {"dropout": float("nan")}}, "model.dropout must be a number"),
        ({"features": {"horizons": 3}}, "features.horizons must be a list"),
        ({"features": {"horizons": [1, "x"]}}, r"horizons\[1\]"),
        ({"data": {"symbol": 3}}, "must be text"),
        ({"optimizer": {}}, "section 'optimizer'"),
        ({"model": 3}, "section 'model'"),
    ],
)
def test_what_does_not_fit_is_named(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        spec_from_mapping(values)


def test_missing_required_entries_and_wrong_shapes_are_named() -> None:
    with pytest.raises(UserError, match="run_id is missing"):
        ForecastJob.from_json({})
    with pytest.raises(UserError, match="must be an object"):
        ForecastSpec.from_json({"model": [1]})


def test_numbers_json_cannot_hold_are_a_bug() -> None:
    with pytest.raises(ValueError, match="no JSON form"):
        TrainingProgress("r", "training", train_loss=float("inf")).to_json()


def test_an_overlay_keeps_the_base() -> None:
    spec = spec_from_mapping({"training": {"epochs": 3}}, ForecastSpec(model=ModelSpec(layers=2)))
    assert (spec.training.epochs, spec.model.layers) == (3, 2)


def test_a_job_holds_paths_and_is_validated(tmp_path: Path) -> None:
    folders = {"candles_dir": tmp_path, "models_dir": tmp_path / "models", "runs_dir": tmp_path / "runs"}
    job = ForecastJob.from_json(forecast_job(ForecastSpec(), run_id="run-1", **folders))
    assert job.run_dir == str(tmp_path / "runs" / "run-1")
    with pytest.raises(UserError):
        forecast_job(ForecastSpec(training=TrainingSpec(epochs=0)), run_id="run-1", **folders)
    assert new_run_id() != new_run_id()


def test_a_run_id_says_when_it_was_made() -> None:
    before = time.time_ns()
    made = run_begun_ns(new_run_id())
    assert made is not None
    assert before - NS_PER_S < made <= time.time_ns()
    assert run_begun_ns("run-20261126-164913-0a1b2c") == 1_795_711_753 * NS_PER_S
    for other in ("run-1", "download-0a1b2c3d", "run-20261126-164913-0a1b2", "run-20261326-164913-0a1b2c", ""):
        assert run_begun_ns(other) is None


def test_progress_reads_well() -> None:
    progress = TrainingProgress("r", "training", 3, 20, 0.5, 0.4, 2, 1e-3, 150_000.0, 4.2, "CPU, 1 thread")
    assert log_training_progress(progress) == (
        "epoch 3/20 · loss 0.5000, validation 0.4000 · best 2 · 150,000 targets/s on CPU, 1 thread · 4 s left"
    )
    assert log_training_progress(TrainingProgress("r", "loading")) == "loading …"
    assert TrainingProgress.from_json(progress.to_json()) == progress


@pytest.mark.parametrize("module", ["ml.api", "ml.inference", "ml.model_storage", "app.commands.train"])
def test_the_facade_imports_no_heavy_library(module: str) -> None:
    code = f"""
import sys, {module}
heavy = {{"torch", "pandas", "sklearn", "scipy", "onnxscript", "onnx", "numba", "PySide6"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
