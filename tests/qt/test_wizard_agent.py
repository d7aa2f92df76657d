"""The wizard's pages about an agent, driven by mouse and keys on an offscreen screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QScrollArea,
    QSpinBox,
    QWidget,
    QWizard,
)
from pytestqt.qtbot import QtBot

from app.flows.agent_draft import Direction, Subject
from app.flows.datasets import StoredForecaster
from app.flows.training_flow import Step
from app.i18n import Language
from app.language import LanguageManager
from app.theme import ThemeManager
from app.ui.wizards.agent_pages import AlgorithmPage, EnvironmentPage
from app.ui.wizards.data_page import DataPage
from app.ui.wizards.fields import Expander, Figure
from app.ui.wizards.review_page import ReviewPage
from app.ui.wizards.step_page import StepPage
from app.ui.wizards.training_wizard import StepList, TrainingWizard
from core.domain.data_origin import BINANCE
from ml.agents.run_spec import AgentSpec, AlgorithmSpec, EncoderSpec
from ml.api import ForecastSpec
from ml.spec_file import read_run_spec
from tests.qt.wizard_kit import START, FakeSources, child, click, dataset, open_advanced, problem, shown_wizard

NEXT, BACK, FINISH = (
    QWizard.WizardButton.NextButton,
    QWizard.WizardButton.BackButton,
    QWizard.WizardButton.FinishButton,
)
MODEL = "0123456789abcdef"


@pytest.fixture
def wizard(qtbot: QtBot, theme: ThemeManager, language: LanguageManager) -> TrainingWizard:
    return shown_wizard(qtbot, theme, language)


def choose(wizard: TrainingWizard, subject: Subject) -> None:
    """Say what is trained, as a person does: by its place in the list."""
    page = wizard.currentPage()
    assert isinstance(page, DataPage)
    child(page, QComboBox, "subject_box").setCurrentIndex(list(Subject).index(subject))
    assert wizard.flow.subject is subject


def walk(qtbot: QtBot, wizard: TrainingWizard, step: Step) -> StepPage:
    while wizard.flow.step is not step:
        before, steps = wizard.flow.step, wizard.flow.steps
        click(qtbot, wizard, NEXT if steps.index(step) > steps.index(before) else BACK)
        assert wizard.flow.step is not before, problem(wizard)
    page = wizard.currentPage()
    assert isinstance(page, StepPage)
    assert page.step is step
    return page


def type_in(qtbot: QtBot, wizard: TrainingWizard, name: str, text: str) -> None:
    line = child(wizard.currentPage(), QLineEdit, name)
    line.selectAll()
    qtbot.keyClicks(line, text)


def row_is_shown(page: StepPage, name: str) -> bool:
    row = page.rows[name]
    shown = {part.isHidden() for part in (row.label, row.field, row.note)}
    assert len(shown) == 1, name
    return shown == {False}


@pytest.mark.parametrize("subject", [Subject.AGENT, Subject.BOTH])
def test_the_pages_lead_to_an_agent(qtbot: QtBot, wizard: TrainingWizard, subject: Subject) -> None:
    choose(wizard, subject)
    seen = [wizard.flow.step]
    while wizard.flow.step is not Step.REVIEW:
        qtbot.keyClick(wizard, Qt.Key.Key_Return)
        seen.append(wizard.flow.step)
    assert tuple(seen) == wizard.flow.steps
    assert (Step.MODEL in seen) is (subject is Subject.BOTH)
    with qtbot.waitSignal(wizard.training_requested) as caught:
        click(qtbot, wizard, FINISH)
    (spec,) = caught.args
    assert isinstance(spec, AgentSpec)
    assert spec.encoder.train_first is (subject is Subject.BOTH)
    assert (spec.environment.lowest, spec.environment.highest) == (0.0, 1.0)
    assert not wizard.isVisible()


def test_the_list_of_steps_follows_the_choice(qtbot: QtBot, wizard: TrainingWizard) -> None:
    steps = child(wizard, StepList, "step_list")
    assert steps.accessibleName() == "Step 1 of 7: Data range"
    choose(wizard, Subject.BOTH)
    assert steps.accessibleName() == "Step 1 of 9: Data range"
    walk(qtbot, wizard, Step.ALGORITHM)
    assert steps.accessibleName() == "Step 6 of 9: Algorithm"
    walk(qtbot, wizard, Step.DATA)
    choose(wizard, Subject.FORECASTER)
    walk(qtbot, wizard, Step.REVIEW)
    assert steps.accessibleName() == "Step 7 of 7: Review"


def test_going_back_and_choosing_something_else_loses_nothing(qtbot: QtBot, wizard: TrainingWizard) -> None:
    choose(wizard, Subject.AGENT)
    walk(qtbot, wizard, Step.ALGORITHM)
    type_in(qtbot, wizard, "hidden_edit", "32, 16")
    choice = child(wizard, QComboBox, "algorithm_box")
    choice.setCurrentText("DDPG")
    assert child(wizard, QLineEdit, "hidden_edit").text() == "64, 64"
    assert wizard.flow.spec().algorithm == AlgorithmSpec.of("ddpg")  # type: ignore[union-attr]
    walk(qtbot, wizard, Step.DATA)
    choose(wizard, Subject.FORECASTER)
    walk(qtbot, wizard, Step.REVIEW)
    assert isinstance(wizard.flow.spec(), ForecastSpec)
    walk(qtbot, wizard, Step.DATA)
    choose(wizard, Subject.AGENT)
    walk(qtbot, wizard, Step.ALGORITHM)
    assert choice.currentText() == "DDPG"
    choice.setCurrentText("PPO")
    assert child(wizard, QLineEdit, "hidden_edit").text() == "32, 16"


def test_weights_that_no_spot_market_allows_are_named_on_the_page_and_in_the_review(
    qtbot: QtBot, wizard: TrainingWizard
) -> None:
    choose(wizard, Subject.AGENT)
    page = walk(qtbot, wizard, Step.ENVIRONMENT)
    warning, direction = child(page, QLabel, "spot_label"), child(page, QComboBox, "direction_box")
    assert (direction.currentText(), warning.isHidden()) == ("Long only (spot)", True)
    assert not row_is_shown(page, "lowest")
    direction.setCurrentIndex(list(Direction).index(Direction.BOTH))
    assert "cannot be traded on a spot market" in warning.text()
    assert not warning.isHidden()
    direction.setCurrentIndex(list(Direction).index(Direction.OWN))
    assert row_is_shown(page, "lowest")
    assert child(page, QLineEdit, "lowest_edit").text() == "-1"
    type_in(qtbot, wizard, "lowest_edit", "0")
    assert warning.isHidden()
    type_in(qtbot, wizard, "highest_edit", "2")
    assert not warning.isHidden()
    walk(qtbot, wizard, Step.REVIEW)
    assert not child(wizard, QLabel, "review_spot").isHidden()
    walk(qtbot, wizard, Step.DATA)
    choose(wizard, Subject.FORECASTER)
    walk(qtbot, wizard, Step.REVIEW)
    assert child(wizard, QLabel, "review_spot").isHidden()


def test_rows_come_and_go_with_the_choices_and_do_not_count_when_gone(qtbot: QtBot, wizard: TrainingWizard) -> None:
    choose(wizard, Subject.AGENT)
    page = walk(qtbot, wizard, Step.ENVIRONMENT)
    assert not any(row_is_shown(page, name) for name in ("levels", "drawdown_penalty", "encoder_embedding"))
    child(page, QComboBox, "actions_box").setCurrentText("A few weights")
    child(page, QComboBox, "reward_box").setCurrentText("Growth less drawdown")
    assert row_is_shown(page, "levels")
    assert row_is_shown(page, "drawdown_penalty")
    type_in(qtbot, wizard, "drawdown_penalty_edit", "x")
    child(page, QComboBox, "reward_box").setCurrentText("Growth of the equity")
    assert row_is_shown(page, "drawdown_penalty")  # what is wrong is never hidden
    type_in(qtbot, wizard, "drawdown_penalty_edit", "2")
    assert not row_is_shown(page, "drawdown_penalty")
    child(page, QComboBox, "actions_box").setCurrentText("Any weight")
    page = walk(qtbot, wizard, Step.ALGORITHM)
    expander = open_advanced(wizard)
    assert row_is_shown(page, "clip_range")
    assert not row_is_shown(page, "tau")
    button = child(expander, QWidget, "advanced_button")
    type_in(qtbot, wizard, "clip_range_edit", "0.3")
    type_in(qtbot, wizard, "gamma_edit", "0.9")
    assert button.accessibleName() == "Advanced settings · 2 changed"
    child(page, QComboBox, "algorithm_box").setCurrentText("SAC")
    assert button.accessibleName() == "Advanced settings"
    assert not row_is_shown(page, "clip_range")
    assert row_is_shown(page, "tau")


def test_a_wrong_entry_holds_the_person_on_the_page_and_is_named_beside_it(
    qtbot: QtBot, wizard: TrainingWizard
) -> None:
    choose(wizard, Subject.AGENT)
    page = walk(qtbot, wizard, Step.ALGORITHM)
    type_in(qtbot, wizard, "steps_edit", "3,000,000")
    click(qtbot, wizard, NEXT)
    assert wizard.flow.step is Step.ALGORITHM
    assert "without separators" in page.rows["steps"].note.text()
    type_in(qtbot, wizard, "steps_edit", "3000000")
    open_advanced(wizard)
    type_in(qtbot, wizard, "gamma_edit", "2")
    expander = page.findChild(Expander)
    assert expander is not None
    expander.set_open(False)
    click(qtbot, wizard, NEXT)
    assert (wizard.flow.step, expander.is_open) == (Step.ALGORITHM, True)
    assert "0 to 1" in problem(wizard)


def test_a_forecaster_that_is_stored_is_offered_when_it_was_read(
    qtbot: QtBot, theme: ThemeManager, language: LanguageManager
) -> None:
    sources = FakeSources(dataset())
    sources.answer_at_once = False
    built = TrainingWizard(sources, theme, language)
    qtbot.addWidget(built)
    built.show()
    choose(built, Subject.ON_STORED)
    assert problem(built) == "The stored models are being read."
    click(qtbot, built, NEXT)
    assert built.flow.step is Step.DATA
    found = (StoredForecaster(MODEL, BINANCE, "BTC/USDT", "1h", "lstm", (1, 4), START, 0, 0),)
    sources.asked_forecasters[0](found)
    qtbot.waitUntil(lambda: built.flow.step is Step.FEATURES)  # the wish to go on had to wait
    walk(qtbot, built, Step.DATA)
    box = child(built, QComboBox, "encoder_model_box")
    assert (box.isVisible(), box.currentText()) == (True, "LSTM, 1, 4 bars ahead, 2024-01-01 · 01234567")
    spec = built.flow.spec()
    assert isinstance(spec, AgentSpec)
    assert spec.encoder == EncoderSpec(model=MODEL)
    choose(built, Subject.AGENT)
    assert box.isHidden()


def test_further_markets_are_ticked(qtbot: QtBot, wizard: TrainingWizard) -> None:
    page = wizard.currentPage()
    assert isinstance(page, DataPage)
    markets = child(page, QListWidget, "further_markets_list")
    assert markets.isHidden()
    choose(wizard, Subject.AGENT)
    assert not markets.isHidden()
    markets.item(0).setCheckState(Qt.CheckState.Checked)
    spec = wizard.flow.spec()
    assert isinstance(spec, AgentSpec)
    assert spec.universe.symbols == ("ETH/USDT",)
    choose(wizard, Subject.BOTH)
    assert markets.isHidden()


@pytest.mark.parametrize("step", [Step.DATA, Step.MODEL, Step.REVIEW])
def test_an_agents_configuration_is_saved_and_fills_every_page_of_any_wizard(
    qtbot: QtBot, wizard: TrainingWizard, theme: ThemeManager, language: LanguageManager, tmp_path: Path, step: Step
) -> None:
    choose(wizard, Subject.BOTH)
    wizard.flow.update(algorithm="td3", steps="200000", highest="0.5", reward="drawdown", draws=100, hidden_size=48)
    wizard.files.save(str(tmp_path / "agent.toml"))
    spec = wizard.flow.spec()
    assert read_run_spec(tmp_path / "agent.toml") == spec
    other = shown_wizard(qtbot, theme, language)
    walk(qtbot, other, step)
    other.files.load(str(tmp_path / "agent.toml"))
    told = child(other.currentPage(), QLabel, "problem_label")
    assert (told.text(), told.property("role")) == ("Loaded: agent.toml", "success")
    assert (other.flow.step, other.flow.subject) == (Step.DATA, Subject.BOTH)
    assert child(other, QComboBox, "subject_box").currentText() == "A forecaster, then an agent"
    for each in other.flow.steps[:-1]:
        page = walk(qtbot, other, each)
        for name, row in page.rows.items():
            match row.field:
                case QSpinBox() as box:
                    assert box.value() == other.flow.entry(name), name
                case QLineEdit() as edit:
                    assert edit.text() == other.flow.entry(name), name
    walk(qtbot, other, Step.REVIEW)
    with qtbot.waitSignal(other.training_requested) as caught:
        click(qtbot, other, FINISH)
    assert caught.args == [spec]


def test_nothing_is_said_to_trade_by_the_forecast_that_an_agent_sees(qtbot: QtBot, wizard: TrainingWizard) -> None:
    for subject, trades in ((Subject.FORECASTER, True), (Subject.BOTH, False)):
        walk(qtbot, wizard, Step.DATA)
        choose(wizard, subject)
        page = walk(qtbot, wizard, Step.MODEL)
        assert ("The first one trades" in page.row_texts()["horizons"][1]) is trades


def test_the_review_is_built_anew_for_another_choice(qtbot: QtBot, wizard: TrainingWizard) -> None:
    page = walk(qtbot, wizard, Step.REVIEW)
    assert isinstance(page, ReviewPage)
    forecast = page.lines
    for subject, words in ((Subject.BOTH, "The forecaster takes"), (Subject.AGENT, "Random timings")):
        walk(qtbot, wizard, Step.DATA)
        choose(wizard, subject)
        walk(qtbot, wizard, Step.REVIEW)
        assert words in dict(page.lines)
        shown = [label.text() for label in page.findChildren(QLabel) if not label.isHidden()]
        assert set(dict(page.lines)) <= set(shown)
        rules = dict(page.lines)["Compared with"].split(" · ")
        assert {"Holding nothing", "Buy and hold", "Hold, volatility-targeted", "Random timing"} <= set(rules)
        assert ("The forecaster's sign" in rules) is (subject is Subject.BOTH)
    walk(qtbot, wizard, Step.DATA)
    choose(wizard, Subject.FORECASTER)
    walk(qtbot, wizard, Step.REVIEW)
    assert page.lines == forecast


def test_what_a_run_takes_is_told_before_it_starts(qtbot: QtBot, wizard: TrainingWizard) -> None:
    choose(wizard, Subject.AGENT)
    page = walk(qtbot, wizard, Step.ALGORITHM)
    assert isinstance(page, AlgorithmPage)
    figures = [figure.value() for figure in page.findChildren(Figure)]
    assert figures[0] == "at most 3,000,000 × 5 networks"
    page = walk(qtbot, wizard, Step.RESOURCES)
    names = [figure.accessibleName() for figure in page.findChildren(Figure) if not figure.isHidden()]
    assert len(names) == 3
    assert not any("duration" in name for name in names)  # how fast decisions are made nobody knows before
    walk(qtbot, wizard, Step.DATA)
    choose(wizard, Subject.BOTH)
    page = walk(qtbot, wizard, Step.RESOURCES)
    names = [figure.accessibleName() for figure in page.findChildren(Figure) if not figure.isHidden()]
    assert any(name.startswith("Estimated duration of the forecaster") for name in names)


def test_the_wheel_changes_nothing_unseen(qtbot: QtBot, wizard: TrainingWizard, qapp: QApplication) -> None:
    choose(wizard, Subject.AGENT)
    for step in (Step.ENVIRONMENT, Step.ALGORITHM):
        page = walk(qtbot, wizard, step)
        open_advanced(wizard)
        before = wizard.flow.draft
        for field in page.findChildren(QComboBox) + page.findChildren(QSpinBox):
            if field.hasFocus():
                continue
            at = QPointF(5, 5)
            wheel = QWheelEvent(
                at,
                field.mapToGlobal(at),
                QPointF(0, 120).toPoint(),
                QPointF(0, 120).toPoint(),
                Qt.MouseButton.NoButton,
                Qt.KeyboardModifier.NoModifier,
                Qt.ScrollPhase.NoScrollPhase,
                False,
            )
            qapp.sendEvent(field, wheel)
        assert wizard.flow.draft == before


@pytest.mark.parametrize("chosen", list(Language))
def test_nothing_scrolls_sideways_and_everything_has_a_name(
    qtbot: QtBot, wizard: TrainingWizard, language: LanguageManager, chosen: Language
) -> None:
    language.set_language(chosen)
    wizard.resize(wizard.minimumSize())
    choose(wizard, Subject.BOTH)
    wizard.flow.update(direction=Direction.BOTH, actions="discrete")
    for step in wizard.flow.steps:
        page = walk(qtbot, wizard, step)
        if page.findChild(Expander) is not None:
            open_advanced(wizard)
        qtbot.wait(1)
        area = child(page, QScrollArea, "step_area")
        assert area.widget().minimumSizeHint().width() <= area.viewport().width(), step
        if isinstance(page, EnvironmentPage | AlgorithmPage):
            for name, row in page.rows.items():
                assert row.field.accessibleName(), name
                assert row.field.accessibleDescription(), name


def test_every_control_of_an_agents_pages_is_reached_by_tab(qtbot: QtBot, wizard: TrainingWizard) -> None:
    wizard.activateWindow()
    choose(wizard, Subject.AGENT)
    for step in (Step.ENVIRONMENT, Step.ALGORITHM):
        page = walk(qtbot, wizard, step)
        open_advanced(wizard)
        wanted = {row.field for row in page.rows.values() if row.field.isVisible()}
        seen: list[QWidget] = []
        for _ in range(60):
            focus = wizard.focusWidget()
            if focus is not None:
                seen.append(focus)
                qtbot.keyClick(focus, Qt.Key.Key_Tab)
        assert [field.objectName() for field in wanted if field not in seen] == [], step
