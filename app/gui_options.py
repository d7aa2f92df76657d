"""Options of the window's start. Qt-free."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GuiOptions:
    """How the window is started.

    Attributes:
        data_dir: folder for everything the program writes; None is the platform's own place.
        language / theme: override the settings for this run; "" keeps them.
        seed: of the practice market; a new account keeps its own.
        speed: market seconds per wall second; None takes the setting.
        trace: file that receives the time of the first painted window and the heavy modules loaded by then.
        quit_after_s: quit by itself after so many seconds; for measurements and packaging checks.
        paper_market: file of a practice exchange that lends paper trading its market; None for Binance.
        reset_layout: start with the default arrangement of panels.
    """

    data_dir: Path | None = None
    language: str = ""
    theme: str = ""
    seed: int | None = None
    speed: str | None = None
    trace: Path | None = None
    quit_after_s: float | None = None
    paper_market: Path | None = None
    reset_layout: bool = False


def parse_gui_options(arguments: Sequence[str]) -> GuiOptions:
    """Parse the command line of the window; prints usage and exits with 2 on a mistake."""
    parser = argparse.ArgumentParser(prog="main.py", description="Maru: open the window.")
    parser.add_argument("--data-dir", type=Path, help="folder for everything the program writes")
    parser.add_argument("--lang", dest="language", choices=("en", "ko"), default="", help="language of this run")
    parser.add_argument("--theme", choices=("dark", "light"), default="", help="look of this run")
    parser.add_argument("--seed", type=int, help="seed of a new practice market")
    parser.add_argument("--speed", help="market seconds per wall second on the practice exchange")
    parser.add_argument("--trace", type=Path, help="write start-up figures to this file")
    parser.add_argument("--quit-after", dest="quit_after_s", type=float, metavar="SECONDS", help="quit by itself")
    parser.add_argument("--paper-market", type=Path, help="practice exchange whose market paper trading uses")
    parser.add_argument("--reset-layout", action="store_true", help="start with the default arrangement of panels")
    return GuiOptions(**vars(parser.parse_args(list(arguments))))
