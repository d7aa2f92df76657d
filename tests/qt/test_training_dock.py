"""The training panel: runs, curve, result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton, QSpinBox

from app import i18n
from app.flows.training_queue import QueuedRun, QueueState, TrainingQueue
from app.theme import ThemeChoice, ThemeManager, UpDown
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.docks.training_details import headline
from app.ui.docks.training_dock import TrainingDock
from app.ui.docks.training_networks import network_of
from app.ui.docks.training_runs import MOST_SAMPLES, RunState, TrainingRun
from core.clock import NS_PER_S, from_datetime
from core.domain.data_origin import BINANCE, DataOrigin, practice_origin
from ml.api import (
    DataRange,
    EpochRecord,
    ForecastMetrics,
    ForecastSpec,
    PointMetrics,
    TrainingProgress,
    TrainingResult,
)
from tests.qt.training_kit import Trainer, shown_dock

BEGUN = from_datetime(datetime.now().astimezone().replace(hour=12, minute=30, second=5, microsecond=0))
PRACTICE = practice_origin("synthetic-1")


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


@pytest.fixture
def dock(trainer: Trainer, theme: ThemeManager) -> Iterator[TrainingDock]:
    with shown_dock(trainer, theme) as panel:
        yield panel


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
        return PointMetrics(name, 0.00412, 0.006, skill, 0.0015, hit_rate=None if name == "zero" else 0.512)

    metrics = ForecastMetrics(
        8_000,
        8_000,
        point("model", 0.003),
        (point("zero", 0.0), point("ridge", 0.001)),
        0.1,
        0.11,
        0.893,
        0.9,
        0.21,
        edge,
        0.001,
        0.006,
        "No evidence of an edge over naive forecasts.",
    )
    epochs = tuple(EpochRecord(n, 1.0 / n, 1.2 / n, 2.0) for n in range(1, 8))
    return TrainingResult(run_id, "abc", "BTC/USDT", "1h", 7, 5, True, 31.2, 150_000.0, "CPU", epochs, metrics)


def queue(
    dock: TrainingDock, run_id: str, symbol: str, timeframe: str, *, origin: DataOrigin = BINANCE, later_s: int = 0
) -> None:
    dock.on_run_queued(run_id, DataRange(origin, symbol, timeframe), BEGUN + later_s * NS_PER_S)


def tell(dock: TrainingDock, message: TrainingProgress) -> None:
    """Tell of progress, and wait for the frame that draws it."""
    dock.on_progress(message)
    dock._on_frame()


def in_queue(*names: str, **states: QueueState) -> TrainingQueue:
    """Return a queue of these runs; states by name, waiting where there is none."""
    made = [
        QueuedRun(
            name, ForecastSpec().to_json(), BEGUN + place * 60 * NS_PER_S, state=states.get(name, QueueState.WAITING)
        )
        for place, name in enumerate(names)
    ]
    return TrainingQueue(tuple(made))


def shown(dock: TrainingDock) -> set[str]:
    """Return the deeds on offer by visible, enabled buttons."""
    buttons = dock.tools.findChildren(QPushButton)
    return {b.objectName().removeprefix("training_") for b in buttons if b.isVisible() and b.isEnabled()}


def rows(dock: TrainingDock) -> list[str]:
    return [dock.list.item(row).text() for row in range(dock.list.count())]


def button(dock: TrainingDock, name: str) -> QPushButton:
    return dock.findChild(QPushButton, name)


def test_empty_panel_leads_to_the_wizard(dock: TrainingDock, qtbot) -> None:
    assert dock._stack.currentWidget() is dock.empty
    with qtbot.waitSignal(dock.wizard_requested):
        qtbot.mouseClick(dock.empty.button, Qt.MouseButton.LeftButton)


def test_progress_draws_both_curves_and_the_figures(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    assert headline(dock.runs[0]) == "Waiting for its turn …"
    dock.on_queue(in_queue("r1", r1=QueueState.RUNNING))
    assert dock.details.phase.text() == "Starting the trainer …"
    tell(dock, progress(0, phase="loading"))
    assert dock.details.phase.text() == "Reading bars"
    assert dock.details.bar.maximum() == 0  # busy, no share yet
    for epoch in range(1, 5):
        tell(dock, progress(epoch))
    assert [c.x for c in dock.details.plot._curves] == [(1.0, 2.0, 3.0, 4.0)] * 2
    assert [c.mark for c in dock.details.plot._curves] == [4, None]
    assert dock.details.figures[0].text() == "4 / 10"
    assert dock.runs[0].left_s is not None
    left = round(dock.runs[0].left_s)
    assert 42 + 3 < left < 42 + 40  # what comes after the learning counts too
    assert dock.details.figures[1].text() == f"{left} s"
    assert dock.details.bar.value() == 400
    begun = i18n.format_minute(BEGUN)
    assert dock.list.item(0).text() == f"BTC/USDT 1h · LSTM 32 · {begun} · epoch 4 of 10 · {left} s left"
    assert "validation" in dock.details.plot.accessibleDescription()


def test_result_shows_the_model_beside_persistence_and_the_verdict(dock: TrainingDock, qtbot) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_result(result())
    assert dock.details.note.text() == "No evidence of an edge over naive forecasts."
    assert dock.details.note.property("role") == "warning"
    texts = dock.details.metrics.texts()
    assert {"This model", "Price stays", "Linear (ridge)", "+0.30\u00a0%", "51.2\u00a0%"} <= set(texts)
    assert len(dock.details.plot._curves[0].x) == 7
    assert not button(dock, "training_cancel").isVisible()
    with qtbot.waitSignal(dock.strategy_requested) as signal:
        qtbot.mouseClick(button(dock, "training_use"), Qt.MouseButton.LeftButton)
    assert signal.args == ["abc"]
    dock.on_result(result(edge=True))
    assert dock.details.note.property("role") == "success"
    assert len(dock.details.metrics.texts()) == 20


def test_cancel_asks_once_and_late_progress_does_not_revive(dock: TrainingDock, trainer: Trainer, qtbot) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    tell(dock, progress(2))
    qtbot.mouseClick(button(dock, "training_cancel"), Qt.MouseButton.LeftButton)
    assert trainer.cancelled == ["r1"]
    assert not button(dock, "training_cancel").isEnabled()
    tell(dock, progress(3))
    assert dock.runs[0].state is RunState.CANCELLING
    dock.on_cancelled("r1", resumable=True)
    tell(dock, progress(4))
    assert dock.runs[0].state is RunState.CANCELLED
    assert dock.details.phase.text() == "Cancelled"
    assert not button(dock, "training_cancel").isVisible()


def test_failure_says_what_helps(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_failed("r1", "There are only 240 bars.", "Fetch more history.")
    assert dock.details.note.text() == "There are only 240 bars. Fetch more history."
    assert dock.details.note.property("role") == "danger"
    assert dock.list.item(0).text().endswith("failed")


def test_several_runs_are_listed_and_can_be_chosen(dock: TrainingDock) -> None:
    tell(dock, progress(1, "r1"))
    queue(dock, "r2", "ETH/USDT", "4h")
    assert dock.list.currentRow() == 1
    tell(dock, progress(3, "r1"))
    assert dock.details.figures[0].text() == i18n.MISSING  # r2 is shown
    dock.list.setCurrentRow(0)
    assert dock.details.figures[0].text() == "3 / 10"
    tell(dock, progress(4, "r1"))
    assert dock.list.currentRow() == 0
    assert dock.details.figures[0].text() == "4 / 10"


def test_a_removed_run_leaves_the_list(dock: TrainingDock) -> None:
    queue(dock, "download", "BTC/USDT", "1h")
    queue(dock, "r2", "ETH/USDT", "4h")
    dock.remove_run("download")
    assert [dock.list.item(row).text() for row in range(dock.list.count())] == [
        f"ETH/USDT 4h · {i18n.format_minute(BEGUN)} · waiting"
    ]
    assert dock.list.currentRow() == 0
    tell(dock, progress(2, "r2"))
    assert dock.details.figures[0].text() == "2 / 10"
    dock.remove_run("r2")
    assert dock.list.count() == 0
    assert dock._stack.currentWidget() is dock.empty


def test_a_run_that_failed_before_its_first_epoch_shows_no_empty_plot(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    assert dock.details.plot.isVisible()
    dock.on_failed("r1", "There are only 240 bars.", "Fetch more history.")
    assert not dock.details.plot.isVisible()


def test_earlier_runs_stand_before_those_of_this_session(dock: TrainingDock, trainer: Trainer, qtbot) -> None:
    queue(dock, "new", "ETH/USDT", "4h")
    begun_ns = 1_760_000_000_000_000_000
    stopped = TrainingRun("old", DataRange(), RunState.INTERRUPTED, spec={}, resumable=True, begun_ns=begun_ns)
    stopped.networks = [network_of((EpochRecord(n, 1.0 / n, 1.2 / n, 2.0) for n in range(1, 4)), 3)]
    dock.restore([stopped, TrainingRun("new", DataRange(symbol="NOT/THIS"))])
    assert [run.run_id for run in dock.runs] == ["old", "new"]
    assert dock.list.currentRow() == 1
    assert not button(dock, "training_resume").isVisible()
    dock.list.setCurrentRow(0)
    assert dock.list.item(0).text() == (
        "BTC/USDT 1h · " + i18n.format_moment(begun_ns, "%Y-%m-%d\u00a0%H:%M") + " · interrupted"
    )
    assert dock.details.note.text() == "The program ended before this run did. Its checkpoint is kept."
    assert dock.details.plot._curves[0].mark == 3
    qtbot.mouseClick(button(dock, "training_resume"), Qt.MouseButton.LeftButton)
    assert trainer.resumed == ["old"]
    queue(dock, "old", "BTC/USDT", "1h")
    assert dock.runs[0].state is RunState.QUEUED
    assert not button(dock, "training_resume").isVisible()
    tell(dock, progress(4, "old"))
    assert len(dock.details.plot._curves[0].x) == 4


def test_a_row_never_reaches_beyond_the_list(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h", origin=PRACTICE)
    runs = dock.list
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
    assert "이 모델" in dock.details.metrics.texts()
    assert not dock.grab().toImage().isNull()


def test_run_shares() -> None:
    run = TrainingRun("r")
    assert run.share is None
    run.take_progress(progress(5, "r"))
    assert run.share == 0.5
    run.take_result(result("r"))
    assert (run.share, run.networks[0].best_epoch) == (1.0, 5)


def test_bars_read_are_not_called_epochs(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    tell(dock, TrainingProgress("r1", "loading", epoch=24_000, epochs=30_000, eta_s=1.0))
    assert dock.list.item(0).text().endswith("reading bars")  # nothing is trained yet
    assert dock.details.figures[0].full_text() == i18n.MISSING
    assert dock.details.bar.value() == 800


def test_a_long_device_name_does_not_push_the_figures_out(dock: TrainingDock, qtbot) -> None:
    dock.resize(320, 700)
    dock.show()
    qtbot.waitExposed(dock)
    queue(dock, "r1", "BTC/USDT", "1h")
    tell(dock, replace(progress(3), device="CPU, 1 thread (this build of torch knows no GPU)"))
    qtbot.wait(1)
    right = dock.details.figures[5].mapTo(dock, dock.details.figures[5].rect().topRight()).x()
    assert right < dock.width()
    assert dock.details.figures[3].text() == "CPU, 1 thread"
    assert dock.details.figures[3].toolTip() == "this build of torch knows no GPU"
    dock.on_result(replace(result(), device="CPU, 1 thread (this build of torch knows no GPU)"))
    assert dock.details.figures[3].text() == "CPU, 1 thread"
    i18n.set_language(i18n.Language.KOREAN)
    dock.retranslate()
    assert dock.details.figures[3].text() == "CPU, 스레드 1개"
    assert dock.details.figures[3].toolTip() == "설치된 torch가 GPU를 지원하지 않음"


def test_a_run_that_waits_shows_neither_the_progress_nor_the_checkpoint_of_another(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    tell(dock, progress(8))
    assert dock.details.bar.value() > 0
    queue(dock, "r2", "ETH/USDT", "1h")
    assert dock.details.bar.value() == 0
    assert dock.details.phase.text() == "Waiting for its turn …"
    dock.on_cancelled("r2")
    assert dock.details.note.text() == "The run stopped at your request, before its first epoch."


def test_runs_of_one_market_are_told_apart_by_their_time(dock: TrainingDock) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_result(result())
    queue(dock, "r2", "BTC/USDT", "1h", later_s=3_600)
    queue(dock, "r3", "ETH/USDT", "1h")
    tell(dock, progress(3, "r2"))
    assert rows(dock) == [
        "BTC/USDT 1h · 12:30 · finished",
        "BTC/USDT 1h · 13:30 · epoch 3 of 10 · 45 s left",
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
    assert dock.details.note.text() == (
        "No evidence of an edge over naive forecasts. Invented practice market: this says nothing about a real one."
    )
    assert dock.details.note.property("role") == "warning"  # no success where nothing real was learnt
    i18n.set_language(i18n.Language.KOREAN)
    dock.retranslate()
    assert rows(dock) == ["BTC/USDT 1h · 연습 시장 · 12:30 · 완료"]
    assert dock.details.note.text().endswith(
        " 가상으로 만든 연습 시장입니다. 이 결과는 실제 시장에 대해 아무것도 알려 주지 않습니다."
    )


def test_a_restored_run_still_says_whose_bars_it_saw(dock: TrainingDock) -> None:
    past = TrainingRun("r1", DataRange(practice_origin("synthetic-5"), "ETH/USDT", "4h"), begun_ns=BEGUN)
    past.take_result(result())
    dock.restore([past])
    assert rows(dock) == ["ETH/USDT 4h · practice market, seed 5 · 12:30 · finished"]
    assert dock.details.note.text().endswith("this says nothing about a real one.")


def test_a_narrow_list_shows_its_rows_whole(dock: TrainingDock, qtbot) -> None:
    for number in range(3):
        queue(dock, f"r{number}", "BTC/USDT", "1h", origin=PRACTICE, later_s=60 * number)
    for width in (900, dock.minimumWidth()):
        dock.resize(width, 700)
        qtbot.waitUntil(lambda width=width: dock.list.width() == width, timeout=5_000)
        last = dock.list.visualItemRect(dock.list.item(2))
        assert dock.list.viewport().rect().contains(last)
        assert not dock.list.verticalScrollBar().isVisible()


def test_the_queue_stands_below_what_ended_in_its_own_order(dock: TrainingDock) -> None:
    queue(dock, "old", "BTC/USDT", "1h")
    dock.on_result(result("old"))
    dock.on_queue(in_queue("a", "b", "c", a=QueueState.RUNNING, c=QueueState.HELD))
    assert dock.list.ids() == ["old", "a", "b", "c"]
    assert [row.rpartition(" · ")[2] for row in rows(dock)] == ["finished", "starting", "waiting", "on hold"]
    assert dock.list.current_id() == "c"  # the newest
    moved = in_queue("a", "b", "c", a=QueueState.RUNNING).move("c", -1)
    dock.on_queue(moved)
    assert dock.list.ids() == ["old", "a", "c", "b"]
    assert dock.list.current_id() == "c"
    dock.on_cancelled("a", resumable=True)
    dock.on_queue(moved.end("a"))
    assert dock.list.ids() == ["old", "a", "c", "b"]


def test_each_state_offers_what_can_be_done_with_it(dock: TrainingDock, trainer: Trainer, qtbot) -> None:
    dock.on_queue(in_queue("a", "b", "c", a=QueueState.RUNNING))
    dock.list.setCurrentRow(0)
    assert shown(dock) == {"pause", "cancel"}
    qtbot.mouseClick(button(dock, "training_pause"), Qt.MouseButton.LeftButton)
    dock.on_queue(in_queue("a", "b", "c", a=QueueState.PAUSING))
    assert dock.details.phase.text() == "Pausing …"
    dock.on_queue(in_queue("a", "b", "c", a=QueueState.PAUSED))
    assert dock.details.phase.text() == "Paused"
    assert dock.details.note.text().startswith("It stands still, keeps its memory")
    assert shown(dock) == {"continue", "cancel"}
    qtbot.mouseClick(button(dock, "training_continue"), Qt.MouseButton.LeftButton)
    dock.list.setCurrentRow(1)
    assert shown(dock) == {"pause", "cancel", "down"}
    assert button(dock, "training_up").isVisible()  # keeps its place
    dock.list.setFocus()
    qtbot.keyClick(dock.list, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
    assert trainer.asked == [("pause", "a"), ("continue", "a"), ("move", "b", 1)]
    dock.on_queue(in_queue("a", "b", "c", a=QueueState.STOPPING))
    dock.list.setCurrentRow(0)
    assert dock.details.phase.text() == "Cancelling …"
    assert shown(dock) == set()
    dock.on_queue(TrainingQueue())
    dock.on_cancelled("a", resumable=True)
    assert shown(dock) == {"resume", "remove"}
    dock.on_failed("a", "There are only 240 bars.", "Fetch more history.")
    assert shown(dock) == {"remove"}
    dock.on_result(result("a"))
    assert shown(dock) == {"card", "use", "remove"}


def test_several_selected_runs_are_paused_and_cancelled_together(dock: TrainingDock, trainer: Trainer, qtbot) -> None:
    dock.on_queue(in_queue("a", "b", "c", a=QueueState.RUNNING, b=QueueState.HELD))
    dock.list.selectAll()
    assert shown(dock) == {"pause", "continue", "cancel"}
    qtbot.mouseClick(button(dock, "training_pause"), Qt.MouseButton.LeftButton)
    qtbot.mouseClick(button(dock, "training_cancel"), Qt.MouseButton.LeftButton)
    assert trainer.asked == [("pause", "a"), ("pause", "c")]
    assert trainer.cancelled == ["a", "b", "c"]


def test_ended_runs_are_deleted_after_a_question(dock: TrainingDock, trainer: Trainer, qtbot) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    dock.on_cancelled("r1", resumable=True)
    dock.list.setFocus()
    qtbot.keyClick(dock.list, Qt.Key.Key_Delete)
    dialog = dock.window().findChild(ConfirmDialog, "remove_runs_dialog")
    assert trainer.asked == []
    dialog.answered.emit("remove")
    assert trainer.asked == [("forget", "r1")]
    dialog.close()


def test_the_number_of_runs_at_a_time_is_chosen_and_shown(dock: TrainingDock, trainer: Trainer) -> None:
    spin = dock.findChild(QSpinBox, "training_slots")
    dock.on_queue(TrainingQueue(slots=3))
    assert (spin.value(), trainer.asked) == (3, [])
    assert spin.lineEdit().textMargins().left() > 0
    spin.setValue(2)
    assert trainer.asked == [("slots", 2)]


def test_a_run_that_follows_another_says_so(dock: TrainingDock, trainer: Trainer) -> None:
    first, second = in_queue("a", "b", a=QueueState.RUNNING).runs
    dock.on_queue(TrainingQueue((first, replace(second, after="a"))))
    assert dock.details.phase.text() == f"Starts when BTC/USDT 1h · LSTM 32 · {i18n.format_minute(BEGUN)} has ended"
    action = next(action for action in dock.list.actions() if action.data() == "after")
    assert action.isVisible()
    action.trigger()
    assert trainer.asked == [("after", "b")]


def test_progress_is_drawn_ten_times_a_second_at_most_and_the_last_always(dock: TrainingDock, qtbot) -> None:
    queue(dock, "r1", "BTC/USDT", "1h")
    drawn: list[str] = []
    write = dock.details.show_run
    dock.details.show_run = lambda run, after: (drawn.append(run.run_id), write(run, after))  # type: ignore[method-assign]
    for epoch in range(1, 10):
        dock.on_progress(progress(epoch))
    assert len(drawn) == 1
    qtbot.waitUntil(lambda: dock.details.figures[0].text() == "9 / 10", timeout=5_000)
    assert len(drawn) == 2


def test_curves_of_one_run_and_of_several(dock: TrainingDock, qtbot) -> None:
    for name in ("a", "b"):
        queue(dock, name, "BTC/USDT", "1h", later_s=60 * (name == "b"))
        for epoch in range(1, 4):
            load = {"cpu_percent": 90.0 + epoch, "rss_bytes": 400_000_000} if name == "a" else {}
            tell(dock, progress(epoch, name, learning_rate=0.001 * epoch, crps=0.5 / epoch, **load))
    dock.pages.setCurrentWidget(dock.curves)
    dock.list.setCurrentRow(0)
    plots = dock.curves.plots
    assert [key for key, made in plots.items() if made.plot.isVisible()] == [
        "loss",
        "crps",
        "rate",
        "speed",
        "load",
        "memory",
    ]
    assert [curve.name for curve in plots["loss"].plot._curves] == ["validation", "training"]
    assert plots["rate"].plot._curves[0].y == (0.001, 0.002, 0.003)
    assert [curve.name for curve in plots["load"].plot._curves] == ["CPU"]  # there is no GPU
    dock.list.selectAll()
    names = [f"{n + 1} · BTC/USDT 1h · {i18n.format_minute(BEGUN + n * 60 * NS_PER_S)}" for n in (0, 1)]
    assert [curve.name for curve in plots["loss"].plot._curves] == names
    assert len({curve.colour for curve in plots["loss"].plot._curves}) == 2
    assert plots["crps"].plot._curves[1].y == (0.5, 0.25, 0.5 / 3)
    dock.list.setCurrentRow(1)
    assert not plots["load"].plot.isVisible()  # nothing was measured
    assert not dock.curves.note.text().startswith("Validation")


def test_finished_runs_are_compared_and_sorted(dock: TrainingDock) -> None:
    dock.pages.setCurrentWidget(dock.comparison)
    assert dock.comparison.forecasts.proxy.rowCount() == 0
    dock.on_queue(in_queue("a", "b", "c"))
    for name, r2 in (("a", 0.002), ("b", -0.01)):
        made = result(name)
        metrics = replace(made.metrics, model=replace(made.metrics.model, r2=r2))
        dock.on_result(replace(made, metrics=metrics))
    assert dock.comparison.forecasts.proxy.rowCount() == 2
    dock.comparison.forecasts.sort_by("r2", Qt.SortOrder.AscendingOrder)
    assert [dock.comparison.forecasts.proxy.record_at(row).run_id for row in (0, 1)] == ["b", "a"]
    header, *lines = (line.split("\t") for line in dock.comparison.forecasts.tsv().splitlines())
    first = dict(zip(header, lines[0], strict=True))
    assert (first["Model"], first["Hidden"], first["Features"], first["Seed"]) == ("lstm", "32", "market", "1")
    assert (first["R²"], first["IC"], first["CRPS"]) == ("-1.00%", i18n.MISSING, i18n.MISSING)
    dock.comparison.forecasts.row_activated.emit(dock.comparison.forecasts.proxy.record_at(0))
    assert dock.list.current_id() == "b"
    assert dock.pages.currentWidget() is dock.details
    dock.remove_run("b")
    assert dock.comparison.forecasts.proxy.rowCount() == 1


def test_the_load_is_thinned_out_as_it_grows() -> None:
    run = TrainingRun("r")
    for second in range(5 * MOST_SAMPLES):
        run.take_progress(replace(progress(1, "r"), cpu_percent=float(second)), now_s=100.0 + second)
    assert len(run.load) <= MOST_SAMPLES
    assert run.load[0].at_s == 0.0
    assert run.load[-1].at_s > 5 * MOST_SAMPLES - 20
    gaps = {after.at_s - before.at_s for before, after in zip(run.load, run.load[1:], strict=False)}
    assert len(gaps) <= 2
