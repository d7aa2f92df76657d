"""The time left of a run: it runs down evenly, and counts what follows the learning."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from app.flows.time_left import TimeLeft
from ml.api import ForecastSpec, TrainingProgress, judging_share

EPOCHS, EPOCH_S, STEP_S = 20, 10.0, 0.25


def said(epoch: int, eta_s: float | None, *, index: int = 0, seeds: int = 1, **more: object) -> TrainingProgress:
    return TrainingProgress("r", "training", epoch, EPOCHS, eta_s=eta_s, seed_index=index, seeds=seeds, **more)  # type: ignore[arg-type]


def test_nothing_is_known_before_the_first_message() -> None:
    clock = TimeLeft()
    assert clock.left(5.0) is None
    clock.hear(TrainingProgress("r", "loading", 100, 200, eta_s=3.0), 5.0)
    assert clock.left(5.0) is None


def test_it_runs_down_evenly_though_the_speed_jumps_by_half() -> None:
    clock, rng = TimeLeft(), random.Random(5)
    shown = []
    for step in range(int(EPOCHS * EPOCH_S / STEP_S)):
        now = step * STEP_S
        truth = EPOCHS * EPOCH_S - now
        clock.hear(said(int(now / EPOCH_S), truth * rng.uniform(0.6, 1.4)), now)
        left = clock.left(now)
        assert left is not None
        shown.append((truth, left))
    late = shown[40:]  # the first ten seconds are for measuring
    assert max(abs(after - before) for (_, before), (_, after) in pairwise(late)) < 4.0  # 80 of 100 s, unsmoothed
    assert all(left == pytest.approx(truth + 3.0, rel=0.15, abs=6.0) for truth, left in late)


def test_judging_counts_as_soon_as_the_learning_and_runs_down_by_itself() -> None:
    clock = TimeLeft(after=0.5)
    clock.hear(said(0, 200.0), 0.0)
    assert clock.left(0.0) == pytest.approx(200.0 + 100.0 + 3.0)
    clock.hear(said(EPOCHS, 0.0), 200.0)
    clock.hear(TrainingProgress("r", "exporting", EPOCHS, EPOCHS), 201.0)
    assert clock.left(201.0) == pytest.approx(103.0)
    clock.hear(TrainingProgress("r", "testing", EPOCHS, EPOCHS), 203.0)
    assert clock.left(251.0) == pytest.approx(53.0)
    assert clock.left(310.0) is None  # it takes longer than expected: nobody knows


def test_networks_that_stop_early_soon_shorten_what_is_left() -> None:
    clock = TimeLeft()
    clock.hear(said(0, 600.0, seeds=3), 0.0)
    clock.hear(said(5, 550.0, seeds=3), 50.0)
    for step in range(1, 21):  # the second network begins ten minutes early
        clock.hear(said(0, 400.0 - step, index=1, seeds=3), 50.0 + step)
    left = clock.left(70.0)
    assert left == pytest.approx(383.0, rel=0.1)


def test_a_pause_starts_the_measuring_anew() -> None:
    clock = TimeLeft()
    clock.hear(said(1, 100.0), 0.0)
    clock.hear(said(1, 100.0, paused=True), 1.0)
    assert clock.left(1.0) is None
    clock.hear(said(1, 90.0), 5_000.0)
    assert clock.left(5_000.0) == pytest.approx(93.0)


def test_the_share_of_judging_is_that_of_the_effort() -> None:
    assert 0.0 < judging_share(ForecastSpec()) < 2.0
