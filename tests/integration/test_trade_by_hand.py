"""Orders by hand to `main.py trade --commands`: a real process, a real exchange, books equal at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.config import DataPaths
from core.practice.endpoints_file import publish_endpoints
from core.practice.process import PracticeProcess

ROOT = Path(__file__).parents[2]


class HandTrading:
    """A running `main.py trade --commands`."""

    def __init__(self, folder: Path, *extra: str) -> None:
        self.said = ""  # on standard error, once it has ended
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), "trade", "--commands", "--json", "--data-dir", str(folder), *extra],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MARU_RUNTIME_DIR": str(folder / "locks")},
        )

    def send(self, **request: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        self.send(**request)
        return self.answer()

    def end(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        out, self.said = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, out + self.said
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
        return result

    def close(self) -> None:
        """End it however it is."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def trading(tmp_path: Path) -> Iterator[HandTrading]:
    started = HandTrading(tmp_path, "--practice", "--seed", "4")
    yield started
    started.close()


def limit(price: float, **extra: Any) -> dict[str, Any]:
    return {
        "command": "place",
        "symbol": "BTC/USDT",
        "side": "buy",
        "quantity": "0.01",
        "price": f"{price:.2f}",
        **extra,
    }


def test_orders_by_hand_from_placing_to_equal_books(trading: HandTrading) -> None:
    bought = trading.ask(id="b", command="place", symbol="BTC/USDT", side="buy", quantity="0.01")
    assert (bought["id"], bought["state"], bought["filled"]) == ("b", "filled", "0.01")
    again = trading.ask(id="b", command="place", symbol="BTC/USDT", side="buy", quantity="0.01")
    assert again["order"] == bought["order"]  # the same wish is the same order
    mark = _price(trading)
    resting = trading.ask(id=1, **limit(mark * 0.97))
    assert resting["state"] == "accepted"
    moved = trading.ask(id=2, command="replace", order=resting["order"], price=f"{mark * 0.96:.2f}")
    assert moved["state"] == "accepted"
    assert moved["order"] != resting["order"]
    state = trading.ask(id=3, command="state")
    assert [order["order"] for order in state["orders"]] == [moved["order"]]
    assert trading.ask(id=4, command="cancel", order=moved["order"])["state"] == "canceled"
    plan = trading.ask(
        id=5,
        command="plan",
        kind="exit",
        symbol="BTC/USDT",
        side="sell",
        quantity="0.009",
        stop_price=f"{mark * 0.9:.2f}",
    )
    assert plan["state"] == "working"
    assert trading.ask(id=6, command="cancel_plan", plan=plan["plan"])["state"] == "canceled"
    taken = trading.ask(id="t", command="take_over", symbol="BTC/USDT", move=True)
    assert (taken["symbol"], taken["ownership"]) == ("BTC/USDT", "manual")
    back = trading.ask(id="h", command="hand_back", symbol="BTC/USDT")
    assert (back["symbol"], back["ownership"]) == ("BTC/USDT", "shared")
    killed = trading.ask(id=7, command="kill", flatten=True)
    assert killed["complete"], killed
    assert trading.ask(id=8, **limit(mark * 0.97))["reason"] == "TRADING_HALTED"
    assert trading.ask(id=9, command="rearm")["trading_state"] == "active"
    result = trading.end()
    assert result["orders_match"], result
    assert result["positions_match"], result


BUY = {"command": "place", "symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"}
NO_COMMANDS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"command": "dance"}, "There is no command"),
    ({"command": "place", "symbol": "BTC/USDT"}, "needs 'side'"),
    ({"command": "place", "symbol": "BTC/USDT", "side": "up", "quantity": "1"}, "cannot be read"),
    ({"command": "cancel", "order": "maru-none"}, "There is no order"),
    ({"command": "cancel_plan", "plan": "x"}, "no such order plan"),
    ({"command": "hand_back", "symbol": "BTC/USDT", "to": "nobody"}, "cannot be read"),
    ({"command": "hand_back", "symbol": "BTC/USDT", "move_to": "ghost"}, "No strategy named ghost trades BTC/USDT."),
    ({**BUY, "prise": "5"}, "does not know the field 'prise'"),
    ({**BUY, "stop_price": "5"}, "A stop needs a price as well."),
    ({**BUY, "price": "5", "type": "market"}, "takes no price"),
    ({**BUY, "quantity": 0.01}, "must be a text"),
)


def test_what_is_no_command_is_answered_in_one_sentence(trading: HandTrading) -> None:
    for line, words in NO_COMMANDS:
        assert words in trading.ask(id=1, **line)["error"]
    assert trading.process.stdin is not None
    trading.process.stdin.write("not json\n[]\n")
    trading.process.stdin.flush()
    assert sorted(trading.answer()["error"] for _ in range(2)) == [
        "The command is not JSON.",
        "The command is not a JSON object.",
    ]
    assert trading.end()["orders"] == 0  # nothing was sent


def test_a_second_start_tells_nothing_of_the_first_runs_trades(tmp_path: Path) -> None:
    with PracticeProcess(data_dir=tmp_path / "exchange", seed=4, balance="100000") as endpoints:
        file = publish_endpoints(DataPaths(tmp_path / "exchange"), endpoints)
        said = []
        for number, (side, quantity) in enumerate((("buy", "0.009"), ("sell", "0.008"))):  # what fees left
            trading = HandTrading(tmp_path / "data", "--endpoints", str(file))
            try:
                done = trading.ask(id=number, command="place", symbol="BTC/USDT", side=side, quantity=quantity)
                assert done["state"] == "filled", done
                resting = trading.ask(id=f"l{number}", **limit(_price(trading) * 0.97))
                assert trading.ask(id="c", command="cancel", order=resting["order"])["state"] == "canceled"
                result = trading.end()
            finally:
                trading.close()
            said.append(trading.said)
    first, second = said
    assert "buy 0.009 BTC/USDT" in first
    assert "sell 0.008 BTC/USDT" in second
    assert "buy" not in second
    assert second.count("canceled") == 1
    assert result["orders_match"], result
    assert len(result["pnl"].partition(".")[2]) <= 8


def _price(trading: HandTrading) -> float:
    """The price of the market, from the sentence that refuses a wild one."""
    refused = trading.ask(id="p", command="place", symbol="BTC/USDT", side="buy", quantity="0.01", price="900000")
    assert refused["reason"] == "PRICE_COLLAR"
    return float(refused["message"].split()[-1])
