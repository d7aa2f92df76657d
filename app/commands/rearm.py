"""`main.py rearm`: allow trading again after a halt, where there is no window to do it in. Qt-free; main thread."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.at_rest import existing_folder
from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from core.clock import SystemClock, to_datetime
from core.domain.orders import TradingState
from core.errors import UserError

if TYPE_CHECKING:
    from core.execution.rearm import RearmAtRest
    from core.execution.records import TradingStateRecord

WORD = "rearm"

app = typer.Typer(add_completion=False)


@app.command()
@command
def rearm(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the word rearm.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Allow trading again after a kill, while no program trades over the data folder. Strategies stay stopped."""
    from core.execution.rearm import HaltedAgain
    from core.execution.trading_control import describe_halt

    action = _open(data_dir)
    halt = action.look()
    if halt.state is TradingState.ACTIVE:
        result = _result(halt, halt.state, [], rearmed=False)
        emit(result, as_json=as_json, text="Trading is not halted; nothing was changed.")
        return
    say(describe_halt(halt))
    if not yes:
        _ask()
    try:
        stopped = action.rearm(halt, "re-armed from the command line")
    except HaltedAgain as exc:
        raise CommandFailed(
            f"Trading was halted again meanwhile, and stays so. {exc}", "Look at what happened, then re-arm again."
        ) from exc
    emit(_result(halt, TradingState.ACTIVE, stopped, rearmed=True), as_json=as_json, text=_text(stopped))


def command_line(data_dir: Path | None) -> str:
    """Return what to type to re-arm a data folder, named as it was named to the command that says so."""
    return "python main.py rearm" + (f" --data-dir {shlex.quote(str(data_dir))}" if data_dir is not None else "")


def _open(data_dir: Path | None) -> RearmAtRest:
    from core.execution.assembly import fence_path
    from core.execution.fence import Fence
    from core.execution.rearm import RearmAtRest

    paths, lock = existing_folder(data_dir)
    return RearmAtRest(paths, Fence(fence_path(paths)), lock, SystemClock())


def _ask() -> None:
    """Have the word typed; a script that cannot has to say --yes.

    Raises:
        UserError: something else was typed, or nothing can be.
    """
    say(f"Find out why before you go on. Type {WORD} to allow trading again:")
    # Bytes: what is piped in may be in any encoding. There is no standard input at all in some services.
    line = sys.stdin.buffer.readline() if sys.stdin is not None else b""
    if line.strip() != WORD.encode():
        raise UserError("Trading stays halted: re-arming was not confirmed.", f"Type {WORD} when asked, or give --yes.")


def _result(before: TradingStateRecord, left: TradingState, stopped: list[str], *, rearmed: bool) -> dict[str, Any]:
    since = to_datetime(before.since_ns).isoformat() if before.since_ns else None  # none where nothing ever ran
    return {
        "rearmed": rearmed,
        "trading_state": left.value,
        "before": {"trading_state": before.state.value, "reason": before.reason, "since": since, "epoch": before.epoch},
        "stopped_strategies": stopped,
    }


def _text(stopped: list[str]) -> str:
    what = f" These were running and stay stopped until started: {', '.join(stopped)}." if stopped else ""
    return f"Trading is allowed again. Drawdown and today's loss are measured anew from now on.{what}"
