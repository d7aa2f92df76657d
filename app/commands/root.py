"""The command tree of main.py. Qt-free.

Each subcommand lives in its own module and is imported only when called: `main.py kill` must not wait for torch.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from app.commands.cli import emit, say
from core.logger import SECRETS, clean_traceback, redacted_hooks

# The library's class of usage errors; it has no public name of its own.
_UsageError: Any = typer.BadParameter.__base__

# name -> (module, one-line help). A module exposes `app: typer.Typer` (a group) or `command_app` with one command.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("app.commands.demo", "Train on the past, trade the rest on the practice exchange, write a report."),
    "practice-exchange": ("app.commands.practice_exchange", "Run the practice exchange on this machine."),
    "data": ("app.commands.data", "Fetch, import, check and list market data."),
    "train": ("app.commands.train", "Train models."),
    "evaluate": ("app.commands.evaluate", "Judge a stored model on other bars, or a configuration in many folds."),
    "models": ("app.commands.models", "List and show stored models."),
    "trade": ("app.commands.trade", "Trade headless, on the practice exchange or with real money."),
    "keys": ("app.commands.keys", "Add, list, check and remove API keys."),
    "kill": ("app.commands.kill", "Halt trading and cancel every order, from outside the running program."),
    "rearm": ("app.commands.rearm", "Allow trading again after a halt; asks first."),
    "risk": ("app.commands.risk", "Show and set the risk limits."),
    "doctor": ("app.commands.doctor", "Check this machine and say what to repair."),
    "selftest": ("app.commands.selftest", "Learn processes whose optimum is known and say how much of it was reached."),
    "bench": ("app.commands.bench", "Measure speed and memory."),
    "screenshots": ("app.commands.screenshots", "Write a picture of every window, dock, dialog and wizard page."),
}


# Why the validator behind the command line refuses a value, by its name for that.
_REASONS = {
    "int_parsing": "a whole number is needed",
    "int_parsing_size": "the number is too long",
    "float_parsing": "a number is needed",
    "finite_number": "a number is needed",
    "greater_than_equal": "at least {ge:,g} is needed",
    "less_than_equal": "at most {le:,g} is possible",
}


class LazyGroup(TyperGroup):
    """A group that imports a subcommand's module when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module_name, help_text = COMMANDS[cmd_name]
        built = typer.main.get_command(importlib.import_module(module_name).app)
        built.name = cmd_name
        built.short_help = help_text
        return built

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


def run_cli(arguments: list[str]) -> int:
    """Run one subcommand and return its exit code (0 ok, 1 failed, 2 usage)."""
    # Plain help: the rich variant imports every subcommand to list it.
    group = LazyGroup(
        name="maru",
        help="Maru: learns to trade crypto and trades. Without a command, opens the window.",
        rich_markup_mode=None,
    )
    try:
        with redacted_hooks():
            code = group.main(args=arguments, prog_name="main.py", standalone_mode=False)
    except _UsageError as exc:
        _explain(exc, as_json="--json" in arguments)
        return 2
    except SystemExit as exc:  # standard output was closed while it wrote
        return exc.code if isinstance(exc.code, int) else 1
    except Exception as exc:  # noqa: BLE001 - a bug: what the interpreter would print may hold a key
        sys.stderr.write(clean_traceback(exc))
        return 1
    return code if isinstance(code, int) else 0


def _plain_reason(error: Any) -> str:
    """Return why a value was refused, in words for people: the validator's are for programmers."""
    message = str(error.message)
    found: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()  # of a value that was read and judged
    reason = _REASONS.get(found[0]["type"]) if found else None
    return reason.format_map(found[0].get("ctx", {})) if reason else message.removeprefix("Value error, ")


def _explain(error: Any, *, as_json: bool) -> None:
    """Say in one sentence what is wrong with a command line."""
    context = error.ctx
    error.message = _plain_reason(error)
    message = error.format_message().strip()
    path = context.command_path if context is not None else "main.py"
    if "extra argument" in message:  # the parser would repeat them, and one may be a key
        message = f"{path} takes no further arguments, and no key or secret in particular"
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help of the group
        say(message)
        message = f"{path} needs a subcommand"
    remedy = f"Run {path} --help to see what there is."
    if as_json:
        emit({"error": SECRETS.clean(f"{message.rstrip('.')}."), "remedy": remedy}, as_json=True)
    else:
        say(f"Error: {message.rstrip('.')}. {remedy}")
