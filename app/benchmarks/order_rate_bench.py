"""Orders per second: the real executor, journal on disk, against a practice exchange. Qt-free; main thread.

Every order is a limit order across the spread: it passes the risk gate, is journalled, sent, filled, and its fill, the
order and the position are in the journal and the balances read again before it counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from app.benchmarks.figures import Measurement
from app.runtime import TradingSession, open_trading_session, prepare_data
from core.config import DataPaths
from core.domain.orders import OrderDraft, OrderState, OrderType, Side, TimeInForce
from core.events import ExecutorEvent
from core.practice.control import PracticeEndpoints
from core.practice.process import PracticeProcess
from core.signals.risk_management import RiskSettings

SYMBOL = "BTC/USDT"
QUANTITY = Decimal("0.0002")
STOCK = Decimal("0.1")  # so much is held that sales never wait for purchases
ACROSS = Decimal("0.02")  # how far a limit lies beyond the market: it is filled at once, and the collar allows it
SECONDS = 10.0
IN_FLIGHT = 8
WARM_UP = 40
FREE_LIMITS = "1000"  # times the venue's; the gateway follows what the exchange announces, and "off" announces nothing
OUT_OF_THE_WAY = 1_000_000_000


def run(folder: Path) -> dict[str, Measurement]:
    """Measure how many orders a second are sent, answered and booked."""
    process = PracticeProcess(data_dir=folder / "exchange", limits=FREE_LIMITS, balance="1000000")
    endpoints = process.start()
    try:
        per_s = asyncio.run(measure_rate(prepare_data(folder / "data"), endpoints, SECONDS))
    finally:
        process.stop()
    return {"orders.per_s": Measurement(per_s)}


async def measure_rate(paths: DataPaths, endpoints: PracticeEndpoints, seconds: float) -> float:
    """Trade for so long over a new journal and return orders per second.

    Raises:
        RuntimeError: an order was not filled, or the books differ from the exchange afterwards.
    """
    async with trading(paths, endpoints) as session:
        executor = session.executor
        await executor.change_risk_settings(unlimited_rate(executor.risk_settings))
        last = (await session.link.gateway.fetch_ticker(SYMBOL)).last
        stream = _Stream(session, Decimal(repr(last)))
        await stream.send_one(Side.BUY, STOCK)
        await stream.send(WARM_UP, 60.0)
        began = time.perf_counter()
        sent = await stream.send(OUT_OF_THE_WAY, seconds)
        taken = time.perf_counter() - began
        check, _ = await executor.audit()
    if check.differences:
        raise RuntimeError(f"the books differ from the exchange: {check.differences[0]}")
    return sent / taken


@asynccontextmanager
async def trading(paths: DataPaths, endpoints: PracticeEndpoints) -> AsyncIterator[TradingSession]:
    """Open the session that the program would open, and trade until the end of the block."""
    events: list[ExecutorEvent] = []
    session = await open_trading_session(paths, endpoints, events.append)
    trade: asyncio.Task[None] | None = None
    try:
        await session.executor.start()
        trade = asyncio.create_task(session.executor.run())
        yield session
    finally:
        await session.close()
        if trade is not None:
            await trade


def unlimited_rate(settings: RiskSettings) -> RiskSettings:
    """Return risk settings with the limits on how often orders go out set out of the way; every rule is still asked."""
    return replace(
        settings,
        max_orders_per_second=OUT_OF_THE_WAY,
        max_orders_per_minute=OUT_OF_THE_WAY,
        max_cancels_per_minute=OUT_OF_THE_WAY,
        duplicate_window_s=0,
    )


class _Stream:
    """Orders of one account, several in flight."""

    def __init__(self, session: TradingSession, price: Decimal) -> None:
        instrument = session.link.gateway.instruments[SYMBOL]
        self._executor = session.executor
        self._limits = {side: instrument.round_price(price * (1 + side.sign * ACROSS)) for side in Side}

    async def send(self, most: int, seconds: float) -> int:
        """Send orders until there are so many or the time is over; returns how many, each of them booked."""
        deadline, begun = time.perf_counter() + seconds, 0

        async def one_after_another() -> None:
            nonlocal begun
            side = Side.BUY
            while begun < most and time.perf_counter() < deadline:
                begun += 1
                await self.send_one(side, QUANTITY)
                side = side.opposite

        await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
        return begun

    async def send_one(self, side: Side, quantity: Decimal) -> None:
        """Send an order and wait until it is filled and booked."""
        draft = OrderDraft(SYMBOL, side, OrderType.LIMIT, quantity, self._limits[side], time_in_force=TimeInForce.IOC)
        order = await self._executor.place_order(draft)
        if order.state is not OrderState.FILLED:
            raise RuntimeError(f"an order is {order.state}, not filled: {order.reason_code} {order.message}")
