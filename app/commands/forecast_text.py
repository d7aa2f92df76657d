"""The judgement of forecasts as text for a terminal. Qt-free and torch-free."""

from __future__ import annotations

from ml.metric_results import (
    ClassMetrics,
    ConformalMetrics,
    ForecastMetrics,
    HorizonMetrics,
    PointMetrics,
    RangeMetrics,
)
from ml.statistic_results import CostPoint, ForecastEarnings, SeedSummary, TradingMetrics

_NONE = "–"


def metrics_lines(metrics: ForecastMetrics) -> list[str]:
    """Return every table of a judgement, without its verdict."""
    lines: list[str] = []
    for horizon in metrics.horizons:
        lines += horizon_lines(horizon)
    lines += seed_lines(metrics)
    lines += conformal_lines(metrics.conformal)
    if metrics.earnings is not None:
        lines += earnings_lines(metrics.earnings)
    return lines + luck_lines(metrics)


def horizon_lines(horizon: HorizonMetrics) -> list[str]:
    """Return one horizon: the model above its baselines, points beside ranges."""
    ranges = {row.name: row for row in horizon.baseline_ranges}
    bars = "1 bar" if horizon.horizon == 1 else f"{horizon.horizon} bars"
    lines = [
        f"{bars} ahead, {horizon.targets:,} targets ({horizon.effective_targets:,} without overlap):",
        f"  {'':12}{'MAE':>10}{'RMSE':>10}{'R²':>9}{'IC':>8}{'rank IC':>9}{'hits':>8}{'CRPS':>11}{'inside':>8}",
        _row(horizon.model, horizon.ranges),
        *(_row(row, ranges.get(row.name)) for row in horizon.baselines),
        f"  CRPS {horizon.crps_skill:+.2%} against zero, whose ranges are as wide as volatility was; "
        f"{horizon.ranges.nominal_coverage:.0%} should be inside",
    ]
    if horizon.classes is not None:
        lines.append(f"  {'':12}{'accuracy':>10}{'AUC':>8}{'MCC':>8}{'Brier':>8}{'ECE':>8}")
        lines += [_class_row(row) for row in (horizon.classes, *horizon.baseline_classes)]
    return lines


def seed_lines(metrics: ForecastMetrics) -> list[str]:
    """Return what the seeds alone came to."""
    if len(metrics.seeds) < 2:
        return []
    summaries = (("CRPS", metrics.seed_crps, ".6f"), ("R²", metrics.seed_r2, "+.2%"), ("IC", metrics.seed_ic, "+.3f"))
    lines = [f"{len(metrics.seeds)} seeds alone, first horizon:"]
    return lines + [f"  {name:5} {summary_text(summary, form)}" for name, summary, form in summaries if summary]


def summary_text(summary: SeedSummary, form: str) -> str:
    """Return median, interval and range."""
    interval = ""
    if summary.low is not None and summary.high is not None:
        interval = f" ({summary.confidence:.0%}: {summary.low:{form}} to {summary.high:{form}})"
    return f"median {summary.median:{form}}{interval}, {summary.minimum:{form}} to {summary.maximum:{form}}"


def conformal_lines(reports: tuple[ConformalMetrics, ...]) -> list[str]:
    """Return how many outcomes fell inside the outer interval: as forecast, and moved in two ways."""
    if not reports:
        return []
    lines = [f"Inside the outer interval:{'promised':>12}{'raw':>9}{'split':>9}{'adaptive':>10}"]
    for row in reports:
        lines.append(
            f"  {f'{row.horizon} ahead':24}{row.nominal_coverage:12.1%}{row.coverage:9.1%}{row.split_coverage:9.1%}"
            f"{row.adaptive_coverage:10.1%}"
        )
        if row.adaptive_infinite:
            lines.append(f"  {row.adaptive_infinite:.1%} of its adaptive intervals have no ends: anything is inside.")
    return lines


def earnings_lines(earnings: ForecastEarnings) -> list[str]:
    """Return what holding the sign of the forecast would have come to at several costs."""
    lines = [
        f"Holding its sign, {earnings.positions.turnover:,.0f} x turnover per year, at {earnings.cost:.2%} per change:",
        f"  {'cost':14}{'return':>12}{'Sharpe':>9}{'drawdown':>10}{'one bar late':>14}",
    ]
    late = {point.multiple: point for point in earnings.points if point.delay == 1}
    for point in earnings.points:
        if point.delay == 0:
            lines.append(_cost_row(point, late.get(point.multiple)))
    return [*lines, f"  {'holding':14}{_earned(earnings.hold)}"]


def luck_lines(metrics: ForecastMetrics) -> list[str]:
    """Return how probable it is that the Sharpe ratio is no luck, alone and among all trials."""
    from ml.overfitting import sharpe_probability  # numpy

    probability = sharpe_probability(metrics.sharpe)
    if probability is None:
        return []
    text = f"Sharpe ratio above 0 before costs: probability {probability:.1%}"
    if (deflated := metrics.deflated) is not None:
        text += f", {deflated.probability:.1%} after {deflated.trials:,.0f} trials on this market"
    return [text]


def _row(point: PointMetrics, ranges: RangeMetrics | None) -> str:
    crps, inside = (f"{ranges.crps:.6f}", f"{ranges.coverage:.1%}") if ranges is not None else (_NONE, _NONE)
    ic, rank_ic, hits = (
        figure_text(value, form)
        for value, form in ((point.ic, "+.3f"), (point.rank_ic, "+.3f"), (point.hit_rate, ".1%"))
    )
    return (
        f"  {point.name:12}{point.mae:10.6f}{point.rmse:10.6f}{point.r2:+9.2%}{ic:>8}"
        f"{rank_ic:>9}{hits:>8}{crps:>11}{inside:>8}"
    )


def _class_row(row: ClassMetrics) -> str:
    auc = figure_text(row.auc, ".3f")
    return f"  {row.name:12}{row.accuracy:10.1%}{auc:>8}{row.mcc:+8.3f}{row.brier:8.3f}{row.ece:8.3f}"


def _cost_row(point: CostPoint, late: CostPoint | None) -> str:
    after = figure_text(late.metrics.total_return if late is not None else None, "+.1%")
    return f"  {f'{point.multiple:g} x':14}{_earned(point.metrics)}{after:>14}"


def _earned(metrics: TradingMetrics) -> str:
    total, sharpe = figure_text(metrics.total_return, "+.1%"), figure_text(metrics.sharpe, "+.2f")
    return f"{total:>12}{sharpe:>9}{metrics.max_drawdown:10.1%}"


def figure_text(value: float | None, form: str) -> str:
    """Return a figure in a format, or a dash where there is none."""
    return f"{value:{form}}" if value is not None else _NONE
