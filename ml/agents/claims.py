"""What may be claimed of an agent after everything that was tried on its markets before it. Any thread; numpy only."""

from __future__ import annotations

from collections.abc import Sequence

from ml.agents.judge import with_trials
from ml.agents.results import AgentMetrics
from ml.api import DataRange
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
