"""Keeping market prices fresh where no strategy's candles do. Runs on the executor's event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from core.clock import NS_PER_S
from core.execution.api.gateway import ExchangeGateway, GatewayError
from core.execution.backoff import Backoff
from core.execution.marks import Marks

_log = logging.getLogger(__name__)


class MarkWatcher:
    """Follows tickers of markets that are traded.

    Args:
        max_age_s: an older price is read again before a decision.
        backoff: makes the pauses before a broken stream is opened again; one for each market.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        marks: Marks,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        max_age_s: float,
        backoff: Callable[[], Backoff],
    ) -> None:
        self._gateway = gateway
        self._marks = marks
        self._spawn = spawn
        self._max_age_ns = int(max_age_s * NS_PER_S)
        self._backoff = backoff
        self._watched: set[str] = set()

    async def freshen(self, symbol: str) -> None:
        """Make sure the price is young; where the venue does not tell it, there is none."""
        age = self._marks.age_ns(symbol)
        if symbol not in self._gateway.instruments or (age is not None and 0 <= age < self._max_age_ns):
            return
        try:
            self._marks.update(symbol, (await self._gateway.fetch_ticker(symbol)).last)
        except GatewayError as exc:
            _log.warning("no price of %s: %s", symbol, exc.message)
            self._marks.forget(symbol)  # an old price is no price

    def watch(self, symbol: str) -> None:
        """Keep a market's price fresh from now on; unknown markets are ignored."""
        if symbol not in self._watched and symbol in self._gateway.instruments:
            self._watched.add(symbol)
            self._spawn(self._follow(symbol))

    def price_currency(self, currency: str, quote: str) -> None:
        """Follow the market that prices `currency` in `quote`, in whichever direction the venue lists it."""
        self.watch(f"{currency}/{quote}")
        self.watch(f"{quote}/{currency}")

    async def _follow(self, symbol: str) -> None:
        backoff, source = self._backoff(), f"ticker:{symbol}"
        while True:
            try:
                async for ticker in self._gateway.watch_ticker(symbol):
                    backoff.reset()
                    self._gateway.clear_trouble(source)
                    self._marks.update(symbol, ticker.last)
            except GatewayError as exc:
                _log.warning("%s stopped: %s", source, exc.message)
                self._gateway.report_trouble(source, exc.message)
            await asyncio.sleep(backoff.next_s())
