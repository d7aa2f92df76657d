"""`main.py risk`: show and set the risk limits of a data folder over which nothing trades. Qt-free; main thread."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.at_rest import existing_folder
from app.commands.cli import DataDirOption, JsonOption, command, emit
from core.clock import SystemClock
from core.domain.money import plain
from core.errors import UserError

if TYPE_CHECKING:
    from core.execution.risk_at_rest import RiskAtRest
    from core.signals.risk_management import RiskSettings

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
@command
def show(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show every risk limit the next program that trades starts with."""
    settings = _open(data_dir).look()
    emit({"settings": settings.to_json()}, as_json=as_json, text=_table(settings))


@app.command("set")
@command
def set_(
    limits: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Limits as `risk show` names them.")],
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set risk limits, all or none; the command is journalled."""
    before, after = _open(data_dir).change(_assignments(limits))
    differences = before.differences(after)
    loosened = before.loosened(after)
    result: dict[str, Any] = {
        "changed": {name: {"before": plain(old), "after": plain(new)} for name, (old, new) in differences.items()},
        "loosened": list(loosened),
        "settings": after.to_json(),
    }
    emit(result, as_json=as_json, text=_told(differences, loosened))


def _open(data_dir: Path | None) -> RiskAtRest:
    from core.execution.risk_at_rest import RiskAtRest

    paths, lock = existing_folder(data_dir)
    return RiskAtRest(paths, lock, SystemClock())


def _assignments(limits: list[str]) -> dict[str, str]:
    """Take NAME=VALUE apart.

    Raises:
        UserError: one is none, or a name stands twice.
    """
    wanted: dict[str, str] = {}
    for text in limits:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not (name and sign and value):
            raise UserError(f"{text!r} is no NAME=VALUE.", "Write for example max_daily_loss=500.")
        if name in wanted:
            raise UserError(f"{name} is given twice.", "Give it once.")
        wanted[name] = value
    return wanted


def _table(settings: RiskSettings) -> str:
    from core.signals.risk.settings import UNITS

    values = settings.to_json()
    return "\n".join(f"{name:24}{values[name]!s:>12}  {unit.value}" for name, unit in UNITS.items())


def _told(differences: dict[str, tuple[Decimal, Decimal]], loosened: tuple[str, ...]) -> str:
    if not differences:
        return "Nothing was changed."
    lines = [
        f"{name}: {plain(old)} → {plain(new)}" + (" (lets more through)" if name in loosened else "")
        for name, (old, new) in differences.items()
    ]
    return "\n".join(lines)
