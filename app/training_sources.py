"""What the training wizard asks for, answered by the store worker. GUI thread; reading happens in the worker.

The window builds one `StoreTrainingSources`, calls `refresh` when the wizard is about to open and connects
`datasets_changed` to `TrainingWizard.set_datasets`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import QObject, Signal, SignalInstance, Slot

from app.flows.datasets import Dataset, DeviceOption, SourceKind, dataset_from_frame, device_options
from core.domain.candles import Timeframe
from core.errors import UserError

if TYPE_CHECKING:  # loads with the worker, not with the window
    from app.workers.store import QueryAnswer, StoreBackend

FILE_VENUE = "binance"  # rows of a file do not say where they were traded; the field names the market's rules


class StoreQueries(Protocol):
    """The part of `app.workers.store.StoreWorker` that is used."""

    @property
    def answered(self) -> SignalInstance:
        """Emits a `QueryAnswer`."""
        ...

    def query(self, read: Callable[[StoreBackend], Any]) -> int:
        """Run `read` on the worker thread and return the number of its answer."""
        ...


class StoreTrainingSources(QObject):
    """Histories of the data folder, of the practice exchange and of files; devices of this machine.

    Signals:
        datasets_changed: a tuple of `Dataset`, after `refresh` or `set_practice`.
    """

    datasets_changed = Signal(object)

    def __init__(self, store: StoreQueries, gpus: Sequence[str] = (), parent: QObject | None = None) -> None:
        """Start without histories; call `refresh`.

        Args:
            store: the running store worker.
            gpus: one line per NVIDIA GPU, as `core.diagnostics.probes.nvidia_gpus` returns them.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._store = store
        self._devices = device_options(gpus)
        self._stored: tuple[Dataset, ...] = ()
        self._practice: tuple[Dataset, ...] = ()
        self._refresh_number = 0
        self._files: dict[int, Callable[[Dataset | UserError], None]] = {}
        store.answered.connect(self._on_answered)

    def datasets(self) -> Sequence[Dataset]:
        """Return what is known; see `refresh`."""
        return (*self._stored, *self._practice)

    def devices(self) -> Sequence[DeviceOption]:
        """Return what this machine can compute on."""
        return self._devices

    def refresh(self) -> None:
        """Look at the data folder again; `datasets_changed` follows."""
        self._refresh_number = self._store.query(describe_store)

    def set_practice(self, datasets: Sequence[Dataset]) -> None:
        """Say what the practice exchange offers; empty where it does not run."""
        self._practice = tuple(datasets)
        self.datasets_changed.emit(tuple(self.datasets()))

    def inspect_file(self, path: Path, done: Callable[[Dataset | UserError], None]) -> None:
        """Look into a file on the worker thread and call `done` on this one."""
        self._files[self._store.query(_FileReader(path))] = done

    @Slot(object)
    def _on_answered(self, answer: QueryAnswer) -> None:
        done = self._files.pop(answer.number, None)
        if done is not None:
            done(answer.value if answer.error is None else answer.error)
        elif answer.number == self._refresh_number and answer.error is None:
            self._stored = answer.value
            self.datasets_changed.emit(tuple(self.datasets()))


def describe_store(backend: StoreBackend) -> tuple[Dataset, ...]:
    """Return every readable history of the candle store; damaged ones are left out (`data check` names them)."""
    found: list[Dataset] = []
    for series in backend.candles.list_series():
        if series.damaged or not series.rows:
            continue
        frame = backend.candles.read(series.venue, series.symbol, series.timeframe)
        found.append(dataset_from_frame(frame, SourceKind.STORE, series.venue))
    return tuple(found)


def practice_datasets(
    venue: str, symbols: Sequence[str], timeframes: Sequence[Timeframe], first_ns: int, now_ns: int
) -> tuple[Dataset, ...]:
    """Return what can be fetched from the practice exchange: gapless bars from `first_ns` to the last closed one.

    Args:
        venue: venue id under which fetched candles are stored.
        first_ns: market time of the oldest bar wanted, ns UTC.
        now_ns: market time, ns UTC.
    """
    found: list[Dataset] = []
    for symbol in symbols:
        for timeframe in timeframes:
            first = timeframe.floor(first_ns + timeframe.ns - 1)
            last = timeframe.floor(now_ns) - timeframe.ns
            if last > first:
                bars = (last - first) // timeframe.ns + 1
                found.append(Dataset(SourceKind.PRACTICE, venue, symbol, timeframe, first, last, bars))
    return tuple(found)


class _FileReader:
    """Reads one file on the worker thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, backend: StoreBackend) -> Dataset:
        from core.data.importer import import_candles  # brings pyarrow

        frame = import_candles(self._path).frame.finals()
        return dataset_from_frame(frame, SourceKind.FILE, FILE_VENUE, str(self._path))
