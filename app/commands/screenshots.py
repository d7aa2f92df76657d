"""`main.py screenshots`: a picture of every window, dock, dialog and wizard page. Runs on the main thread.

Qt is imported only when the command runs: this module must load where PySide6 is missing.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.cli import JsonOption, command, emit, say
from core.diagnostics.checks_software import REINSTALL
from core.errors import UserError

if TYPE_CHECKING:
    from app.screenshots.album import Look

app = typer.Typer(add_completion=False, rich_markup_mode=None)

DEFAULT_SIZE = "1440x900"
LEAST, MOST = (960, 560), (7_680, 4_320)  # px; below the least the window does not go


@app.command()
@command
def screenshots(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="More names for --only.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the pictures.")] = Path("screenshots"),
    language: Annotated[str, typer.Option("--lang", metavar="en|ko", help="Language of the interface.")] = "en",
    theme: Annotated[str, typer.Option("--theme", metavar="dark|light", help="Colours of the interface.")] = "dark",
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="NAME...", help="Only these; the beginning of a name takes all of its pictures."
        ),
    ] = None,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="Size of the main window, px.")] = DEFAULT_SIZE,
    as_json: JsonOption = False,
) -> None:
    """Write a picture of every window, dock, dialog and wizard page, with made-up content and without network."""
    if importlib.util.find_spec("PySide6") is None:
        raise UserError("The package PySide6 is missing: without it nothing can be drawn.", REINSTALL)
    prepare_environment()
    look = read_look(language, theme, size)
    from app.screenshots.album import take_pictures

    wanted = [*(only or ()), *(names or ())]
    pictures = take_pictures(out, look, wanted, tell=lambda name: say(f"{name} …"))
    for picture in pictures:
        for line in picture.clipped:
            say(f"{picture.name}: text cut off: {line}")
    emit(
        {"pictures": [picture.to_json() for picture in pictures]},
        as_json=as_json,
        text=f"{len(pictures)} pictures written to {out}.",
    )


def prepare_environment() -> None:
    """Draw without a screen unless one was asked for, and with times in UTC; takes effect before Qt loads."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["TZ"] = "UTC"
    if sys.platform != "win32":
        time.tzset()


def read_look(language: str, theme: str, size: str) -> Look:
    """Return the look the options describe.

    Raises:
        UserError: an option has another value than it may have.
    """
    if language not in ("en", "ko"):
        raise UserError(f"There is no language {language}.", "Use --lang en or --lang ko.")
    if theme not in ("dark", "light"):
        raise UserError(f"There is no theme {theme}.", "Use --theme dark or --theme light.")
    numbers = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if numbers is None:
        raise UserError(f"{size} is no size.", f"Write it as WIDTHxHEIGHT, for example {DEFAULT_SIZE}.")
    width, height = int(numbers[1]), int(numbers[2])
    if not (LEAST[0] <= width <= MOST[0] and LEAST[1] <= height <= MOST[1]):
        raise UserError(
            f"The main window cannot have the size {size}.",
            f"Choose from {LEAST[0]}x{LEAST[1]} to {MOST[0]}x{MOST[1]}.",
        )
    from app.i18n import Language
    from app.screenshots.album import Look
    from app.tokens import ThemeChoice

    return Look(Language(language), ThemeChoice(theme), (width, height))
