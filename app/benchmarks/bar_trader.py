"""A model that trades on every bar, for measuring. Executor's thread; Qt-free."""

from __future__ import annotations

from collections.abc import Sequence

from core.domain.candles import Candle, Timeframe
from core.domain.signals import Forecast


class BarTrader:
    """Wants in at one bar and out at the next; implements `core.strategies.predictor.Predictor`."""

    def __init__(self, model_id: str, symbol: str, timeframe: Timeframe) -> None:
        self.model_id = model_id
        self.symbol = symbol
        self.timeframe = timeframe
        self.warm_up_bars = 1
        self._wants_in = False

    def warm_up(self, candles: Sequence[Candle]) -> Forecast | None:
        """Forecast at the last bar; there is no state to build."""
        return self._forecast(candles[-1]) if candles else None

    def update(self, candle: Candle) -> Forecast | None:
        """Change sides."""
        self._wants_in = not self._wants_in
        return self._forecast(candle)

    def _forecast(self, candle: Candle) -> Forecast:
        view = 0.01 if self._wants_in else -0.01
        return Forecast(self.symbol, candle.open_time_ns, 1, (0.5,), (view,), 100 * view, self.model_id, "")
