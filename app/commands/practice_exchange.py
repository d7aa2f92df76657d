"""`main.py practice-exchange`: run the practice exchange until told to stop. Qt-free; main thread."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.cli import DataDirOption, JsonOption, command, emit
from core.config import data_paths
from core.errors import UserError

if TYPE_CHECKING:
    from core.practice.market_source import MarketSource
    from core.practice.server import PracticeConfig

app = typer.Typer(add_completion=False)


@app.command()
@command
def practice_exchange(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic market.")] = 1,
    replay: Annotated[
        list[Path] | None, typer.Option(help="Replay stored bars (Feather, Parquet, CSV); once per market.")
    ] = None,
    speed: Annotated[str, typer.Option(help="Market seconds per wall second, or max for lockstep.")] = "1",
    start: Annotated[
        str | None, typer.Option(help="Market time to begin at, e.g. 2024-03-01 or 2024-03-01T12:00.")
    ] = None,
    start_bar: Annotated[int | None, typer.Option(min=0, help="Number of the bar to begin at (replay).")] = None,
    lockstep_interval: Annotated[str | None, typer.Option(help="Bar length that lockstep waits for, e.g. 1h.")] = None,
    balance: Annotated[str, typer.Option(help="Quote currency of a new account.")] = "10000",
    new_account: Annotated[
        bool, typer.Option("--new-account", help="Begin a new account; the present one is archived.")
    ] = False,
    faults: Annotated[str | None, typer.Option(help="Faults to arm, e.g. lost-ack:order,next=1.")] = None,
    limits: Annotated[str, typer.Option(help="Factor of the venue's request limits, or off.")] = "1",
    data_dir: DataDirOption = None,
    exit_with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the practice exchange on this machine: a Binance-protocol server on 127.0.0.1 with its own account."""
    from core.practice.control_routes import opening_balance
    from core.practice.fault_rules import parse_faults
    from core.practice.limits import parse_limits
    from core.practice.player import parse_speed
    from core.practice.process import TOKEN_VARIABLE
    from core.practice.server import PracticeConfig, gate_of

    pace = parse_speed(speed)
    opening = opening_balance(balance)
    source = _source(seed, replay)
    config = PracticeConfig(
        folder=data_paths(data_dir).create().practice,
        port=port,
        speed=pace,
        start_ms=_start_ms(source, start, start_bar),
        gate_ms=gate_of(lockstep_interval, source.base_ms),
        opening_quote=opening,
        new_account=new_account,
        token=os.environ.pop(TOKEN_VARIABLE, None),
        faults=parse_faults(faults) if faults is not None else None,
        limits=parse_limits(limits),
    )
    asyncio.run(_serve(source, config, exit_with_parent=exit_with_parent, as_json=as_json))


def _source(seed: int, replay: list[Path] | None) -> MarketSource:
    if replay:
        from core.practice.replay import ReplayMarket

        return ReplayMarket.from_files(replay)
    from core.practice.synthetic import SyntheticMarket

    return SyntheticMarket(seed)


def _start_ms(source: MarketSource, start: str | None, start_bar: int | None) -> int | None:
    if start is not None and start_bar is not None:
        raise UserError("--start and --start-bar cannot be given together.", "Give one of them.")
    if start_bar is not None:
        symbol, now = next(iter(source.specs)), time.time_ns() // 1_000_000
        first, end = source.span(symbol, source.base_ms, source.first_ms, source.end_ms or now, start_bar + 1)
        rows = source.klines(symbol, source.base_ms, first, end)
        if len(rows) <= start_bar:
            raise UserError(f"There is no bar number {start_bar} to begin at.", "Give a smaller --start-bar.")
        return int(rows[start_bar, 0])
    if start is None:
        return None
    try:
        moment = datetime.fromisoformat(start)
    except ValueError as exc:
        raise UserError(f"The start {start!r} is not a date.", "Write it like 2024-03-01 or 2024-03-01T12:00.") from exc
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000) // source.base_ms * source.base_ms


async def _serve(source: MarketSource, config: PracticeConfig, *, exit_with_parent: bool, as_json: bool) -> None:
    from core.practice.server import PracticeServer

    server = PracticeServer(source, config)
    loop = asyncio.get_running_loop()
    try:
        await server.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, server.stop_requested.set)
            except NotImplementedError:  # Windows: the loop takes no signals, the plain handler must do
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(server.stop_requested.set))
        if exit_with_parent:
            threading.Thread(target=_watch_parent, args=(loop, server.stop_requested), daemon=True).start()
        line = server.ready_line()
        emit(line, as_json=as_json, text=_welcome(line))
        await server.stop_requested.wait()
    finally:
        await server.stop()


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Wait until the parent's end of standard input closes."""
    # Not through sys.stdin: a thread waiting inside its buffer would hold the lock that the interpreter's end needs.
    while os.read(0, 4096):
        pass
    try:
        loop.call_soon_threadsafe(stop.set)
    except RuntimeError:
        return  # the loop ended first


def _welcome(line: dict[str, object]) -> str:
    names = ("rest", "ws", "ws_api", "control", "token", "api_key", "api_secret")
    rows = "\n".join(f"  {name:<11}{line[name]}" for name in names)
    return f"Practice exchange ready. Stop it with Ctrl+C.\n{rows}"
