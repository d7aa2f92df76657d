"""Composition root without Qt: builds services from a data folder. Headless commands and the window start here.

A gateway, and so an executor, belongs to the event loop it was opened on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.clock import NS_PER_MS, SystemClock
from core.config import DataPaths, data_paths
from core.domain.candles import Candle
from core.domain.data_origin import DataOrigin, practice_origin
from core.domain.orders import TradingMode
from core.errors import UserError
from core.events import ConnectionState, ConnectionStatus, EventSink, ExecutorEvent
from core.execution.sentinel import SentinelRules

if TYPE_CHECKING:
    from core.execution.api.ccxt_gateway import CcxtGateway
    from core.execution.api.key_permissions import KeyGuard
    from core.execution.api.request_budget import BudgetRegistry
    from core.execution.executor import Executor
    from core.execution.executor_options import ExecutorOptions
    from core.execution.sentinel_process import SentinelKeeper
    from core.practice.control import PracticeControl, PracticeEndpoints, PracticeMarketClock
    from core.strategies.making import ModelLoaders

CLOCK_RETRY_S = 1.0
GUARDED = SentinelRules()

_log = logging.getLogger(__name__)

ConnectionSink = Callable[[ConnectionStatus], None]
BarHook = Callable[[Candle], Awaitable[None]]


def prepare_data(override: Path | None = None) -> DataPaths:
    """Create the data folder and bring its databases to the current schema.

    Raises:
        UserError: the folder cannot be written or a database is damaged.
    """
    from core.persistence.schema import ensure_migrated

    paths = data_paths(override).create()
    ensure_migrated(paths)
    return paths


def migrate_once(paths: DataPaths) -> Callable[[], None]:
    """Return a function that brings the databases to the current schema once, whichever thread calls it first.

    The others wait for it. It raises UserError where a database is damaged, for every caller anew.
    """
    lock = threading.Lock()
    done: list[bool] = []

    def migrate() -> None:
        from core.persistence.schema import ensure_migrated

        with lock:
            if not done:
                ensure_migrated(paths)
                done.append(True)

    return migrate


def raise_fence(paths: DataPaths, reason: str) -> int:
    """Stop every executor over a data folder, running or started later, until re-armed; returns the fence's epoch.

    Raises:
        UserError: the fence cannot be written.
    """
    from core.execution.assembly import fence_path
    from core.execution.fence import Fence

    return Fence(fence_path(paths)).raise_epoch(reason, SystemClock().now_ns()).epoch


def model_loaders(paths: DataPaths) -> ModelLoaders:
    """Return where the strategies of a data folder get their models from."""
    from core.strategies.making import ModelLoaders
    from ml.hot_swap import load_changeable, load_changeable_agent

    return ModelLoaders(partial(load_changeable, paths.models), partial(load_changeable_agent, paths.models))


async def preload_venue(venue: str) -> None:
    """Load a venue's client library off the running loop; a gateway opened later finds it loaded.

    Raises:
        FatalGatewayError: the library does not know the venue.
    """
    from core.execution.api.ccxt_loader import load_exchange_class

    await asyncio.get_running_loop().run_in_executor(None, load_exchange_class, venue)


async def new_practice_account(endpoints: PracticeEndpoints, balance: Decimal) -> PracticeEndpoints:
    """Begin a new account on the practice exchange; returns where it is, with its keys.

    Raises:
        UserError: the exchange does not answer or refuses.
    """
    from core.practice.control import PracticeControl

    control = PracticeControl(endpoints)
    try:
        account = await control.reset(balance)
    finally:
        await control.close()
    return replace(endpoints, api_key=account.api_key, api_secret=account.api_secret)


class PracticeLink:
    """One event loop's connection to the practice exchange.

    Attributes:
        gateway: PRACTICE mode, bound to loopback.
        control: the exchange's control address.
        clock: its market clock, kept fresh while the link is open.
        origin: whose market its bars are of; the gateway's venue is the protocol only.
    """

    def __init__(
        self, gateway: CcxtGateway, control: PracticeControl, clock: PracticeMarketClock, origin: DataOrigin
    ) -> None:
        self.gateway = gateway
        self.origin = origin
        self.control = control
        self.clock = clock
        self._keeper = asyncio.create_task(self._keep_clock())

    async def close(self) -> None:
        """Close the gateway and the control client, also where a cancel arrives meanwhile; idempotent."""
        self._keeper.cancel()
        try:
            await asyncio.gather(self._keeper, return_exceptions=True)
        finally:
            try:
                await self.gateway.close()
            finally:
                await self.control.close()

    async def acknowledge(self, candle: Candle) -> None:
        """In lockstep, let the exchange close the next bar: this one was handled completely."""
        instrument = self.gateway.instruments[candle.symbol]
        await self.control.ack(instrument.venue_symbol, candle.timeframe.value, candle.open_time_ns // NS_PER_MS)

    async def begin_lockstep(self, symbol: str) -> None:
        """In lockstep, release the first bar, once whoever handles bars is listening.

        The exchange waits with a bar closed that everyone knows from its history; nobody else would acknowledge it.
        """
        state = await self.control.state()
        if state.lockstep and state.last_closed_ms is not None:
            instrument = self.gateway.instruments[symbol]
            await self.control.ack(instrument.venue_symbol, state.gate_interval, state.last_closed_ms)

    async def _keep_clock(self) -> None:
        from core.practice.control import follow_clock

        while True:
            try:
                await follow_clock(self.control, self.clock)
            except UserError as exc:
                # The gateway reports the lost link; the clock runs on at its last pace until the exchange is back.
                _log.debug("market clock not refreshed: %s", exc)
                await asyncio.sleep(CLOCK_RETRY_S)


async def open_practice_link(
    endpoints: PracticeEndpoints,
    *,
    link: str,
    with_keys: bool,
    on_connection: ConnectionSink | None = None,
    budgets: BudgetRegistry | None = None,
    key_guard: KeyGuard | None = None,
) -> PracticeLink:
    """Open a gateway to the practice exchange on the running loop; it is not connected yet.

    Args:
        endpoints: where it listens.
        link: "orders" or "market"; names the link in connection events.
        with_keys: whether the gateway may see and move the account.
        on_connection: told about every change of the link.
        budgets: request limits shared with the other links of this process.
        key_guard: asked before the key is used; None lets it pass.

    Raises:
        UserError: the exchange does not answer.
    """
    from core.execution.api.binance_api import binance_practice_profile
    from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
    from core.practice.control import PracticeControl, PracticeMarketClock

    profile = binance_practice_profile(rest=endpoints.rest, ws=endpoints.ws, ws_api=endpoints.ws_api)
    control = PracticeControl(endpoints)
    async with AsyncExitStack() as undo:  # whatever happens, a cancel included: no session may stay open
        undo.push_async_callback(control.close)
        try:
            state = await control.state()
            clock, origin = PracticeMarketClock(state), practice_origin(state.market)
        except UserError as exc:
            if on_connection is not None:  # there is no gateway yet that could tell
                on_connection(
                    ConnectionStatus(profile.ccxt_id, link, TradingMode.PRACTICE, ConnectionState.OFFLINE, exc.message)
                )
            raise
        gateway = CcxtGateway(
            profile,
            TradingMode.PRACTICE,
            Credentials(endpoints.api_key, endpoints.api_secret) if with_keys else None,
            market_clock=clock,
            on_connection=on_connection,
            link=link,
            budgets=budgets,
            key_guard=key_guard,
        )
        undo.pop_all()
    return PracticeLink(gateway, control, clock, origin)


@dataclass(slots=True)
class TradingSession:
    """An executor, the link it trades over, and the dead-man switch beside it.

    Attributes:
        sentinel: None where fills are simulated in this process: what dies with it needs no switch.
    """

    executor: Executor
    link: PracticeLink
    sentinel: SentinelKeeper | None = None

    async def close(self) -> None:
        """Stop the executor (which closes its gateway), then dismiss the switch, then close the rest of the link."""
        if self.sentinel is not None:
            self.sentinel.hand_over()
        try:
            await self.executor.stop()
        finally:
            try:
                if self.sentinel is not None:
                    await self.sentinel.close()
            finally:
                await self.link.close()


async def open_trading_session(
    paths: DataPaths,
    endpoints: PracticeEndpoints,
    sink: EventSink,
    *,
    bar_processed: Callable[[PracticeLink], BarHook] | None = None,
    options: ExecutorOptions | None = None,
    sentinel: SentinelRules | None = GUARDED,
    budgets: BudgetRegistry | None = None,
) -> TradingSession:
    """Build an executor on the running loop; it is not started yet.

    Args:
        paths: prepared data folder.
        endpoints: the practice exchange.
        sink: receives every executor event, on this loop's thread.
        bar_processed: makes the hook awaited after a final candle was handled completely (lockstep acknowledges there).
        options: intervals; None uses the defaults.
        sentinel: patience of the dead-man switch, which begins in the background once the books are known; None for
            none.
        budgets: request limits shared with the other links of this process.

    Raises:
        GatewayError: the exchange does not answer or refuses.
        UserError: the journal cannot be opened.
    """
    from core.execution.api.key_permissions import SessionGuard
    from core.execution.assembly import build_executor
    from core.execution.sentinel_process import SentinelKeeper, practice_account
    from core.execution.trading_place import TradingPlace, publish_place
    from core.practice.endpoints_file import publish_endpoints

    link = await open_practice_link(
        endpoints,
        link="orders",
        with_keys=True,
        on_connection=sink,
        budgets=budgets,
        key_guard=SessionGuard(),
    )
    account = practice_account(endpoints, link.gateway.venue)
    keeper = SentinelKeeper(paths, account, sink, SystemClock(), sentinel)

    def tell(event: ExecutorEvent) -> None:
        sink(event)
        keeper.follow(event)

    try:
        executor = build_executor(
            paths,
            link.gateway,
            account.fingerprint,
            tell,
            model_loaders(paths),
            market=link.clock,
            bar_processed=bar_processed(link) if bar_processed else None,
            options=options,
        )
    except BaseException:
        await link.close()
        raise
    keeper.guard(executor)
    session = TradingSession(executor, link, keeper)
    try:
        # `main.py kill` must find the exchange without asking this process; only the holder of the lock may say where.
        publish_endpoints(paths, endpoints)
        publish_place(paths, TradingPlace(TradingMode.PRACTICE, link.gateway.venue))
    except BaseException:
        await session.close()
        raise
    return session


async def open_market_link(
    endpoints: PracticeEndpoints,
    *,
    link: str = "market",
    on_connection: ConnectionSink | None = None,
    budgets: BudgetRegistry | None = None,
) -> PracticeLink:
    """Open a connected gateway without keys on the running loop; see `open_practice_link`.

    Raises:
        UserError: the exchange does not answer or refuses.
    """
    from core.data.collector import user_error
    from core.execution.api.gateway import GatewayError

    opened = await open_practice_link(
        endpoints, link=link, with_keys=False, on_connection=on_connection, budgets=budgets
    )
    try:
        await opened.gateway.connect()
    except BaseException as exc:  # also when cancelled
        await opened.close()
        if isinstance(exc, GatewayError):
            raise user_error(exc, opened.gateway.venue) from exc
        raise
    return opened
