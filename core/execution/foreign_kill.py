"""What `main.py kill` did while this program did not look: its own journal files, merged at the next start.

The killing process must need no lock and no database: it appends JSON lines to a file of its own, each durable before
the step it announces. Any thread of either process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.domain.orders import Intent, IntentSource, OrderType, Side
from core.execution.journal import Journal

PREFIX = "kill-journal-"
MERGED = ".merged"


class KillJournal:
    """The file one kill writes."""

    def __init__(self, folder: Path, epoch: int, now_ns: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{PREFIX}{epoch}-{now_ns}.jsonl"

    def append(self, kind: str, payload: dict[str, Any]) -> None:
        """Write one line and make it durable before returning."""
        line = json.dumps({"kind": kind, **payload}, sort_keys=True) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

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


def import_kill_files(folder: Path, journal: Journal, now_ns: int) -> Iterator[tuple[Intent, int]]:
    """Journal what kills from outside did and yield the orders they may have sent: (intent, time announced in ns).

    A file is renamed only after the caller took all of its orders over; a crash before repeats it, and an order taken
    over twice stays one.
    """
    for path in _unmerged(folder):
        for payload in _lines(path):
            journal.add_command("foreign_kill", payload, now_ns)
            if payload["kind"] == "intent":
                yield _intent(payload), int(payload["created_ns"])
        path.rename(path.with_name(path.name + MERGED))


def announced_sales(folder: Path) -> list[Intent]:
    """Return what kills announced to sell and nobody merged yet: sent or not, it is in no journal."""
    payloads = (payload for path in _unmerged(folder) for payload in _lines(path))
    return [_intent(payload) for payload in payloads if payload["kind"] == "intent"]


def _unmerged(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{PREFIX}*.jsonl"))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue  # the last line of a process that died while writing it: the step never happened


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
