"""A stored model that looks at a market and trades nothing. One thread at a time; no torch.

It is read, verified and fed as a strategy's model is, so that what a person sees is what would trade.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import DataOrigin
from core.domain.signals import Forecast
from core.errors import UserError
from core.strategies.predictor import Predictor
from ml.agents.inference import load_policy
from ml.agents.onlooker import AgentOnlooker
from ml.agents.package import StoredAgent
from ml.feature_spec import needed_markets, needed_series
from ml.features import bars_since_gap
from ml.inference import OnnxPredictor
from ml.model_storage import StoredModel, load_any
from ml.model_tags import ModelTags
from ml.outlook import LookedAt, Outcomes, Outlook

PAST_BARS = 200  # past forecasts that are compared with what came

_log = logging.getLogger(__name__)

Rest = Callable[[], bool]  # lets other threads go first; True where the work is not wanted any more


class PastForecasts:
    """Compares forecasts with what came of them; pure but for what it remembers."""

    def __init__(self, step_ns: int, unseen_from_ns: int) -> None:
        """Begin without forecasts.

        Args:
            step_ns: length of a bar.
            unseen_from_ns: forecasts of bars that open before are not counted: the model was made from them.
        """
        self._step_ns, self._unseen_from_ns = step_ns, unseen_from_ns
        self._open: deque[tuple[int, float, float]] = (
            deque()
        )  # open time of the bar that decides, lowest, highest price
        self._held: deque[bool] = deque(maxlen=PAST_BARS)
        self._share, self._horizon_bars = 0.0, 0

    @property
    def outcomes(self) -> Outcomes | None:
        """What is known; None before the first outcome."""
        return Outcomes(len(self._held), sum(self._held), self._share, self._horizon_bars) if self._held else None

    def take(self, bar_open_ns: int, close: float, forecast: Forecast | None) -> None:
        """Take the next closed bar and the forecast made at its close. What a missing bar would decide is left out."""
        while self._open and self._open[0][0] <= bar_open_ns:
            due_ns, low, high = self._open.popleft()
            if due_ns == bar_open_ns:
                self._held.append(low <= close <= high)
        if forecast is not None and bar_open_ns >= self._unseen_from_ns:
            low, high = (close * math.exp(forecast.quantiles[end]) for end in (0, -1))
            self._open.append((bar_open_ns + forecast.horizon_bars * self._step_ns, low, high))
            self._share = forecast.quantile_levels[-1] - forecast.quantile_levels[0]
            self._horizon_bars = forecast.horizon_bars


class Onlooker:
    """Forecasts of one model, bar after bar."""

    def __init__(self, predictor: Predictor, about: LookedAt, unseen_from_ns: int) -> None:
        """Bind a model; `begin` starts it.

        Args:
            predictor: the model.
            about: what it is.
            unseen_from_ns: open time of the first bar after all that the model was made from, ns UTC.
        """
        self.about = about
        self._predictor, self._unseen_from_ns = predictor, unseen_from_ns
        self._step_ns = predictor.timeframe.ns
        self._past = self._fresh_past()
        self._newest_ns: int | None = None
        self._run = 0

    @property
    def needed(self) -> int:
        """Closed bars without a gap that a forecast takes."""
        return self._predictor.warm_up_bars

    def begin(self, history: Sequence[Candle], rest: Rest) -> Outlook | None:
        """Start anew with closed bars, oldest first; the last ones bar by bar, to see how past forecasts turned out.

        Args:
            rest: asked between two bars.

        Returns:
            What it says at the newest bar; None where there is no bar, or `rest` ended it.

        Raises:
            UserError: the model failed on these bars.
        """
        self._past, self._newest_ns = self._fresh_past(), None
        run = _unbroken(history, self._step_ns)
        if not run:
            return None
        one_by_one = min(PAST_BARS, max(0, len(run) - self.needed))
        at_once = run[: len(run) - one_by_one]
        self._run = len(at_once)
        outlook = self._seen(at_once[-1], lambda: self._predictor.warm_up(at_once))
        for candle in run[len(at_once) :]:
            if rest():
                return None
            outlook = self.update(candle)
        return outlook

    def update(self, candle: Candle) -> Outlook:
        """Take the next closed bar.

        Raises:
            UserError: the model failed on it.
        """
        follows = self._newest_ns is not None and candle.open_time_ns == self._newest_ns + self._step_ns
        self._run = self._run + 1 if follows else 1
        return self._seen(candle, lambda: self._predictor.update(candle))

    @property
    def newest_ns(self) -> int | None:
        """Open time of the newest bar it has seen; None before the first."""
        return self._newest_ns

    def _seen(self, candle: Candle, ask: Callable[[], Forecast | None]) -> Outlook:
        try:
            forecast = ask()
            if forecast is not None and not _is_finite(forecast):
                raise ValueError(f"the forecast at bar {candle.open_time_ns} is not finite")
        except Exception as exc:
            # ONNX Runtime has a dozen exception types without a common public base. Nothing is lost: nobody trades.
            _log.exception("model %s cannot go on looking", self.about.model_id)
            raise UserError(
                f"Model {self.about.model_id} failed on a bar of the chart.",
                "The log says how. Take the model off the chart, or look at another one.",
            ) from exc
        self._newest_ns = candle.open_time_ns
        self._past.take(candle.open_time_ns, candle.close, forecast)
        return Outlook(
            bar_open_ns=candle.open_time_ns,
            close=candle.close,
            forecast=forecast,
            bars=min(self._run, self.needed),
            needed=self.needed,
            outcomes=self._past.outcomes,
        )

    def _fresh_past(self) -> PastForecasts:
        return PastForecasts(self._step_ns, self._unseen_from_ns)


def open_onlooker(models_dir: Path, model_id: str) -> Onlooker | AgentOnlooker:
    """Load and verify a stored model to look at.

    Raises:
        UserError: no such model, the package is damaged or does not fit this program, or it looks at more than the
            bars of one market.
    """
    marks = ModelTags(models_dir).of(model_id)
    stored = load_any(models_dir, model_id)
    if isinstance(stored, StoredAgent):
        return _agent_onlooker(models_dir, stored, marks.foreign)
    return _model_onlooker(stored, marks.foreign, marks.imported_ns or 0)


def _agent_onlooker(models_dir: Path, stored: StoredAgent, foreign: bool) -> AgentOnlooker:
    data, environment = stored.spec.data, stored.spec.environment
    about = LookedAt(stored.model_id, data.symbol, data.timeframe, data.origin, foreign, agent=True)
    agent = load_policy(models_dir, stored.model_id)
    return AgentOnlooker(agent, about, environment.costs, environment.rules(), environment.cash)


def _model_onlooker(stored: StoredModel, foreign: bool, imported_ns: int) -> Onlooker:
    features, data = stored.spec.features, stored.spec.data
    others = (*needed_markets(features), *needed_series(features))
    if others:
        raise UserError(
            f"The model also looks at {', '.join(others)}, which the chart does not receive.",
            "Look at a model whose features are made of its own market's bars.",
        )
    about = LookedAt(stored.model_id, data.symbol, data.timeframe, data.origin, foreign)
    unseen_from_ns = int(stored.manifest["data"]["last_open_ns"]) + Timeframe(data.timeframe).ns
    # What a foreign package says of its data is its maker's word: only what came after its import is surely unseen.
    return Onlooker(OnnxPredictor(stored), about, max(unseen_from_ns, imported_ns))


def longer_history(candles: Path, origin: DataOrigin, frame: CandleFrame, bars: int) -> CandleFrame:
    """Return closed bars with stored ones before them, where they alone are too few and have no gap themselves.

    Args:
        candles: folder of the stored candles.
        origin: whose bars `frame` holds.
        bars: so many are wanted.

    Raises:
        UserError: a stored file is damaged.
    """
    frame = frame.finals()
    if not 0 < len(frame) < bars or _run_length(frame) < len(frame):
        return frame
    first_ns, step_ns = int(frame.time_ns[0]), frame.timeframe.ns
    stored = CandleStore(candles).read(
        origin, frame.symbol, frame.timeframe, first_ns - (bars - len(frame)) * step_ns, first_ns
    )
    return CandleFrame.concat([stored.finals(), frame], frame.symbol, frame.timeframe)


def _unbroken(history: Sequence[Candle], step_ns: int) -> list[Candle]:
    """Return the bars after the last gap."""
    run = list(history)
    for index in range(len(run) - 1, 0, -1):
        if run[index].open_time_ns != run[index - 1].open_time_ns + step_ns:
            return run[index:]
    return run


def _run_length(frame: CandleFrame) -> int:
    return int(bars_since_gap(frame.time_ns, frame.timeframe.ns)[-1]) + 1


def _is_finite(forecast: Forecast) -> bool:
    rows = (forecast.quantiles, *(expected.quantiles for expected in forecast.fan))
    return all(math.isfinite(value) for row in rows for value in row)
