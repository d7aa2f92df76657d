"""A strategy that follows a forecaster. Runs on the executor's thread; no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from core.domain.candles import Candle
from core.domain.instruments import Instrument
from core.domain.positions import Position
from core.signals.generator import Sizing, generate_intent, generate_signal
from core.strategies.bar_strategy import BarStrategy, Decision
from core.strategies.predictor import ChangeablePredictor
from core.strategies.spec import StrategySpec


class ModelStrategy(BarStrategy):
    """One forecaster on one market; the weight decided last says whether it is in or out between its thresholds."""

    def __init__(
        self,
        spec: StrategySpec,
        predictor: ChangeablePredictor,
        instrument: Instrument,
        *,
        last_bar_ns: int | None = None,
        last_target: float | None = None,
    ) -> None:
        trained_on = predictor.symbol, predictor.timeframe
        super().__init__(spec, trained_on, instrument, last_bar_ns=last_bar_ns, last_target=last_target)
        self._predictor = predictor

    @property
    def warm_up_bars(self) -> int:
        """Closed bars of history the model needs."""
        return self._predictor.warm_up_bars

    @property
    def is_warm(self) -> bool:
        """Whether there is a forecast at the newest bar."""
        return self.newest is not None

    @property
    def model(self) -> ChangeablePredictor:
        """The model that decides."""
        return self._predictor

    def change_model(self, spec: StrategySpec) -> None:
        """Let the prepared model of `spec` decide from the next bar on; what it says of the last one is for the eye.

        Raises:
            UserError: it is not ready; nothing was changed.
        """
        forecast = self._predictor.swap(spec.model_id)
        self.spec = spec
        fed = self.newest is not None and self.newest[0].open_time_ns == forecast.bar_open_ns
        self.newest = (self.newest[0], forecast) if self.newest is not None and fed else None

    def _begin(self, closed: Sequence[Candle]) -> None:
        forecast = self._predictor.warm_up(closed)
        self.newest = (closed[-1], forecast) if closed and forecast is not None else None

    def _next(self, candle: Candle) -> None:
        forecast = self._predictor.update(candle)
        self.newest = None if forecast is None else (candle, forecast)

    def _decide(self, candle: Candle, position: Position, now_ns: int) -> Decision:
        assert self.newest is not None  # asked only where it is warm
        forecast, holds = self.newest[1], bool(self.last_target)
        signal = generate_signal(forecast, self.spec, holds=holds, reference_price=candle.close)
        sizing = Sizing(self.spec.capital)
        return Decision(signal, generate_intent(signal, sizing, position.quantity, self._instrument, now_ns))
