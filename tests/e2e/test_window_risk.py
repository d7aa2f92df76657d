"""The risk limits in the real window: a tighter one denies the next order, a drawdown halts by itself."""

from __future__ import annotations

from decimal import Decimal

import pytest
from PySide6.QtCore import QCoreApplication
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from app.bootstrap import Application
from app.ui.dialogs.risk_dialog import RiskDialog
from core.domain.orders import OrderDraft, OrderType, Side, TradingState
from tests.e2e.conftest import shoot, venue_orders
from tests.e2e.person import Person
from tests.qt.conftest import _nothing_left_behind, _quick_collections  # noqa: F401 - the leak fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def buy(application: Application, quantity: str) -> None:
    application.executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal(quantity)))


def told(application: Application) -> list[str]:
    models = application.window.models
    models.flush()
    return [row.notice.title for row in models.notifications.records()]


def test_limits_deny_and_halt(
    person: Person, qtbot: QtBot, application: Application, qapp: QApplication, ready: QSignalSpy
) -> None:
    equity = person.see(QLabel, "account_equity")
    person.wait(lambda: equity.text() == "10,000.00 USDT", 30, "the account is there")
    person.wait(lambda: ready.count() == 1, 30, "it trades")
    models = application.window.models
    person.wait(lambda: models.risk_settings is not None, 10, "the limits are told")

    person.menu("Trade", "action_risk_limits")
    dialog = person.see(RiskDialog, "risk_dialog")
    assert dialog.fields["max_order_value"].edit.text() == "25000"
    person.write(QLineEdit, "max_order_value", "500", dialog)
    shoot(person, "risk_limits", dialog)
    person.press(QAbstractButton, "risk_apply", dialog)
    person.wait(lambda: models.risk_settings.max_order_value == 500, 10, "the limit is in force")
    buy(application, "0.02")
    person.wait(lambda: "Order denied: BTC/USDT" in told(application), 10, "the order is denied")
    assert venue_orders(application) == []
    buy(application, "0.002")
    person.wait(lambda: len(person.rows("fills_table")) == 1, 20, "a small order fills")
    assert [order.status for order in venue_orders(application)] == ["FILLED"]

    # The fee alone is a loss: with no loss allowed, trading halts by itself.
    person.menu("Trade", "action_risk_limits")
    dialog = person.see(RiskDialog, "risk_dialog")
    person.write(QLineEdit, "max_drawdown", "0", dialog)
    person.press(QAbstractButton, "risk_apply", dialog)
    person.wait(lambda: models.trading_state is TradingState.HALTED, 10, "the drawdown halts")
    shoot(person, "risk_halted")
    title = "Drawdown limit reached: trading is halted"
    person.wait(lambda: title in told(application), 10, "the person is told why")

    application.lifecycle.quit()
    assert qapp.exec() == 0
    QCoreApplication.processEvents()
