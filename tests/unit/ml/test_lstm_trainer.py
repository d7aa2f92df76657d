"""Training on processes whose best possible forecast is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.jobs import JobStopped
from ml.api import FeatureSpec, ForecastSpec, ModelSpec, ResourceSpec, TrainingProgress, TrainingSpec
from ml.dataset import ForecastDataset, build_dataset
from ml.evaluators import evaluate_forecast
from ml.lstm_model import LstmForecaster, one_cycle, pinball_loss
from ml.lstm_trainer import TrainedForecaster, train_lstm_model
from tests.unit.ml.helpers import ar1_returns, frame_from_returns, noise_returns

FEATURES = FeatureSpec("price", 1, horizons=(1, 4), window=48)
SMALL = ForecastSpec(
    features=FEATURES,
    model=ModelSpec(hidden_size=8),
    training=TrainingSpec(epochs=5, segment_length=64, burn_in=8, batch_segments=8, patience=5),
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


def forecasts(network: LstmForecaster, data: ForecastDataset, rows: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        quantiles, _, _ = network(torch.from_numpy(data.inputs[None]), *network.initial_state(1, torch.device("cpu")))
    return quantiles[0].numpy().astype(np.float64)[rows] * data.unit[rows, None]


def judge(data: ForecastDataset, spec: ForecastSpec, trained: TrainedForecaster):
    rows = data.rows(data.test)
    levels = spec.model.quantile_levels
    valid = forecasts(trained.network, data, data.rows(data.valid))[:, len(levels) // 2]
    return evaluate_forecast(data, rows, forecasts(trained.network, data, rows), levels, valid)


def test_ar1_reaches_the_known_optimum_and_never_more(tmp_path: Path) -> None:
    phi = 0.2
    spec = ForecastSpec(
        features=FEATURES,
        model=ModelSpec(hidden_size=16, dropout=0.0),
        training=TrainingSpec(epochs=8, segment_length=128, burn_in=16, batch_segments=8),
        resources=ResourceSpec(device="cpu", threads=1),
    )
    data = build_dataset(frame_from_returns(ar1_returns(40_000, phi, seed=11)), spec)
    result = judge(data, spec, train(data, spec, tmp_path))
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
        data = build_dataset(frame_from_returns(noise_returns(6_000, seed)), SMALL)
        result = judge(data, SMALL, train(data, SMALL, tmp_path / str(seed)))
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
    assert len(list((tmp_path / "cut").iterdir())) == 2  # one tensor file, one index


def test_a_checkpoint_of_something_else_or_damaged_is_refused(data: ForecastDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no usable checkpoint"):
        train(data, SMALL, tmp_path, resume=True)
    train(data, replace(SMALL, training=replace(SMALL.training, epochs=1)), tmp_path)
    with pytest.raises(UserError, match="another configuration"):
        train(data, SMALL, tmp_path, resume=True)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        train(data, SMALL, tmp_path, resume=True)


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
    broken = replace(data, target=np.where(np.arange(len(data.target)) == 500, np.inf, data.target))
    with pytest.raises(UserError, match="diverged in epoch 1"):
        train(broken, SMALL, tmp_path)


def test_quantiles_never_cross_and_start_where_they_are_told() -> None:
    torch.manual_seed(0)
    network = LstmForecaster(3, ModelSpec(hidden_size=4))
    wanted = np.array([-1.6, -0.7, 0.1, 0.7, 1.6])
    network.start_from(wanted)
    network.eval()
    with torch.no_grad():
        state = network.initial_state(2, torch.device("cpu"))
        torch.testing.assert_close(
            network(torch.zeros(2, 5, 3), *state)[0][0, 0], torch.tensor(wanted, dtype=torch.float32), atol=0.02, rtol=0
        )
        network.head.weight.mul_(100)
        network.skip.weight.normal_()
        quantiles, _, _ = network(torch.randn(2, 50, 3) * 5, *state)
    assert (quantiles.diff(dim=-1) >= 0).all()


def test_pinball_loss_is_weighted() -> None:
    quantiles, target = torch.tensor([[[0.0], [0.0]]]), torch.tensor([[1.0, -100.0]])
    loss = pinball_loss(quantiles, target, torch.tensor([[1.0, 0.0]]), torch.tensor([0.9]))
    assert float(loss) == pytest.approx(0.9)


def test_one_cycle_rises_and_falls() -> None:
    rates = [one_cycle(p, 1.0) for p in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[-1] == pytest.approx(0.02)
