"""Stored models through the window: read on the store's thread, exported, removed and taken in again for real."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton

from app.language import LanguageManager
from app.model_desk import ModelDesk
from app.theme import ThemeManager
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.dialogs.models_dialog import ModelsDialog
from app.workers.store import StoreWorker
from core.config import DataPaths
from core.domain.orders import TradingMode
from core.errors import UserError
from core.events import Notice, Severity
from core.execution.assembly import open_journal
from core.execution.records import StrategyRecord
from core.strategies.spec import StrategySpec
from tests.integration.model_desk_kit import folder_with_a_model, opened, running_desk, running_store
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_packages import small_spec, store_agent

IMPORT_MS = 90_000  # a child starts, loads the network and runs it


@pytest.fixture
def paths(tmp_path: Path, trained: Trained) -> DataPaths:
    return folder_with_a_model(tmp_path / "data", trained)


@pytest.fixture
def store(paths: DataPaths) -> Iterator[StoreWorker]:
    with running_store(paths) as made:
        yield made


@pytest.fixture
def heard() -> list[Notice]:
    return []


@pytest.fixture
def desk(
    paths: DataPaths, store: StoreWorker, theme: ThemeManager, language: LanguageManager, heard: list[Notice]
) -> Iterator[ModelDesk]:
    with running_desk(paths, store, theme, language) as made:
        made.noticed.connect(heard.append)
        made.changed.connect(made.refresh)
        yield made


def remove(dialog: ModelsDialog, qtbot) -> None:
    qtbot.mouseClick(dialog.remove_button, Qt.MouseButton.LeftButton)
    question = dialog.findChild(ConfirmDialog, "remove_model_dialog")
    qtbot.mouseClick(question.findChild(QPushButton, "remove"), Qt.MouseButton.LeftButton)


def test_a_model_is_given_away_removed_and_taken_in_again(
    desk: ModelDesk, paths: DataPaths, trained: Trained, heard: list[Notice], tmp_path: Path, qtbot
) -> None:
    dialog = opened(desk, qtbot)
    model_id = trained.result.model_id
    file = tmp_path / "gift.maru-model"
    desk.export_model(model_id, file)
    qtbot.waitUntil(lambda: bool(heard), timeout=10_000)
    assert heard.pop() == Notice(Severity.SUCCESS, "The model was exported", str(file))
    remove(dialog, qtbot)
    qtbot.waitUntil(lambda: not (paths.models / model_id).exists(), timeout=10_000)
    qtbot.waitUntil(lambda: dialog.table.proxy.rowCount() == 0, timeout=10_000)
    desk.import_model(file)
    assert not dialog.import_button.isEnabled()
    qtbot.waitUntil(lambda: bool(heard), timeout=IMPORT_MS)
    assert heard.pop() == Notice(Severity.SUCCESS, "The model was imported", model_id)
    qtbot.waitUntil(lambda: dialog.import_button.isEnabled(), timeout=10_000)
    qtbot.waitUntil(lambda: dialog.stack.currentWidget() is dialog.card, timeout=10_000)
    assert dialog.card.foreign.isVisibleTo(dialog.card)
    assert "maker's word" in dialog.card.foreign.text()
    (row,) = dialog.table.selected()
    assert row.marks.imported_from == "gift.maru-model"


def test_a_changed_file_is_refused_with_a_reason(
    desk: ModelDesk, paths: DataPaths, trained: Trained, heard: list[Notice], tmp_path: Path, qtbot
) -> None:
    opened(desk, qtbot)
    file = tmp_path / "gift.maru-model"
    desk.export_model(trained.result.model_id, file)
    qtbot.waitUntil(lambda: bool(heard), timeout=10_000)
    heard.clear()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    desk.import_model(file)
    qtbot.waitUntil(lambda: bool(heard), timeout=IMPORT_MS)
    (notice,) = heard
    assert (notice.severity, notice.title) == (Severity.ERROR, "The model was not imported")
    assert "refused" in notice.text
    qtbot.waitUntil(lambda: not desk.workers(), timeout=10_000)


def test_the_model_of_a_strategy_is_not_removed(
    desk: ModelDesk, paths: DataPaths, trained: Trained, heard: list[Notice], qtbot
) -> None:
    journal = open_journal(paths, TradingMode.PRACTICE, "fingerprint")
    spec = StrategySpec("s1", "Calm one", "BTC/USDT", "1h", trained.result.model_id, Decimal(100))
    journal.save_strategy(StrategyRecord(spec))
    dialog = opened(desk, qtbot)
    used = {caption.text(): value.text() for caption, value in dialog.card.overview._labels}["Used by"]
    assert used == "Calm one"
    remove(dialog, qtbot)
    qtbot.waitUntil(lambda: bool(heard), timeout=10_000)
    assert heard[0].title == "The model could not be removed"
    assert "'Calm one' uses model" in heard[0].text
    assert (paths.models / trained.result.model_id).exists()
    journal.close()


def test_a_model_that_cannot_be_shown_on_the_chart_is_told_in_the_window_of_models(
    desk: ModelDesk, trained: Trained, heard: list[Notice], qtbot
) -> None:
    dialog = opened(desk, qtbot)
    asked: list[str] = []
    desk.look_requested.connect(asked.append)
    qtbot.mouseClick(dialog.look_button, Qt.MouseButton.LeftButton)
    assert asked == [trained.result.model_id]
    desk.refuse_look(UserError("The file model.onnx of model x is damaged.", "Train it again."))
    assert dialog.message.text().startswith("The model cannot be shown on the chart. The file model.onnx of model x is")
    assert heard[-1].severity is Severity.ERROR


def test_the_window_closes_while_something_is_read(desk: ModelDesk, qtbot) -> None:
    desk.show()
    desk.close()
    assert desk.dialog is None
    assert opened(desk, qtbot) is desk.dialog


def test_a_closed_window_leaves_nothing_to_the_garbage_collector(desk: ModelDesk, qtbot) -> None:
    """What only the collector frees, after Qt has deleted it, ends the process at times."""
    gone = weakref.ref(opened(desk, qtbot).table)
    gc.disable()
    try:
        desk.close()
        qtbot.waitUntil(lambda: gone() is None, timeout=5_000)
    finally:
        gc.enable()


def test_an_agent_is_read_on_the_stores_thread_and_its_replay_is_passed_on(
    desk: ModelDesk, paths: DataPaths, qtbot
) -> None:
    spec = small_spec()
    agent = store_agent(
        paths.models, replace(spec, environment=replace(spec.environment, lowest=0.0)).validate(), episode=60
    )
    asked: list[tuple[str, str]] = []
    desk.replay_requested.connect(lambda model_id: asked.append(("replay", model_id)))
    desk.strategy_requested.connect(lambda model_id: asked.append(("strategy", model_id)))
    desk.show(agent)
    dialog = desk.dialog
    assert dialog is not None
    qtbot.waitUntil(lambda: dialog.stack.currentWidget() is dialog.agent, timeout=20_000)
    for button in (dialog.replay_button, dialog.use_button):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert asked == [("replay", agent), ("strategy", agent)]
