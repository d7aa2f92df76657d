"""Keeps a run on the bars it began with, however many come to the store before it goes on. Child processes; torch-free.

The specification keeps the range as it was told: what a run is made of (the model's settings, a search's winner) shall
take the newest bars when it is used again. The bars themselves are pinned in a file of the run's folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from core.data.atomic_file import write_atomically
from core.data.frame import CandleFrame
from core.errors import UserError
from ml.dataset import load_bars, load_side_data
from ml.features import MarketHistory, PointSeries
from ml.jsonvalues import JsonValue
from ml.spec import DataRange

BARS_FILE = "bars.json"  # in the folder of a run


@dataclass(frozen=True, slots=True)
class PinnedBars(JsonValue):
    """Which bars a run works on.

    Attributes:
        start_ns / end_ns: first and one past the last bar's open time, ns UTC.
    """

    start_ns: int
    end_ns: int

    @staticmethod
    def of(frame: CandleFrame) -> PinnedBars:
        """Return the range that holds these bars and no later ones."""
        return PinnedBars(int(frame.time_ns[0]), int(frame.time_ns[-1]) + frame.timeframe.ns)


def load_pinned_history(data: DataRange, candles_dir: Path, run_dir: Path, *, anew: bool = False) -> MarketHistory:
    """Read the bars of a run: those of its first session, which are pinned where this is it.

    Args:
        data: the range as it was told.
        candles_dir: the candle store.
        run_dir: of the run.
        anew: forget an earlier session.

    Raises:
        UserError: as `ml.dataset.load_history`, or the file of the run is damaged or cannot be written.
    """
    file = run_dir / BARS_FILE
    pinned = None if anew else _read(file)
    if pinned is not None:
        data = replace(data, start_ns=pinned.start_ns, end_ns=pinned.end_ns)
    frame = load_bars(data, candles_dir)
    if pinned is None:
        pinned = PinnedBars.of(frame)
        write_atomically(file, json.dumps(pinned.to_json(), indent=1).encode())
    # Other markets within the same limits: where they reach further back, more of their bars would be warm.
    history = load_side_data(frame, replace(data, start_ns=pinned.start_ns, end_ns=pinned.end_ns), candles_dir)
    return replace(history, series=tuple(_until(points, pinned.end_ns) for points in history.series))


def _read(file: Path) -> PinnedBars | None:
    try:
        return PinnedBars.from_json(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, UserError) as exc:
        raise UserError(f"The file {file.name} of this run cannot be read.", "Start a new run.") from exc


def _until(points: PointSeries, end_ns: int) -> PointSeries:
    """Leave out what became known after the last close: no bar sees it, and a longer file stays the same data."""
    count = int((points.known_ns <= end_ns).sum())
    return replace(points, known_ns=points.known_ns[:count], value=points.value[:count])
