"""Agents in the training panel: seeds side by side, live figures, curves beside rules, result, comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton

from app import i18n
from app.flows.training_queue import QueuedRun, QueueState, TrainingQueue
from app.i18n import MISSING
from app.past_runs import can_go_on, kept_passes, past_run
from app.screenshots.agent_runs import agent_metrics, agent_progress, agent_result, pass_curves
from app.theme import ThemeManager
from app.ui.docks.agent_details import agent_headline, agent_note
from app.ui.docks.training_agents import AgentWatch
from app.ui.docks.training_dock import TrainingDock
from app.ui.docks.training_runs import RunState, TrainingRun
from app.ui.widgets.figure_table import FigureTable
from core.domain.data_origin import BINANCE, DataOrigin, practice_origin
from core.persistence.store import RunRecord
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.progress import CURVES_FILE, AgentProgress, AgentResult, LearningFigures, ValidationRecord
from ml.agents.results import EDGE, HOLD, UNTRAINED
from ml.agents.run_spec import AgentSpec, AlgorithmSpec
from ml.api import DataRange, ForecastSpec
from tests.qt.training_kit import Trainer, shown_dock

DAY_NS = 86_400 * 10**9


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


@pytest.fixture
def dock(trainer: Trainer, theme: ThemeManager) -> Iterator[TrainingDock]:
    with shown_dock(trainer, theme) as panel:
        yield panel


def spec(*, lowest: float = 0.0, origin: DataOrigin = BINANCE, **algorithm: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"steps": 100_000, "seeds": 3, "patience": 2, "seed": 7}
    return AgentSpec(
        data=DataRange(origin, "BTC/USDT", "1h"),
        environment=EnvironmentSpec(lowest=lowest, highest=1.0),
        algorithm=replace(AlgorithmSpec(), **defaults | algorithm),
    ).to_json()


def queued(dock: TrainingDock, asked: dict[str, Any], name: str = "a1") -> None:
    dock.on_queue(TrainingQueue((QueuedRun(name, asked, 0, state=QueueState.RUNNING),)))


def record(seed: int, step: int, log_return: float, **values: Any) -> ValidationRecord:
    return ValidationRecord(seed, step, log_return, 0.05, 0.4, 1.0, 9_000.0, **values)


def said(index: int, step: int, *passes: tuple[int, float], run_id: str = "a1", **values: Any) -> AgentProgress:
    """Return a message of a seed that has made these passes: step and net log return."""
    records = [record(7 + index, at, found) for at, found in passes]
    best = max(records, key=lambda each: each.log_return, default=None)
    return replace(
        AgentProgress(run_id, "training", step, 100_000, index, 3),
        last=records[-1] if records else None,
        best_return=None if best is None else best.log_return,
        best_step=0 if best is None else best.step,
        steps_per_s=4_000.0,
        eta_s=60.0,
        device="CPU, 2 threads (no GPU was found)",
        cpu_percent=180.0,
        rss_bytes=500_000_000,
        **values,
    )


def tell(dock: TrainingDock, *messages: AgentProgress) -> None:
    for message in messages:
        dock.on_agent_progress(message)
    dock._on_frame()


def watch_of(run: TrainingRun) -> AgentWatch:
    assert run.agent is not None
    return run.agent


def cells(dock: TrainingDock, name: str) -> list[str]:
    return dock.agent.findChild(FigureTable, name).texts()


def figures(dock: TrainingDock) -> dict[str, str]:
    captions = [label.text() for label in dock.agent.captions]
    return dict(zip(captions, (figure.full_text() for figure in dock.agent.figures), strict=True))


def test_seeds_that_speak_in_turns_keep_their_own_newest_figures(dock: TrainingDock) -> None:
    queued(dock, spec())
    assert dock.agent.phase.text() == "Starting the trainer …"
    tell(dock, AgentProgress("a1", "loading", steps=100_000, seeds=3))
    assert dock.agent.phase.text() == "Reading bars"
    assert dock.agent.bar.maximum() == 0  # busy, no share yet
    learning = LearningFigures(0.0031, 0.42, -0.01, 0.0042, 0.31, 1.2)
    first = replace(said(0, 20_000, (20_000, 0.02)), last=record(7, 20_000, 0.02, learning=learning))
    tell(dock, first, said(1, 10_000), said(0, 30_000, (20_000, 0.02)), said(2, 20_000, (10_000, -0.4)))
    assert dock.agent.phase.text() == "Training, 3 seeds side by side"
    assert figures(dock) == {
        "Steps": "60.0k / 300k",
        "Time left": "1 min 03 s",
        "Speed": "12.0k steps/s",
        "Device": "CPU, 2 threads",
        "Load": "CPU 180\u00a0%",
        "Memory": "500\u00a0MB",
    }
    assert "no GPU was found" in dock.agent.figures[3].toolTip()
    rows = cells(dock, "agent_validation")
    assert rows[:6] == ["Seed", "Steps", "Newest", "Best", "Turnover", "Exposure"]
    assert rows[6:12] == ["1", "30.0k", "+0.0200", "+0.0200", "0.050", "40.0 %".replace(" ", "\u00a0")]
    assert rows[12:18] == ["2", "10.0k", *["—"] * 4]
    assert rows[18:22] == ["3", "20.0k", "−0.4000", "−0.4000"]
    assert dock.list.item(0).text().endswith("20\u00a0% learned · 1 min 03 s left")


def test_a_seed_out_of_patience_counts_as_learned(dock: TrainingDock) -> None:
    queued(dock, spec())
    tell(dock, said(0, 10_000, (10_000, 0.3)), said(0, 20_000, (10_000, 0.3), (20_000, 0.1)))
    tell(dock, said(0, 30_000, (10_000, 0.3), (30_000, 0.2)))
    tell(dock, said(1, 50_000))
    (run,) = dock.runs
    assert run.share == pytest.approx((1.0 + 0.5) / 3)
    assert dock.agent.phase.text() == "Training, seed 2 of 3"
    assert figures(dock)["Speed"] == "4.00k steps/s"  # of the one that learns


def test_seeds_done_in_an_earlier_session_are_not_learned_again() -> None:
    watch = AgentWatch.of(spec())
    watch.take(said(2, 50_000))
    assert watch.share == pytest.approx((2.0 + 0.5) / 3)


def test_an_encoder_that_is_trained_first_is_no_seed(dock: TrainingDock) -> None:
    queued(dock, spec())
    tell(dock, AgentProgress("a1", "encoder", 4, 10, 1, 3))
    assert dock.agent.phase.text() == "Training the forecaster: epoch 4 of 10, network 2 of 3"
    assert "forecaster 47" in dock.list.item(0).text()
    tell(dock, AgentProgress("a1", "encoder_testing", 10, 10, 2, 3))
    assert dock.agent.phase.text() == "Testing the forecaster on unseen bars"
    assert dock.list.item(0).text().endswith("testing the forecaster")
    assert dock.runs[0].share is None  # the agent has not begun
    assert cells(dock, "agent_validation") == []
    assert dock.runs[0].agent is not None
    assert dock.runs[0].agent.seeds == {}


@pytest.mark.parametrize(
    ("passes", "kept"),
    [((), "before its first validation: only the forecaster is kept."), (((10_000, 0.1),), "Its checkpoint is kept.")],
)
def test_a_run_that_was_stopped_says_what_of_it_is_kept(
    dock: TrainingDock, passes: tuple[tuple[int, float], ...], kept: str
) -> None:
    queued(dock, spec())
    tell(dock, said(0, 15_000, *passes))
    dock.on_cancelled("a1", resumable=True)
    (run,) = dock.runs
    assert agent_note(run, watch_of(run))[0].endswith(kept)
    run.state = RunState.INTERRUPTED
    assert agent_note(run, watch_of(run))[0].endswith(kept)


def test_what_stands_still_has_neither_speed_nor_load_and_no_step_is_written_as_a_fraction(dock: TrainingDock) -> None:
    queued(dock, spec())
    tell(dock, said(0, 0))
    assert cells(dock, "agent_validation")[7] == "0"
    tell(dock, said(0, 5_000))
    (run,) = dock.runs
    assert figures(dock)["Speed"] != MISSING
    run.state = RunState.PAUSED
    dock.retranslate()
    assert (figures(dock)["Speed"], figures(dock)["Load"]) == (MISSING, MISSING)


def test_the_newest_pass_stands_beside_the_rules_and_gets_older_with_nobody(dock: TrainingDock) -> None:
    queued(dock, spec())
    tell(dock, said(0, 10_000, (10_000, 0.1)))
    assert not dock.agent.plot.isVisible()
    tell(dock, said(1, 10_000, (10_000, 0.1), curves=pass_curves(8, 10_000)))
    tell(dock, said(0, 20_000, (20_000, 0.1)))  # tells of a pass without its curves: nothing is taken away
    assert dock.agent.plot.isVisible()
    assert "(seed 2, 10.0k steps)" in dock.agent.plot.caption.text()
    drawn = {curve.name: curve for curve in dock.agent.plot.plot._curves}
    assert list(drawn) == ["This agent", "Buy and hold", "Hold, volatility-targeted", "Momentum", "Mean reversion"]
    assert len({(curve.colour, curve.dashed) for curve in drawn.values()}) == 5
    assert {len(curve.x) for curve in drawn.values()} == {200}
    assert drawn["Buy and hold"].x[0] == 0.0
    dock.pages.setCurrentWidget(dock.agent_curves)
    assert dock.agent_curves.equity.isVisible()
    validation = dock.agent_curves.plots["validation"].plot
    assert [(curve.name, curve.x, curve.y) for curve in validation._curves] == [
        ("seed 1", (10.0, 20.0), (0.1, 0.1)),
        ("seed 2", (10.0,), (0.1,)),
    ]
    assert not dock.agent_curves.plots["value_loss"].plot.isVisible()  # this algorithm said nothing of it
    assert dock.agent_curves.plots["load"].plot.isVisible()


def test_a_verdict_without_an_edge_is_no_success(dock: TrainingDock) -> None:
    queued(dock, spec())
    dock.on_queue(TrainingQueue())
    dock.on_agent_result(agent_result("a1"))
    assert dock.agent.phase.text() == "Finished in 10 min 04 s: 11.4M steps, 9 min 21 s of learning"
    assert dock.agent.note.text().startswith("No evidence of an edge after costs")
    assert dock.agent.note.property("role") == "warning"
    rows = cells(dock, "agent_result")
    assert rows[5:10] == ["This agent", "+97.6\u00a0%", "+2.02", "12.6\u00a0%", "38"]
    assert rows[15] == "Buy and hold"


@pytest.mark.parametrize(
    ("standing", "origin", "role"),
    [
        (EDGE, BINANCE, "success"),
        (EDGE, practice_origin("synthetic-1"), "warning"),
        (HOLD, BINANCE, "warning"),
        (UNTRAINED, BINANCE, "warning"),
    ],
)
def test_only_an_edge_on_real_bars_is_praised(standing: str, origin: DataOrigin, role: str) -> None:
    run = TrainingRun("a1")
    run.take_spec(spec(origin=origin))
    metrics = replace(agent_metrics(), standing=standing)
    run.take_agent_result(replace(agent_result("a1"), metrics=metrics))
    assert run.agent is not None
    text, found = agent_note(run, run.agent)
    assert found == role
    assert ("Invented practice market" in text) is (origin is not BINANCE)


def test_a_strategy_is_offered_of_what_a_spot_market_allows(dock: TrainingDock, qtbot) -> None:
    for name, lowest in (("long", 0.0), ("both", -1.0)):
        queued(dock, spec(lowest=lowest), name)
        dock.on_queue(TrainingQueue())
        dock.on_agent_result(agent_result(name))
    use, card = (dock.findChild(QPushButton, f"training_{name}") for name in ("use", "card"))
    assert dock.list.current_id() == "both"
    assert (use.isVisible(), card.isVisible()) == (False, True)
    dock.list.setCurrentRow(0)
    assert (use.isVisible(), card.isVisible()) == (True, True)
    model_id = agent_result().model_id
    with qtbot.waitSignal(dock.strategy_requested) as wanted:
        qtbot.mouseClick(use, Qt.MouseButton.LeftButton)
    assert wanted.args == [model_id]
    with qtbot.waitSignal(dock.model_requested) as wanted:
        qtbot.mouseClick(card, Qt.MouseButton.LeftButton)
    assert wanted.args == [model_id]


def test_settings_are_searched_for_forecasters_only(dock: TrainingDock) -> None:
    button = dock.findChild(QPushButton, "training_search")
    queued(dock, ForecastSpec().to_json(), "f1")
    assert button.isEnabled()
    queued(dock, spec())
    assert not button.isEnabled()
    assert button.toolTip() == "Settings are searched for forecasters only; an agent's are changed in the wizard."
    assert not dock.pages.isTabVisible(dock.pages.indexOf(dock.details))


def test_agents_and_forecasters_are_compared_apart(dock: TrainingDock, qtbot) -> None:
    dock.pages.setCurrentWidget(dock.comparison)
    tables = dock.comparison
    for name, kind in (("a", "ppo"), ("b", "ddpg")):
        queued(dock, spec(kind=kind), name)
    assert (tables.agents.proxy.rowCount(), tables.forecasts.isVisible()) == (0, True)
    dock.on_agent_result(agent_result("a"))
    dock.on_agent_result(agent_result("b", shift=0.2, algorithm="ddpg"))
    assert (tables.agents.proxy.rowCount(), tables.forecasts.proxy.rowCount()) == (2, 0)
    assert tables.agents.isVisible()
    assert not tables.forecasts.isVisible()  # an empty table says nothing
    tables.agents.sort_by("return", Qt.SortOrder.AscendingOrder)
    assert [tables.agents.proxy.record_at(row).run_id for row in (0, 1)] == ["b", "a"]
    header, *lines = (line.split("\t") for line in tables.agents.tsv().splitlines())
    row = dict(zip(header, lines[1], strict=True))
    assert row["Outcome"] == "○ No edge shown"
    assert (row["Net return"], row["Hold return"], row["Turnover"]) == ("97.6%", "283.8%", "38")
    tables.agents.row_activated.emit(tables.agents.proxy.record_at(0))
    assert dock.pages.currentWidget() is dock.agent
    dock.remove_run("b")
    assert tables.agents.proxy.rowCount() == 1


def test_korean_knows_every_word_of_an_agents_pages(dock: TrainingDock) -> None:
    i18n.set_language(i18n.Language.KOREAN)
    dock.retranslate()
    queued(dock, spec(seeds=5, steps=3_000_000))
    tell(dock, *agent_progress("a1"))
    dock.pages.setCurrentWidget(dock.agent_curves)
    texts = [label.text() for page in (dock.agent, dock.agent_curves) for label in page.findChildren(QLabel)]
    known = ("CPU", "KL", "GPU", "(MB")
    told = [word for text in texts for word in text.split() if any("A" <= char <= "z" for char in word)]
    assert [word for word in told if not word.endswith(("M", "MB", "k", "M,")) and word.rstrip(",") not in known] == []


def checkpoint(folder: Path, name: str, seed: int, *passes: tuple[int, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    history = [record(seed, step, found).to_json() for step, found in passes]
    (folder / name).write_text(json.dumps({"state": {"seed": seed, "history": history}}))


def test_a_run_of_an_earlier_session_shows_what_its_checkpoints_know(tmp_path: Path) -> None:
    asked = spec()
    folder = tmp_path / "agent-20260101-101010-abcdef"
    checkpoint(folder, "member-7.json", 7, (10_000, 0.1), (20_000, 0.3))
    checkpoint(folder, "checkpoint.json", 8, (10_000, -0.2))
    (folder / CURVES_FILE).write_text(json.dumps(pass_curves(8, 10_000).to_json()))
    run = past_run(RunRecord(folder.name, "agent", "cancelled", asked, {}, "", 1, 2), folder)
    assert (run.title, run.setup, run.resumable) == ("BTC/USDT 1h", "PPO", True)
    assert run.begun_ns == 1_767_262_210 * 10**9
    assert run.agent is not None
    assert {index: sorted(seed.records) for index, seed in run.agent.seeds.items()} == {
        0: [10_000, 20_000],
        1: [10_000],
    }
    assert run.agent.curves == pass_curves(8, 10_000)
    assert agent_headline(run, run.agent) == "Cancelled"


def test_a_finished_run_of_an_earlier_session_has_its_result_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    result = agent_result("agent-1")
    told = json.loads(json.dumps(result.to_json()))
    run = past_run(RunRecord("agent-1", "agent", "finished", spec(), told, "", 1, 2), tmp_path / "agent-1")
    assert run.agent is not None
    assert AgentResult.from_json(told) == result == run.agent.result
    assert run.model_id == result.model_id
    (tmp_path / "agent-2").mkdir()
    (tmp_path / "agent-2" / CURVES_FILE).write_text('{"seed": 1')
    odd = past_run(RunRecord("agent-2", "agent", "finished", spec(), {"figures": 1}, "", 1, 2), tmp_path / "agent-2")
    assert odd.agent is not None
    assert (odd.state, odd.model_id, odd.agent.curves) == (RunState.FINISHED, "", None)
    assert agent_note(odd, odd.agent)[0].startswith("Its figures cannot be read")


def test_a_checkpoint_of_the_encoder_is_one_of_the_run(tmp_path: Path) -> None:
    assert not can_go_on(tmp_path)
    epoch = {"epoch": 1, "train_loss": 1.0, "valid_loss": 1.0, "seconds": 1.0}
    (tmp_path / "encoder").mkdir()
    state = {"seed": 1, "best_epoch": 1, "history": [epoch]}
    (tmp_path / "encoder" / "checkpoint.json").write_text(json.dumps({"state": state}))
    assert can_go_on(tmp_path)
    assert kept_passes(tmp_path) == []
