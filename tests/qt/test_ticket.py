from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.flows.order_flow import FlowState, TicketContext
from app.flows.sample_session import sample_instruments, sample_order
from app.models.ownerships import Ownerships
from app.models.precision import Precision
from app.models.strategies_model import StrategiesModel
from app.services import OrderDraft
from app.ui.docks.ticket_dock import TicketDock
from core.clock import NS_PER_S, ManualClock
from core.domain.orders import OrderState, OrderType, Side, TradingMode, TradingState
from core.domain.positions import Ownership, Position
from core.events import OrderUpdated, OwnershipChanged, StrategyState, StrategyStatus
from tests.qt.window_kit import NOW_NS, Recorder, make_theme

BTC, ETH, _SOL = sample_instruments()
CONTEXT = TicketContext(
    instrument=BTC,
    last=Decimal("61200"),
    bid=Decimal("61199.99"),
    ask=Decimal("61200.01"),
    free_base=Decimal("0.5"),
    free_quote=Decimal("10000"),
    position=Decimal("0.5"),
    owned={"manual": Decimal("0.5")},
    online=True,
)


class Desk:
    def __init__(self, qtbot: QtBot, qapp: QApplication) -> None:
        self.trading = Recorder()
        self.clock = ManualClock(NOW_NS)
        self.strategies = StrategiesModel(Precision())
        self.theme = make_theme(qapp)
        self.ownerships = Ownerships()
        self.ticket = TicketDock(
            self.trading,  # type: ignore[arg-type]
            self.strategies,
            self.ownerships,
            self.theme,
            self.clock.now_ns,
        )
        qtbot.addWidget(self.ticket)
        self.ticket.set_mode(TradingMode.PRACTICE)
        self.ticket.observe(CONTEXT)
        self.ticket.resize(340, 700)
        self.ticket.show()
        self.ticket.activateWindow()

    def sent(self) -> list[OrderDraft]:
        return [arguments[0] for arguments in self.trading.named("place_order")]

    def wait(self, seconds: float) -> None:
        self.clock.advance(int(seconds * NS_PER_S))


@pytest.fixture
def desk(qtbot: QtBot, qapp: QApplication) -> Desk:
    return Desk(qtbot, qapp)


def fill(qtbot: QtBot, desk: Desk, quantity: str = "0.01", price: str = "61200") -> None:
    qtbot.keyClicks(desk.ticket.form.quantity.edit, quantity)
    qtbot.keyClicks(desk.ticket.form.price.edit, price)


def test_an_order_by_keyboard_alone(qtbot: QtBot, desk: Desk) -> None:
    ticket = desk.ticket
    ticket.setFocus()
    qtbot.keyClick(ticket, Qt.Key.Key_S)
    assert ticket.form.sell.isChecked()
    qtbot.keyClick(ticket.form.sell, Qt.Key.Key_B)
    assert ticket.form.buy.isChecked()
    ticket.form.quantity.edit.setFocus()
    qtbot.keyClicks(ticket.form.quantity.edit, "0.01")
    qtbot.keyClicks(ticket.form.price.edit, "61200")
    qtbot.keyClick(ticket.form.price.edit, Qt.Key.Key_Up)
    qtbot.keyClick(ticket.form.price.edit, Qt.Key.Key_Return)
    assert ticket.flow.state is FlowState.REVIEW
    assert desk.sent() == []
    assert ticket.deed.deed() == "Send: BUY 0.01000 BTC @ 61,200.01 (PRACTICE)"
    assert not ticket.form.price.isEnabled()
    desk.wait(1)
    qtbot.keyClick(ticket.deed, Qt.Key.Key_Return)
    assert desk.sent() == []  # Enter only ever reviews
    qtbot.keyClick(ticket.deed, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert desk.sent() == [
        OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.01"), limit_price=Decimal("61200.01"))
    ]
    assert ticket.deed.text() == "Sending…"
    assert not ticket.deed.isEnabled()


def test_a_letter_in_a_field_never_changes_the_side(qtbot: QtBot, desk: Desk) -> None:
    form = desk.ticket.form
    for field in (form.quantity.edit, form.price.edit, form.order_type, form.force):
        field.setFocus()
        qtbot.keyClicks(field, "0.001s")
        assert form.side is Side.BUY
    assert form.quantity.edit.text() == "0.001s"
    assert "not part of a number" in desk.ticket.outcome.text()


def test_the_mouse_needs_two_separate_clicks(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk)
    qtbot.mouseDClick(desk.ticket.deed, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(desk.ticket.deed, Qt.MouseButton.LeftButton)
    assert desk.ticket.flow.state is FlowState.REVIEW
    assert desk.sent() == []
    desk.wait(1)
    qtbot.mouseClick(desk.ticket.deed, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(desk.ticket.deed, Qt.MouseButton.LeftButton)
    assert len(desk.sent()) == 1


def test_esc_goes_back_to_the_fields(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk)
    qtbot.mouseClick(desk.ticket.deed, Qt.MouseButton.LeftButton)
    assert desk.ticket.back.isVisible()
    qtbot.keyClick(desk.ticket.deed, Qt.Key.Key_Escape)
    assert desk.ticket.flow.state is FlowState.EDIT
    assert desk.ticket.form.price.isEnabled()
    assert desk.ticket.form.price.edit.text() == "61200"


def test_figures_before_sending(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk)
    figures = {name: label.text() for name, label in desk.ticket.figures.items()}
    assert figures == {
        "available": "10,000.00 USDT",
        "spent": "612.00 USDT",
        "fee": "0.00001 BTC",
        "received": "0.00999 BTC",
        "position": "0.50999 BTC",
    }


def test_a_fee_smaller_than_a_lot_still_shows(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk, quantity="0.06493")
    assert desk.ticket.figures["fee"].text() == "0.00006493 BTC"
    assert desk.ticket.figures["received"].text() == "0.06486507 BTC"
    assert desk.ticket.figures["position"].text() == "0.56486507 BTC"


def test_figures_of_a_sale(qtbot: QtBot, desk: Desk) -> None:
    qtbot.mouseClick(desk.ticket.form.sell, Qt.MouseButton.LeftButton)
    fill(qtbot, desk)
    figures = {name: label.text() for name, label in desk.ticket.figures.items()}
    assert figures == {
        "available": "0.50000 BTC",
        "spent": "0.01000 BTC",
        "fee": "0.6120 USDT",
        "received": "611.39 USDT",
        "position": "0.49000 BTC",
    }


def test_unreadable_text_blocks_with_its_reason(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk, quantity="0,01")
    assert not desk.ticket.deed.isEnabled()
    assert "ambiguous" in desk.ticket.outcome.text()
    qtbot.keyClick(desk.ticket.form.quantity.edit, Qt.Key.Key_Return)
    assert desk.ticket.flow.state is FlowState.EDIT


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"online": False}, "Offline"),
        ({"trading_state": TradingState.HALTED}, "halted"),
        ({"instrument": None}, "rules"),
    ],
)
def test_disabled_with_the_reason(qtbot: QtBot, desk: Desk, change: dict[str, object], word: str) -> None:
    fill(qtbot, desk)
    assert desk.ticket.deed.isEnabled()
    desk.ticket.observe(replace(CONTEXT, **change))  # type: ignore[arg-type]
    desk.ticket.tick()
    assert not desk.ticket.deed.isEnabled()
    assert word in desk.ticket.outcome.text()
    assert word in desk.ticket.deed.toolTip()


def test_warnings_are_shown(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk, price="70000")
    assert "+14.4 %" in desk.ticket.warning.text()
    assert desk.ticket.warning.isVisible()


def test_share_buttons_use_the_balance(qtbot: QtBot, desk: Desk) -> None:
    qtbot.keyClicks(desk.ticket.form.price.edit, "50000")
    qtbot.mouseClick(desk.ticket.form.shares[2], Qt.MouseButton.LeftButton)
    assert desk.ticket.form.quantity.edit.value() == Decimal("0.10000")
    qtbot.mouseClick(desk.ticket.form.sell, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(desk.ticket.form.shares[3], Qt.MouseButton.LeftButton)
    assert desk.ticket.form.quantity.edit.value() == Decimal("0.5")


def test_fields_follow_the_type(qtbot: QtBot, desk: Desk) -> None:
    ticket = desk.ticket
    kinds = list(OrderType)
    ticket.form.order_type.setCurrentIndex(kinds.index(OrderType.MARKET))
    assert not ticket.form.price.isVisible()
    assert not ticket.form.force.isVisible()
    qtbot.keyClicks(ticket.form.quantity.edit, "0.01")
    assert ticket.deed.deed() == "BUY 0.01000 BTC @ market price (PRACTICE)"
    ticket.form.order_type.setCurrentIndex(kinds.index(OrderType.STOP_LOSS_LIMIT))
    assert ticket.form.stop.isVisible()
    ticket.form.order_type.setCurrentIndex(kinds.index(OrderType.LIMIT_MAKER))
    assert not ticket.form.force.isVisible()
    assert ticket.form.price.isVisible()


def test_a_price_from_the_book(qtbot: QtBot, desk: Desk) -> None:
    desk.ticket.form.order_type.setCurrentIndex(list(OrderType).index(OrderType.MARKET))
    desk.ticket.pick_price(Decimal("61199.985"))
    assert desk.ticket.flow.entry.order_type is OrderType.LIMIT
    assert desk.ticket.form.price.edit.text() == "61199.98"


def test_closing_a_position_only_fills_the_fields(qtbot: QtBot, desk: Desk) -> None:
    desk.ticket.draft_close(Position("binance", "BTC/USDT", "manual", Decimal("0.3")))
    assert desk.ticket.flow.entry.side is Side.SELL
    assert desk.ticket.flow.entry.reduce_only
    assert desk.ticket.deed.deed() == "SELL 0.30000 BTC @ market price (PRACTICE)"
    assert desk.ticket.deed.isEnabled()
    assert desk.sent() == []


def test_a_position_of_a_strategy_is_closed_in_its_own_name(qtbot: QtBot, desk: Desk) -> None:
    ticket = desk.ticket
    ticket.observe(replace(CONTEXT, owned={"manual": Decimal("0.5"), "trend": Decimal("0.3")}))
    ticket.draft_close(Position("binance", "BTC/USDT", "trend", Decimal("0.3")))
    assert ticket.flow.entry.reduce_only
    assert ticket.form.closes.isVisible()
    assert ticket.form.closes.full_text() == "Closes the position of trend"
    qtbot.mouseClick(ticket.deed, Qt.MouseButton.LeftButton)
    desk.wait(1)
    qtbot.mouseClick(ticket.deed, Qt.MouseButton.LeftButton)
    (draft,) = desk.sent()
    assert (draft.owner, draft.side, draft.quantity, draft.reduce_only) == ("trend", Side.SELL, Decimal("0.3"), True)


def test_more_than_the_strategy_holds_cannot_be_closed_in_its_name(qtbot: QtBot, desk: Desk) -> None:
    desk.ticket.observe(replace(CONTEXT, owned={"manual": Decimal("0.5"), "trend": Decimal("0.2")}))
    desk.ticket.draft_close(Position("binance", "BTC/USDT", "trend", Decimal("0.3")))
    assert not desk.ticket.deed.isEnabled()


def test_an_order_that_is_not_reduce_only_is_the_persons_own(qtbot: QtBot, desk: Desk) -> None:
    desk.ticket.observe(replace(CONTEXT, owned={"trend": Decimal("0.3")}))
    desk.ticket.draft_close(Position("binance", "BTC/USDT", "trend", Decimal("0.3")))
    desk.ticket.form.reduce_only.setChecked(False)
    assert desk.ticket.flow.entry.owner == "manual"
    assert not desk.ticket.form.closes.isVisible()
    desk.ticket.form.reduce_only.setChecked(True)
    assert desk.ticket.flow.entry.owner == "manual"
    desk.ticket.draft_close(Position("binance", "BTC/USDT", "trend", Decimal("0.3")))
    desk.ticket.observe(replace(CONTEXT, instrument=ETH, owned={"trend": Decimal("0.3")}))
    assert desk.ticket.flow.entry.owner == "manual"


def test_a_position_of_a_running_strategy_is_named_and_the_way_to_close_it(qtbot: QtBot, desk: Desk) -> None:
    ticket = desk.ticket
    status = StrategyStatus("s1", "Momentum", "BTC/USDT", "1h", "m", StrategyState.RUNNING)
    desk.strategies.put(status)
    context = replace(CONTEXT, owned={"s1": Decimal("0.5")})
    ticket.observe(context)
    qtbot.mouseClick(ticket.form.sell, Qt.MouseButton.LeftButton)
    fill(qtbot, desk)
    ticket.form.reduce_only.setChecked(True)
    assert not ticket.deed.isEnabled()
    text = ticket.outcome.text()
    assert "Momentum" in text
    assert ticket.head.take_over.text().rstrip("…") in text
    desk.ownerships.learn(OwnershipChanged("BTC/USDT", Ownership.MANUAL, "person", ("s1",)))
    desk.strategies.put(replace(status, state=StrategyState.PAUSED))
    ticket.observe(context)
    ticket.tick()
    assert ticket.form.closes.full_text() == "Closes the position of Momentum"
    ticket.one_click.setChecked(True)
    qtbot.mouseClick(ticket.deed, Qt.MouseButton.LeftButton)
    (draft,) = desk.sent()
    assert (draft.owner, draft.side, draft.reduce_only) == ("s1", Side.SELL, True)


def close_of(ticket: TicketDock) -> tuple[Side, OrderType, bool]:
    return ticket.form.side, ticket.form.kind, ticket.form.reduce_only.isChecked()


def test_a_close_does_not_stay_set_for_the_next_market(desk: Desk) -> None:
    desk.ticket.draft_close(Position("binance", "BTC/USDT", "manual", Decimal("0.3")))
    assert close_of(desk.ticket) == (Side.SELL, OrderType.MARKET, True)
    desk.ticket.observe(replace(CONTEXT, instrument=ETH))
    assert close_of(desk.ticket) == (Side.BUY, OrderType.LIMIT, False)
    assert desk.ticket.flow.entry.side is Side.BUY


@pytest.mark.parametrize(
    ("state", "stays"), [(OrderState.FILLED, False), (OrderState.UNKNOWN, False), (OrderState.DENIED, True)]
)
def test_a_close_does_not_stay_set_after_it_was_sent(qtbot: QtBot, desk: Desk, state: OrderState, stays: bool) -> None:
    ticket = desk.ticket
    ticket.one_click.setChecked(True)
    ticket.observe(replace(CONTEXT, free_quote=Decimal(10_000_000)))  # small enough not to be reviewed
    ticket.draft_close(Position("binance", "BTC/USDT", "manual", Decimal("0.3")))
    qtbot.mouseClick(ticket.deed, Qt.MouseButton.LeftButton)
    (draft,) = desk.sent()
    order = sample_order(1, NOW_NS, quantity="0.3", side=Side.SELL, state=state, message="no")
    intent = replace(order.intent, order_type=draft.order_type, limit_price=None, reduce_only=True)
    ticket.on_event(OrderUpdated(replace(order, intent=intent)))
    assert ticket.outcome.text()
    assert close_of(ticket) == ((Side.SELL, OrderType.MARKET, True) if stays else (Side.BUY, OrderType.LIMIT, False))
    assert ticket.flow.entry.reduce_only is stays
    qtbot.mouseClick(ticket.back, Qt.MouseButton.LeftButton)
    assert ticket.flow.state is FlowState.EDIT
    assert close_of(ticket) == (Side.BUY, OrderType.LIMIT, False)
    assert ticket.form.quantity.edit.value() is None


def test_another_market_empties_the_fields(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk)
    desk.ticket.observe(replace(CONTEXT, instrument=ETH))
    assert desk.ticket.form.quantity.edit.value() is None
    assert desk.ticket.form.price.edit.value() is None
    assert desk.ticket.head.market.text() == "ETH/USDT"


def test_one_click_must_be_armed(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk)
    desk.ticket.one_click.setChecked(True)
    qtbot.mouseClick(desk.ticket.deed, Qt.MouseButton.LeftButton)
    assert len(desk.sent()) == 1


def test_answer_and_timeout(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk)
    desk.ticket.one_click.setChecked(True)
    qtbot.mouseClick(desk.ticket.deed, Qt.MouseButton.LeftButton)
    desk.wait(11)
    desk.ticket.tick()
    assert desk.ticket.deed.text() == "Unknown – reconciling"
    assert not desk.ticket.deed.isEnabled()
    order = sample_order(1, NOW_NS, quantity="0.01", price="61200", state=OrderState.ACCEPTED)
    desk.ticket.on_event(OrderUpdated(order))
    assert desk.ticket.outcome.text() == "The order is on the book."
    qtbot.mouseClick(desk.ticket.back, Qt.MouseButton.LeftButton)
    assert desk.ticket.flow.state is FlowState.EDIT
    assert len(desk.sent()) == 1


def test_taking_over_and_handing_back(qtbot: QtBot, desk: Desk) -> None:
    status = StrategyStatus("s1", "One", "BTC/USDT", "1h", "m", StrategyState.RUNNING)
    desk.strategies.put(status)
    desk.strategies.put(StrategyStatus("s2", "Two", "ETH/USDT", "1h", "m", StrategyState.RUNNING))
    desk.strategies.flush()
    desk.ticket.refresh()
    assert desk.ticket.head.take_over.isVisible()
    assert not desk.ticket.head.manual.isVisible()
    with qtbot.waitSignal(desk.ticket.head.take_over_requested) as asked:
        qtbot.mouseClick(desk.ticket.head.take_over, Qt.MouseButton.LeftButton)
    assert asked.args == ["BTC/USDT"]
    assert desk.trading.calls == []  # the window asks, the executor acts
    desk.ownerships.learn(OwnershipChanged("BTC/USDT", Ownership.MANUAL, "person", ("s1",)))
    desk.strategies.put(replace(status, state=StrategyState.PAUSED))
    desk.ticket.refresh()
    assert desk.ticket.head.manual.isVisible()
    assert desk.ticket.head.is_manual("BTC/USDT")
    with qtbot.waitSignal(desk.ticket.head.hand_back_requested) as asked:
        qtbot.mouseClick(desk.ticket.head.take_over, Qt.MouseButton.LeftButton)
    assert asked.args == ["BTC/USDT"]
    desk.ownerships.learn(OwnershipChanged("BTC/USDT", Ownership.SHARED, "person"))
    desk.ticket.refresh()
    assert not desk.ticket.head.manual.isVisible()
    assert not desk.ticket.head.take_over.isVisible()  # nothing runs that could be taken over


def test_mode_is_part_of_the_deed_and_without_mode_there_is_none(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk)
    desk.ticket.set_mode(TradingMode.LIVE)
    assert desk.ticket.deed.deed().endswith("(LIVE)")


def test_space_after_sending_does_not_arm_one_click_orders(qtbot: QtBot, desk: Desk) -> None:
    fill(qtbot, desk)
    qtbot.keyClick(desk.ticket.form.price.edit, Qt.Key.Key_Return)
    assert desk.ticket.deed.hasFocus()
    desk.wait(1)
    qtbot.keyClick(desk.ticket.deed, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert len(desk.sent()) == 1
    assert desk.ticket.hasFocus()
    qtbot.keyClick(desk.ticket, Qt.Key.Key_Space)
    assert not desk.ticket.one_click.isChecked()
    qtbot.keyClick(desk.ticket, Qt.Key.Key_Return)
    assert len(desk.sent()) == 1


@pytest.mark.parametrize("room", range(-2, 30, 4))
def test_the_deed_takes_two_lines_before_a_letter_is_cut(qtbot: QtBot, desk: Desk, room: int) -> None:
    deed = desk.ticket.deed
    text = "SELL 0.01998 BTC @ market price (PRACTICE)"
    deed.set_deed(text)
    needed = deed.fontMetrics().horizontalAdvance(text)
    deed.resize(needed + room, deed.height())
    contents = deed._room()
    assert contents < deed.width()  # border and padding
    assert ("\n" in deed.text()) is (needed > contents)
