"""The dead-man switch at work against a venue in memory, in a time of its own."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.clock import ManualClock, SystemClock
from core.domain.orders import OrderState, OrderType, Side, TradingMode
from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
from core.execution.api.gateway import (
    DefinitiveReject,
    FatalGatewayError,
    GatewayError,
    NoAnswer,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
)
from core.execution.api.key_permissions import StopGuard
from core.execution.foreign_kill import read_lines
from core.execution.order_manager import ID_PREFIX, client_order_id
from core.execution.process_lock import ExecutorLock
from core.execution.sentinel import Claim, SentinelPolicy, SentinelRules, SentinelStart
from core.execution.sentinel_child import (
    REFUSED_EXIT,
    CancelGateway,
    CancelOnly,
    Diary,
    Sentinel,
    connector,
    messages,
    profile_of,
)
from tests.unit.execution.test_sentinel import START

MAIN = Path(__file__).parents[3] / "main.py"
LOCAL = {"rest": "http://127.0.0.1:9", "ws": "ws://127.0.0.1:9/stream/ws", "ws_api": "ws://127.0.0.1:9/ws-api/v3"}


def order(name: str, side: Side = Side.BUY, kind: OrderType = OrderType.LIMIT) -> OrderReport:
    price = Decimal(10)
    return OrderReport(
        "BTC/USDT", name, f"v-{name}", OrderState.ACCEPTED, side, kind, Decimal(1), Decimal(0), price, None, 0
    )


OWN_STOP = client_order_id("stop")


class Venue:
    """Open orders, and faults in the order they come."""

    def __init__(self, *orders: OrderReport) -> None:
        self.open = {report.client_order_id: report for report in orders}
        self.faults: list[Exception] = []  # of connecting
        self.connects = self.closed = 0
        self.before_cancel: Callable[[str], None] = lambda name: None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[CancelGateway]:
        self.connects += 1
        if self.faults:
            raise self.faults.pop(0)
        try:
            yield self
        finally:
            self.closed += 1

    async def fetch_open_orders(self) -> list[OrderReport]:
        return list(self.open.values())

    async def cancel_order(self, symbol: str, client_order_id: str) -> OrderReport:
        self.before_cancel(client_order_id)
        if client_order_id not in self.open:
            raise OrderUnknown("unknown order")
        return replace(self.open.pop(client_order_id), state=OrderState.CANCELED)


class Bench:
    """A switch over a venue; `now` is its time, which passes while it sleeps."""

    def __init__(self, folder: Path, venue: Venue, rules: SentinelRules) -> None:
        self.now = 0.0
        self.venue = venue
        self.start = replace(
            START, journal=str(folder / "sentinel-journal-1.jsonl"), runtime_folder=str(folder), rules=rules
        )
        self.policy = SentinelPolicy(rules, 0.0)
        self.at: list[tuple[float, Callable[[], Any]]] = []
        self.claim = Claim(folder, self.start.fingerprint)
        self.lock = ExecutorLock(folder, self.start.fingerprint)
        self.claim.write(self.start.claim)
        self.sentinel = Sentinel(
            self.start,
            self.policy,
            venue.connect,
            Diary(Path(self.start.journal), ManualClock(7)),
            monotonic=lambda: self.now,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += 0.05
            for moment in [m for m in self.at if m[0] <= self.now]:
                self.at.remove(moment)
                moment[1]()
            await asyncio.sleep(0)

    async def run(self) -> int:
        async with asyncio.timeout(20):
            return await self.sentinel.run()

    def beat(self, *protective: str) -> None:
        self.policy.beat(self.now, protective)

    def lines(self) -> list[dict[str, Any]]:
        return read_lines(Path(self.start.journal))

    def end(self) -> dict[str, Any]:
        lines = self.lines()
        assert lines[0]["kind"] == "begin"
        assert [line["kind"] for line in lines].count("end") == 1
        return lines[-1]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(*orders: OrderReport, **rules: Any) -> Bench:
        benches.append(Bench(tmp_path, Venue(*orders), SentinelRules(**rules)))
        return benches[-1]

    yield make
    for made in benches:
        made.lock.release()


async def test_everything_but_what_protects_is_cancelled_and_written_down(bench: Callable[..., Bench]) -> None:
    stop = order(OWN_STOP, Side.SELL, OrderType.STOP_LOSS_LIMIT)
    desk = bench(order("a"), order("b", Side.SELL), order("tp", Side.SELL), stop, order("web_1"))
    desk.at = [(1.0, lambda: desk.beat("tp")), (2.0, desk.policy.program_gone)]
    assert await desk.run() == 0
    assert set(desk.venue.open) == {"tp", OWN_STOP}
    end = desk.end()
    assert (end["outcome"], end["cancelled"], end["kept"]) == ("confirmed", ["a", "b", "web_1"], [OWN_STOP, "tp"])
    announced = {name for line in desk.lines() if line["kind"] == "cancelling" for name in line["orders"]}
    assert announced == {"a", "b", "web_1"}
    assert 16.0 <= desk.now < 18.0
    assert desk.venue.closed == desk.venue.connects == 1


async def test_every_step_is_on_the_disk_before_it_happens(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    desk.policy.program_gone()
    seen: list[list[str]] = []
    desk.venue.before_cancel = lambda name: seen.append([line["kind"] for line in desk.lines()])
    await desk.run()
    assert seen == [["begin", "cancelling"]]


async def test_a_goodbye_leaves_the_orders_and_writes_nothing(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    desk.at = [(3.0, desk.policy.dismiss), (3.0, desk.policy.program_gone)]
    assert await desk.run() == 0
    assert desk.now < 4.0
    assert set(desk.venue.open) == {"a"}
    assert desk.lines() == []


async def test_it_insists_with_growing_pauses_until_the_venue_answers(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    desk.policy.program_gone()
    desk.venue.faults = [NoAnswer("no connection"), NoAnswer("no connection"), NoAnswer("timed out"), NoAnswer("x")]
    assert await desk.run() == 0
    assert desk.venue.open == {}
    assert desk.now >= 15 + 1 + 2 + 4 + 8
    assert [line["error"] for line in desk.lines() if line["kind"] == "failed"] == ["no connection", "timed out", "x"]
    assert desk.end()["outcome"] == "confirmed"


async def test_where_patience_is_bounded_it_gives_up_and_says_so(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"), patience_s=60.0)
    desk.policy.program_gone()
    desk.venue.faults = [NoAnswer("no connection")] * 50
    assert await desk.run() == 0
    assert 75 < desk.now < 120
    assert (desk.end()["outcome"], desk.end()["error"]) == ("gave_up", "no connection")


async def test_a_refused_key_ends_it_but_not_at_the_first_refusal(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    refusal = FatalGatewayError("Invalid API-key (-2015)")
    desk.venue.faults = [refusal, NoAnswer("no connection"), refusal, refusal, refusal]
    assert await desk.run() == REFUSED_EXIT  # also while its program lives: that one tells and tries again
    assert desk.venue.connects == 5  # three in a row
    assert (desk.end()["outcome"], desk.end()["error"]) == ("refused", "Invalid API-key (-2015)")


async def test_a_program_that_comes_back_keeps_what_is_left(bench: Callable[..., Bench]) -> None:
    desk = bench(*(order(f"o{n}") for n in range(8)))
    desk.venue.before_cancel = lambda name: desk.beat() if name == "o1" else None
    desk.at = [(25.0, desk.policy.dismiss)]
    assert await desk.run() == 0
    assert sorted(desk.venue.open) == ["o5", "o6", "o7"]  # the batch on the wire went through
    assert (desk.end()["outcome"], len(desk.end()["cancelled"])) == ("came_back", 5)


async def test_after_its_action_it_watches_on(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    desk.at = [
        (20.0, lambda: desk.venue.open.update(b=order("b"))),  # by whomever; the program itself is silent
        (30.0, desk.beat),
        (31.0, desk.policy.program_gone),
    ]
    assert await desk.run() == 0
    assert [line["cancelled"] for line in desk.lines() if line["kind"] == "end"] == [["a"], ["b"]]
    assert desk.now > 45.0


async def test_a_new_executor_that_holds_the_lock_is_waited_for_and_its_claim_is_obeyed(
    bench: Callable[..., Bench],
) -> None:
    desk = bench(order("a"))
    desk.policy.program_gone()
    desk.at = [(5.0, desk.lock.acquire), (40.0, lambda: desk.claim.write("the next one"))]
    assert await desk.run() == 0
    assert 40.0 <= desk.now < 41.0
    assert set(desk.venue.open) == {"a"}
    assert desk.lines() == []


async def test_a_new_executor_that_ended_in_peace_keeps_its_orders(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    desk.policy.program_gone()
    desk.at = [
        (5.0, desk.lock.acquire),
        (6.0, lambda: desk.claim.write("the next one")),
        (7.0, desk.lock.release),
    ]
    assert await desk.run() == 0
    assert desk.now < 7.0, "an older switch leaves as soon as somebody answers for the orders"
    assert set(desk.venue.open) == {"a"}


async def test_a_new_executor_that_failed_to_start_does_not_keep_the_switch_from_acting(
    bench: Callable[..., Bench],
) -> None:
    desk = bench(order("a"))
    desk.policy.program_gone()
    desk.at = [(5.0, desk.lock.acquire), (30.0, desk.lock.release)]
    assert await desk.run() == 0
    assert desk.venue.open == {}
    assert desk.now >= 30.0


async def test_what_a_new_executor_sends_meanwhile_is_never_cancelled(bench: Callable[..., Bench]) -> None:
    desk = bench(*(order(f"o{n}") for n in range(7)))
    desk.policy.program_gone()

    def successor(name: str) -> None:
        if name == "o0":
            desk.lock.acquire()
            desk.claim.write("the next one")
            desk.venue.open["new"] = order("new")

    desk.venue.before_cancel = successor
    assert await desk.run() == 0
    assert sorted(desk.venue.open) == ["new", "o5", "o6"]
    assert desk.end()["outcome"] == "taken_over"


async def test_a_claim_from_before_its_program_is_nobody_new(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    desk.claim.write(desk.start.claim_before)  # the program died before it could claim
    desk.policy.program_gone()
    await desk.run()
    assert desk.venue.open == {}


async def test_an_order_that_went_by_itself_is_no_failure(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"), order("b"))
    desk.policy.program_gone()
    desk.venue.before_cancel = lambda name: desk.venue.open.pop("b", None) and None
    assert await desk.run() == 0
    assert (desk.end()["outcome"], desk.end()["cancelled"]) == ("confirmed", ["a"])


async def test_an_order_without_an_id_of_its_own_is_named_as_left(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    desk.venue.open["?"] = replace(order(""), venue_order_id="v-99")
    desk.policy.program_gone()
    assert await desk.run() == 0
    assert (desk.end()["outcome"], desk.end()["nameless"]) == ("incomplete", ["v-99"])


async def test_an_order_that_cannot_be_cancelled_keeps_no_other_one_open(bench: Callable[..., Bench]) -> None:
    desk = bench(*(order(f"o{n}") for n in range(12)), patience_s=60.0)
    desk.policy.program_gone()

    def refuse(name: str) -> None:
        if name == "o0":
            raise DefinitiveReject("the market is closed")

    desk.venue.before_cancel = refuse
    assert await desk.run() == 0
    assert set(desk.venue.open) == {"o0"}
    assert (desk.end()["outcome"], desk.end()["error"]) == ("gave_up", "the market is closed")
    assert len(desk.end()["cancelled"]) == 11


async def test_an_answer_nobody_understands_is_asked_for_again(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    desk.policy.program_gone()
    desk.venue.faults = [ValueError("incomplete order"), TimeoutError()]
    assert await desk.run() == 0
    assert desk.venue.open == {}
    assert [line["error"] for line in desk.lines() if line["kind"] == "failed"] == [
        "ValueError('incomplete order')",
        "TimeoutError()",
    ]


async def test_a_venue_that_asks_for_patience_gets_it(bench: Callable[..., Bench]) -> None:
    desk = bench(order("a"))
    desk.policy.program_gone()
    desk.venue.faults = [RetryableError("too many requests", retry_after_s=120.0)]
    assert await desk.run() == 0
    assert desk.venue.open == {}
    assert desk.now > 135.0


async def test_a_disk_that_takes_nothing_does_not_keep_orders_open(bench: Callable[..., Bench], tmp_path: Path) -> None:
    (tmp_path / "sentinel-journal-1.jsonl").mkdir()  # cannot be opened as a file
    desk = bench(order("a"))
    desk.policy.program_gone()
    assert await desk.run() == 0
    assert desk.venue.open == {}


# --- it may cancel, never open ---------------------------------------------------------------------------------


def reachable(thing: object) -> set[str]:
    """Return the names of everything that attributes lead to, level by level, without taking functions apart."""
    names: set[str] = set()
    seen: list[object] = []
    pending = [thing]
    while pending:
        current = pending.pop()
        if any(current is one for one in seen) or isinstance(current, str | int | float | type):
            continue
        seen.append(current)
        for name in dir(current):
            if name.startswith("__"):
                continue
            names.add(name)
            try:
                value = getattr(current, name)
            except GatewayError:  # a property of what is not connected
                continue
            if type(value).__module__ not in ("builtins", "types"):
                pending.append(value)
            bound_to = getattr(value, "__self__", None)
            if bound_to is not None and type(bound_to).__module__ not in ("builtins", "types"):
                pending.append(bound_to)
    return names


async def test_what_it_holds_of_the_venue_leads_to_no_way_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    gateways: list[CcxtGateway] = []

    async def connected(self: CcxtGateway) -> None:
        gateways.append(self)

    monkeypatch.setattr(CcxtGateway, "connect", connected)
    start = replace(START, urls=LOCAL)
    async with connector(start)() as gateway:
        names = reachable(gateway)
        assert {"fetch_open_orders", "cancel_order"} <= names
        assert not [name for name in names if "submit" in name or "create" in name or "exchange" in name]
        naive = CancelOnly(gateways[0].fetch_open_orders, gateways[0].cancel_order)
        assert "submit_order" in reachable(naive), "the walk would have found it"
        # And even the gateway inside has no words for an order.
        request = OrderRequest("maru-x", "BTC/USDT", Side.BUY, OrderType.MARKET, Decimal(1))
        gateways[0]._check_exact = lambda request: None  # type: ignore[method-assign]
        with pytest.raises(FatalGatewayError, match="sends no orders"):
            await gateways[0].submit_order(request)


def test_its_source_calls_nothing_that_sends() -> None:
    tree = ast.parse((MAIN.parent / "core/execution/sentinel_child.py").read_text("utf-8"))
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "cancel_order" in called
    assert not [name for name in called if "submit" in name or "create_order" in name or "edit" in name]


@pytest.mark.parametrize(("mode", "urls", "practice"), [("practice", LOCAL, True), ("live", {}, False)])
def test_practice_and_live_are_told_apart_by_the_first_message(mode: str, urls: Any, practice: bool) -> None:
    start = replace(START, mode=mode, urls=urls)
    profile = profile_of(start)
    assert profile.practice is practice
    CcxtGateway(profile, TradingMode(mode), Credentials("k", "s"), market_clock=SystemClock(), key_guard=StopGuard())
    other = TradingMode.LIVE if practice else TradingMode.PRACTICE
    with pytest.raises(FatalGatewayError):
        CcxtGateway(profile, other, Credentials("k", "s"), market_clock=SystemClock(), key_guard=StopGuard())


def test_a_venue_nobody_knows_is_refused() -> None:
    with pytest.raises(FatalGatewayError, match="nowhere"):
        profile_of(replace(START, mode="live", venue="nowhere", urls={}))


# --- the process -----------------------------------------------------------------------------------------------


def test_messages_are_lines_however_they_arrive() -> None:
    reading, writing = os.pipe()
    os.write(writing, b'{"kind": "be')
    os.write(writing, b'at"}\nrubbish\n[1]\n{"kind": "bye"}\n{"kind": "torn')
    os.close(writing)
    assert [message["kind"] for message in messages(reading)] == ["beat", "bye"]
    os.close(reading)


def test_a_first_message_that_is_none_or_never_comes_ends_it(tmp_path: Path) -> None:
    for said in (b"", b'{"kind": "bye"}\n'):
        done = subprocess.run([sys.executable, str(MAIN), "sentinel"], input=said, capture_output=True, timeout=30)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_it_loads_no_heavy_module_even_when_it_is_ready_to_act() -> None:
    heavy = ("PySide6", "torch", "pandas", "onnxruntime", "sqlalchemy", "alembic", "numpy", "typer")
    code = (
        "import sys, json\n"
        "import core.execution.sentinel_child\n"
        "from core.execution.api.ccxt_loader import load_exchange_class\n"
        "import core.execution.api.ccxt_gateway, core.execution.api.binance_api\n"
        "load_exchange_class('binance')\n"
        f"print(json.dumps([name for name in {heavy!r} if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=MAIN.parent, capture_output=True, timeout=120, check=True)
    assert json.loads(done.stdout) == []


def test_own_ids_begin_as_the_order_manager_makes_them() -> None:
    assert OWN_STOP.startswith(ID_PREFIX)
    assert SentinelStart.from_json(START.to_json()).own_prefix == ID_PREFIX
