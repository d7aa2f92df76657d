"""Forecasts of running strategies reach whoever watches, after the order and unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from core.domain.candles import Candle, Timeframe
from core.domain.signals import Forecast, HorizonRange
from core.events import ExecutorEvent, ForecastMade
from core.execution.forecast_news import telling

MINUTE = Timeframe.M1.ns


class Model:
    model_id, symbol, timeframe, warm_up_bars = "m1", "BTC/USDT", Timeframe.M1, 3

    def warm_up(self, candles: Sequence[Candle]) -> Forecast | None:
        return self.update(candles[-1]) if len(candles) >= self.warm_up_bars else None

    def update(self, candle: Candle) -> Forecast | None:
        fan = (HorizonRange(1, (-0.01, 0.0, 0.01)), HorizonRange(4, (-0.02, 0.0, 0.02)))
        return Forecast(
            candle.symbol, candle.open_time_ns, 1, (0.05, 0.5, 0.95), (-0.01, 0.0, 0.01), 0.1, "m1", "f", fan
        )


def bar(minute: int) -> Candle:
    return Candle("BTC/USDT", Timeframe.M1, minute * MINUTE, 1.0, 1.0, 1.0, 100.0 + minute, 1.0, True, "test")


async def test_each_forecast_is_told_once_after_the_call_and_passes_unchanged() -> None:
    said: list[ExecutorEvent] = []
    predictor = telling(lambda model_id: Model(), said.append)("m1")
    assert (predictor.model_id, predictor.symbol) == ("m1", "BTC/USDT")
    assert (predictor.timeframe, predictor.warm_up_bars) == (Timeframe.M1, 3)
    assert predictor.warm_up([bar(0)]) is None
    warm = predictor.warm_up([bar(0), bar(1), bar(2)])
    live = predictor.update(bar(3))
    assert said == []  # the order that the bar brings comes first
    await asyncio.sleep(0.05)
    assert warm is not None
    assert live is not None
    assert said == [ForecastMade(warm, "1m", 102.0), ForecastMade(live, "1m", 103.0)]
    assert live.fan[1].horizon_bars == 4
