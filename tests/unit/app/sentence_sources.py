"""Reads the sentences a person can see out of the sources of `core`, `ml` and `app`.

Not a list of calls but every text with a space in it counts: a sentence may go through a variable, a helper or a tuple
before it is shown. What is none, or cannot reach the window, is named here with the reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# Modules whose sentences no window shows, by the beginning of their dotted name.
UNSEEN = {
    "core.diagnostics": "the doctor command prints its findings on the terminal; the window takes GPU names only",
    "core.reporting": "the report of the demo command, an English page in the browser",
    "core.data.exporter": "the data export command",
    "core.practice.replay": "the window's practice exchange is synthetic; --replay belongs to the command line",
    "core.practice.player": "the window gives no --speed",
    "core.practice.control_routes": "as core.practice.server",
    "core.practice.fault_rules": "faults are armed by the command line and by control requests",
    "core.practice.limits": "the window gives no --limits; the rest as core.practice.server",
    "core.practice.permissions": "as core.practice.server",
    "core.practice.requests": "what a server in front of the exchange says; only faults bring it",
    "core.practice.sockets": "as core.practice.streams",
    "core.practice.server": "answers to control requests, which only commands and tests send",
    "core.practice.streams": "protocol errors of the practice exchange's sockets; the client library asks correctly",
    "core.practice.wsapi": "as core.practice.streams",
    "core.execution.outside_kill": "the kill command; what it did is merged as data",
    "core.execution.rearm": "the rearm command",
    "core.execution.risk_at_rest": "the risk command",
    "core.execution.books": "the comparison at the end of the trade and demo commands",
    "core.persistence.migrations": "the migration's own scripts",
    "ml.spec_comments": "comments of a configuration file, English as its keys are",
    "ml.selftest": "the selftest command",
    "ml.selftest_agent_checks": "the selftest command",
    "ml.selftest_agent_exact": "the selftest command",
    "ml.selftest_agent_lab": "the selftest command",
    "ml.selftest_checks": "the selftest command",
    "ml.selftest_lab": "the selftest command",
    "ml.selftest_tasks": "the selftest command",
    "ml.agents.known_answers": "the selftest command",
    "ml.selftest_environment": "the selftest command",
    "ml.selftest_gain": "the selftest command",
    "ml.selftest_markets": "the selftest command",
    "ml.agents.value_iteration": "the selftest command",
    "ml.worker.selftest": "the selftest command",
    "ml.evaluate_folds": "the evaluate command",
    "ml.evaluation_plan": "the evaluate command, of configurations",
    "ml.fold_store": "the evaluate command",
    "ml.worker.folds": "the evaluate command",
    "ml.agents.spec_comments": "as ml.spec_comments",
    "core.logger": "raised before the window is there, and log lines stay English",
}

# Calls of `app` whose literals are shown as they are; everything else there goes through `tr`.
SHOWN_BY_APP = {"UserError", "Notice", "JobFailed"}
UNSEEN_APP = {
    "app.commands": "the command line speaks English",
    "app.benchmarks": "as app.commands",
    "app.demo": "as app.commands",
    "app.bench_orders": "as app.commands",
    "app.bench_window": "as app.commands",
    "app.screenshots": "the screenshots command; what its pictures show is taken from the core's own sentences",
}

# Texts with a space that are no sentences: names of threads and loops, journal causes, SQL, formats, file patterns.
NOT_SENTENCES = {
    "open time",  # the name of a column
    "Application Support",  # a folder
    "feed candles",
    "feed book",
    "feed trades",
    "feed ticker",
    "candles {0} {1}",
    "account events",
    "paper {0} {1}",
    "paper account",
    "cancel failed",
    "venue report",
    "trade {0}",
    "exit code {0}",  # details of a failed job, behind the button that shows details
    "Bearer {0}",
    "{0} CANNOT WITHDRAW",  # typed by a person, in every language
    "first start",  # why the state is ACTIVE in a new journal: nothing is shown of it
    "[-+.\\d:TZ eE]+",
    "%Y-%m-%d %H:%M",
    "Duplicate order sent",  # these two: compared with, never shown
    "Unknown order sent",
    "epoch {0}/{1}",  # these five: the progress line of the train command
    "loss {0}, validation {1}",
    "best {0}",
    "{0} targets/s on {1}",
    "{0}/{1} steps",  # these five: the same for agents
    "encoder {0}/{1} · epoch {2}/{3}",
    "encoder testing …",
    "validation {0}, best {1}",
    "{0} steps/s on {1}",
    "{0} s left",
    "order {0} {1}",  # these seven: what a comparison of the books found, for the log
    "foreign order {0} {1}",
    "missed fill of order {0} {1}",
    "fill of foreign order {0} {1}",
    "order {0} not known to the venue",
    "order {0} still working, cancel repeated",
    "{0} {1} {2}, filled {3}, {4}",
}
_NO_SENTENCE = re.compile(r"PRAGMA |SELECT |INSERT |CREATE |BEGIN |UPDATE |DELETE |\n")
# A bug: it reaches the crash handler, which shows it as it is.
_BUGS = {
    "ValueError",
    "TypeError",
    "RuntimeError",
    "KeyError",
    "AttributeError",
    "NotImplementedError",
    "AssertionError",
}
_BUGS_QUOTED = {"core.domain.orders": "the order desk quotes them in the UserError about a draft that is no order"}
_LETTERS = re.compile(r"[A-Za-z]{2}")
_PLACE = re.compile(r"\{[a-z_]+\}")


def template_of(node: ast.expr) -> str | None:
    """Return a literal or an f-string as a template with numbered places; None for anything else."""
    if isinstance(node, ast.JoinedStr):
        parts, number = [], 0
        for value in node.values:
            if isinstance(value, ast.Constant):
                parts.append(str(value.value).replace("{", "{{").replace("}", "}}"))
            else:
                parts.append(f"{{{number}}}")
                number += 1
        return "".join(parts).strip(" ,;")
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        numbers = iter(range(100))
        return _PLACE.sub(lambda _: f"{{{next(numbers)}}}", node.value).strip(" ,;")
    return None


def is_sentence(template: str) -> bool:
    """Whether a text says something: words with a space between them."""
    if template in NOT_SENTENCES or _NO_SENTENCE.search(template):
        return False
    words = _PLACE.sub("", re.sub(r"\{\d+\}", "", template))
    return " " in template and _LETTERS.search(words) is not None


def sentences(folder: str) -> Iterator[tuple[str, str]]:
    """Yield (place in the source, template) of every sentence in `core`, `ml` or `app` that a window can show."""
    unseen = UNSEEN_APP if folder == "app" else UNSEEN
    for path in sorted((ROOT / folder).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if any(module == name or module.startswith(name + ".") for name in unseen):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        found = _of_calls(tree, SHOWN_BY_APP) if folder == "app" else _of_module(tree, bugs=module in _BUGS_QUOTED)
        for line, template in found:
            if is_sentence(template):
                yield f"{path.relative_to(ROOT)}:{line}", template


def _of_module(tree: ast.Module, *, bugs: bool) -> Iterator[tuple[int, str]]:
    """Yield every text except docstrings, log lines, assertions and, unless `bugs`, those of bugs."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if _is_unseen(node) or (not bugs and _is_bug(node)):
            continue
        template = template_of(node) if isinstance(node, ast.expr) else None
        if template is not None:
            yield getattr(node, "lineno", 0), template
        if isinstance(node, ast.JoinedStr):  # its own words are in the template; what it asks for may hold others
            pending += [value.value for value in node.values if isinstance(value, ast.FormattedValue)]
        else:
            pending += ast.iter_child_nodes(node)


def _is_unseen(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).split(".")[0] in ("_log", "log", "logging", "print")
    return False


def _is_bug(node: ast.AST) -> bool:
    return isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) in _BUGS


def _of_calls(tree: ast.Module, names: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in names:
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                template = template_of(argument)
                if template is not None:
                    yield node.lineno, template
