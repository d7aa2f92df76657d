"""Play thousands of schedules, or one script: `python -m tests.chaos.run [-n 10000] [--seed S] [--script FILE]`.

Every failing schedule is shortened and printed as a script that can be replayed and pasted into a regression test.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from core.config import DataPaths
from core.persistence.schema import ensure_migrated
from tests.chaos.schedule import Maker, Schedule, generate, makers_named
from tests.chaos.shrink import shrink
from tests.chaos.world import Outcome, play


def scratch() -> Path | None:
    """Return a folder in memory where there is one: the journal commits to disk hundreds of times per schedule."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else None


class Player:
    """Plays schedules in a scratch folder.

    Attributes:
        folder: holds the template and one folder per schedule in play.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._template = folder / "template"
        self._number = 0
        if not self._template.exists():
            ensure_migrated(DataPaths(self._template))

    def __call__(self, schedule: Schedule) -> Outcome:
        self._number += 1
        return play(schedule, self.folder / f"play-{os.getpid()}-{self._number}", self._template)


class Shows:
    """Whether a schedule breaks the same invariant as an earlier one did.

    Args:
        kind: which one, where the earlier one broke several.
    """

    def __init__(self, player: Player, outcome: Outcome, kind: str = "") -> None:
        self._player = player
        self._kind = kind or min(outcome.kinds)

    def __call__(self, schedule: Schedule) -> bool:
        return self._kind in self._player(schedule).kinds


_player: Player | None = None


_focus: tuple[Maker, ...] = ()


def _begin(folder: str, focus: tuple[str, ...]) -> None:
    global _player, _focus
    _focus = makers_named(focus)
    logging.disable(logging.CRITICAL)
    _player = Player(Path(folder))


def _one(seed: int) -> tuple[int, Outcome]:
    assert _player is not None
    return seed, _player(generate(seed, _focus))


def campaign(
    first: int, count: int, processes: int, folder: Path, focus: tuple[str, ...] = ()
) -> Iterator[tuple[int, Outcome]]:
    """Play the schedules of many seeds and yield what became of each, as they end."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _begin, (str(folder), focus)) as pool:
        yield from pool.imap_unordered(_one, range(first, first + count), chunksize=4)


def _hunt(arguments: argparse.Namespace, folder: Path) -> int:
    player, focus = Player(folder), tuple(arguments.focus)
    started, virtual_s = time.monotonic(), 0.0
    found: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    print(f"seeds {arguments.seed} to {arguments.seed + arguments.n - 1}, {arguments.processes} processes", flush=True)
    played = campaign(arguments.seed, arguments.n, arguments.processes, folder, focus)
    for done, (seed, outcome) in enumerate(played, 1):
        virtual_s += outcome.virtual_s
        totals.update(outcome.counts)
        for kind in sorted(outcome.kinds):
            found[kind] += 1
        fresh = {kind for kind in outcome.kinds if found[kind] <= arguments.each}
        if fresh:
            print(f"\nseed {seed}: {'; '.join(outcome.violations[:4])}", flush=True)
            _report(player, generate(seed, makers_named(focus)), outcome, fresh)
        if done % 100 == 0 or done == arguments.n:
            rate = done / (time.monotonic() - started)
            print(
                f"{done}/{arguments.n} schedules, {rate:.1f}/s, {virtual_s / 3600:.0f} h of virtual time, "
                f"{sum(found.values())} violations {dict(found) or ''}",
                flush=True,
            )
    print(", ".join(f"{count} {name}" for name, count in totals.items()))
    return 1 if found else 0


def _report(player: Player, schedule: Schedule, outcome: Outcome, fresh: set[str]) -> None:
    for kind in sorted(fresh):
        small = shrink(schedule, Shows(player, outcome, kind))
        outcome = player(small)
        print(f"--- {kind}, shortened to {len(small.steps)} steps:")
        for text in outcome.violations[:6]:
            print(f"    {text}")
        print(small.to_text(), flush=True)


def _replay(path: Path, folder: Path) -> int:
    outcome = Player(folder)(Schedule.from_text(path.read_text("utf-8")))
    for text in outcome.violations:
        print(text)
    print(f"{len(outcome.violations)} violations in {outcome.virtual_s:.1f} s of virtual time")
    return 1 if outcome.violations else 0


def main() -> int:
    """Play what the command line asks for; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=10_000, help="schedules to play")
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000 % 1_000_000_000, help="first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--each", type=int, default=1, help="how many findings of one kind are shortened and shown")
    parser.add_argument("--focus", nargs="*", default=(), metavar="STEP", help="steps that are to come often")
    parser.add_argument("--script", type=Path, help="play this script instead")
    parser.add_argument("--log", action="store_true", help="with --script: show the program's own log")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of text have the same order in every run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.chaos.run", *sys.argv[1:]])
    if arguments.log:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")
    else:
        logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        if arguments.script is not None:
            return _replay(arguments.script, Path(folder))
        return _hunt(arguments, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
