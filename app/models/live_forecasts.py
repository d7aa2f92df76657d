"""Which forecast of the running strategies belongs on a chart. Qt-free, GUI thread."""

from __future__ import annotations

from app.models.strategies_model import ACTIVE_STATES
from core.events import ForecastMade, StrategyStatus

_Key = tuple[str, str, str]  # model, market, bar length


class LiveForecasts:
    """The newest forecast of every model that a running strategy uses.

    A forecast is shown while its strategy runs: when the last strategy with the model stops, it goes.
    """

    def __init__(self) -> None:
        self._newest: dict[_Key, ForecastMade] = {}
        self._running: dict[str, _Key] = {}  # by strategy

    def take_forecast(self, event: ForecastMade) -> None:
        """Take the newest forecast of a model."""
        forecast = event.forecast
        key = (forecast.model_id, forecast.symbol, event.timeframe)
        known = self._newest.get(key)
        if known is None or known.forecast.bar_open_ns <= forecast.bar_open_ns:
            self._newest[key] = event

    def take_status(self, status: StrategyStatus) -> None:
        """Learn that a strategy runs, or does no more."""
        if status.state in ACTIVE_STATES:
            self._running[status.strategy_id] = (status.model_id, status.symbol, status.timeframe)
        elif (key := self._running.pop(status.strategy_id, None)) is not None and key not in self._running.values():
            self._newest.pop(key, None)

    def forget(self) -> None:
        """Forget everything: another account, another market clock."""
        self._newest.clear()
        self._running.clear()

    def of(self, symbol: str, timeframe: str) -> ForecastMade | None:
        """Return the newest forecast for a chart, None where no running strategy has one."""
        running = set(self._running.values())
        found = [event for key, event in self._newest.items() if key in running and key[1:] == (symbol, timeframe)]
        return max(found, key=lambda event: event.forecast.bar_open_ns, default=None)

    def uses(self, model_id: str) -> bool:
        """Return whether a running strategy trades with a model."""
        return any(model == model_id for model, _, _ in self._running.values())
