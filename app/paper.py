"""Composition of paper trading, without Qt: live market data without keys, an account file, the same executor.

The market is Binance's public one or a practice exchange's; of the latter only the market is used, never its account.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.runtime import model_loaders, open_practice_link
from core.clock import Clock, SystemClock
from core.config import DataPaths
from core.domain.data_origin import BINANCE, DataOrigin
from core.domain.orders import TradingMode
from core.errors import UserError
from core.events import ConnectionStatus, EventSink
from core.private_file import write_private_json

if TYPE_CHECKING:
    from app.runtime import BarHook, ConnectionSink
    from core.execution.api.ccxt_gateway import CcxtGateway
    from core.execution.executor import Executor
    from core.execution.executor_options import ExecutorOptions
    from core.execution.paper.account_file import AccountFile
    from core.execution.paper.gateway import PaperGateway
    from core.practice.control import PracticeEndpoints

DEFAULT_BALANCE: Final = Decimal(10_000)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PaperMarket:
    """Whose live market a paper account trades on.

    Attributes:
        endpoints: of a practice exchange, without the keys of its account; None for Binance.
    """

    endpoints: PracticeEndpoints | None = None

    @classmethod
    def of(cls, endpoints: PracticeEndpoints | None) -> PaperMarket:
        """Forget the keys."""
        return cls(None if endpoints is None else replace(endpoints, api_key="", api_secret=""))


@dataclass(frozen=True, slots=True)
class PaperPlace:
    """A paper account that a data folder trades with: its market's name and where that market is."""

    origin: DataOrigin
    market: PaperMarket

    def account(self, paths: DataPaths) -> Path:
        """Return the account's file."""
        return paths.paper / f"{self.origin}.sqlite"

    def publish(self, paths: DataPaths) -> None:
        """Write it down for `main.py kill`, owner-only, replacing an old one at once.

        Raises:
            UserError: the folder cannot be written.
        """
        endpoints = self.market.endpoints
        names = () if endpoints is None else endpoints.__slots__
        known = {name: getattr(endpoints, name) for name in names}
        write_private_json(place_path(paths), {"origin": self.origin, "endpoints": known or None})


def place_path(paths: DataPaths) -> Path:
    """Return the file that says which paper account a data folder traded with last."""
    return paths.paper / "market.json"


def read_place(paths: DataPaths) -> PaperPlace | None:
    """Return the paper account a data folder traded with last; None where there never was one.

    Raises:
        UserError: the file is damaged.
    """
    from core.practice.control import PracticeEndpoints

    path = place_path(paths)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        endpoints = content["endpoints"]
        known = PracticeEndpoints.from_json(endpoints) if endpoints is not None else None
        return PaperPlace(DataOrigin(content["origin"]), PaperMarket.of(known))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UserError(f"{path} does not name a paper account.", "Start paper trading once more.") from exc


class PaperMarketLink:
    """One event loop's connection to the market of a paper account.

    Attributes:
        gateway: market data without keys.
        clock: the market's time.
        origin: whose market it is.
    """

    def __init__(
        self, gateway: CcxtGateway, clock: Clock, origin: DataOrigin, close: Callable[[], Awaitable[None]]
    ) -> None:
        self.gateway = gateway
        self.clock = clock
        self.origin = origin
        self._close = close

    async def close(self) -> None:
        """Close every socket; idempotent."""
        await self._close()


async def open_paper_market(
    market: PaperMarket, *, link: str = "market", on_connection: ConnectionSink | None = None
) -> PaperMarketLink:
    """Open a gateway without keys on the running loop; it is not connected yet.

    Raises:
        UserError: the practice exchange does not answer.
    """

    def told(status: ConnectionStatus) -> None:
        if on_connection is not None:  # the practice exchange lends its market only
            on_connection(replace(status, mode=TradingMode.PAPER))

    if market.endpoints is not None:
        practice = await open_practice_link(market.endpoints, link=link, with_keys=False, on_connection=told)
        return PaperMarketLink(practice.gateway, practice.clock, practice.origin, practice.close)
    gateway = _binance(told, link)
    return PaperMarketLink(gateway, SystemClock(), BINANCE, gateway.close)


async def open_connected_market(
    market: PaperMarket, *, link: str, on_connection: ConnectionSink | None = None
) -> PaperMarketLink:
    """Open a connected gateway without keys on the running loop.

    Raises:
        UserError: the market does not answer or refuses.
    """
    from core.data.collector import user_error
    from core.execution.api.gateway import GatewayError

    opened = await open_paper_market(market, link=link, on_connection=on_connection)
    try:
        await opened.gateway.connect()
    except BaseException as exc:  # also when cancelled
        await opened.close()
        if isinstance(exc, GatewayError):
            raise user_error(exc, opened.gateway.venue) from exc
        raise
    return opened


def _binance(on_connection: ConnectionSink | None = None, link: str = "market") -> CcxtGateway:
    from core.execution.api.binance_api import binance_profile
    from core.execution.api.ccxt_gateway import CcxtGateway

    return CcxtGateway(
        binance_profile(),
        TradingMode.PAPER,
        None,
        market_clock=SystemClock(),
        on_connection=on_connection,
        link=link,
    )


@dataclass(slots=True)
class PaperSession:
    """An executor over a paper account, and its market."""

    executor: Executor
    gateway: PaperGateway
    link: PaperMarketLink

    async def close(self) -> None:
        """Stop the executor (which closes its gateway), then the rest of the link."""
        try:
            await self.executor.stop()
        finally:
            await self.link.close()


async def open_paper_session(
    paths: DataPaths,
    market: PaperMarket,
    sink: EventSink,
    *,
    opening: Mapping[str, Decimal] | None = None,
    new_account: bool = False,
    fees_in: str = "",
    bar_processed: BarHook | None = None,
    options: ExecutorOptions | None = None,
) -> PaperSession:
    """Build an executor on the running loop; it is not started yet.

    Args:
        paths: prepared data folder.
        market: whose live data fill the orders.
        sink: receives every executor event, on this loop's thread.
        opening: what a new account begins with, by currency; None for 10,000 USDT. An account that is there already
            must have begun with it.
        new_account: set the present account aside first.
        fees_in: currency that pays fees while the account holds enough of it, such as BNB; "" for none.
        bar_processed: awaited after a final candle was handled completely.
        options: intervals; None uses the defaults.

    Raises:
        UserError: the market does not answer, another program trades over this folder, or a file cannot be used.
    """
    from core.execution.assembly import build_executor, key_fingerprint
    from core.execution.paper.account_file import AccountFile, archive
    from core.execution.paper.gateway import PaperGateway, PaperOptions
    from core.execution.trading_place import TradingPlace, publish_place

    async with AsyncExitStack() as undo:  # whatever happens, a cancel included: nothing may stay open
        link = await open_paper_market(market, link="orders", on_connection=sink)
        undo.push_async_callback(link.close)
        place = PaperPlace(link.origin, market)
        path = place.account(paths)
        if new_account:
            with _nobody_trades(paths):
                archive(path)
        file = AccountFile(path, opening or {"USDT": DEFAULT_BALANCE})
        undo.callback(file.close)
        if opening is not None and file.opening != opening:
            raise UserError(
                "There is a paper account already, and it began with another balance.",
                "Leave the balance out to go on with it, or begin a new one with --new-account.",
            )
        gateway = PaperGateway(link.gateway, file, market_clock=link.clock, options=PaperOptions(fees_in=fees_in))
        executor = build_executor(
            paths,
            gateway,
            key_fingerprint(place.origin, gateway.account_id),
            sink,
            model_loaders(paths),
            market=link.clock,
            bar_processed=bar_processed,
            options=options,
        )
        undo.push_async_callback(executor.stop)
        # `main.py kill` must find the account without asking this process; only the holder of the lock may say where.
        place.publish(paths)
        publish_place(paths, TradingPlace(TradingMode.PAPER, gateway.venue))
        undo.pop_all()
    return PaperSession(executor, gateway, link)


@asynccontextmanager
async def open_account_at_rest(paths: DataPaths, place: PaperPlace, *, trades: bool) -> AsyncIterator[PaperGateway]:
    """Yield a gateway over a paper account for a kill from outside; cancelling in it needs no network.

    Args:
        trades: whether something is to be sold; where the market does not answer, only selling fails.

    Raises:
        UserError: there is no such account, or its file cannot be used.
    """
    from core.execution.api.gateway import GatewayError
    from core.execution.paper.gateway import PaperGateway, PaperOptions

    file, link = _open_stored(paths, place), None
    if trades:
        try:
            link = await open_paper_market(place.market)
        except UserError as exc:
            _log.warning("no market to sell at: %s", exc.message)
    market = link.gateway if link is not None else _binance()  # never connected: it only says that it is not
    try:
        file.announce()  # an order that is about to be stored by the program to be stopped is not stored any more
        options = PaperOptions(latency_s=0.0, jitter_s=0.0)
        clock = link.clock if link is not None else SystemClock()
        gateway = PaperGateway(market, file, market_clock=clock, options=options)
        try:
            if link is not None:
                await gateway.connect()
        except GatewayError as exc:
            _log.warning("no market to sell at: %s", exc.message)
        try:
            yield gateway
        finally:
            await gateway.close()
    finally:
        file.close()
        if link is not None:
            await link.close()


def stored_fingerprint(paths: DataPaths, place: PaperPlace) -> str:
    """Return the fingerprint of a paper account, as its executor's lock knows it.

    Raises:
        UserError: there is no such account, or its file cannot be read.
    """
    from core.execution.assembly import key_fingerprint

    file = _open_stored(paths, place)
    try:
        return key_fingerprint(place.origin, file.account_id)
    finally:
        file.close()


def _open_stored(paths: DataPaths, place: PaperPlace) -> AccountFile:
    """Open an account file that is there already."""
    from core.execution.paper.account_file import AccountFile

    path = place.account(paths)
    if not path.exists():
        raise UserError(f"There is no paper account {path}.", "Look whether the data folder is the right one.")
    return AccountFile(path, {})


@contextmanager
def _nobody_trades(paths: DataPaths) -> Iterator[None]:
    """Hold the data folder's lock while the block runs.

    Raises:
        UserError: an executor runs over it.
    """
    from core.execution.process_lock import ExecutorLock, runtime_folder

    lock = ExecutorLock(runtime_folder(), None, paths.root)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
