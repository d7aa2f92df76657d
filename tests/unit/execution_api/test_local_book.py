"""The local book: equal to the venue's at every number it serves, never crossed, never with a hole."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from core.execution.api.local_book import DepthEvent, Level, LocalBook


def event(
    first: int, last: int, bids: tuple[Level, ...] = (), asks: tuple[Level, ...] = (), time_ns: int = 7
) -> DepthEvent:
    return DepthEvent(first, last, bids, asks, time_ns)


def started(sequence: int = 100) -> LocalBook:
    book = LocalBook()
    assert book.start(sequence, ((99.0, 1.0), (98.0, 2.0)), ((101.0, 3.0),), is_cut=False)
    return book


def test_changes_are_absolute_and_zero_removes() -> None:
    book = started()
    assert book.offer(event(101, 103, ((99.0, 5.0), (98.0, 0.0), (97.0, 1.0)), ((101.0, 0.0), (102.0, 4.0))))
    assert book.top(10) == (((99.0, 5.0), (97.0, 1.0)), ((102.0, 4.0),))
    assert (book.sequence, book.time_ns) == (103, 7)
    assert book.offer(event(104, 104, ((1.0, 0.0),)))  # removing what is not there is no error


def test_known_changes_are_dropped_and_overlapping_ones_taken() -> None:
    book = started()
    assert not book.offer(event(90, 100, ((99.0, 9.0),)))
    assert book.offer(event(95, 101, ((99.0, 5.0),)))
    assert not book.offer(event(101, 101, ((99.0, 8.0),)))
    assert book.top(1)[0] == ((99.0, 5.0),)


def test_a_hole_needs_a_new_snapshot_and_keeps_what_came_after() -> None:
    book = started()
    assert not book.offer(event(102, 103))
    assert book.needs_snapshot
    assert book.sequence == 0
    assert not book.offer(event(104, 104, ((90.0, 4.0),)))
    assert book.start(102, ((90.0, 1.0),), ((91.0, 1.0),), is_cut=False)
    assert (book.sequence, book.top(1)) == (104, (((90.0, 4.0),), ((91.0, 1.0),)))


def test_a_snapshot_older_than_the_first_change_does_not_do() -> None:
    book = LocalBook()
    book.offer(event(103, 104))
    assert not book.start(101, ((90.0, 1.0),), ((91.0, 1.0),), is_cut=False)
    assert book.needs_snapshot
    assert book.start(102, ((90.0, 1.0),), ((91.0, 1.0),), is_cut=False)  # the change was kept for the next one
    assert book.sequence == 104


def test_crossed_sides_are_never_served() -> None:
    book = started()
    assert not book.offer(event(101, 101, ((101.0, 1.0),)))
    assert book.needs_snapshot
    assert not book.start(200, ((91.0, 1.0),), ((91.0, 1.0),), is_cut=False)
    assert book.start(201, ((90.0, 1.0),), (), is_cut=False)  # an empty side crosses nothing


def test_levels_beyond_a_snapshot_that_was_cut_are_unknown() -> None:
    book = LocalBook()
    assert book.start(1, ((99.0, 1.0), (98.0, 1.0)), ((101.0, 1.0), (102.0, 1.0)), is_cut=True)
    assert book.offer(event(2, 2, ((97.0, 5.0),)))  # 97.5 may stand there as well: nobody told
    assert book.top(10)[0] == ((99.0, 1.0), (98.0, 1.0))
    assert not book.is_short(2)
    assert book.offer(event(3, 3, ((99.0, 0.0),)))
    assert book.is_short(2)
    assert not book.is_short(1)
    whole = LocalBook()
    whole.start(1, ((99.0, 1.0),), (), is_cut=False)
    assert not whole.is_short(10)  # there are no more than these


class Venue:
    """The reference: a book whose every change has a number."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.number = 1_000
        self.sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self.history: dict[int, tuple[tuple[Level, ...], tuple[Level, ...]]] = {}
        for _ in range(20):
            self.change()

    def change(self) -> DepthEvent:
        """Move one to three levels; the sides of the reference never cross."""
        first, moved = self.number + 1, ([], [])  # type: ignore[var-annotated]
        for _ in range(self.source.randint(1, 3)):
            side = self.source.randint(0, 1)
            price = float(self.source.randint(50, 99) if side == 0 else self.source.randint(100, 150))
            quantity = float(self.source.choice((0, 0, 1, 2, 3)))
            self.number += 1
            if quantity:
                self.sides[side][price] = quantity
            else:
                self.sides[side].pop(price, None)
            moved[side].append((price, quantity))
        self.history[self.number] = self.state()
        return event(first, self.number, tuple(moved[0]), tuple(moved[1]), time_ns=self.number)

    def state(self) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        bids, asks = self.sides
        return tuple(sorted(bids.items(), reverse=True)), tuple(sorted(asks.items()))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(["pass", "drop", "twice", "swap", "late"]), max_size=120))
def test_whatever_is_lost_doubled_or_disordered_the_book_served_is_the_venues(seed: int, fates: list[str]) -> None:
    source = random.Random(seed)
    venue, book = Venue(source), LocalBook()
    held: list[DepthEvent] = []
    delivered: list[DepthEvent] = []
    for fate in fates:
        fresh = venue.change()
        if fate == "drop":
            continue
        if fate in ("swap", "late"):
            held.append(fresh)
            if fate == "swap":
                continue
        else:
            delivered += [fresh] * (2 if fate == "twice" else 1)
        delivered += held
        held = []
        for item in delivered:
            if book.offer(item):
                assert book.top(1_000) == venue.history[book.sequence]
        delivered = []
        if book.needs_snapshot and source.random() < 0.5:
            old = source.choice(list(venue.history)[-4:])  # REST may lag behind the stream
            if book.start(old, *venue.history[old], is_cut=False):
                assert book.top(1_000) == venue.history[book.sequence]
        if not book.needs_snapshot:
            bids, asks = book.top(1)
            assert not bids or not asks or bids[0][0] < asks[0][0]
            assert book.top(1_000) == venue.history[book.sequence]
    # Left in peace it ends at the venue's newest state.
    if book.needs_snapshot:
        assert book.start(venue.number, *venue.state(), is_cut=False)
    for _ in range(5):
        book.offer(venue.change()) or book.start(venue.number, *venue.state(), is_cut=False)
    assert (book.sequence, book.top(1_000)) == (venue.number, venue.state())


def test_a_stream_that_is_never_answered_by_a_snapshot_does_not_grow_for_ever() -> None:
    book = LocalBook()
    for number in range(20_000):
        book.offer(event(number, number))
    assert not book.start(10_000, (), (), is_cut=False)  # its changes are gone: that shows as a hole
    assert book.start(19_998, (), (), is_cut=False)
