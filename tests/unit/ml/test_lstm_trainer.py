"""Training on processes whose best possible forecast is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from core.data.frame import CandleFrame
from core.errors import UserError
from core.jobs import JobStopped
from ml.api import EvaluationSpec, FeatureSpec, ForecastSpec, ModelSpec, ResourceSpec, TrainingProgress, TrainingSpec
from ml.checkpoint import kept_seconds
from ml.dataset import ForecastDataset, Segments, build_dataset
from ml.evaluators import evaluate_forecast
from ml.gpu_utils import Precision
from ml.inference import Forecasts
from ml.lstm_trainer import TrainedForecaster, _Trainer, train_lstm_model
from ml.metric_results import ForecastMetrics
from ml.recurrent import EnsembleForecaster
from ml.run_resources import RunResources
from tests.unit.ml.helpers import ar1_returns, frame_from_returns, noise_returns

FEATURES = FeatureSpec("price", 1, horizons=(1, 4), window=48)
SMALL = ForecastSpec(
    features=FEATURES,
    model=ModelSpec(hidden_size=8),
    training=TrainingSpec(epochs=5, segment_length=64, burn_in=8, batch_segments=8, patience=5),
    evaluation=EvaluationSpec(seeds=1, boosting=False),
    resources=ResourceSpec(device="cpu", threads=1),
)


def train(
    data: ForecastDataset, spec: ForecastSpec, folder: Path, stop_after: int | None = None, resume: bool = False
) -> TrainedForecaster:
    calls = 0

    def should_stop() -> bool:
        nonlocal calls
        calls += 1
        return stop_after is not None and calls > stop_after

    return train_lstm_model(
        data,
        spec,
        run_id="run",
        run_dir=folder,
        on_progress=lambda progress: None,
        should_stop=should_stop,
        resume=resume,
    )


def forecasts(network: EnsembleForecaster, data: ForecastDataset, rows: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        state = network.initial_state(1, torch.device("cpu"))
        quantiles = network(torch.from_numpy(data.inputs[None]), *state)[0]
    return quantiles[0].numpy().astype(np.float64)[rows] * data.unit[rows][..., None]


def judge(data: ForecastDataset, frame: CandleFrame, spec: ForecastSpec, trained: TrainedForecaster) -> ForecastMetrics:
    rows = data.rows(data.test)
    quantiles = np.sort(forecasts(trained.network, data, rows), axis=-1)
    return evaluate_forecast(
        data,
        frame,
        rows,
        Forecasts(quantiles, None),
        spec.model.quantile_levels,
        forecast_std=1.0,
        baselines=("zero", "persistence", "ridge"),
    )


def test_ar1_reaches_the_known_optimum_and_never_more(tmp_path: Path) -> None:
    phi = 0.2
    spec = ForecastSpec(
        features=FEATURES,
        model=ModelSpec(hidden_size=16, dropout=0.0),
        training=TrainingSpec(epochs=8, segment_length=128, burn_in=16, batch_segments=8),
        evaluation=EvaluationSpec(seeds=1, boosting=False),
        resources=ResourceSpec(device="cpu", threads=1),
    )
    frame = frame_from_returns(ar1_returns(40_000, phi, seed=11))
    data = build_dataset(frame, spec)
    result = judge(data, frame, spec, train(data, spec, tmp_path))
    # The sampling error of R² is that of its gain: sd(2 y f − f²) / (n var y) with f = φ y.
    error = 2 * phi * np.sqrt((1 - phi**2) / result.targets)
    assert result.model.r2 <= phi**2 + 3 * error
    assert result.model.r2 >= 0.9 * phi**2 - 2 * error  # the short version: its test part alone blurs R² by 14 %
    assert result.edge
    assert result.model.hit_rate == pytest.approx(0.5 + np.arcsin(phi) / np.pi, abs=0.02)
    assert result.coverage == pytest.approx(0.9, abs=0.02)


def test_noise_gives_no_edge(tmp_path: Path) -> None:
    claims = 0
    for seed in range(4):
        frame = frame_from_returns(noise_returns(6_000, seed))
        data = build_dataset(frame, SMALL)
        result = judge(data, frame, SMALL, train(data, SMALL, tmp_path / str(seed)))
        claims += result.edge
        assert result.model.r2 < 0.01
    assert claims == 0


@pytest.fixture(scope="module")
def data() -> ForecastDataset:
    return build_dataset(frame_from_returns(ar1_returns(6_000, 0.3, 1)), SMALL)


def weights(trained: TrainedForecaster) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in trained.network.state_dict().items()}


def losses(trained: TrainedForecaster) -> list[tuple[float, float]]:
    return [(record.train_loss, record.valid_loss) for record in trained.history]


def test_the_same_seed_gives_the_same_model_and_another_seed_another(data: ForecastDataset, tmp_path: Path) -> None:
    first, second = (train(data, SMALL, tmp_path / name) for name in "ab")
    assert losses(first) == losses(second)
    for name, value in weights(first).items():
        np.testing.assert_array_equal(value, weights(second)[name])
    other = train(data, replace(SMALL, training=replace(SMALL.training, seed=2)), tmp_path / "c")
    assert losses(other) != losses(first)


@pytest.mark.parametrize("stop_after", [5, 25, 45])
def test_a_cancelled_run_resumes_to_the_very_same_model(data: ForecastDataset, tmp_path: Path, stop_after: int) -> None:
    whole = train(data, SMALL, tmp_path / "whole")
    with pytest.raises(JobStopped):
        train(data, SMALL, tmp_path / "cut", stop_after=stop_after)
    resumed = train(data, SMALL, tmp_path / "cut", resume=True)
    assert losses(resumed) == losses(whole)
    assert resumed.best_epoch == whole.best_epoch
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(resumed)[name])
    # One tensor file and one index of the newest epoch, the same of the finished seed.
    assert len(list((tmp_path / "cut").iterdir())) == 4


def test_a_checkpoint_of_something_else_or_damaged_is_refused(data: ForecastDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no usable checkpoint"):
        train(data, SMALL, tmp_path, resume=True)
    train(data, replace(SMALL, training=replace(SMALL.training, epochs=1)), tmp_path)
    with pytest.raises(UserError, match="another configuration"):
        train(data, SMALL, tmp_path, resume=True)
    (file,) = tmp_path.glob("member-*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        train(data, SMALL, tmp_path, resume=True)


def on_another_machine(monkeypatch: pytest.MonkeyPatch, precision: str, batch: int) -> None:
    """Let the next run find a machine that computes like this, without having one."""
    own = RunResources.__init__

    def made(machine: RunResources, *args: object, **options: object) -> None:
        own(machine, *args, **options)  # type: ignore[arg-type]
        machine.precision, machine.batch_segments = Precision(precision, "as asked"), batch

    monkeypatch.setattr(RunResources, "__init__", made)


@pytest.mark.parametrize(("precision", "batch"), [("bf16", 8), ("tf32", 8), ("float32", 64)])
def test_a_run_does_not_go_on_with_another_arithmetic(
    data: ForecastDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, batch: int
) -> None:
    with pytest.raises(JobStopped):
        train(data, SMALL, tmp_path, stop_after=25)
    with monkeypatch.context() as elsewhere:
        on_another_machine(elsewhere, precision, batch)
        with pytest.raises(UserError, match="another precision or batch"):
            train(data, SMALL, tmp_path, resume=True)
    other = replace(SMALL, resources=ResourceSpec(device="auto", threads=2, precision="float32", memory_share=0.5))
    assert len(train(data, other, tmp_path, resume=True).history) == 5


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    spec = replace(SMALL, training=replace(SMALL.training, epochs=60, patience=2, learning_rate=0.02))
    data = build_dataset(frame_from_returns(noise_returns(4_000, 3)), spec)
    seen: list[TrainingProgress] = []
    trained = train_lstm_model(
        data, spec, run_id="run", run_dir=tmp_path, on_progress=seen.append, should_stop=lambda: False
    )
    assert trained.stopped_early
    assert len(trained.history) == trained.best_epoch + 2
    valid = [record.valid_loss for record in trained.history]
    if trained.best_epoch:
        assert trained.best_epoch == int(np.argmin(valid)) + 1
    ends = [progress for progress in seen if progress.epoch == len(trained.history)]
    assert ends[-1].train_loss is not None
    assert ends[-1].device.startswith("CPU")
    assert ends[-1].targets_per_s > 0
    assert trained.targets_per_s > 0


def test_a_diverging_run_is_one_sentence(data: ForecastDataset, tmp_path: Path) -> None:
    broken = replace(data, target=np.where(np.arange(len(data.target))[:, None] == 500, np.inf, data.target))
    with pytest.raises(UserError, match="diverged in epoch 1"):
        train(broken, SMALL, tmp_path)


@pytest.mark.parametrize(("kind", "head"), [("gru", "quantile"), ("lstm", "student_t"), ("gru", "classes")])
def test_every_head_finds_the_dependence_at_every_horizon(tmp_path: Path, kind: str, head: str) -> None:
    phi = 0.4
    spec = replace(
        SMALL,
        model=ModelSpec(kind=kind, head=head, hidden_size=8, horizons=(1, 2), dropout=0.0, layer_norm=True),
        training=replace(SMALL.training, schedule="cosine"),
    )
    data = build_dataset(frame_from_returns(ar1_returns(12_000, phi, 5)), spec)
    trained = train(data, spec, tmp_path)
    rows = data.rows(data.test)
    with torch.no_grad():
        state = trained.network.initial_state(1, torch.device("cpu"))
        quantiles = trained.network(torch.from_numpy(data.inputs[None]), *state)[0][0].numpy()[rows]
    assert quantiles.shape == (len(rows), 2, 5)
    # The sum of the next two returns is (phi + phi²) r plus (1 + phi) e' + e'': its correlation with r.
    signal = (phi + phi**2) ** 2 / (1 - phi**2)
    best = (phi, np.sqrt(signal / (signal + (1 + phi) ** 2 + 1)))
    for column in range(2):
        target = data.target[rows, column]
        correlation = np.corrcoef(quantiles[:, column, 2], target)[0, 1]
        assert 0.75 * best[column] < correlation < 1.15 * best[column]
        covered = (target >= quantiles[:, column, 0]) & (target <= quantiles[:, column, 4])
        assert covered.mean() == pytest.approx(0.9, abs=0.05)


def test_several_seeds_become_one_network_that_forecasts_their_mean(data: ForecastDataset, tmp_path: Path) -> None:
    several = replace(SMALL, evaluation=EvaluationSpec(seeds=3))
    trained = train(data, several, tmp_path / "several")
    rows = data.rows(data.test)[:50]
    alone = []
    for seed in (1, 2, 3):
        spec = replace(SMALL, training=replace(SMALL.training, seed=seed))
        alone.append(forecasts(train(data, spec, tmp_path / str(seed)).network, data, rows))
    np.testing.assert_allclose(forecasts(trained.network, data, rows), np.mean(alone, axis=0), atol=1e-8)
    assert np.std(alone, axis=0).max() > 1e-6
    assert [state.seed for state in trained.states] == [1, 2, 3]
    assert {record.seed for record in trained.history} == {1, 2, 3}
    assert kept_seconds(tmp_path / "several") == pytest.approx(trained.seconds)  # the last seed counts once
    assert kept_seconds(tmp_path / "nothing") == 0.0


@pytest.mark.parametrize("stop_after", [70, 120])
def test_a_run_of_several_seeds_resumes_within_a_later_seed(
    data: ForecastDataset, tmp_path: Path, stop_after: int
) -> None:
    several = replace(SMALL, evaluation=EvaluationSpec(seeds=3))
    whole = train(data, several, tmp_path / "whole")
    with pytest.raises(JobStopped):
        train(data, several, tmp_path / "cut", stop_after=stop_after)
    assert (tmp_path / "cut" / "member-1.json").exists()
    resumed = train(data, several, tmp_path / "cut", resume=True)
    assert losses(resumed) == losses(whole)
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(resumed)[name])


def test_memory_that_runs_out_changes_a_run_by_rounding_only(
    data: ForecastDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(SMALL, model=replace(SMALL.model, dropout=0.0), training=replace(SMALL.training, epochs=2))
    whole = train(data, spec, tmp_path / "whole")
    plain = _Trainer._loss

    def tight(trainer: _Trainer, segments: Segments, batch: np.ndarray) -> torch.Tensor:
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(trainer, segments, batch)

    monkeypatch.setattr(_Trainer, "_loss", tight)
    seen: list[TrainingProgress] = []
    parts = train_lstm_model(
        data, spec, run_id="run", run_dir=tmp_path / "parts", on_progress=seen.append, should_stop=lambda: False
    )
    assert "parts of 2 segments" in seen[-1].note
    for name, value in weights(whole).items():
        np.testing.assert_allclose(weights(parts)[name], value, atol=1e-5)


def test_a_full_disk_is_told_before_anything_is_trained(
    data: ForecastDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.telemetry.shutil.disk_usage", lambda folder: SimpleNamespace(free=1 << 20))
    with pytest.raises(UserError, match="has 1 MiB left"):
        train(data, SMALL, tmp_path)
    assert list(tmp_path.iterdir()) == []
