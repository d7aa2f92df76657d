"""Puts public trades in order and finds out which are missing. Pure, any thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.orders import Side


@dataclass(frozen=True, slots=True)
class TradeEvent:
    """A public trade as a venue's stream tells it; ids grow with time."""

    trade_id: int
    price: float
    quantity: float
    side: Side
    time_ns: int


class TradeSequence:
    """Passes each trade on once and in order; what comes after a hole waits until the hole is read.

    Attributes:
        missing_from: id from which trades have to be read again; None where nothing is missing.
    """

    def __init__(self, last_id: int | None = None, *, is_dense: bool) -> None:
        """Begin.

        Args:
            last_id: last trade passed on before the stream was lost; None for a new beginning.
            is_dense: the venue's ids have no holes of their own, so one that is skipped was lost.
        """
        self._last_id = last_id
        self._is_dense = is_dense
        self._held: dict[int, TradeEvent] = {}
        self.missing_from = None if last_id is None else last_id + 1

    @property
    def last_id(self) -> int | None:
        """Id of the last trade passed on."""
        return self._last_id

    def offer(self, trades: Sequence[TradeEvent]) -> list[TradeEvent]:
        """Take what the stream told; return what may be passed on, oldest first."""
        fresh = [trade for trade in trades if self._last_id is None or trade.trade_id > self._last_id]
        self._held.update((trade.trade_id, trade) for trade in fresh)
        return [] if self.missing_from is not None else self._release()

    def refill(self, trades: Sequence[TradeEvent], *, is_full_page: bool) -> list[TradeEvent]:
        """Take what was read again from `missing_from` on; return what may be passed on, oldest first.

        Args:
            trades: oldest first.
            is_full_page: there may be more than these.
        """
        if self.missing_from is None:
            return []
        first_live = min(self._held, default=None)
        self._held.update((trade.trade_id, trade) for trade in trades if trade.trade_id >= self.missing_from)
        covered = max((trade.trade_id for trade in trades), default=self.missing_from - 1)
        ready = self._pass([self._held.pop(key) for key in sorted(self._held) if key <= covered])
        # What is read again may lag behind the stream: it is whole when it has met it.
        is_whole = not is_full_page if first_live is None else covered >= first_live - int(self._is_dense)
        self.missing_from = None if is_whole else covered + 1
        return ready + self._release() if is_whole else ready

    def _release(self) -> list[TradeEvent]:
        """Pass on what is held up to the next hole."""
        ready: list[TradeEvent] = []
        for key in sorted(self._held):
            if self._is_dense and self._last_id is not None and key > self._last_id + 1:
                self.missing_from = self._last_id + 1
                break
            ready += self._pass([self._held.pop(key)])
        return ready

    def _pass(self, trades: Sequence[TradeEvent]) -> list[TradeEvent]:
        if trades:
            self._last_id = trades[-1].trade_id
        return list(trades)
