"""What an evaluation says of a model, in the language of the screen. Qt-free, pure, any thread.

The evaluation writes its verdict as an English sentence; in other languages the same sentence is made of its figures.
"""

from __future__ import annotations

from app.i18n import Language, current_language, format_number, format_percent, tr
from ml.api import ForecastMetrics


def verdict_text(metrics: ForecastMetrics) -> str:
    """Return the verdict on a fresh model with the figures it rests on."""
    if current_language() is Language.ENGLISH:
        return metrics.verdict
    figures = {
        "r2": format_percent(metrics.model.r2, sign=True),
        "n": format_number(metrics.targets),
        "p": format_number(max(metrics.edge_p_value, 0.001), 3),
    }
    if not metrics.edge:
        return tr("No evidence of an edge over persistence (R² {r2} on {n} unseen bars, p = {p}).", **figures)
    text = tr("Evidence of an edge over persistence before costs (R² {r2} on {n} unseen bars, p = {p}).", **figures)
    beside = any(point.name == "ridge" and point.r2 >= metrics.model.r2 for point in metrics.baselines)
    return f"{text} {tr('A ridge regression does as well.')}" if beside else text


def stored_verdict_text(verdict: str, edge: bool, r2: float | None) -> str:
    """Return the verdict on a stored model.

    Args:
        verdict: the evaluation's English sentence.
        edge: whether there was evidence of an edge.
        r2: out-of-sample R² on the test part; None where unknown.
    """
    if current_language() is Language.ENGLISH or r2 is None:
        return verdict
    shown = format_percent(r2, sign=True)
    if edge:
        return tr("Evidence of an edge over persistence before costs (R² {r2}).", r2=shown)
    return tr("No evidence of an edge over persistence (R² {r2}).", r2=shown)
