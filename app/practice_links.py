"""The window's connections to its practice exchange: each opened on the loop of the worker that asks. Qt-free.

The exchange is a child that starts beside the window, so every connection waits for it first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from app.runtime import new_practice_account, open_market_link, open_trading_session, preload_venue
from core.clock import Clock, SystemClock
from core.config import DataPaths
from core.events import ConnectionStatus, EventSink
from core.execution.api.request_budget import BudgetRegistry

if TYPE_CHECKING:
    from concurrent.futures import Future

    from app.runtime import PracticeLink, TradingSession
    from core.practice.control import PracticeEndpoints

PRACTICE_VENUE = "binance"  # its protocol; whose bars its market has, a `DataOrigin` says


class PracticeAddress(Protocol):
    """Where the exchange is; `app.workers.practice.PracticeHost` knows it."""

    @property
    def endpoints(self) -> Future[PracticeEndpoints]:
        """Where it listens, once it is ready."""
        ...

    def use(self, endpoints: PracticeEndpoints) -> None:
        """Tell these from now on."""
        ...


class PracticeLinks:
    """Opens what the workers need.

    Args:
        paths: the data folder.
        address: tells where the exchange is, and is told new keys.
        hide: takes secrets that no log or crash report may show.
    """

    def __init__(self, paths: DataPaths, address: PracticeAddress, hide: Callable[..., None]) -> None:
        self._paths = paths
        self._address = address
        self._hide = hide
        self._budgets = BudgetRegistry()  # one address, one budget: orders and charts know of each other
        self._market_clock: Clock = SystemClock()  # until the exchange says what time its market has

    def market_now_ns(self) -> int:
        """Return the market's time, ns UTC. Any thread."""
        return self._market_clock.now_ns()

    async def open_trading(self, sink: EventSink) -> TradingSession:
        """Open an executor's session; see `app.runtime.open_trading_session`."""
        return await open_trading_session(self._paths, await self._endpoints(), sink, budgets=self._budgets)

    async def open_account(self, balance: Decimal) -> None:
        """Begin a new account; sessions opened from now on are its."""
        self._address.use(await new_practice_account(await self._endpoints(), balance))

    async def open_market(self, on_connection: Callable[[ConnectionStatus], None]) -> PracticeLink:
        """Open a link for market data; see `app.runtime.open_market_link`."""
        await preload_venue(PRACTICE_VENUE)  # while the exchange starts, not after
        link = await open_market_link(await self._endpoints(), on_connection=on_connection, budgets=self._budgets)
        self._market_clock = link.clock
        return link

    async def open_history(self) -> PracticeLink:
        """Open a link for a download."""
        return await open_market_link(await self._endpoints(), link="history", budgets=self._budgets)

    async def _endpoints(self) -> PracticeEndpoints:
        # Shielded: a worker that stops waiting must not cancel the future the others wait for.
        endpoints = await asyncio.shield(asyncio.wrap_future(self._address.endpoints))
        self._hide(endpoints.token, endpoints.api_key, endpoints.api_secret)
        return endpoints
