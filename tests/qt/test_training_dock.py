"""The training panel: runs, curve, result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QPushButton

from app import i18n
from app.theme import ThemeChoice, ThemeManager, UpDown
from app.ui.docks.training_dock import TrainingDock
from app.ui.docks.training_runs import RunState, TrainingRun
from core.clock import NS_PER_S, from_datetime
from core.domain.data_origin import BINANCE, DataOrigin, practice_origin
from ml.api import DataRange, EpochRecord, ForecastMetrics, PointMetrics, TrainingProgress, TrainingResult

BEGUN = from_datetime(datetime.now().astimezone().replace(hour=12, minute=30, second=5, microsecond=0))
PRACTICE = practice_origin("synthetic-1")


class Trainer:
    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.resumed: list[str] = []

    def start_training(self, spec: dict[str, Any]) -> str:
        raise AssertionError("the panel starts runs through the wizard only")

    def cancel_training(self, run_id: str) -> None:
        self.cancelled.append(run_id)

    def resume_training(self, run_id: str) -> None:
        self.resumed.append(run_id)


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


@pytest.fixture
def dock(qapp: QApplication, trainer: Trainer) -> Iterator[TrainingDock]:
    theme = ThemeManager(qapp)
    theme.set_theme(ThemeChoice.DARK, UpDown.WESTERN)
    panel = TrainingDock(trainer, theme)
    panel.resize(400, 600)
    panel.show()
    qapp.processEvents()
    yield panel
    panel.close()
    panel.deleteLater()
    qapp.setStyleSheet("")


def progress(epoch: int, run_id: str = "r1", phase: str = "training", **values: Any) -> TrainingProgress:
    defaults: dict[str, Any] = {"train_loss": 1.0 / epoch, "valid_loss": 1.2 / epoch} if epoch else {}
    return TrainingProgress(
        run_id,
        phase,
        epoch,
        10,
        best_epoch=epoch,
        eta_s=42.0,
        device="CPU",
        targets_per_s=150_000.0,
        **defaults | values,
    )


def result(run_id: str = "r1", *, edge: bool = False) -> TrainingResult:
    def point(name: str, skill: float) -> PointMetrics:
        return PointMetrics(name, 0.00412, 0.006, skill, 0.0015, hit_rate=None if name == "persistence" else 0.512)

    metrics = ForecastMetrics(
        8_000,
        8_000,
        point("model", 0.003),
        (point("persistence", 0.0), point("ridge", 0.001)),
        0.1,
        0.11,
        0.893,
        0.9,
        0.21,
        edge,
        0.001,
        0.006,
        "No evidence of an edge over persistence.",
    )
    epochs = tuple(EpochRecord(n, 1.0 / n, 1.2 / n, 2.0) for n in range(1, 8))
    return TrainingResult(run_id, "abc", "BTC/USDT", "1h", 7, 5, True, 31.2, 150_000.0, "CPU", epochs, metrics)


def queue(
    dock: TrainingDock, run_id: str, symbol: str, timeframe: str, *, origin: DataOrigin = BINANCE, later_s: int = 0
) -> None:
    dock.on_run_queued(run_id, DataRange(origin, symbol, timeframe), BEGUN + later_s * NS_PER_S)


def rows(dock: TrainingDock) -> list[str]:
    return [dock._list.item(row).text() for row in range(dock._list.count())]


def button(dock: TrainingDock, name: str) -> QPushButton:
    return dock.findChild(QPushButton, name)


def test_empty_panel_leads_to_the_wizard(dock: TrainingDock, qtbot) -> None:
    assert dock._stack.currentWidget() is dock.empty
    with qtbot.waitSignal(dock.wizard_requested):
        qtbot.mouseClick(dock.empty.button, Qt.MouseButton.LeftButton)


def test_progress_draws_both_curves_and_the_figures(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    assert dock._headline(dock.runs[0]) == "Starting the trainer …"
    dock.on_progress(progress(0, phase="loading"))
    assert dock._phase.text() == "Reading bars"
    assert dock._bar.maximum() == 0  # busy, no share yet
    for epoch in range(1, 5):
        dock.on_progress(progress(epoch))
    assert [c.x for c in dock._plot._curves] == [(1.0, 2.0, 3.0, 4.0)] * 2
    assert dock._plot._mark == 4
    assert dock._figures[0].text() == "4 / 10"
    assert dock._figures[1].text() == "42 s"
    assert dock._bar.value() == 400
    assert dock._list.item(0).text() == f"BTC/USDT 1h · {i18n.format_minute(BEGUN)} · epoch 4 of 10"
    assert "validation" in dock._plot.accessibleDescription()


def test_result_shows_the_model_beside_persistence_and_the_verdict(dock: TrainingDock, qtbot) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_result(result())
    assert dock._note.text() == "No evidence of an edge over persistence."
    assert dock._note.property("role") == "warning"
    texts = dock._metrics.texts()
    assert {"This model", "Persistence", "Linear", "+0.30\u00a0%", "51.2\u00a0%"} <= set(texts)
    assert len(dock._plot._curves[0].x) == 7
    assert not button(dock, "training_cancel").isVisible()
    with qtbot.waitSignal(dock.strategy_requested) as signal:
        qtbot.mouseClick(button(dock, "training_use"), Qt.MouseButton.LeftButton)
    assert signal.args == ["abc"]
    dock.on_result(result(edge=True))
    assert dock._note.property("role") == "success"
    assert len(dock._metrics.texts()) == 20


def test_cancel_asks_once_and_late_progress_does_not_revive(dock: TrainingDock, trainer: Trainer, qtbot) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_progress(progress(2))
    qtbot.mouseClick(button(dock, "training_cancel"), Qt.MouseButton.LeftButton)
    assert trainer.cancelled == ["r1"]
    assert not button(dock, "training_cancel").isEnabled()
    dock.on_progress(progress(3))
    assert dock.runs[0].state is RunState.CANCELLING
    dock.on_cancelled("r1", resumable=True)
    dock.on_progress(progress(4))
    assert dock.runs[0].state is RunState.CANCELLED
    assert dock._phase.text() == "Cancelled"
    assert not button(dock, "training_cancel").isVisible()


def test_failure_says_what_helps(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_failed("r1", "There are only 240 bars.", "Fetch more history.")
    assert dock._note.text() == "There are only 240 bars. Fetch more history."
    assert dock._note.property("role") == "danger"
    assert dock._list.item(0).text().endswith("failed")


def test_several_runs_are_listed_and_can_be_chosen(dock: TrainingDock) -> None:
    dock.on_progress(progress(1, "r1"))
    queue(dock, "r2", "ETH/USDT", "4h")
    assert dock._list.currentRow() == 1
    dock.on_progress(progress(3, "r1"))
    assert dock._figures[0].text() == i18n.MISSING  # r2 is shown
    dock._list.setCurrentRow(0)
    assert dock._figures[0].text() == "3 / 10"
    dock.on_progress(progress(4, "r1"))
    assert dock._list.currentRow() == 0
    assert dock._figures[0].text() == "4 / 10"


def test_a_removed_run_leaves_the_list(dock: TrainingDock) -> None:
    queue(dock, "download", "BTC/USDT", "1h")
    queue(dock, "r2", "ETH/USDT", "4h")
    dock.remove_run("download")
    assert [dock._list.item(row).text() for row in range(dock._list.count())] == [
        f"ETH/USDT 4h · {i18n.format_minute(BEGUN)} · waiting"
    ]
    assert dock._list.currentRow() == 0
    dock.on_progress(progress(2, "r2"))
    assert dock._figures[0].text() == "2 / 10"
    dock.remove_run("r2")
    assert dock._list.count() == 0
    assert dock._stack.currentWidget() is dock.empty


def test_a_run_that_failed_before_its_first_epoch_shows_no_empty_plot(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    assert dock._plot.isVisible()
    dock.on_failed("r1", "There are only 240 bars.", "Fetch more history.")
    assert not dock._plot.isVisible()


def test_earlier_runs_stand_before_those_of_this_session(dock: TrainingDock, trainer: Trainer, qtbot) -> None:
    queue(dock, "new", "ETH/USDT", "4h")
    begun_ns = 1_760_000_000_000_000_000
    stopped = TrainingRun("old", DataRange(), RunState.INTERRUPTED, spec={}, resumable=True, begun_ns=begun_ns)
    stopped.take_history(EpochRecord(n, 1.0 / n, 1.2 / n, 2.0) for n in range(1, 4))
    dock.restore([stopped, TrainingRun("new", DataRange(symbol="NOT/THIS"))])
    assert [run.run_id for run in dock.runs] == ["old", "new"]
    assert dock._list.currentRow() == 1
    assert not button(dock, "training_resume").isVisible()
    dock._list.setCurrentRow(0)
    assert dock._list.item(0).text() == (
        "BTC/USDT 1h · " + i18n.format_moment(begun_ns, "%Y-%m-%d\u00a0%H:%M") + " · interrupted"
    )
    assert dock._note.text() == "The program ended before this run did. Its checkpoint is kept."
    assert dock._plot._mark == 3
    qtbot.mouseClick(button(dock, "training_resume"), Qt.MouseButton.LeftButton)
    assert trainer.resumed == ["old"]
    queue(dock, "old", "BTC/USDT", "1h")
    assert dock.runs[0].state is RunState.QUEUED
    assert not button(dock, "training_resume").isVisible()
    dock.on_progress(progress(4, "old"))
    assert len(dock._plot._curves[0].x) == 4


def test_a_row_never_reaches_beyond_the_list(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h", origin=PRACTICE)
    runs = dock._list
    heights = set()
    for width in range(600, 200, -1):
        runs.resize(width, runs.height())
        runs.doItemsLayout()
        row = runs.visualItemRect(runs.item(0))
        assert row.width() <= runs.viewport().width(), width  # else the state at its end is cut off
        heights.add(row.height())
    assert len(heights) > 1  # it wrapped instead


def test_korean_and_light(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_result(result())
    i18n.set_language(i18n.Language.KOREAN)
    dock.retranslate()
    dock.theme.set_theme(ThemeChoice.LIGHT, UpDown.KOREAN)
    assert dock.title() == "학습"
    assert "이 모델" in dock._metrics.texts()
    assert not dock.grab().toImage().isNull()


def test_run_shares() -> None:
    run = TrainingRun("r")
    assert run.share is None
    run.take_progress(progress(5, "r"))
    assert run.share == 0.5
    run.take_result(result("r"))
    assert (run.share, run.best_epoch) == (1.0, 5)


def test_bars_read_are_not_called_epochs(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_progress(TrainingProgress("r1", "loading", epoch=24_000, epochs=30_000, eta_s=1.0))
    assert "epoch" not in dock._list.item(0).text()
    assert dock._figures[0].full_text() == i18n.MISSING
    assert dock._bar.value() == 800


def test_a_long_device_name_does_not_push_the_figures_out(dock: TrainingDock, qtbot) -> None:
    dock.resize(320, 700)
    dock.show()
    qtbot.waitExposed(dock)
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_progress(replace(progress(3), device="CPU, 1 thread (this build of torch knows no GPU)"))
    qtbot.wait(1)
    right = dock._figures[5].mapTo(dock, dock._figures[5].rect().topRight()).x()
    assert right < dock.width()
    assert dock._figures[3].text() == "CPU, 1 thread"
    assert dock._figures[3].toolTip() == "this build of torch knows no GPU"
    dock.on_result(replace(result(), device="CPU, 1 thread (this build of torch knows no GPU)"))
    assert dock._figures[3].text() == "CPU, 1 thread"
    i18n.set_language(i18n.Language.KOREAN)
    dock.retranslate()
    assert dock._figures[3].text() == "CPU, 스레드 1개"
    assert dock._figures[3].toolTip() == "설치된 torch가 GPU를 지원하지 않음"


def test_a_run_that_waits_shows_neither_the_progress_nor_the_checkpoint_of_another(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_progress(progress(8))
    assert dock._bar.value() > 0
    queue(dock, "r2", "ETH/USDT", "1h")
    assert dock._bar.value() == 0
    assert dock._phase.text() == "Waiting for its turn …"
    dock.on_cancelled("r2")
    assert dock._note.text() == "The run stopped at your request, before its first epoch."


def test_runs_of_one_market_are_told_apart_by_their_time(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_result(result())
    queue(dock, "r2", "BTC/USDT", "1h", later_s=3_600)
    queue(dock, "r3", "ETH/USDT", "1h")
    dock.on_progress(progress(3, "r2"))
    assert rows(dock) == [
        "BTC/USDT 1h · 12:30 · finished",
        "BTC/USDT 1h · 13:30 · epoch 3 of 10",
        "ETH/USDT 1h · 12:30 · waiting",
    ]
    queue(dock, "r4", "BTC/USDT", "1h", later_s=20)
    assert [rows(dock)[0], rows(dock)[3]] == [
        "BTC/USDT 1h · 12:30:05 · finished",
        "BTC/USDT 1h · 12:30:25 · waiting",
    ]


def test_a_run_of_another_day_has_its_date(dock: TrainingDock) -> None:
    yesterday = datetime.now().astimezone() - timedelta(days=1)
    dock.on_run_queued("r1", DataRange(), from_datetime(yesterday))
    assert rows(dock) == [f"BTC/USDT 1h · {yesterday:%Y-%m-%d\u00a0%H:%M} · waiting"]


def test_invented_bars_are_called_so_in_both_languages(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h", origin=PRACTICE)
    dock.on_result(result(edge=True))
    assert rows(dock) == ["BTC/USDT 1h · practice market · 12:30 · finished"]
    assert dock._note.text() == (
        "No evidence of an edge over persistence. Invented practice market: this says nothing about a real one."
    )
    assert dock._note.property("role") == "warning"  # no success where nothing real was learnt
    i18n.set_language(i18n.Language.KOREAN)
    dock.retranslate()
    assert rows(dock) == ["BTC/USDT 1h · 연습 시장 · 12:30 · 완료"]
    assert dock._note.text().endswith(
        " 가상으로 만든 연습 시장입니다. 이 결과는 실제 시장에 대해 아무것도 알려 주지 않습니다."
    )


def test_a_restored_run_still_says_whose_bars_it_saw(dock: TrainingDock) -> None:
    past = TrainingRun("r1", DataRange(practice_origin("synthetic-5"), "ETH/USDT", "4h"), begun_ns=BEGUN)
    past.take_result(result())
    dock.restore([past])
    assert rows(dock) == ["ETH/USDT 4h · practice market, seed 5 · 12:30 · finished"]
    assert dock._note.text().endswith("this says nothing about a real one.")


def test_a_narrow_list_shows_its_rows_whole(dock: TrainingDock, qtbot) -> None:
    for number in range(3):
        queue(dock, f"r{number}", "BTC/USDT", "1h", origin=PRACTICE, later_s=60 * number)
    for width in (900, dock.minimumWidth()):
        dock.resize(width, 700)
        qtbot.waitUntil(lambda width=width: dock._list.width() == width, timeout=5_000)
        last = dock._list.visualItemRect(dock._list.item(2))
        assert dock._list.viewport().rect().contains(last)
        assert not dock._list.verticalScrollBar().isVisible()
