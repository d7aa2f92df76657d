"""What may be claimed of a result after everything that was tried before it. Any thread; numpy only.

Whoever judges many configurations on the same past finds a good one by luck. So an edge needs a p-value that stands up
to their number (Bonferroni), and a Sharpe ratio is deflated by what the best of so many worthless trials would show.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ml.api import DataRange, ForecastMetrics, ForecastSpec
from ml.overfitting import deflated_sharpe
from ml.trial_ledger import EVALUATION, TrialLedger, TrialRecord, TrialScope
from ml.verdict import has_edge, verdict, with_earnings

_HOPELESS = 3.0  # sampling errors below 0: one of a thousand worthless trials lies there by luck


def settle_claims(metrics: ForecastMetrics, ledger: TrialLedger, spec: ForecastSpec) -> ForecastMetrics:
    """Return metrics that claim no more than the number of trials allows; the run itself is in the ledger already.

    Args:
        metrics: of the run.
        ledger: of the data folder.
        spec: of the run; its market and bar length say which trials were rivals.
    """
    main, tries = metrics.horizons[0], judged_tries(ledger, spec.data)
    judged = replace(metrics, edge=has_edge(main, tries), verdict=verdict(main, tries), tries=tries)
    return deflate(with_earnings(judged), ledger, spec.data)


def judged_tries(ledger: TrialLedger, data: DataRange) -> int:
    """Return how often something was judged on a market, whatever the bar length; at least 1.

    The networks of one run count once, and so does the same again: the same configuration with the same seeds on the
    same bars. Other seeds, bars and bar lengths are tries of their own, since the best of those is chosen too.
    """
    seeds: dict[tuple[str, ...], int] = {}
    for row in ledger.records(TrialScope(venue=data.venue, symbol=data.symbol)):
        if row.test_sharpe is not None:
            run = (row.run_id or row.trial_id, row.timeframe, row.spec_hash, row.data_hash)
            seeds[run] = min(row.seed, seeds.get(run, row.seed))
    return max(1, len({(run[1:], seed) for run, seed in seeds.items()}))


def deflate(metrics: ForecastMetrics, ledger: TrialLedger, data: DataRange) -> ForecastMetrics:
    """Return metrics whose Sharpe ratio is deflated by all trials of the market so far, which grow after a run as well.

    A model from elsewhere may know of more trials than this ledger; then those count.
    """
    if metrics.sharpe is None:
        return metrics
    # Whoever tries other bar lengths tries as well; their ratios per bar are of another size.
    count = max(1, ledger.count(TrialScope(venue=data.venue, symbol=data.symbol)))
    rivals = ledger.records(TrialScope(venue=data.venue, symbol=data.symbol, timeframe=data.timeframe))
    deviation = trial_deviation(rivals, metrics.sharpe.count)
    if metrics.deflated is not None and metrics.deflated.trials > count:
        return metrics
    return replace(metrics, deflated=deflated_sharpe(metrics.sharpe, count, deviation))


def with_todays_trials(metrics: ForecastMetrics, data: DataRange, trials_file: Path) -> ForecastMetrics:
    """Return stored metrics deflated by the trials up to now; a folder without a ledger knows of none.

    Raises:
        UserError: the ledger is damaged.
    """
    return deflate(metrics, TrialLedger(trials_file), data) if trials_file.exists() else metrics


def trial_deviation(rivals: Iterable[TrialRecord], bars: int) -> float:
    """Return the standard deviation of the Sharpe ratios per bar that worthless rivals would show.

    One ratio per configuration: seeds of one are not rivals, their mean is what trades; nor are folds, which are parts
    of one. Never below 1/√T, the sampling error of the ratio of a worthless one over T bars (Lo 2002).

    The best of many is compared with draws around 0 (Bailey & López de Prado 2014 take the ratios' variance for that of
    such draws). A ratio further below 0 than three sampling errors, and than the best one is above it, is no such draw:
    that trial loses, as one does that trades too much, and could not have been the best by luck. It stays one of the
    trials that are counted, but how badly it loses says nothing of how far luck carries the others.

    Args:
        rivals: of the ledger.
        bars: T, of the result that is judged.
    """
    ratios: dict[str, list[float]] = defaultdict(list)
    for row in rivals:
        ratio = row.valid_sharpe if row.test_sharpe is None else row.test_sharpe
        if row.kind != EVALUATION and ratio is not None:
            ratios[row.spec_hash].append(ratio)
    error = 1.0 / np.sqrt(max(1, bars))
    means = np.array([np.mean(values) for values in ratios.values()], np.float64)
    drawn = means[means >= -max(_HOPELESS * error, means.max(initial=0.0))]
    spread = float(np.std(drawn, ddof=1)) if len(drawn) > 1 else 0.0
    return float(max(spread, error))
