"""Splits: nothing that trains overlaps what judges, every row is judged, and skfolio agrees where it is right."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from ml.validation import (
    EXPANDING,
    MODES,
    ROLLING,
    CombinatorialSplits,
    Fold,
    Guard,
    Interval,
    chronological,
    chronological_by_time,
    combinatorial_purged,
    outside,
    walk_forward,
    with_validation,
)

GUARDS = st.builds(Guard, st.integers(1, 12), st.integers(0, 10), st.integers(0, 15))
HOUR = 3_600_000_000_000


def gap_time(rows: int, seed: int) -> np.ndarray:
    """Return ascending open times of which a fifth of the bars is missing."""
    kept = np.random.default_rng(seed).random(rows * 2) > 0.2
    return np.flatnonzero(kept)[:rows].astype(np.int64) * HOUR


def assert_no_overlap(fold: Fold, guard: Guard, time_ns: np.ndarray) -> None:
    """Check row by row, in rows and in time, what a purge is for; features look `purge` rows back."""
    train, blocks = fold.train_rows(), [*([fold.valid] if fold.valid else []), *fold.test]
    assert len(train)
    for block in blocks:
        held = block.rows()
        assert not np.isin(train, held).any()
        early, late = train[train < held[0]], train[train > held[-1]]
        if len(early):
            label_end, feature_start = early.max() + guard.horizon, held[0] - guard.purge
            assert label_end < feature_start
            reach_ns = time_ns[early.max()] + guard.horizon * HOUR
            assert reach_ns < time_ns[held[0]] - guard.purge * HOUR
        if len(late):
            label_end, feature_start = held[-1] + guard.horizon, late.min() - guard.purge
            assert label_end < feature_start - guard.embargo
            reach_ns = time_ns[held[-1]] + guard.horizon * HOUR
            assert reach_ns < time_ns[late.min()] - (guard.purge + guard.embargo) * HOUR
    for test in fold.test if fold.valid is not None else ():
        assert fold.valid is not None
        first, second = sorted((fold.valid, test), key=lambda block: block.start)
        assert first.stop + guard.behind <= second.start


@settings(max_examples=150, deadline=None)
@given(
    guard=GUARDS,
    mode=st.sampled_from(MODES),
    train=st.integers(5, 60),
    valid=st.sampled_from([0, 1, 20]),
    folds=st.integers(1, 7),
    extra=st.integers(0, 150),
    seed=st.integers(0, 99),
)
def test_walk_forward_overlaps_nothing_and_tests_every_row_once(
    guard: Guard, mode: str, train: int, valid: int, folds: int, extra: int, seed: int
) -> None:
    first = train + guard.before + (valid + guard.behind if valid else 0)
    n = first + folds + extra
    splits = walk_forward(n, train_size=train, valid_size=valid, folds=folds, mode=mode, guard=guard)
    tested = np.concatenate([fold.test_rows() for fold in splits])
    np.testing.assert_array_equal(tested, np.arange(first, n))
    sizes = [len(fold.test[0]) for fold in splits]
    assert len(splits) == folds
    assert max(sizes) - min(sizes) <= 1
    time_ns = gap_time(n, seed)
    for fold in splits:
        assert_no_overlap(fold, guard, time_ns)
        assert fold.train[-1].stop <= (fold.valid or fold.test[0]).start
        assert (fold.valid is not None) == bool(valid)
        assert fold.valid is None or len(fold.valid) == valid
        assert len(fold.train[0]) == train if mode == ROLLING else fold.train[0].start == 0
    assert len(splits[0].train[0]) == train


@settings(max_examples=100, deadline=None)
@given(guard=GUARDS, groups=st.integers(2, 8), data=st.data(), size=st.integers(60, 90), seed=st.integers(0, 99))
def test_combinatorial_overlaps_nothing_and_every_path_covers_all(
    guard: Guard, groups: int, data: st.DataObject, size: int, seed: int
) -> None:
    chosen = data.draw(st.integers(1, groups - 1))
    n = groups * size + data.draw(st.integers(0, groups - 1))
    splits = combinatorial_purged(n, groups=groups, test_groups=chosen, guard=guard)
    assert len(splits.folds) == math.comb(groups, chosen)
    assert len(splits.paths) == math.comb(groups - 1, chosen - 1)
    counts = np.zeros(n, int)
    time_ns = gap_time(n, seed)
    for fold in splits.folds:
        counts[fold.test_rows()] += 1
        assert_no_overlap(fold, guard, time_ns)
    assert (counts == math.comb(groups - 1, chosen - 1)).all()
    used = set()
    for path in splits.paths:
        rows = []
        for group, fold_number in enumerate(path):
            position = splits.tested[fold_number].index(group)
            rows.append(splits.folds[fold_number].test[position].rows())
            used.add((fold_number, group))
        np.testing.assert_array_equal(np.concatenate(rows), np.arange(n))
    assert len(used) == groups * len(splits.paths), "a forecast belongs to one path only"


@settings(max_examples=100, deadline=None)
@given(guard=GUARDS, groups=st.integers(2, 6), data=st.data(), size=st.integers(1, 20))
def test_a_validation_part_taken_from_training_overlaps_nothing(
    guard: Guard, groups: int, data: st.DataObject, size: int
) -> None:
    splits = combinatorial_purged(
        groups * 110, groups=groups, test_groups=data.draw(st.integers(1, groups - 1)), guard=guard
    )
    for fold in splits.folds:
        found = with_validation(fold, size, guard)
        assert found.valid is not None
        assert len(found.valid) == size
        assert found.test == fold.test
        assert np.isin(found.train_rows(), fold.train_rows()).all()
        assert np.isin(found.valid.rows(), fold.train_rows()).all()
        assert_no_overlap(found, guard, gap_time(groups * 110, size))
    with pytest.raises(ValueError, match="has a validation part"):
        with_validation(found, size, guard)
    with pytest.raises(UserError, match="too few bars"):
        with_validation(splits.folds[0], groups * 110, guard)


def test_positions_become_rows_of_bars() -> None:
    """Bars without a target between parts only widen the distance."""
    rows = np.flatnonzero(np.random.default_rng(1).random(400) > 0.3)
    guard = Guard(3, 5, 2)
    fold = chronological(len(rows), train_fraction=0.6, valid_fraction=0.2, guard=guard)
    found = fold.at(rows)
    assert found.valid is not None
    assert fold.valid is not None
    both = zip((*found.train, found.valid, *found.test), (*fold.train, fold.valid, *fold.test), strict=True)
    for bars, positions in both:
        inside = rows[(rows >= bars.start) & (rows < bars.stop)]
        np.testing.assert_array_equal(inside, rows[positions.start : positions.stop])
    assert_no_overlap(found, guard, np.arange(400) * HOUR)
    assert walk_forward(100, train_size=50, folds=2, guard=guard)[0].at(np.arange(100) + 7).valid is None


@pytest.mark.parametrize(("groups", "chosen"), [(6, 2), (10, 2), (5, 3)])
def test_combinatorial_equals_skfolio(groups: int, chosen: int) -> None:
    """Its purge takes our horizon too; its last group takes the whole remainder, so the sizes must divide."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from skfolio.model_selection import CombinatorialPurgedCV
    n, guard = groups * 50, Guard(horizon=4, purge=3, embargo=6)
    reference = CombinatorialPurgedCV(groups, chosen, purged_size=guard.before, embargo_size=guard.embargo)
    ours = combinatorial_purged(n, groups=groups, test_groups=chosen, guard=guard)
    pairs = list(zip(ours.folds, reference.split(np.zeros((n, 1))), strict=True))
    assert len(pairs) == reference.n_splits
    for fold, (train, tests) in pairs:
        np.testing.assert_array_equal(fold.train_rows(), train)
        for interval, test in zip(fold.test, tests, strict=True):
            np.testing.assert_array_equal(interval.rows(), test)
    np.testing.assert_array_equal(np.array(ours.paths).T, reference.recombined_paths)


@pytest.mark.parametrize("mode", MODES)
def test_walk_forward_equals_skfolio(mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from skfolio.model_selection import WalkForward
    guard = Guard(horizon=2, purge=5)
    reference = WalkForward(test_size=30, train_size=100, purged_size=guard.before, expand_train=mode == EXPANDING)
    ours = walk_forward(407, train_size=100, test_size=30, mode=mode, guard=guard)
    for fold, (train, test) in zip(ours, reference.split(np.zeros((407, 1))), strict=True):
        np.testing.assert_array_equal(fold.train_rows(), train)
        np.testing.assert_array_equal(fold.test_rows(), test)


def test_the_last_block_may_be_shorter() -> None:
    splits = walk_forward(130, train_size=50, test_size=30, guard=Guard(1))
    assert [(fold.test[0].start, fold.test[0].stop) for fold in splits] == [(51, 81), (81, 111), (111, 130)]


def test_embargo_uses_positions_and_not_labels() -> None:
    """What timeseriescv 0.2 gets wrong: the embargo is counted from the last test row wherever the block lies."""
    for start in (0, 10, 40):
        free = outside(100, [Interval(start, start + 10)], Guard(horizon=1, embargo=5))
        assert free[-1] == Interval(start + 16, 100)
    assert outside(100, [Interval(90, 100)], Guard(horizon=1, embargo=5)) == (Interval(0, 89),)
    touching = outside(100, [Interval(20, 30), Interval(30, 40)], Guard(horizon=2))
    assert touching == (Interval(0, 18), Interval(42, 100))


@pytest.mark.parametrize("purge", [0, 24])
def test_chronological(purge: int) -> None:
    guard = Guard(horizon=3, purge=purge, embargo=7)
    fold = chronological(1_000, train_fraction=0.7, valid_fraction=0.15, guard=guard)
    assert fold.train == (Interval(0, 700 - 3 - purge),)
    assert fold.valid == Interval(700, 850 - 10 - purge)
    assert fold.test == (Interval(850, 1_000),)
    assert_no_overlap(fold, guard, gap_time(1_000, 1))


def test_chronological_by_time_cuts_at_the_first_row_of_a_date() -> None:
    time_ns = gap_time(2_000, 3)
    fold = chronological_by_time(
        time_ns, valid_start_ns=1_000 * HOUR, test_start_ns=1_500 * HOUR, test_stop_ns=2_000 * HOUR, guard=Guard(2, 5)
    )
    assert fold.valid is not None
    assert time_ns[fold.valid.start] >= 1_000 * HOUR > time_ns[fold.valid.start - 1]
    assert time_ns[fold.test[0].start] >= 1_500 * HOUR > time_ns[fold.test[0].start - 1]
    assert time_ns[fold.test[0].stop - 1] < 2_000 * HOUR <= time_ns[fold.test[0].stop]
    assert_no_overlap(fold, Guard(2, 5), time_ns)
    whole = chronological_by_time(time_ns, valid_start_ns=1_000 * HOUR, test_start_ns=1_500 * HOUR, guard=Guard(2, 5))
    assert whole.test[0].stop == 2_000
    with pytest.raises(UserError, match="must follow each other"):
        chronological_by_time(time_ns, valid_start_ns=1_500 * HOUR, test_start_ns=1_000 * HOUR, guard=Guard())
    with pytest.raises(UserError, match="must follow each other"):
        chronological_by_time(time_ns, valid_start_ns=1, test_start_ns=2, test_stop_ns=2, guard=Guard())
    with pytest.raises(ValueError, match="ascend"):
        chronological_by_time(time_ns[::-1], valid_start_ns=1, test_start_ns=2, guard=Guard())
    with pytest.raises(UserError, match="a part of it would be empty"):
        chronological_by_time(time_ns, valid_start_ns=9 * HOUR, test_start_ns=99_999 * HOUR, guard=Guard())


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(UserError, match="a part of it would be empty"):
        chronological(100, train_fraction=0.7, valid_fraction=0.15, guard=Guard(purge=80))
    with pytest.raises(UserError, match="a part of it would be empty"):
        chronological(100, train_fraction=0.7, valid_fraction=0.15, guard=Guard(purge=20))
    with pytest.raises(UserError, match="too few bars for this many folds"):
        walk_forward(100, train_size=99, folds=1, guard=Guard())
    with pytest.raises(UserError, match="too few bars for this many folds"):
        walk_forward(100, train_size=100, test_size=5, guard=Guard())
    with pytest.raises(UserError, match="walk-forward mode"):
        walk_forward(100, train_size=50, folds=2, mode="sideways", guard=Guard())
    with pytest.raises(UserError, match="number of folds"):
        walk_forward(5_000, train_size=50, test_size=1, guard=Guard())
    for both in ({}, {"folds": 2, "test_size": 5}):
        with pytest.raises(ValueError, match="either folds or test_size"):
            walk_forward(100, train_size=50, guard=Guard(), **both)
    with pytest.raises(UserError, match="too few bars for this many folds"):
        combinatorial_purged(5, groups=6, test_groups=2, guard=Guard())
    with pytest.raises(UserError, match="number of test groups"):
        combinatorial_purged(500, groups=6, test_groups=6, guard=Guard())
    with pytest.raises(UserError, match="number of folds"):
        combinatorial_purged(5_000, groups=20, test_groups=10, guard=Guard())
    with pytest.raises(UserError, match="nothing to train on"):
        combinatorial_purged(60, groups=6, test_groups=2, guard=Guard(purge=30))
    for wrong in (Guard(0), Guard(1, -1), Guard(1, 0, -1)):
        with pytest.raises(UserError, match="out of range"):
            wrong.validate()


def test_splits_travel_as_json() -> None:
    splits = combinatorial_purged(200, groups=4, test_groups=2, guard=Guard(2, 1, 1))
    assert CombinatorialSplits.from_json(splits.to_json()) == splits
    fold = chronological(100, train_fraction=0.6, valid_fraction=0.2, guard=Guard())
    assert Fold.from_json(fold.to_json()) == fold
