"""Puts live bars in order: each final exactly once, none skipped. Pure logic, any thread.

A stream may repeat, lose or stop bars; REST may lag behind. `CandleSequence` only decides what may be delivered now and
which bars must be read again first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.domain.candles import Candle, Timeframe


class CandleSequence:
    """Order of delivery of one market's bars.

    Attributes:
        expected_ns: open time of the next bar to become final; None before the first bar.
    """

    def __init__(self, timeframe: Timeframe) -> None:
        self._step = timeframe.ns
        self.expected_ns: int | None = None
        self._forming: Candle | None = None
        self._held: Candle | None = None

    @property
    def missing_from_ns(self) -> int | None:
        """Open time from which bars must be re-read by REST before newer ones may be delivered, or None."""
        return self.expected_ns if self._held is not None else None

    def offer(self, candle: Candle) -> list[Candle]:
        """Take a bar from the stream and return what may be delivered, in order.

        `candle.final` must be set only where the venue itself said that the bar is closed.
        """
        if self.expected_ns is None:
            self.expected_ns = candle.open_time_ns
        if candle.open_time_ns < self.expected_ns:
            return []
        if candle.open_time_ns > self.expected_ns:
            self._held = candle
            return []
        if self._held is not None:
            return []  # late news of a bar that is being re-read
        return [self._deliver(candle)]

    def refill(self, bars: Sequence[Candle]) -> list[Candle]:
        """Take bars read by REST, oldest first, and return what may be delivered, in order.

        Bars the venue does not have stay away; afterwards `missing_from_ns` is still set where REST has not caught up
        with the stream yet.
        """
        out: list[Candle] = []
        for index, bar in enumerate(bars):
            if self.expected_ns is None:
                self.expected_ns = bar.open_time_ns
            if bar.open_time_ns < self.expected_ns:
                continue
            followed = index + 1 < len(bars) or (self._held is not None and bar.open_time_ns < self._held.open_time_ns)
            out.append(self._deliver(replace(bar, final=bar.final or followed)))
        newest_ns = bars[-1].open_time_ns if bars else None
        held = self._held
        if held is None or self.expected_ns is None:
            return out
        if self.expected_ns > held.open_time_ns:
            self._held = None
        elif self.expected_ns == held.open_time_ns or (newest_ns is not None and newest_ns >= held.open_time_ns):
            out.extend(self._release(held))
        return out

    def give_up(self) -> list[Candle]:
        """Stop waiting for REST: close the forming bar as last seen, and go on with the newest."""
        out: list[Candle] = []
        if self._forming is not None and self._forming.open_time_ns == self.expected_ns:
            out.append(self._deliver(replace(self._forming, final=True)))
        if self._held is not None:
            out.extend(self._release(self._held))
        return out

    def _release(self, held: Candle) -> list[Candle]:
        self._held = None
        self.expected_ns = held.open_time_ns
        return [self._deliver(held)]

    def _deliver(self, candle: Candle) -> Candle:
        if candle.final:
            self.expected_ns = candle.open_time_ns + self._step
            self._forming = None
        else:
            self.expected_ns = candle.open_time_ns
            self._forming = candle
        return candle
