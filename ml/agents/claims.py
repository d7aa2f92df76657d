"""What may be claimed of an agent after everything that was tried on its markets before it. Any thread; numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ml.agents.results import AgentMetrics
from ml.agents.verdict import agent_standing, agent_verdict
from ml.api import DataRange
from ml.overfitting import deflated_sharpe, sharpe_probability
from ml.statistic_results import DeflatedSharpe, SharpeMoments
from ml.trial_claims import trial_deviation
from ml.trial_ledger import TrialLedger, TrialScope


def settle_agent_claims(metrics: AgentMetrics, ledger: TrialLedger, markets: Sequence[DataRange]) -> AgentMetrics:
    """Return metrics that claim no more than the trials allow; the run itself is in the ledger already.

    An agent from elsewhere may know of more trials than this ledger; then those count.

    Args:
        metrics: of the agent.
        ledger: of the data folder; forecasters tried on the same market are rivals too.
        markets: it was judged on; the one with most trials decides, and the one whose trials differ most.
    """
    count = max(1, *(ledger.count(TrialScope(venue=data.venue, symbol=data.symbol)) for data in markets))
    if metrics.sharpe is None or (metrics.deflated is not None and metrics.deflated.trials > count):
        return metrics
    bars = metrics.sharpe.count
    deviation = max(
        trial_deviation(
            ledger.records(TrialScope(venue=data.venue, symbol=data.symbol, timeframe=data.timeframe)), bars
        )
        for data in markets
    )
    return with_trials(metrics, count, deviation)


def with_trials(metrics: AgentMetrics, trials: int, trial_std: float | None = None) -> AgentMetrics:
    """Return metrics that claim no more than so many trials of the market allow.

    Args:
        metrics: of an agent.
        trials / trial_std: see `ml.agents.judge.JudgeOptions`.
    """
    counted = replace(
        metrics,
        probabilistic=sharpe_probability(metrics.sharpe),
        deflated=_deflated(metrics.sharpe, trials, trial_std),
        deflated_appraisal=_deflated(metrics.appraisal, trials, trial_std),
    )
    settled = replace(counted, standing=agent_standing(counted))
    return replace(settled, verdict=agent_verdict(settled))


def _deflated(moments: SharpeMoments | None, trials: int, trial_std: float | None) -> DeflatedSharpe | None:
    if moments is None:
        return None
    worthless = 1.0 / math.sqrt(moments.count)  # the sampling error of a ratio of 0 (Lo 2002)
    return deflated_sharpe(moments, trials, max(trial_std or 0.0, worthless))
