"""What a figure is and how a list of them is measured. Qt-free; main thread.

A figure is one number with its unit, its direction and, where the project promises one, its bar. Peers measured in
the same run turn noisy seconds into ratios.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError

Direction = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another way to do the same work, measured in the same run and the same unit."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """The outcome of measuring one figure: a value with peers, or the reason why there is none."""

    value: float | None = None
    peers: tuple[Peer, ...] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One named number.

    Attributes:
        name: "capability.figure_unit".
        unit: unit of the value and of its peers.
        direction: which way is better.
        bar: promised value, None where nothing is promised yet.
        group: figures of one group come out of one scenario; the scenario runs once.
        about: one line for `bench --list`.
    """

    name: str
    unit: str
    direction: Direction
    bar: float | None
    group: str
    about: str


# A scenario measures every figure of its group: name -> measurement.
Scenario = Callable[[Path], dict[str, Measurement]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All figures and the scenarios that measure them."""

    figures: tuple[Figure, ...]
    scenarios: dict[str, Scenario] = field(default_factory=dict)

    def select(self, names: Iterable[str]) -> list[Figure]:
        """Return the figures named; a name may be a figure or a capability such as "ui"; no name selects all.

        Raises:
            UserError: a name matches nothing.
        """
        wanted = list(names)
        if not wanted:
            return list(self.figures)
        chosen: list[Figure] = []
        for name in wanted:
            hits = [f for f in self.figures if f.name == name or f.name.startswith(name + ".")]
            if not hits:
                raise UserError(f"There is no figure {name!r}.", "`main.py bench --list` names them all.")
            chosen.extend(hit for hit in hits if hit not in chosen)
        return chosen


def measure(catalogue: Catalogue, figures: list[Figure], say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Run the scenarios behind `figures` and return the JSON contract of `bench`."""
    groups = list(dict.fromkeys(figure.group for figure in figures))
    measured: dict[str, Measurement] = {}
    for number, group in enumerate(groups, start=1):
        say(f"[{number}/{len(groups)}] {group} …")
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="maru-bench-") as folder:
            measured |= catalogue.scenarios[group](Path(folder))
        say(f"[{number}/{len(groups)}] {group}: {time.monotonic() - started:.1f} s")
    return {figure.name: describe(figure, measured.get(figure.name, Measurement())) for figure in figures}


def describe(figure: Figure, measurement: Measurement) -> dict[str, Any]:
    """Return one figure as JSON; `ratio` > 1 means better than the best peer, `ok` is None without bar or value."""
    value, sign = measurement.value, 1 if figure.direction == "higher" else -1
    peers = [
        {"name": peer.name, "value": peer.value, "ratio": _ratio(value, peer.value, figure.direction)}
        for peer in measurement.peers
    ]
    best = max(measurement.peers, key=lambda peer: sign * peer.value, default=None)
    skipped = measurement.skipped or ("" if value is not None else "the scenario did not report it")
    ok = None if value is None or figure.bar is None else sign * value >= sign * figure.bar
    return {
        "value": value,
        "unit": figure.unit,
        "direction": figure.direction,
        "bar": figure.bar,
        "ok": ok,
        "skipped": skipped,
        "peers": peers,
        "ratio": None if best is None else _ratio(value, best.value, figure.direction),
    }


def _ratio(ours: float | None, theirs: float, direction: Direction) -> float | None:
    if ours is None or ours == 0 or theirs == 0:
        return None
    return ours / theirs if direction == "higher" else theirs / ours
