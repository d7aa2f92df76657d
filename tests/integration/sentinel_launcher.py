"""A small trading program for tests that kill it: `python -m tests.integration.sentinel_launcher DATA ENDPOINTS RULES`.

It tells notices and answers as JSON lines. Every line it reads is a command: "orders" buys, lets two limit orders rest
and protects with a stop; "limit" lets one more rest; "working" names its working orders, "pid" its process; "audit"
compares the books; "close" ends it cleanly.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.runtime import TradingSession, open_trading_session, prepare_data
from core.domain.orders import OrderDraft, OrderState, OrderType, Side
from core.events import ExecutorEvent, Notice
from core.execution.sentinel import SentinelRules
from core.practice.endpoints_file import read_endpoints

SYMBOL = "BTC/USDT"


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def tell(event: ExecutorEvent) -> None:
    if isinstance(event, Notice):
        say(notice=event.title, severity=event.severity.value, text=event.text)


async def place(session: TradingSession, side: Side, kind: OrderType, factor: str) -> str:
    instrument = session.link.gateway.instruments[SYMBOL]
    last = Decimal(repr((await session.link.gateway.fetch_ticker(SYMBOL)).last))
    price = instrument.floor_price(last * Decimal(factor))
    order = await session.executor.place_order(
        OrderDraft(
            SYMBOL,
            side,
            kind,
            Decimal("0.02") if kind is OrderType.MARKET else Decimal("0.005"),
            limit_price=None if kind is OrderType.MARKET else price,
            stop_price=price if kind is OrderType.STOP_LOSS_LIMIT else None,
        )
    )
    if order.state not in (OrderState.ACCEPTED, OrderState.FILLED):
        raise RuntimeError(f"{kind} {side} became {order.state}: {order.message}")
    return order.client_order_id


async def orders(session: TradingSession) -> dict[str, Any]:
    await place(session, Side.BUY, OrderType.MARKET, "1")
    limits = [
        await place(session, Side.BUY, OrderType.LIMIT, "0.96"),
        await place(session, Side.SELL, OrderType.LIMIT, "1.04"),
    ]
    return {"limits": limits, "stop": await place(session, Side.SELL, OrderType.STOP_LOSS_LIMIT, "0.96")}


async def answer(session: TradingSession, command: str) -> dict[str, Any]:
    match command:
        case "orders":
            return await orders(session)
        case "limit":
            return {"limit": await place(session, Side.BUY, OrderType.LIMIT, "0.96")}
        case "pid":
            return {"pid": os.getpid()}
        case "working":
            return {"working": sorted(order.client_order_id for order in session.executor.working_orders)}
        case "audit":
            check, _ = await session.executor.audit()
            return {"differences": list(check.differences)}
    raise ValueError(command)


async def main(data: str, endpoints: str, rules: str) -> None:
    paths = prepare_data(Path(data))
    settings = json.loads(rules)
    session = await open_trading_session(
        paths, read_endpoints(Path(endpoints)), tell, sentinel=None if settings is None else SentinelRules(**settings)
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        await session.executor.start()
        running = asyncio.create_task(session.executor.run())
        assert session.sentinel is not None
        while settings is not None and not session.sentinel.is_running:  # noqa: ASYNC110 - a fact of another process
            await asyncio.sleep(0.02)
        say(pid=os.getpid(), sentinel=session.sentinel.pid)
        while (command := (await reader.readline()).decode().strip()) not in ("", "close"):
            say(**await answer(session, command))
    finally:
        await session.close()
    await running
    say(closed=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
