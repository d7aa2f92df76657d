"""Where axis marks go. Qt-free pure functions, any thread.

Price marks stand on 1, 2 or 5 times a power of ten and never closer than the tick size. Time marks stand on
calendar boundaries of the reader's zone, daylight saving included; the mark that starts a larger unit outranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import IntEnum

from core.clock import NS_PER_S, to_datetime

_MANTISSAS = (1, 2, 5, 10)


def price_ticks(low: float, high: float, pixels: float, min_gap: float, decimals: int) -> list[float]:
    """Return the prices to mark between `low` and `high`, ascending.

    Args:
        low / high: visible range.
        pixels: its height.
        min_gap: smallest distance of two marks, pixels.
        decimals: decimals of the tick size; no mark needs more.
    """
    span = high - low
    if not (span > 0 and math.isfinite(span) and pixels >= min_gap > 0):
        return []
    wanted = max(span * min_gap / pixels, 10.0**-decimals)
    exponent = math.floor(math.log10(wanted) + 1e-12)
    mantissa = next(m for m in _MANTISSAS if m * 10.0**exponent >= wanted * (1 - 1e-9))
    step = mantissa * 10.0**exponent
    slack = span * 1e-9  # a mark on the very edge counts in spite of rounding
    first, last = math.ceil((low - slack) / step), math.floor((high + slack) / step)
    # Dividing by a whole power of ten rounds once; multiplying by 0.1 … would print 0.30000000000000004.
    if exponent < 0:
        return [k * mantissa / 10.0**-exponent for k in range(first, last + 1)]
    return [float(k * mantissa * 10**exponent) for k in range(first, last + 1)]


class TickRank(IntEnum):
    """The largest calendar unit that starts at a mark."""

    TIME = 0
    DAY = 1
    MONTH = 2
    YEAR = 3


@dataclass(frozen=True, slots=True)
class TimeTick:
    """A mark on the time axis: bar index, local moment of the boundary, rank."""

    index: int
    moment: datetime
    rank: TickRank


@dataclass(frozen=True, slots=True)
class _Step:
    unit: str
    count: int
    seconds: int


_DAY = 86_400
_STEPS = (
    *(_Step("minute", n, n * 60) for n in (1, 2, 5, 10, 15, 30)),
    *(_Step("hour", n, n * 3_600) for n in (1, 2, 3, 4, 6, 12)),
    *(_Step("day", n, n * _DAY) for n in (1, 2, 5, 10)),
    *(_Step("month", n, n * 30 * _DAY) for n in (1, 2, 3, 6)),
    *(_Step("year", n, n * 365 * _DAY) for n in (1, 2, 5, 10, 20, 50)),
)
_EARLIEST_NS = 0
_LATEST_NS = 7_000_000_000 * NS_PER_S  # year 2191: datetime arithmetic stays far from its limits


def time_ticks(
    start_ns: int, end_ns: int, wanted_s: float, zone: tzinfo, first_index_from: Callable[[int], int]
) -> list[TimeTick]:
    """Return the marks between two moments, ascending, at most one per bar.

    Args:
        start_ns / end_ns: visible range, ns UTC.
        wanted_s: smallest distance of two marks, seconds of the axis.
        zone: the reader's zone.
        first_index_from: maps a moment to the first bar that opens at or after it.
    """
    start_ns, end_ns = max(_EARLIEST_NS, start_ns), min(_LATEST_NS, end_ns)
    if start_ns >= end_ns:
        return []
    step = next((s for s in _STEPS if s.seconds >= wanted_s), _STEPS[-1])
    ticks: dict[int, TimeTick] = {}
    for moment in _boundaries(step, to_datetime(start_ns).astimezone(zone), to_datetime(end_ns).astimezone(zone)):
        moment_ns = int(moment.timestamp()) * NS_PER_S
        if not start_ns <= moment_ns <= end_ns:
            continue
        index, rank = first_index_from(moment_ns), _rank(moment)
        # After a gap several boundaries fall onto one bar: the highest ranking, latest one names it.
        known = ticks.get(index)
        if known is None or rank >= known.rank:
            ticks[index] = TimeTick(index, moment, rank)
    return [ticks[index] for index in sorted(ticks)]


def _rank(moment: datetime) -> TickRank:
    if moment.hour or moment.minute:
        return TickRank.TIME
    if moment.day != 1:
        return TickRank.DAY
    return TickRank.MONTH if moment.month != 1 else TickRank.YEAR


def _boundaries(step: _Step, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield boundaries of `step` from the start of the first unit until past `end`, in wall time of the zone."""
    zone = start.tzinfo
    if step.unit == "year":
        for year in range(start.year // step.count * step.count, end.year + 1, step.count):
            yield datetime(max(1, year), 1, 1, tzinfo=zone)
    elif step.unit == "month":
        for number in range(start.year * 12, end.year * 12 + end.month, step.count):
            yield datetime(number // 12, number % 12 + 1, 1, tzinfo=zone)
    elif step.unit == "day":
        day = start.date()
        while day <= end.date():
            if _marks_day(day, step.count):
                yield datetime(day.year, day.month, day.day, tzinfo=zone)
            day += timedelta(days=1)
    else:
        minutes = step.count * (60 if step.unit == "hour" else 1)
        day = start.date()
        while day <= end.date():
            yield from _boundaries_of_day(day, minutes, start, end)
            day += timedelta(days=1)


def _boundaries_of_day(day: date, minutes: int, start: datetime, end: datetime) -> Iterator[datetime]:
    first = (start.hour * 60 + start.minute) // minutes if day == start.date() else 0
    last = (end.hour * 60 + end.minute) // minutes if day == end.date() else (24 * 60 - 1) // minutes
    for number in range(first, last + 1):
        hour, minute = divmod(number * minutes, 60)
        moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=start.tzinfo)
        if moment.astimezone(UTC).astimezone(moment.tzinfo).hour != hour:
            continue  # the hour that daylight saving skips
        yield moment
        again = moment.replace(fold=1)
        if again.utcoffset() != moment.utcoffset():
            yield again  # the hour that it repeats


def _marks_day(day: date, count: int) -> bool:
    """Days 1, 1 + n, 1 + 2n … of each month, but none just before the next month's first."""
    if count == 1:
        return True
    days_left = (date(day.year + day.month // 12, day.month % 12 + 1, 1) - day).days
    return (day.day - 1) % count == 0 and (day.day == 1 or 2 * days_left > count)
