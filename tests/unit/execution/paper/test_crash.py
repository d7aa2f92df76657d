"""A program that dies at any line of a paper trade leaves one order per wish and books that can be made equal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.config import DataPaths
from core.domain.orders import OrderDraft, OrderState, OrderType, Side
from core.execution.journal import Journal
from tests.unit.execution.paper.conftest import Paper, until
from tests.unit.execution.paper.market_double import SYMBOL, MarketDouble

BUY = OrderDraft(SYMBOL, Side.BUY, OrderType.MARKET, Decimal("1.5"))
REST = OrderDraft(SYMBOL, Side.BUY, OrderType.LIMIT, Decimal("0.5"), limit_price=Decimal(99))
DROP = OrderDraft(SYMBOL, Side.BUY, OrderType.LIMIT, Decimal("0.5"), limit_price=Decimal(90))
POINTS = 24
DIED = 9
WATCHED = (f"execution{os.sep}paper{os.sep}", "order_manager.py", "journal.py")


class Countdown:
    """Counts lines of the order path, and ends the process without a word at one of them."""

    def __init__(self, at: int | None) -> None:
        self.lines = 0
        self._at = at

    def watch(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if not any(name in frame.f_code.co_filename for name in WATCHED):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self._at:
                os._exit(DIED)
        return self.watch


async def trade(paths: DataPaths, countdown: Countdown) -> None:
    """Buy, leave an order that the market fills, and another that is cancelled."""
    paper = Paper(MarketDouble(), paths)
    executor = await paper.started()
    running = asyncio.create_task(executor.run())
    await asyncio.sleep(0.02)
    sys.settrace(countdown.watch)
    try:
        await executor.place_order(BUY)
        await executor.place_order(REST)
        await until(lambda: paper.market.listeners("trades") == 1)
        paper.market.trade(98.9, 0.2, Side.SELL)
        paper.market.trade(98.9, 0.2, Side.SELL)
        await asyncio.sleep(0.05)
        dropped = await executor.place_order(DROP)
        await executor.cancel_order(dropped.client_order_id)
    finally:
        sys.settrace(None)
    await executor.stop()
    await running


async def recover(paths: DataPaths) -> None:
    """Start again and hold the books against the account."""
    paper = Paper(MarketDouble(), paths)
    paper.market.clock.advance(3 * NS_PER_S)
    executor = await paper.started()
    running = asyncio.create_task(executor.run())
    try:
        paper.market.clock.advance(60 * NS_PER_S)  # nothing that was on its way can arrive any more
        open_ends = (OrderState.UNKNOWN, OrderState.SUBMITTED, OrderState.PENDING_CANCEL)
        await until(lambda: not any(order.state in open_ends for order in executor.working_orders), 10)
        await executor.reconcile_now()
        check, _ = await executor.audit()
        assert check.differences == ()
    finally:
        await executor.stop()
        await running
    journal = Journal(paths.journal_db)
    orders = journal.orders()
    journal.close()
    assert len({record.intent.intent_id for record in orders}) == len(orders) <= 3
    file = paper.file()
    assert {fill.client_order_id for fill in file.fills()} <= {record.key for record in orders}
    cash = {"USDT": Decimal(10_000)}
    for fill in file.fills():
        cash["USDT"] -= fill.value
        cash["BTC"] = cash.get("BTC", Decimal(0)) + fill.quantity - fill.fee
    assert {balance.currency: balance.total for balance in file.balances()} == cash
    bought = [fill.quantity for fill in file.fills() if fill.price >= 100]
    assert sum(bought) in (0, Decimal("1.5"))  # once, or not at all
    file.close()


def run_child(paths: DataPaths, at: int | None) -> int:
    """Trade in a child of ours; returns its exit code, or how many lines it ran where it is to live."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of the test's own may run on in here
        countdown, code = Countdown(at), 1
        try:
            asyncio.run(trade(paths, countdown))
            code = 0
        finally:
            os.write(writing, str(countdown.lines).encode())
            os._exit(code)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        lines = pipe.read()
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DIED), f"the child ended with {code}"
    return int(lines) if at is None else code


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_crash_at_any_line_doubles_and_loses_nothing(
    migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(name: str) -> DataPaths:
        monkeypatch.setenv("MARU_RUNTIME_DIR", str(tmp_path / name / "locks"))
        (tmp_path / name).mkdir()
        (tmp_path / name / "journal.sqlite").write_bytes((migrated / "journal.sqlite").read_bytes())
        return DataPaths(tmp_path / name)

    lines = run_child(folder("whole"), None)
    assert lines > 500
    asyncio.run(recover(DataPaths(tmp_path / "whole")))
    died = 0
    for point in range(POINTS):
        at = 1 + point * (lines - 50) // POINTS
        paths = folder(f"at-{at}")
        died += run_child(paths, at) == DIED
        asyncio.run(recover(paths))
    assert died > POINTS * 0.9
