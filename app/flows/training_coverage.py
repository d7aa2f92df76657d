"""Which of the chosen bars have everything their feature columns look at, and whether those are enough. Qt-free, pure.

Any thread. Nothing is read: the bars are those a description of a history tells, the side series their times. What a
run then finds complete is counted from them bar by bar, as `ml.feature_pipeline` decides it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from app.flows.amount import Sentence
from app.flows.datasets import Dataset, RangeSummary, SeriesExtent, date_text
from app.flows.training_draft import DAY_NS
from app.i18n import format_number, mark
from core.domain.candles import Timeframe
from ml.api import ForecastSpec, estimate, minimum_bars, warm_up_bars
from ml.arrays import BoolArray, IntArray
from ml.feature_sources import bars_since_gap, match_times
from ml.feature_spec import bars_per_longer, base_warm_up, bound_columns, own_bars

if TYPE_CHECKING:
    from ml.column_kinds import BoundColumn

_OLDEST_NS = 366 * DAY_NS  # no column takes older values of a series
_FEWEST = 30  # targets in a part, below which a run refuses to be divided


@dataclass(frozen=True, slots=True)
class Lack:
    """What bars lack for a column.

    Attributes:
        column: the column.
        name: of its series or market; `is_series` says which.
        first_ns / last_ns: when that is there, ns UTC.
        bars: how many of the chosen bars have all the column needs of it.
        warm_up: how many bars of the market must precede a value, where that is what most bars lack; else 0.
    """

    column: str
    name: str
    is_series: bool
    first_ns: int
    last_ns: int
    bars: int
    warm_up: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """How much of the chosen range can be used.

    Attributes:
        chosen: what the range holds.
        times: open times of its bars, ns UTC, shape (n,).
        since: how many bars precede each without a gap, shape (n,).
        covered: which of them have all that the columns look at beside the own bars, shape (n,).
        lacks: what not every bar has, the scarcest first.
    """

    chosen: RangeSummary
    times: IntArray
    since: IntArray
    covered: BoolArray
    lacks: tuple[Lack, ...]

    @property
    def usable(self) -> int:
        """How many bars have everything."""
        return int(np.count_nonzero(self.covered))

    def summary(self) -> RangeSummary:
        """Return what the usable bars span; the chosen range itself where nothing is lacking."""
        if not self.lacks:
            return self.chosen
        inside = self.times[self.covered]
        first_ns, last_ns = (int(inside[0]), int(inside[-1])) if len(inside) else (None, None)
        return RangeSummary(len(inside), first_ns, last_ns, self.chosen.gaps, self.chosen.missing)

    def targets(self, warm_up: int, reach: int) -> int:
        """Return how many bars have complete features and a target.

        Args:
            warm_up: bars without a gap that must precede a complete row.
            reach: bars without a gap that must follow it.
        """
        last = max(0, len(self.times) - reach)
        complete = self.covered[:last] & (self.since[:last] >= warm_up) & (self.since[reach:] >= reach)
        return int(np.count_nonzero(complete))


def side_columns(columns: Sequence[BoundColumn]) -> tuple[BoundColumn, ...]:
    """Return the columns that look at a side series or another market."""
    return tuple(bound for bound in columns if bound.is_series or bound.column.symbol)


def coverage(
    dataset: Dataset,
    limits: tuple[int | None, int | None],
    columns: Sequence[BoundColumn] = (),
    series: Mapping[str, SeriesExtent] = MappingProxyType({}),
    markets: Mapping[str, Dataset] = MappingProxyType({}),
) -> Coverage:
    """Return how much of a range can be used.

    Args:
        dataset: the history.
        limits: first and one past the last open time, ns UTC; None is unbounded.
        columns: those that look at something else; what is not in `series` or `markets` is taken to be there.
        series: by name.
        markets: by symbol, of the same bar length.
    """
    chosen, step = dataset.between(*limits), dataset.timeframe.ns
    times = _open_times(dataset, chosen)
    covered = np.ones(len(times), np.bool_)
    lacks: list[Lack] = []
    for bound in columns:
        name, span = _looked_at(bound, series, markets)
        if span is None:
            continue
        warm_up = 0
        if isinstance(span, SeriesExtent):
            fresh = span.fresh(times + step, bound.max_age_ns(step))
            there = _sampled(bound, fresh)
        else:
            beside = _open_times(span, span.between(*limits))
            index, fresh = match_times(times, beside)
            warm = bars_since_gap(beside, step) if len(beside) else np.zeros(1, np.int64)
            needed = _warm_up(bound, dataset.timeframe)
            there = fresh & (warm[index] >= needed)
            warm_up = needed if np.count_nonzero(fresh & ~there) > np.count_nonzero(~fresh) else 0
        covered &= there
        if (bars := int(np.count_nonzero(there))) < len(times):
            lacks.append(Lack(str(bound.column), name, bound.is_series, span.first_ns, span.last_ns, bars, warm_up))
    since = bars_since_gap(times, step)
    return Coverage(chosen, times, since, covered, tuple(sorted(lacks, key=lambda lack: lack.bars)))


def _looked_at(
    bound: BoundColumn, series: Mapping[str, SeriesExtent], markets: Mapping[str, Dataset]
) -> tuple[str, SeriesExtent | Dataset | None]:
    """Return what a column looks at beside the own bars, by name, and None where that is not known."""
    if bound.is_series:
        return bound.column.name, series.get(bound.column.name)
    return bound.column.symbol, markets.get(bound.column.symbol)


def apart_sentence(name: str, extent: SeriesExtent, chosen: RangeSummary | None) -> Sentence | None:
    """Say where no bar of a range can have a value of a series, however old a value may be; None where some can."""
    if chosen is None or chosen.first_ns is None or chosen.last_ns is None:
        return None
    if extent.first_ns <= chosen.last_ns + DAY_NS and extent.last_ns + _OLDEST_NS >= chosen.first_ns:
        return None
    return Sentence(
        mark(
            "The series “{name}” is known from {first} to {last}, and the chosen bars are of {start} to {end}: "
            "choose another range or another file, or remove it."
        ),
        {
            "name": name,
            "first": date_text(extent.first_ns),
            "last": date_text(extent.last_ns),
            "start": date_text(chosen.first_ns),
            "end": date_text(chosen.last_ns),
        },
    )


def reach_problem(spec: ForecastSpec, found: Coverage) -> Sentence | None:
    """Say which feature column, series or market leaves a run too few bars; None where none of them is to blame.

    Args:
        spec: the run, divided by shares.
        found: how much of its range can be used.
    """
    needed, usable = minimum_bars(spec), found.usable
    slow = _slowest(spec)
    without = needed if slow is None else needed - (slow[1] - base_warm_up(spec.features))
    if without > found.chosen.bars:
        return None
    if slow is not None and needed > found.chosen.bars:
        return Sentence(
            mark(
                "{column} needs {warm_up} bars before its first value: with it these settings need {needed} bars; the "
                "range holds {bars}."
            ),
            {"column": slow[0], **_numbers(warm_up=slow[1], needed=needed, bars=found.chosen.bars)},
        )
    if usable < needed and found.lacks:
        return _lack_sentence(found, needed)
    warm_up = warm_up_bars(spec.features, Timeframe(spec.data.timeframe))
    effort = estimate(spec, found.chosen.bars, found.targets(warm_up, spec.model.reach))
    if min(effort.train_targets, effort.valid_targets, effort.test_targets) >= _FEWEST:
        return None
    if found.lacks:
        return _lack_sentence(found, needed)
    if slow is None:
        return Sentence(
            mark("Every target needs {warm_up} bars without a gap before it: the gaps of this history leave too few."),
            _numbers(warm_up=warm_up),
        )
    return Sentence(
        mark(
            "{column} needs {warm_up} bars without a gap before its first value: the gaps of this history leave too "
            "few."
        ),
        {"column": slow[0], **_numbers(warm_up=warm_up)},
    )


def _lack_sentence(found: Coverage, needed: int) -> Sentence:
    lack = found.lacks[0]
    values = {
        "name": lack.name,
        "first": date_text(lack.first_ns),
        "last": date_text(lack.last_ns),
        "column": lack.column,
        **_numbers(usable=found.usable, bars=found.chosen.bars, needed=needed, warm_up=lack.warm_up),
    }
    if lack.warm_up:
        return Sentence(
            mark(
                "{column} needs {warm_up} bars of {name} before its first value: that leaves {usable} of {bars} bars; "
                "these settings need {needed}."
            ),
            values,
        )
    if lack.is_series:
        return Sentence(
            mark(
                "The series “{name}” is known from {first} to {last}: that leaves {usable} of {bars} bars; these "
                "settings need {needed}."
            ),
            values,
        )
    return Sentence(
        mark(
            "The bars of {name} are of {first} to {last}: that leaves {usable} of {bars} bars; these settings need "
            "{needed}."
        ),
        values,
    )


def _slowest(spec: ForecastSpec) -> tuple[str, int] | None:
    """Return the column that makes rows wait longest and for how many bars, None where it is none of the columns."""
    timeframe = Timeframe(spec.data.timeframe)
    warm_up = warm_up_bars(spec.features, timeframe)
    if warm_up <= base_warm_up(spec.features):
        return None
    for bound in bound_columns(spec.features):
        if own_bars(bound, timeframe) == warm_up:
            return str(bound.column), warm_up
    return None


def _warm_up(bound: BoundColumn, own: Timeframe) -> int:
    """Return how many own-length bars of another market must precede a value of its column."""
    if not bound.column.timeframe:
        return bound.warm_up
    per_bar = bars_per_longer(own, Timeframe(bound.column.timeframe))
    return (bound.warm_up + 1) * per_bar - 1


def _sampled(bound: BoundColumn, fresh: BoolArray) -> BoolArray:
    """Return where a column of a series has a value, from where its samples are fresh, shapes (n,)."""
    window, there = int(bound.values["window"]), fresh.copy()
    for output in bound.outputs:
        if output == "zscore":
            there &= _run_lengths(fresh) >= window
        elif output != "level":  # against the sample a window ago, whatever lies between
            there[:window] = False
            there[window:] &= fresh[:-window]
    return there


def _run_lengths(flags: BoolArray) -> IntArray:
    """Return at each place how many flags in a row hold up to there, shape (n,)."""
    index = np.arange(1, len(flags) + 1)
    lengths: IntArray = index - np.maximum.accumulate(np.where(flags, 0, index)) if len(flags) else index
    return lengths


def _open_times(dataset: Dataset, chosen: RangeSummary) -> IntArray:
    """Return the open times of the bars there are, shape (n,)."""
    if chosen.first_ns is None or chosen.last_ns is None:
        return np.zeros(0, np.int64)
    slots = (chosen.last_ns - chosen.first_ns) // dataset.timeframe.ns + 1
    # Not numpy.arange over the times: it counts its steps in floating point, which ns UTC are too large for.
    times = chosen.first_ns + np.arange(slots, dtype=np.int64) * dataset.timeframe.ns
    there = np.ones(len(times), np.bool_)
    for gap in dataset.gaps:
        start, stop = np.searchsorted(times, (gap.start_ns, gap.end_ns))
        there[start:stop] = False
    return times[there]


def _numbers(**values: int) -> dict[str, str]:
    return {name: format_number(value) for name, value in values.items()}
