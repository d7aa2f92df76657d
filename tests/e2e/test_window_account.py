"""A new practice account in the real window: other money, empty books, the strategies still there, trading goes on."""

from __future__ import annotations

from decimal import Decimal

import pytest
from PySide6.QtCore import QCoreApplication
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from app.bootstrap import Application
from app.ui.dialogs.new_account_dialog import NewAccountDialog
from core.domain.orders import OrderDraft, OrderType, Side
from core.strategies.spec import StrategySpec
from tests.e2e.conftest import shoot, venue_orders
from tests.e2e.person import Person
from tests.qt.conftest import _nothing_left_behind, _quick_collections  # noqa: F401 - the leak fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def buy(application: Application, quantity: str) -> None:
    application.executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal(quantity)))


def test_a_new_practice_account(
    person: Person, qtbot: QtBot, application: Application, qapp: QApplication, ready: QSignalSpy
) -> None:
    equity = person.see(QLabel, "account_equity")
    person.wait(lambda: equity.text() == "10,000.00 USDT", 30, "the account is there")
    person.wait(lambda: ready.count() == 1, 30, "it trades")
    spec = StrategySpec("kept", "Kept", "BTC/USDT", "1m", "none", Decimal(100))
    application.executor.add_strategy(spec)
    buy(application, "0.01")
    person.wait(lambda: len(person.rows("fills_table")) == 1, 20, "the order fills")
    chart = person.see(QWidget, "chart_view")
    former = application.practice.endpoints.result(0)

    person.menu("Trade", "action_new_account")
    asked = person.see(NewAccountDialog, "new_account_dialog")
    person.write(QLineEdit, "opening_balance", "2500", asked)
    assert asked.balance.echo() == "= 2500 USDT"
    shoot(person, "new_account", asked)
    person.press(QAbstractButton, "begin", asked)
    person.wait(lambda: equity.text() == "2,500.00 USDT", 30, "the new account is there")
    shoot(person, "new_account_begun")
    for table in ("fills_table", "orders_table", "positions_table"):
        assert person.rows(table) == [], table
    person.wait(
        lambda: [row["Strategy"] for row in person.rows("strategies_table")] == ["Kept"], 10, "the strategy stays"
    )
    assert application.practice.endpoints.result(0).api_key != former.api_key
    assert venue_orders(application) == []
    assert len(list(application.paths.root.glob("journal-*.sqlite"))) == 1
    assert chart.isVisible()

    person.wait(lambda: ready.count() == 2, 30, "it trades again")
    buy(application, "0.01")
    person.wait(lambda: len(person.rows("fills_table")) == 1, 20, "the new account trades")
    assert [order.status for order in venue_orders(application)] == ["FILLED"]

    application.lifecycle.quit()
    assert qapp.exec() == 0
    QCoreApplication.processEvents()
