"""The judged pass of an agent, bar by bar, as its package keeps it. Values, any thread; numpy only, no torch.

The file is a plain `.npz` without compression. It is read by hand: of a foreign package nothing is unpacked, run or
allocated that its bytes do not hold.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from ml.arrays import BoolArray, Float32Array, FloatArray, IntArray

MOST_BARS = 50_000
MOST_OBSERVED_BYTES = 24 << 20
MOST_EPISODE_BYTES = 96 << 20

_ABOUT = "about"
_PRICES = ("open", "high", "low", "close")
_COLUMNS = (*_PRICES, "volume", "target", "held", "traded", "equity", "cost")
_TYPES = {
    _ABOUT: "|u1",
    "time_ns": "<i8",
    **dict.fromkeys(_COLUMNS, "<f8"),
    "seeds": "<f8",
    "observed": "<f4",
    "rules": "<f8",
    "starts": "<i8",
}
_LARGEST_NS = 1 << 62
_MOST_NAMES = 2_000_000
_LONGEST_NAME = 200
_LARGEST = 1e15
_MOST_WEIGHT = 1e3


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """What an agent saw, wanted, held and earned on the bars it was judged on.

    A bar is in it with everything known at its close, before what is decided there is traded. At the last bar of each
    stretch nothing is decided: what is held is sold there, which is a target of 0.

    Attributes:
        symbol / timeframe: of the bars.
        time_ns: opening times, ns UTC, ascending, shape (m,).
        open / high / low / close / volume: of the bars, shape (m,).
        target: weight chosen at the close, shape (m,).
        held: weight held at the close until then, shape (m,).
        traded: bought in the bar, sold where it is below 0, share of the equity at the close before, shape (m,).
        equity: at the close, of the whole judged part: 1 where that began, also where earlier bars are left out.
        cost: paid in the bar with all its parts, share of the equity at the close before, shape (m,).
        seeds: weight that the network of each seed would choose there, seeing the same, shape (m, S).
        names: of the numbers that are observed, D.
        observed: what the network was given at the last k bars, 0 where nothing is decided, shape (k, D), k <= m.
        rules: equity of the rules it is measured against, by name, shape (m,) each, 1 where the judged part began.
        starts: rows at which a stretch begins with nothing held, ascending.
        left_out: earlier bars of the pass that were not kept.
    """

    symbol: str
    timeframe: str
    time_ns: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    target: FloatArray
    held: FloatArray
    traded: FloatArray
    equity: FloatArray
    cost: FloatArray
    seeds: FloatArray
    names: tuple[str, ...]
    observed: Float32Array
    rules: dict[str, FloatArray]
    starts: IntArray
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def decided(self) -> BoolArray:
        """Whether something is decided at a bar: not at the last of each stretch, shape (m,)."""
        result = np.ones(len(self), np.bool_)
        result[self.starts[self.starts > 0] - 1] = False
        result[-1] = False
        return result

    @property
    def first_observed(self) -> int:
        """Row from which on `observed` is kept."""
        return len(self) - len(self.observed)

    def seen_at(self, row: int) -> Float32Array | None:
        """Return what the network was given at a bar; None where nothing was decided or it is not kept."""
        if row < self.first_observed or not self.decided[row]:
            return None
        return np.asarray(self.observed[row - self.first_observed], np.float32)

    def newest(self) -> Episode:
        """Return as much of the end as a package keeps."""
        first = max(0, len(self) - MOST_BARS)
        most_observed = observations_kept(len(self), len(self.names))
        observed = self.observed[max(0, len(self.observed) - most_observed) :]
        return replace(
            self,
            **{name: getattr(self, name)[first:] for name in ("time_ns", *_COLUMNS, "seeds")},
            names=self.names if most_observed else (),
            observed=observed if most_observed else np.zeros((0, 0), np.float32),
            rules={name: values[first:] for name, values in self.rules.items()},
            starts=self.starts[self.starts >= first] - first,
            left_out=self.left_out + first,
        )


def observations_kept(bars: int, width: int) -> int:
    """Return at how many of the newest bars what was seen is kept, where so many numbers are seen at each."""
    return min(bars, MOST_BARS, MOST_OBSERVED_BYTES // (4 * max(1, width)))


def write_episode(episode: Episode) -> bytes:
    """Return the file of an episode, the same bytes for the same content.

    Raises:
        ValueError: shapes that do not fit, or numbers that are none.
    """
    _require_possible(episode)
    about = {
        "symbol": episode.symbol,
        "timeframe": episode.timeframe,
        "names": list(episode.names),
        "rules": list(episode.rules),
        "left_out": episode.left_out,
    }
    rules = np.stack(list(episode.rules.values()), axis=1) if episode.rules else np.zeros((len(episode), 0))
    arrays: dict[str, NDArray[Any]] = {
        _ABOUT: np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), np.uint8),
        "rules": rules,
        **{name: getattr(episode, name) for name in _TYPES if name not in (_ABOUT, "rules")},
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for name, kind in _TYPES.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(arrays[name], kind), (1, 0), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())  # its date is a constant
    return out.getvalue()


def read_episode(data: bytes) -> Episode:
    """Read the file of an episode.

    Raises:
        UserError: it is none, or its arrays do not fit each other or are no finite numbers.
    """
    try:
        arrays = _arrays(data)
        about = json.loads(arrays[_ABOUT].tobytes().decode("utf-8"))
        names, rules, left_out = _texts(about["names"]), _texts(about["rules"]), about["left_out"]
        if set(about) != {"symbol", "timeframe", "names", "rules", "left_out"} or type(left_out) is not int:
            raise ValueError("entries")
        symbol, timeframe = _texts([about["symbol"], about["timeframe"]])
        if arrays["rules"].ndim != 2 or arrays["rules"].shape[1] != len(rules) or len(set(rules)) != len(rules):
            raise ValueError("rules")
        episode = Episode(
            symbol=symbol,
            timeframe=timeframe,
            names=names,
            rules={name: arrays["rules"][:, index] for index, name in enumerate(rules)},
            left_out=left_out,
            **{name: array for name, array in arrays.items() if name not in (_ABOUT, "rules")},
        )
        _require_possible(episode)
    except (ValueError, TypeError, KeyError, RecursionError, EOFError, zipfile.BadZipFile, NotImplementedError) as exc:
        raise UserError(
            "The stored episode of this agent is damaged or was written by another version.",
            "Train the agent again, or ask whoever gave it to you to export it again.",
        ) from exc
    return episode


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays by name; raises `ValueError` and what `zipfile` raises for anything but plain stored arrays."""
    if len(data) > MOST_EPISODE_BYTES:
        raise ValueError("size")
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entries = file.infolist()
        if [entry.filename for entry in entries] != [f"{name}.npy" for name in _TYPES]:
            raise ValueError("names")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data) for entry in entries):
            raise ValueError("compressed")
        for entry, (name, kind) in zip(entries, _TYPES.items(), strict=True):
            found[name] = _array(file.read(entry), np.dtype(kind))
    return found


def _array(data: bytes, kind: np.dtype[Any]) -> NDArray[Any]:
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("version")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream)
    if by_column or dtype != kind or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("header")
    return np.frombuffer(data, kind, offset=stream.tell()).reshape(shape)  # raises unless it is just as long


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or len(values) > _MOST_NAMES:
        raise ValueError("texts")
    if not all(isinstance(text, str) and text.isprintable() and 0 < len(text) <= _LONGEST_NAME for text in values):
        raise ValueError("texts")
    return tuple(values)


def _require_possible(episode: Episode) -> None:
    """Raise `ValueError` for an episode that cannot be."""
    size = len(episode.time_ns) if episode.time_ns.ndim == 1 else 0
    if not 0 < size <= MOST_BARS or episode.left_out < 0:
        raise ValueError("number of bars")
    columns = [getattr(episode, name) for name in _COLUMNS]
    if any(column.shape != (size,) for column in (*columns, *episode.rules.values())):
        raise ValueError("lengths")
    if episode.seeds.ndim != 2 or len(episode.seeds) != size:
        raise ValueError("seeds")
    if episode.observed.ndim != 2 or len(episode.observed) > size or episode.observed.shape[1] != len(episode.names):
        raise ValueError("observations")
    times = episode.time_ns
    if times[0] < 0 or times[-1] >= _LARGEST_NS or (np.diff(times) <= 0).any():
        raise ValueError("times")
    starts = episode.starts
    if starts.ndim != 1 or (len(starts) and not 0 <= starts[0] <= starts[-1] < size) or (np.diff(starts) <= 0).any():
        raise ValueError("stretches")
    _require_numbers(episode, columns)


def _require_numbers(episode: Episode, columns: list[FloatArray]) -> None:
    numbers: list[FloatArray | Float32Array] = [*columns, episode.seeds, episode.observed, *episode.rules.values()]
    for values in numbers:
        if not (np.abs(values) <= _LARGEST).all():  # no number is not within it either
            raise ValueError("numbers")
    low, high = episode.low, episode.high
    inner = np.minimum(episode.open, episode.close), np.maximum(episode.open, episode.close)
    if not ((low > 0.0).all() and (low <= inner[0]).all() and (high >= inner[1]).all() and (episode.volume >= 0).all()):
        raise ValueError("bars")
    if any((values < 0.0).any() for values in (episode.equity, *episode.rules.values())):
        raise ValueError("equity")
    if any((np.abs(values) > _MOST_WEIGHT).any() for values in (episode.target, episode.seeds)):
        raise ValueError("weights")
