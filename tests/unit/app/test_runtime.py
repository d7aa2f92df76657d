"""Opening a link: whatever interrupts it, no session stays open, and a link that cannot be opened says so."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from app.runtime import open_market_link, open_practice_link
from core.domain.orders import TradingMode
from core.errors import UserError
from core.events import ConnectionState, ConnectionStatus
from core.practice.control import PracticeEndpoints

Open = Callable[..., Awaitable[Any]]


def endpoints(port: int) -> PracticeEndpoints:
    at = f"127.0.0.1:{port}"
    return PracticeEndpoints(
        f"http://{at}",
        f"ws://{at}/stream/ws",
        f"ws://{at}/ws-api/v3",
        f"http://{at}/control",
        ("BTCUSDT",),
        "t",
        "k",
        "s",
    )


@pytest.fixture
async def silent_exchange() -> AsyncIterator[tuple[PracticeEndpoints, asyncio.Event]]:
    """An exchange that takes every request and answers none; the event tells that one has arrived."""
    asked = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield endpoints(server.sockets[0].getsockname()[1]), asked


@pytest.mark.parametrize(
    "open_link", [lambda where: open_practice_link(where, link="orders", with_keys=True), open_market_link]
)
async def test_a_cancel_while_the_exchange_is_asked_leaves_no_session_open(
    silent_exchange: tuple[PracticeEndpoints, asyncio.Event], open_link: Open
) -> None:
    where, asked = silent_exchange
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    opening = asyncio.ensure_future(open_link(where))
    await asked.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    del opening
    gc.collect()
    assert complaints == []


async def test_an_exchange_that_does_not_answer_makes_the_link_offline() -> None:
    with socket.socket() as taken:  # bound, not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        where = endpoints(taken.getsockname()[1])
        told: list[ConnectionStatus] = []
        with pytest.raises(UserError, match="does not answer"):
            await open_practice_link(where, link="orders", with_keys=True, on_connection=told.append)
    assert told == [
        ConnectionStatus(
            "binance",
            "orders",
            TradingMode.PRACTICE,
            ConnectionState.OFFLINE,
            "The practice exchange does not answer.",
        )
    ]
