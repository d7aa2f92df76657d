"""API keys in the real window: entered unseen, kept in the encrypted file, listed without the key, removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from app.bootstrap import Application
from app.ui.dialogs.add_key_dialog import AddKeyDialog
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.dialogs.keys_dialog import KeysDialog
from tests.e2e.conftest import shoot
from tests.e2e.person import Person
from tests.qt.conftest import _nothing_left_behind, _quick_collections  # noqa: F401 - the leak fixtures
from tests.unit.secrets.kit import PAIR, PASSPHRASE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_key_comes_and_goes(person: Person, qtbot: QtBot, application: Application, qapp: QApplication) -> None:
    person.menu("Settings", "action_keys")
    keys = person.see(KeysDialog, "keys_dialog")
    details = person.see(QLabel, "key_details", keys)
    person.wait(lambda: "no key yet" in details.text(), 10, "the empty list is read")
    person.wait(person.see(QAbstractButton, "keys_add", keys).isEnabled, 5, "a key can be added")
    person.press(QAbstractButton, "keys_add", keys)
    form = person.see(AddKeyDialog, "add_key_dialog")
    person.write(QLineEdit, "key_name", "main", form)
    person.write(QLineEdit, "api_key", PAIR.api_key, form)
    person.write(QLineEdit, "api_secret", PAIR.api_secret, form)
    person.see(QComboBox, "key_store", form).setCurrentIndex(1)
    person.write(QLineEdit, "key_passphrase", PASSPHRASE, form)
    person.write(QLineEdit, "key_passphrase_again", PASSPHRASE, form)
    shoot(person, "add_key", form)
    person.press(QAbstractButton, "key_add", form)
    state = person.see(QLabel, "keys_state", keys)
    person.wait(lambda: state.text() == "The key main was stored.", 20, "the key is stored")
    assert [row["Kept in"] for row in person.rows("keys_table")] == ["File encrypted by a passphrase"]
    shoot(person, "keys", keys)
    for secret in (PAIR.api_key, PAIR.api_secret, PASSPHRASE):
        assert files_with(application.paths.root, secret) == []

    person.write(QLineEdit, "keys_passphrase", PASSPHRASE, keys)
    person.press(QAbstractButton, "keys_remove", keys)
    question = person.see(ConfirmDialog, "remove_key_dialog")
    person.press(QAbstractButton, "remove", question)
    person.wait(lambda: person.rows("keys_table") == [], 20, "the key is gone")
    person.press(QAbstractButton, "keys_close", keys)

    application.lifecycle.quit()
    assert qapp.exec() == 0
    QCoreApplication.processEvents()
