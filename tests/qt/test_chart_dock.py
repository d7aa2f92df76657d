"""The chart panel: market selection, feeding, own orders."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication, QToolButton

from app import i18n
from app.theme import ThemeManager
from app.ui.charts.states import ChartState
from app.ui.docks.chart_dock import TIMEFRAMES, ChartDock, net_position
from app.ui.widgets import price_readout
from core.data.frame import CandleFrame
from core.domain.candles import Candle, Timeframe
from core.domain.instruments import Instrument
from core.domain.market import PublicTrade, Ticker
from core.domain.orders import OrderState, Side
from core.domain.positions import Position
from tests.qt.test_chart_view import HOUR, START, fill, history, order


class Watcher:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def watch(self, symbol: str, timeframe: str) -> None:
        self.calls.append((symbol, timeframe))


def instrument(symbol: str, tick: str = "0.01") -> Instrument:
    base, quote = symbol.split("/")
    return Instrument("binance", symbol, base + quote, base, quote, Decimal(tick), Decimal("0.0001"))


def frame(
    n: int, *, forming: bool = False, symbol: str = "BTC/USDT", timeframe: Timeframe = Timeframe.H1
) -> CandleFrame:
    columns = history(n)
    final = np.ones(n, bool)
    final[-1] = not forming
    return CandleFrame(*columns, final, symbol, timeframe)


def candle(hour: int, close: float, *, final: bool, symbol: str = "BTC/USDT") -> Candle:
    return Candle(symbol, Timeframe.H1, START + hour * HOUR, 100.0, 120.0, 80.0, close, 5.0, final, "stream")


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def dock(qapp: QApplication, theme: ThemeManager, watcher: Watcher) -> Iterator[ChartDock]:
    panel = ChartDock(watcher, theme, ZoneInfo("UTC"))
    panel.set_instruments([instrument("ETH/USDT"), instrument("BTC/USDT"), instrument("SOL/USDT", "0.0001")])
    panel.resize(900, 500)
    panel.show()
    qapp.processEvents()
    yield panel
    panel.shutdown()
    panel.close()
    panel.deleteLater()


def test_it_starts_empty_with_a_next_step(dock: ChartDock) -> None:
    assert dock.chart.state is ChartState.EMPTY
    assert dock.markets.currentIndex() == -1
    assert [dock.markets.itemText(i) for i in range(3)] == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    assert "No market chosen" in dock.chart.accessibleDescription()


def test_choosing_a_market_watches_it(dock: ChartDock, watcher: Watcher, qtbot) -> None:
    with qtbot.waitSignal(dock.market_changed) as signal:
        dock.markets.textActivated.emit("SOL/USDT")
    assert signal.args == ["SOL/USDT", "1h"]
    assert watcher.calls == [("SOL/USDT", "1h")]
    assert dock.chart.state is ChartState.LOADING
    dock.markets.textActivated.emit("SOL/USDT")
    assert len(watcher.calls) == 1


def test_the_wheel_over_the_unfocused_selector_changes_nothing(dock: ChartDock, watcher: Watcher) -> None:
    dock.show_market("ETH/USDT", "1h")
    dock.chart.setFocus()
    at = QPointF(5, 5)
    event = QWheelEvent(
        at,
        QPointF(dock.markets.mapToGlobal(at)),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(dock.markets, event)
    assert dock.symbol == "ETH/USDT"
    assert len(watcher.calls) == 1


def test_keys_one_to_nine_choose_the_timeframe(dock: ChartDock, watcher: Watcher, qtbot) -> None:
    dock.show_market("BTC/USDT", "1h")
    dock.chart.setFocus()
    qtbot.waitUntil(lambda: dock.chart.hasFocus())
    for number, timeframe in enumerate(TIMEFRAMES, start=1):
        qtbot.keyClick(dock.chart, Qt.Key(Qt.Key.Key_0 + number))
        assert dock.timeframe is timeframe
        assert dock.findChild(QToolButton, f"chart_timeframe_{timeframe.value}").isChecked()
    assert len(watcher.calls) == 1 + len(TIMEFRAMES)


def test_history_then_live_bars(dock: ChartDock) -> None:
    dock.show_market("BTC/USDT", "1h")
    dock.on_history(frame(100, forming=True))
    assert (len(dock.chart.series), dock.chart.series.total) == (99, 100)
    dock.on_candle(candle(99, 105.0, final=False))
    assert dock.chart.series.last_close == 105.0
    dock.on_candle(candle(99, 106.0, final=True))
    assert (len(dock.chart.series), dock.chart.series.last_close) == (100, 106.0)


def test_live_bars_wait_for_the_history(dock: ChartDock) -> None:
    dock.show_market("BTC/USDT", "1h")
    dock.on_candle(candle(50, 1.0, final=True))  # older than the history will be
    dock.on_candle(candle(100, 107.0, final=True))
    dock.on_candle(candle(101, 108.0, final=False))
    assert dock.chart.state is ChartState.LOADING
    dock.on_history(frame(100))
    assert len(dock.chart.series) == 101
    assert dock.chart.series.last_close == 108.0
    assert dock.chart.series.bar(50).close != 1.0


def test_answers_for_another_market_are_dropped(dock: ChartDock) -> None:
    dock.show_market("BTC/USDT", "1h")
    dock.on_history(frame(10, symbol="ETH/USDT"))
    dock.on_history(frame(10, timeframe=Timeframe.M5))
    assert dock.chart.state is ChartState.LOADING
    dock.on_history(frame(10))
    dock.on_candle(candle(10, 1.0, final=True, symbol="ETH/USDT"))
    dock.on_ticker(Ticker("ETH/USDT", 3.0, None, None, None, None, 0))
    assert len(dock.chart.series) == 10
    assert dock.readout.text() == i18n.MISSING


def test_a_failed_history_says_what_helps_and_ignores_live_bars(dock: ChartDock) -> None:
    dock.show_market("BTC/USDT", "1h")
    dock.on_history_failed("The venue does not answer.", "Check the connection.")
    dock.on_candle(candle(1, 1.0, final=False))
    assert dock.chart.state is ChartState.ERROR
    assert dock.chart.accessibleDescription() == "The venue does not answer. Check the connection."
    dock.on_history(frame(10))
    assert dock.chart.state is ChartState.READY


def test_last_price_shows_direction_and_tick_size(dock: ChartDock) -> None:
    dock.show_market("SOL/USDT", "1h")
    dock.on_ticker(Ticker("SOL/USDT", 141.5, None, None, 0.0123, None, 0))
    assert dock.readout.text() == "141.5000"
    dock.on_ticker(Ticker("SOL/USDT", 141.25, None, None, 0.0123, None, 0))
    assert dock.readout.accessibleName() == "Last price 141.2500"
    assert dock.readout._rising is False


def trade(price: float, symbol: str = "BTC/USDT") -> PublicTrade:
    return PublicTrade(symbol, "1", price, 1.0, Side.BUY, START)


def test_the_headline_shows_the_newest_trade_and_not_the_slower_ticker(
    dock: ChartDock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dock.show_market("BTC/USDT", "1h")
    dock.on_ticker(Ticker("BTC/USDT", 100.0, None, None, 0.01, None, 0))
    assert dock.readout.text() == "100.00"
    dock.on_candle(candle(10, 101.0, final=False))  # also while the history loads
    assert dock.readout.text() == "101.00"
    dock.on_ticker(Ticker("BTC/USDT", 100.5, None, None, 0.02, None, 0))
    assert dock.readout.text() == "101.00"
    assert "2.00" in dock.readout._change_text()
    dock.on_trades((trade(102.0), trade(103.0), trade(1.0, "ETH/USDT")))
    assert dock.readout.text() == "103.00"
    dock.on_candle(candle(9, 90.0, final=True))  # read again after its close
    assert dock.readout.text() == "103.00"
    dock.on_candle(candle(10, 104.0, final=True))
    assert dock.readout.text() == "104.00"
    monkeypatch.setattr(price_readout, "SILENT_MS", 0)
    time.sleep(0.005)
    dock.on_ticker(Ticker("BTC/USDT", 99.0, None, None, 0.02, None, 0))
    assert dock.readout.text() == "99.00"
    dock.show_market("ETH/USDT", "1h")
    assert dock.readout.text() == i18n.MISSING


def test_a_tick_size_that_arrives_late_is_taken_over(dock: ChartDock) -> None:
    dock.show_market("DOGE/USDT", "1h")
    dock.on_history(frame(50, symbol="DOGE/USDT"))
    dock.on_ticker(Ticker("DOGE/USDT", 0.12345, None, None, None, None, 0))
    assert dock.readout.text() == "0.12"
    dock.set_instruments([instrument("BTC/USDT"), instrument("DOGE/USDT", "0.00001")])
    assert dock.readout.text() == "0.12345"
    assert dock.chart._scene.price_axis.text(0.5) == "0.50000"
    assert dock.markets.currentText() == "DOGE/USDT"


def test_indicators_and_follow_button(dock: ChartDock, qtbot) -> None:
    dock.show_market("BTC/USDT", "1h")
    dock.on_history(frame(300))
    dock._average_actions[50].trigger()
    assert dock.chart.averages == (50,)
    qtbot.keyClick(dock.chart, Qt.Key.Key_Left)
    assert not dock.follow.isChecked()
    qtbot.mouseClick(dock.follow, Qt.MouseButton.LeftButton)
    assert dock.chart.following
    assert dock.follow.accessibleName() == "Follow new bars"


def test_own_values_are_shown_in_one_redraw(dock: ChartDock, qapp: QApplication, qtbot) -> None:
    dock.show_market("BTC/USDT", "1h")
    dock.on_history(frame(300))
    lines = dock.chart._scene.order_lines
    dock.on_order(order(Side.BUY, "100.00"))
    dock.on_order(order(Side.SELL, "110.00"))
    dock.on_order(order(Side.SELL, "110.00", OrderState.CANCELED))
    dock.on_fill(fill(Side.BUY, 100.0, START + 5 * HOUR))
    dock.on_position(Position("b", "BTC/USDT", "manual", Decimal(1), Decimal(100)))
    qtbot.waitUntil(lambda: len(lines._orders) == 1)
    assert lines._position.quantity == 1
    assert len(dock.chart._scene._markers.fills_at(5)) == 1
    dock.show_market("ETH/USDT", "1h")
    assert (lines._orders, lines._position) == ([], None)
    dock.show_market("BTC/USDT", "1h")
    assert len(lines._orders) == 1


def test_only_a_click_with_control_picks_a_price(dock: ChartDock, qtbot) -> None:
    dock.show_market("BTC/USDT", "1h")
    dock.on_history(frame(300))
    target, at = dock.chart._canvas.viewport(), dock.chart._scene.price_rect.center()
    with qtbot.assertNotEmitted(dock.price_picked):
        qtbot.mouseClick(target, Qt.MouseButton.LeftButton, pos=at)
    with qtbot.waitSignal(dock.price_picked) as signal:
        qtbot.mouseClick(target, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, at)
    (price,) = signal.args
    assert isinstance(price, Decimal)
    assert price % Decimal("0.01") == 0


def test_narrow_panel_hides_timeframes_but_the_chosen_one(dock: ChartDock, qapp: QApplication) -> None:
    dock.show_market("BTC/USDT", "12h")
    dock.on_ticker(Ticker("BTC/USDT", 61_234.5, None, None, 0.01, None, 0))
    dock.resize(480, 400)
    qapp.processEvents()
    assert dock.width() == 480
    shown = [b for b in dock._timeframe_buttons if b.isVisible()]
    assert 0 < len(shown) < len(TIMEFRAMES)
    assert dock.findChild(QToolButton, "chart_timeframe_12h") in shown
    readout = dock.readout
    assert readout.mapTo(dock, readout.rect().topRight()).x() <= dock.width()
    assert readout.width() >= readout.minimumSizeHint().width()


def test_korean(dock: ChartDock) -> None:
    i18n.set_language(i18n.Language.KOREAN)
    dock.retranslate()
    assert dock.title() == "차트"
    assert dock.indicators.accessibleName() == "지표"


def test_net_position_of_several_owners() -> None:
    def position(owner: str, quantity: str, price: str, symbol: str = "BTC/USDT") -> Position:
        return Position("b", symbol, owner, Decimal(quantity), Decimal(price))

    assert net_position("BTC/USDT", []) is None
    assert net_position("BTC/USDT", [position("a", "1", "10"), position("b", "-1", "20")]) is None
    net = net_position("BTC/USDT", [position("a", "1", "10"), position("b", "3", "20"), position("c", "9", "1", "X/Y")])
    assert (net.quantity, net.average_price) == (Decimal(4), Decimal("17.5"))
    assert net_position("BTC/USDT", [position("a", "3", "10"), position("b", "-1", "20")]).average_price == 10


def test_dust_is_no_position_on_the_chart(dock: ChartDock) -> None:
    dock.set_instruments([])
    dock.show_market("BTC/USDT", "1h")
    dock.on_position(Position("binance", "BTC/USDT", "manual", Decimal("0.00000163"), Decimal(100)))
    dock._overlay_timer.timeout.emit()
    lines = dock.chart._scene.order_lines
    assert lines._position is not None  # the lot is not known yet
    dock.set_instruments([instrument("BTC/USDT")])
    assert dock._overlay_timer.isActive()
    dock._overlay_timer.timeout.emit()
    assert lines._position is None
    dock.on_position(Position("binance", "BTC/USDT", "manual", Decimal("0.0001"), Decimal(100)))
    dock._overlay_timer.timeout.emit()
    assert lines._position is not None
