"""`main.py kill`: stop trading from outside, whatever the running program does. Qt-free; main thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from app.commands.rearm import command_line as rearm_line
from core.clock import SystemClock
from core.config import data_paths

if TYPE_CHECKING:
    from core.execution.api.gateway import ExchangeGateway

app = typer.Typer(add_completion=False)


@app.command()
@command
def kill(
    flatten: Annotated[bool, typer.Option("--flatten", help="Also sell every position of ours at the market.")] = False,
    endpoints: Annotated[
        Path | None, typer.Option(help="JSON file with the exchange's addresses; the running program's by default.")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Halt trading and cancel every order, from outside the running program. Trading stays halted until re-armed."""
    from core.execution.assembly import fence_path, key_fingerprint
    from core.execution.fence import Fence
    from core.execution.outside_kill import OutsideKill
    from core.execution.process_lock import ExecutorLock, runtime_folder
    from core.practice.endpoints_file import endpoints_path, read_endpoints

    paths, wall, reason = data_paths(data_dir), SystemClock(), "kill from the command line"
    fence = Fence(fence_path(paths))
    # First of all, before anything that may fail or take time.
    epoch = fence.raise_epoch(reason, wall.now_ns()).epoch
    say("The fence is up: the running program sends nothing any more.")
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

    lock = ExecutorLock(runtime_folder(), key_fingerprint("binance", where.api_key), paths.root)
    action = OutsideKill(paths, fence, lock, connect, wall)
    report, path = asyncio.run(action.run(epoch, flatten=flatten, reason=reason))
    result = {**asdict(report), "complete": report.complete, "summary": report.summary(), "report": str(path)}
    emit(result, as_json=as_json, text=f"{report.summary()} Report: {path}")
    say(f"Trading stays halted until you allow it again with: {rearm_line(data_dir)}")
    for error in report.errors:
        say(f"Note: {error}")
    if not report.complete:
        raise CommandFailed
