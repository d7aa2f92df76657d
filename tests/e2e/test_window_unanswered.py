"""An order whose answer is lost, in the real window: shown, asked about, decided."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest
from PySide6.QtCore import QCoreApplication
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QAbstractButton, QApplication
from pytestqt.qtbot import QtBot

from app.bootstrap import Application
from app.ui.dialogs.resolve_dialog import ResolveDialog
from core.domain.orders import OrderDraft, OrderType, Side
from core.practice.control import PracticeControl
from tests.e2e.conftest import shoot, venue_orders
from tests.e2e.person import Person
from tests.qt.conftest import _nothing_left_behind, _quick_collections  # noqa: F401 - the leak fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# The answer to the order is lost, and neither the stream nor a question says what became of it.
SILENCE = "lost-ack:order,next=1;drop:user;error:query+openOrders+allOrders,code=-1001"


def tell(application: Application, command: Callable[[PracticeControl], Awaitable[object]]) -> None:
    async def told() -> None:
        control = PracticeControl(application.practice.endpoints.result(0))
        try:
            await command(control)
        finally:
            await control.close()

    asyncio.run(told())


def test_a_lost_answer_is_asked_for(
    person: Person, qtbot: QtBot, application: Application, qapp: QApplication, ready: QSignalSpy
) -> None:
    models = application.window.models
    person.wait(lambda: ready.count() > 0, 30, "it trades")
    person.wait(lambda: models.ticket_context("BTC/USDT").last is not None, 30, "there is a price")
    last = models.ticket_context("BTC/USDT").last
    assert last is not None
    tell(application, lambda control: control.arm_faults(SILENCE))
    price = Decimal(round(last * Decimal("0.9")))
    application.executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.01"), price))
    person.wait(lambda: [r["State"] for r in person.rows("orders_table")] == ["Unknown"], 20, "it has no answer")

    person.tab("Orders")
    person.select_row("orders_table", 0)
    person.press(QAbstractButton, "resolve_order")
    dialog = next(d for d in application.window.findChildren(ResolveDialog) if d.isVisible())
    assert not dialog.gone.isEnabled()
    shoot(person, "resolve_dialog", dialog)
    person.press(QAbstractButton, "resolve_ask", dialog)
    person.wait(
        lambda: any(
            row["Title"].startswith("The order is still without an answer")
            for row in person.rows("notifications_table")
        ),
        30,
        "the person is told that the exchange does not say",
    )
    assert dialog.isVisible()
    tell(application, lambda control: control.clear_faults())
    person.press(QAbstractButton, "resolve_ask", dialog)
    person.wait(lambda: "the exchange has the order" in dialog.status.text(), 30, dialog.status.text())
    shoot(person, "resolve_dialog_decided", dialog)
    person.press(QAbstractButton, "resolve_close", dialog)
    assert [row["State"] for row in person.rows("orders_table")] == ["Working"]
    assert [order.status for order in venue_orders(application)] == ["NEW"], "it was never sent again"

    application.lifecycle.quit()
    assert qapp.exec() == 0
    QCoreApplication.processEvents()
