"""Training runs and histories in the pictures. Qt-free, pure, any thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from app.flows.datasets import (
    Dataset,
    DeviceOption,
    SeriesExtent,
    SourceKind,
    StoredForecaster,
    dataset_from_frame,
    device_options,
)
from app.flows.feature_catalogue import FeatureCatalogue, load_catalogue
from app.flows.sample_session import MODEL_IDS, PRACTICE, SAMPLE_VERDICT
from app.flows.training_queue import QueuedRun, QueueState, TrainingQueue
from app.screenshots.market import NOW_NS, PictureMarket
from core.clock import NS_PER_S
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE
from core.errors import UserError
from ml.api import (
    DataRange,
    EpochRecord,
    ForecastMetrics,
    ForecastSpec,
    PointMetrics,
    SeriesSource,
    TrainingProgress,
    TrainingResult,
)
from ml.metric_results import SeedScore

EPOCHS: Final = 40
RUNNING, FINISHED, FAILED, PAUSED = "run-running", "run-finished", "run-failed", "run-paused"
_RENAME: Final = "Rename the columns to date, open, high, low, close, volume."
_STORED_BARS = 9_000
_HOLE = slice(4_100, 4_119)  # bars an outage left out
_PRACTICE_BARS = 30_000


class PictureSources:
    """Histories and devices for the wizard (`app.flows.datasets.TrainingSources`)."""

    def __init__(self, market: PictureMarket) -> None:
        self._stored = (
            stored_history(market, "BTC/USDT", Timeframe.H1),
            stored_history(market, "ETH/USDT", Timeframe.H1),
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

    def inspect_series(self, source: SeriesSource, done: Callable[[SeriesExtent | UserError], None]) -> None:
        """Answer that the series is known all the time."""
        bars = self._stored[0]
        done(SeriesExtent(np.arange(bars.first_ns, bars.last_ns, 8 * Timeframe.H1.ns, dtype=np.int64)))

    def load_features(self, done: Callable[[FeatureCatalogue | UserError], None]) -> None:
        """Read the kinds of feature columns at once."""
        done(load_catalogue())

    def load_forecasters(self, done: Callable[[Sequence[StoredForecaster] | UserError], None]) -> None:
        """Tell of one stored forecaster at once."""
        done(stored_forecasters())


def stored_forecasters() -> tuple[StoredForecaster, ...]:
    """Return a forecaster that an agent can see through."""
    learned = NOW_NS - 4_000 * Timeframe.H1.ns
    chosen = NOW_NS - 2_000 * Timeframe.H1.ns
    created = NOW_NS - Timeframe.D1.ns
    return (StoredForecaster(MODEL_IDS[0], BINANCE, "BTC/USDT", "1h", "lstm", (1, 4, 24), created, learned, chosen),)


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
    return tuple(
        EpochRecord(epoch, *_losses(epoch), 2.4, _rate(epoch), 0.62 * _losses(epoch)[1], _speed(epoch))
        for epoch in range(1, epochs + 1)
    )


def _rate(epoch: int) -> float:
    return 0.003 * 0.5 * (1 + math.cos(epoch / EPOCHS * 3))


def _speed(epoch: int) -> float:
    return 148_200.0 + 4_000 * math.sin(epoch * 1.7)


def best_epoch(records: Sequence[EpochRecord]) -> int:
    """Return the epoch of the lowest validation loss."""
    return min(records, key=lambda record: record.valid_loss).epoch


def progress(epochs: int, run_id: str = RUNNING, shift: float = 0.0) -> tuple[TrainingProgress, ...]:
    """Return the messages of a run that has finished `epochs` of its epochs."""
    start = TrainingProgress(run_id, "loading", epochs=EPOCHS, device="CPU, 2 threads")
    records = history(epochs)
    steps = tuple(
        replace(
            start,
            phase="training",
            epoch=r.epoch,
            train_loss=r.train_loss + shift,
            valid_loss=r.valid_loss + shift,
            best_epoch=best_epoch(records[: r.epoch]),
            learning_rate=r.learning_rate,
            targets_per_s=r.targets_per_s,
            crps=(r.crps or 0.0) + shift,
            cpu_percent=182.0 + 9 * math.sin(r.epoch * 1.3),
            rss_bytes=412_000_000 + 900_000 * r.epoch,
            eta_s=2.4 * (EPOCHS - r.epoch),
        )
        for r in records
    )
    return (start, *steps)


def queue() -> TrainingQueue:
    """Return a queue of every state a run can wait or work in."""
    minute = 60 * NS_PER_S
    wanted = (
        (RUNNING, "BTC/USDT", "1h", QueueState.RUNNING),
        (PAUSED, "ETH/USDT", "1h", QueueState.PAUSED),
        ("run-next", "ETH/USDT", "4h", QueueState.WAITING),
        ("run-held", "BTC/USDT", "4h", QueueState.HELD),
        ("run-last", "BTC/USDT", "1d", QueueState.WAITING),
    )
    runs = [
        QueuedRun(
            name, ForecastSpec(data=DataRange(BINANCE, symbol, bar)).to_json(), NOW_NS + place * minute, state=state
        )
        for place, (name, symbol, bar, state) in enumerate(wanted)
    ]
    return TrainingQueue((*runs[:-1], replace(runs[-1], after=RUNNING)), slots=2)


def result(run_id: str = FINISHED, shift: float = 0.0) -> TrainingResult:
    """Return a finished run with the honest figures of an ordinary market: no edge that could be shown."""
    networks = [
        [
            replace(r, valid_loss=r.valid_loss + up, train_loss=r.train_loss + up, crps=(r.crps or 0.0) + up, seed=seed)
            for r in history(epochs)
        ]
        for seed, (epochs, up) in enumerate(((24, shift), (21, shift + 0.0012), (26, shift + 0.0007)), start=1)
    ]

    def point(name: str, mae: float, skill: float, r2: float, hit: float | None) -> PointMetrics:
        return PointMetrics(name, mae, mae * 1.48, skill, r2, hit_rate=hit)

    metrics = ForecastMetrics(
        targets=1_333,
        effective_targets=1_333,
        model=point("model", 0.00391, 0.0008 - shift, 0.0004 - shift, 0.509),
        baselines=(
            point("zero", 0.00391, 0.0, 0.0, None),
            point("persistence", 0.00562, -0.4373, -1.0312, 0.488),
            point("ridge", 0.00392, -0.0021, -0.0013, 0.503),
            point("boosting", 0.00396, -0.0119, -0.0184, 0.497),
        ),
        pinball=0.00142 + shift / 200,
        pinball_baseline=0.001455,
        coverage=0.893,
        nominal_coverage=0.9,
        edge_p_value=0.31,
        edge=False,
        forecast_std=0.0006,
        target_std=0.0058,
        verdict=SAMPLE_VERDICT,
        crps=0.00284 + shift / 100,
        crps_baseline=0.00291,
        crps_skill=0.024,
        seeds=tuple(
            SeedScore(of[0].seed, len(of), best_epoch(of), min(r.valid_loss for r in of), 0.00285, 0.0003, *[None] * 4)
            for of in networks
        ),
    )
    records = tuple(record for of in networks for record in of)
    return TrainingResult(
        run_id,
        MODEL_IDS[0],
        "BTC/USDT",
        "1h",
        len(networks[0]),
        best_epoch(networks[0]),
        True,
        171.3,
        148_200.0,
        "CPU",
        records,
        metrics,
        total_s=204.8,
    )
