"""Runs `main.py` with every point instrumented: `python -m tests.crash.launcher trade …`.

Environment: CRASH_FILE names a file that the test writes while the process runs. "log" makes every point reached
from then on be appended to CRASH_LOG; "name#n" kills the process, like `kill -9`, at the n-th visit of a point.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path

from tests.crash.points import ROOT, install

# Loops that run beside the commands come by at their own times; only the way of a command counts.
_ON_THE_WAY = {"CommandReader._perform", "OrderManager.transmit", "BookKeeper.follow_account"}


def _task() -> str:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return ""
    return getattr(task.get_coro(), "__qualname__", "") if task is not None else ""


class Points:
    """Counts how often each point was passed since the test last wrote its wish."""

    def __init__(self, order: Path, log: Path) -> None:
        self._order = order
        self._log = log
        self._wanted = ""
        self._passed: Counter[str] = Counter()

    def reached(self, name: str) -> None:
        """Log the point, or die at it."""
        try:
            wanted = self._order.read_text("utf-8")
        except FileNotFoundError:
            return
        if _task() not in _ON_THE_WAY:
            return
        if wanted != self._wanted:
            self._wanted, self._passed = wanted, Counter()
        self._passed[name] += 1
        if wanted == "log":
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{name}#{self._passed[name]}\n")
        elif wanted == f"{name}#{self._passed[name]}":
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Instrument, then be main.py."""
    install(Points(Path(os.environ["CRASH_FILE"]), Path(os.environ["CRASH_LOG"])).reached)
    sys.argv = [str(ROOT / "main.py"), *sys.argv[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
