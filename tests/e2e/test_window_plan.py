"""A bracket made in the real window: its entry fills, its stop rests at the practice exchange, and it can be ended."""

from __future__ import annotations

from decimal import Decimal

import pytest
from PySide6.QtCore import QCoreApplication
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from app.bootstrap import Application
from app.ui.dialogs.change_order_dialog import ChangeOrderDialog
from app.ui.dialogs.plan_dialog import PlanDialog
from core.domain.orders import OrderDraft, OrderType, Side
from tests.e2e.conftest import shoot, venue_orders
from tests.e2e.person import Person
from tests.qt.conftest import _nothing_left_behind, _quick_collections  # noqa: F401 - the leak fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def resting(application: Application) -> int:
    """Return how many orders rest at the exchange."""
    return sum(order.status == "NEW" for order in venue_orders(application))


def test_a_bracket_and_a_changed_order(
    person: Person, qtbot: QtBot, application: Application, qapp: QApplication, ready: QSignalSpy
) -> None:
    models = application.window.models
    equity = person.see(QLabel, "account_equity")
    person.wait(lambda: equity.text() == "10,000.00 USDT", 30, "the account is there")
    person.wait(lambda: ready.count() == 1, 30, "it trades")
    person.wait(lambda: models.ticket_context("BTC/USDT").last is not None, 30, "there is a price")
    last = models.ticket_context("BTC/USDT").last
    assert last is not None
    stop, target, low, lower = (str(round(last * Decimal(part))) for part in ("0.8", "1.3", "0.90", "0.89"))

    person.menu("Trade", "action_new_plan")
    dialog = person.see(PlanDialog, "plan_dialog")
    for name, text in (("quantity", "0.01"), ("stop", stop), ("target", target)):
        person.write(QLineEdit, f"plan_{name}", text, dialog)
    person.wait(dialog.deed.isEnabled, 10, dialog.preview.text())
    shoot(person, "plan_dialog", dialog)
    person.press(QAbstractButton, "plan_begin", dialog)
    person.wait(
        lambda: [row["From"] for row in person.rows("orders_table")] == ["Bracket · stop"], 30, "the stop is shown"
    )
    person.wait(lambda: person.rows("orders_table")[0]["State"] == "Working", 30, "the stop works")
    assert [row["State"] for row in person.rows("plans_table")] == ["At work"]
    assert resting(application) == 1
    shoot(person, "plan_at_work")

    person.tab("Order plans")
    person.select_row("plans_table", 0)
    person.press(QAbstractButton, "cancel_plan")
    person.wait(lambda: person.rows("plans_table") == [] and person.rows("orders_table") == [], 30, "it is over")
    assert resting(application) == 0

    draft = OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.01"), Decimal(low))
    application.executor.place_order(draft)
    person.wait(lambda: [row["State"] for row in person.rows("orders_table")] == ["Working"], 30, "it rests")
    person.tab("Orders")
    person.select_row("orders_table", 0)
    person.press(QAbstractButton, "change_order")
    change = next(d for d in application.window.findChildren(ChangeOrderDialog) if d.isVisible())
    person.write(QLineEdit, "change_price", lower, change)
    shoot(person, "change_dialog", change)
    person.press(QAbstractButton, "change_deed", change)
    price = f"{int(lower):,}.00"
    person.wait(
        lambda: [(row["Price"], row["State"]) for row in person.rows("orders_table")] == [(price, "Working")],
        30,
        "the changed order rests alone",
    )
    assert resting(application) == 1

    application.lifecycle.quit()
    assert qapp.exec() == 0
    QCoreApplication.processEvents()
