"""The API keys in the window: what is shown, what is masked, what is asked for; and the worker behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject, Qt, Slot
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton
from pytestqt.qtbot import QtBot

from app.models.keys_model import KeyAnswer, KeysModel
from app.ui.actions import ActionId
from app.ui.dialogs.add_key_dialog import AddKeyDialog
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.dialogs.keys_dialog import KeysDialog
from app.workers.keys import KeysWorker
from core.errors import UserError
from core.secrets.keys import LoadedKey, PermissionNote, StoreKind
from tests.qt.window_kit import Recorder, WindowKit
from tests.unit.secrets.kit import OTHER, PAIR, PASSPHRASE, Bench

LIMIT = 10_000
ALLOWED = PermissionNote(True, (), 7)


class Rig:
    """Dialog, model and worker over a real book; the venue is made up."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.asked: list[str] = []
        self.answer: PermissionNote | UserError = ALLOWED
        self.threads: list[threading.Thread] = []
        self.worker = KeysWorker(self._open, self._ask)
        self.model = KeysModel(self.worker, ("binance", "upbit"), ("binance",))
        self.worker.listed.connect(self.model.on_listed)
        self.worker.answered.connect(self.model.on_answered)
        self.worker.start()

    def _open(self, ask: Callable[[bool], str]) -> Any:
        self.threads.append(threading.current_thread())
        self.bench.passphrase = ask(False)
        return self.bench.book

    async def _ask(self, key: LoadedKey) -> PermissionNote:
        self.asked.append(key.pair.api_key)
        if isinstance(self.answer, UserError):
            raise self.answer
        return self.answer


@pytest.fixture
def rig(qapp: QApplication, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(Bench(tmp_path))
    yield made
    assert made.worker.stop(10)


@pytest.fixture
def dialog(rig: Rig, qtbot: QtBot) -> KeysDialog:
    made = KeysDialog(rig.model)
    qtbot.addWidget(made)
    made.show()
    settled(qtbot, rig)
    return made


def settled(qtbot: QtBot, rig: Rig) -> None:
    qtbot.waitUntil(lambda: rig.model.flow.busy == "" and rig.model.flow.records is not None, timeout=LIMIT)


def cells(dialog: KeysDialog) -> list[list[str]]:
    table = dialog.table
    return [[table.item(row, column).text() for column in range(5)] for row in range(table.rowCount())]


def enter(dialog: KeysDialog, name: str, store: StoreKind = StoreKind.KEYRING, passphrase: str = "") -> AddKeyDialog:
    dialog.add.click()
    form = dialog.findChild(AddKeyDialog)
    assert form is not None
    form.name.setText(name)
    form.api_key.setText(PAIR.api_key)
    form.api_secret.setText(f" {PAIR.api_secret}\n")
    form.store.setCurrentIndex(form.store.findData(store))
    form.passphrase.setText(passphrase)
    form.repeated.setText(passphrase)
    return form


def all_texts(dialog: KeysDialog) -> str:
    shown = [label.text() for label in dialog.findChildren(QLabel)]
    return "\n".join([*shown, *(text for row in cells(dialog) for text in row), dialog.windowTitle()])


def test_a_key_is_added_tested_and_removed(dialog: KeysDialog, rig: Rig, qtbot: QtBot) -> None:
    assert "no key yet" in dialog.details.text()
    form = enter(dialog, "main")
    assert form.add.isEnabled()
    form.add.click()
    settled(qtbot, rig)
    assert cells(dialog) == [["main", "binance", "…1234", "Keyring of this system", "Not asked yet"]]
    assert dialog.state.text() == "The key main was stored."
    assert rig.bench.book.load("main").pair == PAIR
    dialog.test.click()
    settled(qtbot, rig)
    assert rig.asked == [PAIR.api_key]
    assert cells(dialog)[0][4] == "Reads and trades, cannot withdraw"
    assert PAIR.api_key not in all_texts(dialog)
    assert PAIR.api_secret not in all_texts(dialog)
    dialog.remove.click()
    question = dialog.findChild(ConfirmDialog)
    assert question is not None
    question.findChild(QObject, "remove").click()  # type: ignore[attr-defined]
    settled(qtbot, rig)
    assert cells(dialog) == []
    assert rig.bench.keyring.kept == {}


def test_removing_needs_an_answer(dialog: KeysDialog, rig: Rig, qtbot: QtBot) -> None:
    enter(dialog, "main").add.click()
    settled(qtbot, rig)
    dialog.remove.click()
    question = dialog.findChild(ConfirmDialog)
    assert question is not None
    qtbot.keyClick(question, Qt.Key.Key_Return)  # the safe button
    assert [record.name for record in rig.bench.book.records()] == ["main"]


def test_the_key_that_was_asked_about_is_removed(dialog: KeysDialog, rig: Rig, qtbot: QtBot) -> None:
    enter(dialog, "main").add.click()
    settled(qtbot, rig)
    rig.bench.book.add("other", "binance", OTHER, StoreKind.KEYRING)
    rig.model.refresh()
    settled(qtbot, rig)
    names = [row[0] for row in cells(dialog)]
    dialog.table.selectRow(names.index("main"))
    dialog.remove.click()
    question = dialog.findChild(ConfirmDialog)
    assert question is not None
    dialog.table.selectRow(names.index("other"))  # while the question stands
    question.findChild(QPushButton, "remove").click()
    settled(qtbot, rig)
    assert [row[0] for row in cells(dialog)] == ["other"]


def test_no_store_is_called_on_the_windows_thread(dialog: KeysDialog, rig: Rig, qtbot: QtBot) -> None:
    enter(dialog, "main").add.click()
    settled(qtbot, rig)
    assert len(rig.threads) >= 2
    assert threading.main_thread() not in rig.threads


def test_everything_secret_is_masked_and_gone_with_the_form(dialog: KeysDialog, qtbot: QtBot) -> None:
    form = enter(dialog, "main", StoreKind.ENCRYPTED_FILE, PASSPHRASE)
    secret = (form.api_key, form.api_secret, form.passphrase, form.repeated, dialog.passphrase)
    assert {field.echoMode() for field in secret} == {QLineEdit.EchoMode.Password}
    form.reject()
    assert "".join(field.text() for field in secret) == ""


def test_the_encrypted_file_asks_for_its_passphrase(dialog: KeysDialog, rig: Rig, qtbot: QtBot) -> None:
    form = enter(dialog, "safe", StoreKind.ENCRYPTED_FILE, "short")
    assert form.passphrase.isVisible()
    assert form.repeated.isVisible()
    assert "at least 10" in form.problem.text()
    assert not form.add.isEnabled()
    form.passphrase.setText(PASSPHRASE)
    form.repeated.setText(PASSPHRASE)
    form.add.click()
    settled(qtbot, rig)
    assert not dialog.test.isEnabled(), "its passphrase is missing"
    assert dialog.passphrase.isVisible()
    dialog.passphrase.setText("a wrong one")
    dialog.test.click()
    settled(qtbot, rig)
    assert "passphrase is wrong" in dialog.state.text()
    assert dialog.passphrase.text() == "", "it does not stay in the window"
    dialog.passphrase.setText(PASSPHRASE)
    dialog.test.click()
    settled(qtbot, rig)
    assert rig.asked == [PAIR.api_key]


def test_a_venue_that_says_nothing_wants_a_typed_word(dialog: KeysDialog, rig: Rig, qtbot: QtBot) -> None:
    form = enter(dialog, "main")
    assert not form.word.isVisible()
    form.venue.setCurrentText("upbit")
    assert form.word.isVisible()
    assert not form.add.isEnabled()
    form.word.setText("main CANNOT WITHDRAW")
    form.add.click()
    settled(qtbot, rig)
    assert rig.bench.book.record("main").withdrawals_unchecked


def test_what_the_venue_refuses_is_said(dialog: KeysDialog, rig: Rig, qtbot: QtBot) -> None:
    enter(dialog, "main").add.click()
    settled(qtbot, rig)
    rig.answer = PermissionNote(False, ("this key can withdraw money", "Make a key that may only read and trade."), 7)
    dialog.test.click()
    settled(qtbot, rig)
    assert cells(dialog)[0][4] == "Refused: this key can withdraw money"
    assert "Make a key" in dialog.details.text()
    rig.answer = UserError("binance cannot be used: no connection.", "Check it.")
    dialog.test.click()
    settled(qtbot, rig)
    assert dialog.state.text() == "binance cannot be used: no connection. Check it."


def test_a_store_that_fails_is_said_and_nothing_is_listed(dialog: KeysDialog, rig: Rig, qtbot: QtBot) -> None:
    rig.bench.keyring = type("PlaintextKeyring", (), {"priority": 5.0})()
    enter(dialog, "main").add.click()
    settled(qtbot, rig)
    assert "in the clear" in dialog.state.text()
    assert cells(dialog) == []


def test_the_environments_key_cannot_be_removed(qapp: QApplication, qtbot: QtBot, tmp_path: Path) -> None:
    given = {"MARU_API_KEY_BINANCE": OTHER.api_key, "MARU_API_SECRET_BINANCE": OTHER.api_secret}
    rig = Rig(Bench(tmp_path, **given))
    dialog = KeysDialog(rig.model)
    qtbot.addWidget(dialog)
    settled(qtbot, rig)
    assert cells(dialog)[0][:4] == ["env-binance", "binance", "…5678", "Environment of the program"]
    assert dialog.test.isEnabled()
    assert not dialog.remove.isEnabled()
    assert rig.worker.stop(10)


def test_a_keyring_that_hangs_does_not_hold_up_the_end(qapp: QApplication, qtbot: QtBot) -> None:
    hanging = threading.Event()

    def open_book(ask: Any) -> Any:
        hanging.wait(30)
        raise UserError("too late")

    worker = KeysWorker(open_book, lambda key: None)  # type: ignore[arg-type, return-value]
    worker.start()
    worker.list_keys()
    qtbot.waitUntil(lambda: any(thread.name == "key-store" for thread in threading.enumerate()), timeout=LIMIT)
    assert worker.stop(5)
    hanging.set()
    for thread in threading.enumerate():
        if thread.name == "key-store":
            thread.join(5)


def test_a_command_after_the_end_is_answered(qapp: QApplication, qtbot: QtBot, tmp_path: Path) -> None:
    class Ear(QObject):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[KeyAnswer] = []

        @Slot(object)
        def hear(self, answer: KeyAnswer) -> None:
            self.heard.append(answer)

    rig, ear = Rig(Bench(tmp_path)), Ear()
    assert rig.worker.stop(10)
    rig.worker.answered.connect(ear.hear)
    rig.worker.check_key("main", "")
    assert [str(answer.error) for answer in ear.heard] == ["The program is closing."]


def test_the_menu_opens_the_list_once(qapp: QApplication, qtbot: QtBot, tmp_path: Path) -> None:
    commands = Recorder()
    kit = WindowKit(qapp, tmp_path, keys=KeysModel(commands, ("binance",), ("binance",)))  # type: ignore[arg-type]
    kit.window.show()
    for _ in range(2):
        kit.window.actions_[ActionId.KEYS].trigger()
    assert len(kit.window.findChildren(KeysDialog)) == 1
    assert commands.named("list_keys") == [()]
    kit.window.findChild(KeysDialog).close()
    kit.close()
    without = WindowKit(qapp, tmp_path)
    assert not without.window.actions_[ActionId.KEYS].isEnabled()
    without.close()
