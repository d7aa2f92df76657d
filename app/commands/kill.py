"""`main.py kill`: stop trading from outside, whatever the running program does. Qt-free; main thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from app.commands.key_input import PassphraseFileOption
from app.commands.rearm import command_line as rearm_line
from core.clock import SystemClock
from core.config import DataPaths, data_paths
from core.domain.orders import TradingMode
from core.errors import UserError

if TYPE_CHECKING:
    from app.paper import PaperPlace
    from core.execution.api.gateway import ExchangeGateway
    from core.execution.fence import Fence
    from core.execution.trading_place import TradingPlace

    Connect = Callable[[], AbstractAsyncContextManager[ExchangeGateway]]

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class KilledAccount:
    """Whose orders are cancelled.

    Attributes:
        fingerprint: of the key, to see whether a program still trades with it.
        connect: opens the gateway for the time of the kill.
    """

    fingerprint: str
    connect: Callable[[], AbstractAsyncContextManager[ExchangeGateway]]


@app.command()
@command
def kill(
    flatten: Annotated[bool, typer.Option("--flatten", help="Also sell every position of ours at the market.")] = False,
    endpoints: Annotated[
        Path | None, typer.Option(help="JSON file with the exchange's addresses; the running program's by default.")
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Halt trading and cancel every order, from outside the running program. Trading stays halted until re-armed."""
    from core.execution.assembly import fence_path
    from core.execution.fence import Fence
    from core.execution.outside_kill import OutsideKill
    from core.execution.process_lock import ExecutorLock, runtime_folder
    from core.execution.trading_place import read_place

    paths, wall, reason = data_paths(data_dir), SystemClock(), "kill from the command line"
    fence = Fence(fence_path(paths))
    # First of all, before anything that may fail or take time.
    epoch = _raise_fence(fence, reason, wall.now_ns())
    place = None if endpoints is not None else read_place(paths)
    if place is not None and place.mode is TradingMode.PAPER:
        account = _paper_account(paths, _paper_place(paths), flatten=flatten)
    elif place is not None and place.mode is TradingMode.LIVE:
        account = _live_account(paths, place, passphrase_file)
    else:
        account = _practice_account(paths, endpoints)
    lock = ExecutorLock(runtime_folder(), account.fingerprint, paths.root)
    action = OutsideKill(paths, fence, lock, account.connect, wall)
    report, path = asyncio.run(action.run(epoch, flatten=flatten, reason=reason))
    result = {**asdict(report), "complete": report.complete, "summary": report.summary(), "report": str(path)}
    emit(result, as_json=as_json, text=f"{report.summary()} Report: {path}")
    if report.fenced:
        say(f"Trading stays halted until you allow it again with: {rearm_line(data_dir)}")
    for error in report.errors:
        say(f"Note: {error}")
    if not report.complete:
        raise CommandFailed


def _raise_fence(fence: Fence, reason: str, now_ns: int) -> int | None:
    """Stop every send and return the epoch; None where that cannot be written: orders are cancelled all the same."""
    try:
        epoch = fence.raise_epoch(reason, now_ns).epoch
    except UserError as exc:
        say(f"{exc.message} A program that runs goes on sending orders: end it. What is open is cancelled now.")
        return None
    say("The fence is up: no program sends orders from this data folder any more.")
    return epoch


def _paper_place(paths: DataPaths) -> PaperPlace:
    """Return the paper account that was traded with last.

    Raises:
        UserError: nobody knows which.
    """
    from app.paper import read_place

    place = read_place(paths)
    if place is None:
        raise UserError("Nothing says which paper account was traded with.", "Start paper trading once more.")
    return place


def _paper_account(paths: DataPaths, place: PaperPlace, *, flatten: bool) -> KilledAccount:
    """A paper account is a file: it is cancelled in there, and no venue hears of it."""
    from app.paper import open_account_at_rest, stored_fingerprint

    @asynccontextmanager
    async def connect() -> AsyncIterator[ExchangeGateway]:
        async with open_account_at_rest(paths, place, trades=flatten) as gateway:
            yield gateway

    return KilledAccount(stored_fingerprint(paths, place), connect)


def _practice_account(paths: DataPaths, endpoints: Path | None) -> KilledAccount:
    """Return the account of the practice exchange.

    Raises:
        UserError: it cannot be found.
    """
    from core.execution.assembly import key_fingerprint
    from core.practice.endpoints_file import endpoints_path, read_endpoints

    where = read_endpoints(endpoints or endpoints_path(paths))

    @asynccontextmanager
    async def connect() -> AsyncIterator[ExchangeGateway]:
        from app.runtime import open_practice_link

        link = await open_practice_link(where, link="orders", with_keys=True)
        try:
            await link.gateway.connect()
            yield link.gateway
        finally:
            await link.close()

    return KilledAccount(key_fingerprint("binance", where.api_key), connect)


def _live_account(paths: DataPaths, place: TradingPlace, passphrase_file: Path | None) -> KilledAccount:
    """Return a person's account. Its key is fetched when connecting: what goes wrong there stands in the report."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[ExchangeGateway]:
        from app.commands.key_input import command_book
        from app.live import open_live_gateway
        from core.execution.api.key_permissions import StopGuard

        key = await asyncio.to_thread(command_book(paths, passphrase_file).load, place.key)
        gateway = open_live_gateway(key, StopGuard())
        try:
            await gateway.connect()
            yield gateway
        finally:
            await gateway.close()

    return KilledAccount(place.fingerprint, connect)
