"""The training wizard where something is missing, late or of another time: files, series, other markets, indicators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QListWidget, QPushButton, QRadioButton, QWidget, QWizard
from pytestqt.qtbot import QtBot

from app.flows.datasets import Dataset
from app.flows.training_flow import STEPS, Step
from app.i18n import Language
from app.language import LanguageManager
from app.theme import ThemeChoice, ThemeManager, UpDown
from app.ui.wizards.fields import Expander, HistoryLine
from app.ui.wizards.review_page import ReviewPage
from app.ui.wizards.side_data import ShortList
from app.ui.wizards.training_wizard import TrainingWizard
from core.errors import UserError
from ml.api import SeriesSource
from tests.qt.wizard_kit import FakeSources, click, dataset, open_advanced, problem

NEXT, BACK = QWizard.WizardButton.NextButton, QWizard.WizardButton.BackButton
FUNDING = SeriesSource("funding", "/data/funding.csv", "open", 28_800.0)
Z_SCORE = "funding(window=21).zscore"


class SlowSources(FakeSources):
    """Files that are read when the test says so."""

    def __init__(self, *datasets: Dataset) -> None:
        super().__init__(*datasets)
        self.reading: list[Callable[[], None]] = []

    def inspect_file(self, path: Path, done: Callable[[Dataset | UserError], None]) -> None:
        self.reading.append(lambda: FakeSources.inspect_file(self, path, done))


@pytest.fixture
def theme(qapp: QApplication) -> ThemeManager:
    manager = ThemeManager(qapp)
    manager.set_theme(ThemeChoice.DARK, UpDown.WESTERN)
    return manager


@pytest.fixture
def language(qapp: QApplication) -> LanguageManager:
    return LanguageManager()


@pytest.fixture
def sources() -> SlowSources:
    return SlowSources(dataset(), dataset("ETH/USDT"))


@pytest.fixture
def wizard(qtbot: QtBot, theme: ThemeManager, language: LanguageManager, sources: SlowSources) -> TrainingWizard:
    built = TrainingWizard(sources, theme, language)
    qtbot.addWidget(built)
    built.show()
    return built


def child(wizard: TrainingWizard, kind: type, name: str) -> QWidget:
    found = wizard.currentPage().findChild(kind, name)
    assert found is not None, name
    return found


def walk(qtbot: QtBot, wizard: TrainingWizard, step: Step) -> None:
    while wizard.flow.step is not step:
        forward = STEPS.index(step) > STEPS.index(wizard.flow.step)
        before = wizard.flow.step
        click(qtbot, wizard, NEXT if forward else BACK)
        assert wizard.flow.step is not before, problem(wizard)


def add_series(qtbot: QtBot, wizard: TrainingWizard, path: str, delay: str = "28800") -> None:
    open_advanced(wizard)
    for name, text in (("series_file_edit", path), ("series_column_edit", "open"), ("series_delay_edit", delay)):
        line = child(wizard, QLineEdit, name)
        line.selectAll()
        qtbot.keyClicks(line, text)
    qtbot.mouseClick(child(wizard, QPushButton, "series_add_button"), Qt.MouseButton.LeftButton)


def add_column(qtbot: QtBot, wizard: TrainingWizard, text: str) -> str:
    open_advanced(wizard)
    line = child(wizard, QLineEdit, "column_text_edit")
    line.setText(text)
    qtbot.keyClick(line, Qt.Key.Key_Return)
    answer = child(wizard, QLabel, "column_answer")
    return answer.text() if answer.isVisible() else ""


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["good.csv", "bad.csv"])
def test_next_waits_for_the_file_and_goes_on_by_itself(
    qtbot: QtBot, wizard: TrainingWizard, sources: SlowSources, name: str
) -> None:
    qtbot.keyClick(child(wizard, QRadioButton, "source_file"), Qt.Key.Key_Space)
    qtbot.keyClicks(child(wizard, QLineEdit, "file_edit"), f"/data/{name}")
    child(wizard, QLineEdit, "file_edit").editingFinished.emit()
    click(qtbot, wizard, NEXT)
    assert wizard.flow.step is Step.DATA
    assert problem(wizard) == "The file is being read."
    sources.reading.pop()()
    if name.startswith("good"):
        qtbot.waitUntil(lambda: wizard.flow.step is Step.FEATURES)
    else:
        qtbot.wait(20)
        assert wizard.flow.step is Step.DATA
        assert "bad.csv is damaged" in problem(wizard)


def test_who_changes_something_else_meanwhile_stays(qtbot: QtBot, wizard: TrainingWizard, sources: SlowSources) -> None:
    qtbot.keyClick(child(wizard, QRadioButton, "source_file"), Qt.Key.Key_Space)
    for name in ("first.csv", "second.csv"):
        line = child(wizard, QLineEdit, "file_edit")
        line.setText(f"/data/{name}")
        line.editingFinished.emit()
        if name == "first.csv":
            click(qtbot, wizard, NEXT)
    for answer in sources.reading:
        answer()
    qtbot.wait(20)
    assert wizard.flow.step is Step.DATA
    assert problem(wizard) == ""


# --- series -------------------------------------------------------------------------------------------------------


def test_a_series_of_another_time_is_told_at_once_and_no_targets_are_promised(
    qtbot: QtBot, wizard: TrainingWizard
) -> None:
    add_series(qtbot, wizard, "/data/later.csv")
    assert "is known from 2028-07-24 to 2029-08-28, and the chosen bars are of 2024-01-01 to" in problem(wizard)
    assert child(wizard, ShortList, "series_list").item(0).text().endswith("· 2028-07-24 to 2029-08-28")
    click(qtbot, wizard, NEXT)
    assert wizard.flow.step is Step.DATA
    add_series(qtbot, wizard, "/data/half.csv")
    assert problem(wizard) == ""
    walk(qtbot, wizard, Step.FEATURES)
    assert add_column(qtbot, wizard, Z_SCORE) == ""
    assert "4,981 of 8,990 bars have all that the columns" in child(wizard, QLabel, "warm_up_label").text()
    walk(qtbot, wizard, Step.REVIEW)
    page = wizard.currentPage()
    assert isinstance(page, ReviewPage)
    lines = dict(page.lines)
    assert lines["Series"] == "funding"
    assert lines["Bars"] == "8,990, of which 4,981 have all that the columns look at"
    assert lines["Targets"].startswith("about ")
    assert lines["Networks"] == "5"
    walk(qtbot, wizard, Step.DATA)
    add_series(qtbot, wizard, "/data/funding.csv")
    walk(qtbot, wizard, Step.REVIEW)
    assert dict(page.lines)["Bars"] == "8,990"  # the first bars lack the series no longer than they warm up


def test_a_series_that_is_filled_in_but_not_added_is_not_lost(qtbot: QtBot, wizard: TrainingWizard) -> None:
    add_series(qtbot, wizard, "/data/funding.csv", delay="-3")
    refusal = child(wizard, QLabel, "series_refusal")
    assert refusal.text() == "A value cannot be known before its own time: write 0 or more seconds."
    click(qtbot, wizard, NEXT)
    assert (wizard.flow.step, refusal.isVisible()) == (Step.DATA, True)
    line = child(wizard, QLineEdit, "series_delay_edit")
    line.selectAll()
    qtbot.keyClicks(line, "0")
    assert not refusal.isVisible()
    wizard.currentPage().findChild(Expander).set_open(False)
    click(qtbot, wizard, NEXT)
    assert wizard.flow.step is Step.DATA
    assert refusal.isVisible()
    assert "not added yet" in refusal.text()
    qtbot.mouseClick(child(wizard, QPushButton, "series_add_button"), Qt.MouseButton.LeftButton)
    click(qtbot, wizard, NEXT)
    assert wizard.flow.step is Step.FEATURES
    click(qtbot, wizard, BACK)
    child(wizard, QLineEdit, "series_file_edit").setText("/data/other.csv")
    child(wizard, QLineEdit, "series_file_edit").clear()
    click(qtbot, wizard, NEXT)
    assert wizard.flow.step is Step.FEATURES


def test_a_column_without_its_series_is_told_at_the_columns(qtbot: QtBot, wizard: TrainingWizard) -> None:
    add_series(qtbot, wizard, "/data/funding.csv")
    walk(qtbot, wizard, Step.FEATURES)
    assert add_column(qtbot, wizard, Z_SCORE) == ""
    walk(qtbot, wizard, Step.DATA)
    child(wizard, ShortList, "series_list").setCurrentRow(0)
    qtbot.mouseClick(child(wizard, QPushButton, "series_remove_button"), Qt.MouseButton.LeftButton)
    expander = wizard.page(1).findChild(Expander)
    expander.set_open(False)
    walk(qtbot, wizard, Step.FEATURES)
    assert expander.is_open
    assert not child(wizard, QLabel, "warm_up_label").isVisible()
    assert not child(wizard, QLabel, "problem_label").isVisible()
    assert "needs the series “funding”: add its file" in problem(wizard)


# --- markets and columns ------------------------------------------------------------------------------------------


def test_a_market_is_ticked_no_longer_than_a_column_looks_at_it(qtbot: QtBot, wizard: TrainingWizard) -> None:
    walk(qtbot, wizard, Step.FEATURES)
    assert add_column(qtbot, wizard, "log_return@ETH/USDT") == ""
    assert wizard.flow.spec().data.markets == ("ETH/USDT",)
    child(wizard, ShortList, "columns_list").setCurrentRow(0)
    qtbot.mouseClick(child(wizard, QPushButton, "column_remove_button"), Qt.MouseButton.LeftButton)
    assert wizard.flow.draft.markets == ()
    walk(qtbot, wizard, Step.DATA)
    markets = child(wizard, QListWidget, "markets_list")
    assert markets.item(0).checkState() is Qt.CheckState.Unchecked
    markets.item(0).setCheckState(Qt.CheckState.Checked)
    walk(qtbot, wizard, Step.REVIEW)
    page = wizard.currentPage()
    assert isinstance(page, ReviewPage)
    assert dict(page.lines)["Other markets"] == "ETH/USDT (left out, no column looks at it)"
    assert wizard.flow.spec().data.markets == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RSI(timeperiod=14)@1d", "needs 7,726 bars before its first value"),
        ("log_return@DOGE/USDT", "looks at DOGE/USDT, of which no 1h bars are stored"),
        ("log_return@BTC/USDT", "is the market the model forecasts"),
    ],
)
def test_a_column_that_cannot_be_is_refused_on_its_page(
    qtbot: QtBot, theme: ThemeManager, language: LanguageManager, text: str, words: str
) -> None:
    built = TrainingWizard(FakeSources(dataset(bars=5_990)), theme, language)
    qtbot.addWidget(built)
    built.show()
    walk(qtbot, built, Step.FEATURES)
    assert words in add_column(qtbot, built, text)
    assert built.flow.draft.columns == ()


@pytest.mark.parametrize(("typed", "found"), [("볼린저", "BBANDS"), ("이동평균", "SMA"), ("상대 강도", "RSI")])
def test_indicators_are_found_in_korean(
    qtbot: QtBot, wizard: TrainingWizard, language: LanguageManager, typed: str, found: str
) -> None:
    language.set_language(Language.KOREAN)
    walk(qtbot, wizard, Step.FEATURES)
    open_advanced(wizard)
    search = child(wizard, QLineEdit, "column_search_edit")
    search.setText(typed)
    results = child(wizard, QListWidget, "column_results")
    assert found in {results.item(row).text().split()[0] for row in range(results.count())}
    nothing = child(wizard, QLabel, "column_nothing_label")
    assert not nothing.isVisible()
    search.setText("없는지표")
    assert results.count() == 0
    assert nothing.isVisible()
    assert "지표가 없습니다" in nothing.text()


def test_the_preview_says_which_prices_and_days_it_shows(wizard: TrainingWizard) -> None:
    line = wizard.currentPage().findChild(HistoryLine)
    assert line.accessibleName() == "Closes from 1 to 3"
    before = line.grab().toImage()
    line.set_values((1.0, 3.0, 2.0), 0.0, 1.0, ("2019-01-01", "2020-01-01"))
    assert line.grab().toImage() != before
    line.set_values((2.0, 2.0))
    line.grab()  # a price that never moved has one line


def test_shares_that_leave_nothing_show_no_days(qtbot: QtBot, wizard: TrainingWizard) -> None:
    walk(qtbot, wizard, Step.EVALUATION)
    for name, share in (("train_percent_edit", "90"), ("valid_percent_edit", "15")):
        line = child(wizard, QLineEdit, name)
        line.selectAll()
        qtbot.keyClicks(line, share)
    assert child(wizard, QLabel, "split_dates").text() == "Training: —  ·  Validation: —  ·  Test: —"
    assert "at least 4 %" in problem(wizard)
