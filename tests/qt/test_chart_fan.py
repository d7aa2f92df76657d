"""Forecasts over the chart: what is drawn, where, and when it goes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QApplication

from app.models.live_forecasts import LiveForecasts
from app.theme import ThemeManager
from app.ui.charts.fan import Fan
from app.ui.charts.view import ChartView
from app.ui.docks.chart_dock import ChartDock
from core.domain.signals import Forecast, HorizonRange
from core.events import AccountOpened, ForecastMade, StrategyState, StrategyStatus
from tests.qt.test_chart_dock import Watcher, frame
from tests.qt.test_chart_view import COLOURS, HOUR, START, history, shown_chart

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
CLOSE = 100.0


def made(
    hour: int, *, model: str = "m1", symbol: str = "BTC/USDT", timeframe: str = "1h", far: float = 0.02
) -> ForecastMade:
    near = tuple(far / 2 * step for step in (-2, -1, 0.1, 1, 2))
    fan = (HorizonRange(1, near), HorizonRange(4, tuple(2 * value for value in near)))
    forecast = Forecast(symbol, START + hour * HOUR, 1, LEVELS, near, 0.3, model, "f", fan)
    return ForecastMade(forecast, timeframe, CLOSE)


def status(state: StrategyState, strategy: str = "s1", model: str = "m1") -> StrategyStatus:
    return StrategyStatus(strategy, "My strategy", "BTC/USDT", "1h", model, state)


@pytest.fixture
def view(qapp: QApplication) -> Iterator[ChartView]:
    with shown_chart() as chart:
        chart.set_history(*history(60))
        yield chart


@pytest.fixture
def dock(theme: ThemeManager) -> Iterator[ChartDock]:
    panel = ChartDock(Watcher(), theme, ZoneInfo("UTC"))
    panel.resize(800, 500)
    panel.show()
    panel.show_market("BTC/USDT", "1h")
    panel.on_history(frame(60))
    yield panel
    panel.shutdown()
    panel.close()
    panel.deleteLater()


def accent_pixels(view: ChartView) -> int:
    image = view.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    wanted = QColor(COLOURS.accent).rgb()
    return sum(image.pixel(x, y) == wanted for x in range(image.width()) for y in range(image.height()))


def test_prices_are_the_close_times_the_exponential_of_the_quantiles() -> None:
    fan = Fan.of(made(59))
    assert fan is not None
    assert fan.bars == (0, 1, 4)
    assert fan.prices[0] == (CLOSE,) * 5
    assert fan.prices[2][0] == pytest.approx(CLOSE * math.exp(-0.04))
    assert fan.prices[1][4] == pytest.approx(CLOSE * math.exp(0.02))


def test_quantiles_that_cross_are_put_in_order_and_nonsense_is_not_drawn() -> None:
    crossed = HorizonRange(1, (0.01, -0.01, 0.0, 0.02, 0.03))
    forecast = Forecast("BTC/USDT", START, 1, LEVELS, crossed.quantiles, 0.0, "m", "f", (crossed,))
    fan = Fan.of(ForecastMade(forecast, "1h", CLOSE))
    assert fan is not None
    assert list(fan.prices[1]) == sorted(fan.prices[1])
    broken = Forecast("BTC/USDT", START, 1, LEVELS, (math.nan,) * 5, 0.0, "m", "f")
    assert Fan.of(ForecastMade(broken, "1h", CLOSE)) is None


def test_a_forecast_without_a_fan_shows_its_one_horizon() -> None:
    forecast = Forecast("BTC/USDT", START, 3, (0.1, 0.5, 0.9), (-0.01, 0.0, 0.01), 0.0, "m", "f")
    fan = Fan.of(ForecastMade(forecast, "1h", CLOSE))
    assert fan is not None
    assert fan.bars == (0, 3)


def test_the_fan_is_drawn_ahead_of_the_last_bar_with_room_and_in_range(view: ChartView) -> None:
    before = accent_pixels(view)
    view.set_forecast(made(59, far=0.2))
    assert view.fan is not None
    assert view.visible_range[1] >= 59 + 4
    low, high = view.price_range
    assert low < CLOSE * math.exp(-0.4)
    assert high > CLOSE * math.exp(0.4)
    assert accent_pixels(view) > before


def test_it_says_whose_it_is_how_old_and_what_it_expects(view: ChartView) -> None:
    view.set_forecast(made(59))
    said = view.accessibleDescription()
    assert "Forecast m1, from the last close: +4 bars 100.20 (90\u00a0%: 96.08 – 104.08)" in said


def test_it_grows_old_and_goes_with_the_second_bar_that_closes_without_a_new_one(view: ChartView) -> None:
    view.set_forecast(made(59))
    view.append_final(START + 60 * HOUR, 100, 101, 99, 100, 1)
    assert view.fan is not None
    assert "Forecast m1, 1 bar old" in view.accessibleDescription()
    view.append_final(START + 61 * HOUR, 100, 101, 99, 100, 1)
    assert view.fan is None
    assert "Forecast" not in view.accessibleDescription()


def test_other_markets_and_bar_lengths_show_nothing(view: ChartView) -> None:
    view.set_forecast(made(59, symbol="ETH/USDT"))
    assert view.fan is None
    view.set_forecast(made(59, timeframe="4h"))
    assert view.fan is None
    view.set_forecast(made(5_000))  # a bar that the chart does not hold
    assert view.fan is None


def test_another_market_on_the_chart_forgets_it(view: ChartView) -> None:
    view.set_forecast(made(59))
    view.set_instrument("ETH/USDT", "1h", 2)
    view.set_history(*history(60))
    assert view.fan is None


def test_the_newest_forecast_of_a_running_strategy_is_on_offer() -> None:
    live = LiveForecasts()
    live.take_forecast(made(58))
    assert live.of("BTC/USDT", "1h") is None  # no strategy runs with it
    live.take_status(status(StrategyState.RUNNING))
    live.take_forecast(made(59))
    live.take_forecast(made(57))  # told late
    found = live.of("BTC/USDT", "1h")
    assert found is not None
    assert found.forecast.bar_open_ns == START + 59 * HOUR
    live.take_status(status(StrategyState.RUNNING, "s2"))
    live.take_status(status(StrategyState.STOPPED))
    assert live.of("BTC/USDT", "1h") is found  # the other strategy uses the same model
    live.take_status(status(StrategyState.FAILED, "s2"))
    assert live.of("BTC/USDT", "1h") is None


def test_the_panel_shows_it_while_the_strategy_runs(dock: ChartDock, qtbot) -> None:
    dock.on_event(status(StrategyState.RUNNING))
    dock.on_event(made(59))
    qtbot.waitUntil(lambda: dock.chart.fan is not None)
    dock.fan_action.trigger()
    assert dock.chart.fan is None
    dock.fan_action.trigger()
    assert dock.chart.fan is not None
    dock.on_event(status(StrategyState.STOPPED))
    qtbot.waitUntil(lambda: dock.chart.fan is None)


def test_it_comes_back_with_its_market_and_goes_with_the_account(dock: ChartDock, qtbot) -> None:
    dock.on_event(status(StrategyState.RUNNING))
    dock.on_event(made(59))
    dock.show_market("ETH/USDT", "1h")
    assert dock.chart.fan is None
    dock.show_market("BTC/USDT", "1h")
    dock.on_history(frame(60))
    assert dock.chart.fan is not None
    assert dock.chart.visible_range[1] >= 59 + 4
    dock.on_event(AccountOpened("another"))
    qtbot.waitUntil(lambda: dock.chart.fan is None)
