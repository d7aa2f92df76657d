"""What other processes of ours did to the orders while this program did not look: journal files of their own.

`main.py kill` and the dead-man switch must need no lock and no database: each appends JSON lines to a file of its own,
each line durable before the step it announces. The next start merges them. Any thread of either process.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from core.domain.orders import Intent, IntentSource, OrderType, Side
from core.errors import UserError
from core.execution.process_lock import exclusive

if TYPE_CHECKING:  # who only writes such a file must not pay for the database
    from core.execution.journal import Journal

PREFIX = "kill-journal-"
SENTINEL_PREFIX = "sentinel-journal-"
MERGED = ".merged"
LOCK = "kill-journal.lock"
PATIENCE_S = 2.0
# Which command each line becomes.
COMMANDS = {PREFIX: "foreign_kill", SENTINEL_PREFIX: "sentinel"}


class ForeignJournal:
    """One file of one process; it comes to be with its first line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, payload: dict[str, Any]) -> None:
        """Write one line and make it durable before returning.

        Raises:
            OSError: it cannot be written.
        """
        line = json.dumps({"kind": kind, **payload}, sort_keys=True) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as alone:
            with suppress(UserError, OSError):  # a program that hangs over these files must not hold up a kill
                alone.enter_context(exclusive(self.path.parent / LOCK, PATIENCE_S))
            file = alone.enter_context(self.path.open("a+b"))
            file.write(_after_what_is_torn(file) + line.encode())
            file.flush()
            os.fsync(file.fileno())


def _after_what_is_torn(file: IO[bytes]) -> bytes:
    """Return what must come first where a full disk took a part of the line before: it must not spoil this one."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


class KillJournal(ForeignJournal):
    """The file one kill writes."""

    def __init__(self, folder: Path, epoch: int, now_ns: int) -> None:
        super().__init__(folder / f"{PREFIX}{epoch}-{now_ns}.jsonl")

    def append_intent(self, intent: Intent) -> None:
        """Announce a closing sale before it is sent."""
        self.append(
            "intent",
            {
                "intent_id": intent.intent_id,
                "owner": intent.owner,
                "symbol": intent.symbol,
                "side": intent.side.value,
                "quantity": f"{intent.quantity:f}",
                "reason": intent.reason,
                "created_ns": intent.created_ns,
            },
        )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of one file; empty where there is none."""
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    lines: list[dict[str, Any]] = []
    for text in texts:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue  # the last line of a process that died while writing it: the step never happened
    return lines


def import_kill_files(folder: Path, journal: Journal, now_ns: int) -> Iterator[tuple[Intent, int]]:
    """Journal what was done from outside and yield the orders that may have been sent: (intent, time announced in ns).

    A file is renamed only after the caller took all of its orders over; a crash before repeats it, and an order taken
    over twice stays one. Nobody writes between the reading and the renaming: a line that came then would be lost, and
    with it a sale. While somebody writes, or hangs over the files, nobody waits: the orders are taken over, the rest is
    left for the next time.
    """
    kinds = COMMANDS.items()
    found = [(path, command) for prefix, command in kinds for path in sorted(folder.glob(f"{prefix}*.jsonl"))]
    if not found:
        return
    with ExitStack() as alone:
        is_alone = True
        try:
            alone.enter_context(exclusive(folder / LOCK, 0.0))  # the caller's event loop trades
        except (UserError, OSError):
            is_alone = False
        for path, command in found:
            for payload in read_lines(path):
                if is_alone:
                    journal.add_command(command, payload, now_ns)
                if payload["kind"] == "intent":
                    yield _intent(payload), int(payload["created_ns"])
            if is_alone:
                path.rename(_merged_name(path))


def _merged_name(path: Path) -> Path:
    """Name a merged file; its process may live and begin it anew, so the name may be taken."""
    names = (path.with_name(f"{path.name}{f'.{n}' if n else ''}{MERGED}") for n in itertools.count())
    return next(name for name in names if not name.exists())


def announced_sales(folder: Path) -> list[Intent]:
    """Return what kills announced to sell and nobody merged yet: sent or not, it is in no journal."""
    payloads = (payload for path in sorted(folder.glob(f"{PREFIX}*.jsonl")) for payload in read_lines(path))
    return [_intent(payload) for payload in payloads if payload["kind"] == "intent"]


def _intent(payload: dict[str, Any]) -> Intent:
    return Intent(
        intent_id=payload["intent_id"],
        source=IntentSource.KILL_SWITCH,
        owner=payload["owner"],
        symbol=payload["symbol"],
        side=Side(payload["side"]),
        quantity=Decimal(payload["quantity"]),
        order_type=OrderType.MARKET,
        reduce_only=True,
        reason=payload["reason"],
        created_ns=int(payload["created_ns"]),
    )
