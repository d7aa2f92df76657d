"""A strategy that follows a model. Runs on the executor's thread; no I/O.

It decides once on each closed bar and never on an open one. Bars it has decided on are remembered by the journal, so
a restart decides neither twice nor late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.domain.candles import Candle, Timeframe
from core.domain.instruments import Instrument
from core.domain.orders import Intent
from core.domain.signals import Forecast, Signal
from core.errors import UserError
from core.signals.generator import Sizing, generate_intent, generate_signal
from core.strategies.predictor import ChangeablePredictor
from core.strategies.spec import StrategySpec


@dataclass(frozen=True, slots=True)
class Decision:
    """What a strategy concluded from one bar; `intent` is None where nothing is to be traded."""

    signal: Signal
    intent: Intent | None


class ModelStrategy:
    """One model on one market.

    Args:
        last_bar_ns: open time of the last bar decided on before (ns UTC), None for none.
        last_target: weight decided there; it says whether the strategy is in or out between its thresholds.

    Attributes:
        newest: bar fed last and the forecast made at its close; None while the model warms up.

    Raises:
        UserError: the model was trained on another market or bar length.
    """

    def __init__(
        self,
        spec: StrategySpec,
        predictor: ChangeablePredictor,
        instrument: Instrument,
        *,
        last_bar_ns: int | None = None,
        last_target: float | None = None,
    ) -> None:
        if (predictor.symbol, predictor.timeframe.value) != (spec.symbol, spec.timeframe):
            raise UserError(
                f"The model was trained on {predictor.symbol} {predictor.timeframe}, not on "
                f"{spec.symbol} {spec.timeframe}.",
                "Choose a model trained on this market, or train one.",
            )
        self.spec = spec
        self.last_bar_ns = last_bar_ns
        self.last_target = last_target
        self.newest: tuple[Candle, Forecast] | None = None
        self._predictor = predictor
        self._instrument = instrument
        self._timeframe = Timeframe(spec.timeframe)
        self._seen_ns: int | None = None

    @property
    def warm_up_bars(self) -> int:
        """Closed bars of history the model needs."""
        return self._predictor.warm_up_bars

    @property
    def predictor(self) -> ChangeablePredictor:
        """The model that decides."""
        return self._predictor

    def warm_up(self, candles: Sequence[Candle]) -> bool:
        """Feed closed history, oldest first. It is never acted upon: by now its prices are gone.

        Returns:
            Whether that was enough; otherwise the model goes on warming up with the bars that close.
        """
        closed = [candle for candle in candles if candle.final]
        self._seen_ns = closed[-1].open_time_ns if closed else None
        forecast = self._predictor.warm_up(closed)
        self.newest = (closed[-1], forecast) if closed and forecast is not None else None
        return forecast is not None

    def change_model(self, spec: StrategySpec) -> None:
        """Let the prepared model of `spec` decide from the next bar on; what it says of the last one is for the eye.

        Raises:
            UserError: it is not ready; nothing was changed.
        """
        forecast = self._predictor.swap(spec.model_id)
        self.spec = spec
        fed = self.newest is not None and self.newest[0].open_time_ns == forecast.bar_open_ns
        self.newest = (self.newest[0], forecast) if self.newest is not None and fed else None

    def follows(self, candle: Candle) -> bool:
        """Return whether `candle` is the bar right after the last one fed."""
        return self._seen_ns is not None and candle.open_time_ns == self._seen_ns + self._timeframe.ns

    def is_news(self, candle: Candle) -> bool:
        """Return whether the bar is closed and was neither fed nor decided on before."""
        fresh = self._seen_ns is None or candle.open_time_ns > self._seen_ns
        return candle.final and fresh

    def on_bar(
        self, candle: Candle, holding: Decimal, now_ns: int, history: Sequence[Candle] | None = None
    ) -> Decision | None:
        """Feed the next closed bar and decide on it.

        Args:
            holding: base currency the strategy holds.
            now_ns: ns UTC.
            history: closed bars before this one, oldest first, where it does not follow the last one fed.

        Returns:
            The decision; None while the model warms up, and for a bar decided on before (it only updates the model).

        Raises:
            ValueError: the bar is open, or does not follow and no history was given.
        """
        if not candle.final or (history is None and not self.follows(candle)):
            raise ValueError(f"{candle.symbol} bar {candle.open_time_ns} is open or out of sequence")
        model = self._predictor
        forecast = model.update(candle) if history is None else model.warm_up([*history, candle])
        self._seen_ns = candle.open_time_ns
        self.newest = None if forecast is None else (candle, forecast)
        if forecast is None or (self.last_bar_ns is not None and candle.open_time_ns <= self.last_bar_ns):
            return None
        signal = generate_signal(forecast, self.spec, holds=bool(self.last_target), reference_price=candle.close)
        intent = generate_intent(signal, Sizing(self.spec.capital), holding, self._instrument, now_ns)
        self.last_bar_ns, self.last_target = candle.open_time_ns, signal.target_weight
        return Decision(signal, intent)
