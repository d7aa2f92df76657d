"""Pauses between failed attempts: growth, cap, spread, and what the venue asked for."""

from __future__ import annotations

import random

import pytest

from core.execution.backoff import Backoff


class Highest(random.Random):
    """Draws the upper end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_ceiling_doubles_up_to_the_cap_and_a_success_starts_anew() -> None:
    backoff = Backoff(Highest(), first_s=0.5, most_s=3.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.failures == 5
    backoff.reset()
    assert (backoff.failures, backoff.next_s()) == (0, 0.5)


def test_many_failures_do_not_overflow() -> None:
    backoff = Backoff(Highest(), first_s=0.5, most_s=30.0)
    assert [backoff.next_s() for _ in range(5_000)][-1] == 30.0


def test_pauses_are_spread_over_the_whole_range_and_repeatable() -> None:
    def draw(seed: int) -> list[float]:
        backoff = Backoff(random.Random(seed), first_s=8.0, most_s=8.0)
        return [backoff.next_s() for _ in range(400)]

    pauses = draw(1)
    assert draw(1) == pauses != draw(2)
    assert all(0 <= pause <= 8 for pause in pauses)
    assert min(pauses) < 0.5
    assert max(pauses) > 7.5
    assert sum(pauses) / len(pauses) == pytest.approx(4, abs=0.5)


def test_what_the_venue_asked_for_is_never_undercut_and_those_sent_away_together_come_back_apart() -> None:
    pauses = [Backoff(random.Random(seed), first_s=1.0).next_s(120.0) for seed in range(50)]
    assert all(120 <= pause <= 121 for pause in pauses)
    assert len(set(pauses)) == 50
    assert Backoff(random.Random(0)).next_s(-5.0) >= 0


def test_nonsense_is_refused() -> None:
    for first_s, most_s in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match="invalid pauses"):
            Backoff(random.Random(0), first_s=first_s, most_s=most_s)
