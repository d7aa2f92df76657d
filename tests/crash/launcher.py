"""Runs `main.py` with every point instrumented: `python -m tests.crash.launcher trade …`.

Environment: CRASH_CODE is the folder of the instrumented code. CRASH_FILE names a file that the test writes while the
process runs. "log" makes every point reached from then on be appended to CRASH_LOG, every coroutine entered ("> name"),
everybody who lets the journal write ("= function writer") and every new instant ("-"); "name#n" kills the process, like
`kill -9`, at the n-th visit of a point.
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

from core.clock import NS_PER_S
from tests.crash.points import ENTERED, ROOT, function_of, install, short_name

# Loops that run beside the commands come by at their own times; only the way of a command counts, and what the books
# are told over the account stream meanwhile.
_ON_THE_WAY = {"CommandReader._perform", "AsyncWorkerThread._guard", "OrderManager.transmit"}
_TELLS = "BookKeeper.follow_account"


# What can happen on a way that no fault of the exchange brings about, and where.
_HAPPENS = {"clock step": "ccxt_gateway:CcxtGateway.cancel_order", "new day": "order_desk:OrderDesk.submit"}


def _make_happen(what: str, owner: Any) -> None:
    if what == "clock step":
        owner._clock._anchor_ns -= 3_600 * NS_PER_S  # as if the machine had slept for an hour
    else:
        owner._account._day_start = (0, Decimal(0))  # the day that is under way has not been noted yet
        owner._account.losses._stored = None


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
        self._written_ns = 0
        self._same_instant = False
        self._passed: Counter[str] = Counter()

    def reached(self, name: str) -> None:
        """Log the point, or die at it."""
        task = _task()
        commits = name.endswith("commit")
        if task not in _ON_THE_WAY and not (task == _TELLS and commits):
            return
        try:
            wanted, written_ns = self._order.read_text("utf-8"), self._order.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if written_ns != self._written_ns:
            self._written_ns, self._passed = written_ns, Counter()
        if name.endswith(ENTERED):
            self._happen(function_of(name), sys._getframe(1).f_locals)
            if wanted == "log":
                self._write(f"> {function_of(name)}")
            return
        self._passed[name] += 1
        visit = f"{name}#{self._passed[name]}"
        if wanted == "log":
            self._mark_instant()
            self._write(visit)
            if commits:
                self._same_instant = False
                writes, asks = sys._getframe(1).f_code, sys._getframe(2)
                who = f"{short_name(asks.f_globals['__name__'])}:{asks.f_code.co_qualname}"
                self._write(f"= {who} {writes.co_name}")
        elif wanted == visit:
            os.kill(os.getpid(), signal.SIGKILL)

    def _mark_instant(self) -> None:
        """Note where the world may have changed since the last point: the loop has turned, or something was written."""
        if not self._same_instant:
            self._write("-")
            self._same_instant = True
            asyncio.get_running_loop().call_soon(self._turned)

    def _turned(self) -> None:
        self._same_instant = False

    def _happen(self, function: str, names: dict[str, Any]) -> None:
        """Let happen what the test wished: once, at the head of the way, before anybody else can notice."""
        wish = self._order.with_name("happens")
        if function not in _HAPPENS.values() or not wish.exists():
            return
        what = wish.read_text("utf-8")
        if _HAPPENS[what] == function:
            wish.unlink()
            _make_happen(what, names["self"])

    def _write(self, line: str) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


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
    points = Points(Path(os.environ["CRASH_FILE"]), Path(os.environ["CRASH_LOG"]))
    install(Path(os.environ["CRASH_CODE"]), points.reached)
    if "CRASH_COMMANDS" in os.environ:
        drive_window(Path(os.environ["CRASH_COMMANDS"]))
    sys.argv = [str(ROOT / "main.py"), *sys.argv[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
