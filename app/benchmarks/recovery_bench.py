"""Recovery: start of an executor over a long journal, until the books are compared and it may trade. Main thread.

The exchange is a real one whose account holds the same orders and fills: nothing has to be repaired.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from app.benchmarks.figures import Measurement
from app.benchmarks.recovery_books import OPEN, Market, make_history, write_account, write_journal
from app.runtime import open_market_link, open_trading_session, prepare_data
from core.config import DataPaths
from core.domain.positions import Position
from core.events import ExecutorEvent
from core.execution.sentinel_process import practice_account
from core.practice.control import PracticeEndpoints
from core.practice.process import PracticeProcess
from core.practice.specs import MarketSpec

SYMBOLS = ("BTC/USDT", "ETH/USDT")
BALANCE = "1000000"


def run(folder: Path) -> dict[str, Measurement]:
    """Measure a start over 10,000 orders and 100,000 fills."""
    exchange, paths = folder / "exchange", prepare_data(folder / "data")
    with PracticeProcess(data_dir=exchange, balance=BALANCE) as endpoints:  # makes account and keys
        markets = asyncio.run(_markets(endpoints))
        fingerprint = practice_account(endpoints, markets[0].instrument.venue).fingerprint
    now_ms = time.time_ns() // 1_000_000
    history = make_history(markets, now_ms)
    (account,) = exchange.rglob("account.sqlite")
    before = write_account(account, history, now_ms)
    positions = write_journal(paths, fingerprint, history, before, markets[0].instrument.venue)
    with PracticeProcess(data_dir=exchange) as endpoints:
        seconds = asyncio.run(measure_start(paths, endpoints, positions))
    return {"orders.recovery_s": Measurement(seconds)}


async def measure_start(paths: DataPaths, endpoints: PracticeEndpoints, positions: list[Position]) -> float:
    """Start an executor as the program does and return after how many seconds it was ready.

    Raises:
        RuntimeError: what was loaded is not what was written, or the exchange does not agree.
    """
    events: list[ExecutorEvent] = []
    began = time.perf_counter()
    session = await open_trading_session(paths, endpoints, events.append)
    try:
        await session.executor.start()
        taken = time.perf_counter() - began
        executor = session.executor
        found = {(p.symbol, p.owner): p for p in executor.positions}
        if found != {(p.symbol, p.owner): p for p in positions} or len(executor.working_orders) != OPEN:
            raise RuntimeError("the executor did not find its books as they were written")
        repairs = await executor.reconcile_now()
        if repairs:
            raise RuntimeError(f"the exchange does not agree: {repairs[0]}")
    finally:
        await session.close()
    return taken


async def _markets(endpoints: PracticeEndpoints) -> list[Market]:
    link = await open_market_link(endpoints)
    try:
        found = []
        for symbol in SYMBOLS:
            instrument = link.gateway.instruments[symbol]
            scales = -instrument.tick_size.adjusted(), -instrument.lot_size.adjusted()
            spec = MarketSpec(instrument.venue_symbol, instrument.base, instrument.quote, *scales, level_lots=1)
            last = (await link.gateway.fetch_ticker(symbol)).last
            found.append(Market(instrument, spec, round(last * 10**spec.price_decimals)))
        return found
    finally:
        await link.close()
