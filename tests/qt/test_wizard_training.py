"""The training wizard, driven by mouse and keys on an offscreen screen."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDateEdit,
    QLabel,
    QLineEdit,
    QRadioButton,
    QSpinBox,
    QWidget,
    QWizard,
)
from pytestqt.qtbot import QtBot

from app.flows.datasets import SourceKind
from app.flows.training_flow import STEPS, Step
from app.i18n import Language
from app.language import LanguageManager
from app.theme import ThemeChoice, ThemeManager, UpDown
from app.ui.wizards.data_page import DataPage
from app.ui.wizards.review_page import ReviewPage
from app.ui.wizards.training_wizard import TrainingWizard
from core.domain.data_origin import BINANCE, practice_origin
from ml.api import ForecastSpec
from tests.qt.wizard_kit import PRACTICE, FakeSources, child, click, dataset, open_advanced, problem, shown_wizard


@pytest.fixture
def wizard(qtbot: QtBot, theme: ThemeManager, language: LanguageManager) -> TrainingWizard:
    return shown_wizard(qtbot, theme, language)


def test_defaults_lead_to_a_specification(qtbot: QtBot, wizard: TrainingWizard) -> None:
    for step in STEPS[:-1]:
        assert wizard.flow.step is step
        assert wizard.currentPage().isComplete()
        click(qtbot, wizard, QWizard.WizardButton.NextButton)
    assert wizard.flow.step is Step.REVIEW
    with qtbot.waitSignal(wizard.training_requested) as caught:
        click(qtbot, wizard, QWizard.WizardButton.FinishButton)
    (spec,) = caught.args
    assert isinstance(spec, ForecastSpec)
    assert (spec.data.symbol, spec.data.timeframe, spec.data.source) == ("BTC/USDT", "1h", "store")
    assert not wizard.isVisible()


def test_return_walks_to_the_end_and_escape_leaves(
    qtbot: QtBot, wizard: TrainingWizard, theme: ThemeManager, language: LanguageManager
) -> None:
    for _ in STEPS[:-1]:
        qtbot.keyClick(wizard, Qt.Key.Key_Return)
    assert wizard.flow.step is Step.REVIEW
    with qtbot.waitSignal(wizard.training_requested):
        qtbot.keyClick(wizard, Qt.Key.Key_Return)
    other = TrainingWizard(FakeSources(dataset()), theme, language)
    qtbot.addWidget(other)
    other.open()
    with qtbot.assertNotEmitted(other.training_requested), qtbot.waitSignal(other.rejected):
        qtbot.keyClick(other, Qt.Key.Key_Escape)
    assert not other.isVisible()


def test_every_field_is_reached_by_tab(qtbot: QtBot, wizard: TrainingWizard, qapp: QApplication) -> None:
    wizard.activateWindow()
    for _ in range(2):
        click(qtbot, wizard, QWizard.WizardButton.NextButton)
    names: set[str] = set()
    for _ in range(20):
        focus = wizard.focusWidget()
        if focus is not None:
            names.add(focus.objectName())
            qtbot.keyClick(focus, Qt.Key.Key_Tab)
    assert {"horizons_edit", "head_box", "kind_box", "hidden_size_box", "advanced_button"} <= names


def test_entries_by_keyboard_survive_going_back(qtbot: QtBot, wizard: TrainingWizard) -> None:
    for _ in range(2):
        click(qtbot, wizard, QWizard.WizardButton.NextButton)
    open_advanced(wizard)
    hidden = child(wizard, QSpinBox, "hidden_size_box")
    dropout = child(wizard, QLineEdit, "dropout_edit")
    hidden.selectAll()
    qtbot.keyClicks(hidden, "48")
    dropout.selectAll()
    qtbot.keyClicks(dropout, "0,3")
    assert "ambiguous" in problem(wizard)
    click(qtbot, wizard, QWizard.WizardButton.NextButton)
    assert wizard.flow.step is Step.MODEL
    click(qtbot, wizard, QWizard.WizardButton.BackButton)
    click(qtbot, wizard, QWizard.WizardButton.NextButton)
    assert (hidden.value(), dropout.text()) == (48, "0,3")
    dropout.selectAll()
    qtbot.keyClicks(dropout, "0.3")
    assert problem(wizard) == ""
    assert wizard.flow.spec().model.dropout == 0.3
    assert wizard.flow.spec().model.hidden_size == 48


def test_range_and_preview(qtbot: QtBot, wizard: TrainingWizard) -> None:
    page = wizard.currentPage()
    assert isinstance(page, DataPage)
    assert "8,990" in (texts := [label.text() for label in page.findChildren(QLabel)])
    assert "1 (10 bars)" in texts
    qtbot.mouseClick(page.findChild(QWidget, "whole_range_box"), Qt.MouseButton.LeftButton, pos=QPoint(8, 14))
    end = child(wizard, QDateEdit, "end_edit")
    assert end.isVisible()
    end.setDate(end.date().addYears(-3))
    assert "ends before" in problem(wizard)
    end.setDate(end.date().addYears(3).addDays(-1))
    assert problem(wizard) == ""
    assert wizard.flow.spec().data.end_ns is not None


def test_other_market_and_source(qtbot: QtBot, wizard: TrainingWizard) -> None:
    symbols = child(wizard, QComboBox, "symbol_box")
    symbols.setCurrentText("ETH/USDT")
    assert wizard.flow.draft.symbol == "ETH/USDT"
    practice = child(wizard, QRadioButton, "source_practice")
    qtbot.keyClick(practice, Qt.Key.Key_Space)
    assert wizard.flow.draft.source is SourceKind.PRACTICE
    assert symbols.currentText() == "BTC/USDT"
    wizard.set_datasets(())
    assert "practice exchange is not running" in problem(wizard)
    wizard.set_datasets((dataset(kind=SourceKind.PRACTICE),))
    assert problem(wizard) == ""


def test_file_good_and_bad(qtbot: QtBot, wizard: TrainingWizard) -> None:
    qtbot.keyClick(child(wizard, QRadioButton, "source_file"), Qt.Key.Key_Space)
    assert "Choose a CSV" in problem(wizard)
    path = child(wizard, QLineEdit, "file_edit")
    path.setText("bad.csv")
    qtbot.keyClick(path, Qt.Key.Key_Return)
    assert problem(wizard) == "bad.csv is damaged. Get the file again."
    page = wizard.currentPage()
    assert isinstance(page, DataPage)
    page.choose_file("good.feather")
    assert problem(wizard) == ""
    spec = wizard.flow.spec()
    assert (spec.data.source, spec.data.symbol) == ("good.feather", "ETH/USDT")


def test_file_dialog_opens_without_blocking(qtbot: QtBot, wizard: TrainingWizard) -> None:
    qtbot.keyClick(child(wizard, QRadioButton, "source_file"), Qt.Key.Key_Space)
    qtbot.mouseClick(child(wizard, QWidget, "browse_button"), Qt.MouseButton.LeftButton)
    dialog = wizard.findChild(QWidget, "candle_file_dialog")
    assert dialog is not None
    with qtbot.waitSignal(dialog.destroyed):
        dialog.close()


def test_wheel_changes_no_field_without_focus(wizard: TrainingWizard, qapp: QApplication) -> None:
    fields = [*wizard.findChildren(QAbstractSpinBox), *wizard.findChildren(QComboBox)]
    assert len(fields) >= 14
    before = wizard.flow.draft
    for target in fields:
        target.clearFocus()
        centre = QPointF(target.rect().center())
        event = QWheelEvent(
            centre,
            QPointF(target.mapToGlobal(centre.toPoint())),
            QPoint(),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(target, event)
    assert wizard.flow.draft == before


def test_every_field_has_a_name_for_screen_readers(wizard: TrainingWizard) -> None:
    for kind in (QSpinBox, QDateEdit, QComboBox, QRadioButton):
        for target in wizard.findChildren(kind):
            assert target.accessibleName() or target.text(), target.objectName()
    for target in wizard.findChildren(QLineEdit):
        if target.objectName() not in ("qt_spinbox_lineedit", ""):
            assert target.accessibleName(), target.objectName()


def test_language_and_theme_switch_live(wizard: TrainingWizard, language: LanguageManager, theme: ThemeManager) -> None:
    english = wizard.button(QWizard.WizardButton.NextButton).text()
    language.set_language(Language.KOREAN)
    assert wizard.button(QWizard.WizardButton.NextButton).text() != english
    title = wizard.currentPage().findChild(QLabel, "page_title")
    assert isinstance(title, QLabel)
    assert title.text() == "데이터 범위"
    before = wizard.grab().toImage()
    theme.set_theme(ThemeChoice.LIGHT, UpDown.WESTERN)
    assert wizard.grab().toImage() != before
    language.set_language(Language.ENGLISH)
    assert title.text() == "Data range"


def test_review_lists_the_choices(qtbot: QtBot, wizard: TrainingWizard) -> None:
    for _ in STEPS[:-1]:
        click(qtbot, wizard, QWizard.WizardButton.NextButton)
    page = wizard.currentPage()
    assert isinstance(page, ReviewPage)
    lines = dict(page.lines)
    assert lines["Market"] == "BTC/USDT · 1h · binance"
    assert lines["Horizons"] == "1 bar (1 h)"
    assert lines["Networks"] == "5 seeds"
    assert lines["Learned numbers"] == "7,044"
    assert len(page.lines) == 33
    assert lines["Split in time"] == "Training 70\u00a0%, Validation 15\u00a0%, Test 15\u00a0%"


@pytest.mark.parametrize(
    ("chosen", "market", "words"),
    [
        (
            Language.ENGLISH,
            "practice market",
            "Invented practice market: this says nothing about a real one.",
        ),
        (
            Language.KOREAN,
            "연습 시장",
            "가상으로 만든 연습 시장입니다. 이 결과는 실제 시장에 대해 아무것도 알려 주지 않습니다.",
        ),
    ],
)
def test_invented_bars_are_called_so_on_the_first_page_and_the_last(
    qtbot: QtBot, wizard: TrainingWizard, language: LanguageManager, chosen: Language, market: str, words: str
) -> None:
    language.set_language(chosen)
    caution = wizard.currentPage().findChild(QLabel, "data_caution")
    assert not caution.isVisible()
    qtbot.mouseClick(wizard.findChild(QRadioButton, "source_practice"), Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    assert caution.isVisible()
    assert caution.text() == words
    for _ in STEPS[:-1]:
        click(qtbot, wizard, QWizard.WizardButton.NextButton)
    page = wizard.currentPage()
    assert isinstance(page, ReviewPage)
    assert f"BTC/USDT · 1h · {market}" in [value for _, value in page.lines]
    shown = page.findChild(QLabel, "review_caution")
    assert (shown.isVisible(), shown.text()) == (True, words)
    assert wizard.flow.spec().data.origin == PRACTICE


def test_a_stored_market_of_two_origins_can_be_chosen_by_origin(
    qtbot: QtBot, theme: ThemeManager, language: LanguageManager
) -> None:
    other = practice_origin("synthetic-9")
    sources = FakeSources(dataset(), dataset(origin=PRACTICE), dataset(origin=other))
    wizard = TrainingWizard(sources, theme, language)
    qtbot.addWidget(wizard)
    wizard.show()
    box = wizard.findChild(QComboBox, "symbol_box")
    names = ["BTC/USDT", "BTC/USDT · practice market", "BTC/USDT · practice market, seed 9"]
    assert [box.itemText(index) for index in range(box.count())] == names
    assert box.currentIndex() == 0
    box.setCurrentIndex(2)
    assert wizard.flow.spec().data.origin == other
    assert wizard.currentPage().findChild(QLabel, "data_caution").isVisible()
    language.set_language(Language.KOREAN)
    assert (box.currentIndex(), box.currentText()) == (2, "BTC/USDT · 연습 시장(시드 9)")
    assert wizard.flow.spec().data.origin == other
    box.setCurrentIndex(0)
    assert wizard.flow.spec().data.origin == BINANCE


def test_invalid_review_does_not_start(qtbot: QtBot, wizard: TrainingWizard) -> None:
    wizard.flow.update(epochs=0)
    with qtbot.assertNotEmitted(wizard.training_requested):
        wizard.accept()
    assert wizard.isVisible()


def test_next_wizard_starts_where_the_last_one_was(
    qtbot: QtBot, wizard: TrainingWizard, theme: ThemeManager, language: LanguageManager
) -> None:
    wizard.flow.update(hidden_size=80)
    again = TrainingWizard(FakeSources(dataset()), theme, language, draft=wizard.flow.draft)
    qtbot.addWidget(again)
    assert again.flow.draft.hidden_size == 80


@pytest.mark.parametrize("chosen", list(Language))
def test_no_page_is_clipped(qtbot: QtBot, wizard: TrainingWizard, language: LanguageManager, chosen: Language) -> None:
    language.set_language(chosen)
    for _ in STEPS:
        page = wizard.currentPage()
        qtbot.wait(1)
        assert page.minimumSizeHint().width() <= page.width()
        assert page.minimumSizeHint().height() <= page.height()
        for label in page.findChildren(QLabel):
            if label.isVisible() and not label.wordWrap():
                assert label.sizeHint().width() <= label.width() + 1, label.text()
        wizard.next()
