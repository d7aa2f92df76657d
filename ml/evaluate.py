"""Judges a stored model on bars it did not come with: newer ones, another range, another market. Any thread; no torch.

What the model was trained on is known from its package. Those bars, a horizon and a purge around them, and whatever
came before, are left out, whichever market the bars are of: markets move together, so the same weeks of another one are
no news either, and who learnt from what came later knows how earlier weeks went on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.clock import to_datetime
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.api import DataRange, ForecastMetrics, ForecastSpec, spec_hash
from ml.arrays import BoolArray, IntArray
from ml.baselines import chosen_baselines
from ml.dataset import ForecastDataset, Part, PreparedBars, contiguous_stretches, prepare_bars
from ml.evaluation_plan import FEWEST_JUDGED, ModelResult
from ml.evaluators import evaluate_forecast
from ml.features import MarketHistory, pipeline_for
from ml.inference import Forecasts, OnnxForecaster, SequenceForecaster
from ml.judge import PartForecasts, conformal_metrics, outer_scores, part_forecasts
from ml.metric_results import ConformalMetrics
from ml.model_storage import StoredModel, data_lineage
from ml.run_metrics import with_trading
from ml.trial_claims import settle_claims
from ml.trial_ledger import EVALUATION, FINISHED, TrialLedger, TrialRecord

_FEWEST_FOR_YARDSTICKS = 300
_SET_ASIDE = 0.3  # of the judged bars, where no others can tell the yardsticks how wide ranges must be
_SIMPLE = ("zero", "persistence", "climatology")
# What takes long, in seconds per training row of a horizon and per judged bar, measured on one core; other steps count
# as one that takes a moment.
_BOOSTING_S, _EARNINGS_S, _MOMENT_S = 1.5e-4, 3.6e-4, 0.1


@dataclass(frozen=True, slots=True)
class _Span:
    """Open times of the first and last bar of a part, ns UTC."""

    first_ns: int
    last_ns: int

    def mask(self, time_ns: IntArray, around_ns: int = 0) -> BoolArray:
        inside: BoolArray = (time_ns >= self.first_ns - around_ns) & (time_ns <= self.last_ns + around_ns)
        return inside


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """Which bars may be judged.

    Attributes:
        allowed: these, shape (n,).
        trained_on: how many of the range with an outcome are from the time of the training, with what lies around it.
        earlier: how many are from before that.
        with_training / with_earlier: whether these are allowed.
    """

    allowed: BoolArray
    trained_on: int
    earlier: int
    with_training: bool
    with_earlier: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """What fits the yardsticks and what is judged.

    Attributes:
        train / valid: rows the yardsticks are fitted and tuned on.
        judged: stretches of rows.
        own: whether `train` and `valid` are those of the model.
        note: a sentence about them; empty where they are.
    """

    train: Part
    valid: Part
    judged: tuple[Part, ...]
    own: bool
    note: str


class _Effort:
    """Tells before each step how much work lies behind and ahead, in seconds of the machine it was measured on."""

    def __init__(self, on_step: Callable[[float, float], None]) -> None:
        self._on_step = on_step
        self._costs: dict[str, float] = {}
        self._left = self._done = self._pending = 0.0

    def plan(self, baselines: Sequence[str], horizons: int, train: int, judged: int) -> None:
        """Estimate what the steps will take: every baseline for every horizon, then the earnings."""
        self._costs = {"boosting": _BOOSTING_S * train, "earnings": _EARNINGS_S * judged}
        self._left = horizons * sum(map(self._cost, baselines)) + self._cost("earnings")

    def before(self, step: str) -> None:
        """Report; the step before is over."""
        self._done += self._pending
        self._left = max(0.0, self._left - self._pending)
        self._pending = self._cost(step)
        self._on_step(self._done, self._left)

    def _cost(self, step: str) -> float:
        return self._costs.get(step, 0.0) + _MOMENT_S


def evaluate_model(
    stored: StoredModel,
    history: MarketHistory,
    data: DataRange,
    *,
    include_training: bool = False,
    include_earlier: bool = False,
    on_step: Callable[[float, float], None] = lambda done, left: None,
) -> ModelResult:
    """Judge a stored model, unless told otherwise on what came after its training and validation only.

    Args:
        stored: the model.
        history: bars of one market up to the end of the range, as early as there are any: those before the range warm
            up the network, and yardsticks are fitted on those the model was trained on.
        data: whose bars these are, and the range to judge.
        include_training: judge also bars the model was trained on, which flatters it.
        include_earlier: judge also bars before those, though it learnt from what came after them.
        on_step: called between the steps with the work that is done and that is left, in seconds of some machine;
            raises to stop.

    Raises:
        UserError: another bar length, features computed differently, or too few bars behind those of its training.
    """
    spec, frame = stored.spec, history.frame
    if frame.timeframe.value != spec.data.timeframe:
        raise UserError(
            f"The model knows bars of {spec.data.timeframe}, not of {frame.timeframe.value}.",
            "Choose bars of that length.",
        )
    pipeline_for(spec.features, stored.feature_digest, frame.timeframe)
    prepared = prepare_bars(history, spec)
    choice = _choice(stored, prepared, data, with_training=include_training, with_earlier=include_earlier)
    same = (data.venue, data.symbol) == (spec.data.venue, spec.data.symbol)
    layout = _layout(stored, prepared, choice, same=same)
    whole = OnnxForecaster(stored.onnx)
    judged = Part.of([(part.start, part.stop) for part in layout.judged])
    dataset = prepared.divided(layout.train, layout.valid, judged, stored.scaling)
    test = _forecasts(whole, dataset, layout.judged, spec)
    if len(test.rows) < FEWEST_JUDGED:
        raise _only(len(test.rows))
    metrics = _judged(stored, dataset, frame, layout, test, whole, _Effort(on_step))
    times = frame.time_ns[test.rows]
    own = int(_spans(stored)[1].mask(times).sum()) if same else 0
    return ModelResult(
        model_id=stored.model_id,
        venue=data.venue,
        symbol=data.symbol,
        timeframe=data.timeframe,
        data_sha256=data_lineage(frame)["sha256"],
        first_ns=int(times[0]),
        last_ns=int(times[-1]),
        judged=len(test.rows),
        trained_on=choice.trained_on,
        included=include_training,
        earlier=choice.earlier,
        included_earlier=include_earlier,
        own_test=own,
        notes=_notes(stored, data, layout, choice, times, own, same=same),
        metrics=metrics,
    )


def count_evaluation(result: ModelResult, spec: ForecastSpec, ledger: TrialLedger, now_ns: int) -> ModelResult:
    """Write the evaluation into the ledger, once however often it is repeated, and deflate its Sharpe ratio."""
    market = [result.venue, result.symbol, result.timeframe]  # two may have the very same bars, under another name
    what = [*market, result.data_sha256, result.first_ns, result.last_ns, result.judged]
    identity = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    ledger.append(
        TrialRecord(
            trial_id=f"evaluation/{result.model_id}/{identity}",
            created_ns=now_ns,
            kind=EVALUATION,
            venue=result.venue,
            symbol=result.symbol,
            timeframe=result.timeframe,
            data_hash=result.data_sha256,
            spec_hash=spec_hash(spec),
            seed=spec.training.seed,
            status=FINISHED,
            run_id=result.model_id,
            test_sharpe=None if result.metrics.sharpe is None else result.metrics.sharpe.sharpe,
            score=result.metrics.crps,
            score_name="crps",
        )
    )
    judged_on = replace(spec, data=replace(spec.data, venue=result.venue, symbol=result.symbol))
    return replace(result, metrics=settle_claims(result.metrics, ledger, judged_on))


def _spans(stored: StoredModel) -> tuple[_Span, _Span, int]:
    """Return when the model was trained and validated, when it was tested, and how far around the former to stay."""
    spec, split = stored.spec, stored.manifest["split"]
    trained = _Span(int(split["train"]["first_open_ns"]), int(split["valid"]["last_open_ns"]))
    tested = _Span(int(split["test"]["first_open_ns"]), int(split["test"]["last_open_ns"]))
    return trained, tested, (spec.model.reach + spec.split.purge_bars) * Timeframe(spec.data.timeframe).ns


def _within(frame: CandleFrame, data: DataRange) -> BoolArray:
    """Return which bars the range asks for."""
    inside = np.ones(len(frame), np.bool_)
    if data.start_ns is not None:
        inside &= frame.time_ns >= data.start_ns
    if data.end_ns is not None:
        inside &= frame.time_ns < data.end_ns
    return inside


def _choice(
    stored: StoredModel, prepared: PreparedBars, data: DataRange, *, with_training: bool, with_earlier: bool
) -> _Choice:
    """Decide by time which bars of the range may be judged."""
    time_ns = prepared.frame.time_ns
    trained, _, around = _spans(stored)
    wanted, near, past = (
        _within(prepared.frame, data),
        trained.mask(time_ns, around),
        time_ns < trained.first_ns - around,
    )
    allowed = wanted.copy()
    if not with_training:
        allowed &= ~near
    if not with_earlier:
        allowed &= ~past
    counted = wanted & prepared.has_target
    return _Choice(allowed, int((counted & near).sum()), int((counted & past).sum()), with_training, with_earlier)


def _too_few(usable: int, choice: _Choice) -> UserError:
    """Return why hardly anything can be judged, and what would help."""
    trained_on = 0 if choice.with_training else choice.trained_on
    earlier = 0 if choice.with_earlier else choice.earlier
    if trained_on and earlier:
        return UserError(
            f"{trained_on:,} bars of that range were trained on and {earlier:,} lie before its training, which leaves "
            f"{usable:,} to judge.",
            "Choose newer bars, or add --include-training and --include-earlier to judge them all the same.",
        )
    if trained_on:
        return UserError(
            f"{trained_on:,} bars of that range were trained on, which leaves {usable:,} to judge.",
            "Choose newer bars, or add --include-training to judge them all the same.",
        )
    if earlier:
        return UserError(
            f"{earlier:,} bars of that range lie before its training, which leaves {usable:,} to judge.",
            "Choose newer bars, or add --include-earlier to judge them all the same.",
        )
    return _only(usable)


def _only(bars: int) -> UserError:
    return UserError(f"Only {bars:,} bars can be judged.", "Choose a longer range or data with fewer gaps.")


def _layout(stored: StoredModel, prepared: PreparedBars, choice: _Choice, *, same: bool) -> _Layout:
    """Decide which rows the yardsticks learn from, and cut the others into stretches."""
    allowed = choice.allowed
    usable = np.flatnonzero(allowed & prepared.has_target)
    if len(usable) < FEWEST_JUDGED:
        raise _too_few(len(usable), choice)
    stretches = _stretches(allowed, prepared)
    if same and _has_training_bars(stored, prepared.frame):
        split, time_ns = stored.manifest["split"], prepared.frame.time_ns
        train, valid = (
            _rows_at(time_ns, int(split[name]["first_open_ns"]), int(split[name]["last_open_ns"]))
            for name in ("train", "valid")
        )
        return _Layout(train, valid, stretches, True, "")
    reach = stored.spec.model.reach + stored.spec.split.purge_bars
    stop = max(0, int(usable[0]) - reach)
    before = int(prepared.has_target[:stop].sum())
    if before >= _FEWEST_FOR_YARDSTICKS:
        note = f"The bars it was trained on are not at hand: its yardsticks come from {before:,} earlier bars."
        return _Layout(Part(0, stop), Part(0, stop), stretches, False, note)
    cut = int(usable[int(len(usable) * _SET_ASIDE)])
    kept = allowed.copy()
    kept[: cut + reach] = False
    stretches = _stretches(kept, prepared)
    aside = Part(int(usable[0]), cut)
    if not stretches or int(prepared.has_target[aside.start : aside.stop].sum()) < FEWEST_JUDGED:
        raise UserError("There are too few bars to judge and to compare with.", "Choose a longer range.")
    note = (
        f"The bars it was trained on are not at hand: its yardsticks come from the first {_SET_ASIDE:.0%} of the range."
    )
    return _Layout(aside, aside, stretches, False, note)


def _stretches(allowed: BoolArray, prepared: PreparedBars) -> tuple[Part, ...]:
    """Return the stretches in which something can be judged."""
    parts = (Part(start, stop) for start, stop in contiguous_stretches(allowed))
    return tuple(part for part in parts if prepared.has_target[part.start : part.stop].any())


def _has_training_bars(stored: StoredModel, frame: CandleFrame) -> bool:
    """Whether the very bars the model was made from are among these."""
    data = stored.manifest["data"]
    part = frame.between(int(data["first_open_ns"]), int(data["last_open_ns"]) + 1)
    return len(part) > 0 and data_lineage(part)["sha256"] == data["sha256"]


def _rows_at(time_ns: IntArray, first_ns: int, last_ns: int) -> Part:
    return Part(int(np.searchsorted(time_ns, first_ns)), int(np.searchsorted(time_ns, last_ns, side="right")))


def _forecasts(
    forecaster: SequenceForecaster, data: ForecastDataset, parts: Sequence[Part], spec: ForecastSpec
) -> PartForecasts:
    """Forecast several stretches, each as live trading would."""
    found = [part_forecasts(forecaster, data, part, spec.training.burn_in) for part in parts]
    chances = [part.forecasts.probabilities for part in found if part.forecasts.probabilities is not None]
    return PartForecasts(
        np.concatenate([part.rows for part in found]),
        Forecasts(
            np.concatenate([part.forecasts.quantiles for part in found]), np.concatenate(chances) if chances else None
        ),
    )


def _judged(
    stored: StoredModel,
    data: ForecastDataset,
    frame: CandleFrame,
    layout: _Layout,
    test: PartForecasts,
    whole: SequenceForecaster,
    effort: _Effort,
) -> ForecastMetrics:
    spec = stored.spec
    baselines = chosen_baselines(boosting=spec.evaluation.boosting) if layout.own else _SIMPLE
    effort.plan(baselines, len(data.horizons), len(data.rows(data.train)), len(test.rows))
    metrics = evaluate_forecast(
        data,
        frame,
        test.rows,
        test.forecasts,
        spec.model.quantile_levels,
        forecast_std=stored.metrics.forecast_std,
        flat_band=spec.model.flat_band,
        baselines=baselines,
        before_baseline=effort.before,
    )
    effort.before("earnings")
    known = replace(metrics, still=stored.metrics.still)
    traded = with_trading(known, test.median, data.held(test.rows, data.test), spec)
    return replace(traded, conformal=_conformal(stored, data, layout, test, whole))


def _conformal(
    stored: StoredModel, data: ForecastDataset, layout: _Layout, test: PartForecasts, whole: SequenceForecaster
) -> tuple[ConformalMetrics, ...]:
    """Move the intervals by the offsets the model came with; the adaptive level begins with what was before.

    That is the validation part, and nothing where a judged bar is not behind it: its outcomes were not known then.
    """
    levels = stored.spec.model.quantile_levels
    offsets = {report.horizon: report.offsets for report in stored.metrics.conformal}
    valid = _forecasts(whole, data, [layout.valid], stored.spec)
    reports = []
    for column, horizon in enumerate(data.horizons):
        if horizon not in offsets:
            continue
        outcome, unit = data.log_return[:, column], data.unit[:, column]
        scores = outer_scores(data, column, valid)
        if len(valid.rows) and int(valid.rows[-1]) + horizon > int(test.rows[0]):
            scores = scores[:0]
        seen = test.forecasts.quantiles[:, column]
        reports.append(
            conformal_metrics(horizon, levels, seen, outcome[test.rows], unit[test.rows], offsets[horizon], scores)
        )
    return tuple(reports)


def _notes(
    stored: StoredModel, data: DataRange, layout: _Layout, choice: _Choice, times: IntArray, own: int, *, same: bool
) -> tuple[str, ...]:
    spec, notes = stored.spec, []
    if not same:
        notes.append(
            f"ANOTHER MARKET: the model was trained on {spec.data.venue} {spec.data.symbol} and is judged on "
            f"{data.venue} {data.symbol}."
        )
    trained, _, _ = _spans(stored)
    when = f"{to_datetime(trained.first_ns):%Y-%m-%d} – {to_datetime(trained.last_ns):%Y-%m-%d}"
    judged_earlier = int((times < trained.first_ns).sum())
    if judged_earlier and choice.with_earlier:
        notes.append(
            f"EARLIER BARS: {judged_earlier:,} of the judged bars lie before its training ({when}); the model was "
            f"trained on what came after these bars, so that nobody could have had such forecasts then."
        )
    elif choice.earlier and not choice.with_earlier:
        notes.append(
            f"{choice.earlier:,} bars before its training are left out: it was trained on what came after them."
        )
    if choice.trained_on and choice.with_training:
        notes.append(
            f"{choice.trained_on:,} of these bars are from the time it was trained on ({when}): the figures flatter it."
        )
    elif choice.trained_on:
        notes.append(f"{choice.trained_on:,} bars from the time it was trained on ({when}) are left out.")
    if own:
        notes.append(f"{own:,} of these bars were its own test, which it was judged on before.")
    if layout.note:
        notes.append(layout.note)
    if not stored.metrics.conformal:
        notes.append("The model was stored without measured intervals; only its own are shown.")
    return tuple(notes)
