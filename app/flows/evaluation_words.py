"""What a stored model was judged on since, in words and figures. Qt-free, pure."""

from __future__ import annotations

from app.flows.model_words import hit_text, p_text
from app.flows.origin_text import market_title
from app.i18n import MISSING, format_moment, format_number, format_percent, mark, tr
from app.models.model_card import Judging, ModelCard
from core.domain.data_origin import DataOrigin, caution
from ml.api import ForecastMetrics
from ml.evaluation_plan import ModelResult
from ml.evaluation_records import SavedEvaluation
from ml.metric_results import HorizonMetrics
from ml.statistic_results import TradingMetrics

_DAY, _MINUTE = "%Y-%m-%d", "%Y-%m-%d %H:%M"
_PHASES = {
    "loading": mark("Reading the bars …"),
    "features": mark("Computing the features …"),
    "judging": mark("Judging …"),
}


def span_text(first_ns: int, last_ns: int) -> str:
    """Return the days of the first and the last bar."""
    return f"{format_moment(first_ns, _DAY)} – {format_moment(last_ns, _DAY)}"


def evaluation_title(saved: SavedEvaluation, card: ModelCard) -> str:
    """Return when and on what a model was judged; its own market need not be said."""
    result, own = saved.result, card.spec.data
    parts = [span_text(result.first_ns, result.last_ns)]
    if (result.venue, result.symbol) != (own.venue, own.symbol):
        parts.append(market_title(result.symbol, result.timeframe, DataOrigin(result.venue)))
    parts += [
        tr("{n} targets", n=format_number(result.judged)),
        tr("judged {when}", when=format_moment(saved.created_ns, _MINUTE)),
    ]
    return " · ".join(parts)


def is_finding(result: ModelResult, card: ModelCard) -> bool:
    """Whether an edge there counts: on a real market, and on bars nobody learnt from or could have chosen."""
    measured = not (result.included or result.included_earlier or card.marks.foreign)
    return result.metrics.edge and measured and not caution(DataOrigin(result.venue))


def accuracy_row(name: str, metrics: ForecastMetrics, horizon: int) -> tuple[str, ...]:
    """Return name, targets, R², IC, hit rate, CRPS skill, coverage and p-value at so many bars ahead as written."""
    found = _at(metrics, horizon)
    if found is None:
        return (name, *(MISSING,) * 7)
    model = found.model
    return (
        name,
        format_number(found.targets),
        format_percent(model.r2, 2, sign=True),
        interval_text(model.ic, model.ic_low, model.ic_high, 3),
        hit_text(model),
        format_percent(found.crps_skill, 1, sign=True),
        format_percent(found.ranges.coverage, 1),
        p_text(found.edge_p_value),
    )


def trading_row(name: str, metrics: ForecastMetrics) -> tuple[str, ...]:
    """Return name, return after costs, that of holding, Sharpe ratio and deepest fall as written."""
    earnings = metrics.earnings
    plain = None
    if earnings is not None:
        plain = next((p.metrics for p in earnings.points if p.multiple == 1.0 and p.delay == 0), None)
    if earnings is None or plain is None:
        return (name, *(MISSING,) * 4)
    return (
        name,
        format_percent(plain.total_return, 1, sign=True),
        format_percent(earnings.hold.total_return, 1, sign=True),
        interval_text(plain.sharpe, *_sharpe_ends(plain), 2),
        format_percent(-plain.max_drawdown, 1),
    )


def interval_text(value: float | None, low: float | None, high: float | None, decimals: int) -> str:
    """Return a figure with the interval it may lie in, where that is known."""
    written = format_number(value, decimals, sign=True)
    if value is None or low is None or high is None:
        return written
    return f"{written} ({format_number(low, decimals, sign=True)} … {format_number(high, decimals, sign=True)})"


def judging_text(judging: Judging) -> str:
    """Say how far it is; the time left is written by whoever counts it down."""
    if judging.stopping:
        return tr("Cancelling …")
    progress = judging.progress
    return tr("Starting …") if progress is None else tr(_PHASES.get(progress.phase, _PHASES["judging"]))


def _at(metrics: ForecastMetrics, horizon: int) -> HorizonMetrics | None:
    return next((each for each in metrics.horizons if each.horizon == horizon), None)


def _sharpe_ends(metrics: TradingMetrics) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval: of the bootstrap, which allows for clustered returns, where it was made."""
    made = metrics.sharpe_bootstrap
    return (metrics.sharpe_low, metrics.sharpe_high) if made is None else (made.low, made.high)
