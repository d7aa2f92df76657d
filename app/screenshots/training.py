"""Training runs and histories in the pictures. Qt-free, pure, any thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from app.flows.datasets import Dataset, DeviceOption, SourceKind, dataset_from_frame, device_options
from app.flows.sample_session import MODEL_IDS, PRACTICE, SAMPLE_VERDICT
from app.screenshots.market import NOW_NS, PictureMarket
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE
from core.errors import UserError
from ml.api import DataRange, EpochRecord, ForecastMetrics, PointMetrics, TrainingProgress, TrainingResult

EPOCHS: Final = 40
RUNNING, FINISHED, FAILED = "run-running", "run-finished", "run-failed"
_RENAME: Final = "Rename the columns to date, open, high, low, close, volume."
_STORED_BARS = 9_000
_HOLE = slice(4_100, 4_119)  # bars an outage left out
_PRACTICE_BARS = 30_000


class PictureSources:
    """Histories and devices for the wizard (`app.flows.datasets.TrainingSources`)."""

    def __init__(self, market: PictureMarket) -> None:
        self._stored = (
            stored_history(market, "BTC/USDT", Timeframe.H1),
            stored_history(market, "ETH/USDT", Timeframe.H4, _STORED_BARS // 4),
        )
        self._symbols = market.symbols

    def datasets(self) -> Sequence[Dataset]:
        """Return two stored histories and the practice market's."""
        return (*self._stored, *(_practice(symbol, frame) for symbol in self._symbols for frame in (Timeframe.H1,)))

    def devices(self) -> Sequence[DeviceOption]:
        """Return the devices of a machine without a GPU."""
        return device_options(())

    def inspect_file(self, path: Path, done: Callable[[Dataset | UserError], None]) -> None:
        """Answer that the file is damaged: the picture shows what a person then reads."""
        done(UserError(f"{path.name} has no column for volume (it has: date, open, high, low, close).", _RENAME))


def stored_history(market: PictureMarket, symbol: str, timeframe: Timeframe, count: int = _STORED_BARS) -> Dataset:
    """Return a stored history with one gap."""
    frame = market.history(symbol, timeframe, count).finals()
    kept = np.ones(len(frame), np.bool_)
    kept[_HOLE] = False
    return dataset_from_frame(frame.select(kept), SourceKind.STORE, BINANCE)


def practice_data(symbol: str, timeframe: str) -> DataRange:
    """Return what a run on the practice market learns from."""
    return DataRange(PRACTICE, symbol, timeframe)


def _practice(symbol: str, timeframe: Timeframe) -> Dataset:
    last_ns = timeframe.floor(NOW_NS) - timeframe.ns
    first_ns = last_ns - (_PRACTICE_BARS - 1) * timeframe.ns
    return Dataset(SourceKind.PRACTICE, PRACTICE, symbol, timeframe, first_ns, last_ns, _PRACTICE_BARS)


def _losses(epoch: int) -> tuple[float, float]:
    """Return training and validation loss of an epoch: both fall, then the validation loss turns."""
    wobble = math.sin(epoch * 2.4) * 0.0011
    train = 0.4010 + 0.046 * math.exp(-epoch / 6.0) - 0.00034 * epoch + wobble / 2
    valid = 0.4065 + 0.041 * math.exp(-epoch / 5.0) + 0.000012 * max(0, epoch - 14) ** 2 + wobble
    return train, valid


def history(epochs: int) -> tuple[EpochRecord, ...]:
    """Return the records of the first epochs."""
    return tuple(EpochRecord(epoch, *_losses(epoch), 2.4) for epoch in range(1, epochs + 1))


def best_epoch(records: Sequence[EpochRecord]) -> int:
    """Return the epoch of the lowest validation loss."""
    return min(records, key=lambda record: record.valid_loss).epoch


def progress(epochs: int) -> tuple[TrainingProgress, ...]:
    """Return the messages of a run that has finished `epochs` of its epochs."""
    start = TrainingProgress(RUNNING, "loading", epochs=EPOCHS, device="CPU, 2 threads")
    records = history(epochs)
    steps = tuple(
        replace(
            start,
            phase="training",
            epoch=r.epoch,
            train_loss=r.train_loss,
            valid_loss=r.valid_loss,
            best_epoch=best_epoch(records[: r.epoch]),
            learning_rate=0.003 * 0.5 * (1 + math.cos(r.epoch / EPOCHS * 3)),
            targets_per_s=148_200.0,
            eta_s=2.4 * (EPOCHS - r.epoch),
        )
        for r in records
    )
    return (start, *steps)


def result() -> TrainingResult:
    """Return a finished run with the honest figures of an ordinary market: no edge that could be shown."""
    records = history(24)

    def point(name: str, mae: float, skill: float, r2: float, hit: float | None) -> PointMetrics:
        return PointMetrics(name, mae, mae * 1.48, skill, r2, hit_rate=hit)

    metrics = ForecastMetrics(
        targets=1_333,
        effective_targets=1_333,
        model=point("model", 0.00391, 0.0008, 0.0004, 0.509),
        baselines=(
            point("persistence", 0.00391, 0.0, 0.0, None),
            point("ridge", 0.00392, -0.0021, -0.0013, 0.503),
            point("boosting", 0.00396, -0.0119, -0.0184, 0.497),
        ),
        pinball=0.4064,
        pinball_baseline=0.4197,
        coverage=0.893,
        nominal_coverage=0.9,
        edge_p_value=0.31,
        edge=False,
        forecast_std=0.0006,
        target_std=0.0058,
        verdict=SAMPLE_VERDICT,
    )
    return TrainingResult(
        FINISHED,
        MODEL_IDS[0],
        "BTC/USDT",
        "1h",
        len(records),
        best_epoch(records),
        True,
        57.6,
        148_200.0,
        "CPU",
        records,
        metrics,
    )
