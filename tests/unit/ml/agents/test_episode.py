"""A stored episode is what was recorded, and nothing else is read as one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from core.errors import UserError
from ml.agents.episode import MOST_BARS, MOST_OBSERVED_BYTES, Episode, read_episode, write_episode
from tests.unit.ml.agents.episodes_kit import random_episode

REFUSED = "episode of this agent is damaged"


def same(one: Episode, other: Episode) -> bool:
    """Compare to the last bit."""
    for field in fields(Episode):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            equal = a.dtype == b.dtype and np.array_equal(a, b)
        elif isinstance(a, dict):
            equal = list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)
        else:
            equal = a == b
        if not equal:
            return False
    return True


def entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {entry.filename: file.read(entry) for entry in file.infolist()}


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name, data in files.items():
            file.writestr(zipfile.ZipInfo(name), data, compression)
    return out.getvalue()


@pytest.mark.parametrize("bars", [1, 2, 60])
def test_it_is_read_as_it_was_written(bars: int) -> None:
    episode = random_episode(bars, seeds=3)
    data = write_episode(episode)
    assert same(read_episode(data), episode)
    assert write_episode(random_episode(bars, seeds=3)) == data


def test_nothing_is_decided_at_the_end_of_a_stretch() -> None:
    episode = random_episode(60, gap_at=30)
    assert np.flatnonzero(~episode.decided).tolist() == [29, 59]
    assert episode.seen_at(29) is None
    np.testing.assert_array_equal(episode.seen_at(28), episode.observed[28])


def test_the_newest_bars_are_kept() -> None:
    episode = random_episode(MOST_BARS + 100, gap_at=70)
    kept = episode.newest()
    assert (len(kept), kept.left_out, kept.starts.tolist()) == (MOST_BARS, 100, [])
    assert kept.time_ns[-1] == episode.time_ns[-1]
    assert kept.equity[0] == episode.equity[100]
    assert same(kept, kept.newest())
    assert same(random_episode(60).newest(), random_episode(60))


def test_what_was_seen_is_kept_as_far_as_there_is_room() -> None:
    names = tuple(f"n{number}" for number in range(MOST_OBSERVED_BYTES // 4 // 10))
    observed = np.arange(20 * len(names), dtype=np.float32).reshape(20, -1)
    episode = replace(random_episode(20, gap_at=0), names=names, observed=observed)
    kept = episode.newest()
    assert (len(kept), len(kept.observed), kept.first_observed) == (20, 10, 10)
    assert kept.seen_at(9) is None
    np.testing.assert_array_equal(kept.seen_at(10), observed[10])
    assert same(read_episode(write_episode(kept)), kept)


def _other(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Episode:
    episode = random_episode()
    changes: Any = {name: change(getattr(episode, name).copy())}
    return replace(episode, **changes)


def _with(values: np.ndarray, value: float) -> np.ndarray:
    values.flat[3] = value
    return values


IMPOSSIBLE = {
    "a short column": _other("target", lambda values: values[:-1]),
    "a number that is none": _other("equity", lambda values: _with(values, np.nan)),
    "an endless number": _other("observed", lambda values: _with(values, np.inf)),
    "times that go back": _other("time_ns", lambda values: values[::-1].copy()),
    "a stretch outside": _other("starts", lambda values: np.array([0, 60])),
    "a high below the low": _other("high", lambda values: values / 2),
    "a price of nothing": _other("low", lambda values: values * 0),
    "equity below nothing": _other("equity", lambda values: -values),
    "a weight beyond any": _other("seeds", lambda values: values * 1e6),
    "other names": replace(random_episode(), names=("one",)),
    "a rule of other bars": replace(random_episode(), rules={"hold": np.ones(3)}),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_what_cannot_be_is_not_written(kind: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        write_episode(IMPOSSIBLE[kind])


def forged(name: str, values: np.ndarray, *, pickle: bool = False) -> bytes:
    files, entry = entries(write_episode(random_episode())), io.BytesIO()
    np.lib.format.write_array(entry, values, (1, 0), allow_pickle=pickle)
    files[f"{name}.npy"] = entry.getvalue()
    return packed(files)


def _lying() -> bytes:
    """A header that promises far more than follows."""
    files = entries(write_episode(random_episode()))
    entry = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(entry, header)
    files["equity.npy"] = entry.getvalue()
    return packed(files)


def _about(**changes: object) -> bytes:
    files = entries(write_episode(random_episode()))
    head = io.BytesIO(files["about.npy"])
    about = json.loads(np.load(head).tobytes())
    return forged("about", np.frombuffer(json.dumps({**about, **changes}).encode(), np.uint8))


FOREIGN = {
    "nothing": b"",
    "no archive": b"PK\3\4 and so on",
    "cut": write_episode(random_episode())[:-40],
    "an entry less": packed(dict(list(entries(write_episode(random_episode())).items())[:-1])),
    "an entry more": packed({**entries(write_episode(random_episode())), "more.npy": b""}),
    "compressed": packed(entries(write_episode(random_episode())), zipfile.ZIP_DEFLATED),
    "an object that would be unpickled": forged("equity", np.array([print], object), pickle=True),
    "another type": forged("equity", np.ones(60, np.float32)),
    "more dimensions": forged("equity", np.ones((60, 1))),
    "a number that is none": forged("target", np.full(60, np.nan)),
    "a header that lies": _lying(),
    "names that are none": _about(names=[1, 2]),
    "a name that cannot be shown": _about(names=["a\nb", "c"]),
    "rules that are others": _about(rules=["flat"]),
    "entries more": _about(more=1),
    "no count": _about(left_out=True),
    "fewer left out than none": _about(left_out=-1),
    "no market": _about(symbol=""),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_episode_is_refused_in_words(kind: str) -> None:
    with pytest.raises(UserError, match=REFUSED):
        read_episode(FOREIGN[kind])
