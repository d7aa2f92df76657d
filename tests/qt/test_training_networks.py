"""Networks of a training run on its panel: their curves, whatever was heard of them, and what a run is called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app import i18n
from app.flows.training_queue import QueuedRun, TrainingQueue
from app.past_runs import past_run
from app.theme import ThemeManager
from app.ui.docks.training_curves import loss_curves
from app.ui.docks.training_details import headline
from app.ui.docks.training_dock import TrainingDock
from app.ui.docks.training_list import name_text
from app.ui.docks.training_networks import Series, network_of
from app.ui.docks.training_runs import TrainingRun
from core.clock import NS_PER_S, from_datetime
from core.domain.data_origin import BINANCE
from core.persistence.store import RunRecord
from ml.api import DataRange, EpochRecord, ForecastSpec, ModelSpec, TrainingResult
from ml.metric_results import SeedScore
from tests.qt.test_training_dock import BEGUN, progress, result, rows
from tests.qt.training_kit import Trainer, shown_dock


@pytest.fixture
def dock(theme: ThemeManager) -> Iterator[TrainingDock]:
    with shown_dock(Trainer(), theme) as panel:
        yield panel


def several(*losses: tuple[float, ...], best: tuple[int, ...]) -> TrainingResult:
    """Return the result of a run of several networks: their validation losses, and whose weights they have."""
    made = result("r")
    records = tuple(
        EpochRecord(epoch, loss, loss, 2.0, seed=seed)
        for seed, of_seed in enumerate(losses, start=7)
        for epoch, loss in enumerate(of_seed, start=1)
    )
    scores = tuple(
        SeedScore(seed, len(of_seed), epoch, min(of_seed), 0.1, 0.0, None, None, None, None)
        for seed, (of_seed, epoch) in enumerate(zip(losses, best, strict=True), start=7)
    )
    return replace(made, history=records, metrics=replace(made.metrics, seeds=scores))


def valid(run: TrainingRun) -> list[dict[int, float]]:
    return [network.curves[Series.VALID] for network in run.networks]


def test_each_network_of_a_run_has_its_own_curves() -> None:
    run = TrainingRun("r")
    for seed in (0, 1):
        for epoch in (1, 2):
            run.take_progress(replace(progress(epoch, "r"), seed_index=seed, seeds=2))
    assert valid(run) == [{1: 1.2, 2: 0.6}] * 2
    assert headline(run) == "Training, network 2 of 2"
    assert run.share == 0.6  # all of the first, and 2 epochs of 10
    # What comes after the training sums up the first network; it must not reach anybody's curves.
    for phase in ("exporting", "testing", "done"):
        run.take_progress(replace(progress(2, "r", phase), valid_loss=9.0, best_epoch=1))
    assert valid(run) == [{1: 1.2, 2: 0.6}] * 2
    assert [network.best_epoch for network in run.networks] == [2, 2]


def test_a_finished_run_shows_what_a_restart_shows_whatever_was_heard_of_it() -> None:
    came = several((0.9, 0.8, 0.85), (0.7, 0.75), (0.95,), best=(2, 1, 0))
    heard, restored = TrainingRun("r"), TrainingRun("r")
    heard.take_progress(replace(progress(1, "r"), seeds=3))  # and then nothing until network 3
    heard.take_progress(replace(progress(1, "r"), seed_index=2, seeds=3))
    heard.take_progress(progress(1, "r", "testing"))
    for run in (heard, restored):
        run.take_result(came)
        assert valid(run) == [{1: 0.9, 2: 0.8, 3: 0.85}, {1: 0.7, 2: 0.75}, {1: 0.95}]
    assert heard.networks == restored.networks
    named = [(curve.name, curve.y[-1], curve.mark) for curve in loss_curves(heard) if curve.name]
    assert named == [("network 1", 0.85, 2), ("network 2", 0.75, 1), ("network 3", 0.95, 0)]


def test_a_network_that_learned_nothing_is_said(dock: TrainingDock) -> None:
    dock.on_result(several((0.9, 0.8, 0.85), (0.7, 0.75), (0.95,), best=(2, 1, 0)))
    assert dock.details.phase.text() == "Finished: 3 networks with 6 epochs in all, 31 s of learning"
    dock.on_result(replace(result("r2"), total_s=61.0))
    dock.list.setCurrentRow(1)
    assert dock.details.phase.text() == "Finished in 1 min 01 s: 7 epochs, stopped early, 31 s of learning"
    dock.list.setCurrentRow(0)
    figures = [label.full_text() for label in dock.details.figures]
    assert (figures[0], figures[4]) == ("3, 2, 1", "2, 1, 0")
    assert dock.details.note.text().endswith("helped in validation: number 3.")
    assert "network 1 0.8500, network 2 0.7500, network 3 0.9500" in dock.details.plot.accessibleDescription()
    dock.on_result(several((0.9, 0.8), (0.7,), best=(2, 1)))
    assert "untrained" not in dock.details.note.text()
    dock.on_result(several((0.9, 0.8), (0.7,), best=(0, 0)))
    assert "the stored model is an untrained one" in dock.details.note.text()


def test_losses_of_different_kinds_are_kept_apart(dock: TrainingDock) -> None:
    spec = ForecastSpec(data=DataRange(BINANCE, "BTC/USDT", "1h"))
    student = replace(spec, model=replace(spec.model, head="student_t"))
    specs = {"a": spec, "b": student, "c": spec}
    for run_id, asked in specs.items():
        dock.on_queue(TrainingQueue((QueuedRun(run_id, asked.to_json(), BEGUN),)))
        dock.on_result(replace(result(run_id), run_id=run_id))
    dock.on_queue(TrainingQueue())
    dock.pages.setCurrentWidget(dock.curves)
    dock.list.selectAll()
    plots = {key: made for key, made in dock.curves.plots.items() if made.plot.isVisible()}
    assert {"loss_quantile", "loss_student_t"} <= set(plots)
    assert "loss" not in plots
    described = plots["loss_quantile"].plot.accessibleDescription()
    assert [part[:4] for part in described.split(", ")] == ["1 · ", "3 · "]
    assert plots["loss_student_t"].plot.accessibleDescription().startswith("2 · ")
    assert plots["loss_quantile"].caption.text() == "Pinball loss by epoch, in units of volatility"
    assert dock.curves.note.text().endswith("cannot be compared; their CRPS can.")
    dock.list.clearSelection()
    dock.list.item(0).setSelected(True)
    dock.list.item(2).setSelected(True)
    assert "cannot be compared" not in dock.curves.note.text()


def test_a_run_keeps_its_name_over_a_restart_and_says_what_kind_of_network_it_is(dock: TrainingDock) -> None:
    asked = replace(ForecastSpec(), model=ModelSpec(kind="gru", head="student_t", hidden_size=16))
    run_id = "run-20261126-164913-0a1b2c"
    queued = QueuedRun(run_id, asked.to_json(), BEGUN)
    dock.on_queue(TrainingQueue((queued,)))
    (row,) = rows(dock)
    when = i18n.format_minute(from_datetime(datetime(2026, 11, 26, 16, 49, 13, tzinfo=UTC)))
    assert row == f"BTC/USDT 1h · GRU 16, Student's t · {when} · waiting"
    # When its process began, or when it went on, does not change what it is called.
    record = RunRecord(run_id, "forecast", "cancelled", asked.to_json(), {}, "", BEGUN + 16 * NS_PER_S, None)
    again = past_run(record, Path("nowhere"))
    assert name_text(again, [again]) == name_text(dock.runs[0], dock.runs)
    again.take_queued(QueuedRun(run_id, asked.to_json(), BEGUN + 60 * NS_PER_S, resume=True))
    assert name_text(again, [again]) == name_text(dock.runs[0], dock.runs)


def test_the_history_of_a_network_brings_its_curves_back() -> None:
    network = network_of([EpochRecord(1, 1.0, 1.1, 2.0), EpochRecord(2, 0.9, 1.0, 2.0, 0.003, 0.4, 1e5)])
    assert network.curves[Series.RATE] == {2: 0.003}
    assert network.curves[Series.CRPS] == {2: 0.4}
    assert network.curves[Series.SPEED] == {2: 1e5}
    assert network.curves[Series.VALID] == {1: 1.1, 2: 1.0}
