"""`main.py trade --live`: what has to be typed before real money is traded. Qt-free; main thread and its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.cli import say
from app.commands.key_input import command_book, require_phrase
from app.commands.trade_events import StrategyWatch, Teller
from app.live import confirmation_needed, live_phrase, live_profile, open_live_session, permission_note
from core.clock import SystemClock
from core.errors import UserError

if TYPE_CHECKING:
    from app.commands.trade import Outcome
    from app.live import LiveSession
    from core.config import DataPaths
    from core.execution.api.key_permissions import Verdict
    from core.execution.sentinel import SentinelRules
    from core.secrets.book import KeyBook
    from core.secrets.keys import KeyRecord, LoadedKey

Run = Callable[["LiveSession", StrategyWatch, asyncio.Event], Awaitable["Outcome"]]


@dataclass(frozen=True, slots=True)
class LiveChoice:
    """Whose account to trade.

    Attributes:
        key: name of the key.
        confirm: what was typed as an argument; None asks.
        passphrase_file: of the encrypted key file.
    """

    key: str
    confirm: str | None
    passphrase_file: Path | None


def live_choice(key: str | None, confirm: str | None, passphrase_file: Path | None, *, live: bool) -> LiveChoice | None:
    """Return whose account to trade; None where it is not for real money.

    Raises:
        UserError: half of it was said.
    """
    if not live:
        if (key, confirm, passphrase_file) != (None, None, None):
            raise UserError(
                "A key is for trading with real money only.", "Add --live, or leave --key and --confirm out."
            )
        return None
    if key is None:
        raise UserError("Trading with real money needs a key.", "Name one with --key; main.py keys list shows them.")
    return LiveChoice(key, confirm, passphrase_file)


def confirmed_key(paths: DataPaths, choice: LiveChoice) -> tuple[KeyBook, LoadedKey]:
    """Return the key once a person has typed that real money is meant.

    Raises:
        UserError: there is no such key, it cannot be used, or it was not confirmed.
    """
    book = command_book(paths, choice.passphrase_file)
    record = book.record(choice.key)
    live_profile(record.venue)
    _require_checked(record)
    require_phrase(live_phrase(record.name), choice.confirm, f"This trades real money at {record.venue}.")
    return book, book.load(choice.key)


async def trade_live(
    paths: DataPaths, book: KeyBook, key: LoadedKey, run: Run, sentinel: SentinelRules | None
) -> Outcome:
    """Trade a person's account until `run` returns.

    Args:
        sentinel: patience of the dead-man switch; None for none.

    Raises:
        UserError: the venue refuses the key or cannot be reached, or another program trades with it.
    """
    stop = asyncio.Event()
    watch = StrategyWatch(stop.set)
    session = await open_live_session(paths, key, Teller(watch), sentinel=sentinel)
    session.guard.told = lambda verdict: _tell(book, key.record, verdict)
    try:
        return await run(session, watch, stop)
    finally:
        await session.close()


def _require_checked(record: KeyRecord) -> None:
    if confirmation_needed(record):
        raise UserError(
            f"{record.venue} does not tell what a key may do.",
            f"Look it up on its page, then confirm it: main.py keys check {record.name}",
        )


def _tell(book: KeyBook, record: KeyRecord, verdict: Verdict) -> None:
    note = permission_note(verdict, SystemClock().now_ns())
    for line in note.lines:
        say(line)
    try:
        book.note_permissions(record, note)
    except UserError as exc:  # only the list misses it; the session has decided
        say(f"Note: {exc}")
