"""Orders without an answer and changed orders in the window: mouse and keys, recorded commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QLabel,
)
from pytestqt.qtbot import QtBot

from app.flows.sample_session import sample_order
from app.ui.dialogs.change_order_dialog import ChangeOrderDialog
from app.ui.dialogs.resolve_dialog import ResolveDialog
from app.ui.layouts import DockName
from core.domain.orders import Order, OrderChange, OrderState, OrderType, Side, TradingState
from core.events import (
    OrderUpdated,
    TradingStateChanged,
)
from tests.qt.order_kit import (
    BRACKET,
    CONTROL,
    child,
    choose,
    click,
    hear,
    opened,
    part,
    plan,
    preview,
    write,
)
from tests.qt.window_kit import NOW_NS, WindowKit

D = Decimal


@pytest.fixture
def kit(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> Iterator[WindowKit]:
    kit = WindowKit(qapp, tmp_path)
    kit.window.show()
    qtbot.waitExposed(kit.window)
    kit.play()
    yield kit
    kit.close()


# --- orders without an answer -------------------------------------------------------------------------------------


@pytest.fixture
def lost(kit: WindowKit) -> Order:
    order = sample_order(70, NOW_NS, quantity="0.2", price="60100", state=OrderState.UNKNOWN)
    return hear(kit, order)


@pytest.fixture
def doubt(qtbot: QtBot, kit: WindowKit, lost: Order) -> ResolveDialog:
    choose(kit, lost.client_order_id)
    click(qtbot, kit.window.orders.resolve)
    return opened(kit, ResolveDialog)


def status(dialog: QDialog) -> str:
    label = dialog.findChild(QLabel, "resolve_status")
    assert label is not None
    return label.text()


def test_the_button_is_there_while_an_order_is_without_an_answer(kit: WindowKit, lost: Order) -> None:
    orders = kit.window.orders
    kit.window.layouts.show(DockName.ORDERS)
    orders.table.view.clearSelection()
    assert orders.resolve.isVisible()
    assert not orders.resolve.isEnabled()
    choose(kit, lost.client_order_id)
    assert orders.resolve.isEnabled()
    for record in kit.window.models.orders.records():
        if record.state is OrderState.UNKNOWN:
            hear(kit, replace(record, state=OrderState.FILLED))
    assert not orders.resolve.isVisible()
    assert orders.change.isVisible()


def test_asking_again_is_what_enter_does(qtbot: QtBot, kit: WindowKit, doubt: ResolveDialog, lost: Order) -> None:
    text = " ".join(label.text() for label in doubt.findChildren(QLabel))
    assert "Buy 0.2 BTC/USDT at 60,100.00" in text
    assert "Nothing is sent again" in text
    assert "no order may grow the exposure in BTC/USDT" in text
    qtbot.keyClick(doubt, Qt.Key.Key_Return)
    assert kit.trading.calls == [("ask_about", lost.client_order_id)]
    assert status(doubt).startswith("Asked at ")
    click(qtbot, doubt.ask)
    assert len(kit.trading.named("ask_about")) == 2
    assert kit.trading.named("place_order") == []


def test_gone_is_said_only_after_a_look(qtbot: QtBot, kit: WindowKit, doubt: ResolveDialog, lost: Order) -> None:
    assert not doubt.gone.isEnabled()
    doubt.looked.setFocus()
    qtbot.keyClick(doubt.looked, Qt.Key.Key_Space)
    click(qtbot, doubt.gone)
    assert kit.trading.calls == [("declare_gone", lost.client_order_id)]
    assert not doubt.gone.isEnabled(), "the second word needs a second look"
    doubt.looked.setChecked(True)
    doubt.looked.setChecked(False)
    assert not doubt.gone.isEnabled()


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (OrderState.ACCEPTED, "the exchange has the order"),
        (OrderState.FILLED, "has filled the order (0.2)"),
        (OrderState.CANCELED, "the order is cancelled"),
    ],
)
def test_the_dialog_ends_with_what_became_of_the_order(
    qtbot: QtBot, kit: WindowKit, doubt: ResolveDialog, lost: Order, state: OrderState, text: str
) -> None:
    filled = D("0.2") if state is OrderState.FILLED else D(0)
    hear(kit, replace(lost, state=state, filled_quantity=filled))
    qtbot.waitUntil(lambda: text in status(doubt), timeout=5_000)
    assert not doubt.ask.isVisible()
    assert not doubt.gone.isVisible()
    assert not doubt.looked.isVisible()
    assert not any(label.isVisible() for label in doubt.findChildren(QLabel, "resolve_fact"))
    qtbot.keyClick(doubt, Qt.Key.Key_Return)
    assert not doubt.isVisible()
    assert kit.trading.calls == []


def test_one_dialog_for_each_order(qtbot: QtBot, kit: WindowKit, doubt: ResolveDialog, lost: Order) -> None:
    kit.window.order_dialogs.resolve(lost)
    assert opened(kit, ResolveDialog) is doubt
    other = hear(kit, sample_order(71, NOW_NS, state=OrderState.UNKNOWN))
    kit.window.order_dialogs.resolve(other)
    assert sum(d.isVisible() for d in kit.window.findChildren(ResolveDialog)) == 2
    click(qtbot, doubt.leave)
    kit.window.order_dialogs.resolve(lost)
    assert sum(d.isVisible() for d in kit.window.findChildren(ResolveDialog)) == 2


def test_an_order_that_is_forgotten_leaves_the_question_open(kit: WindowKit, doubt: ResolveDialog) -> None:
    kit.window.models.orders.clear()
    doubt.refresh()
    assert doubt.ask.isVisible()


def test_an_order_decided_before_the_dialog_shows(kit: WindowKit, lost: Order) -> None:
    kit.window.on_executor_event(OrderUpdated(replace(lost, state=OrderState.ACCEPTED)))
    kit.window.order_dialogs.resolve(lost)
    assert "has the order" in status(opened(kit, ResolveDialog))


# --- changing an order --------------------------------------------------------------------------------------------


@pytest.fixture
def resting(kit: WindowKit) -> Order:
    order = sample_order(
        80, NOW_NS, quantity="0.01000", price="60000.00", state=OrderState.PARTIALLY_FILLED, filled="0.00400"
    )
    return hear(kit, order)


def change_dialog(qtbot: QtBot, kit: WindowKit, order: Order) -> ChangeOrderDialog:
    choose(kit, order.client_order_id)
    click(qtbot, kit.window.orders.change)
    return opened(kit, ChangeOrderDialog)


def test_an_order_is_changed_by_keys(qtbot: QtBot, kit: WindowKit, resting: Order) -> None:
    dialog = change_dialog(qtbot, kit, resting)
    assert dialog.price.edit.text() == "60000.00"
    assert dialog.quantity.edit.text() == "0.01000"
    assert not dialog.stop.isVisible()
    assert not dialog.deed.isEnabled()
    assert preview(dialog) == "Nothing is changed yet."
    assert "proven" in part(dialog, "change_hint").text()  # type: ignore[attr-defined]
    assert dialog.price.edit.hasFocus() or not dialog.isActiveWindow()
    qtbot.keyClicks(dialog.price.edit, "60100")  # the price is selected
    qtbot.keyClick(dialog.price.edit, Qt.Key.Key_Return)
    assert kit.trading.calls == [], "Enter in a field sends nothing"
    assert preview(dialog) == "Then buys 0.006 BTC at 60,100.00 or below; 0.004 is filled already."
    assert dialog.deed.text() == "Change order (PRACTICE)"
    qtbot.keyClick(dialog.price.edit, Qt.Key.Key_Return, CONTROL)
    assert kit.trading.calls == [
        ("replace_order", resting.client_order_id, OrderChange(D("0.01000"), D("60100"), None))
    ]
    assert not dialog.isVisible()


def test_what_is_sent_is_what_the_field_says_it_rounds_to(qtbot: QtBot, kit: WindowKit, resting: Order) -> None:
    dialog = change_dialog(qtbot, kit, resting)
    write(qtbot, dialog.price.edit, "60100.006")
    assert dialog.price.echo() == "rounded to 60100.01 USDT"
    write(qtbot, dialog.quantity.edit, "0.012009")
    click(qtbot, dialog.deed)
    assert kit.trading.named("replace_order") == [
        (resting.client_order_id, OrderChange(D("0.01200"), D("60100.01"), None))
    ]


def test_a_change_that_makes_no_sense_cannot_be_sent(qtbot: QtBot, kit: WindowKit, resting: Order) -> None:
    dialog = change_dialog(qtbot, kit, resting)
    for text, why in (("0,01", "ambiguous"), ("0.004", "filled already"), ("", "Enter a quantity")):
        write(qtbot, dialog.quantity.edit, text)
        assert why in preview(dialog)
        assert not dialog.deed.isEnabled()
        qtbot.keyClick(dialog.quantity.edit, Qt.Key.Key_Return, CONTROL)
    assert kit.trading.calls == []
    click(qtbot, part(dialog, "change_cancel"))
    assert kit.trading.calls == []


def test_a_stop_order_has_its_stop(qtbot: QtBot, kit: WindowKit) -> None:
    order = sample_order(81, NOW_NS, side=Side.SELL, quantity="0.01000", price="59900.00")
    intent = replace(order.intent, order_type=OrderType.STOP_LOSS_LIMIT, stop_price=D(60_000))
    dialog = change_dialog(qtbot, kit, hear(kit, replace(order, intent=intent)))
    write(qtbot, dialog.stop.edit, "60050")
    click(qtbot, dialog.deed)
    assert kit.trading.named("replace_order") == [
        (order.client_order_id, OrderChange(D("0.01000"), D("59900.00"), D(60_050)))
    ]


def test_the_dialog_follows_order_and_trading_state(qtbot: QtBot, kit: WindowKit, resting: Order) -> None:
    dialog = change_dialog(qtbot, kit, resting)
    write(qtbot, dialog.price.edit, "60100")
    kit.window.on_executor_event(TradingStateChanged(TradingState.HALTED, ""))
    dialog.refresh()
    assert "halted" in preview(dialog)
    assert not dialog.deed.isEnabled()
    kit.window.on_executor_event(TradingStateChanged(TradingState.ACTIVE, ""))
    dialog.refresh()
    assert dialog.deed.isEnabled()
    hear(kit, replace(resting, state=OrderState.FILLED, filled_quantity=D("0.01")))
    dialog.change_requested.connect(lambda *_: pytest.fail("sent"))
    dialog._on_deed()  # the click that comes before the next look
    dialog.refresh()
    assert "not working any more" in preview(dialog)
    assert not dialog.deed.isEnabled()
    kit.window.order_dialogs.change(resting)
    assert opened(kit, ChangeOrderDialog) is dialog


def test_only_an_order_of_ones_own_can_be_changed(kit: WindowKit, resting: Order) -> None:
    orders = kit.window.orders
    plan(kit, BRACKET)
    stop = hear(kit, child("b1", "stop", 82))
    robot = hear(kit, sample_order(83, NOW_NS, owner="btcusdt-1h-9f41c07b"))
    for order, changeable in ((resting, True), (stop, False), (robot, False)):
        choose(kit, order.client_order_id)
        assert orders.change.isEnabled() is changeable
        actions = {action.text(): action for action in orders._menu()}
        assert actions["Change…"].isEnabled() is changeable
        assert not actions["Resolve…"].isEnabled()
