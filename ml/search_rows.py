"""Which bars the trials of a search are judged on: the same for all. Any thread; numpy only.

Features that look back farther lack more rows behind a gap, and networks with a longer burn-in forecast fewer of them.
Judged on rows of its own, a configuration could look better for leaving out what others had to forecast. So only those
rows count that all have.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from core.domain.candles import Timeframe
from core.errors import UserError
from ml.arrays import BoolArray
from ml.dataset import ForecastDataset, contiguous_stretches, evaluation_lead_in
from ml.feature_pipeline import FeaturePipeline
from ml.feature_spec import FeatureSpec, warm_up_bars
from ml.features import MarketHistory, bars_since_gap
from ml.search_spec import GROUP, ON, SearchSpec, Value
from ml.search_tasks import RowIntervals

_FEWEST = 30


def judged_rows(spec: SearchSpec, history: MarketHistory, base: ForecastDataset) -> RowIntervals:
    """Return the validation rows that every configuration of a search can forecast.

    Args:
        spec: the search.
        history: its bars.
        base: the dataset of the run it starts from.

    Raises:
        UserError: there are hardly any.
    """
    judged = np.zeros(len(history.frame), np.bool_)
    lead_in = evaluation_lead_in(longest_burn_in(spec))
    for begin, end in contiguous_stretches(_complete(spec, history) & base.has_input):
        judged[begin + lead_in : end] = True
    judged &= base.has_target & base.valid.mask(len(judged))
    if np.count_nonzero(judged) < _FEWEST:
        raise UserError(
            "The gaps leave hardly any validation bars for the longest look-back and burn-in of the search.",
            "Narrow the ranges of both, repair the gaps, or choose a longer range of data.",
        )
    return tuple(contiguous_stretches(judged))


def longest_warm_up(spec: SearchSpec) -> int:
    """Return how many own bars the features that look back farthest need, over all of a search's configurations."""
    timeframe = Timeframe(spec.base.data.timeframe)
    return max(warm_up_bars(features, timeframe) for features in _widest_features(spec))


def longest_burn_in(spec: SearchSpec) -> int:
    """Return the longest burn-in of a search's configurations."""
    values = [parameter.extremes() for parameter in spec.space if parameter.name == "training.burn_in"]
    chosen = [spec.applied({"training.burn_in": value}) for value in itertools.chain(*values)]
    return max(each.training.burn_in for each in (chosen or [spec.base]))


def _widest_features(spec: SearchSpec) -> Iterator[FeatureSpec]:
    """Yield the features at the ends of every range, with every group of columns."""
    groups: dict[str, Value] = {GROUP + group.name: ON for group in spec.groups}
    varied = [parameter for parameter in spec.space if parameter.name.startswith("features.")]
    for values in itertools.product(*(parameter.extremes() for parameter in varied)):
        chosen = dict(zip((parameter.name for parameter in varied), values, strict=True))
        yield spec.applied(chosen | groups).features


def _complete(spec: SearchSpec, history: MarketHistory) -> BoolArray:
    """Return which rows lack nothing with any group of columns, shape (n,)."""
    frame = history.frame
    complete: BoolArray = bars_since_gap(frame.time_ns, frame.timeframe.ns) >= longest_warm_up(spec)
    for group in spec.groups:
        pipeline = FeaturePipeline(spec.applied({GROUP + group.name: ON}).features, frame.timeframe)
        if pipeline.foreign_positions:
            complete &= pipeline.rows(history).complete
    return complete
