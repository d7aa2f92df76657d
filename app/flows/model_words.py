"""Figures of stored models in words: names of forecasters, what chance explains, what many tries mean. Qt-free, pure.

The sentences are for somebody who never heard of a deflated Sharpe ratio.
"""

from __future__ import annotations

import math

from app.flows.origin_text import origin_title
from app.flows.sentence_text import local_text
from app.i18n import MISSING, format_moment, format_number, format_percent, mark, tr, tr_count
from app.models.model_choice import ModelChoice
from core.domain.data_origin import DataOrigin, with_caution
from ml.api import HorizonMetrics, PointMetrics, RangeMetrics
from ml.statistic_results import DeflatedSharpe, SharpeMoments

_NAMES = {
    "model": mark("This model"),
    "zero": mark("Price stays"),
    "persistence": mark("Last return repeats"),
    "climatology": mark("Average of the past"),
    "ridge": mark("Linear (ridge)"),
    "boosting": mark("Gradient boosting"),
    "logistic": mark("Logistic regression"),
}
REGIME_GROUPS = {"volatility": mark("Volatility"), "trend": mark("Trend")}
REGIMES = {
    "low": mark("low"),
    "middle": mark("middle"),
    "high": mark("high"),
    "down": mark("down"),
    "flat": mark("flat"),
    "up": mark("up"),
}
HEADS = {"quantile": mark("quantiles"), "student_t": mark("Student's t"), "classes": mark("up, flat or down")}
_LOUD = 0.95  # from this probability on something is said to be more than luck
_SMALLEST = 0.001


def foreign_sentence() -> str:
    """Return what must be said beside the figures of a model that was made elsewhere."""
    return tr("Made elsewhere: its figures are its maker's word and were not measured here.")


def offered_verdict(choice: ModelChoice) -> str:
    """Return what is known of a model where it is about to be given money; whose word it is comes first."""
    verdict = local_text(with_caution(choice.verdict, choice.origin))
    others = other_bars_sentence(choice.origin, choice.traded_on)
    return " ".join(text for text in (foreign_sentence() if choice.foreign else "", verdict, others) if text)


def other_bars_sentence(learned: DataOrigin, shown: DataOrigin | None) -> str:
    """Say that a model learned from another market than the one here; "" where it did not, or that is not known."""
    if shown is None or shown == learned:
        return ""
    values = {"learned": origin_title(learned), "shown": origin_title(shown)}
    return tr("It learned from other bars: {learned}, not {shown}.", **values)


def choice_title(choice: ModelChoice) -> str:
    """Return what tells a model from the others of its market in a list."""
    when = format_moment(choice.created_ns, "%Y-%m-%d %H:%M")
    return " · ".join(
        text for text in (choice.kind.upper(), choice.model_id[:10], when, ", ".join(choice.tags)) if text
    )


def forecaster_name(name: str) -> str:
    """Return what a forecaster is called; one this version does not know keeps its own name."""
    return tr(_NAMES[name]) if name in _NAMES else name


def p_text(p_value: float | None) -> str:
    """Return a p-value as written; below what matters only that it is."""
    if p_value is None:
        return MISSING
    return f"< {format_number(_SMALLEST, 3)}" if p_value < _SMALLEST else format_number(p_value, 3)


def hit_text(point: PointMetrics) -> str:
    """Return the share of right signs with its interval."""
    if point.hit_rate is None:
        return MISSING
    rate = format_percent(point.hit_rate, 1)
    if point.hit_low is None or point.hit_high is None:
        return rate
    return f"{rate} ({format_number(point.hit_low * 100, 1)}–{format_number(point.hit_high * 100, 1)})"


def accuracy_rows(metrics: HorizonMetrics) -> list[tuple[str, ...]]:
    """Return the model and every baseline as rows: name, MAE, RMSE, R², IC, rank IC, hits, CRPS, skill, p-value."""
    points = {row.name: row for row in (metrics.model, *metrics.baselines)}
    ranges = {row.name: row for row in (metrics.ranges, *metrics.baseline_ranges)}
    better = {test.baseline: test.p_better for test in metrics.comparisons if test.loss == "squared"}
    names = dict.fromkeys((*points, *ranges))
    return [_accuracy_row(name, points.get(name), ranges.get(name), better.get(name)) for name in names]


def _accuracy_row(
    name: str, point: PointMetrics | None, ranges: RangeMetrics | None, p_better: float | None
) -> tuple[str, ...]:
    figures: tuple[str, ...] = (MISSING,) * 6
    skill = MISSING
    if point is not None:
        figures = (
            format_percent(point.mae, 3),
            format_percent(point.rmse, 3),
            format_percent(point.r2, 2, sign=True),
            format_number(point.ic, 3, sign=True),
            format_number(point.rank_ic, 3, sign=True),
            hit_text(point),
        )
        skill = format_percent(point.skill, 2, sign=True)
    crps = MISSING if ranges is None else format_percent(ranges.crps, 4)
    return forecaster_name(name), *figures, crps, skill, p_text(p_better)


def earnings_sentence(sharpe: SharpeMoments | None, probability: float | None) -> str:
    """Say how likely it is that the earnings before costs were no luck, were this the only try."""
    if sharpe is None or probability is None:
        return tr("How likely it is that this was luck was not measured.")
    return tr(
        "Before costs the Sharpe ratio per bar is {sharpe} over {bars} bars. Had this been the only try, the "
        "probability that its true value is above zero would be {probability}.",
        sharpe=format_number(sharpe.sharpe, 4, sign=True),
        bars=format_number(sharpe.count),
        probability=share_text(probability),
    )


def trials_sentence(sharpe: SharpeMoments | None, deflated: DeflatedSharpe | None) -> str:
    """Say what remains of the earnings after how many were tried."""
    if sharpe is None or deflated is None:
        return tr("How many tries there were on this market is not known, so nothing was taken off for luck.")
    tries = tr_count(
        "This is the only try on this market so far.",
        "{n} tries were made on this market. Of so many worthless ones the best would show about {threshold} by luck "
        "alone.",
        round(deflated.trials),
        threshold=format_number(deflated.threshold, 4, sign=True),
    )
    left = (
        mark(
            "Taking that into account, a strategy without any edge would stay below this in {p} of cases: "
            "more than luck."
        )
        if deflated.probability >= _LOUD
        else mark(
            "Taking that into account, a strategy without any edge would stay below this in {p} of cases: "
            "luck explains it."
        )
    )
    return f"{tries} {tr(left, p=share_text(deflated.probability))}"


def share_text(share: float) -> str:
    """Return a probability without claiming certainty."""
    if share > 1.0 - _SMALLEST:
        return f"> {format_percent(1.0 - _SMALLEST, 1)}"
    if share < _SMALLEST:
        return f"< {format_percent(_SMALLEST, 1)}"
    return format_percent(share, 1)


def independent_outcomes(metrics: HorizonMetrics) -> int:
    """Return how many outcomes count as independent: those of overlapping horizons are not."""
    return max(1, metrics.effective_targets)


def calibration_sentence(metrics: HorizonMetrics) -> str:
    """Say whether the quantiles mean what they say."""
    bad = [
        point
        for point in metrics.calibration.points
        if abs(point.observed - point.nominal)
        > 1.96 * math.sqrt(point.nominal * (1.0 - point.nominal) / independent_outcomes(metrics))
    ]
    if not bad:
        return tr("Every quantile lies within what chance explains: the ranges can be taken at their word.")
    worst = max(bad, key=lambda point: abs(point.observed - point.nominal))
    return tr(
        "{n} of {all} quantiles lie outside what chance explains; the worst promises {promised} and holds {observed}.",
        n=len(bad),
        all=len(metrics.calibration.points),
        promised=format_percent(worst.nominal, 0),
        observed=format_percent(worst.observed, 1),
    )
