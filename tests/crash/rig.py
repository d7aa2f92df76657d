"""A trading process over a practice exchange that is killed and started again, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import os
import select
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from core.practice.control import PracticeControl, PracticeEndpoints
from tests.crash.points import ROOT, compiled

SYMBOL, VENUE_SYMBOL = "BTC/USDT", "BTCUSDT"
PATIENCE_S = 60.0


class Died(Exception):
    """The process was killed before it answered."""


@dataclass
class Rig:
    """One data folder, one account, and the processes that trade over them one after the other."""

    folder: Path
    endpoints: PracticeEndpoints
    process: subprocess.Popen[str] | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)
    _number: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        line = {name: getattr(self.endpoints, name) for name in PracticeEndpoints.__slots__}
        (self.folder / "endpoints.json").write_text(json.dumps({**line, "symbols": list(line["symbols"])}))

    # --- the process ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start trading and wait until it takes commands."""
        self.disarm()
        environment = {
            **os.environ,
            "CRASH_CODE": str(compiled()),
            "CRASH_FILE": str(self.folder / "armed"),
            "CRASH_LOG": str(self.folder / "passed"),
            "MARU_RUNTIME_DIR": str(self.folder / "locks"),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "tests.crash.launcher", "trade", "--commands", "--json", "--no-sentinel"]
        command += ["--endpoints", str(self.folder / "endpoints.json"), "--data-dir", str(self.folder / "data")]
        with (self.folder / "said").open("a") as said:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                cwd=ROOT,
                env=environment,
            )
        self.ask("state")

    def stop(self) -> None:
        """End the process, however it is."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """Send a command and return its answer.

        Raises:
            Died: there is none any more.
        """
        assert self.process is not None
        assert self.process.stdin is not None
        self._number += 1
        try:
            self.process.stdin.write(json.dumps({"id": self._number, "command": command, **fields}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as exc:
            raise Died from exc
        while True:
            answer = self._line()
            if answer["id"] == fields.get("id", self._number):
                return answer

    def _line(self) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        assert ready, f"no answer in {PATIENCE_S} s: {(self.folder / 'said').read_text()[-2000:]}"
        line = self.process.stdout.readline()
        if not line:
            self.process.communicate()
            raise Died
        answer: dict[str, Any] = json.loads(line)
        assert "id" in answer, answer
        return answer

    # --- the points -------------------------------------------------------------------------------------------

    def arm(self, what: str) -> None:
        """Kill the process at a point from now on, or log the points it passes ("log")."""
        partial = self.folder / "armed.new"
        partial.write_text(what)
        (self.folder / "passed").unlink(missing_ok=True)
        partial.rename(self.folder / "armed")

    def disarm(self) -> None:
        """Let the process live, and nothing happen on its way."""
        for name in ("armed", "happens"):
            (self.folder / name).unlink(missing_ok=True)

    def let_happen(self, what: str) -> None:
        """Let something happen on the next way that leads there (see the launcher)."""
        (self.folder / "happens").write_text(what)

    def passed(self) -> list[str]:
        """Return the logged visits: "name#n" is the n-th time a point was passed."""
        return [visit for instant in self.instants() for visit in instant]

    def instants(self) -> list[list[str]]:
        """Return the visits, together where neither loop nor disk did anything between: one state of the world."""
        found: list[list[str]] = []
        for line in self._logged():
            if line == "-":
                found.append([])
            elif line[0] not in ">=":
                found[-1].append(line)
        return found

    def entered(self) -> set[str]:
        """Return the coroutines that were entered."""
        return {line[2:] for line in self._logged() if line[0] == ">"}

    def wrote(self) -> set[tuple[str, str]]:
        """Return who let the journal write what: (function, method of the journal)."""
        pairs = (line[2:].split() for line in self._logged() if line[0] == "=")
        return {(function, writer) for function, writer in pairs}

    def _logged(self) -> list[str]:
        path = self.folder / "passed"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    # --- what the exchange says -------------------------------------------------------------------------------

    def venue_orders(self) -> list[dict[str, Any]]:
        """Return every order the account ever had."""
        return self._signed("allOrders", limit=1000)

    def _signed(self, path: str, **more: int) -> list[dict[str, Any]]:
        """Ask the exchange about the account over a connection of our own."""
        params = {"symbol": VENUE_SYMBOL, **more, "timestamp": time.time_ns() // 1_000_000}
        query = urlencode(params)
        signature = hmac.new(self.endpoints.api_secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        request = urllib.request.Request(
            f"{self.endpoints.rest}/api/v3/{path}?{query}&signature={signature}",
            headers={"X-MBX-APIKEY": self.endpoints.api_key},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            found: list[dict[str, Any]] = json.load(response)
        return found

    def control(self, what: Callable[[PracticeControl], Awaitable[object]]) -> None:
        """Do something over the exchange's control interface."""

        async def do() -> None:
            control = PracticeControl(self.endpoints)
            try:
                await what(control)
            finally:
                await control.close()

        asyncio.run(do())

    def arm_faults(self, spec: str) -> None:
        self.control(lambda control: control.arm_faults(spec))

    def trade_against(self, client_id: str) -> None:
        """Let the market fill a resting order."""
        self.control(lambda control: control.trade_against(VENUE_SYMBOL, client_id=client_id))

    def fill_what_rests(self, done: threading.Event) -> None:
        """Let the market fill the order that is about to be placed, once a part of it rests."""
        while not done.wait(0.1):
            for order in self._signed("openOrders"):
                if order["status"] == "PARTIALLY_FILLED":
                    done.wait(0.3)  # queries look at the part first
                    self.trade_against(order["clientOrderId"])
                    return

    def clean_up(self) -> None:
        """Leave nothing behind for the next case: no fault, no order."""
        self.control(lambda control: control.clear_faults())
        self.ask("cancel_all")

    def price(self) -> float:
        """Return the market price."""
        url = f"{self.endpoints.rest}/api/v3/ticker/price?symbol={VENUE_SYMBOL}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return float(json.load(response)["price"])

    # --- what must hold ---------------------------------------------------------------------------------------

    def recover(self) -> dict[str, Any]:
        """Start again, wait until nothing is undecided, and check everything that must hold; returns the state."""
        time.sleep(0.3)  # what the dying process had put on the wire arrives
        at_kill = {order["orderId"] for order in self.venue_orders()}
        self.start()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            state = self.ask("state")
            undecided = [o for o in state["orders"] if o["state"] in ("unknown", "submitted", "pending_cancel")]
            if not undecided:
                break
            assert time.monotonic() < deadline, f"still undecided: {undecided}"
            time.sleep(0.2)
        self.control(lambda control: control.clear_faults())  # the comparison must see what is there
        self._books_are_equal()
        orders = self.venue_orders()
        assert {order["orderId"] for order in orders} == at_kill, "an order was sent after the crash"
        ids = [order["clientOrderId"] for order in orders]
        assert len(ids) == len(set(ids)), "a client order id was used twice"
        return self._same_orders_work()

    def _books_are_equal(self) -> None:
        """Wait for the comparison that finds what no stream told, such as the rest of an order filled in parts."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            audit = self.ask("audit")
            if audit["orders_match"] and audit["positions_match"]:
                return
            assert time.monotonic() < deadline, audit
            time.sleep(0.5)

    def _same_orders_work(self) -> dict[str, Any]:
        """Wait until books and exchange name the same working orders: the market goes on between two questions."""
        deadline = time.monotonic() + 10.0
        while True:
            state = self.ask("state")
            here = {order["order"] for order in state["orders"]}
            open_there = (o for o in self.venue_orders() if o["status"] in ("NEW", "PARTIALLY_FILLED"))
            there = {order["clientOrderId"] for order in open_there}
            if here == there:
                return state
            assert time.monotonic() < deadline, f"here {here}, there {there}"
            time.sleep(0.2)
