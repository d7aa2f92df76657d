"""How keys and passphrases get into a command: typed unseen, from standard input or from an owner-only file.

Never as an argument: a command line can be read by everybody on the machine and stays in the shell's history. Qt-free.
"""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.commands.cli import say
from core.config import DataPaths
from core.errors import UserError
from core.logger import SECRETS
from core.secrets.book import KeyBook, open_key_book
from core.secrets.environment import PASSPHRASE, seal_environment
from core.secrets.keys import KeyPair
from core.secrets.owned_file import read_owned
from core.secrets.stores import AskPassphrase

PassphraseFileOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Owner-only file with the passphrase of the encrypted key file."),
]


def command_book(paths: DataPaths, passphrase_file: Path | None = None) -> KeyBook:
    """Open the keys of a data folder for a command."""
    return open_key_book(paths, SECRETS.add, passphrase_asker(passphrase_file))


def passphrase_asker(file: Path | None) -> AskPassphrase:
    """Return what asks for the passphrase, once: from the file, else the environment, else the terminal."""
    known: list[str] = []

    def ask(new: bool) -> str:
        if not known:
            known.append(_passphrase(file, new=new))
            SECRETS.add(known[0])
        return known[0]

    return ask


def read_pair(file: Path | None) -> KeyPair:
    """Read a key: from the file, else typed at the terminal, else two lines of standard input.

    Raises:
        UserError: nothing can be read, or the file can be read by others.
    """
    if file is not None:
        return _pair_from(_content(file))
    if _at_terminal():
        return KeyPair(getpass.getpass("API key (not shown): ").strip(), getpass.getpass("API secret: ").strip())
    return _pair_from(sys.stdin.read(100_000) if sys.stdin is not None else "")


def require_phrase(phrase: str, given: str | None, why: str) -> None:
    """Have a person type a phrase that says what it means; an argument of the command counts as typed.

    Raises:
        UserError: something else was typed, or nothing can be.
    """
    if given is None and _at_terminal():
        say(f"{why} Type {phrase} to go on:")
        given = sys.stdin.readline()
    if given is None or given.strip() != phrase:
        raise UserError(
            "This was not confirmed, so nothing was done.", f'Give --confirm "{phrase}", or type it when asked.'
        )


def _passphrase(file: Path | None, *, new: bool) -> str:
    if file is not None:
        return _content(file).strip("\r\n")
    if given := seal_environment().get(PASSPHRASE):
        return given
    if not _at_terminal():
        raise UserError(
            "The encrypted key file needs its passphrase.",
            f"Name an owner-only file with --passphrase-file, or set {PASSPHRASE}.",
        )
    typed = getpass.getpass("New passphrase of the key file: " if new else "Passphrase of the key file: ")
    if new and getpass.getpass("The same once more: ") != typed:
        raise UserError("The two passphrases differ.", "Start again.")
    return typed


def _content(file: Path) -> str:
    data = read_owned(file)
    if data is None:
        raise UserError(f"There is no file {file}.", "Name the right one.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"The file {file} is no text.", "Name the right one.") from None


def _pair_from(text: str) -> KeyPair:
    """Read {"api_key", "api_secret"}, or the two on a line each."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if text.lstrip().startswith("{"):
        try:
            content = json.loads(text)
            return KeyPair(str(content["api_key"]), str(content["api_secret"]))
        except (ValueError, KeyError, TypeError):
            pass  # the sentence below; the cause would carry the key
    elif len(lines) == 2:
        return KeyPair(*lines)
    raise UserError(
        "No key was given.", 'Give the API key and the secret on a line each, or {"api_key", "api_secret"} as JSON.'
    )


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
