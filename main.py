"""The one entry: no arguments open the desktop application, a subcommand runs headless."""

from __future__ import annotations

import multiprocessing
import sys


def main() -> int:
    """Start the window or the named subcommand and return the exit code."""
    from core.secrets.environment import seal_environment

    seal_environment()  # before any child could inherit a key
    arguments = sys.argv[1:]
    if arguments == ["sentinel"]:
        from core.execution.sentinel_child import main as run_sentinel  # and nothing else: it stays small

        return run_sentinel()
    if not arguments or (arguments[0].startswith("--") and arguments[0] != "--help"):
        from app.qt_start import prepare_process

        prepare_process()  # before the many imports
        from app.gui_main import run_gui

        return run_gui(arguments)
    from app.commands.root import run_cli

    return run_cli(arguments)


if __name__ == "__main__":
    multiprocessing.freeze_support()  # must come before any heavy import in a frozen application
    sys.exit(main())
