"""The ladder and the tape."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QEnterEvent
from PySide6.QtWidgets import QApplication

from app.theme import ThemeManager
from app.ui.docks.ladder import LadderWidget, ladder_rows
from app.ui.docks.order_book_dock import OrderBookDock
from app.ui.docks.tape import KEPT
from core.domain.market import BookSnapshot, PublicTrade
from core.domain.orders import Side


def book(mid: float = 100.0, levels: int = 20, symbol: str = "BTC/USDT") -> BookSnapshot:
    bids = tuple((round(mid - 0.01 * (i + 1), 2), 1.0 + i) for i in range(levels))
    asks = tuple((round(mid + 0.01 * (i + 1), 2), 2.0 + i) for i in range(levels))
    return BookSnapshot(symbol, bids, asks, 0)


def trade(number: int, symbol: str = "BTC/USDT") -> PublicTrade:
    return PublicTrade(symbol, str(number), 100.0 + number, 0.5, Side.BUY if number % 2 else Side.SELL, number * 10**9)


@pytest.fixture
def dock(qapp: QApplication, theme: ThemeManager) -> Iterator[OrderBookDock]:
    panel = OrderBookDock(theme)
    panel.resize(320, 700)
    panel.set_instrument("BTC/USDT", 2, 4)
    panel.show()
    qapp.processEvents()
    yield panel
    panel.shutdown()
    panel.close()
    panel.deleteLater()


def enter(ladder: LadderWidget) -> None:
    at = QPointF(10, 60)
    QApplication.sendEvent(ladder, QEnterEvent(at, at, at))


def leave(ladder: LadderWidget) -> None:
    QApplication.sendEvent(ladder, QEvent(QEvent.Type.Leave))


def prices(ladder: LadderWidget) -> list[float]:
    return [row.price for row in ladder.rows()]


def test_rows_run_from_high_to_low_with_cumulative_depth() -> None:
    rows = ladder_rows(book(), 3, 2, None)
    assert [row.price for row in rows] == [100.03, 100.02, 100.01, 99.99, 99.98, 99.97]
    assert [row.cumulative for row in rows] == [9.0, 5.0, 2.0, 1.0, 3.0, 6.0]
    assert [row.is_ask for row in rows] == [True] * 3 + [False] * 3


def test_held_rows_keep_their_prices_and_take_new_quantities() -> None:
    held = (100.01, 100.02), (99.99, 99.98)
    rows = ladder_rows(book(mid=100.01), 2, 2, held)
    assert [row.price for row in rows] == [100.02, 100.01, 99.99, 99.98]
    assert [row.quantity for row in rows] == [2.0, 0.0, 2.0, 3.0]  # 100.01 has left the book


def test_one_sided_and_short_books() -> None:
    assert len(ladder_rows(BookSnapshot("X/Y", (), ((1.0, 2.0),), 0), 10, 2, None)) == 1
    assert ladder_rows(BookSnapshot("X/Y", (), (), 0), 10, 2, None) == []


def test_it_waits_for_the_book_and_ignores_other_markets(dock: OrderBookDock) -> None:
    assert dock._stack.currentWidget() is dock.empty
    dock.on_book(book(symbol="ETH/USDT"))
    assert dock.ladder.book is None
    dock.on_book(book())
    assert dock._stack.currentIndex() == 1
    dock.set_instrument("ETH/USDT", 2, 4)
    assert dock.ladder.book is None
    assert dock._stack.currentWidget() is dock.empty


def test_a_precision_that_arrives_late_keeps_the_book(dock: OrderBookDock) -> None:
    dock.on_book(book())
    dock.on_trades([trade(1)])
    dock.set_instrument("BTC/USDT", 3, 5)
    assert dock.ladder.book is not None
    assert len(dock.tape.trades) == 1


def test_rows_never_move_under_the_cursor(dock: OrderBookDock, qapp: QApplication) -> None:
    dock.on_book(book())
    leave(dock.ladder)
    enter(dock.ladder)
    before = prices(dock.ladder)
    places = [dock.ladder.row_rect(i) for i in range(len(before))]
    for step in range(1, 30):
        dock.on_book(book(mid=100.0 + step * 0.05))
        qapp.processEvents()
    assert prices(dock.ladder) == before
    assert [dock.ladder.row_rect(i) for i in range(len(before))] == places
    leave(dock.ladder)
    assert prices(dock.ladder) != before


def test_a_click_picks_the_price_of_the_row_painted(dock: OrderBookDock, qapp: QApplication, qtbot) -> None:
    dock.on_book(book())
    qapp.processEvents()
    rows = dock.ladder.rows()
    for index in (0, len(rows) // 2, len(rows) - 1):
        with qtbot.waitSignal(dock.price_picked) as signal:
            qtbot.mouseClick(dock.ladder, Qt.MouseButton.LeftButton, pos=dock.ladder.row_rect(index).center())
        assert signal.args == [Decimal(f"{rows[index].price:.2f}")]


def test_a_click_beside_the_rows_picks_nothing(dock: OrderBookDock, qtbot) -> None:
    dock.on_book(book())
    with qtbot.assertNotEmitted(dock.price_picked):
        qtbot.mouseClick(dock.ladder, Qt.MouseButton.LeftButton, pos=QPoint(20, 4))


def test_keyboard_chooses_a_row(dock: OrderBookDock, qtbot) -> None:
    dock.on_book(book())
    leave(dock.ladder)
    best_bid = 99.99
    qtbot.keyClick(dock.ladder, Qt.Key.Key_Down)
    assert dock.ladder.rows_held
    with qtbot.waitSignal(dock.price_picked) as signal:
        qtbot.keyClick(dock.ladder, Qt.Key.Key_Return)
    assert signal.args == [Decimal(str(best_bid))]
    qtbot.keyClick(dock.ladder, Qt.Key.Key_Escape)
    assert not dock.ladder.rows_held


def test_repaints_are_paced(dock: OrderBookDock, qtbot, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[int] = []
    dock.on_book(book())
    qtbot.wait(150)
    # Qt keeps the paintEvent it found first; what that calls can still be replaced.
    monkeypatch.setattr(LadderWidget, "_paint_header", lambda self, painter: painted.append(1))
    for step in range(200):
        dock.on_book(book(mid=100.0 + step))
    qtbot.waitUntil(lambda: bool(painted))
    assert len(painted) == 1


def test_hidden_panel_does_not_start_its_timer(dock: OrderBookDock, qapp: QApplication) -> None:
    dock.hide()
    dock.ladder.stop()
    dock.on_book(book())
    assert not dock.ladder._frame.isActive()
    assert dock.ladder.book is not None


def test_tape_keeps_the_newest_first_and_is_bounded(dock: OrderBookDock) -> None:
    dock.on_trades([trade(n) for n in range(500)])
    dock.on_trades([trade(1, symbol="ETH/USDT")])
    assert len(dock.tape.trades) == KEPT
    assert dock.tape.trades[0].trade_id == "499"
    dock.set_instrument("ETH/USDT", 2, 4)
    assert dock.tape.trades == ()


def test_stale_and_error_states(dock: OrderBookDock) -> None:
    dock.on_book(book())
    fresh = dock.grab().toImage()
    dock.set_stale(8.0)
    assert dock._note.text() == "STALE 8 s"
    assert dock._note.isVisible()
    assert dock.grab().toImage() != fresh
    dock.set_stale(None)
    assert not dock._note.isVisible()
    dock.clear("The venue does not answer.", "Check the connection.")
    assert dock._stack.currentWidget() is dock.empty
    dock.on_book(book())
    assert dock._stack.currentIndex() == 1


def test_a_pointer_at_rest_does_not_hold_rows_the_market_has_left(
    dock: OrderBookDock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ui.docks.ladder.REST_S", 0.0)
    dock.on_book(book(mid=100.0))
    enter(dock.ladder)
    dock.on_book(book(mid=100.05))
    assert dock.ladder.rows_held  # still among them
    dock.on_book(book(mid=150.0))
    assert not dock.ladder.rows_held
    assert max(prices(dock.ladder)) > 150
