"""The keys of the window as a state machine: what is missing, what is going on, what is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.flows.keys_flow import KeyForm, KeysFlow, key_ending, permission_details, permission_text, store_title
from app.i18n import Language, set_language
from core.errors import UserError
from core.secrets.keys import KeyRecord, PermissionNote, StoreKind

RECORD = KeyRecord("main", "binance", "1234", "f", StoreKind.KEYRING, "e", 1)
ENCRYPTED = replace(RECORD, name="safe", store=StoreKind.ENCRYPTED_FILE)
FORM = KeyForm("second", "binance", "k" * 20, "s" * 20, StoreKind.KEYRING)
WARNING = "The venue takes this key from any address. Restrict it to the address of this machine."


def flow(*records: KeyRecord) -> KeysFlow:
    made = KeysFlow(["binance"])
    made.listed(records)
    return made


def test_a_complete_form_becomes_a_draft() -> None:
    draft = flow(RECORD).draft(FORM)
    assert draft is not None
    assert (draft.name, draft.venue, draft.store, draft.withdrawals_unchecked) == (
        "second",
        "binance",
        FORM.store,
        False,
    )
    assert draft.pair.api_secret == "s" * 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "no name for a key"),
        ({"name": "main"}, "of this name already"),
        ({"name": "env-x"}, "belong to keys of the environment"),
        ({"api_key": ""}, "missing"),
        ({"api_secret": "with a space in it"}, "holds a space"),
        ({"api_secret": "k" * 20}, "are the same"),
        ({"store": StoreKind.ENCRYPTED_FILE}, "Enter the passphrase"),
        ({"store": StoreKind.ENCRYPTED_FILE, "passphrase": "short", "repeated": "short"}, "at least 10"),
        ({"store": StoreKind.ENCRYPTED_FILE, "passphrase": "long enough one"}, "differ"),
        ({"venue": "upbit"}, "second CANNOT WITHDRAW"),
        ({"venue": "upbit", "typed": "yes"}, "second CANNOT WITHDRAW"),
    ],
)
def test_what_is_missing_or_wrong(changes: dict[str, object], words: str) -> None:
    form = replace(FORM, **changes)  # type: ignore[arg-type]
    assert words in flow(RECORD).complaint(form)
    assert flow(RECORD).draft(form) is None


def test_a_passphrase_is_chosen_once_and_then_only_given() -> None:
    form = replace(FORM, store=StoreKind.ENCRYPTED_FILE, passphrase="old", repeated="")
    assert flow(RECORD).chooses_passphrase(StoreKind.ENCRYPTED_FILE)
    assert not flow(ENCRYPTED).chooses_passphrase(StoreKind.ENCRYPTED_FILE)
    draft = flow(ENCRYPTED).draft(form)
    assert draft is not None
    assert draft.passphrase == "old"
    assert flow(RECORD).draft(replace(FORM, passphrase="left over")).passphrase == ""  # type: ignore[union-attr]


def test_a_venue_that_says_nothing_takes_the_typed_word() -> None:
    draft = flow().draft(replace(FORM, venue="upbit", typed=" second CANNOT WITHDRAW "))
    assert draft is not None
    assert draft.withdrawals_unchecked


def test_one_thing_at_a_time() -> None:
    made = flow(RECORD)
    assert made.begin("Testing…")
    assert not made.begin("Removing…")
    assert made.busy == "Testing…"
    made.failed(UserError("The keyring still does not answer.", "Unlock it."))
    assert (made.busy, made.is_trouble) == ("", True)
    assert made.told == "The keyring still does not answer. Unlock it."
    assert made.begin("Again…")
    assert (made.told, made.is_trouble) == ("", False)
    made.ended("Done.")
    assert (made.told, made.is_trouble) == ("Done.", False)


def test_what_is_shown_of_a_key() -> None:
    assert key_ending(RECORD) == "…1234"
    assert store_title(StoreKind.KEYRING) == "Keyring of this system"
    assert permission_text(RECORD) == "Not asked yet"
    allowed = replace(RECORD, permissions=PermissionNote(True, (WARNING,), 0))
    assert permission_text(allowed) == "Reads and trades, cannot withdraw"
    assert WARNING in permission_details(allowed)
    refused = replace(RECORD, permissions=PermissionNote(False, ("this key can withdraw money", "Make another."), 0))
    assert permission_text(refused) == "Refused: this key can withdraw money"
    assert permission_details(refused).splitlines()[:2] == ["Refused: this key can withdraw money", "Make another."]
    confirmed = replace(allowed, withdrawals_unchecked=True)
    assert permission_text(confirmed) == "Confirmed by you", "nobody claims what was not checked"


def test_in_korean() -> None:
    set_language(Language.KOREAN)
    refused = replace(RECORD, permissions=PermissionNote(False, ("this key can withdraw money",), 0))
    assert permission_text(refused) == "거부: 출금할 수 있는 키"


def test_no_representation_shows_what_was_entered() -> None:
    form = replace(FORM, passphrase="p" * 20, repeated="p" * 20)
    draft = flow(ENCRYPTED).draft(replace(form, store=StoreKind.ENCRYPTED_FILE))
    for secret in ("k" * 20, "s" * 20, "p" * 20):
        assert secret not in repr(form) + repr(draft)
