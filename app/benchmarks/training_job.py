"""Jobs that measure training. Run in a spawned child under `core.job_supervisor` (imports torch).

The trainer is the program's own; only its clock is another: seconds of the processor that this process used, so that
other programs on the same cores neither slow the figure down nor flatter the ratio to the peer beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from app.benchmarks.window_loader_peer import WINDOW, Pace, WindowTrainer, measure_window_loader
from core.data.data_storage import CandleStore
from core.domain.candles import Timeframe
from core.errors import UserError
from core.jobs import JobChannel, Json
from ml.api import ForecastSpec
from ml.dataset import ForecastDataset, build_dataset
from ml.gpu_utils import choose_device
from ml.lstm_trainer import TrainedForecaster, train_lstm_model
from ml.onnx_export import export_onnx

PEER_BATCHES = (64, 1_024)
_PASSES = 20  # of the bare network
_WARM_UP_PASSES = 3


def throughput(job: Json, channel: JobChannel) -> Json:
    """Train with the program's trainer, then the peers on the same bars, and export what was trained.

    Args:
        job: `spec` (`ml.api.ForecastSpec` as JSON), `folder` (with the candle store; the networks are put there),
            `peer_s` (seconds of processor time per peer), `ensemble` (seeds of the second network).
        channel: progress and stop.

    Returns:
        `ours` and `peers` (name to the same): targets per second of the processor (`cpu_per_s`) and by the clock
        (`wall_per_s`; of ours with validation and checkpoints of every epoch). `networks`: name to file.
    """
    spec, folder = ForecastSpec.from_json(job["spec"]), Path(job["folder"])
    data = _dataset(spec, folder)
    began = time.perf_counter()
    trained = _train(data, spec, folder / "single", channel, time.process_time)
    wall = time.perf_counter() - began
    peers = {f"window DataLoader, batch {batch}": _peer(data, spec, batch, job["peer_s"]) for batch in PEER_BATCHES}
    several = replace(
        spec,
        evaluation=replace(spec.evaluation, seeds=job["ensemble"]),
        training=replace(spec.training, epochs=1),
    )
    ensemble = _train(data, several, folder / "several", channel, time.process_time)
    files = {"single": folder / "single.onnx", "ensemble": folder / "ensemble.onnx"}
    files["single"].write_bytes(export_onnx(trained.network))
    files["ensemble"].write_bytes(export_onnx(ensemble.network))
    return {
        "ours": {
            "cpu_per_s": _middle_rate(trained),
            "wall_per_s": sum(state.targets for state in trained.states) / wall,
        },
        "peers": {
            name: {"cpu_per_s": pace.targets / pace.cpu_s, "wall_per_s": pace.targets / pace.wall_s}
            for name, pace in peers.items()
        },
        "networks": {name: str(file) for name, file in files.items()},
    }


def on_gpu(job: Json, channel: JobChannel) -> Json:
    """Train on a GPU and run the bare recurrent layer on the same shapes.

    Args:
        job: as for `throughput`; the device is that of the specification.
        channel: progress and stop.

    Returns:
        `skipped`, the reason why there is nothing to measure, or "" and `device`, `targets_per_s`, `bare_per_s` and
        `peak_mb` (None where torch does not count the device's memory).
    """
    spec, folder = ForecastSpec.from_json(job["spec"]), Path(job["folder"])
    try:
        choice = choose_device(spec.resources, spec.model.hidden_size)
    except UserError as error:
        return {"skipped": error.message}
    device = torch.device(choice.name)
    data = _dataset(spec, folder)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trained = _train(data, spec, folder / "gpu", channel, time.perf_counter)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {
        "skipped": "",
        "device": choice.title,
        "targets_per_s": _middle_rate(trained),
        "bare_per_s": bare_rate(spec, data.inputs.shape[1], device),
        "peak_mb": None if peak is None else peak / 1e6,
    }


def bare_rate(spec: ForecastSpec, features: int, device: torch.device) -> float:
    """Return targets per second of torch's own recurrent layer, forward and backward, on random inputs.

    The shapes are those of one step of the trainer; there is neither head nor loss nor optimiser, and the inputs stay
    where they are. Bars of the burn-in do not count, as in training.
    """
    kind = nn.LSTM if spec.model.kind == "lstm" else nn.GRU
    layer = kind(features, spec.model.hidden_size, spec.model.layers, batch_first=True).to(device)
    shape = (spec.training.batch_segments, spec.training.segment_length, features)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(spec.training.seed)).to(device)

    def one_pass() -> None:
        layer.zero_grad()
        layer(x)[0].sum().backward()

    for _ in range(_WARM_UP_PASSES):
        one_pass()
    _wait_for(device)
    began = time.perf_counter()
    for _ in range(_PASSES):
        one_pass()
    _wait_for(device)
    targets = _PASSES * shape[0] * (spec.training.segment_length - spec.training.burn_in)
    return targets / (time.perf_counter() - began)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _dataset(spec: ForecastSpec, folder: Path) -> ForecastDataset:
    store = CandleStore(folder / "candles")
    return build_dataset(store.read(spec.data.origin, spec.data.symbol, Timeframe(spec.data.timeframe)), spec)


def _train(
    data: ForecastDataset, spec: ForecastSpec, run_dir: Path, channel: JobChannel, clock: Callable[[], float]
) -> TrainedForecaster:
    return train_lstm_model(
        data,
        spec,
        run_id="bench",
        run_dir=run_dir,
        on_progress=lambda progress: channel.progress(progress.to_json()),
        should_stop=channel.should_stop,
        clock=clock,
    )


def _middle_rate(trained: TrainedForecaster) -> float:
    """Return the targets per second of the middle epoch, without validation.

    The first epoch is left out: in it the libraries choose their algorithms and allocate.
    """
    return statistics.median(record.targets_per_s for record in trained.history[1:] or trained.history)


def _peer(data: ForecastDataset, spec: ForecastSpec, batch: int, seconds: float) -> Pace:
    rows = slice(int(data.rows(data.train)[0]), data.train.stop)
    trainer = WindowTrainer(
        torch.from_numpy(data.inputs[rows]),
        torch.from_numpy(data.target[rows, 0]),
        hidden=spec.model.hidden_size,
        batch=batch,
        seed=spec.training.seed,
        window=WINDOW,
    )
    return measure_window_loader(trainer, seconds=seconds, cpu_clock=time.process_time, wall_clock=time.perf_counter)
