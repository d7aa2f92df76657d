"""Changes the model of a running strategy without a missed bar. Any thread; no torch.

The bars come on the executor's thread. A new model is loaded and warmed up on another one while the old one goes on;
whatever closes meanwhile is kept for it. The change itself is one assignment between two bars: every bar is answered
once, by the model named in its forecast or decision, and the new model has seen every bar the old one has. Forecasters
and agents change alike: what either has seen comes from bars alone, an agent is told of its account with each question.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from core.accounting.rules import CostRates
from core.domain.candles import Candle, Timeframe
from core.domain.signals import Forecast
from core.errors import UserError
from core.strategies.agent_policy import AccountView, AgentDecision, AgentPolicy
from core.strategies.model import TrainedModel
from core.strategies.predictor import Predictor
from ml import inference
from ml.agents.inference import load_policy

KEPT_BARS = 1_000  # of what the model at work was fed; they join the history for a new one without a hole

_log = logging.getLogger(__name__)
_REMEDY = "The former model goes on. Prepare the new one again."

_Meal = Candle | tuple[Candle, ...]  # the next bar, or a history that starts everything anew


class FedModel(TrainedModel, Protocol):
    """What is fed bar by bar and says something after each: nothing that counts while it warms up."""

    def warm_up(self, candles: Sequence[Candle]) -> Any:
        """Reset it and feed closed history, oldest first."""
        ...

    def update(self, candle: Candle) -> Any:
        """Feed the next closed bar."""
        ...


ModelT = TypeVar("ModelT", bound=FedModel)
AnswerT = TypeVar("AnswerT")


@dataclass(slots=True, eq=False)
class _Standby(Generic[ModelT, AnswerT]):
    """A model that shall take over.

    Attributes:
        model: None until it is loaded.
        waiting: what it has not been fed yet, in order.
        answer: what it says of the newest bar; nothing while it warms up, and then it must not take over.
        keeps_up: it is warm, and from now on fed together with the model at work.
    """

    model_id: str
    waiting: deque[_Meal] = field(default_factory=deque)
    model: ModelT | None = None
    answer: AnswerT | None = None
    keeps_up: bool = False


def load_changeable(models_dir: Path, model_id: str) -> SwappablePredictor:
    """Load a stored model; with `functools.partial` over the folder it is a `PredictorLoader`.

    Raises:
        UserError: no such model, or the package is damaged or does not fit this program.
    """

    def load(wanted: str) -> Predictor:
        return inference.load_predictor(models_dir, wanted)

    return SwappablePredictor(load(model_id), load)


def load_changeable_agent(models_dir: Path, model_id: str) -> SwappableAgent:
    """Load a stored agent with its encoder; with `functools.partial` over the folder it is an `AgentLoader`.

    Raises:
        UserError: as `ml.agents.inference.load_policy`.
    """

    def load(wanted: str) -> AgentPolicy:
        return load_policy(models_dir, wanted)

    return SwappableAgent(load(model_id), load)


class SwappableModel(Generic[ModelT, AnswerT]):
    """A model at work, and perhaps one that stands by; see `SwappablePredictor` and `SwappableAgent`.

    Args:
        active: answers from the start.
        load: opens a stored model.
    """

    def __init__(self, active: ModelT, load: Callable[[str], ModelT]) -> None:
        self._active = active
        self._load = load
        self._turn = threading.RLock()  # held while a bar is answered and while the model changes
        self._seen: deque[Candle] = deque(maxlen=KEPT_BARS)
        self._standby: _Standby[ModelT, AnswerT] | None = None

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
        """Closed bars the model at work needs before it says something."""
        return self._active.warm_up_bars

    @property
    def ready(self) -> str | None:
        """Id of the model that can take over now; None while there is none."""
        with self._turn:
            standby = self._standby
            return standby.model_id if standby is not None and standby.keeps_up and standby.answer else None

    def warm_up(self, candles: Sequence[Candle]) -> AnswerT:
        """Reset the model at work and feed it closed history, oldest first; one that stands by gets the same.

        Returns:
            What the model at work says of the last bar; nothing while there are too few bars.
        """
        with self._turn:
            answer: AnswerT = self._active.warm_up(candles)
            self._seen.clear()
            self._seen.extend(candles)
            self._serve(tuple(candles))
            return answer

    def update(self, candle: Candle) -> AnswerT:
        """Feed the next closed bar to the model at work, and to the one that stands by.

        Returns:
            What the model at work says of it; nothing while it warms up.

        Raises:
            ValueError: the bar is not final or does not follow the last one; no model has seen it.
        """
        with self._turn:
            answer: AnswerT = self._active.update(candle)
            self._seen.append(candle)
            self._serve(candle)
            return answer

    def prepare(self, model_id: str, history: Sequence[Candle]) -> None:
        """Load a model and warm it up. Takes long: call it away from the thread that feeds the bars.

        Args:
            history: closed bars, oldest first, as long as for a start; it may end before or after the newest bar that
                the model at work has seen. A preparation begun before is given up.

        Raises:
            UserError: the model cannot be used here, or there are not enough bars. The former model goes on.
        """
        standby: _Standby[ModelT, AnswerT] = _Standby(model_id)
        with self._turn:
            self._standby = standby
            standby.waiting.append(self._joined(history))
        try:
            model = self._load(model_id)
            self._require_same_market(model)
            standby.model = model
            self._catch_up(standby, model)
            if not standby.answer:
                raise UserError(f"Model {model_id} needs {model.warm_up_bars} closed bars without a gap.", _REMEDY)
        except BaseException:
            self._dismiss(standby)
            raise

    def give_up(self) -> None:
        """Forget a model that stands by. Any thread."""
        with self._turn:
            self._standby = None

    def _take_over(self, model_id: str) -> AnswerT:
        """Let the prepared model answer from the next bar on, and return what it says of the newest one.

        Raises:
            UserError: it is not ready; nothing was changed.
        """
        with self._turn:
            standby = self._standby
            if standby is None or standby.model is None or not standby.answer or self.ready != model_id:
                raise UserError("No model is ready to take over.", _REMEDY)
            self._active, self._standby = standby.model, None
            return standby.answer

    def _joined(self, history: Sequence[Candle]) -> tuple[Candle, ...]:
        """Return as much history, ending with the newest bar the model at work has seen: the next ones wait in turn."""
        if not self._seen or not history:
            return ()
        first = self._seen[0].open_time_ns
        joined = (*(candle for candle in history if candle.open_time_ns < first), *self._seen)
        return joined[-len(history) :]  # as long as a restart would have it: a state depends on where it began

    def _require_same_market(self, model: ModelT) -> None:
        if (model.symbol, model.timeframe) != (self.symbol, self.timeframe):
            raise UserError(
                f"The model was trained on {model.symbol} {model.timeframe}, not on {self.symbol} {self.timeframe}.",
                "Choose a model trained on this market, or train one.",
            )

    def _catch_up(self, standby: _Standby[ModelT, AnswerT], model: ModelT) -> None:
        """Feed what waits, without keeping the bars of the model at work waiting; the end of it in one turn."""
        while True:
            with self._turn:
                if self._standby is not standby:
                    raise UserError(f"The preparation of model {standby.model_id} was given up for another.", _REMEDY)
                if not standby.waiting:
                    standby.keeps_up = True
                    return
                meal = standby.waiting.popleft()
            standby.answer = _feed(model, meal)

    def _serve(self, meal: _Meal) -> None:
        """Give what the model at work has just been fed to the one that stands by. Never fails: it is not its turn."""
        standby = self._standby
        if standby is None:
            return
        if standby.model is None or not standby.keeps_up:
            standby.waiting.append(meal)
            return
        try:
            standby.answer = _feed(standby.model, meal)
        except Exception:  # noqa: BLE001  # whatever it is, the model at work must go on; it is logged
            _log.exception("Model %s does not stand by any more: it could not take a bar", standby.model_id)
            self._dismiss(standby)

    def _dismiss(self, standby: _Standby[ModelT, AnswerT]) -> None:
        with self._turn:
            if self._standby is standby:
                self._standby = None


class SwappablePredictor(SwappableModel[Predictor, Forecast | None]):
    """A predictor whose model can be changed; implements `core.strategies.predictor.ChangeablePredictor`.

    Example:
        predictor = SwappablePredictor(load(first_id), load)
        …  # on another thread, while bars go on: `await asyncio.to_thread(predictor.prepare, second_id, history)`
        predictor.swap(second_id)
    """

    def swap(self, model_id: str) -> Forecast:
        """Let the prepared model answer from the next bar on. Any thread.

        Args:
            model_id: the one that was prepared: another one that stands by meanwhile is not taken.

        Returns:
            What the new one forecasts at the newest bar.

        Raises:
            UserError: it is not ready; nothing was changed.
        """
        forecast = self._take_over(model_id)
        assert forecast is not None  # else it would not have been ready
        return forecast


class SwappableAgent(SwappableModel[AgentPolicy, bool]):
    """An agent that can be changed; implements `core.strategies.agent_policy.ChangeableAgent`."""

    @property
    def lowest(self) -> float:
        """Lowest weight that the agent at work may choose."""
        return self._active.lowest

    @property
    def highest(self) -> float:
        """Highest weight that the agent at work may choose."""
        return self._active.highest

    @property
    def band(self) -> float:
        """A target is not followed while the weight is nearer to it than this."""
        return self._active.band

    @property
    def costs(self) -> CostRates:
        """What the agent at work learned that trading costs."""
        return self._active.costs

    def decide(self, account: AccountView) -> AgentDecision:
        """Return what the agent at work wants at the close of the newest bar.

        Raises:
            ValueError: it is still warming up, or its numbers are not finite.
        """
        with self._turn:
            return self._active.decide(account)

    def swap(self, model_id: str) -> None:
        """Let the prepared agent decide from the next bar on, with the account it is told of. Any thread.

        Args:
            model_id: the one that was prepared: another one that stands by meanwhile is not taken.

        Raises:
            UserError: it is not ready; nothing was changed.
        """
        self._take_over(model_id)


def _feed(model: FedModel, meal: _Meal) -> Any:
    return model.update(meal) if isinstance(meal, Candle) else model.warm_up(meal)
