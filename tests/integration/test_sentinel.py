"""The dead-man switch with real processes on a real exchange: programs are killed, stopped and started again."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from core.execution.foreign_kill import read_lines
from core.execution.sentinel import SentinelRules
from core.practice.control import PracticeControl, PracticeEndpoints
from core.practice.endpoints_file import read_endpoints
from core.practice.process import PracticeProcess

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

QUICK = {"silence_s": 4.0, "beat_s": 0.4}
SILENCE_S = QUICK["silence_s"]


class Program:
    """A trading program in its own process; what it says is kept."""

    def __init__(self, place: Place, rules: dict[str, float] | None = QUICK) -> None:
        self._place = place
        self.notices: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.integration.sentinel_launcher"),
                *(str(place.data), str(place.endpoints_file), json.dumps(rules)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=place.environment(),
            text=True,
        )
        self.sentinel = self.hear("pid")["sentinel"]
        if self.sentinel is not None:
            place.sentinels.append(psutil.Process(self.sentinel))

    def hear(self, what: str) -> dict[str, Any]:
        """Read up to a line that says `what`; notices before it are kept."""
        assert self._process.stdout is not None
        while True:
            text = self._process.stdout.readline()
            assert text, f"it ended before it said {what!r}"
            line: dict[str, Any] = json.loads(text)
            if "notice" in line:
                self.notices.append(line)
            if what in line:
                return line

    def hear_notice(self, title: str) -> dict[str, Any]:
        while not (found := [notice for notice in self.notices if notice["notice"] == title]):
            self.hear("notice")
        return found[-1]

    def ask(self, command: str, answer: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self.hear(answer)[answer]

    def rest(self) -> tuple[list[str], str]:
        """Let orders rest: two limits, and a stop that protects."""
        assert self._process.stdin is not None
        self._process.stdin.write("orders\n")
        self._process.stdin.flush()
        line = self.hear("limits")
        return sorted(line["limits"]), line["stop"]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        self.ask("close", "closed")
        self._process.communicate(timeout=20)
        assert self._process.returncode == 0

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()


class Place:
    """A data folder, an exchange, and every process that was started over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.endpoints_file = folder / "endpoints.json"
        self.exchange = PracticeProcess(data_dir=folder / "exchange", seed=5, balance="100000")
        self.sentinels: list[psutil.Process] = []
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        self.use(self.exchange.start())
        return self

    def __exit__(self, *unused: object) -> None:
        for program in self._programs:
            program.end()
        self.exchange.stop()
        for sentinel in self.sentinels:  # a test that failed may leave one that waits for its silence to end
            if sentinel.is_running():
                sentinel.kill()

    @property
    def endpoints(self) -> PracticeEndpoints:
        return read_endpoints(self.endpoints_file)

    def use(self, endpoints: PracticeEndpoints) -> None:
        content = {name: getattr(endpoints, name) for name in PracticeEndpoints.__slots__}
        self.endpoints_file.write_text(json.dumps(content))

    def environment(self) -> dict[str, str]:
        return {**os.environ, "MARU_RUNTIME_DIR": str(self.folder / "locks")}

    def program(self, rules: dict[str, float] | None = QUICK) -> Program:
        self._programs.append(Program(self, rules))
        return self._programs[-1]

    def open_orders(self) -> list[str]:
        query = f"symbol=BTCUSDT&timestamp={time.time_ns() // 1_000_000}"  # all markets weigh too much to poll
        endpoints = self.endpoints
        signature = hmac.new(endpoints.api_secret.encode(), query.encode(), "sha256").hexdigest()
        request = urllib.request.Request(
            f"{endpoints.rest}/api/v3/openOrders?{query}&signature={signature}",
            headers={"X-MBX-APIKEY": endpoints.api_key},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return sorted(order["clientOrderId"] for order in json.load(answer))

    def journals(self) -> list[Path]:
        return sorted(self.data.glob("sentinel-journal-*.jsonl"))

    def ends(self) -> list[dict[str, Any]]:
        return [line for path in self.journals() for line in read_lines(path) if line["kind"] == "end"]

    def no_sentinel_is_left(self, timeout_s: float = 10.0) -> None:
        _, alive = psutil.wait_procs(self.sentinels, timeout_s)
        assert not alive, [process.status() for process in alive]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Place(tmp_path) as made:
        yield made


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)


def merged_commands(place: Place) -> list[dict[str, Any]]:
    with sqlite3.connect(place.data / "journal.sqlite") as connection:
        rows = connection.execute("SELECT payload FROM commands WHERE kind = 'sentinel'").fetchall()
    connection.close()
    return [json.loads(row[0]) for row in rows]


def test_a_killed_program_leaves_only_what_protects(place: Place) -> None:
    silence_s = 8.0
    program = place.program({**QUICK, "silence_s": silence_s})
    limits, stop = program.rest()
    time.sleep(2 * QUICK["beat_s"])
    program.kill()
    killed = time.monotonic()
    while time.monotonic() < killed + silence_s / 2:
        found = place.open_orders()
        assert found == sorted([*limits, stop]), "a restart would still find its orders"
        time.sleep(0.2)
    until(lambda: place.open_orders() == [stop])
    place.no_sentinel_is_left()
    (journal,) = place.journals()
    (end,) = place.ends()
    assert (end["outcome"], end["cancelled"], end["kept"]) == ("confirmed", limits, [stop])
    again = place.program()
    notice = again.hear_notice("The dead-man switch acted")
    assert (notice["severity"], "Orders cancelled: 2." in notice["text"]) == ("warning", True)
    assert again.ask("working", "working") == [stop]
    assert again.ask("audit", "differences") == []
    assert not journal.exists()
    assert [command["kind"] for command in merged_commands(place)][-1] == "end"
    again.close()
    assert place.open_orders() == [stop]
    place.no_sentinel_is_left()


def test_a_stopped_program_that_comes_back_notices_and_is_guarded_again(place: Place) -> None:
    program = place.program()
    limits, stop = program.rest()
    program.send(signal.SIGSTOP)
    until(lambda: place.open_orders() == [stop])
    until(lambda: len(place.ends()) == 1)
    program.send(signal.SIGCONT)
    assert "Orders cancelled: 2." in program.hear_notice("The dead-man switch acted")["text"]
    until(lambda: program.ask("working", "working") == [stop])
    assert program.ask("audit", "differences") == []
    assert [notice["notice"] for notice in program.notices] == ["The dead-man switch acted"], (
        "told once, and nothing else"
    )
    second = program.ask("limit", "limit")
    time.sleep(SILENCE_S + 1.0)
    assert place.open_orders() == sorted([stop, second]), "a program that beats keeps its orders"
    program.kill()
    until(lambda: place.open_orders() == [stop])
    place.no_sentinel_is_left()
    assert [end["cancelled"] for end in place.ends()] == [limits, [second]]


def test_a_clean_stop_leaves_the_orders(place: Place) -> None:
    program = place.program()
    limits, stop = program.rest()
    program.close()
    place.no_sentinel_is_left(2.0)
    time.sleep(SILENCE_S + 1.0)
    assert place.open_orders() == sorted([*limits, stop])
    assert place.journals() == []


def test_two_quick_restarts_keep_their_orders_and_one_switch(place: Place) -> None:
    patient = {**QUICK, "silence_s": 60.0}  # longer than two starts take on a busy machine
    first = place.program(patient)
    limits, stop = first.rest()
    first.kill()
    second = place.program(patient)
    second.kill()
    third = place.program(patient)
    assert len({first.sentinel, second.sentinel, third.sentinel}) == 3
    until(lambda: not any(old.is_running() for old in place.sentinels[:2]))  # they leave before they are due
    assert place.sentinels[2].is_running()
    assert place.open_orders() == sorted([*limits, stop])
    assert third.ask("working", "working") == sorted([*limits, stop])
    third.close()
    place.no_sentinel_is_left()
    assert place.open_orders() == sorted([*limits, stop])
    assert place.journals() == []


def test_a_restart_that_ends_in_peace_keeps_the_orders_from_the_older_switch(place: Place) -> None:
    first = place.program()
    limits, stop = first.rest()
    first.kill()
    second = place.program()
    assert second.ask("audit", "differences") == []
    second.close()
    place.no_sentinel_is_left(SILENCE_S + 5.0)
    assert place.open_orders() == sorted([*limits, stop])
    assert place.journals() == []


def test_a_switch_that_slept_gives_a_restart_the_whole_time_again(place: Place) -> None:
    program = place.program()
    limits, stop = program.rest()
    program.kill()
    (switch,) = place.sentinels
    switch.suspend()  # as with the machine
    time.sleep(SentinelRules().gap_s + 1.0)
    switch.resume()
    time.sleep(SILENCE_S - 2.0)
    assert place.open_orders() == sorted([*limits, stop])
    until(lambda: place.open_orders() == [stop])
    place.no_sentinel_is_left()


def test_a_kill_from_outside_beside_the_switch_leaves_nothing_and_halts(place: Place) -> None:
    program = place.program()
    limits, stop = program.rest()
    program.send(signal.SIGSTOP)
    killed = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "kill", "--json", "--data-dir", str(place.data)],
        capture_output=True,
        text=True,
        env=place.environment(),
        timeout=60,
    )
    assert killed.returncode == 0, killed.stderr
    assert place.open_orders() == []
    until(lambda: len(place.ends()) == 1)
    done = [*json.loads(killed.stdout)["cancelled"], *place.ends()[0]["cancelled"]]
    assert sorted(done) == sorted([*limits, stop]), "whoever came first; none twice"
    program.send(signal.SIGCONT)
    program.hear_notice("Trading was stopped from outside")
    until(lambda: program.ask("working", "working") == [])
    assert program.ask("audit", "differences") == []
    program.close()
    place.no_sentinel_is_left()


def test_an_exchange_out_of_reach_is_asked_until_it_answers(place: Place) -> None:
    program = place.program()
    _, stop = program.rest()
    endpoints = place.endpoints
    assert place.exchange.pid is not None
    os.kill(place.exchange.pid, signal.SIGKILL)
    program.kill()
    time.sleep(SILENCE_S + 1.5)
    assert place.sentinels[0].is_running()
    (journal,) = place.journals()
    assert any("no connection" in line.get("error", "") for line in read_lines(journal))
    place.exchange.stop()
    place.exchange = PracticeProcess(data_dir=place.folder / "exchange", seed=5, resume=endpoints)
    place.use(place.exchange.start())
    until(lambda: place.open_orders() == [stop])
    place.no_sentinel_is_left()
    assert place.ends()[0]["outcome"] == "confirmed"


def test_a_key_that_opens_nothing_any_more_ends_it_with_a_line(place: Place) -> None:
    async def reset() -> None:
        control = PracticeControl(place.endpoints)
        await control.reset()
        await control.close()

    program = place.program()
    program.rest()
    program.send(signal.SIGSTOP)
    asyncio.run(reset())
    program.kill()
    place.no_sentinel_is_left(20.0)
    assert place.ends()[0]["outcome"] == "refused"


def test_without_a_switch_everything_stays(place: Place) -> None:
    program = place.program(None)
    assert program.sentinel is None
    limits, stop = program.rest()
    program.kill()
    time.sleep(SILENCE_S + 1.0)
    assert place.open_orders() == sorted([*limits, stop])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_switch_that_dies_or_hangs_is_told_and_replaced(place: Place, number: signal.Signals) -> None:
    program = place.program()
    limits, stop = program.rest()
    place.sentinels[0].send_signal(number)
    told = program.hear_notice("The dead-man switch does not run")
    assert told["severity"] == "warning"
    assert program.hear_notice("The dead-man switch runs again")["severity"] == "success"
    until(lambda: not place.sentinels[0].is_running())
    children = [
        child for child in psutil.Process(program.ask("pid", "pid")).children() if "sentinel" in child.cmdline()
    ]
    place.sentinels += children
    assert len(children) == 1
    assert place.open_orders() == sorted([*limits, stop])
    program.kill()
    until(lambda: place.open_orders() == [stop])
    place.no_sentinel_is_left()


def test_signals_of_a_terminal_do_not_end_it(place: Place) -> None:
    program = place.program()
    _, stop = program.rest()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        place.sentinels[0].send_signal(number)
    program.kill()
    until(lambda: place.open_orders() == [stop])
    place.no_sentinel_is_left()


def test_keys_go_over_the_pipe_only_and_it_stays_small(place: Place) -> None:
    place.program()
    (sentinel,) = place.sentinels
    secrets = (place.endpoints.api_key, place.endpoints.api_secret, place.endpoints.token)
    shown = json.dumps([sentinel.cmdline(), sentinel.environ()])
    assert not [secret for secret in secrets if secret in shown]
    until(lambda: sentinel.memory_info().rss > 40_000_000)  # the venue's client is loaded after a while
    time.sleep(1.0)
    assert sentinel.memory_info().rss < 100_000_000


def main_py(place: Place, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, str(ROOT / "main.py"), "trade", "--endpoints", str(place.endpoints_file)),
            *("--data-dir", str(place.data), *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=place.environment(),
    )


def test_main_py_trade_is_guarded_as_well(place: Place) -> None:
    program = place.program()
    limits, stop = program.rest()
    program.close()
    process = main_py(place, "--sentinel-seconds", "4")
    try:
        assert process.stderr is not None
        while "Trading." not in process.stderr.readline():
            pass
        program_now = psutil.Process(process.pid)
        until(lambda: len(program_now.children()) == 1)
        place.sentinels += program_now.children()
        until(lambda: place.sentinels[1].num_threads() > 1)  # it listens
        time.sleep(1.0)
        assert place.open_orders() == sorted([*limits, stop])
    finally:
        process.kill()
        _, err = process.communicate(timeout=5)  # it would wait for a switch that kept its standard error
    assert "Traceback" not in err
    until(lambda: place.open_orders() == [stop])
    place.no_sentinel_is_left()
    assert place.ends()[0]["cancelled"] == limits
    process = main_py(place, "--minutes", "0.02")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Orders cancelled: 2." in err
