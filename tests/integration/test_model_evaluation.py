"""A stored model judged on newer bars through the window: a real child, a record on the disk, a card that shows it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.i18n import tr
from app.language import LanguageManager
from app.model_desk import ModelDesk
from app.theme import ThemeManager
from app.ui.dialogs.models_dialog import ModelsDialog
from app.workers.model_evaluation import ModelEvaluationWorker
from app.workers.store import StoreWorker
from core.clock import SystemClock
from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE
from core.errors import UserError
from core.events import Notice, Severity
from ml.evaluation_records import EVALUATIONS_FOLDER, SavedEvaluation, saved_evaluations
from ml.trial_ledger import TrialLedger
from tests.integration.model_desk_kit import NOW_NS, folder_with_a_model, opened, running_desk, running_store
from tests.trained_model import Trained
from tests.unit.ml.test_evaluate import longer

JUDGED_MS = 60_000


@pytest.fixture
def paths(tmp_path: Path, trained: Trained) -> DataPaths:
    made = folder_with_a_model(tmp_path / "data", trained)
    CandleStore(made.candles).write(BINANCE, longer(trained, 400), "import")
    return made


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
        yield made


def evaluations_of(desk: ModelDesk, qtbot: QtBot) -> ModelsDialog:
    dialog = opened(desk, qtbot)
    dialog.card.pages.setCurrentWidget(dialog.card.evaluations)
    return dialog


def children() -> list[psutil.Process]:
    """Return the job children of this process that are alive; the resource tracker of multiprocessing is none."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if any("spawn_main" in part for part in child.cmdline())]


def test_newer_bars_are_judged_kept_and_shown(
    desk: ModelDesk, paths: DataPaths, trained: Trained, heard: list[Notice], qtbot
) -> None:
    dialog = evaluations_of(desk, qtbot)
    page, model_id = dialog.card.evaluations, trained.result.model_id
    seen: list[str] = []
    qtbot.mouseClick(page.judge, Qt.MouseButton.LeftButton)
    assert not page.judge.isEnabled()
    desk.judge_model(model_id)  # asked for again: there is one child all the same
    assert len(desk.workers()) == desk.judging == 1

    def done() -> bool:
        if page.status.text() not in seen:
            seen.append(page.status.text())
        return desk.judging == 0

    qtbot.waitUntil(done, timeout=JUDGED_MS)
    assert any(" left" in text for text in seen), seen
    (saved,) = saved_evaluations(paths.models, model_id)
    assert isinstance(saved, SavedEvaluation)
    assert (saved.created_ns, saved.result.judged) == (NOW_NS, 399)
    assert saved.result.first_ns == int(trained.frame.time_ns[-1]) + Timeframe.H1.ns
    (notice,) = heard
    severity = Severity.SUCCESS if saved.result.metrics.edge else Severity.INFO
    assert (notice.severity, notice.title) == (severity, "The model was judged on newer bars")
    assert notice.text.startswith(saved.result.metrics.verdict)  # the whole of it
    qtbot.waitUntil(lambda: "399" in page.accuracy.texts(), timeout=10_000)
    assert page.judge.isEnabled()
    assert saved.result.metrics.verdict in page._shown[1].verdict.text()
    assert TrialLedger(paths.trials).count() == 1
    assert children() == []


def test_a_cancelled_evaluation_leaves_nothing(
    desk: ModelDesk, paths: DataPaths, trained: Trained, heard: list[Notice], qtbot
) -> None:
    dialog = evaluations_of(desk, qtbot)
    page, model_id = dialog.card.evaluations, trained.result.model_id
    qtbot.mouseClick(page.judge, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(children()) == 1, timeout=20_000)
    began = time.monotonic()
    qtbot.mouseClick(page.cancel, Qt.MouseButton.LeftButton)
    assert page.status.text() == "Cancelling …"
    qtbot.waitUntil(lambda: desk.judging == 0, timeout=20_000)
    assert time.monotonic() - began < 5.0
    assert children() == []
    assert page.judge.isEnabled()
    assert heard == []
    assert saved_evaluations(paths.models, model_id) == ()
    assert not (paths.models / EVALUATIONS_FOLDER).exists()
    assert not paths.trials.exists() or TrialLedger(paths.trials).count() == 0


def test_no_newer_bars_are_said_at_the_button_and_it_can_be_tried_again(
    desk: ModelDesk, paths: DataPaths, trained: Trained, heard: list[Notice], qtbot
) -> None:
    shutil.rmtree(paths.candles)
    CandleStore(paths.candles).write(BINANCE, trained.frame, "import")
    dialog = evaluations_of(desk, qtbot)
    page = dialog.card.evaluations
    qtbot.mouseClick(page.judge, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: desk.judging == 0, timeout=20_000)
    assert page.problem.text().startswith("No stored bar of BTC/USDT 1h is newer than ")
    assert "Import newer ones with `data import`" in page.problem.text()
    (notice,) = heard
    assert (notice.severity, notice.title) == (Severity.ERROR, "The model was not judged")
    desk.close()  # the reason is still there when the window comes back
    page = evaluations_of(desk, qtbot).card.evaluations
    assert page.problem.isVisibleTo(page)
    CandleStore(paths.candles).write(BINANCE, longer(trained, 100), "import")
    qtbot.mouseClick(page.judge, Qt.MouseButton.LeftButton)
    assert page.problem.isHidden()
    qtbot.waitUntil(lambda: desk.judging == 0, timeout=JUDGED_MS)
    assert page.problem.isHidden()
    assert heard[-1].severity is Severity.SUCCESS


def test_a_window_opened_later_shows_what_is_under_way(desk: ModelDesk, trained: Trained, qtbot) -> None:
    desk.judge_model(trained.result.model_id)  # without any window
    page = evaluations_of(desk, qtbot).card.evaluations
    assert not page.judge.isEnabled()
    assert page.cancel.isVisibleTo(page)


def test_a_model_being_judged_is_not_removed(
    desk: ModelDesk, paths: DataPaths, trained: Trained, heard: list[Notice], qtbot
) -> None:
    evaluations_of(desk, qtbot)
    desk.judge_model(trained.result.model_id)
    desk.remove_model(trained.result.model_id)
    (notice,) = heard
    assert (notice.title, notice.text) == (
        tr("The model could not be removed"),
        tr("It is being judged; cancel that first."),
    )
    assert (paths.models / trained.result.model_id).exists()


def test_stopping_the_worker_ends_its_child(paths: DataPaths, store: StoreWorker, trained: Trained, qtbot) -> None:
    worker = ModelEvaluationWorker(paths, trained.result.model_id, store, SystemClock())
    worker.start()
    qtbot.waitUntil(lambda: len(children()) == 1, timeout=20_000)
    (child,) = children()
    assert worker.stop(5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert saved_evaluations(paths.models, trained.result.model_id) == ()


def test_a_child_that_dies_is_an_error_in_words(paths: DataPaths, store: StoreWorker, trained: Trained, qtbot) -> None:
    worker = ModelEvaluationWorker(paths, trained.result.model_id, store, SystemClock())
    failures: list[Exception] = []
    worker.failed.connect(failures.append)
    worker.start()
    qtbot.waitUntil(lambda: len(children()) == 1, timeout=20_000)
    children()[0].kill()
    qtbot.waitUntil(lambda: bool(failures), timeout=10_000)
    assert isinstance(failures[0], UserError)
    assert "ended from outside (SIGKILL)" in failures[0].message
    assert failures[0].remedy == "Close other programs, which may need the memory, and judge it again."
    assert worker.join(5)


def test_a_full_disk_is_said(desk: ModelDesk, paths: DataPaths, trained: Trained, heard: list[Notice], qtbot) -> None:
    (paths.models / EVALUATIONS_FOLDER).write_text("")  # no folder can be made there
    page = evaluations_of(desk, qtbot).card.evaluations
    assert not page.damaged.isHidden()
    qtbot.mouseClick(page.judge, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: desk.judging == 0, timeout=JUDGED_MS)
    assert "cannot be written" in page.problem.text()
    assert heard[-1].title == "The model was not judged"
