"""`main.py doctor`: check this machine and say what to repair. Qt-free; runs on the main thread."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from core.config import data_paths
from core.diagnostics import Check, Status, is_healthy, run_checks, to_json

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MARKS = {Status.OK: ("✓", "green"), Status.WARN: ("!", "yellow"), Status.FAIL: ("✗", "red")}


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
    checks = run_checks(data_paths(data_dir).root, venue_url=venue)
    if as_json:
        emit(to_json(checks), as_json=True)
    else:
        print_table(checks)
    if not is_healthy(checks):
        raise CommandFailed


def print_table(checks: Sequence[Check]) -> None:
    """Print the checks as a table on standard output, problems with their remedy below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        mark, colour = _MARKS[check.status]
        detail = Text(check.detail)
        if check.remedy:
            detail.append(f"\n→ {check.remedy}", style=colour)
        table.add_row(Text(mark, style=colour), Text(check.name), detail)
    console.print(table)
    failed = sum(check.status is Status.FAIL for check in checks)
    warned = sum(check.status is Status.WARN for check in checks)
    passed = len(checks) - failed - warned
    console.print(Text(f"\n{passed} ok, {warned} with a limitation, {failed} to repair"))
