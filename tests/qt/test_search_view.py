"""A search on the training panel: what is written while it works and when it is done, and how one is set up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton, QTabWidget
from pytestqt.qtbot import QtBot

from app.flows.training_queue import QueuedRun, QueueState, TrainingQueue
from app.theme import ThemeManager
from app.ui.dialogs.search_dialog import SearchDialog
from app.ui.docks.search_view import importance_text, trial_curves
from app.ui.docks.training_dock import TrainingDock
from ml.api import ForecastSpec, ModelSpec, TrainingProgress
from ml.search_results import (
    FinalistResult,
    Overfitting,
    ParameterImportance,
    ParameterValue,
    SearchProgress,
    SearchResult,
    SeedOutcome,
    TrialResult,
)
from ml.search_spec import SearchSpec
from tests.qt.training_kit import Trainer, shown_dock

SETTINGS = (
    ParameterValue("features.name", "technical"),
    ParameterValue("model.kind", "gru"),
    ParameterValue("model.layer_norm", "true"),
    ParameterValue("training.learning_rate", "0.012345"),
    ParameterValue("training.batch_segments", "16"),
)
WINNER = ForecastSpec(model=ModelSpec(hidden_size=64))


class Starter(Trainer):
    def __init__(self) -> None:
        super().__init__()
        self.started: list[dict[str, object]] = []

    def start_training(self, spec: dict[str, object]) -> str:
        self.started.append(spec)
        return "run-2"


@pytest.fixture
def starter() -> Starter:
    return Starter()


@pytest.fixture
def dock(starter: Starter, theme: ThemeManager) -> Iterator[TrainingDock]:
    with shown_dock(starter, theme) as panel:
        yield panel


def queue_up(dock: TrainingDock) -> None:
    search = QueuedRun("s1", SearchSpec(trials=4).to_json(), 1, state=QueueState.RUNNING)
    run = QueuedRun("r1", ForecastSpec().to_json(), 2)
    dock.on_queue(TrainingQueue((search, run)))
    dock.list.setCurrentRow(0)


def progress(done: int, scores: tuple[float | None, ...]) -> SearchProgress:
    known = [score for score in scores if score is not None]
    return SearchProgress(
        "s1", "searching", 4, done, pruned=1, best=min(known, default=None), best_trial=0, eta_s=42.0, scores=scores
    )


def result(share: float = 0.004) -> SearchResult:
    seeds = tuple(SeedOutcome(seed, 0.41, 0.01, 3, 2) for seed in (2, 3, 4))
    scores = (0.5, None, 0.4, 0.45)
    return SearchResult(
        "s1",
        "BTC/USDT",
        "1h",
        tuple(TrialResult(n, "finished" if s else "pruned", s, 1.0, SETTINGS) for n, s in enumerate(scores)),
        (FinalistResult(2, 0.41, 0.002, seeds),),
        2,
        WINNER,
        "winner.toml",
        (ParameterImportance("training.learning_rate", 0.8), ParameterImportance("model.kind", share)),
        Overfitting(0.25, 3, 16, 1_600, 0.1),
        61.0,
    )


def shown(tabs: QTabWidget) -> list[str]:
    return [tabs.tabText(index) for index in range(tabs.count()) if tabs.isTabVisible(index)]


def test_a_search_has_a_page_of_its_own_and_a_run_keeps_its_pages(dock: TrainingDock) -> None:
    queue_up(dock)
    assert shown(dock.pages) == ["Search", "Comparison"]
    assert dock.pages.currentWidget() is dock.search
    dock.list.setCurrentRow(1)
    assert shown(dock.pages) == ["Run", "Curves", "Comparison"]
    assert dock.pages.currentWidget() is not dock.search
    dock.on_progress(TrainingProgress("r1", "training", 1, 10))
    assert dock.runs[1].progress is not None


def test_the_progress_of_a_search_is_written(dock: TrainingDock) -> None:
    queue_up(dock)
    dock.on_search_progress(progress(2, (0.5, None)))
    assert dock.search.phase.text() == "Trying settings"
    # 3 of the best with 3 networks each: they take as long as 9 trials, of which 2 are left.
    assert dock.search.note.text() == "2 of 4 trials done · 1 given up early · best CRPS 0.50000 · 3 min 51 s left"
    assert dock.search.bar.value() == round(1000 * 2 / 13)
    assert dock.list.item(0).text().startswith("Search for BTC/USDT 1h · ")
    assert "2 of 4 trials done · 3 min 51 s left" in dock.list.item(0).text()
    repeating = replace(progress(4, (0.5, 0.4)), phase="finalists", finalists=3, eta_s=None)
    dock.on_search_progress(repeating)
    assert dock.search.note.text() == "0 of 3 repeated"
    assert dock.search.bar.value() == round(1000 * 4 / 13)
    dock.on_search_progress(replace(repeating, finalists_done=3, phase="judging"))
    assert dock.search.bar.value() == 1000


def test_what_a_search_brought_is_written_and_its_winner_can_be_trained(
    dock: TrainingDock, starter: Starter, qtbot: QtBot
) -> None:
    queue_up(dock)
    dock.on_search_result(result())
    text = dock.search.note.text()
    assert "Trial 3 is the best: CRPS 0.41000 ± 0.00200 with 3 seeds" in text
    assert "25%" in text.replace(" ", "").replace("\u00a0", "")
    assert dock.search.importance.isVisible()
    assert dock.search.importance.accessibleDescription() == "Learning rate 80\u00a0%, Network < 1\u00a0%"
    assert dock.search.importance_note.text() == "From 3 finished trials only: with so few, most of this is chance."
    assert dock.search.winner_caption.text() == "Settings of trial 3"
    lines = [
        "Feature set: Technical indicators",
        "Network: GRU",
        "Layer norm: on",
        "Learning rate: 0.0123",
        "Batch: 16",
    ]
    assert dock.search.winner.text().split("\n") == lines
    many = tuple(replace(result().trials[0], number=number) for number in range(40))
    assert importance_text(replace(result(), trials=many)) == "From 40 finished trials."
    dock.search.importance.repaint()
    button = dock.findChild(QPushButton, "search_train")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert starter.started == [WINNER.to_json()]


def test_the_bars_are_as_long_as_their_shares(dock: TrainingDock) -> None:
    queue_up(dock)
    dock.on_search_result(result(share=0.2))
    bars = dock.search.importance
    image = bars.grab().toImage()
    accent = dock.theme.palette.accent.lower()

    def length(row: int) -> int:
        y = round((row + 0.5) * image.height() / 2)
        return sum(image.pixelColor(x, y).name() == accent for x in range(image.width()))

    assert length(0) == pytest.approx(4 * length(1), abs=6)
    assert length(1) > 10


def test_trials_and_the_best_so_far_are_drawn() -> None:
    best, each = trial_curves((0.5, None, 0.4, 0.45))
    assert each.points() == [(1.0, 0.5), (3.0, 0.4), (4.0, 0.45)]
    assert best.points() == [(1.0, 0.5), (3.0, 0.5), (3.0, 0.4), (4.0, 0.4), (4.0, 0.4)]
    assert trial_curves((None,)) == []


def test_a_failed_search_says_why(dock: TrainingDock) -> None:
    queue_up(dock)
    dock.on_failed("s1", "The disk is full.", "Free some space.", resumable=True)
    assert dock.search.phase.text() == "The search failed"
    assert dock.search.note.text() == "The disk is full. Free some space."


def test_the_button_asks_for_a_search_around_the_chosen_run(dock: TrainingDock, qtbot: QtBot) -> None:
    queue_up(dock)
    dock.list.setCurrentRow(1)
    with qtbot.waitSignal(dock.search_requested) as asked:
        qtbot.mouseClick(dock.findChild(QPushButton, "training_search"), Qt.MouseButton.LeftButton)
    assert asked.args == ["r1"]


def test_a_search_is_set_up(qtbot: QtBot) -> None:
    dialog = SearchDialog(WINNER)
    heard: list[SearchSpec] = []
    dialog.search_requested.connect(heard.append)
    dialog.show()
    for box in (dialog.trials, dialog.processes, dialog.minutes):
        assert box.lineEdit().textMargins().left() > 0  # the style sheet's padding does not reach the line
    dialog.trials.setValue(12)
    dialog.processes.setValue(1)
    dialog.minutes.setValue(30)
    qtbot.mouseClick(dialog.begin, Qt.MouseButton.LeftButton)
    (spec,) = heard
    assert (spec.base, spec.trials, spec.processes, spec.timeout_min) == (WINNER, 12, 1, 30.0)
    spec.validate()
