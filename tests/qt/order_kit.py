"""What the tests of orders and order plans in the window share: plans, and what a person does with a dialog."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QLineEdit,
    QWidget,
)
from pytestqt.qtbot import QtBot

from app.flows.sample_session import sample_order
from app.ui.dialogs.change_order_dialog import ChangeOrderDialog
from app.ui.dialogs.plan_dialog import PlanDialog
from app.ui.layouts import DockName
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind, PlanState
from core.domain.orders import Order, OrderState, Side
from core.events import (
    OrderUpdated,
    PlanUpdated,
)
from tests.qt.window_kit import NOW_NS, WindowKit

D = Decimal
LEFT = Qt.MouseButton.LeftButton
CONTROL = Qt.KeyboardModifier.ControlModifier
W = TypeVar("W", bound=QWidget)
RULES = ExitRules(D(58_000), D(66_000))
BRACKET = OrderPlan(
    "b1", PlanDraft(PlanKind.BRACKET, "BTC/USDT", Side.BUY, D("0.05"), exits=RULES), created_ns=NOW_NS - 9
)
TWAP = OrderPlan(
    "t1",
    PlanDraft(PlanKind.TWAP, "ETH/USDT", Side.BUY, D(2), slices=10, duration_s=600),
    state=PlanState.PAUSED,
    reason="waits for you after the restart",
    created_ns=NOW_NS - 5,
)
ICEBERG = OrderPlan("i1", PlanDraft(PlanKind.ICEBERG, "SOL/USDT", Side.SELL, D(9), D(150), visible=D(3)))


def hear(kit: WindowKit, order: Order) -> Order:
    kit.window.on_executor_event(OrderUpdated(order))
    kit.window.refresh_now()
    return order


def plan(kit: WindowKit, plan: OrderPlan) -> None:
    kit.window.on_executor_event(PlanUpdated(plan))
    kit.window.refresh_now()


def child(plan_id: str, role: str, number: int, **named: str | OrderState) -> Order:
    order = sample_order(number, NOW_NS, **named)  # type: ignore[arg-type]
    return replace(order, intent=replace(order.intent, intent_id=f"plan:{plan_id}:{role}:0"))


def opened(kit: WindowKit, kind: type[W]) -> W:
    found = [dialog for dialog in kit.window.findChildren(kind) if dialog.isVisible()]
    assert len(found) == 1, found
    return found[0]


def part(dialog: QWidget, name: str) -> QWidget:
    found = dialog.findChild(QWidget, name)
    assert found is not None, name
    return found


def click(qtbot: QtBot, widget: QWidget) -> None:
    assert widget.isVisible()
    assert widget.isEnabled(), widget.toolTip()
    qtbot.mouseClick(widget, LEFT)


def write(qtbot: QtBot, field: QLineEdit, text: str) -> None:
    field.setFocus()
    field.selectAll()
    qtbot.keyClick(field, Qt.Key.Key_Delete)
    qtbot.keyClicks(field, text)


def choose(kit: WindowKit, key: str) -> None:
    kit.window.layouts.show(DockName.ORDERS)
    kit.window.refresh_now()
    assert kit.window.orders.table.select_key(key)


def preview(dialog: ChangeOrderDialog | PlanDialog) -> str:
    return dialog.preview.text()
