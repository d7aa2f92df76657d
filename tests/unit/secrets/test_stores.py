"""Every store keeps a key, loses it on request, and refuses what would give it away."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keyring.backends.chainer
import keyring.backends.fail
import keyring.backends.null
import keyring.errors
import pytest

from core.errors import UserError
from core.secrets.environment import EnvironmentKeys, seal_environment
from core.secrets.file_stores import EncryptedFileStore, OwnerFileStore
from core.secrets.keys import KeyPair
from core.secrets.os_keyring import KeyringStore, usable_backend
from core.secrets.stores import SecretStore
from tests.unit.secrets.kit import CHEAP, OTHER, PAIR, PASSPHRASE, MemoryKeyring

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")


def keyring_store(backend: Any) -> KeyringStore:
    return KeyringStore(lambda: backend, limit_s=5.0)


MAKERS: dict[str, Callable[[Path], SecretStore]] = {
    "keyring": lambda folder: keyring_store(MemoryKeyring()),
    "encrypted": lambda folder: EncryptedFileStore(folder / "keys" / "e.json", lambda new: PASSPHRASE, CHEAP),
    "owner": lambda folder: OwnerFileStore(folder / "keys" / "o.json"),
}


def encrypted(folder: Path, passphrase: str = PASSPHRASE, n: int = CHEAP) -> EncryptedFileStore:
    return EncryptedFileStore(folder / "e.json", lambda new: passphrase, n)


@pytest.mark.parametrize("name", MAKERS)
def test_a_store_keeps_and_forgets(name: str, tmp_path: Path) -> None:
    store = MAKERS[name](tmp_path)
    assert store.get("a") is None
    store.remove("a")  # not there: no error
    store.put("a", PAIR)
    store.put("b", OTHER)
    assert (store.get("a"), store.get("b")) == (PAIR, OTHER)
    store.put("a", OTHER)
    assert store.get("a") == OTHER
    store.remove("a")
    assert (store.get("a"), store.get("b")) == (None, OTHER)
    store.remove("b")
    assert store.get("b") is None


@pytest.mark.parametrize("name", ["encrypted", "owner"])
def test_a_file_is_its_owners_alone_and_nothing_else_is_left(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path).put("a", PAIR)
    left = [path for path in (tmp_path / "keys").iterdir() if not path.name.endswith(".lock")]
    assert len(left) == 1
    if sys.platform != "win32":
        assert stat.S_IMODE(left[0].stat().st_mode) == 0o600


# --- the plain file -----------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644])
def test_a_file_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    store = OwnerFileStore(tmp_path / "o.json")
    store.put("a", PAIR)
    (tmp_path / "o.json").chmod(mode)
    with pytest.raises(UserError, match="Others can read") as caught:
        store.get("a")
    assert "chmod 600" in caught.value.remedy


@POSIX
def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = OwnerFileStore(tmp_path / "o.json")
    store.put("a", PAIR)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(UserError, match="another user"):
        store.get("a")


@POSIX
def test_a_link_and_a_pipe_are_refused(tmp_path: Path) -> None:
    OwnerFileStore(tmp_path / "real.json").put("a", PAIR)
    (tmp_path / "o.json").symlink_to(tmp_path / "real.json")
    with pytest.raises(UserError, match="is a link"):
        OwnerFileStore(tmp_path / "o.json").get("a")
    os.mkfifo(tmp_path / "p.json", 0o600)
    with pytest.raises(UserError, match="no ordinary file"):  # and does not wait for a writer
        OwnerFileStore(tmp_path / "p.json").get("a")


def test_a_damaged_file_says_so_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text('{"keys": {"a": {"api_key": "public-half-of-a-key-1234"}}}')
    path.chmod(0o600)
    with pytest.raises(UserError, match="damaged") as caught:
        OwnerFileStore(path).get("a")
    assert "public-half" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- the encrypted file -------------------------------------------------------------------------------------------


def test_nothing_readable_stands_in_the_encrypted_file(tmp_path: Path) -> None:
    encrypted(tmp_path).put("binance-main", PAIR)
    text = (tmp_path / "e.json").read_text()
    for secret in (PAIR.api_key, PAIR.api_secret, "binance-main", PASSPHRASE):
        assert secret not in text
    body = json.loads(text)
    assert body["kdf"]["name"] == "scrypt"


def test_every_write_takes_a_new_salt_and_nonce(tmp_path: Path) -> None:
    seen = set()
    for _ in range(3):
        encrypted(tmp_path).put("a", PAIR)
        body = json.loads((tmp_path / "e.json").read_text())
        seen.add((body["kdf"]["salt"], body["cipher"]["nonce"]))
    assert len({salt for salt, _ in seen}) == len({nonce for _, nonce in seen}) == 3


def test_a_wrong_passphrase_reads_and_changes_nothing(tmp_path: Path) -> None:
    encrypted(tmp_path).put("a", PAIR)
    before = (tmp_path / "e.json").read_bytes()
    wrong = encrypted(tmp_path, "something else entirely")
    for attempt in (lambda: wrong.get("a"), lambda: wrong.put("b", OTHER), lambda: wrong.remove("a")):
        with pytest.raises(UserError, match="passphrase is wrong"):
            attempt()
    assert (tmp_path / "e.json").read_bytes() == before


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("sealed", lambda body: body | {"sealed": "AAAA" + body["sealed"][4:]}),
        ("cost", lambda body: body | {"kdf": body["kdf"] | {"n": CHEAP * 2}}),
        ("more", lambda body: body | {"note": "added"}),
    ],
)
def test_a_changed_file_is_noticed(
    part: str, change: Callable[[dict[str, Any]], dict[str, Any]], tmp_path: Path
) -> None:
    encrypted(tmp_path).put("a", PAIR)
    path = tmp_path / "e.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError, match="was changed"):
        encrypted(tmp_path).get("a")


@pytest.mark.parametrize(
    "kdf", [{"n": 2**40}, {"n": 1000}, {"n": 1}, {"r": 1}, {"p": 9}, {"name": "md5"}, {"salt": "AAAA"}, {"n": "x"}]
)
def test_a_file_cannot_choose_a_cheap_or_endless_derivation(kdf: dict[str, Any], tmp_path: Path) -> None:
    encrypted(tmp_path).put("a", PAIR)
    path = tmp_path / "e.json"
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"kdf": body["kdf"] | kdf}))
    with pytest.raises(UserError, match="damaged"):
        encrypted(tmp_path).get("a")


def test_a_short_passphrase_is_refused_for_a_new_file_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 10"):
        encrypted(tmp_path, "short").put("a", PAIR)
    assert not (tmp_path / "e.json").exists()


def test_the_real_cost_works(tmp_path: Path) -> None:
    store = EncryptedFileStore(tmp_path / "e.json", lambda new: PASSPHRASE)
    store.put("a", PAIR)
    assert store.get("a") == PAIR


# --- the keyring --------------------------------------------------------------------------------------------------


class PlaintextKeyring(MemoryKeyring):
    priority = 5.0


class Weak(MemoryKeyring):
    priority = 0.5


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (keyring.backends.fail.Keyring(), "no keyring"),  # type: ignore[no-untyped-call]
        (keyring.backends.null.Keyring(), "no keyring"),  # type: ignore[no-untyped-call]
        (PlaintextKeyring(), "in the clear"),
        (Weak(), "well enough"),
    ],
)
def test_a_keyring_that_protects_nothing_is_refused_before_it_sees_a_key(backend: Any, words: str) -> None:
    store = KeyringStore(lambda: backend, limit_s=5.0)
    for attempt in (lambda: store.put("a", PAIR), lambda: store.get("a"), lambda: store.remove("a")):
        with pytest.raises(UserError, match=words) as caught:
            attempt()
        assert "encrypted file" in caught.value.remedy
    assert not getattr(backend, "kept", {})


def chain(monkeypatch: pytest.MonkeyPatch, *members: Any) -> Any:
    monkeypatch.setattr(keyring.backends.chainer.ChainerBackend, "backends", list(members))
    return keyring.backends.chainer.ChainerBackend()  # type: ignore[no-untyped-call]


def test_a_chain_is_as_good_as_its_best_member_and_never_hands_on(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = MemoryKeyring(), PlaintextKeyring()
    assert usable_backend(chain(monkeypatch, bad, good)) is good
    with pytest.raises(UserError, match="the chain holds none"):
        usable_backend(chain(monkeypatch, bad, keyring.backends.null.Keyring()))  # type: ignore[no-untyped-call]
    with pytest.raises(UserError, match="the chain holds none"):
        usable_backend(chain(monkeypatch))


def test_a_keyring_that_forgets_is_noticed() -> None:
    class Forgetful(MemoryKeyring):
        def set_password(self, service: str, username: str, password: str) -> None:
            pass

    with pytest.raises(UserError, match="did not keep"):
        KeyringStore(Forgetful, limit_s=5.0).put("a", PAIR)


def test_a_locked_keyring_holds_up_nobody_for_ever() -> None:
    unlocked = threading.Event()

    class Locked(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            unlocked.wait(30)
            return None

    store = KeyringStore(Locked, limit_s=0.1)
    try:
        with pytest.raises(UserError, match="did not answer within"):
            store.get("a")
        with pytest.raises(UserError, match="still does not answer"):  # no second thread waits beside the first
            store.get("a")
        assert [thread.name for thread in threading.enumerate()].count("keyring") == 1
    finally:
        unlocked.set()
    assert store._hanging is not None
    store._hanging.join(5)
    assert store.get("a") is None  # once it answers, it is used again


def test_what_the_keyring_raises_is_one_sentence() -> None:
    class Refusing(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            raise keyring.errors.KeyringLocked("Failed to unlock the collection!")

    with pytest.raises(UserError, match="refused: Failed to unlock the collection"):
        KeyringStore(Refusing, limit_s=5.0).get("a")


def test_damaged_content_of_the_keyring_is_not_repeated() -> None:
    backend = MemoryKeyring()
    backend.kept["maru-trader", "a"] = "not-json-but-secret"
    with pytest.raises(UserError, match="damaged") as caught:
        KeyringStore(lambda: backend, limit_s=5.0).get("a")
    assert "not-json" not in repr(caught.value)
    assert caught.value.__cause__ is None


# --- the environment ----------------------------------------------------------------------------------------------


def test_sealing_leaves_nothing_for_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.secrets.environment._taken", {})
    environment = {"MARU_API_KEY_TESTVENUE": "abcdefgh1", "MARU_API_SECRET_TESTVENUE": "s" * 9, "PATH": "/bin"}
    taken = seal_environment(environment)
    assert environment == {"PATH": "/bin"}
    assert taken["MARU_API_KEY_TESTVENUE"] == "abcdefgh1"
    assert seal_environment(environment)["MARU_API_SECRET_TESTVENUE"] == "s" * 9, "it is still known"


def test_keys_of_the_environment() -> None:
    keys = EnvironmentKeys({"MARU_API_KEY_BINANCE": PAIR.api_key, "MARU_API_SECRET_BINANCE": f" {PAIR.api_secret}\n"})
    (record,) = keys.records()
    assert (record.name, record.venue, record.last4) == ("env-binance", "binance", "1234")
    assert keys.get("binance") == PAIR
    assert keys.get("upbit") is None
    with pytest.raises(UserError, match="cannot be stored"):
        keys.put("binance", OTHER)
    with pytest.raises(UserError, match="cannot be removed"):
        keys.remove("binance")


@pytest.mark.parametrize("given", ["MARU_API_KEY_BINANCE", "MARU_API_SECRET_BINANCE"])
def test_half_a_key_is_an_error(given: str) -> None:
    with pytest.raises(UserError, match="half of a key"):
        EnvironmentKeys({given: PAIR.api_key}).records()


def test_no_representation_shows_a_secret() -> None:
    keys = KeyPair("visible-key", "visible-secret")
    assert "visible" not in repr(keys) + str(keys) + f"{keys}"
