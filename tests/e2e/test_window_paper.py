"""Paper trading in the real window: another market, another account, other books; and back again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QLabel
from pytestqt.qtbot import QtBot

from app.bootstrap import Application
from app.gui_options import GuiOptions
from app.settings import TRADING_MODE
from app.ui.actions import ActionId
from core.domain.orders import OrderDraft, OrderType, Side, TradingMode
from core.practice.account_audit import list_orders
from core.practice.control import PracticeEndpoints
from core.practice.process import PracticeProcess
from core.strategies.spec import StrategySpec
from tests.e2e.conftest import shoot, venue_orders
from tests.e2e.person import Person
from tests.qt.conftest import _nothing_left_behind, _quick_collections  # noqa: F401 - the leak fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def lender(tmp_path: Path) -> Iterator[PracticeEndpoints]:
    """Another exchange, whose market stands for the live one."""
    with PracticeProcess(data_dir=tmp_path / "lender", seed=9, speed="60") as endpoints:
        yield endpoints


@pytest.fixture
def options(options: GuiOptions, tmp_path: Path, lender: PracticeEndpoints) -> GuiOptions:
    ready = tmp_path / "ready.json"
    ready.write_text(json.dumps({name: getattr(lender, name) for name in PracticeEndpoints.__slots__}))
    return replace(options, paper_market=ready)


def buy(application: Application, quantity: str) -> None:
    application.executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal(quantity)))


def change(person: Person, application: Application, action: ActionId) -> None:
    application.window.actions_[action].trigger()  # in a submenu
    asked = person.see(QDialog, "mode_dialog")
    shoot(person, action.value, asked)
    person.press(QAbstractButton, "mode", asked)


def test_paper_and_back(
    person: Person,
    qtbot: QtBot,
    application: Application,
    qapp: QApplication,
    lender: PracticeEndpoints,
    ready: QSignalSpy,
) -> None:
    equity = person.see(QLabel, "account_equity")
    badge = application.window.top_bar.badge
    person.wait(lambda: equity.text() == "10,000.00 USDT", 30, "the practice account is there")
    person.wait(lambda: ready.count() == 1, 30, "it trades")
    application.executor.add_strategy(StrategySpec("kept", "Kept", "BTC/USDT", "1m", "none", Decimal(100)))
    buy(application, "0.01")
    person.wait(lambda: len(person.rows("fills_table")) == 1, 20, "the order fills")
    assert application.market.origin == "practice-synthetic-1"

    change(person, application, ActionId.MODE_PAPER)
    person.wait(lambda: badge.mode is TradingMode.PAPER, 30, "the executor trades on paper")
    person.wait(lambda: equity.text() == "10,000.00 USDT", 30, "the paper account is there")
    person.wait(lambda: application.market.origin == "practice-synthetic-9", 30, "the chart shows its market")
    shoot(person, "paper")
    for table in ("fills_table", "orders_table", "positions_table"):
        assert person.rows(table) == [], table
    person.wait(
        lambda: [row["Strategy"] for row in person.rows("strategies_table")] == ["Kept"], 10, "the strategy comes along"
    )
    person.wait(lambda: ready.count() == 2, 30, "it trades on paper")
    buy(application, "0.005")
    person.wait(lambda: len(person.rows("fills_table")) == 1, 20, "the paper account trades")
    assert list_orders(lender, "BTCUSDT") == []
    assert len(venue_orders(application)) == 1
    assert application.settings.get(TRADING_MODE) is TradingMode.PAPER

    change(person, application, ActionId.MODE_PRACTICE)
    person.wait(lambda: badge.mode is TradingMode.PRACTICE, 30, "it trades on the practice exchange again")
    person.wait(
        lambda: [row["Quantity"][:4] for row in person.rows("fills_table")] == ["0.01"],
        20,
        "the practice books are back",
    )
    assert [row["Strategy"] for row in person.rows("strategies_table")] == ["Kept"]

    application.lifecycle.quit()
    assert qapp.exec() == 0
    QCoreApplication.processEvents()
