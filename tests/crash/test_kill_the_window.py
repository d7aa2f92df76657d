"""The window is killed on the way of an order, and started again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.config import DataPaths
from core.execution.journal import Journal
from core.practice.endpoints_file import endpoints_path, read_endpoints
from tests.crash.points import ROOT, all_points, compiled
from tests.crash.rig import SYMBOL, Rig

START_S, DEATH_S = 90.0, 30.0
MARKET, LIMIT = "market", "limit"

POINTS = (
    ("submit", MARKET, "journal:Journal.insert_order:1 after commit#1"),  # written, not sent
    ("submit", MARKET, "ccxt_client:CcxtClient.call:2 after await#1"),  # answered, not booked
    ("submit", LIMIT, "journal:Journal.update_order:1 before commit#1"),
    ("cancel", LIMIT, "order_manager:OrderManager.cancel:1 after await#1"),
    ("replace", LIMIT, "order_desk:OrderDesk._replace:2 after await#1"),  # cancelled, its successor not sent
)


class WindowRig:
    """A window over a data folder, driven through its own trading commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "ready").unlink(missing_ok=True)
        environment = {
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "CRASH_CODE": str(compiled()),
            "CRASH_FILE": str(self.folder / "armed"),
            "CRASH_LOG": str(self.folder / "passed"),
            "CRASH_COMMANDS": str(self.folder / "commands"),
            "MARU_RUNTIME_DIR": str(self.folder / "locks"),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "tests.crash.launcher", "--data-dir", str(self.data), "--quit-after", "300"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment)
        self.wait((self.folder / "ready").exists, START_S, "the window trades")

    def wait(self, ready: Any, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            assert self.process is not None
            assert self.process.poll() is None, f"the window ended before: {what}"
            assert time.monotonic() < deadline, f"not in time: {what}"
            time.sleep(0.05)

    def send(self, **request: str) -> None:
        partial = self.folder / "commands.new"
        partial.write_text(json.dumps(request))
        partial.rename(self.folder / "commands")

    def working(self) -> list[str]:
        journal = Journal(DataPaths(self.data).journal_db)
        try:
            return [r.key for r in journal.unsettled_orders() if r.order.state.value == "accepted"]
        finally:
            journal.close()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.mark.parametrize(("way", "kind", "point"), POINTS)
def test_the_window_killed_on_the_way_finds_its_orders_again(way: str, kind: str, point: str, tmp_path: Path) -> None:
    assert point.rpartition("#")[0] in all_points()
    rig = WindowRig(tmp_path)
    try:
        rig.start()
        endpoints = read_endpoints(endpoints_path(DataPaths(rig.data)))
        venue = Rig(tmp_path / "venue", endpoints)
        near = f"{Decimal(repr(venue.price())) * Decimal('0.97'):.2f}"
        order = {"command": "place", "symbol": SYMBOL, "quantity": "0.002"}
        if way != "submit":
            rig.send(**order, price=near)
            rig.wait(lambda: len(rig.working()) == 1, DEATH_S, "an order rests")
        (tmp_path / "armed").write_text(point)
        if way == "submit":
            rig.send(**order, **({"price": near} if kind == LIMIT else {}))
        else:
            further = f"{Decimal(near) * Decimal('0.99'):.2f}"
            rig.send(command=way, order=rig.working()[0], **({"price": further} if way == "replace" else {}))
        assert rig.process is not None
        assert rig.process.wait(DEATH_S) == -9
        (tmp_path / "armed").unlink()
        rig.start()  # the window again, over the same folder; its exchange comes back with it
        time.sleep(6.0)  # what was not answered is proven by then
    finally:
        rig.kill()
    _check(rig, tmp_path)


def _check(rig: WindowRig, tmp_path: Path) -> None:
    """Let a headless executor over the same folder compare the books with the exchange."""
    done = subprocess.run(
        [sys.executable, "main.py", "trade", "--practice", "--minutes", "0.1", "--json", "--data-dir", str(rig.data)],
        cwd=ROOT,
        env={**os.environ, "MARU_RUNTIME_DIR": str(tmp_path / "locks")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["orders_match"], result
    assert result["positions_match"], result
    journal = Journal(DataPaths(rig.data).journal_db)
    try:
        assert [
            r.order.state for r in journal.unsettled_orders() if r.order.state.value in ("unknown", "submitted")
        ] == []
        assert result["orders"] <= 2, "more orders than wishes"
    finally:
        journal.close()
