"""What the wizard's pages do beside walking through them: problems at their field, columns, series, files, loading."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QSpinBox,
    QToolButton,
    QWidget,
    QWizard,
)
from pytestqt.qtbot import QtBot

from app.flows.datasets import SourceKind
from app.flows.training_flow import STEPS, Step
from app.i18n import Language
from app.language import LanguageManager
from app.theme import ThemeManager
from app.ui.wizards.fields import Expander
from app.ui.wizards.side_data import ShortList
from app.ui.wizards.step_page import StepPage
from app.ui.wizards.training_wizard import TrainingWizard
from ml.api import (
    DataRange,
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    SeriesSource,
    SplitSpec,
    TrainingSpec,
    parse_column,
)
from ml.spec_file import read_spec, write_spec
from tests.qt.wizard_kit import (
    FakeSources,
    catalogue,
    child,
    click,
    dataset,
    open_advanced,
    problem,
    shown_wizard,
)

NEXT = QWizard.WizardButton.NextButton
FUNDING = SeriesSource("funding", "/data/funding.csv", "rate", 60.0)
EVERYTHING = ForecastSpec(
    data=DataRange(
        symbol="ETH/USDT",
        start_ns=1_706_745_600_000_000_000,
        end_ns=1_730_419_200_000_000_000,
        markets=("BTC/USDT",),
        series=(FUNDING,),
    ),
    features=FeatureSpec(
        "custom",
        1,
        (1, 3),
        24,
        tuple(parse_column(text) for text in ("RSI(timeperiod=7)@4h", "log_return@BTC/USDT", "funding.level")),
    ),
    model=ModelSpec("gru", "classes", 24, 2, 0.25, True, (0.01, 0.5, 0.99), (2, 6), 0.5),
    split=SplitSpec(0.625, 0.2, 12, "2024-07-01", "2024-09-01T12:00"),
    training=TrainingSpec(7, 0.00125, "cosine", 0.5, 0, 128, 16, 3, 0.0625, 42),
    evaluation=EvaluationSpec(3, False, 0, 0.0015),
    resources=ResourceSpec("cpu", 2, "float32", 0.55),
)


@pytest.fixture
def wizard(qtbot: QtBot, theme: ThemeManager, language: LanguageManager) -> TrainingWizard:
    return shown_wizard(qtbot, theme, language)


def go_to(qtbot: QtBot, wizard: TrainingWizard, step: Step) -> StepPage:
    while wizard.flow.step is not step:
        before = wizard.flow.step
        click(qtbot, wizard, NEXT)
        assert wizard.flow.step is not before, problem(wizard)
    page = wizard.currentPage()
    assert isinstance(page, StepPage)
    return page


# --- problems -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "changes", "name"),
    [
        (Step.MODEL, {"horizons": "4, 1"}, "horizons_edit"),
        (Step.MODEL, {"dropout": "0,3"}, "dropout_edit"),
        (Step.TRAINING, {"burn_in": 200}, "burn_in_box"),
        (Step.EVALUATION, {"train_percent": "x"}, "train_percent_edit"),
        (Step.RESOURCES, {"memory_percent": "99"}, "memory_percent_edit"),
        (Step.FEATURES, {"columns": ("RSX",)}, "column_text_edit"),
    ],
)
def test_next_leads_to_the_field_that_is_wrong(
    qtbot: QtBot, wizard: TrainingWizard, step: Step, changes: dict[str, object], name: str
) -> None:
    page = go_to(qtbot, wizard, step)
    wizard.activateWindow()
    wizard.flow.update(**changes)
    click(qtbot, wizard, NEXT)
    assert wizard.flow.step is step
    focus = wizard.focusWidget()
    assert focus is not None
    assert focus.objectName() == name
    assert focus.isVisible()
    sentence = wizard.flow.problem(step)
    assert sentence is not None
    shown = [
        label.text() for label in page.findChildren(QLabel) if label.isVisible() and label.text() == sentence.text()
    ]
    assert len(shown) == 1  # once, beside the field


def test_a_problem_behind_closed_settings_is_said_below(qtbot: QtBot, wizard: TrainingWizard) -> None:
    page = go_to(qtbot, wizard, Step.MODEL)
    expander = page.findChild(Expander)
    assert not expander.is_open
    wizard.flow.update(dropout="")
    page.refresh()
    label = child(page, QLabel, "problem_label")
    assert label.isVisible()
    assert "Dropout" in label.text()


def test_an_unreadable_entry_out_of_use_stays_in_sight_or_out_of_the_way(qtbot: QtBot, wizard: TrainingWizard) -> None:
    page = go_to(qtbot, wizard, Step.MODEL)
    open_advanced(wizard)
    wizard.flow.update(head="classes", flat_band="much")
    wizard.flow.update(head="quantile")
    page.refresh()
    assert child(page, QLineEdit, "flat_band_edit").isVisible()
    wizard.flow.update(flat_band="0.43", by_date=True, train_percent="much")
    page.refresh()
    assert not child(page, QLineEdit, "flat_band_edit").isVisible()
    assert wizard.flow.spec().split.borders_ns is not None


def test_advanced_settings_are_closed_open_by_key_and_count_what_differs(qtbot: QtBot, wizard: TrainingWizard) -> None:
    page = go_to(qtbot, wizard, Step.TRAINING)
    button = child(page, QToolButton, "advanced_button")
    assert button.text() == "Advanced settings"
    rate = child(page, QLineEdit, "learning_rate_edit")
    assert not rate.isVisible()
    qtbot.keyClick(button, Qt.Key.Key_Space)
    assert rate.isVisible()
    rate.selectAll()
    qtbot.keyClicks(rate, "0.001")
    assert button.text() == "Advanced settings · 1 changed"
    assert wizard.flow.spec().training.learning_rate == 0.001


# --- columns ------------------------------------------------------------------------------------------------------


def test_a_column_is_found_set_and_added(qtbot: QtBot, wizard: TrainingWizard) -> None:
    page = go_to(qtbot, wizard, Step.FEATURES)
    open_advanced(wizard)
    before = child(page, QLabel, "warm_up_label").text()
    search, text = child(page, QLineEdit, "column_search_edit"), child(page, QLineEdit, "column_text_edit")
    qtbot.keyClicks(search, "relative strength index")
    results = child(page, QListWidget, "column_results")
    assert results.count() >= 1
    row = next(row for row in range(results.count()) if results.item(row).text().startswith("RSI "))
    results.setCurrentRow(row)
    assert text.text() == "RSI"
    period = child(page, QLineEdit, "parameter_timeperiod")
    period.selectAll()
    qtbot.keyClicks(period, "20")
    child(page, QComboBox, "column_timeframe_box").setCurrentText("4h")
    child(page, QComboBox, "column_market_box").setCurrentText("ETH/USDT")
    assert text.text() == "RSI(timeperiod=20)@ETH/USDT@4h"
    qtbot.mouseClick(child(page, QPushButton, "column_add_button"), Qt.MouseButton.LeftButton)
    assert wizard.flow.draft.columns == ("RSI(timeperiod=20)@ETH/USDT@4h",)
    assert wizard.flow.draft.markets == ("ETH/USDT",)  # what it looks at is ticked with it
    text.setText("SMA(timeperiod=300)")
    qtbot.keyClick(text, Qt.Key.Key_Return)
    assert wizard.flow.draft.columns[-1] == "SMA(timeperiod=300)"
    assert child(page, QLabel, "warm_up_label").text() != before
    chosen = child(page, ShortList, "columns_list")
    chosen.setCurrentRow(0)
    qtbot.keyClick(chosen, Qt.Key.Key_Delete)
    assert wizard.flow.draft.columns == ("SMA(timeperiod=300)",)
    chosen.setCurrentRow(0)
    qtbot.mouseClick(child(page, QPushButton, "column_remove_button"), Qt.MouseButton.LeftButton)
    assert wizard.flow.draft.columns == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RSI(", "no feature column"),
        ("RSI(timeperiod=1)", "timeperiod cannot be 1"),
        ("RSX", "Did you mean RSI?"),
        ("RSI@45s", "neither a market nor a timeframe"),
        ("RSI@DOGE/USDT", "looks at DOGE/USDT"),
    ],
)
def test_a_wrong_column_is_refused_with_a_sentence(qtbot: QtBot, wizard: TrainingWizard, text: str, words: str) -> None:
    page = go_to(qtbot, wizard, Step.FEATURES)
    open_advanced(wizard)
    line = child(page, QLineEdit, "column_text_edit")
    line.setText(text)
    qtbot.keyClick(line, Qt.Key.Key_Return)
    answer = child(page, QLabel, "column_answer")
    assert answer.isVisible()
    assert words in answer.text()
    assert wizard.flow.draft.columns == ()
    qtbot.keyClicks(line, "x")
    assert not answer.isVisible()


def test_parameters_out_of_range_are_marked(qtbot: QtBot, wizard: TrainingWizard) -> None:
    page = go_to(qtbot, wizard, Step.FEATURES)
    open_advanced(wizard)
    child(page, QLineEdit, "column_search_edit").setText("BBANDS")
    deviation = child(page, QLineEdit, "parameter_nbdevup")
    for typed, wrong in (("0", True), ("2.5", False), ("2,5", True)):
        deviation.selectAll()
        qtbot.keyClicks(deviation, typed)
        assert (deviation.property("invalid") == "true") is wrong
    average = child(page, QComboBox, "parameter_matype")
    average.setCurrentIndex(1)
    assert "matype=1" in child(page, QLineEdit, "column_text_edit").text()


def test_the_catalogue_comes_later_and_stops_nobody_who_does_not_need_it(
    qtbot: QtBot, theme: ThemeManager, language: LanguageManager
) -> None:
    sources = FakeSources(dataset())
    sources.answer_at_once = False
    late = TrainingWizard(sources, theme, language)
    qtbot.addWidget(late)
    late.show()
    page = go_to(qtbot, late, Step.FEATURES)
    qtbot.keyClick(child(page, QRadioButton, "features_technical"), Qt.Key.Key_Space)
    assert "being read" in problem(late)
    sources.waiting[0](catalogue())
    assert problem(late) == ""
    assert child(page, QListWidget, "column_results").count() == len(catalogue().entries)
    click(qtbot, late, NEXT)
    assert late.flow.step is Step.MODEL


def test_the_chosen_set_has_the_focus(qtbot: QtBot, wizard: TrainingWizard) -> None:
    wizard.activateWindow()
    page = go_to(qtbot, wizard, Step.FEATURES)
    focus = wizard.focusWidget()
    assert isinstance(focus, QRadioButton)
    assert focus.isChecked()
    click(qtbot, wizard, QWizard.WizardButton.BackButton)
    click(qtbot, wizard, NEXT)
    assert wizard.focusWidget() is focus
    assert page.isVisible()


def test_own_choice_opens_what_it_needs(qtbot: QtBot, wizard: TrainingWizard) -> None:
    page = go_to(qtbot, wizard, Step.FEATURES)
    expander = page.findChild(Expander)
    qtbot.keyClick(child(page, QRadioButton, "features_custom"), Qt.Key.Key_Space)
    assert expander.is_open


# --- other markets and series -------------------------------------------------------------------------------------


def test_markets_are_ticked(qtbot: QtBot, wizard: TrainingWizard) -> None:
    open_advanced(wizard)
    markets = child(wizard.currentPage(), QListWidget, "markets_list")
    assert [markets.item(row).text() for row in range(markets.count())] == ["ETH/USDT"]
    markets.setCurrentRow(0)
    qtbot.keyClick(markets, Qt.Key.Key_Space)
    assert wizard.flow.draft.markets == ("ETH/USDT",)
    assert wizard.flow.spec().data.markets == ()  # no column looks at it
    qtbot.keyClick(markets, Qt.Key.Key_Space)
    assert wizard.flow.draft.markets == ()


def test_series_are_added_checked_replaced_and_removed(qtbot: QtBot, wizard: TrainingWizard) -> None:
    open_advanced(wizard)
    page = wizard.currentPage()
    path, column = child(page, QLineEdit, "series_file_edit"), child(page, QLineEdit, "series_column_edit")
    delay, refusal = child(page, QLineEdit, "series_delay_edit"), child(page, QLabel, "series_refusal")
    add = child(page, QPushButton, "series_add_button")
    qtbot.mouseClick(add, Qt.MouseButton.LeftButton)
    assert refusal.text() == "A series needs a name and a file. Name both."
    assert delay.text() == ""  # not told is not 0
    path.setText("/data/untold.csv")
    qtbot.keyClick(path, Qt.Key.Key_Return)
    assert wizard.flow.draft.series == (SeriesSource("funding", "/data/untold.csv"),)
    chosen = child(page, ShortList, "series_list")
    assert chosen.item(0).text() == "funding: untold.csv, column value · 2024-01-01 to 2025-02-03"
    path.setText("/data/bad.csv")
    delay.setText("1,5")
    qtbot.mouseClick(add, Qt.MouseButton.LeftButton)
    assert "ambiguous" in refusal.text()
    delay.setText("1.5")
    column.setText("rate")
    qtbot.keyClick(path, Qt.Key.Key_Return)
    assert not refusal.isVisible()
    assert wizard.flow.draft.series == (SeriesSource("funding", "/data/bad.csv", "rate", 1.5),)
    assert problem(wizard) == "/data/bad.csv is damaged. Get the file again."
    path.setText("/data/good.csv")
    qtbot.keyClick(path, Qt.Key.Key_Return)
    assert problem(wizard) == ""
    (source,) = wizard.flow.draft.series
    assert source.path == "/data/good.csv"
    assert chosen.item(0).text() == "funding: good.csv, column rate, known after 1.5 s · 2024-01-01 to 2025-02-03"
    chosen.setCurrentRow(0)
    qtbot.mouseClick(child(page, QPushButton, "series_remove_button"), Qt.MouseButton.LeftButton)
    assert wizard.flow.draft.series == ()
    qtbot.mouseClick(child(page, QPushButton, "series_browse_button"), Qt.MouseButton.LeftButton)
    dialog = child(wizard, QFileDialog, "series_file_dialog")
    dialog.fileSelected.emit("/data/other.csv")
    assert path.text() == "/data/other.csv"
    with qtbot.waitSignal(dialog.destroyed):
        dialog.close()


# --- configurations -----------------------------------------------------------------------------------------------


def test_a_loaded_configuration_fills_every_page_and_is_saved_as_it_was(
    qtbot: QtBot, wizard: TrainingWizard, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    write_spec(first, EVERYTHING)
    wizard.files.load(str(first))
    told = child(wizard.currentPage(), QLabel, "problem_label")
    assert (told.text(), told.property("role")) == ("Loaded: first.toml", "success")
    wizard.files.save(str(second))
    assert read_spec(second) == EVERYTHING
    assert child(wizard, QComboBox, "symbol_box").currentText() == "ETH/USDT"
    for step in STEPS[:-1]:
        page = go_to(qtbot, wizard, step)
        for name, row in page.rows.items():
            match row.field:
                case QSpinBox() as box:
                    assert box.value() == wizard.flow.entry(name), name
                case QLineEdit() as edit:
                    assert edit.text() == wizard.flow.entry(name), name
    quantiles = child(wizard, QComboBox, "quantile_levels_box")
    assert quantiles.currentText() == "3 levels, 1–99\u00a0%"  # one that is no preset
    assert "Loaded as 2024-09-01 12:00" not in problem(wizard)
    go_to(qtbot, wizard, Step.REVIEW)
    with qtbot.waitSignal(wizard.training_requested) as caught:
        click(qtbot, wizard, QWizard.WizardButton.FinishButton)
    assert caught.args == [EVERYTHING]


def test_a_wrong_configuration_changes_nothing_and_is_named(
    qtbot: QtBot, wizard: TrainingWizard, tmp_path: Path
) -> None:
    before = wizard.flow.draft
    label = child(wizard.currentPage(), QLabel, "problem_label")
    for content, words in (
        ("[model", "no valid TOML"),
        ("[model]\nkind = 'mlp'\n", "model kind"),
        ("[model]\nsize = 3\n", "size"),
    ):
        path = tmp_path / "wrong.toml"
        path.write_text(content, "utf-8")
        wizard.files.load(str(path))
        assert words in label.text()
        assert label.property("role") == "warning"
    wizard.files.load(str(tmp_path / "absent.toml"))
    assert "cannot be read" in label.text()
    assert wizard.flow.draft == before


def test_only_a_complete_configuration_is_saved(qtbot: QtBot, wizard: TrainingWizard, tmp_path: Path) -> None:
    wizard.flow.update(dropout="")
    wizard.files.ask_save()
    assert wizard.findChild(QFileDialog, "save_configuration_dialog") is None
    assert "Dropout" in child(wizard.currentPage(), QLabel, "problem_label").text()
    wizard.flow.update(dropout="0.1")
    qtbot.mouseClick(child(wizard, QPushButton, "save_configuration_button"), Qt.MouseButton.LeftButton)
    dialog = child(wizard, QFileDialog, "save_configuration_dialog")
    dialog.fileSelected.emit(str(tmp_path / "saved.toml"))
    assert read_spec(tmp_path / "saved.toml") == wizard.flow.spec()
    with qtbot.waitSignal(dialog.destroyed):
        dialog.close()
    wizard.files.save(str(tmp_path / "saved.toml" / "below a file.toml"))
    label = child(wizard.currentPage(), QLabel, "problem_label")
    assert label.property("role") == "warning"
    qtbot.mouseClick(child(wizard, QPushButton, "load_configuration_button"), Qt.MouseButton.LeftButton)
    dialog = child(wizard, QFileDialog, "load_configuration_dialog")
    with qtbot.waitSignal(dialog.destroyed):
        dialog.close()


def test_a_loaded_file_is_looked_into(qtbot: QtBot, theme: ThemeManager, language: LanguageManager) -> None:
    sources = FakeSources(dataset())
    spec = replace(EVERYTHING, data=DataRange(symbol="ETH/USDT", source="good.csv"), features=FeatureSpec())
    opened = TrainingWizard(sources, theme, language, spec=spec)
    qtbot.addWidget(opened)
    opened.show()
    assert sources.inspected == [Path("good.csv")]
    assert opened.flow.draft.source is SourceKind.FILE
    assert opened.flow.spec().data.source == "good.csv"
    opened.load(spec)
    assert len(sources.inspected) == 2  # it may have changed since


# --- looks and keys -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", list(Language))
def test_access_keys_are_unique_and_every_choice_is_explained(
    wizard: TrainingWizard, language: LanguageManager, chosen: Language
) -> None:
    language.set_language(chosen)
    buttons = {QWizard.WizardButton.BackButton, QWizard.WizardButton.NextButton}
    taken = [re.search(r"&(.)", wizard.button(which).text())[1].casefold() for which in buttons]  # type: ignore[index]
    for index in wizard.pageIds():
        page = wizard.page(index)
        assert isinstance(page, StepPage)
        texts = page.row_texts()
        assert set(texts) == set(page.rows)
        # Rows that are never there at the same time may share a key.
        keys = [
            match[1].casefold()
            for name, (label, _) in texts.items()
            if name not in ("valid_from", "test_from") and (match := re.search(r"&(.)", label))
        ]
        if page.step is Step.DATA:
            keys.remove("f")  # the file takes the place of market and bar length
        assert [key for key, count in Counter([*taken, *keys]).items() if count > 1] == [], page.objectName()
        for name, (_, note) in texts.items():
            assert note.endswith("."), (name, note)
            assert len(note) > 6, (name, note)


@pytest.mark.parametrize("chosen", list(Language))
def test_nothing_scrolls_sideways_at_the_smallest_size(
    qtbot: QtBot, wizard: TrainingWizard, language: LanguageManager, chosen: Language
) -> None:
    language.set_language(chosen)
    wizard.resize(wizard.minimumSize())
    assert (wizard.minimumWidth(), wizard.minimumHeight()) <= (1280, 800)
    for step in STEPS:
        page = go_to(qtbot, wizard, step)
        if page.findChild(Expander) is not None:
            open_advanced(wizard)
        qtbot.wait(1)
        area = child(page, QScrollArea, "step_area")
        content = area.widget()
        assert content.minimumSizeHint().width() <= area.viewport().width(), step


def test_every_control_is_reached_by_tab(qtbot: QtBot, wizard: TrainingWizard, qapp: QApplication) -> None:
    wizard.activateWindow()
    for step in STEPS[:-1]:
        page = go_to(qtbot, wizard, step)
        open_advanced(wizard)
        wanted = {
            row.field.focusProxy() or row.field
            for row in page.rows.values()
            if row.field.isVisible() and row.field.focusPolicy() is not Qt.FocusPolicy.NoFocus
        }
        seen: list[QWidget] = []
        for _ in range(60):
            focus = wizard.focusWidget()
            if focus is not None:
                seen.append(focus)
                qtbot.keyClick(focus, Qt.Key.Key_Tab)
        missed = [field.objectName() for field in wanted if field not in seen and field.objectName()]
        assert missed == [], step


def test_opening_holds_nobody_up(qtbot: QtBot, theme: ThemeManager, language: LanguageManager) -> None:
    sources = FakeSources(dataset(), dataset("ETH/USDT"))
    sources.answer_at_once = False  # in the program that happens on a thread of its own
    taken = []
    for _ in range(4):
        began = time.thread_time()  # not the clock on the wall: other tests may share the machine
        opened = TrainingWizard(sources, theme, language)
        opened.show()
        taken.append(time.thread_time() - began)
        qtbot.addWidget(opened)
        opened.close()
    assert min(taken) < 0.15
