"""Which rows train, validate and test: chronological, walk-forward and combinatorial purged splits. Any thread.

Rows are positions 0 … n − 1 of targets in time order. A target at row t reaches `horizon` rows ahead, and the features
of a row look back. So training rows keep `horizon + purge` rows away from every block held out, on both sides, and
`embargo` rows more behind it (López de Prado 2018, chapter 7): neither does a training label reach into the features
of a held-out row, nor a held-out label into those of a training row, as long as `purge` covers how far features look
back. Rows are counted, not hours: k rows span at least k bars of time, so missing bars make a purge longer, never
shorter.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from ml.arrays import IntArray
from ml.checks import in_range, one_of, require
from ml.jsonvalues import JsonValue

EXPANDING = "expanding"
ROLLING = "rolling"
MODES = (EXPANDING, ROLLING)
MOST_FOLDS = 1_000  # each of them is a whole training


@dataclass(frozen=True, slots=True)
class Interval(JsonValue):
    """Rows `start` <= t < `stop`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def rows(self) -> IntArray:
        """Return the row numbers, shape (len,)."""
        return np.arange(self.start, self.stop, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Guard(JsonValue):
    """How far training stays away from what is held out, in rows.

    Attributes:
        horizon: how far ahead a target reaches.
        purge: beside the horizon, on both sides of a held-out block; at least how far back features look.
        embargo: beside both, behind a held-out block.
    """

    horizon: int = 1
    purge: int = 0
    embargo: int = 0

    @property
    def before(self) -> int:
        """Rows dropped before a held-out block."""
        return self.horizon + self.purge

    @property
    def behind(self) -> int:
        """Rows dropped behind a held-out block."""
        return self.horizon + self.purge + self.embargo

    def validate(self) -> None:
        """Raise `UserError` for lengths that cannot be."""
        in_range(self.horizon, 1, 10_000, "forecast horizon", "bars")
        in_range(self.purge, 0, 100_000, "purge", "bars")
        in_range(self.embargo, 0, 1_000_000, "embargo", "bars")


@dataclass(frozen=True, slots=True)
class Fold(JsonValue):
    """One training and what judges it.

    Attributes:
        train: what it learns from, in time order.
        valid: what chooses epochs and settings; None where the scheme has none.
        test: what it is judged on, in time order; blocks may touch.
    """

    train: tuple[Interval, ...]
    valid: Interval | None
    test: tuple[Interval, ...]

    def train_rows(self) -> IntArray:
        """Return the training rows, ascending."""
        return rows_of(self.train)

    def test_rows(self) -> IntArray:
        """Return the test rows, ascending."""
        return rows_of(self.test)

    def at(self, rows: IntArray) -> Fold:
        """Return the fold in row numbers of the bars, where it was made of positions among the targets.

        Args:
            rows: the bar of each target, ascending, shape (n,).
        """
        return Fold(
            train=tuple(_at(rows, interval) for interval in self.train),
            valid=None if self.valid is None else _at(rows, self.valid),
            test=tuple(_at(rows, interval) for interval in self.test),
        )


@dataclass(frozen=True, slots=True)
class CombinatorialSplits(JsonValue):
    """Every choice of `test_groups` among the groups, and the paths they make.

    Attributes:
        groups: the N contiguous groups, together all rows.
        folds: one per choice, in lexicographic order.
        tested: for each fold, which groups it tests; in the order of its `test`.
        paths: for each of the φ[N, k] = C(N − 1, k − 1) paths, which fold forecasts each group. A path covers every row
            once, and no forecast belongs to two paths.
    """

    groups: tuple[Interval, ...]
    folds: tuple[Fold, ...]
    tested: tuple[tuple[int, ...], ...]
    paths: tuple[tuple[int, ...], ...]


def rows_of(intervals: Iterable[Interval]) -> IntArray:
    """Return the rows of all intervals, in their order."""
    return np.concatenate([np.empty(0, np.int64), *(interval.rows() for interval in intervals)])


def chronological(n: int, *, train_fraction: float, valid_fraction: float, guard: Guard) -> Fold:
    """Divide the rows once: train, gap, validation, gap, test.

    Args:
        n: rows.
        train_fraction / valid_fraction: where the validation and the test part begin, the gaps taken from the part
            before; the rest is the test part.
        guard: the gaps; behind the validation part they hold the embargo too.

    Raises:
        UserError: a part would be empty.
    """
    return split_at(n, int(n * train_fraction), int(n * (train_fraction + valid_fraction)), guard)


def chronological_by_time(
    time_ns: IntArray, *, valid_start_ns: int, test_start_ns: int, guard: Guard, test_stop_ns: int | None = None
) -> Fold:
    """Divide the rows once, at dates.

    Args:
        time_ns: open times of the rows, ascending, ns UTC, shape (n,).
        valid_start_ns / test_start_ns: the first row at or after each begins the part.
        guard: the gaps.
        test_stop_ns: one past the last test row; None is the end.

    Raises:
        UserError: a part would be empty.
    """
    if len(time_ns) > 1 and not (np.diff(time_ns) > 0).all():
        raise ValueError("times must ascend")
    stop_ns = math.inf if test_stop_ns is None else test_stop_ns
    require(
        valid_start_ns < test_start_ns < stop_ns,
        "The parts of the split must follow each other: training, validation, test.",
        "Choose a test that starts after the validation and ends after its start.",
    )
    stop = len(time_ns) if test_stop_ns is None else int(np.searchsorted(time_ns, test_stop_ns))
    first, second = (int(np.searchsorted(time_ns, at)) for at in (valid_start_ns, test_start_ns))
    return split_at(stop, first, second, guard)


def split_at(n: int, valid_start: int, test_start: int, guard: Guard) -> Fold:
    """Divide rows 0 … n − 1 at two rows.

    Raises:
        UserError: a part would be empty.
    """
    guard.validate()
    train = Interval(0, valid_start - guard.before)
    valid = Interval(valid_start, test_start - guard.behind)
    test = Interval(test_start, n)
    _need_rows(n, train, valid, test)
    return Fold((train,), valid, (test,))


def walk_forward(
    n: int,
    *,
    train_size: int,
    guard: Guard,
    folds: int | None = None,
    test_size: int | None = None,
    valid_size: int = 0,
    mode: str = EXPANDING,
) -> tuple[Fold, ...]:
    """Train on the past, test on what follows, move on: every row behind the first training is tested exactly once.

    Before each test block lies the validation part (if any), before that the training part, with the guard's gaps
    between. Earlier test blocks become training rows of later folds; as training always lies before the test, an
    embargo only widens the gap between validation and test.

    Args:
        n: rows.
        train_size: training rows of the first fold and, when rolling, of every fold.
        guard: the gaps.
        folds: how many test blocks, their sizes differing by one row at most; or None, and
        test_size: rows per test block, the last of which may be shorter.
        valid_size: validation rows; 0 is none.
        mode: "expanding" keeps all the past, "rolling" the last `train_size` rows of it.

    Raises:
        UserError: too few rows.
    """
    guard.validate()
    one_of(mode, MODES, "walk-forward mode")
    if (folds is None) == (test_size is None) or valid_size < 0:
        raise ValueError("give either folds or test_size, and no negative valid_size")
    in_range(train_size, 1, 10**9, "training size", "bars")
    held_out = valid_size + guard.behind if valid_size else 0
    first = train_size + guard.before + held_out
    tests = _blocks(first, n, folds, test_size)
    result = []
    for test in tests:
        valid = Interval(test.start - held_out, test.start - guard.behind) if valid_size else None
        stop = test.start - held_out - guard.before
        start = stop - train_size if mode == ROLLING else 0
        result.append(Fold((Interval(start, stop),), valid, (test,)))
    return tuple(result)


def combinatorial_purged(n: int, *, groups: int, test_groups: int, guard: Guard) -> CombinatorialSplits:
    """Return combinatorial purged cross-validation (López de Prado 2018, chapter 12).

    The sizes of the groups differ by one row at most. Every row is tested C(groups − 1, test_groups − 1) times.
    The folds have no validation part; `with_validation` takes one from their training rows.

    Args:
        n: rows.
        groups: N, into how many contiguous groups the rows are cut.
        test_groups: k, how many of them are held out at once.
        guard: purge on both sides of each held-out stretch, embargo behind it.

    Raises:
        UserError: too few rows, or too many folds to train.
    """
    guard.validate()
    in_range(groups, 2, 100, "number of groups", "groups")
    in_range(test_groups, 1, groups - 1, "number of test groups", "groups")
    count = math.comb(groups, test_groups)
    in_range(count, 1, MOST_FOLDS, "number of folds", "folds")
    _need_blocks(n, groups)
    parts = _equal_blocks(0, n, groups)
    tested = tuple(itertools.combinations(range(groups), test_groups))
    folds = tuple(
        Fold(outside(n, [parts[group] for group in chosen], guard), None, tuple(parts[group] for group in chosen))
        for chosen in tested
    )
    if not all(fold.train for fold in folds):
        raise UserError(
            "Purge and embargo leave nothing to train on in one of the folds.",
            "Choose a shorter purge or embargo, fewer groups or a longer range.",
        )
    of_group = [[fold for fold, chosen in enumerate(tested) if group in chosen] for group in range(groups)]
    return CombinatorialSplits(parts, folds, tested, tuple(zip(*of_group, strict=True)))


def with_validation(fold: Fold, size: int, guard: Guard) -> Fold:
    """Take a validation part from the end of the longest stretch of training rows (the later of equals).

    Args:
        fold: without a validation part.
        size: its rows.
        guard: as the fold was made with.

    Raises:
        UserError: too few training rows.
    """
    if fold.valid is not None:
        raise ValueError("the fold has a validation part")
    in_range(size, 1, 10**9, "validation size", "bars")
    index = max(range(len(fold.train)), key=lambda at: (len(fold.train[at]), at))
    longest = fold.train[index]
    # A test block behind it is already `before` rows away; behind a held-out part the embargo is due too.
    stop = longest.stop - (guard.embargo if any(test.start >= longest.stop for test in fold.test) else 0)
    rest = Interval(longest.start, stop - size - guard.before)
    _need_blocks(len(rest), 1)
    return Fold((*fold.train[:index], rest, *fold.train[index + 1 :]), Interval(stop - size, stop), fold.test)


def outside(n: int, held_out: Iterable[Interval], guard: Guard) -> tuple[Interval, ...]:
    """Return the rows that may train while some are held out: the others, less purge and embargo.

    Args:
        n: rows.
        held_out: intervals in ascending order; they may touch.
        guard: the distances.
    """
    free: list[Interval] = []
    begin = 0
    for block in held_out:
        free.append(Interval(begin, block.start - guard.before))
        begin = max(begin, block.stop + guard.behind)
    free.append(Interval(begin, n))
    return tuple(interval for interval in free if len(interval))


def _at(rows: IntArray, interval: Interval) -> Interval:
    return Interval(int(rows[interval.start]), int(rows[interval.stop - 1]) + 1)


def _blocks(first: int, n: int, folds: int | None, test_size: int | None) -> tuple[Interval, ...]:
    """Cut rows `first` … `n` − 1 into test blocks."""
    if folds is not None:
        in_range(folds, 1, MOST_FOLDS, "number of folds", "folds")
        _need_blocks(n - first, folds)
        return _equal_blocks(first, n, folds)
    assert test_size is not None
    in_range(test_size, 1, 10**9, "test size", "bars")
    _need_blocks(n - first, 1)
    in_range(math.ceil((n - first) / test_size), 1, MOST_FOLDS, "number of folds", "folds")
    return tuple(Interval(start, min(start + test_size, n)) for start in range(first, n, test_size))


def _equal_blocks(first: int, n: int, count: int) -> tuple[Interval, ...]:
    size = n - first
    edges = [first + index * size // count for index in range(count + 1)]
    return tuple(Interval(start, stop) for start, stop in itertools.pairwise(edges))


def _need_blocks(rows: int, blocks: int) -> None:
    if rows < blocks:
        raise UserError(
            "There are too few bars for this many folds of this size.",
            "Choose a longer range, fewer folds, or smaller training and validation parts.",
        )


def _need_rows(n: int, *parts: Interval) -> None:
    if not all(len(part) and part.start >= 0 and part.stop <= n for part in parts):
        raise UserError(
            f"{n:,} bars are too few for this split: a part of it would be empty.",
            "Choose a longer range, a shorter purge or embargo, or other borders.",
        )
