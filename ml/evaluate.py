"""Judges a stored forecaster on bars it did not come with, see `ml.evaluation_range`. Any thread; no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from core.data.frame import CandleFrame
from ml.api import DataRange, ForecastMetrics, ForecastSpec, spec_hash
from ml.baselines import chosen_baselines
from ml.dataset import ForecastDataset, Part, prepare_bars
from ml.evaluation_plan import FEWEST_JUDGED, ModelResult
from ml.evaluation_range import (
    Layout,
    Origin,
    choose_bars,
    evaluation_record,
    lay_out,
    range_notes,
    require_bar_length,
    spans_of,
    too_few_bars,
)
from ml.evaluators import evaluate_forecast
from ml.features import MarketHistory, pipeline_for
from ml.inference import Forecasts, OnnxForecaster, SequenceForecaster
from ml.judge import PartForecasts, conformal_metrics, outer_scores, part_forecasts
from ml.metric_results import ConformalMetrics
from ml.model_storage import StoredModel, data_lineage
from ml.run_metrics import with_trading
from ml.trial_claims import settle_claims
from ml.trial_ledger import TrialLedger

_SIMPLE = ("zero", "persistence", "climatology")
# What takes long, in seconds per training row of a horizon and per judged bar, measured on one core; other steps count
# as one that takes a moment.
_BOOSTING_S, _EARNINGS_S, _MOMENT_S = 1.5e-4, 3.6e-4, 0.1


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
    require_bar_length(spec, frame)
    pipeline_for(spec.features, stored.feature_digest, frame.timeframe)
    prepared, origin = prepare_bars(history, spec), Origin(spec, stored.manifest)
    choice = choose_bars(origin, prepared, data, with_training=include_training, with_earlier=include_earlier)
    same = (data.venue, data.symbol) == (spec.data.venue, spec.data.symbol)
    layout = lay_out(origin, prepared, choice, same=same)
    whole = OnnxForecaster(stored.onnx)
    judged = Part.of([(part.start, part.stop) for part in layout.judged])
    dataset = prepared.divided(layout.train, layout.valid, judged, stored.scaling)
    test = _forecasts(whole, dataset, layout.judged, spec)
    if len(test.rows) < FEWEST_JUDGED:
        raise too_few_bars(len(test.rows))
    metrics = _judged(stored, dataset, frame, layout, test, whole, _Effort(on_step))
    times = frame.time_ns[test.rows]
    own = int(spans_of(origin)[1].mask(times).sum()) if same else 0
    notes = range_notes(origin, data, layout, choice, times, own, same=same)
    if not stored.metrics.conformal:
        notes = (*notes, "The model was stored without measured intervals; only its own are shown.")
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
        notes=notes,
        metrics=metrics,
    )


def count_evaluation(result: ModelResult, spec: ForecastSpec, ledger: TrialLedger, now_ns: int) -> ModelResult:
    """Write the evaluation into the ledger, once however often it is repeated, and deflate its Sharpe ratio."""
    record = evaluation_record(result, spec_hash(spec), spec.training.seed, now_ns)
    ledger.append(replace(record, score=result.metrics.crps, score_name="crps"))
    judged_on = replace(spec, data=replace(spec.data, venue=result.venue, symbol=result.symbol))
    return replace(result, metrics=settle_claims(result.metrics, ledger, judged_on))


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
    layout: Layout,
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
    stored: StoredModel, data: ForecastDataset, layout: Layout, test: PartForecasts, whole: SequenceForecaster
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
