from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.benchmarks import learning_bench, training_job
from app.benchmarks.data_bench import minutes_of_prices
from app.benchmarks.learning_bench import measure_gpu, network_step_us, sixteen_to_64
from core.data.data_storage import CandleStore
from ml.api import ForecastSpec, ResourceSpec, TrainingSpec
from ml.feature_spec import column_names
from tests.job_kit import RecordingChannel

BARS = 3_000


def small(device: str = "cpu") -> ForecastSpec:
    """The benchmark's run with few short segments."""
    spec = sixteen_to_64()
    training = TrainingSpec(epochs=2, patience=2, segment_length=64, burn_in=16, batch_segments=4)
    return replace(spec, training=training, resources=ResourceSpec(device=device, threads=1))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run jobs here instead of in a child."""

    def run(target: str, job: dict[str, Any], *, threads: int) -> dict[str, Any]:
        return dict(getattr(training_job, target.rpartition(":")[2])(job, RecordingChannel()))

    monkeypatch.setattr(learning_bench, "run_job", run)


def test_the_run_behind_the_training_figures_is_what_they_say() -> None:
    spec = sixteen_to_64().validate()
    assert len(column_names(spec.features)) == 16
    assert (spec.model.kind, spec.model.hidden_size, spec.model.layers) == ("lstm", 64, 1)
    assert (spec.training.segment_length, spec.training.burn_in) == (512, 64)


def test_trainer_and_peers_are_measured_and_the_networks_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_job, "PEER_BATCHES", (16, 32))
    spec = small()
    CandleStore(tmp_path / "candles").write(spec.data.origin, minutes_of_prices(BARS), "import")
    job = {"spec": spec.to_json(), "folder": str(tmp_path), "peer_s": 0.01, "ensemble": 2}
    result = training_job.throughput(job, RecordingChannel())
    assert set(result["peers"]) == {"window DataLoader, batch 16", "window DataLoader, batch 32"}
    for row in (result["ours"], *result["peers"].values()):
        assert row["cpu_per_s"] > 0
        assert row["wall_per_s"] > 0
    for file in result["networks"].values():
        assert network_step_us(Path(file)) > 0


def test_the_path_of_the_gpu_runs_to_its_end_on_a_processor(tmp_path: Path, in_this_process: None) -> None:
    figures = measure_gpu(tmp_path, small(), minutes_of_prices(BARS))
    rate, share = figures["forecast.gpu_targets_per_s"], figures["forecast.gpu_cudnn_share"]
    assert rate.value is not None
    assert rate.value > 0
    assert share.value is not None
    assert share.value == pytest.approx(rate.value / rate.peers[0].value)
    memory = figures["forecast.gpu_memory_mb"]
    assert memory.value is None
    assert "CPU" in memory.skipped


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_every_figure_says_why_it_was_not_measured(tmp_path: Path, in_this_process: None) -> None:
    figures = measure_gpu(tmp_path, small("cuda"), minutes_of_prices(BARS))
    assert len(figures) == 3
    for measurement in figures.values():
        assert measurement.value is None
        assert "GPU cannot be used" in measurement.skipped


def test_the_bare_layer_counts_no_burn_in(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 12.0])
    monkeypatch.setattr(training_job.time, "perf_counter", lambda: next(times))
    rate = training_job.bare_rate(small(), 16, torch.device("cpu"))
    assert rate == 20 * 4 * (64 - 16) / 2.0
