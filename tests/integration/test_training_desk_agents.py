"""Agents as the window trains them, over real workers and a real trainer: from the queue to a stored model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.language import LanguageManager
from app.past_runs import kept_passes
from app.theme import ThemeManager
from app.training_desk import LAST_CONFIGURATION
from app.training_reads import read_configuration
from app.ui.docks.training_agents import AgentWatch
from app.ui.docks.training_runs import RunState
from core.config import DataPaths
from core.events import Severity
from core.persistence.store import Store
from ml.agents.run_spec import PPO, AgentSpec
from ml.api import ForecastSpec
from ml.model_storage import list_models
from tests.integration.desk_kit import Session, Start, folder_with_bars, sessions
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_runs import short_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LIMIT = 60_000


@pytest.fixture
def paths(tmp_path: Path, trained: Trained) -> DataPaths:
    return folder_with_bars(DataPaths(tmp_path), trained)


@pytest.fixture
def session(paths: DataPaths, theme: ThemeManager, language: LanguageManager) -> Start:
    return sessions(paths, theme, language)


def spot(**algorithm: Any) -> AgentSpec:
    """Return a short run whose agent a spot market lets trade."""
    spec = short_spec(PPO)
    environment = replace(spec.environment, lowest=0.0, highest=1.0)
    return replace(spec, environment=environment, algorithm=replace(spec.algorithm, **algorithm)).validate()


def endless() -> AgentSpec:
    return spot(steps=200_000_000, evaluations=10_000, patience=10_000, seeds=1)


def watch(now: Session, run_id: str) -> AgentWatch:
    found = now.dock._runs[run_id].agent
    assert found is not None
    return found


def passes(now: Session, run_id: str) -> int:
    return sum(len(seed.records) for seed in watch(now, run_id).seeds.values())


def is_in(now: Session, run_id: str, state: RunState) -> Callable[[], bool]:
    return lambda: now.dock._runs[run_id].state is state


def test_an_agent_goes_from_the_queue_to_a_stored_model_and_is_there_after_a_restart(
    session: Start, qtbot: QtBot, paths: DataPaths
) -> None:
    with session() as now:
        run_id = now.desk.start_training(spot().to_json())
        assert run_id.startswith("agent-")
        qtbot.waitUntil(lambda: watch(now, run_id).result is not None, timeout=LIMIT)
        result = watch(now, run_id).result
        assert result is not None
        curves = watch(now, run_id).curves
        assert curves is not None
        assert (curves.seed, curves.step) == (result.history[-1].seed, result.history[-1].step)
        assert "hold" in [rule.name for rule in curves.rules]
        assert passes(now, run_id) == len(result.history)
        (notice,) = now.heard.notices
        assert notice.title == "Agent trained: BTC/USDT 1h · PPO"
        assert notice.text == result.metrics.verdict
        praised = result.metrics.standing == "edge"
        assert notice.severity is (Severity.SUCCESS if praised else Severity.INFO)
        assert now.rows()[0].startswith("BTC/USDT 1h · PPO · ")
        assert [row.model_id for row in list_models(paths.models)] == [result.model_id]
        qtbot.mouseClick(now.button("training_use"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: now.heard.wanted == [result.model_id], timeout=LIMIT)

    store = Store(paths.store_db)
    (booked,) = store.runs()
    store.close()
    assert (booked.run_id, booked.kind, booked.state) == (run_id, "agent", "finished")
    with session() as later:
        qtbot.waitUntil(lambda: len(later.rows()) == 1, timeout=LIMIT)
        assert watch(later, run_id).result == result
        assert watch(later, run_id).curves == curves
        assert later.dock.agent.plot.isVisible()
        assert later.button("training_use").isVisible()


def test_an_agent_pauses_goes_on_is_cancelled_and_resumes_from_its_checkpoint(
    session: Start, qtbot: QtBot, paths: DataPaths
) -> None:
    with session() as first:
        run_id = first.desk.start_training(endless().to_json())
        follower = first.desk.start_training(ForecastSpec().to_json(), after=run_id)
        kept = functools.partial(kept_passes, paths.runs / run_id)
        assert [run.run_id for run in first.dock.runs] == [run_id, follower]
        first.desk.cancel_training(follower)
        qtbot.waitUntil(lambda: passes(first, run_id) >= 1, timeout=LIMIT)
        first.desk.pause_training(run_id)
        qtbot.waitUntil(is_in(first, run_id, RunState.PAUSED), timeout=LIMIT)
        stood = len(kept()[0])
        qtbot.wait(1_000)
        assert len(kept()[0]) == stood  # nothing is learned meanwhile
        assert first.desk.close_warnings() == [
            "1 agent stops learning now; it can go on later from its last checkpoint."
        ]
        first.desk.continue_training(run_id)
        qtbot.waitUntil(lambda: len(kept()[0]) > stood, timeout=LIMIT)
        first.desk.cancel_training(run_id)
        qtbot.waitUntil(is_in(first, run_id, RunState.CANCELLED), timeout=LIMIT)
        (before,) = kept()

    with session() as second:
        qtbot.waitUntil(lambda: len(second.rows()) >= 1, timeout=LIMIT)
        assert passes(second, run_id) == len(before)
        assert watch(second, run_id).curves is not None
        assert second.dock._runs[run_id].resumable
        second.desk.resume_training(run_id)
        qtbot.waitUntil(lambda: passes(second, run_id) > len(before), timeout=LIMIT)
        (after,) = kept()
        assert after[: len(before)] == before
        second.desk.cancel_training(run_id)
        qtbot.waitUntil(is_in(second, run_id, RunState.CANCELLED), timeout=LIMIT)
        second.desk.forget_training(run_id)
        qtbot.waitUntil(lambda: run_id not in second.dock._runs, timeout=LIMIT)
        assert not (paths.runs / run_id).exists()


def test_the_last_configuration_of_an_agent_is_kept_as_one(session: Start, qtbot: QtBot, paths: DataPaths) -> None:
    file = paths.root / LAST_CONFIGURATION
    with session() as now:
        now.desk._on_training_requested(endless())
        qtbot.waitUntil(file.exists, timeout=LIMIT)
        assert now.desk.busy == 1
        now.desk.cancel_training(now.dock.runs[0].run_id)
        qtbot.waitUntil(lambda: not now.desk.busy, timeout=LIMIT)
    assert read_configuration(file) == endless()


def test_bad_settings_of_an_agent_are_a_notice(session: Start) -> None:
    bad = replace(spot(), environment=replace(spot().environment, close_out=True))
    with session() as now:
        assert now.desk.start_training(bad.to_json()) == ""
        assert now.heard.notices[0].title == "The training was not started"
