"""The main job in the real window, with mouse and keys: from a moving chart to a clean exit."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psutil
import pytest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QRadioButton,
    QSpinBox,
    QWidget,
    QWizard,
)
from pytestqt.qtbot import QtBot

from app.bootstrap import Application
from app.lifecycle import StageOutcome
from app.ui.dialogs.add_strategy_dialog import AddStrategyDialog
from app.ui.wizards.training_wizard import TrainingWizard
from tests.e2e.conftest import SHOTS, shoot, venue_orders
from tests.e2e.person import Person
from tests.qt.conftest import _nothing_left_behind, _quick_collections  # noqa: F401 - the leak fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MARKET = "BTC/USDT 1m · practice market"
TRAINED = f"Training finished: {MARKET}"
CAUTION = "Invented practice market: this says nothing about a real one."
OPEN = ("NEW", "PARTIALLY_FILLED")


def walk_wizard(person: Person, qtbot: QtBot) -> None:
    wizard = person.see(TrainingWizard, "training_wizard")
    person.tick(QRadioButton, "source_practice", wizard)
    person.choose("symbol_box", "BTC/USDT", wizard)
    person.choose("timeframe_box", "1m", wizard)
    person.tick(QCheckBox, "whole_range_box", wizard)
    # The market of this speed lives a week behind the wall clock.
    first_day = (datetime.now(UTC) - timedelta(days=12)).date()
    person.write_date("start_edit", first_day.isoformat(), wizard)
    shoot(person, "wizard_data", wizard)

    def go_on(page: str) -> None:
        person.click(wizard.button(QWizard.WizardButton.NextButton))
        person.see(QWidget, f"training_{page}_page", wizard)

    go_on("features")
    go_on("model")
    person.write(QSpinBox, "hidden_size_box", "16", wizard)
    go_on("training")
    person.write(QSpinBox, "epochs_box", "2", wizard)
    go_on("evaluation")
    go_on("resources")
    go_on("review")
    shoot(person, "wizard_review", wizard)
    person.click(wizard.button(QWizard.WizardButton.FinishButton))


def children(me: psutil.Process) -> list[list[str]]:
    """Command lines of living children; Python's own resource tracker serves every test and stays."""
    lines = [child.cmdline() for child in me.children(recursive=True)]
    return [line for line in lines if not any("resource_tracker" in part for part in line)]


def told(person: Person, title: str) -> bool:
    return any(any(text.startswith(title) for text in row.values()) for row in person.rows("notifications_table"))


def is_finished(row: str) -> bool:
    when = r"(\d{4}-\d\d-\d\d\u00a0)?\d\d:\d\d"
    return re.fullmatch(rf"{re.escape(MARKET)} · (LSTM|GRU) \d+ · {when} · finished", row) is not None


def open_pnl(person: Person) -> str:
    rows = person.rows("positions_table")
    return rows[0]["Open PnL"] if rows else "—"


def test_the_main_job(person: Person, qtbot: QtBot, application: Application, qapp: QApplication) -> None:
    began = time.monotonic()

    def note(what: str) -> None:
        if SHOTS:
            print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)

    me = psutil.Process()
    chart = person.see(QWidget, "chart_view")
    person.wait(lambda: chart.series is not None and len(chart.series) > 100, 30, "history in the chart")
    note("history")
    shoot(person, "start")
    person.wait(lambda: chart.series.forming is not None, 10, "a forming bar")
    bars, forming = chart.series.total, chart.series.forming
    person.wait(lambda: chart.series.forming not in (forming, None), 10, "the forming bar moves")
    person.wait(lambda: chart.series.total > bars, 15, "a new bar")
    note("chart moves")

    person.menu("Strategies", "action_train")
    walk_wizard(person, qtbot)
    note("wizard done")
    runs = person.see(QListWidget, "training_runs")
    person.wait(lambda: runs.count() == 1 and is_finished(runs.item(0).text()), 90, "training ends")
    note("trained")
    metrics = [label.text() for label in person.see(QWidget, "training_metrics").findChildren(QLabel)]
    assert "Price stays" in metrics
    assert any("test bars" in text for text in metrics)
    toast = person.see(QLabel, "toast_title")
    assert toast.text() == TRAINED
    person.wait(lambda: told(person, TRAINED), 5, "the notification is listed")
    assert person.see(QLabel, "training_note").text().endswith(CAUTION)
    assert any(any(CAUTION in text for text in row.values()) for row in person.rows("notifications_table"))
    shoot(person, "trained")

    person.press(QAbstractButton, "training_use")
    form = person.see(AddStrategyDialog, "add_strategy_dialog")
    person.write(QLineEdit, "strategy_capital", "1000", form)
    person.write(QLineEdit, "strategy_entry_z", "0", form)
    person.write(QLineEdit, "strategy_exit_z", "0", form)
    assert MARKET.split(" · ")[1] in form.model.currentText()
    shoot(person, "form", form)
    person.press(QAbstractButton, "strategy_add", form)
    person.wait(lambda: len(person.rows("strategies_table")) == 1, 10, "the strategy in the table")
    person.select_row("strategies_table", 0)
    person.press(QAbstractButton, "strategy_start")
    person.wait(lambda: person.rows("strategies_table")[0]["State"].endswith("Running"), 20, "the strategy runs")
    note("strategy runs")
    shoot(person, "running")
    person.tab("Fills")
    person.wait(lambda: bool(person.rows("fills_table")), 30, "an order fills")
    note("filled")
    fill = person.rows("fills_table")[-1]
    assert (fill["Symbol"], fill["Side"].split()[-1]) == ("BTC/USDT", "Buy")
    person.wait(lambda: told(person, "Bought"), 5, "the fill is told")
    assert any(label.text().startswith("Bought") for label in person.window.findChildren(QLabel, "toast_title"))
    person.tab("Positions")
    person.wait(lambda: bool(person.rows("positions_table")), 5, "a position")
    shoot(person, "filled")
    position = person.rows("positions_table")[0]
    assert position["Symbol"] == "BTC/USDT"
    assert Decimal(position["Quantity"]) > 0
    pnl = open_pnl(person)
    person.wait(
        lambda: person.rows("positions_table")[0]["Open PnL"] not in (pnl, "—"), 10, "its PnL follows the market"
    )
    assert person.see(QLabel, "account_profit").text() != "—"
    filled = [order for order in venue_orders(application) if order.status == "FILLED"]
    assert filled
    note("position")

    price = Decimal(round(chart.series.last_close / 2))
    person.tab("Order ticket")
    person.press(QAbstractButton, "side_buy")
    person.write(QLineEdit, "quantity", "0.01")
    person.write(QLineEdit, "price", str(price))
    shoot(person, "ticket")
    deed = person.see(QAbstractButton, "deed")
    person.click(deed)
    shoot(person, "review")
    person.see(QAbstractButton, "ticket_back")
    qtbot.wait(500)  # a person reads what is about to be sent; a double click must not send
    person.click(deed)
    person.tab("Orders")
    person.wait(lambda: bool(person.rows("orders_table")), 10, "the manual order in the table")
    person.wait(lambda: person.rows("orders_table")[0]["State"].endswith("Working"), 10, "the exchange took it")
    shoot(person, "order")
    assert person.rows("orders_table")[0]["From"] == "Manual"
    assert len([order for order in venue_orders(application) if order.status in OPEN]) == 1
    note("manual order")

    person.press(QAbstractButton, "kill_button")
    halted = person.see(QLabel, "halted_badge")
    assert halted.text() == "HALTED"
    person.wait(lambda: not person.rows("orders_table"), 10, "no order is open")
    assert not [order for order in venue_orders(application) if order.status in OPEN]
    shoot(person, "halted")
    note("halted")

    person.menu("File", "action_quit")
    closing = [w for w in person.window.findChildren(QWidget, "close_dialog") if w.isVisible()]
    if closing:
        shoot(person, "closing", closing[0])
        person.press(QAbstractButton, "quit", closing[0])
    assert application.lifecycle.is_quitting
    assert qapp.exec() == 0
    note("ended")
    assert not person.window.isVisible()
    assert {report.outcome for report in application.lifecycle.reports} == {StageOutcome.DONE}
    assert children(me) == []
