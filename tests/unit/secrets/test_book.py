"""The keys of a data folder: one store each, no fallback, and nothing but metadata in the list."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import core.secrets.book as book_module
from core.config import DataPaths
from core.errors import UserError
from core.secrets.book import KeyBook, open_key_book
from core.secrets.keys import KeyPair, PermissionNote, StoreKind
from tests.unit.secrets.kit import OTHER, PAIR, Bench, MemoryKeyring

STORED = [StoreKind.KEYRING, StoreKind.ENCRYPTED_FILE, StoreKind.OWNER_FILE]
NOTE = PermissionNote(True, ("It may be used from any address.",), 5)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("store", STORED)
def test_a_key_comes_back_from_the_store_it_was_given_to(store: StoreKind, bench: Bench) -> None:
    record = bench.book.add("main", "binance", PAIR, store)
    assert bench.hidden[:2] == [PAIR.api_key, PAIR.api_secret], "hidden before anything else happens"
    assert (record.last4, record.store, record.added_ns) == ("1234", store, 7)
    loaded = bench.book.load("main")
    assert (loaded.record, loaded.pair) == (record, PAIR)
    assert PAIR.api_secret not in repr(loaded)
    assert PAIR.api_key not in repr(loaded)
    assert bench.book.remove("main") == record
    assert bench.book.records() == ()
    with pytest.raises(UserError, match="no key named 'main'"):
        bench.book.load("main")
    assert bench.keyring.kept == {}


@pytest.mark.parametrize("store", STORED)
def test_the_list_holds_no_secret(store: StoreKind, bench: Bench) -> None:
    bench.book.add("main", "binance", PAIR, store)
    text = (bench.folder / "keys.json").read_text()
    assert PAIR.api_secret not in text
    assert PAIR.api_key not in text


def test_no_other_store_is_asked_when_the_one_of_a_key_fails(bench: Bench) -> None:
    bench.book.add("main", "binance", PAIR, StoreKind.KEYRING)
    # The same entry in a weaker store must not be found.
    entry = bench.book.record("main").entry
    (bench.folder / "owner.json").write_text(json.dumps({"keys": {entry: {"api_key": "k" * 9, "api_secret": "s" * 9}}}))
    (bench.folder / "owner.json").chmod(0o600)
    bench.keyring.kept.clear()
    with pytest.raises(UserError, match=r"not in its store any more \(keyring\)"):
        bench.book.load("main")


def test_a_store_that_fails_keeps_the_list_clean(bench: Bench) -> None:
    bench.keyring = type("PlaintextKeyring", (MemoryKeyring,), {})()
    with pytest.raises(UserError, match="in the clear"):
        bench.book.add("main", "binance", PAIR, StoreKind.KEYRING)
    assert bench.book.records() == ()
    assert not (bench.folder / "owner.json").exists()


def test_a_list_that_cannot_be_written_takes_the_key_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("The disk is full.")

    monkeypatch.setattr("core.secrets.index.write_owned", fail)
    with pytest.raises(UserError, match="disk is full"):
        bench.book.add("main", "binance", PAIR, StoreKind.KEYRING)
    assert bench.keyring.kept == {}


def test_a_key_whose_store_cannot_forget_it_stays_listed(bench: Bench) -> None:
    bench.book.add("main", "binance", PAIR, StoreKind.ENCRYPTED_FILE)
    bench.passphrase = "not the one it was"
    with pytest.raises(UserError, match="passphrase"):
        bench.book.remove("main")
    assert [record.name for record in bench.book.records()] == ["main"]


def test_a_name_and_a_key_are_there_once(bench: Bench) -> None:
    bench.book.add("main", "binance", PAIR, StoreKind.OWNER_FILE)
    with pytest.raises(UserError, match="named main already"):
        bench.book.add("main", "binance", OTHER, StoreKind.OWNER_FILE)
    with pytest.raises(UserError, match="under the name main"):
        bench.book.add("second", "binance", PAIR, StoreKind.KEYRING)
    assert bench.book.load("main").pair == PAIR


def test_two_folders_do_not_share_an_entry_of_the_keyring(tmp_path: Path) -> None:
    first, second = Bench(tmp_path / "a"), Bench(tmp_path / "b")
    second.keyring = first.keyring
    first.book.add("main", "binance", PAIR, StoreKind.KEYRING)
    second.book.add("main", "binance", OTHER, StoreKind.KEYRING)
    assert first.book.load("main").pair == PAIR
    assert second.book.load("main").pair == OTHER


def test_an_exchanged_secret_is_noticed(bench: Bench) -> None:
    bench.book.add("main", "binance", PAIR, StoreKind.KEYRING)
    ((place, _),) = bench.keyring.kept.items()
    bench.keyring.kept[place] = json.dumps({"api_key": OTHER.api_key, "api_secret": OTHER.api_secret})
    with pytest.raises(UserError, match="another key"):
        bench.book.load("main")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "../x", "a" * 41, "키", "env-binance", "x\n"])
def test_names_that_are_none(name: str, bench: Bench) -> None:
    with pytest.raises(UserError):
        bench.book.add(name, "binance", PAIR, StoreKind.OWNER_FILE)


@pytest.mark.parametrize(
    "pair",
    [
        KeyPair("", "s" * 9),
        KeyPair("k" * 9, ""),
        KeyPair("k k k k k k", "s" * 9),
        KeyPair("k" * 9, "s" * 9 + "\n"),
        KeyPair("k3y", "s" * 9),
        KeyPair("same-text", "same-text"),
    ],
)
def test_pairs_that_are_none(pair: KeyPair, bench: Bench) -> None:
    with pytest.raises(UserError) as caught:
        bench.book.add("main", "binance", pair, StoreKind.OWNER_FILE)
    for half in (pair.api_key, pair.api_secret):
        assert not half or half not in str(caught.value)


def test_a_damaged_list_is_one_sentence(bench: Bench) -> None:
    (bench.folder / "keys.json").write_text('{"format": "other"}')
    (bench.folder / "keys.json").chmod(0o600)
    with pytest.raises(UserError, match="damaged"):
        bench.book.records()


def test_what_the_venue_said_is_kept_with_the_key(bench: Bench) -> None:
    record = bench.book.add("main", "binance", PAIR, StoreKind.OWNER_FILE)
    bench.book.note_permissions(record, NOTE)
    bench.book.confirm_unchecked(record)
    assert bench.book.record("main") == replace(record, permissions=NOTE, withdrawals_unchecked=True)
    stranger = replace(record, fingerprint="another", permissions=None)
    bench.book.note_permissions(stranger, PermissionNote(False, (), 6))
    assert bench.book.record("main").permissions == NOTE, "a note about another key is not this one's"


def test_keys_of_the_environment_are_listed_and_their_notes_hold_for_them_alone(tmp_path: Path) -> None:
    given = {"MARU_API_KEY_UPBIT": PAIR.api_key, "MARU_API_SECRET_UPBIT": PAIR.api_secret}
    bench = Bench(tmp_path, **given)
    record = bench.book.record("env-upbit")
    bench.book.confirm_unchecked(record)
    assert bench.book.record("env-upbit").withdrawals_unchecked
    assert bench.book.load("env-upbit").pair == PAIR
    changed = Bench(tmp_path, **{**given, "MARU_API_KEY_UPBIT": OTHER.api_key})
    assert not changed.book.record("env-upbit").withdrawals_unchecked
    assert Bench(tmp_path).book.records() == (), "without the variables there is no such key"
    with pytest.raises(UserError, match="cannot be removed"):
        bench.book.remove("env-upbit")


def test_the_book_of_a_data_folder_takes_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARU_API_KEY_KRAKEN", PAIR.api_key)
    monkeypatch.setenv("MARU_API_SECRET_KRAKEN", PAIR.api_secret)
    monkeypatch.setattr("core.secrets.environment._taken", {})
    hidden: list[str] = []
    opened: KeyBook = open_key_book(DataPaths(tmp_path), lambda *texts: hidden.extend(texts), lambda new: "")
    assert "MARU_API_KEY_KRAKEN" not in os.environ
    assert PAIR.api_secret in hidden
    assert [record.name for record in opened.records()] == ["env-kraken"]
    assert book_module.StoreKind.KEYRING in opened._stores
