"""The venue's clock: exact within half a trip, deaf to a wall clock that is set, and aware that it was."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import NS_PER_MS, NS_PER_S
from core.execution.api.venue_clock import VenueClock

T0 = 1_700_000_000 * NS_PER_S
AHEAD = 340 * NS_PER_MS


class World:
    """A machine and a venue: true time runs, the wall clock may be set, the machine may sleep."""

    def __init__(self, venue_ahead_ns: int = AHEAD) -> None:
        self.mono_ns = 5_000 * NS_PER_S
        self.wall_ns = T0
        self.venue_ahead_ns = venue_ahead_ns
        self.true_ns = T0
        self.clock = VenueClock(self, lambda: self.mono_ns)

    def now_ns(self) -> int:
        return self.wall_ns

    @property
    def venue_ns(self) -> int:
        return self.true_ns + self.venue_ahead_ns

    def run(self, ns: int) -> None:
        self.mono_ns += ns
        self.wall_ns += ns
        self.true_ns += ns

    def sleep(self, ns: int) -> None:
        self.wall_ns += ns
        self.true_ns += ns

    def ask(self, there_ns: int, back_ns: int) -> None:
        started = self.clock.start_trip()
        self.run(there_ns)
        answer = self.venue_ns
        self.run(back_ns)
        self.clock.sample(started, answer)

    @property
    def error_ns(self) -> int:
        return abs(self.clock.now_ns() - self.venue_ns)


def measured(ahead_ns: int = AHEAD) -> World:
    world = World(ahead_ns)
    for _ in range(5):
        world.ask(NS_PER_MS, NS_PER_MS)
    return world


def test_before_it_is_measured_it_is_the_wall_clock() -> None:
    world = World()
    assert (world.clock.now_ns(), world.clock.is_measured, world.clock.has_stepped) == (T0, False, False)


TRIPS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=12)


@settings(max_examples=600)
@given(TRIPS, st.integers(-86_400_000, 86_400_000))
def test_the_error_stays_within_half_of_twice_the_quickest_trip(trips: list[tuple[int, int]], ahead_ms: int) -> None:
    world = World(ahead_ms * NS_PER_MS)
    for there_ms, back_ms in trips:
        world.ask(there_ms * NS_PER_MS, back_ms * NS_PER_MS)
        world.run(NS_PER_S)
    # The slowest of the samples that count took at most twice the quickest of the last five, plus a millisecond.
    quickest_ms = min(there + back for there, back in trips[-5:])
    assert world.error_ns <= (2 * quickest_ms + 1) * NS_PER_MS // 2 + 1


def test_a_slow_lopsided_trip_does_not_spoil_quick_ones() -> None:
    world = measured()
    world.ask(4_000 * NS_PER_MS, 0)
    assert world.error_ns <= NS_PER_MS


def test_a_wall_clock_that_is_set_moves_no_timestamp_and_shows_in_the_skew() -> None:
    for step_ns in (3_600 * NS_PER_S, -3_600 * NS_PER_S, NS_PER_S):
        world = measured()
        world.run(NS_PER_S)
        world.wall_ns += step_ns
        assert world.error_ns <= NS_PER_MS
        assert world.clock.has_stepped
        assert world.clock.skew_ns == AHEAD - step_ns
        world.ask(NS_PER_MS, NS_PER_MS)
        assert not world.clock.has_stepped
        assert world.error_ns <= NS_PER_MS


def test_a_machine_that_slept_knows_that_it_does_not_know_the_time() -> None:
    world = measured()
    world.sleep(600 * NS_PER_S)
    assert world.error_ns > 500 * NS_PER_S  # the monotonic clock stood still
    assert world.clock.has_stepped
    world.ask(NS_PER_MS, NS_PER_MS)
    assert world.error_ns <= NS_PER_MS  # earlier samples are gone, not outvoting the new one
    assert not world.clock.has_stepped


def test_a_venue_that_sets_its_clock_is_believed_at_the_first_sample_that_proves_it() -> None:
    world = measured()
    world.venue_ahead_ns += 5 * NS_PER_S
    world.ask(NS_PER_MS, NS_PER_MS)
    assert world.error_ns <= NS_PER_MS


def test_where_the_venue_tells_no_time_the_wall_clock_has_to_do() -> None:
    world = World()
    world.sleep(600 * NS_PER_S)
    assert world.clock.has_stepped
    world.clock.follow_wall()
    assert (world.clock.now_ns(), world.clock.has_stepped, world.clock.is_measured) == (world.wall_ns, False, False)


def test_small_drift_is_no_step() -> None:
    world = measured()
    world.wall_ns += 100 * NS_PER_MS
    assert not world.clock.has_stepped


def test_forgetting_keeps_a_time_but_does_not_call_it_known() -> None:
    world = measured()
    world.clock.forget()
    assert not world.clock.is_measured
    assert world.error_ns <= NS_PER_MS
