"""`main.py keys` and how keys and passphrases get in: never by the command line, never shown."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from app.commands import key_input
from app.commands.root import LazyGroup, run_cli
from core.config import DataPaths
from core.errors import UserError
from tests.unit.secrets.kit import OTHER, PAIR, PASSPHRASE, MemoryKeyring

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a subcommand of keys with standard input, and return code, JSON and what it said."""
    backend = MemoryKeyring()
    monkeypatch.setattr("core.secrets.os_keyring._installed_backend", lambda: backend)
    monkeypatch.setattr("core.secrets.environment._taken", {})

    def run(*arguments: str, typed: str = "") -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = run_cli(["keys", *arguments, "--data-dir", str(tmp_path / "data"), "--json"])
        out, err = capsys.readouterr()
        for secret in (*PAIR_TEXTS, OTHER.api_secret, PASSPHRASE):
            assert secret not in out + err
        return code, json.loads(out), err

    return run


PAIR_TEXTS = (PAIR.api_key, PAIR.api_secret)
TWO_LINES = f"{PAIR.api_key}\n{PAIR.api_secret}\n"


def owned(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_no_option_takes_a_secret() -> None:
    group = LazyGroup(name="maru").get_command(None, "keys")
    options = {
        option for command in group.commands.values() for parameter in command.params for option in parameter.opts
    }
    assert options == {
        "name", "--venue", "--store", "--from-file", "--passphrase-file", "--confirm", "--data-dir", "--json",
    }  # fmt: skip
    assert isinstance(group, typer.core.TyperGroup)


@pytest.mark.parametrize("store", ["keyring", "owner-file"])
def test_add_list_remove(store: str, run: Run, tmp_path: Path) -> None:
    code, shown, _ = run("add", "main", "--store", store, typed=TWO_LINES)
    assert code == 0
    assert (shown["name"], shown["venue"], shown["last4"], shown["store"]) == ("main", "binance", "1234", store)
    code, listed, _ = run("list")
    assert (code, listed["keys"]) == (0, [shown])
    assert shown["permissions"] is None
    assert run("remove", "main")[0] == 2, "removing wants the name typed"
    assert run("list")[1]["keys"] == [shown]
    assert run("remove", "main", "--confirm", "main")[:2] == (0, {"removed": "main"})
    assert run("list")[1]["keys"] == []


def test_the_encrypted_file_takes_its_passphrase_from_a_file(run: Run, tmp_path: Path) -> None:
    words = owned(tmp_path / "words", PASSPHRASE + "\n")
    options = ("--store", "encrypted-file", "--passphrase-file", words)
    assert run("add", "main", *options, typed=TWO_LINES)[0] == 0
    wrong = owned(tmp_path / "wrong", "another passphrase")
    code, answer, _ = run(
        "add", "b", "--store", "encrypted-file", "--passphrase-file", wrong, typed="k" * 9 + "\n" + "s" * 9
    )
    assert code == 2
    assert "passphrase is wrong" in answer["error"]
    code, answer, _ = run("remove", "main", "--confirm", "main")
    assert code == 2, "without a passphrase it cannot be changed"
    assert "--passphrase-file" in answer["remedy"]


def test_a_passphrase_file_that_others_can_read_is_refused(run: Run, tmp_path: Path) -> None:
    words = Path(owned(tmp_path / "words", PASSPHRASE))
    words.chmod(0o644)
    code, answer, _ = run("add", "main", "--store", "encrypted-file", "--passphrase-file", str(words), typed=TWO_LINES)
    assert code == 2
    assert "Others can read" in answer["error"]


@pytest.mark.parametrize(
    "text", [json.dumps({"api_key": PAIR.api_key, "api_secret": PAIR.api_secret}), TWO_LINES, f"\n  {TWO_LINES}\n"]
)
def test_a_key_from_a_file(text: str, run: Run, tmp_path: Path) -> None:
    file = owned(tmp_path / "key", text)
    assert run("add", "main", "--store", "owner-file", "--from-file", file)[0] == 0
    data = DataPaths(tmp_path / "data")
    assert key_input.command_book(data).load("main").pair == PAIR


@pytest.mark.parametrize("text", ["", PAIR.api_key, TWO_LINES + "third\n", '{"api_key": "', '{"api_key": "kkkkkkkkk"}'])
def test_what_is_no_key_is_one_sentence(text: str, run: Run, tmp_path: Path) -> None:
    code, answer, _ = run("add", "main", "--store", "owner-file", typed=text)
    assert code == 2
    assert "No key was given" in answer["error"]


def test_a_key_file_that_others_can_read_is_refused(run: Run, tmp_path: Path) -> None:
    file = Path(owned(tmp_path / "key", TWO_LINES))
    file.chmod(0o644)
    code, answer, _ = run("add", "main", "--store", "owner-file", "--from-file", str(file))
    assert (code, "Others can read" in answer["error"]) == (2, True)
    code, answer, _ = run("add", "main", "--store", "owner-file", "--from-file", str(tmp_path / "none"))
    assert (code, "no file" in answer["error"]) == (2, True)


def test_a_system_without_a_keyring_says_what_to_do_instead(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring.backends.fail

    monkeypatch.setattr("core.secrets.os_keyring._installed_backend", keyring.backends.fail.Keyring)
    code, answer, _ = run("add", "main", typed=TWO_LINES)
    assert code == 2
    assert answer["error"] == "This system has no keyring."
    assert "encrypted file" in answer["remedy"]
    assert run("list")[1]["keys"] == []


def test_a_venue_that_says_nothing_needs_a_typed_word(run: Run) -> None:
    options = ("add", "main", "--venue", "upbit", "--store", "owner-file")
    code, answer, _ = run(*options, typed=TWO_LINES)
    assert code == 2
    assert 'Give --confirm "main CANNOT WITHDRAW"' in answer["remedy"]
    assert run("list")[1]["keys"] == []
    code, shown, _ = run(*options, "--confirm", "main CANNOT WITHDRAW", typed=TWO_LINES)
    assert (code, shown["withdrawals_unchecked"]) == (0, True)
    code, answer, _ = run("check", "main")
    assert code == 2
    assert "cannot trade at upbit" in answer["error"]


def test_a_terminal_is_asked_without_echo(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = [PAIR.api_key, f" {PAIR.api_secret} ", PASSPHRASE, PASSPHRASE]
    asked: list[str] = []

    def getpass(prompt: str) -> str:
        asked.append(prompt)
        return answers.pop(0)

    monkeypatch.setattr(key_input, "_at_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", getpass)
    assert run("add", "main", "--store", "encrypted-file")[0] == 0
    assert len(asked) == 4, "key, secret and a new passphrase twice"
    answers += [PASSPHRASE]
    assert run("remove", "main", typed="main\n")[0] == 0


def test_two_different_new_passphrases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [PASSPHRASE, "another passphrase"]
    monkeypatch.setattr(key_input, "_at_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: answers.pop(0))
    with pytest.raises(UserError, match="differ"):
        key_input.passphrase_asker(None)(True)


def test_the_environment_may_give_the_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.secrets.environment._taken", {"MARU_API_PASSPHRASE": PASSPHRASE})
    assert key_input.passphrase_asker(None)(False) == PASSPHRASE


@pytest.mark.parametrize("extra", [[PAIR.api_secret], [PAIR.api_key, PAIR.api_secret]])
def test_a_key_on_the_command_line_is_refused_and_not_repeated(extra: list[str], run: Run) -> None:
    code, answer, _ = run("add", "main", *extra)  # the fixture looks for secrets in what was said
    assert code == 2
    assert "no key or secret in particular" in answer["error"]


def test_no_keyring_names_the_other_stores(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring.backends.null

    monkeypatch.setattr("core.secrets.os_keyring._installed_backend", keyring.backends.null.Keyring)
    code, answer, _ = run("add", "main", typed=TWO_LINES)
    assert code == 2
    assert "--store owner-file" in answer["remedy"]
