"""Booking fills where their time belongs, however late they are heard. Runs on the executor's event loop.

A fill that is heard late makes those after it count anew. Mostly they are few: the newest of each owner are kept with
the position before them, so that only these are booked again. What is older is built from the journal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.positions import Position
from core.execution.journal import Journal
from core.execution.position_tracker import (
    BookedFill,
    Booking,
    ClosedLot,
    Convert,
    History,
    book_again,
    book_fill,
    fee_in_quote,
    in_order,
    is_late,
    replay,
)

KEPT = 100

# A position and the fill that was booked on it.
_Step = tuple[Position, BookedFill]


class FillBooker:
    """Says what a fill makes of its owner's position; the caller journals it and then calls `booked`."""

    def __init__(self, journal: Journal, convert: Convert) -> None:
        self._journal = journal
        self._convert = convert
        self._steps: dict[tuple[str, str], deque[_Step]] = {}
        self._next: deque[_Step] = deque()

    def book(self, position: Position, fill: Fill, instrument: Instrument) -> Booking | None:
        """Return what the position is with the fill, wherever its time belongs; None where it is booked already.

        Args:
            position: holding of the fill's owner as it stands.
        """
        steps = self._steps.get((position.symbol, position.owner), deque())
        if not is_late(position, fill):
            booking = book_fill(position, fill, instrument, self._convert)
            fresh = BookedFill(fill, booking.fee_quote, position.cursor.chapter)
            self._next = deque([*steps, (position, fresh)], KEPT)
            return booking
        if self._journal.has_fill(fill):
            return None
        late = BookedFill(fill, fee_in_quote(fill, instrument, self._convert), position.cursor.chapter)
        kept = list(steps)
        while kept and is_late(kept[-1][0], fill):
            kept.pop()
        if kept:
            before, after = kept.pop()[0], [step[1] for step in list(steps)[len(kept) :]]
        else:
            before, after = self._chapter(position, instrument)
        return self._again(kept, before, [*after, late], late, instrument)

    def booked(self, position: Position) -> None:
        """Note that the last booking is in the journal.

        Args:
            position: as the booking left it.
        """
        self._steps[(position.symbol, position.owner)] = self._next

    def forget(self, position: Position) -> None:
        """Drop what is kept of a position that changed by no fill."""
        self._steps.pop((position.symbol, position.owner), None)

    def _chapter(self, position: Position, instrument: Instrument) -> tuple[Position, list[BookedFill]]:
        """Return the position at the beginning of its chapter, with all its funding, and the fills since."""
        history = self._journal.history(position.symbol, position.owner)
        chapter = position.cursor.chapter
        earlier = [booked for booked in history.fills if booked.chapter < chapter]
        flat = Position(position.venue, position.symbol, position.owner)
        begun, _ = replay(flat, History(earlier, history.transfers, history.funding), instrument)
        return begun, in_order(history.fills, chapter)

    def _again(
        self,
        kept: Sequence[_Step],
        before: Position,
        fills: Sequence[BookedFill],
        late: BookedFill,
        instrument: Instrument,
    ) -> Booking:
        position, steps = before, deque(kept, KEPT)
        closed: tuple[ClosedLot, ...] = ()
        for each in in_order(fills, late.chapter):
            steps.append((position, each))
            booking = book_again(position, each, instrument)
            position = booking.position
            if each is late:
                closed = booking.closed
        self._next = steps
        return Booking(position, late.fee_quote, closed)
