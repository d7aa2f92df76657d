"""Many short lives of an account: whatever goes wrong on the way, the books end equal to the venue."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.chaos.run import Player, Shows, scratch
from tests.chaos.schedule import Schedule, generate
from tests.chaos.shrink import shrink

BATCH = 25


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    logging.disable(logging.CRITICAL)  # the program warns of every fault, and pytest would keep it all
    with TemporaryDirectory(dir=scratch()) as folder:
        yield Player(Path(folder))
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, 200, BATCH))
def test_whatever_happens_the_books_end_equal_to_the_venue(player: Player, first: int) -> None:
    for seed in range(first, first + BATCH):
        outcome = player(generate(seed))
        if outcome.violations:
            small = shrink(generate(seed), Shows(player, outcome), most=120)
            pytest.fail("\n".join([f"seed {seed}:", *outcome.violations, "replay with:", small.to_text()]))


def test_a_schedule_plays_the_same_every_time(player: Player) -> None:
    for seed in (3, 4, 5):
        first, second = player(generate(seed)), player(generate(seed))
        assert first == second


def test_a_script_survives_being_written_down() -> None:
    schedule = generate(11)
    assert Schedule.from_text(schedule.to_text()) == schedule


def test_memory_stays_flat_over_many_lives(player: Player) -> None:
    def play_all() -> int:
        for seed in range(300, 303):
            player(generate(seed))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        play_all()  # caches fill
        before = play_all()
        grown = play_all() - before
    finally:
        tracemalloc.stop()
    assert grown < 60_000
