"""What all strategies have in common: one decision on each closed bar. Runs on the executor's thread; no I/O.

A strategy never decides on an open bar. Bars it has decided on are remembered by the journal, so a restart decides
neither twice nor late.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.candles import Candle, Timeframe
from core.domain.instruments import Instrument
from core.domain.orders import Intent
from core.domain.positions import Position
from core.domain.signals import Forecast, Signal
from core.errors import UserError
from core.strategies.model import ChangeableModel
from core.strategies.own_account import AccountMemory
from core.strategies.spec import StrategySpec


@dataclass(frozen=True, slots=True)
class Decision:
    """What a strategy concluded from one bar.

    Attributes:
        intent: None where nothing is to be traded.
        account: what it must remember of its own account; None where it keeps none.
    """

    signal: Signal
    intent: Intent | None
    account: AccountMemory | None = None


class BarStrategy(ABC):
    """One model on one market.

    Args:
        last_bar_ns: open time of the last bar decided on before (ns UTC), None for none.
        last_target: weight decided there.

    Attributes:
        newest: bar fed last and the forecast made at its close; None without one.

    Raises:
        UserError: the model was trained on another market or bar length.
    """

    newest: tuple[Candle, Forecast] | None = None

    def __init__(
        self,
        spec: StrategySpec,
        trained_on: tuple[str, Timeframe],
        instrument: Instrument,
        *,
        last_bar_ns: int | None,
        last_target: float | None,
    ) -> None:
        symbol, timeframe = trained_on
        if (symbol, timeframe.value) != (spec.symbol, spec.timeframe):
            raise UserError(
                f"The model was trained on {symbol} {timeframe}, not on {spec.symbol} {spec.timeframe}.",
                "Choose a model trained on this market, or train one.",
            )
        self.spec = spec
        self.last_bar_ns = last_bar_ns
        self.last_target = last_target
        self._instrument = instrument
        self._timeframe = timeframe
        self._seen_ns: int | None = None

    @property
    @abstractmethod
    def warm_up_bars(self) -> int:
        """Closed bars of history the model needs."""

    @property
    @abstractmethod
    def is_warm(self) -> bool:
        """Whether the model has seen enough to say something of the newest bar."""

    @property
    @abstractmethod
    def model(self) -> ChangeableModel:
        """The model that decides."""

    @abstractmethod
    def change_model(self, spec: StrategySpec) -> None:
        """Let the prepared model of `spec` decide from the next bar on; position and account stay.

        Raises:
            UserError: it is not ready; nothing was changed.
        """

    def warm_up(self, candles: Sequence[Candle]) -> bool:
        """Feed closed history, oldest first. It is never acted upon: by now its prices are gone.

        Returns:
            Whether that was enough; otherwise the model goes on warming up with the bars that close.
        """
        closed = [candle for candle in candles if candle.final]
        self._seen_ns = closed[-1].open_time_ns if closed else None
        self._begin(closed)
        return self.is_warm

    def follows(self, candle: Candle) -> bool:
        """Return whether `candle` is the bar right after the last one fed."""
        return self._seen_ns is not None and candle.open_time_ns == self._seen_ns + self._timeframe.ns

    def is_news(self, candle: Candle) -> bool:
        """Return whether the bar is closed and was neither fed nor decided on before."""
        fresh = self._seen_ns is None or candle.open_time_ns > self._seen_ns
        return candle.final and fresh

    def on_bar(
        self, candle: Candle, position: Position, now_ns: int, history: Sequence[Candle] | None = None
    ) -> Decision | None:
        """Feed the next closed bar and decide on it.

        Args:
            position: the strategy's own.
            now_ns: ns UTC.
            history: closed bars before this one, oldest first, where it does not follow the last one fed.

        Returns:
            The decision; None while the model warms up, and for a bar decided on before (it only updates the model).

        Raises:
            ValueError: the bar is open, or does not follow and no history was given.
        """
        if not candle.final or (history is None and not self.follows(candle)):
            raise ValueError(f"{candle.symbol} bar {candle.open_time_ns} is open or out of sequence")
        if history is None:
            self._next(candle)
        else:
            self._begin([*history, candle])
        self._seen_ns = candle.open_time_ns
        if not self.is_warm or (self.last_bar_ns is not None and candle.open_time_ns <= self.last_bar_ns):
            return None
        decision = self._decide(candle, position, now_ns)
        self.last_bar_ns, self.last_target = candle.open_time_ns, decision.signal.target_weight
        return decision

    @abstractmethod
    def _begin(self, closed: Sequence[Candle]) -> None:
        """Let the model forget everything, and feed it closed bars, oldest first."""

    @abstractmethod
    def _next(self, candle: Candle) -> None:
        """Feed the model the bar right after the last one."""

    @abstractmethod
    def _decide(self, candle: Candle, position: Position, now_ns: int) -> Decision:
        """Decide at the close of the bar fed last."""
