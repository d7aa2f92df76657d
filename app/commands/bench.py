"""`main.py bench`: measure speed and memory. Qt-free; main thread.

Exit 0 when everything was measured, even where a bar is missed: a missed bar is a result, not a failure.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.benchmarks.catalogue import CATALOGUE
from app.benchmarks.figures import measure
from app.commands.cli import JsonOption, command, emit, say

app = typer.Typer(add_completion=False)


@app.command()
@command
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Figures or capabilities, e.g. ui or startup.first_window_s.")
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Name the figures and stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure speed and memory of this installation on this machine."""
    figures = CATALOGUE.select(names or ())
    if list_only:
        listing = {f.name: {"unit": f.unit, "direction": f.direction, "bar": f.bar, "about": f.about} for f in figures}
        emit(listing, as_json=as_json, text="\n".join(f"{f.name:34s} {f.about} ({f.unit})" for f in figures))
        return
    result = measure(CATALOGUE, figures, say)
    emit(result, as_json=as_json, text="\n".join(_line(name, row) for name, row in result.items()))


def _line(name: str, row: dict[str, Any]) -> str:
    if row["value"] is None:
        return f"{name:34s} skipped: {row['skipped']}"
    bar = "" if row["bar"] is None else f"  bar {row['bar']:g} {'met' if row['ok'] else 'MISSED'}"
    peers = "".join(f"  {peer['name']} {peer['value']:.4g} (x{peer['ratio']:.2f})" for peer in row["peers"])
    return f"{name:34s} {row['value']:.4g} {row['unit']}{bar}{peers}"
