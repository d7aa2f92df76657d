"""What there is to learn from and to compute on, as the training wizard shows it. Qt-free, pure, any thread."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np

from app.flows.amount import Sentence
from app.flows.feature_catalogue import FeatureCatalogue
from app.i18n import mark
from core.clock import to_datetime
from core.data.frame import CandleFrame
from core.data.quality import find_gaps
from core.domain.candles import Timeframe
from core.domain.data_origin import DataOrigin
from core.errors import UserError
from ml.api import SeriesSource
from ml.arrays import BoolArray, IntArray

PREVIEW_POINTS = 240  # closes kept for the small picture of a data set


class SourceKind(StrEnum):
    """Where the bars of a run come from."""

    STORE = "store"
    PRACTICE = "practice"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class DatasetGap:
    """Bars missing between two others.

    Attributes:
        start_ns / end_ns: open time of the first missing bar and of the first bar after them, ns UTC.
        missing: how many.
    """

    start_ns: int
    end_ns: int
    missing: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A price history a run can learn from.

    Attributes:
        origin / symbol / timeframe: the market.
        first_ns / last_ns: open times of the first and the last bar, ns UTC.
        bars: how many there are; for practice history, how many can be fetched.
        gaps: missing stretches, oldest first.
        closes: a few closes, evenly spaced, oldest first, for the picture; may be empty.
        path: the file, for `SourceKind.FILE`.
    """

    kind: SourceKind
    origin: DataOrigin
    symbol: str
    timeframe: Timeframe
    first_ns: int
    last_ns: int
    bars: int
    gaps: tuple[DatasetGap, ...] = ()
    closes: tuple[float, ...] = ()
    path: str = ""

    def between(self, start_ns: int | None, end_ns: int | None) -> RangeSummary:
        """Return what lies in `start_ns` <= open time < `end_ns`; None is unbounded."""
        step = self.timeframe.ns
        first = self.first_ns if start_ns is None else max(self.first_ns, start_ns)
        first += (self.first_ns - first) % step
        stop = self.last_ns + step if end_ns is None else min(self.last_ns + step, end_ns)
        if first >= stop:
            return RangeSummary(0, None, None, 0, 0)
        slots = -(-(stop - first) // step)
        last = first + (slots - 1) * step
        missing = gaps = 0
        for gap in self.gaps:
            inside = (min(gap.end_ns, stop) - max(gap.start_ns, first)) // step
            if inside > 0:
                missing += min(inside, gap.missing)
                gaps += 1
        return RangeSummary(max(0, slots - missing), first, last, gaps, missing)


@dataclass(frozen=True, slots=True)
class RangeSummary:
    """What a range of a data set holds.

    Attributes:
        bars: bars that exist.
        first_ns / last_ns: first and last open time, ns UTC; None where the range is empty.
        gaps / missing: missing stretches and the bars they lack.
    """

    bars: int
    first_ns: int | None
    last_ns: int | None
    gaps: int
    missing: int


@dataclass(frozen=True, slots=True, eq=False)
class SeriesExtent:
    """When the values of a side series became known.

    Attributes:
        known_ns: ns UTC, ascending, shape (m,), at least one.
    """

    known_ns: IntArray

    @property
    def first_ns(self) -> int:
        """When the first value was known."""
        return int(self.known_ns[0])

    @property
    def last_ns(self) -> int:
        """When the last value was known."""
        return int(self.known_ns[-1])

    def fresh(self, close_ns: IntArray, max_age_ns: int) -> BoolArray:
        """Return at which closes, shape (n,), a value is known that is not older than `max_age_ns`."""
        index = np.searchsorted(self.known_ns, close_ns, side="right") - 1
        return (index >= 0) & (close_ns - self.known_ns[index] <= max_age_ns)


@dataclass(frozen=True, slots=True)
class StoredForecaster:
    """A stored model whose view an agent may see.

    Attributes:
        model_id: content hash of the package.
        origin / symbol / timeframe: the market it knows.
        kind: of its network.
        horizons: bars it looks ahead, ascending.
        created_ns: when it was trained, ns UTC.
        learned_ns / chosen_ns: what its training and its validation looked at ends before these times, ns UTC: an
            agent's validation and its test must not begin earlier.
    """

    model_id: str
    origin: DataOrigin
    symbol: str
    timeframe: str
    kind: str
    horizons: tuple[int, ...]
    created_ns: int
    learned_ns: int
    chosen_ns: int


@dataclass(frozen=True, slots=True)
class DeviceOption:
    """A device a run can compute on.

    Attributes:
        device: as `ml.api.ResourceSpec.device` spells it.
        title: short name.
        reason: why it is or is not the choice.
    """

    device: str
    title: Sentence
    reason: Sentence
    available: bool = True


class TrainingSources(Protocol):
    """What the wizard asks of the rest of the program; called on the GUI thread, must return at once."""

    def datasets(self) -> Sequence[Dataset]:
        """Return the stored and the practice histories."""
        ...

    def devices(self) -> Sequence[DeviceOption]:
        """Return what this machine can compute on, the automatic choice first."""
        ...

    def inspect_file(self, path: Path, done: Callable[[Dataset | UserError], None]) -> None:
        """Look into a file in the background and call `done` on the GUI thread with what it holds or what is wrong."""
        ...

    def inspect_series(self, source: SeriesSource, done: Callable[[SeriesExtent | UserError], None]) -> None:
        """Read a side series in the background and call `done` on the GUI thread with its times or what is wrong."""
        ...

    def load_features(self, done: Callable[[FeatureCatalogue | UserError], None]) -> None:
        """Read the kinds of feature columns in the background and call `done` on the GUI thread."""
        ...

    def load_forecasters(self, done: Callable[[Sequence[StoredForecaster] | UserError], None]) -> None:
        """Read, in the background, which stored forecasters there are and call `done` on the GUI thread."""
        ...


def dataset_from_frame(frame: CandleFrame, kind: SourceKind, origin: DataOrigin, path: str = "") -> Dataset:
    """Describe bars in memory.

    Raises:
        UserError: there are no bars.
    """
    if not len(frame):
        raise UserError("There are no bars in this price history.", "Choose another one.")
    picks = np.linspace(0, len(frame) - 1, min(PREVIEW_POINTS, len(frame))).astype(np.int64)
    return Dataset(
        kind=kind,
        origin=origin,
        symbol=frame.symbol,
        timeframe=frame.timeframe,
        first_ns=int(frame.time_ns[0]),
        last_ns=int(frame.time_ns[-1]),
        bars=len(frame),
        gaps=tuple(DatasetGap(gap.start_ns, gap.end_ns, gap.missing) for gap in find_gaps(frame)),
        closes=tuple(float(close) for close in frame.close[picks]),
        path=path,
    )


def device_options(gpus: Sequence[str], *, apple: bool | None = None) -> tuple[DeviceOption, ...]:
    """Return the devices to choose from.

    Args:
        gpus: one line per NVIDIA GPU, as `core.diagnostics.probes.nvidia_gpus` returns them, in CUDA's order.
        apple: whether this is a Mac with a GPU that torch reaches through MPS; None finds out.
    """
    cores = str(os.cpu_count() or 1)
    cpu_title = Sentence(mark("CPU"))
    if gpus:
        automatic = Sentence(
            mark("The GPU {gpu} is used if the installed torch supports it, otherwise the CPU."), {"gpu": gpus[0]}
        )
        gpu_reason = Sentence(mark("{gpu}. The run stops with a message if torch cannot use it."), {"gpu": gpus[0]})
    else:
        automatic = Sentence(mark("No NVIDIA GPU was found: the CPU with {cores} cores is used."), {"cores": cores})
        gpu_reason = Sentence(mark("No NVIDIA GPU was found on this machine."))
    if len(gpus) > 1:
        automatic = Sentence(mark("The NVIDIA GPU with the most free memory is used, otherwise the CPU."))
        gpu_reason = Sentence(
            mark("The one with the most free memory. The run stops with a message if none can be used.")
        )
    options = [
        DeviceOption("auto", Sentence(mark("Automatic")), automatic),
        DeviceOption(
            "cpu",
            cpu_title,
            Sentence(mark("{cores} cores. Enough for networks of this size."), {"cores": cores}),
        ),
        DeviceOption("cuda", Sentence(mark("NVIDIA GPU (CUDA)")), gpu_reason, available=bool(gpus)),
    ]
    if len(gpus) > 1:
        options += [
            DeviceOption(
                f"cuda:{index}",
                Sentence(mark("NVIDIA GPU {number}"), {"number": str(index)}),
                Sentence(mark("{gpu}. The run stops with a message if torch cannot use it."), {"gpu": gpu}),
            )
            for index, gpu in enumerate(gpus)
        ]
    if (sys.platform == "darwin" and platform.machine() == "arm64") if apple is None else apple:
        options.append(
            DeviceOption(
                "mps",
                Sentence(mark("Apple GPU (MPS)")),
                Sentence(mark("Recurrent networks run faster on this machine's CPU; use it only to compare.")),
            )
        )
    return tuple(options)


def date_text(time_ns: int) -> str:
    """Return the UTC date of a time as ISO text; bars and ranges are counted in UTC everywhere."""
    return to_datetime(time_ns).date().isoformat()
