"""`main.py keys`: API keys for trading with real money. Qt-free; main thread."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit
from app.commands.key_input import PassphraseFileOption, command_book, read_pair, require_phrase
from core.clock import to_datetime
from core.config import data_paths
from core.errors import UserError
from core.secrets.keys import KeyRecord, PermissionNote, StoreKind, check_name, check_venue, unchecked_phrase
from core.secrets.os_keyring import KeyringUnusable

_OTHER_STORES = "Other stores are chosen by --store encrypted-file and, for servers, --store owner-file."
UNASKED = "This venue does not tell what a key may do: look it up on its page."

app = typer.Typer(add_completion=False, no_args_is_help=True, help="API keys for trading with real money.")

ConfirmOption = Annotated[
    str | None, typer.Option("--confirm", help="What you would type when asked; see the message that asks for it.")
]
NameArgument = Annotated[str, typer.Argument(help="Name of the key.", show_default=False)]


@app.command()
@command
def add(
    name: NameArgument,
    venue: Annotated[str, typer.Option(help="Venue the key belongs to.")] = "binance",
    store: Annotated[StoreKind, typer.Option(help="Where its secret is kept.")] = StoreKind.KEYRING,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", help="Owner-only file with key and secret, instead of typing them.")
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    confirm: ConfirmOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a key. It is typed unseen, or read from standard input or a file, never from the command line."""
    from core.execution.api.key_permissions import tells_permissions

    check_name(name)
    book = command_book(data_paths(data_dir).create(), passphrase_file)
    told = tells_permissions(check_venue(venue))
    if not told:
        require_phrase(unchecked_phrase(name), confirm, UNASKED)
    try:
        record = book.add(name, venue, read_pair(from_file), store, withdrawals_unchecked=not told)
    except KeyringUnusable as exc:
        raise UserError(exc.message, f"{exc.remedy} {_OTHER_STORES}") from exc
    emit(_shown(record), as_json=as_json, text=f"{_line(record)}\nSee what it may do: main.py keys check {name}")


@app.command("list")
@command
def list_keys(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List the keys; never their secrets."""
    records = command_book(data_paths(data_dir)).records()
    text = "\n".join(map(_line, records)) or "There is no key. Add one with: main.py keys add NAME"
    emit({"keys": [_shown(record) for record in records]}, as_json=as_json, text=text)


@app.command()
@command
def remove(
    name: NameArgument,
    confirm: ConfirmOption = None,
    passphrase_file: PassphraseFileOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a key here. On the venue's page it stays valid until you delete it there."""
    book = command_book(data_paths(data_dir), passphrase_file)
    book.record(name)
    require_phrase(name, confirm, "The key is forgotten here; on the venue's page it stays valid.")
    emit({"removed": book.remove(name).name}, as_json=as_json, text=f"The key {name} is forgotten here.")


@app.command()
@command
def check(
    name: NameArgument,
    confirm: ConfirmOption = None,
    passphrase_file: PassphraseFileOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the venue what a key may do; places and cancels nothing. Exit code 1 where it must not be used."""
    from app.live import ask_venue, confirmation_needed, live_profile

    paths = data_paths(data_dir)
    book = command_book(paths, passphrase_file)
    record = book.record(name)
    if confirmation_needed(record):
        require_phrase(unchecked_phrase(name), confirm, UNASKED)
        book.confirm_unchecked(record)
    live_profile(record.venue)  # before a passphrase is asked for nothing
    key = book.load(name)
    note = asyncio.run(ask_venue(key))
    book.note_permissions(key.record, note)
    emit(
        _shown(book.record(name)),
        as_json=as_json,
        text="\n".join(_words(note, unchecked=key.record.withdrawals_unchecked)),
    )
    if not note.allowed:
        raise CommandFailed


def _shown(record: KeyRecord) -> dict[str, Any]:
    note = record.permissions
    return {
        "name": record.name,
        "venue": record.venue,
        "last4": record.last4,
        "store": record.store.value,
        "added": to_datetime(record.added_ns).isoformat() if record.added_ns else None,
        "withdrawals_unchecked": record.withdrawals_unchecked,
        "permissions": None
        if note is None
        else {"allowed": note.allowed, "lines": list(note.lines), "read": to_datetime(note.read_ns).isoformat()},
    }


def _line(record: KeyRecord) -> str:
    known = (
        "not asked yet"
        if record.permissions is None
        else "; ".join(_words(record.permissions, unchecked=record.withdrawals_unchecked))
    )
    return f"{record.name}  {record.venue}  …{record.last4}  {record.store.value}  {known}"


def _words(note: PermissionNote, *, unchecked: bool) -> list[str]:
    if not note.allowed:
        return [f"Refused: {'. '.join(line.rstrip('.') for line in note.lines)}."]
    return [*note.lines] if unchecked else ["May read and trade, and cannot withdraw.", *note.lines]
