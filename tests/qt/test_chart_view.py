"""The chart widget: what it shows and how it answers the hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QWheelEvent
from PySide6.QtWidgets import QApplication, QToolButton

from app.theme import ThemeName, UpDown, palette
from app.ui.charts.states import ChartState
from app.ui.charts.view import ChartView
from core.domain.fills import Fill, Liquidity
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side
from core.domain.positions import Position

HOUR = 3_600_000_000_000
START = 1_700_000_000_000_000_000 // HOUR * HOUR
COLOURS = palette(ThemeName.DARK, UpDown.WESTERN)


def history(n: int, scale: float = 100.0, seed: int = 1) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    close = scale * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    open_ = np.concatenate([[scale], close])[:n]
    high, low = np.maximum(open_, close) * 1.004, np.minimum(open_, close) * 0.996
    return START + np.arange(n) * HOUR, open_, high, low, close, rng.random(n) * 10


@contextmanager
def shown_chart() -> Iterator[ChartView]:
    chart = ChartView(COLOURS, ZoneInfo("UTC"))
    chart.resize(800, 500)
    chart.set_instrument("BTC/USDT", "1h", 2)
    chart.show()
    QApplication.processEvents()
    yield chart
    chart.shutdown()
    chart.close()
    chart.deleteLater()


@pytest.fixture
def view(qapp: QApplication) -> Iterator[ChartView]:
    with shown_chart() as chart:
        yield chart


def pixels(image: QImage, colour: str) -> int:
    """Return how many pixels have exactly this colour."""
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    data = np.frombuffer(image.constBits(), np.uint32).reshape(image.height(), image.bytesPerLine() // 4)
    return int((data[:, : image.width()] & 0xFFFFFF == QColor(colour).rgb() & 0xFFFFFF).sum())


def picture(view: ChartView) -> QImage:
    return view.grab().toImage()


def order(side: Side, price: str, state: OrderState = OrderState.ACCEPTED, symbol: str = "BTC/USDT") -> Order:
    intent = Intent(
        "i", IntentSource.MANUAL, "manual", symbol, side, Decimal("0.5"), OrderType.LIMIT, limit_price=Decimal(price)
    )
    return Order(f"c{price}", intent, state=state)


def fill(side: Side, price: float, time_ns: int, symbol: str = "BTC/USDT") -> Fill:
    return Fill(
        "binance",
        symbol,
        str(time_ns),
        "1",
        "c",
        side,
        Decimal(f"{price:.2f}"),
        Decimal("0.1"),
        Decimal(0),
        "USDT",
        Liquidity.TAKER,
        time_ns,
    )


def wheel(view: ChartView, at: QPoint, notches: float) -> None:
    target = view._canvas.viewport()
    event = QWheelEvent(
        QPointF(at),
        QPointF(target.mapToGlobal(at)),
        QPoint(),
        QPoint(0, int(notches * 120)),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(target, event)


def test_states_follow_the_data(view: ChartView) -> None:
    assert view.state is ChartState.LOADING
    assert "Loading BTC/USDT" in view.accessibleDescription()
    assert pixels(picture(view), COLOURS.up) == 0
    view.set_history(*history(300))
    assert view.state is ChartState.READY
    shown = picture(view)
    assert pixels(shown, COLOURS.up) > 200
    assert pixels(shown, COLOURS.down) > 200
    assert "300 bars" in view.accessibleDescription()
    view.clear("No market chosen.", "Choose one.")
    assert (view.state, view.series) == (ChartState.EMPTY, None)
    view.show_error("The venue does not answer.", "Check the connection.")
    assert view.state is ChartState.ERROR
    assert pixels(picture(view), COLOURS.warning) > 20
    view.set_history(*history(0))
    assert view.state is ChartState.EMPTY
    assert "No bars" in view.accessibleDescription()


@pytest.mark.parametrize("scale", [1e-10, 1e-8, 1e-4, 1.0, 1e3, 1e6])
def test_any_price_scale_fills_the_pane(view: ChartView, scale: float) -> None:
    view.set_instrument("BTC/USDT", "1h", 12 if scale < 1e-3 else 2)
    view.set_history(*history(300, scale))
    low, high = view.price_range
    first, last = (int(v) for v in view.visible_range)
    lowest, highest = view.series.y_range(first, last + 1)
    assert low < lowest
    assert high > highest
    assert (highest - lowest) / (high - low) > 0.6
    assert pixels(picture(view), COLOURS.up) > 200


def test_wheel_zooms_at_the_cursor(view: ChartView) -> None:
    view.set_history(*history(500))
    at = QPoint(600, 200)
    before = view._scene.index_at(at.x())
    span = view.visible_range[1] - view.visible_range[0]
    wheel(view, at, 3)
    assert view._scene.index_at(at.x()) == pytest.approx(before)
    assert view.visible_range[1] - view.visible_range[0] < span


def test_dragging_pans_ends_follow_and_the_button_brings_it_back(view: ChartView, qtbot) -> None:
    view.set_history(*history(500))
    target = view._canvas.viewport()
    before, per_pixel = view.visible_range[0], view._scene.window.span / view._scene.plot_width
    with qtbot.waitSignal(view.follow_changed) as signal:
        qtbot.mousePress(target, Qt.MouseButton.LeftButton, pos=QPoint(300, 200))
        qtbot.mouseMove(target, QPoint(350, 200))
        qtbot.mouseMove(target, QPoint(400, 200))
        qtbot.mouseRelease(target, Qt.MouseButton.LeftButton, pos=QPoint(400, 200))
    assert signal.args == [False]
    assert view.visible_range[0] == pytest.approx(before - 100 * per_pixel)
    button = view.findChild(QToolButton, "chart_go_to_latest")
    assert button.isVisible()
    assert button.accessibleName() == "Go to latest"
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert view.following
    assert not button.isVisible()


def test_price_axis_stretches_and_a_double_click_makes_it_automatic(view: ChartView, qtbot) -> None:
    view.set_history(*history(500))
    automatic = view.price_range
    axis = view._scene._axis_rect.center()
    target = view._canvas.viewport()
    qtbot.mousePress(target, Qt.MouseButton.LeftButton, pos=axis)
    qtbot.mouseMove(target, axis + QPoint(0, 60))
    qtbot.mouseRelease(target, Qt.MouseButton.LeftButton, pos=axis + QPoint(0, 60))
    stretched = view.price_range
    assert stretched[1] - stretched[0] > automatic[1] - automatic[0]
    view._scene.window.pan(-50)
    view._moved()
    assert view.price_range == stretched
    qtbot.mouseDClick(target, Qt.MouseButton.LeftButton, pos=axis)
    assert view.price_range != stretched


def test_keys(view: ChartView, qtbot) -> None:
    view.set_history(*history(500))
    first = view.visible_range[0]
    qtbot.keyClick(view, Qt.Key.Key_Left)
    assert view.visible_range[0] < first
    assert not view.following
    qtbot.keyClick(view, Qt.Key.Key_Space)
    assert view.following
    qtbot.keyClick(view, Qt.Key.Key_Home)
    assert view.visible_range[0] < 0
    qtbot.keyClick(view, Qt.Key.Key_End)
    span = view._scene.window.span
    qtbot.keyClick(view, Qt.Key.Key_Plus)
    assert view._scene.window.span < span
    qtbot.keyClick(view, Qt.Key.Key_F)
    assert view.visible_range[0] <= 0
    assert view.visible_range[1] >= 499


def test_keys_do_nothing_without_bars(view: ChartView, qtbot) -> None:
    before = view.visible_range
    qtbot.keyClick(view, Qt.Key.Key_Left)
    wheel(view, QPoint(300, 200), 2)
    assert view.visible_range == before


def test_new_bars_move_a_following_view_only(view: ChartView) -> None:
    view.set_history(*history(300))
    first = view.visible_range[0]
    view.update_forming(START + 300 * HOUR, 100.0, 101.0, 99.0, 100.5, 1.0)
    assert view.visible_range[0] == first + 1
    view.append_final(START + 300 * HOUR, 100.0, 102.0, 98.0, 101.0, 2.0)
    assert view.visible_range[0] == first + 1
    view._scene.window.pan(-20)
    first = view.visible_range[0]
    view.append_final(START + 301 * HOUR, 100.0, 102.0, 98.0, 101.0, 2.0)
    assert view.visible_range[0] == first
    assert len(view.series) == 302


def test_a_tick_out_of_range_rescales(view: ChartView) -> None:
    view.set_history(*history(300))
    high = view.price_range[1]
    view.update_forming(START + 300 * HOUR, 100.0, 101.0, 99.0, 100.5, 1.0)
    view.update_forming(START + 300 * HOUR, 100.0, high * 1.2, 99.0, high * 1.2, 1.0)
    assert view.price_range[1] > high * 1.2
    assert pixels(picture(view), COLOURS.up) > 0


def test_numpy_scalars_are_accepted(view: ChartView) -> None:
    columns = history(50)
    view.set_history(*(column[:49] for column in columns))
    view.update_forming(*(column[49] for column in columns))
    assert view.series.total == 50
    assert pixels(picture(view), COLOURS.muted) > 0


def test_partial_repaint_equals_a_full_one(view: ChartView, qapp: QApplication) -> None:
    view.set_history(*history(5_000))
    view.fit()
    qapp.processEvents()
    scene = view._scene
    for point in (QPoint(200, 100), QPoint(430, 250), None):
        view._crosshair.position = point
        view._on_crosshair_moved()
        qapp.processEvents()
    stepwise = picture(view)
    scene.refresh()
    assert stepwise == picture(view)


def test_crosshair_is_coalesced_and_reads_the_bar(view: ChartView, qtbot) -> None:
    view.set_history(*history(300))
    target = view._canvas.viewport()
    seen: list[QPoint | None] = []
    view._crosshair.moved.connect(lambda: seen.append(view._crosshair.position))
    with qtbot.waitSignal(view._crosshair.moved):
        for x in range(100, 200):
            qtbot.mouseMove(target, QPoint(x, 150))
    assert seen == [QPoint(199, 150)]
    index = round(view._scene.index_at(199))
    words = " ".join(word.text for row in view._scene.legend_rows(index) for word in row)
    bar = view.series.bar(index)
    assert f"{bar.high:,.2f}" in words
    assert "▲" in words or "▼" in words


def test_own_orders_position_and_fills_of_this_market_are_drawn(view: ChartView) -> None:
    view.set_history(*history(300))
    low, high = view.price_range
    middle = f"{(low + high) / 2:.2f}"
    view.set_working_orders([order(Side.BUY, middle, symbol="ETH/USDT"), order(Side.BUY, middle, OrderState.FILLED)])
    bare = picture(view)
    view.set_working_orders([order(Side.BUY, middle, OrderState.UNKNOWN)])
    assert pixels(picture(view), COLOURS.warning) > 200
    view.set_working_orders([])
    assert picture(view) == bare
    view.set_position(Position("b", "BTC/USDT", "manual", Decimal("0.1"), Decimal(middle)))
    assert pixels(picture(view), COLOURS.accent) > 300
    view.set_position(None)
    view.set_fills([fill(Side.BUY, 100.0, START + 290 * HOUR, "ETH/USDT")])
    assert picture(view) == bare
    view.set_fills([fill(Side.BUY, float(middle), START + 290 * HOUR + 5)])
    assert picture(view) != bare
    words = [word.text for row in view._scene.legend_rows(290) for word in row]
    assert "1 fill" in words


def test_stale_data_is_marked_and_unmarked(view: ChartView) -> None:
    view.set_history(*history(300))
    fresh = picture(view)
    view.set_stale(12.0)
    assert pixels(picture(view), COLOURS.warning) > 500
    view.set_stale(None)
    assert picture(view) == fresh


def test_averages_follow_the_bars(view: ChartView) -> None:
    columns = history(300)
    view.set_history(*columns)
    view.set_average(20, True)
    assert view.averages == (20,)
    item = view._scene.averages[20]
    assert item.value_at(299) == pytest.approx(columns[4][280:].mean())
    assert item.value_at(10) is None
    view.append_final(START + 300 * HOUR, 1.0, 1.0, 1.0, 77.0, 1.0)
    assert item.value_at(300) == pytest.approx((columns[4][281:].sum() + 77.0) / 20)
    view.update_forming(START + 301 * HOUR, 1.0, 1.0, 1.0, 88.0, 1.0)
    assert item.value_at(301) == pytest.approx((columns[4][282:].sum() + 77.0 + 88.0) / 20)
    assert pixels(picture(view), COLOURS.warning) > 50
    view.set_average(20, False)
    assert view.averages == ()


def test_another_theme_and_zone(view: ChartView) -> None:
    view.set_history(*history(300))
    light = palette(ThemeName.LIGHT, UpDown.KOREAN)
    view.set_palette(light)
    shown = picture(view)
    assert pixels(shown, light.up) > 100
    assert pixels(shown, COLOURS.surface) == 0
    view.set_zone(ZoneInfo("Asia/Seoul"))
    assert picture(view) != shown


def test_shutdown_can_be_called_twice_and_leaves_nothing(qapp: QApplication, assert_collected) -> None:
    def make() -> ChartView:
        chart = ChartView(COLOURS, ZoneInfo("UTC"))
        chart.set_instrument("BTC/USDT", "1h", 2)
        chart.set_history(*history(200))
        chart.show()
        qapp.processEvents()
        chart.shutdown()
        chart.shutdown()
        return chart

    for _ in range(3):
        assert_collected(make)


def test_bad_history_is_refused(view: ChartView) -> None:
    columns = list(history(10))
    columns[0] = columns[0][::-1]
    with pytest.raises(ValueError, match="ascend"):
        view.set_history(*columns)


@pytest.mark.realdata
def test_real_outages_are_marked(view: ChartView, realdata) -> None:
    import pyarrow
    from pyarrow import feather

    table = feather.read_table(realdata / "ohlcv_binance_btc_2017_2024" / "BTC_USDT-1h.feather")
    times = table["date"].cast(pyarrow.timestamp("ns", "UTC")).cast("int64").to_numpy()
    view.set_history(times, *(table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")))
    assert len(view.series) == 58_419
    assert len(view.series.gaps) == 28
    assert sum(view.series.missing_before(index) for index in view.series.gaps) == 128
    view.fit()
    assert pixels(picture(view), COLOURS.up) > 500


def test_values_that_are_not_numbers_leave_the_chart_readable(view: ChartView) -> None:
    view.set_history(*history(300))
    before = view.price_range
    view.update_forming(START + 300 * HOUR, float("nan"), float("inf"), float("-inf"), float("nan"), float("inf"))
    view.append_final(START + 300 * HOUR, float("nan"), float("inf"), float("nan"), float("nan"), float("nan"))
    low, high = view.price_range
    assert np.isfinite([low, high]).all()
    assert high - low == pytest.approx(before[1] - before[0], rel=0.5)
    assert pixels(picture(view), COLOURS.up) > 200


@pytest.mark.parametrize("size", [(1, 1), (40, 900), (1600, 30)])
def test_any_size_is_painted(view: ChartView, size: tuple[int, int]) -> None:
    view.set_history(*history(300))
    view.resize(*size)
    view.fit()
    view.zoom(1e-9)
    view.zoom(1e9)
    assert not picture(view).isNull()
