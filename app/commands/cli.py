"""What every subcommand shares: output, errors, exit codes. Qt-free; runs on the main thread.

Exit codes: 0 done, 1 the work failed, 2 the input or the environment was wrong. With `--json` standard output ends
with exactly one JSON line; progress and logs go to standard error.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from core.errors import UserError
from core.logger import SECRETS

P = ParamSpec("P")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON line for machines.")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder for everything the program writes.", show_default=False)
]


class CommandFailed(Exception):
    """The work ran and failed (exit code 1).

    Attributes:
        message: one clear sentence; empty where the result was printed already and says it.
        remedy: one sentence saying what to do about it; may be empty.
    """

    def __init__(self, message: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: "1 order", "2 orders"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def emit(result: dict[str, Any], *, as_json: bool, text: str = "") -> None:
    """Print the result of a command: one JSON line, or `text` for people."""
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n")
    elif text:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say(message: str) -> None:
    """Tell a person what is going on (standard error, so that JSON output stays clean)."""
    sys.stderr.write(SECRETS.clean(message) + "\n")
    sys.stderr.flush()


def _tell_error(message: str, remedy: str, *, as_json: bool) -> None:
    if as_json:
        emit({"error": SECRETS.clean(message), "remedy": SECRETS.clean(remedy)}, as_json=True)
    else:
        say(f"Error: {message} {remedy}".rstrip())


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn the errors of a subcommand into one sentence and an exit code.

    The wrapped function may have an `as_json` parameter; errors are then printed as `{"error", "remedy"}`.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json", False))
        try:
            function(*args, **kwargs)
        except UserError as exc:
            _tell_error(exc.message, exc.remedy, as_json=as_json)
            raise typer.Exit(2) from exc
        except CommandFailed as exc:
            if exc.message:
                _tell_error(exc.message, exc.remedy, as_json=as_json)
            raise typer.Exit(1) from exc
        except KeyboardInterrupt as exc:
            say("Cancelled.")
            raise typer.Exit(1) from exc

    return wrapper
