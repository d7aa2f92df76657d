"""Runs `main.py` with every point instrumented: `python -m tests.crash.launcher trade …`.

Environment: CRASH_FILE names a file that the test writes while the process runs. "log" makes every point reached
from then on be appended to CRASH_LOG; "name#n" kills the process, like `kill -9`, at the n-th visit of a point.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import signal
import sys
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.crash.points import ROOT, install

# Loops that run beside the commands come by at their own times; only the way of a command counts.
_ON_THE_WAY = {
    "CommandReader._perform",
    "AsyncWorkerThread._guard",
    "OrderManager.transmit",
    "BookKeeper.follow_account",
}


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


def drive_window(commands: Path) -> None:
    """Let the window's own trading commands be given by a file, as its widgets give them; say when it is ready."""
    from PySide6.QtCore import Qt

    from app.workers.executor import ExecutorWorker
    from core.domain.orders import OrderChange, OrderDraft, OrderType, Side

    create = ExecutorWorker.__init__

    def perform(worker: ExecutorWorker) -> None:
        while True:
            if commands.exists():
                request = json.loads(commands.read_text("utf-8"))
                commands.unlink()
                price = Decimal(request["price"]) if "price" in request else None
                if request["command"] == "place":
                    kind = OrderType.MARKET if price is None else OrderType.LIMIT
                    draft = OrderDraft(request["symbol"], Side.BUY, kind, Decimal(request["quantity"]), price)
                    worker.place_order(draft)
                elif request["command"] == "cancel":
                    worker.cancel_order(request["order"])
                else:
                    worker.replace_order(request["order"], OrderChange(limit_price=price))
            time.sleep(0.02)

    def created(self: ExecutorWorker, *arguments: Any, **named: Any) -> None:
        create(self, *arguments, **named)
        ready = commands.with_name("ready")
        self.ready.connect(lambda: ready.touch(), Qt.ConnectionType.DirectConnection)
        threading.Thread(target=perform, args=(self,), daemon=True).start()

    ExecutorWorker.__init__ = created  # type: ignore[method-assign]


def main() -> None:
    """Instrument, then be main.py."""
    install(Points(Path(os.environ["CRASH_FILE"]), Path(os.environ["CRASH_LOG"])).reached)
    if "CRASH_COMMANDS" in os.environ:
        drive_window(Path(os.environ["CRASH_COMMANDS"]))
    sys.argv = [str(ROOT / "main.py"), *sys.argv[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
