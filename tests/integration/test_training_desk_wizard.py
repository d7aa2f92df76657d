"""From the wizard's pages about an agent to a stored model, over real workers and a real trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWizard
from pytestqt.qtbot import QtBot

from app.flows.agent_draft import Subject
from app.flows.training_flow import Step
from app.language import LanguageManager
from app.theme import ThemeManager
from app.ui.wizards.training_wizard import TrainingWizard
from core.config import DataPaths
from ml.agents.package import StoredAgent
from ml.model_storage import AGENT, list_models, load_any
from tests.integration.desk_kit import Session, Start, folder_with_bars, sessions
from tests.trained_model import Trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LIMIT = 240_000
SHORT: dict[str, Any] = {
    "feature_set": "price",
    "steps": "6144",
    "windows": 64,
    "n_steps": 16,
    "batch": 512,
    "hidden": "16",
    "agent_seeds": 1,
    "evaluations": 2,
    "episode": 64,
    "resamples": 100,
    "draws": 39,
    "device": "cpu",
    "threads": 1,
}
FORECASTER: dict[str, Any] = {"hidden_size": 8, "epochs": 1, "encoder_seeds": 1, "encoder_embedding": False}


@pytest.fixture
def paths(tmp_path: Path, trained: Trained) -> DataPaths:
    made = folder_with_bars(DataPaths(tmp_path), trained)
    trained.copy_to(made.models)
    return made


@pytest.fixture
def session(paths: DataPaths, theme: ThemeManager, language: LanguageManager) -> Start:
    return sessions(paths, theme, language)


def opened(now: Session, qtbot: QtBot) -> TrainingWizard:
    """Open the wizard once the desk knows what is stored."""
    now.desk.refresh()
    qtbot.waitUntil(lambda: len(now.desk.datasets()) > 0, timeout=LIMIT)
    now.desk.open_wizard()
    wizard = now.desk.wizard
    assert wizard is not None
    return wizard


def agents(paths: DataPaths) -> list[str]:
    return [row.model_id for row in list_models(paths.models) if row.family == AGENT and not row.problem]


def ask_for(qtbot: QtBot, wizard: TrainingWizard) -> None:
    """Walk to the end and add the run to the queue."""
    while wizard.flow.step is not Step.REVIEW:
        before = wizard.flow.step
        qtbot.mouseClick(wizard.button(QWizard.WizardButton.NextButton), Qt.MouseButton.LeftButton)
        assert wizard.flow.step is not before, wizard.flow.problem(before)
    qtbot.mouseClick(wizard.button(QWizard.WizardButton.FinishButton), Qt.MouseButton.LeftButton)


@pytest.mark.parametrize("subject", [Subject.BOTH, Subject.ON_STORED])
def test_an_agent_that_sees_through_a_forecaster_is_trained_as_the_wizard_says(
    session: Start, qtbot: QtBot, paths: DataPaths, trained: Trained, subject: Subject
) -> None:
    with session() as now:
        wizard = opened(now, qtbot)
        wizard.flow.update(subject=subject, **SHORT, **FORECASTER)
        if subject is Subject.ON_STORED:
            qtbot.waitUntil(lambda: bool(wizard.flow.forecasters()), timeout=LIMIT)
            assert wizard.flow.draft.agent.encoder_model == trained.result.model_id
        spec = wizard.flow.spec()
        ask_for(qtbot, wizard)
        qtbot.waitUntil(lambda: bool(agents(paths)) or bool(now.heard.notices), timeout=LIMIT)
        assert [notice.title for notice in now.heard.notices if notice.title == "Training failed"] == []
        (made,) = agents(paths)
        stored = load_any(paths.models, made)
        assert isinstance(stored, StoredAgent)
        assert stored.spec.environment == spec.environment  # type: ignore[union-attr]
        assert stored.spec.algorithm == spec.algorithm  # type: ignore[union-attr]
        used = stored.spec.encoder.model
        assert (used == trained.result.model_id) is (subject is Subject.ON_STORED)
        assert used in {row.model_id for row in list_models(paths.models)}
        assert not stored.spec.encoder.embedding
        qtbot.waitUntil(lambda: now.desk.busy == 0, timeout=LIMIT)
    with session() as later:
        again = opened(later, qtbot)  # begins with what was asked for last
        assert again.flow.subject is subject
        qtbot.waitUntil(lambda: again.flow.problem(Step.REVIEW) is None, timeout=LIMIT)
        assert again.flow.spec() == spec
        later.desk.close_windows()
