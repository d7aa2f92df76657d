"""Notices for the person at the screen: history, folding of repetitions, rate limit, batching of fills.

Qt-free; used from the GUI thread only. The history is the truth; what pops up is a selection of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from app.i18n import format_quantity, mark, tr, tr_count
from core.clock import NS_PER_S, Clock
from core.domain.fills import Fill
from core.domain.orders import Side
from core.events import Notice, Severity

HISTORY = 500
FOLD_NS = 60 * NS_PER_S
LOUD_PER_MINUTE = 6  # interruptions; more are kept in the history only
FILL_BATCH_NS = 3 * NS_PER_S

SIDE_TEXT = {Side.BUY: mark("Bought {quantity} {symbol}"), Side.SELL: mark("Sold {quantity} {symbol}")}


@dataclass(frozen=True, slots=True)
class Notification:
    """A notice as kept in the history.

    Attributes:
        number: running number, from 1.
        time_ns: when it last came, ns UTC.
        count: how often it came within the folding time.
        loud: whether it may interrupt: new, and under the rate limit.
    """

    number: int
    time_ns: int
    notice: Notice
    count: int = 1
    loud: bool = True


Sink = Callable[[Notification], None]


class NotificationManager:
    """Takes every notice and passes it on to the sinks: the list, the tray, the store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._history: deque[Notification] = deque(maxlen=HISTORY)
        self._latest: dict[Notice, Notification] = {}
        self._loud: deque[int] = deque()
        self._sinks: list[Sink] = []
        self._number = 0

    @property
    def history(self) -> tuple[Notification, ...]:
        """The last notices, oldest first; repetitions are folded into their newest entry."""
        return tuple(self._history)

    def add_sink(self, sink: Sink) -> None:
        """Pass every notice, folded ones too, on to `sink`, in order of registration."""
        self._sinks.append(sink)

    def publish(self, notice: Notice) -> Notification:
        """Take a notice and return how it was kept."""
        now = self._clock.now_ns()
        before = self._latest.get(notice)
        if before is not None and now - before.time_ns < FOLD_NS and before in self._history:
            kept = replace(before, time_ns=now, count=before.count + 1, loud=False)
            self._history.remove(before)
        else:
            self._number += 1
            kept = Notification(self._number, now, notice, loud=self._may_interrupt(notice, now))
        self._history.append(kept)
        self._latest[notice] = kept
        if len(self._latest) > 2 * HISTORY:
            self._latest = {entry.notice: entry for entry in self._history}
        for sink in self._sinks:
            sink(kept)
        return kept

    def _may_interrupt(self, notice: Notice, now: int) -> bool:
        """Errors always may; the rest share a few interruptions per minute."""
        while self._loud and now - self._loud[0] >= 60 * NS_PER_S:
            self._loud.popleft()
        if notice.severity is not Severity.ERROR and len(self._loud) >= LOUD_PER_MINUTE:
            return False
        self._loud.append(now)
        return True


class FillBatch:
    """Collects fills into one message: an order that fills in twenty parts is one event to a person."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first_ns: int | None = None
        self._count = 0
        self._sums: dict[tuple[Side, str], Decimal] = {}

    def add(self, fill: Fill) -> None:
        """Take a fill."""
        if self._first_ns is None:
            self._first_ns = self._clock.now_ns()
        self._count += 1
        key = (fill.side, fill.symbol)
        self._sums[key] = self._sums.get(key, Decimal(0)) + fill.quantity

    @property
    def due(self) -> bool:
        """Whether the oldest fill has waited long enough."""
        return self._first_ns is not None and self._clock.now_ns() - self._first_ns >= FILL_BATCH_NS

    def take(self) -> Notice | None:
        """Return the message for the fills collected, and start again; None where there are none."""
        if self._first_ns is None:
            return None
        lines = [
            tr(SIDE_TEXT[side], quantity=format_quantity(quantity), symbol=symbol)
            for (side, symbol), quantity in self._sums.items()
        ]
        notice = Notice(Severity.SUCCESS, tr_count("{n} fill", "{n} fills", self._count), "\n".join(lines))
        self._first_ns, self._count, self._sums = None, 0, {}
        return notice
