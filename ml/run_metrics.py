"""What the metrics of a run hold beside the accuracy of its forecasts: its seeds, and trading their sign. Any thread.

numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ml.api import ForecastMetrics, ForecastSpec
from ml.arrays import FloatArray
from ml.bootstrap import seed_summary
from ml.held_moves import HeldMoves
from ml.metric_results import SeedScore
from ml.overfitting import sharpe_moments
from ml.statistic_results import SeedSummary
from ml.trading_metrics import forecast_earnings, forecast_strategy_returns, sharpe_per_bar
from ml.verdict import with_earnings


def with_seeds(metrics: ForecastMetrics, scores: Sequence[SeedScore], spec: ForecastSpec) -> ForecastMetrics:
    """Return metrics with those of each seed alone, and how they lie."""

    def summary(values: list[float]) -> SeedSummary | None:
        return seed_summary(np.array(values), seed=spec.training.seed) if values else None

    return replace(
        metrics,
        seeds=tuple(scores),
        seed_crps=summary([score.crps for score in scores]),
        seed_r2=summary([score.r2 for score in scores]),
        seed_ic=summary([score.ic for score in scores if score.ic is not None]),
    )


def with_trading(metrics: ForecastMetrics, centre: FloatArray, held: HeldMoves, spec: ForecastSpec) -> ForecastMetrics:
    """Return metrics, verdict included, with what holding the sign of a forecast would have come to.

    Args:
        metrics: of the forecast.
        centre: its medians at the first horizon, shape (n,).
        held: the moves while each position is held.
        spec: of the run, for cost and seed.
    """
    moved = held.log_return
    earnings = forecast_earnings(
        centre,
        moved,
        cost=spec.evaluation.cost,
        bars_per_year=held.bars_per_year,
        bootstrap_seed=spec.training.seed,
    )
    moments = sharpe_moments(forecast_strategy_returns(centre, moved).returns)
    return with_earnings(replace(metrics, earnings=earnings, sharpe=moments))


def sign_sharpe(centre: FloatArray, moved: FloatArray) -> float | None:
    """Return the Sharpe ratio per bar of holding the forecast's sign, before costs; None where it is constant."""
    return sharpe_per_bar(forecast_strategy_returns(centre, moved).returns)
