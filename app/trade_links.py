"""The window's connections in the mode that was chosen: practice, or paper on a live market. Qt-free.

Each is opened on the loop of the worker that asks. The choice only says what is opened next; what is open, and so which
mode is shown, its gateway knows.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from app.paper import PaperMarket, PaperMarketLink, PaperSession, open_connected_market, open_paper_session
from app.practice_links import PRACTICE_VENUE, PracticeLinks
from app.runtime import preload_venue
from core.clock import Clock, SystemClock
from core.config import DataPaths
from core.domain.orders import TradingMode
from core.errors import UserError
from core.events import ConnectionStatus, EventSink

if TYPE_CHECKING:
    from app.runtime import PracticeLink, TradingSession

MODES = (TradingMode.PRACTICE, TradingMode.PAPER)  # what the window can trade in


class TradeLinks:
    """Opens what the workers need, in the mode chosen last.

    Args:
        paths: the data folder.
        practice: the practice exchange beside the window.
        mode: chosen first.
        paper_market: file of a practice exchange that lends paper trading its market; None for Binance.
        hide: takes secrets that no log or crash report may show.
    """

    def __init__(
        self,
        paths: DataPaths,
        practice: PracticeLinks,
        mode: TradingMode,
        paper_market: Path | None,
        hide: Callable[..., None],
    ) -> None:
        self._paths = paths
        self._practice = practice
        self._mode = mode if mode in MODES else TradingMode.PRACTICE
        self._paper_market = paper_market
        self._hide = hide
        self._paper_clock: Clock = SystemClock()
        self._opening: Decimal | None = None  # of a new paper account that was asked for

    @property
    def mode(self) -> TradingMode:
        """The mode that connections are opened in from now on. Any thread."""
        return self._mode

    def choose(self, mode: TradingMode) -> None:
        """Open connections in this mode from now on. Any thread.

        Raises:
            UserError: the window cannot trade in it.
        """
        if mode not in MODES:
            raise UserError(f"The window cannot trade in {mode.value} mode.", "Choose practice or paper.")
        self._mode = mode

    def market_now_ns(self) -> int:
        """Return the market's time, ns UTC. Any thread."""
        clock = self._practice.market_now_ns if self._mode is TradingMode.PRACTICE else self._paper_clock.now_ns
        return clock()

    async def open_trading(self, sink: EventSink) -> TradingSession | PaperSession:
        """Open an executor's session; see `app.runtime.open_trading_session` and `app.paper.open_paper_session`."""
        if self._mode is TradingMode.PRACTICE:
            return await self._practice.open_trading(sink)
        opening = None if self._opening is None else {"USDT": self._opening}
        session = await open_paper_session(
            self._paths, self._market(), sink, opening=opening, new_account=opening is not None
        )
        self._opening = None
        return session

    async def open_account(self, balance: Decimal) -> None:
        """Begin a new account of the present mode; sessions opened from now on are its."""
        if self._mode is TradingMode.PRACTICE:
            await self._practice.open_account(balance)
        else:
            self._opening = balance

    async def open_market(self, on_connection: Callable[[ConnectionStatus], None]) -> PracticeLink | PaperMarketLink:
        """Open a connected link for market data."""
        if self._mode is TradingMode.PRACTICE:
            return await self._practice.open_market(on_connection)
        await preload_venue(PRACTICE_VENUE)  # the paper market speaks the same protocol
        link = await open_connected_market(self._market(), link="market", on_connection=on_connection)
        self._paper_clock = link.clock
        return link

    async def open_history(self) -> PracticeLink | PaperMarketLink:
        """Open a connected link for a download."""
        if self._mode is TradingMode.PRACTICE:
            return await self._practice.open_history()
        return await open_connected_market(self._market(), link="history")

    def _market(self) -> PaperMarket:
        from core.practice.endpoints_file import read_endpoints

        if self._paper_market is None:
            return PaperMarket()
        endpoints = read_endpoints(self._paper_market)
        self._hide(endpoints.token, endpoints.api_key, endpoints.api_secret)
        return PaperMarket.of(endpoints)
