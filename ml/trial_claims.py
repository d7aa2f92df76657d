"""What may be claimed of a result after everything that was tried before it. Any thread; numpy only.

Whoever judges many configurations on the same past finds a good one by luck. So an edge needs a p-value that stands up
to their number (Bonferroni), and a Sharpe ratio is deflated by what the best of so many worthless trials would show.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ml.api import ForecastMetrics, ForecastSpec
from ml.overfitting import deflated_sharpe
from ml.trial_ledger import EVALUATION, TrialLedger, TrialRecord, TrialScope
from ml.verdict import SIGNIFICANCE, verdict, with_earnings


def settle_claims(metrics: ForecastMetrics, ledger: TrialLedger, spec: ForecastSpec) -> ForecastMetrics:
    """Return metrics that claim no more than the number of trials allows; the run itself is in the ledger already.

    Args:
        metrics: of the run.
        ledger: of the data folder.
        spec: of the run; its market and bar length say which trials were rivals.
    """
    data = spec.data
    # Whoever tries other bar lengths tries as well; their ratios per bar are of another size.
    count = ledger.count(TrialScope(venue=data.venue, symbol=data.symbol))
    rivals = ledger.records(TrialScope(venue=data.venue, symbol=data.symbol, timeframe=data.timeframe))
    judged = len({row.spec_hash for row in rivals if row.test_sharpe is not None})
    tries = max(1, judged)
    main = metrics.horizons[0]
    edge = metrics.edge and main.edge_p_value < SIGNIFICANCE / tries
    settled = with_earnings(replace(metrics, edge=edge, verdict=verdict(main, tries)))
    if metrics.sharpe is None:
        return settled
    deviation = trial_deviation(rivals, metrics.sharpe.count)
    return replace(settled, deflated=deflated_sharpe(metrics.sharpe, max(1, count), deviation))


def trial_deviation(rivals: Iterable[TrialRecord], bars: int) -> float:
    """Return the standard deviation of the Sharpe ratios per bar that worthless rivals would show.

    One ratio per configuration: seeds of one are not rivals, their mean is what trades; nor are folds, which are parts
    of one. Never below 1/√T, the sampling error of the ratio of a worthless one over T bars (Lo 2002).

    Args:
        rivals: of the ledger.
        bars: T, of the result that is judged.
    """
    ratios: dict[str, list[float]] = defaultdict(list)
    for row in rivals:
        ratio = row.valid_sharpe if row.test_sharpe is None else row.test_sharpe
        if row.kind != EVALUATION and ratio is not None:
            ratios[row.spec_hash].append(ratio)
    means = [float(np.mean(values)) for values in ratios.values()]
    spread = float(np.var(means, ddof=1)) if len(means) > 1 else 0.0
    return float(np.sqrt(max(spread, 1.0 / max(1, bars))))
