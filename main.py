"""The one entry: no arguments open the desktop application, a subcommand runs headless."""

from __future__ import annotations

import multiprocessing
import sys


def main() -> int:
    """Start the window or the named subcommand and return the exit code."""
    if len(sys.argv) == 1 or sys.argv[1].startswith("--gui-"):
        from app.bootstrap import run_gui

        return run_gui(sys.argv)
    from app.commands.root import run_cli

    return run_cli(sys.argv[1:])


if __name__ == "__main__":
    multiprocessing.freeze_support()  # must come before any heavy import in a frozen application
    sys.exit(main())
