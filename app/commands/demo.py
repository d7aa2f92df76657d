"""`main.py demo`: the whole job headless, from prices to a report. Qt-free; pictures come from a child process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.cli import CommandFailed, JsonOption, command, counted, emit, say
from core.user_path import user_path

app = typer.Typer(add_completion=False)


@app.command()
@command
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Replay these stored bars (CSV, Feather, Parquet) instead of the made market.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="Wall minutes of trading on the made market.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Folder for the report, the pictures and the demo's own data.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the made market and of training.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, max=200, help="Most passes over the training part.")] = 8,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Also draw the window as PNG.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Train on the past, trade the rest on the practice exchange, write a report with charts.

    Exit code 0 only if the orders in the journal equal those on the exchange.
    """
    from app.demo import DemoOptions, run_demo

    result = run_demo(DemoOptions(data, minutes, user_path(out), seed, epochs, pictures), say)
    matched = bool(result["orders_match"] and result["positions_match"])
    books = "The books equal the exchange." if matched else "THE BOOKS DIFFER FROM THE EXCHANGE."
    traded = f"{counted(result['orders'], 'order')}, {counted(result['fills'], 'fill')}"
    emit(
        result,
        as_json=as_json,
        text=f"{traded}. {books}\nReport: {result['report']}",
    )
    if not matched:
        raise CommandFailed
