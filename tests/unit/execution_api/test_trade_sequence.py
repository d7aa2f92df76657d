"""The tape: every trade once, in order, without holes, whatever the stream loses and however REST lags."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.orders import Side
from core.execution.api.trade_sequence import TradeEvent, TradeSequence


def trade(number: int) -> TradeEvent:
    return TradeEvent(number, 1.0, 1.0, Side.BUY, number)


def trades(*numbers: int) -> list[TradeEvent]:
    return [trade(number) for number in numbers]


def ids(found: list[TradeEvent]) -> list[int]:
    return [each.trade_id for each in found]


def test_a_hole_holds_back_what_follows_until_it_is_read() -> None:
    tape = TradeSequence(is_dense=True)
    assert ids(tape.offer(trades(5, 6))) == [5, 6]
    assert ids(tape.offer(trades(9))) == []
    assert tape.missing_from == 7
    assert ids(tape.offer(trades(10, 6))) == []
    assert ids(tape.refill(trades(7, 8, 9), is_full_page=False)) == [7, 8, 9, 10]
    assert (tape.missing_from, tape.last_id) == (None, 10)
    assert tape.refill(trades(1), is_full_page=False) == []  # nobody asked


def test_rest_that_lags_behind_the_stream_is_asked_again() -> None:
    tape = TradeSequence(is_dense=True)
    tape.offer(trades(1))
    tape.offer(trades(5))
    assert ids(tape.refill(trades(2), is_full_page=False)) == [2]
    assert tape.missing_from == 3
    assert tape.refill([], is_full_page=False) == []
    assert tape.missing_from == 3
    assert ids(tape.refill(trades(3, 4), is_full_page=False)) == [3, 4, 5]


def test_ids_that_do_not_exist_are_no_hole_once_rest_has_met_the_stream() -> None:
    for is_dense in (True, False):
        tape = TradeSequence(4, is_dense=is_dense)
        assert tape.missing_from == 5
        assert ids(tape.offer(trades(100))) == []
        assert ids(tape.refill(trades(50, 100), is_full_page=False)) == [50, 100]
        assert tape.missing_from is None


def test_where_ids_have_holes_of_their_own_a_skipped_one_says_nothing() -> None:
    tape = TradeSequence(is_dense=False)
    assert ids(tape.offer(trades(1, 1_000))) == [1, 1_000]
    assert tape.missing_from is None


def test_a_continuation_reads_page_after_page() -> None:
    tape = TradeSequence(4, is_dense=False)
    assert ids(tape.refill(trades(5, 6), is_full_page=True)) == [5, 6]
    assert tape.missing_from == 7
    assert ids(tape.refill(trades(7), is_full_page=False)) == [7]
    assert tape.missing_from is None
    quiet = TradeSequence(4, is_dense=True)
    assert quiet.refill([], is_full_page=False) == []
    assert quiet.missing_from is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["pass", "lose", "twice", "hold"]), st.integers(0, 3)), min_size=1, max_size=80),
    st.integers(1, 4),
    st.booleans(),
)
def test_the_tape_is_whole(fates: list[tuple[str, int]], page: int, resumed: bool) -> None:
    tape = TradeSequence(0 if resumed else None, is_dense=True)
    out: list[int] = []
    held: list[int] = []

    def read_again(known: int) -> None:
        """What REST tells while it knows trades up to `known`."""
        if tape.missing_from is not None:
            found = list(range(tape.missing_from, known + 1))[:page]
            out.extend(ids(tape.refill(trades(*found), is_full_page=len(found) == page)))

    for number, (fate, lag) in enumerate(fates, start=1):
        if fate == "hold":
            held.append(number)
        elif fate != "lose":
            said = [number, *([number] if fate == "twice" else []), *held]
            held.clear()
            out += ids(tape.offer(trades(*said)))
        read_again(number - lag)
    newest = len(fates) + 1
    out += ids(tape.offer(trades(newest)))
    for _ in range(2 * newest + 2):
        read_again(newest)
    assert tape.missing_from is None
    assert out == list(range(1 if resumed else out[0], newest + 1))
