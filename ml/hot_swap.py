"""Changes the model of a running strategy without a missed bar. Any thread; no torch.

The bars come on the executor's thread. A new model is loaded and warmed up on another one while the old one goes on;
whatever closes meanwhile is kept for it. The change itself is one assignment between two bars: every bar is answered
once, by the model named in its forecast, and the new model has seen every bar the old one has.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.domain.candles import Candle, Timeframe
from core.domain.signals import Forecast
from core.errors import UserError
from core.strategies.predictor import Predictor
from ml import inference

KEPT_BARS = 1_000  # of what the model at work was fed; they join the history for a new one without a hole

_log = logging.getLogger(__name__)
_REMEDY = "The former model goes on. Prepare the new one again."

_Meal = Candle | tuple[Candle, ...]  # the next bar, or a history that starts everything anew


@dataclass(slots=True, eq=False)
class _Standby:
    """A model that shall take over.

    Attributes:
        predictor: None until it is loaded.
        waiting: what it has not been fed yet, in order.
        answer: its newest forecast; None while it has none, and then it must not take over.
        keeps_up: it is warm, and from now on fed together with the model at work.
    """

    model_id: str
    waiting: deque[_Meal] = field(default_factory=deque)
    predictor: Predictor | None = None
    answer: Forecast | None = None
    keeps_up: bool = False


def load_changeable(models_dir: Path, model_id: str) -> SwappablePredictor:
    """Load a stored model; with `functools.partial` over the folder it is a `PredictorLoader`.

    Raises:
        UserError: no such model, or the package is damaged or does not fit this program.
    """

    def load(wanted: str) -> Predictor:
        return inference.load_predictor(models_dir, wanted)

    return SwappablePredictor(load(model_id), load)


class SwappablePredictor:
    """A predictor whose model can be changed; implements `core.strategies.predictor.ChangeablePredictor`.

    Example:
        predictor = SwappablePredictor(load(first_id), load)
        …  # on another thread, while bars go on: `await asyncio.to_thread(predictor.prepare, second_id, history)`
        predictor.swap(second_id)

    Args:
        active: answers from the start.
        load: opens a stored model.
    """

    def __init__(self, active: Predictor, load: Callable[[str], Predictor]) -> None:
        self._active = active
        self._load = load
        self._turn = threading.RLock()  # held while a bar is answered and while the model changes
        self._seen: deque[Candle] = deque(maxlen=KEPT_BARS)
        self._standby: _Standby | None = None

    @property
    def model_id(self) -> str:
        """Content hash of the model at work."""
        return self._active.model_id

    @property
    def symbol(self) -> str:
        """Market of every model that can be at work here."""
        return self._active.symbol

    @property
    def timeframe(self) -> Timeframe:
        """Bar length of every model that can be at work here."""
        return self._active.timeframe

    @property
    def warm_up_bars(self) -> int:
        """Closed bars the model at work needs before its first forecast."""
        return self._active.warm_up_bars

    @property
    def ready(self) -> str | None:
        """Id of the model that can take over now; None while there is none."""
        with self._turn:
            standby = self._standby
            return standby.model_id if standby is not None and standby.keeps_up and standby.answer else None

    def warm_up(self, candles: Sequence[Candle]) -> Forecast | None:
        """Reset the model at work and feed it closed history, oldest first; one that stands by gets the same.

        Returns:
            The forecast at the last bar, or None while there are too few bars.
        """
        with self._turn:
            forecast = self._active.warm_up(candles)
            self._seen.clear()
            self._seen.extend(candles)
            self._serve(tuple(candles))
            return forecast

    def update(self, candle: Candle) -> Forecast | None:
        """Feed the next closed bar to the model at work, and to the one that stands by.

        Returns:
            The forecast of the model at work, or None while it warms up.

        Raises:
            ValueError: the bar is not final or does not follow the last one; no model has seen it.
        """
        with self._turn:
            forecast = self._active.update(candle)
            self._seen.append(candle)
            self._serve(candle)
            return forecast

    def prepare(self, model_id: str, history: Sequence[Candle]) -> None:
        """Load a model and warm it up. Takes long: call it away from the thread that feeds the bars.

        Args:
            history: closed bars, oldest first, as long as for a start; it may end before or after the newest bar that
                the model at work has seen. A preparation begun before is given up.

        Raises:
            UserError: the model cannot be used here, or there are not enough bars. The former model goes on.
        """
        standby = _Standby(model_id)
        with self._turn:
            self._standby = standby
            standby.waiting.append(self._joined(history))
        try:
            predictor = self._load(model_id)
            self._require_same_market(predictor)
            standby.predictor = predictor
            self._catch_up(standby, predictor)
            if standby.answer is None:
                raise UserError(f"Model {model_id} needs {predictor.warm_up_bars} closed bars without a gap.", _REMEDY)
        except BaseException:
            self._dismiss(standby)
            raise

    def swap(self, model_id: str) -> Forecast:
        """Let the prepared model answer from the next bar on. Any thread.

        Args:
            model_id: the one that was prepared: another one that stands by meanwhile is not taken.

        Returns:
            What the new one forecasts at the newest bar.

        Raises:
            UserError: it is not ready; nothing was changed.
        """
        with self._turn:
            standby = self._standby
            if standby is None or standby.predictor is None or standby.answer is None or self.ready != model_id:
                raise UserError("No model is ready to take over.", _REMEDY)
            self._active, self._standby = standby.predictor, None
            return standby.answer

    def give_up(self) -> None:
        """Forget a model that stands by. Any thread."""
        with self._turn:
            self._standby = None

    def _joined(self, history: Sequence[Candle]) -> tuple[Candle, ...]:
        """Return as much history, ending with the newest bar the model at work has seen: the next ones wait in turn."""
        if not self._seen or not history:
            return ()
        first = self._seen[0].open_time_ns
        joined = (*(candle for candle in history if candle.open_time_ns < first), *self._seen)
        return joined[-len(history) :]  # as long as a restart would have it: a state depends on where it began

    def _require_same_market(self, predictor: Predictor) -> None:
        if (predictor.symbol, predictor.timeframe) != (self.symbol, self.timeframe):
            raise UserError(
                f"The model was trained on {predictor.symbol} {predictor.timeframe}, not on "
                f"{self.symbol} {self.timeframe}.",
                "Choose a model trained on this market, or train one.",
            )

    def _catch_up(self, standby: _Standby, predictor: Predictor) -> None:
        """Feed what waits, without keeping the bars of the model at work waiting; the end of it in one turn."""
        while True:
            with self._turn:
                if self._standby is not standby:
                    raise UserError(f"The preparation of model {standby.model_id} was given up for another.", _REMEDY)
                if not standby.waiting:
                    standby.keeps_up = True
                    return
                meal = standby.waiting.popleft()
            standby.answer = _feed(predictor, meal)

    def _serve(self, meal: _Meal) -> None:
        """Give what the model at work has just been fed to the one that stands by. Never fails: it is not its turn."""
        standby = self._standby
        if standby is None:
            return
        if standby.predictor is None or not standby.keeps_up:
            standby.waiting.append(meal)
            return
        try:
            standby.answer = _feed(standby.predictor, meal)
        except Exception:  # noqa: BLE001  # whatever it is, the model at work must go on; it is logged
            _log.exception("Model %s does not stand by any more: it could not take a bar", standby.model_id)
            self._dismiss(standby)

    def _dismiss(self, standby: _Standby) -> None:
        with self._turn:
            if self._standby is standby:
                self._standby = None


def _feed(predictor: Predictor, meal: _Meal) -> Forecast | None:
    return predictor.update(meal) if isinstance(meal, Candle) else predictor.warm_up(meal)
