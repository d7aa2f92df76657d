"""`main.py doctor`: check this machine and say what to repair. Qt-free; runs on the main thread."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from core.config import data_paths
from core.diagnostics import Check, Status, is_healthy, run_checks, to_json
from core.diagnostics.checks_software import REINSTALL
from core.errors import UserError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}


@app.command()
@command
def doctor(
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    venue: Annotated[
        str, typer.Option("--venue", help="Base URL of a running practice exchange: compare its clock with ours.")
    ] = "",
) -> None:
    """Check Python, packages, GPU, key store, display, disk, clock and ports; every problem comes with a remedy."""
    if not as_json:
        say("Checking this machine; the first import of torch may take a while …")
    checks = run_checks(_data_folder(data_dir), venue_url=venue)
    if as_json:
        emit(to_json(checks), as_json=True)
    else:
        print_table(checks)
    if not is_healthy(checks):
        raise CommandFailed


def _data_folder(override: Path | None) -> Path:
    """Return the data folder even in a broken installation, with one sentence about what is broken.

    Raises:
        UserError: the package that knows the system's folders is missing and no folder was named.
    """
    try:
        return data_paths(override).root
    except ModuleNotFoundError as exc:
        raise UserError(f"The package {exc.name} is missing.", REINSTALL) from exc


def print_table(checks: Sequence[Check]) -> None:
    """Print the checks as a table on standard output, problems with their remedy below."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError:  # the check of the packages says so
        print_plain(checks)
        return
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        colour = _COLOURS[check.status]
        detail = Text(check.detail)
        if check.remedy:
            detail.append(f"\n-> {check.remedy}", style=colour)
        table.add_row(Text(check.status.value, style=colour), Text(check.name), detail)
    console = Console(file=_lenient_output(), highlight=False)
    console.print(table)
    console.print(Text(f"\n{_count(checks)}"))


def print_plain(checks: Sequence[Check]) -> None:
    """Print the checks as plain lines on standard output."""
    out = _lenient_output()
    for check in checks:
        out.write(f"{check.status.value:5} {check.name:13} {check.detail}\n")
        if check.remedy:
            out.write(f"{'':20}-> {check.remedy}\n")
    out.write(f"\n{_count(checks)}\n")
    out.flush()


def _count(checks: Sequence[Check]) -> str:
    failed = sum(check.status is Status.FAIL for check in checks)
    warned = sum(check.status is Status.WARN for check in checks)
    return f"{len(checks) - failed - warned} ok, {warned} with a limitation, {failed} to repair"


def _lenient_output() -> TextIO:
    """Return standard output, set to replace what a console's old code page cannot show."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return sys.stdout
