"""Two programs on one key: the second refuses in one sentence, sends nothing, and a crash of the first frees it.

Real processes of `main.py trade --endpoints FILE` on one practice exchange whose own list of orders is the judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.practice.control import PracticeControl, PracticeEndpoints
from core.practice.process import PracticeProcess
from tests.integration.practice_clients import raw_client_of

ROOT = Path(__file__).parents[2]
WITH_KEY = "Another program is already trading with this key"
OVER_FOLDER = "Another program is already trading over this data folder"
REMEDY = "Close it first: two executors would work against each other."


@dataclasses.dataclass(frozen=True)
class Place:
    """One exchange, and one runtime folder for all programs of the user, as on a real machine."""

    root: Path
    endpoints: PracticeEndpoints
    started: list[subprocess.Popen[str]]

    def trade(self, folder: str, file: str = "exchange.json") -> subprocess.Popen[str]:
        """Start a program that trades by hand, without its dead-man switch: a crash must leave all orders alone."""
        options = ("--endpoints", str(self.root / file), "--data-dir", str(self.root / folder))
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), "trade", "--commands", "--json", "--no-sentinel", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MARU_RUNTIME_DIR": str(self.root / "locks")},
        )
        self.started.append(process)
        return process

    def rearm(self, folder: str) -> None:
        """A person decides to trade beside the other copy."""
        command = [sys.executable, str(ROOT / "main.py"), "rearm", "--yes", "--data-dir", str(self.root / folder)]
        environment = {**os.environ, "MARU_RUNTIME_DIR": str(self.root / "locks")}
        subprocess.run(command, check=True, capture_output=True, env=environment)

    def write(self, file: str, **changes: str) -> None:
        content = {**dataclasses.asdict(self.endpoints), **changes}
        (self.root / file).write_text(
            json.dumps({k: list(v) if isinstance(v, tuple) else v for k, v in content.items()})
        )

    def orders(self) -> list[dict[str, Any]]:
        """All orders the exchange ever had in the market, in its own words."""

        async def ask() -> list[dict[str, Any]]:
            async with raw_client_of(self.endpoints) as client:
                return (await client.signed("GET", "allOrders", symbol="BTCUSDT")).body

        return asyncio.run(ask())

    def price(self) -> float:
        async def ask() -> float:
            async with raw_client_of(self.endpoints) as client:
                return float((await client.request("GET", "ticker/price", symbol="BTCUSDT")).body["price"])

        return asyncio.run(ask())

    def somebody_else(self, price: float) -> dict[str, Any]:
        """Another machine with the same key places a limit order."""

        async def place() -> dict[str, Any]:
            control = PracticeControl(self.endpoints)
            with_limit = {"type": "LIMIT", "timeInForce": "GTC", "price": f"{price:.2f}"}
            try:
                return await control.place_foreign(symbol="BTCUSDT", side="BUY", quantity="0.01", **with_limit)
            finally:
                await control.close()

        return asyncio.run(place())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with PracticeProcess(data_dir=tmp_path / "exchange", seed=6) as endpoints:
        made = Place(tmp_path, endpoints, [])
        made.write("exchange.json")
        try:
            yield made
        finally:
            for process in made.started:
                if process.poll() is None:
                    process.kill()
                with contextlib.suppress(ValueError):
                    process.communicate()


def ask(process: subprocess.Popen[str], **request: Any) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    answer: dict[str, Any] = json.loads(line)
    return answer


def refused(process: subprocess.Popen[str], sentence: str, holder: int) -> None:
    """The program ended by itself with code 2 and one JSON line that names who is in its way."""
    wish = {"id": 1, "command": "place", "symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"}
    out, err = process.communicate(json.dumps(wish) + "\n", timeout=60)
    assert process.returncode == 2, out + err
    (line,) = out.splitlines()
    assert json.loads(line) == {"error": f"{sentence} (process {holder}).", "remedy": REMEDY}
    assert "Traceback" not in err


def buy(process: subprocess.Popen[str], number: int, price: float) -> dict[str, Any]:
    return ask(
        process, id=number, command="place", symbol="BTC/USDT", side="buy", quantity="0.01", price=f"{price:.2f}"
    )


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def test_a_second_program_with_the_key_refuses_in_every_folder_until_the_first_has_crashed(place: Place) -> None:
    first = place.trade("a")
    mark = place.price()
    resting = buy(first, 1, mark * 0.97)
    assert resting["state"] == "accepted"
    before = place.orders()
    refused(place.trade("a"), OVER_FOLDER, first.pid)  # same key, same folder
    refused(place.trade("b"), WITH_KEY, first.pid)  # same key, another folder
    place.write("other-key.json", api_key="another key", api_secret="another secret")
    refused(place.trade("a", "other-key.json"), OVER_FOLDER, first.pid)  # another key, same folder
    assert place.orders() == before
    assert ask(first, id=2, command="state")["orders"][0]["order"] == resting["order"]  # it was not disturbed
    first.kill()
    first.communicate()
    second = place.trade("b")  # free at once, but the order that is there is one of another copy
    denied = buy(second, 7, mark * 0.96)
    assert (denied["state"], denied["reason"]) == ("denied", "TRADING_STATE_REDUCING")
    assert place.orders() == before
    end(second)
    second = place.trade("b")  # neither does a restart help
    assert buy(second, 8, mark * 0.96)["state"] == "denied"
    end(second)
    place.rearm("b")
    second = place.trade("b")
    assert buy(second, 9, mark * 0.96)["state"] == "accepted"
    refused(place.trade("a"), WITH_KEY, second.pid)
    end(second)
    third = place.trade("a")
    assert buy(third, 2, mark * 0.95)["state"] == "denied"  # what the other folder placed is a copy's here
    assert [order["order"] for order in ask(third, id=3, command="state")["orders"]].count(resting["order"]) == 1
    assert end(third)["orders_match"]
    assert [order["status"] for order in place.orders()] == ["NEW", "NEW"]


def test_orders_of_another_machine_are_shown_and_touched_by_nothing_but_cancel_all_and_stop(place: Place) -> None:
    mark = place.price()
    earlier = place.somebody_else(mark * 0.98)
    program = place.trade("a")
    own = buy(program, 1, mark * 0.97)
    later = place.somebody_else(mark * 0.96)
    theirs = {earlier["clientOrderId"], later["clientOrderId"]}
    shown: dict[str, Any] = {}
    for number in range(100):
        shown = {order["order"]: order for order in ask(program, id=100 + number, command="state")["orders"]}
        if theirs <= set(shown):
            break
        asyncio.run(asyncio.sleep(0.1))
    assert {name: order["owner"] for name, order in shown.items()} == {
        own["order"]: "manual",
        **dict.fromkeys(theirs, "external"),
    }
    assert ask(program, id=2, command="cancel", order=own["order"])["state"] == "canceled"
    changed = ask(program, id=3, command="replace", order=earlier["clientOrderId"], price=f"{mark * 0.95:.2f}")
    assert "Only a working order of your own can be changed" in changed["error"]
    end(program)
    program = place.trade("a")  # neither an end nor a start touches them
    assert {order["order"] for order in ask(program, id=4, command="state")["orders"]} == theirs
    status = {order["clientOrderId"]: order["status"] for order in place.orders()}
    assert [status[name] for name in sorted(theirs)] == ["NEW", "NEW"]
    ask(program, id=5, command="cancel_all")
    status = {order["clientOrderId"]: order["status"] for order in place.orders()}
    assert [status[name] for name in sorted(theirs)] == ["CANCELED", "CANCELED"]
    last = place.somebody_else(mark * 0.94)
    killed = ask(program, id=6, command="kill")
    assert killed["complete"], killed
    status = {order["clientOrderId"]: order["status"] for order in place.orders()}
    assert status[last["clientOrderId"]] == "CANCELED"
    assert end(program)["orders_match"]
