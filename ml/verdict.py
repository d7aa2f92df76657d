"""What the figures of an evaluation allow to say, in sentences for a person. Any thread; pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ml.metric_results import Comparison, ForecastMetrics, HorizonMetrics, PointMetrics, RangeMetrics, SeedScore
from ml.statistic_results import ForecastEarnings

SIGNIFICANCE = 0.05
IMPLAUSIBLE_R2 = 0.02  # on returns of bars, more has been a leak in all but invented markets
_TINY = 1e-9  # of a p-value: whatever is smaller comes to the same
_COVERAGE_OFF = 0.03  # a difference that matters to a person
_LEARNED = ("ridge", "boosting")


def verdict(metrics: HorizonMetrics, tries: int = 1) -> str:
    """Return sentences that do not promise more than the figures of a horizon.

    The naive forecasts are an unchanged price, the last return once more, and the mean of the past; R² is measured
    against the first of them, the p-value is the largest of the three.

    Args:
        metrics: of the horizon.
        tries: configurations judged on the same market so far, this one included.
    """
    model, p_value = metrics.model, metrics.edge_p_value
    # Where a smaller p-value is needed than the usual digits show, it is said in full.
    shown = f"{p_value:.3f}" if p_value >= 0.001 else _small(p_value)
    figures = f"horizon {metrics.horizon}: R² {model.r2:+.2%} on {metrics.targets:,} unseen bars, p = {shown}"
    if p_value < 0.001 and (SIGNIFICANCE / tries >= 0.001 or p_value < _TINY):
        bound = "0.001" if SIGNIFICANCE / tries >= 0.001 else _small(_TINY)
        figures = f"horizon {metrics.horizon}: R² {model.r2:+.2%} on {metrics.targets:,} unseen bars, p < {bound}"
    edge = has_edge(metrics, tries)
    sentences = [_edge_sentence(metrics, figures)] if edge else _no_edge_sentences(metrics, figures, tries)
    if edge and model.r2 > IMPLAUSIBLE_R2:
        sentences.append("An R² that high on returns looks like a leak: check the features.")
    sentences += _range_sentences(metrics)
    return " ".join(sentences)


def has_edge(metrics: HorizonMetrics, tries: int) -> bool:
    """Whether there is evidence of an edge that stands up to so many configurations judged on the same market."""
    return metrics.edge and metrics.edge_p_value < SIGNIFICANCE / tries


def _edge_sentence(metrics: HorizonMetrics, figures: str) -> str:
    """Say that there is an edge, and which simpler forecast has it too."""
    rivals = [row for row in metrics.baselines if row.name in _LEARNED]
    better = max(rivals, key=lambda row: row.r2, default=None)
    if better is not None and better.r2 >= metrics.model.r2:
        if better.name == "ridge":
            return (
                f"Evidence of an edge over naive forecasts before costs ({figures}); a ridge regression does as well."
            )
        return f"Evidence of an edge over naive forecasts before costs ({figures}); gradient boosting does as well."
    if any(_squared(metrics, row).p_better >= SIGNIFICANCE for row in rivals):
        return f"Evidence of an edge over naive forecasts before costs ({figures}), not shown over simpler models."
    return f"Evidence of an edge over naive forecasts before costs ({figures})."


def _no_edge_sentences(metrics: HorizonMetrics, figures: str, tries: int) -> list[str]:
    sentences = [f"No evidence of an edge over naive forecasts ({figures})."]
    if metrics.edge:
        sentences.append(luck_sentence(tries))
    if any(_beats(metrics, row) for row in metrics.baselines if row.name in _LEARNED):
        sentences.append("A simpler model is significantly better on the same bars.")
    model, always = metrics.model, _always_one_sign(metrics)
    if model.hit_rate is not None and model.hit_low is not None and model.hit_low > always:
        # Common on real markets: small moves go back, and large ones decide what is earned.
        share, chance = f"{model.hit_rate:.1%}", f"{always:.1%}"
        sentences.append(f"Its sign is right in {share} of the bars, where always the same one is right in {chance}.")
    return sentences


def luck_sentence(tries: int) -> str:
    """Say why a p-value that would do for one try is not enough."""
    needed = _small(SIGNIFICANCE / tries)
    return f"The best of {tries:,} tried on this market looks as good by luck: p below {needed} is needed."


def _small(value: float) -> str:
    """Return a small positive number with two digits that count, never as zero."""
    return f"{value:.{max(3, 1 - math.floor(math.log10(max(value, _TINY))))}f}"


def _always_one_sign(metrics: HorizonMetrics) -> float:
    """Return how often the better of "always up" and "always down" is right; at least one half."""
    drift = next((row.hit_rate for row in metrics.baselines if row.name == "climatology"), None)
    return 0.5 if drift is None else max(drift, 1.0 - drift)


def earnings_sentence(earnings: ForecastEarnings) -> str:
    """Say what trading the forecast's sign at every bar would have come to, beside holding."""
    plain = next(point for point in earnings.points if point.multiple == 1.0 and point.delay == 0)
    earned, held, cost = plain.metrics.total_return, earnings.hold.total_return, f"{earnings.cost:.2%}"
    if earned is None or held is None:  # beyond what a number holds, which no market does
        return ""
    if earned < 0.0:
        return f"Trading its sign at every bar would have lost {-earned:.1%} at a cost of {cost} per change."
    if earned < held:
        return f"Trading its sign at every bar would have earned {earned:.1%} after costs, holding more: {held:.1%}."
    return f"Trading its sign at every bar would have earned {earned:.1%} after costs, and holding {held:.1%}."


def with_earnings(metrics: ForecastMetrics) -> ForecastMetrics:
    """Return metrics whose verdict ends with what trading would have come to."""
    if metrics.earnings is None:
        return metrics
    return replace(metrics, verdict=f"{metrics.verdict} {earnings_sentence(metrics.earnings)}".rstrip())


def idle_sentence(seeds: Sequence[SeedScore]) -> str:
    """Say which networks learned nothing that helps on the validation part; they are in the model all the same."""
    idle = [str(number) for number, seed in enumerate(seeds, start=1) if seed.best_epoch == 0]
    if not idle:
        return ""
    if len(idle) == len(seeds):
        return "Nothing that was learned helps on the validation part: the stored model is an untrained one."
    count, networks, which = len(idle), len(seeds), ", ".join(idle)
    return (
        f"{count} of {networks} networks stayed untrained, nothing they learned helped in validation: number {which}."
    )


def _range_sentences(metrics: HorizonMetrics) -> list[str]:
    """Say what is wrong with the forecast ranges and, if nothing is, whether they are worth something."""
    ranges = metrics.ranges
    if coverage_is_off(ranges, metrics.effective_targets):
        share, wanted = f"{ranges.coverage:.1%}", f"{ranges.nominal_coverage:.0%}"
        if ranges.coverage < ranges.nominal_coverage:
            return [f"The forecast ranges are too narrow: {share} of outcomes fall inside, {wanted} should."]
        return [f"The forecast ranges are too wide: {share} of outcomes fall inside, {wanted} should."]
    if metrics.range_edge:
        return [f"The forecast ranges beat those of past volatility (CRPS {metrics.crps_skill:+.1%})."]
    return []


def coverage_is_off(ranges: RangeMetrics, independent: int) -> bool:
    """Whether coverage differs from what it should be by more than chance and by enough to matter."""
    wanted, off = ranges.nominal_coverage, abs(ranges.coverage - ranges.nominal_coverage)
    error = (wanted * (1.0 - wanted) / max(1, independent)) ** 0.5
    return off > _COVERAGE_OFF and off > 2.58 * error


def _squared(metrics: HorizonMetrics, row: PointMetrics) -> Comparison:
    return next(item for item in metrics.comparisons if item.baseline == row.name and item.loss == "squared")


def _beats(metrics: HorizonMetrics, row: PointMetrics) -> bool:
    test = _squared(metrics, row)
    return test.gain < 0.0 and test.p_value < SIGNIFICANCE and row.r2 > 0.0
