"""The tape of one market: what really traded, ours included, up to market time. Event-loop thread of the exchange.

Base bars (cells) in which our orders changed nothing are served straight from the source. A cell we touched keeps its
own list of trades; once stored, it is served as traded for ever, completed with the source's trades that came after
our last fill. Trade ids are `cell index << 20 | position`, so any id leads back to its cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from core.practice.bars import CLOSE, TIME, Ints, aggregate, bar_of_trades, empty_bars, flat_bar, floor_open
from core.practice.market_source import MarketSource
from core.practice.paths import Trades, no_trades

ID_SHIFT = 20


class Print(NamedTuple):
    """One trade on the tape: ticks, lots, ms; `buyer_maker` says that the seller was the aggressor."""

    trade_id: int
    time_ms: int
    price: int
    quantity: int
    buyer_maker: bool


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A touched cell as stored.

    Attributes:
        open_ms: open time of the cell.
        played: how many of the source's trades are accounted for in `rows`.
        rows: trades so far, (n, 4): time ms, ticks, lots, buyer was maker.
        bar: the whole cell's bar, the source's remaining trades included.
    """

    open_ms: int
    played: int
    rows: Ints
    bar: Ints


class CellStore(Protocol):
    """Where touched cells are kept."""

    def load_cell(self, symbol: str, open_ms: int) -> StoredCell | None:
        """Return a stored cell."""
        ...

    def load_bars(self, symbol: str) -> Mapping[int, Ints]:
        """Return the bars of all stored cells by open time."""
        ...


class Tape:
    """Trades and bars of one market up to a moving point in market time."""

    def __init__(self, source: MarketSource, symbol: str, store: CellStore, open_ms: int) -> None:
        self._source = source
        self._symbol = symbol
        self._store = store
        self._bars: dict[int, Ints] = dict(store.load_bars(symbol))
        self._closed_part: dict[int, tuple[int, Ints]] = {}
        self._last_price: int | None = None
        self.unsaved = False
        self._played = 0
        self._last_maker = False
        self._enter(open_ms)

    @property
    def open_ms(self) -> int:
        """Open time of the current cell."""
        return self._open_ms

    @property
    def last_price(self) -> int:
        """Price of the last trade so far, ticks."""
        if self._last_price is None:
            self._last_price = self._price_before(self._open_ms)
        return self._last_price

    @property
    def last_buyer_maker(self) -> bool:
        """Whether the seller was the aggressor of the last trade so far."""
        return self._last_maker

    def upcoming(self, until_ms: int) -> range:
        """Return positions of the source's trades of this cell not yet played and due by `until_ms`, inclusive."""
        end = int(np.searchsorted(self._pure.time_ms, until_ms, side="right"))
        return range(self._played, max(self._played, end))

    def pure(self, position: int) -> tuple[int, int, int, bool]:
        """Return (time ms, ticks, lots, buyer was maker) of the source's trade at `position`."""
        p = self._pure
        return (
            int(p.time_ms[position]),
            int(p.price[position]),
            int(p.quantity[position]),
            bool(p.buyer_maker[position]),
        )

    def play_through(self, end: int) -> list[Print]:
        """Let the source's trades before position `end` happen unchanged."""
        prints = [self._print(*self.pure(position)) for position in range(self._played, end)]
        self._played = max(self._played, end)
        return prints

    def skip_through(self, end: int) -> None:
        """Like `play_through` where nobody wants to see the trades one by one."""
        if self._own is not None:
            self.play_through(end)
        elif end > self._played:
            self._count = self._played = end
            self._last_price = int(self._pure.price[end - 1])
            self._last_maker = bool(self._pure.buyer_maker[end - 1])

    def replace_next(self) -> None:
        """Count the next trade of the source as played; the caller prints what happened instead."""
        self._touch()
        self._played += 1

    def insert(self, time_ms: int, price: int, quantity: int, buyer_maker: bool) -> Print:
        """Print a trade that the source does not know."""
        self._touch()
        return self._print(time_ms, price, quantity, buyer_maker)

    def enter(self, open_ms: int) -> None:
        """Finish the current cell and begin the one at `open_ms`."""
        if self._played < len(self._pure):
            self.skip_through(len(self._pure))
        if self._own is not None:
            bar = self.running_bar()
            if bar is not None:
                self._bars[self._open_ms] = bar
        self._enter(open_ms)

    def snapshot(self) -> StoredCell:
        """Return the current, touched cell for storing."""
        rows = self._own_rows()
        whole = self._complete(rows, self._played)
        bar = bar_of_trades(self._open_ms, whole.price, whole.quantity, whole.buyer_maker)
        return StoredCell(self._open_ms, self._played, rows, bar)

    def running_bar(self) -> Ints | None:
        """Return the bar of the current cell so far; None while nothing has traded in it."""
        done = self._done()
        if len(done) == 0:
            return None
        return bar_of_trades(self._open_ms, done.price, done.quantity, done.buyer_maker)

    def cell_trades(self, open_ms: int) -> Trades:
        """Return the trades of any cell up to market time."""
        if open_ms > self._open_ms:
            return no_trades()
        if open_ms == self._open_ms:
            return self._done()
        if open_ms in self._bars:
            stored = self._store.load_cell(self._symbol, open_ms)
            if stored is not None:
                return self._complete(stored.rows, stored.played, open_ms)
        return self._source.trades(self._symbol, open_ms)

    def base_bars(self, start_ms: int, end_ms: int) -> Ints:
        """Return closed base bars that open in [start_ms, end_ms), as traded."""
        end_ms = min(end_ms, self._open_ms)
        if start_ms >= end_ms:
            return empty_bars()
        rows = self._source.klines(self._symbol, self._source.base_ms, start_ms, end_ms)
        touched = [open_ms for open_ms in self._bars if start_ms <= open_ms < end_ms]
        if touched and len(rows):
            rows = rows.copy()
            places = np.searchsorted(rows[:, TIME], touched)
            for place, open_ms in zip(places, touched, strict=True):
                rows[place] = self._bars[open_ms]
        return rows

    def closed_bars(self, interval_ms: int, start_ms: int, end_ms: int) -> Ints:
        """Return finished bars of a multiple of the base interval that open in [start_ms, end_ms), as traded."""
        limit = floor_open(self._open_ms, interval_ms)
        end_ms = min(end_ms, limit)
        if start_ms >= end_ms:
            return empty_bars()
        if interval_ms == self._source.base_ms:
            return self.base_bars(start_ms, end_ms)
        rows = self._source.klines(self._symbol, interval_ms, start_ms, end_ms)
        opens = {floor_open(open_ms, interval_ms) for open_ms in self._bars if open_ms >= start_ms}
        touched = [open_ms for open_ms in sorted(opens) if start_ms <= open_ms < end_ms]
        if touched and len(rows):
            rows = rows.copy()
            for place, open_ms in zip(np.searchsorted(rows[:, TIME], touched), touched, strict=True):
                rows[place] = aggregate(self.base_bars(open_ms, open_ms + interval_ms), interval_ms)[0]
        return rows

    def forming_bar(self, interval_ms: int) -> Ints:
        """Return the unfinished bar of a multiple of the base interval at market time."""
        open_ms = floor_open(self._open_ms, interval_ms)
        cached = self._closed_part.get(interval_ms)
        if cached is None or cached[0] != self._open_ms:
            closed = aggregate(self.base_bars(open_ms, self._open_ms), interval_ms)
            cached = self._closed_part[interval_ms] = (self._open_ms, closed)
        running = self.running_bar()
        if running is None:
            return cached[1][0] if len(cached[1]) else flat_bar(open_ms, self.last_price)
        if len(cached[1]) == 0:
            running[TIME] = open_ms
            return running
        bar: Ints = aggregate(np.stack([cached[1][0], running]), interval_ms)[0]
        return bar

    def _enter(self, open_ms: int) -> None:
        self._open_ms = open_ms
        self._pure = self._source.trades(self._symbol, open_ms)
        self._first_id = (open_ms // self._source.base_ms) << ID_SHIFT
        self._played = 0
        self._count = 0
        self._own: Ints | None = None  # as traded, where it differs from the source; grows by doubling
        self.unsaved = False
        if open_ms in self._bars:
            stored = self._store.load_cell(self._symbol, open_ms)
            if stored is not None:
                self._own = stored.rows.copy()
                self._played, self._count = stored.played, len(self._own)
                self._last_price, self._last_maker = int(self._own[-1, 1]), bool(self._own[-1, 3])

    def _touch(self) -> None:
        if self._own is None:
            p, n = self._pure, self._played
            self._own = np.column_stack([p.time_ms[:n], p.price[:n], p.quantity[:n], p.buyer_maker[:n]])
        self.unsaved = True

    def _print(self, time_ms: int, price: int, quantity: int, buyer_maker: bool) -> Print:
        if self._own is not None:
            if self._count == len(self._own):
                spare = np.empty((max(64, self._count), 4), np.int64)
                self._own = np.concatenate([self._own, spare])
            self._own[self._count] = (time_ms, price, quantity, buyer_maker)
        done = Print(self._first_id + self._count, time_ms, price, quantity, buyer_maker)
        self._count += 1
        self._last_price, self._last_maker = price, buyer_maker
        return done

    def _own_rows(self) -> Ints:
        return np.empty((0, 4), np.int64) if self._own is None else self._own[: self._count]

    def _done(self) -> Trades:
        if self._own is not None:
            return _as_trades(self._own_rows())
        p, n = self._pure, self._played
        return Trades(p.time_ms[:n], p.price[:n], p.quantity[:n], p.buyer_maker[:n])

    def _complete(self, rows: Ints, played: int, open_ms: int | None = None) -> Trades:
        """Append to `rows` the source's trades from position `played` on."""
        pure = self._pure if open_ms is None else self._source.trades(self._symbol, open_ms)
        own = _as_trades(rows)
        return Trades(
            np.concatenate([own.time_ms, pure.time_ms[played:]]),
            np.concatenate([own.price, pure.price[played:]]),
            np.concatenate([own.quantity, pure.quantity[played:]]),
            np.concatenate([own.buyer_maker, pure.buyer_maker[played:]]),
        )

    def _price_before(self, open_ms: int) -> int:
        """Return the last price before a cell; the first price of the market where it has no past."""
        base = self._source.base_ms
        start, end = self._source.span(self._symbol, base, None, open_ms, 1)
        rows = self.base_bars(start, end)
        if len(rows):
            return int(rows[-1, CLOSE])
        start, end = self._source.span(self._symbol, base, open_ms, open_ms + 1000 * base, 1)
        return int(self._source.klines(self._symbol, base, start, end)[0, CLOSE])


def _as_trades(rows: Ints) -> Trades:
    return Trades(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3].astype(np.bool_))
