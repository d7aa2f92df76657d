"""The exchange behind the wire: markets, account and market time. One event-loop thread; no sockets here.

Everything that happens to the account is committed to the store before anybody hears of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.practice.account_store import AccountStore
from core.practice.bars import CLOSE, TIME, Ints, aggregate, empty_bars, flat_bar, floor_open
from core.practice.ledger import Ledger
from core.practice.market_source import MarketSource
from core.practice.matching import FillCap, Matcher, Moment
from core.practice.orders import Fill, Order, OrderEvent
from core.practice.specs import MarketSpec
from core.practice.tape import ID_SHIFT, Print, Tape


class ExchangeListener(Protocol):
    """Who is told what happens; called after the fact is stored."""

    def wants_trades(self, symbol: str) -> bool:
        """Return whether single trades of a market are of interest now."""
        ...

    def traded(self, symbol: str, prints: Sequence[Print]) -> None:
        """Trades happened."""
        ...

    def bar_closed(self) -> None:
        """A base bar of every market has just closed and the next one has begun, without any trade yet."""
        ...

    def account_changed(self, events: Sequence[OrderEvent], balances: Mapping[str, tuple[int, int]]) -> None:
        """Own orders changed; `balances` holds (free, locked) of the assets that changed with them."""
        ...


@dataclass(frozen=True, slots=True)
class Placed:
    """Outcome of a placement: the order after matching and its own fills."""

    order: Order
    fills: tuple[Fill, ...]


class Exchange:
    """Markets of one source traded by one account.

    Attributes:
        listener: is told of trades, bars and orders.
        observers: are told of what happened to own orders, before the listener.
    """

    def __init__(
        self, source: MarketSource, store: AccountStore, market_ms: int, fill_cap: FillCap = lambda symbol: None
    ) -> None:
        """Take up the stored account at `market_ms`; `fill_cap` bounds what an order gets at once."""
        self.source = source
        self.store = store
        self.finished = False
        self.listener: ExchangeListener | None = None
        self.observers: list[Callable[[Sequence[OrderEvent]], None]] = []
        self._fill_cap = fill_cap
        self._market_ms = market_ms
        self._load(market_ms)

    def _load(self, market_ms: int) -> None:
        source, store = self.source, self.store
        open_ms = self._cell_at(market_ms)
        self._ledger = Ledger(store.balances())
        self._order_id = store.last_order_id()
        self._tapes = {symbol: Tape(source, symbol, store, open_ms) for symbol in source.specs}
        self._matchers: dict[str, Matcher] = {}
        for symbol, spec in source.specs.items():
            tape = self._tapes[symbol]
            tape.skip_through(tape.upcoming(market_ms).stop)
            self._matchers[symbol] = Matcher(spec, zlib.crc32(symbol.encode()), self._ledger, tape, self._fill_cap)
        for order in store.open_orders():
            self._matchers[order.symbol].restore(order)

    def _cell_at(self, market_ms: int) -> int:
        """Return the open time of the base bar at `market_ms`; in a gap, of the last one before it."""
        symbol = next(iter(self.source.specs))
        start, end = self.source.span(symbol, self.source.base_ms, None, market_ms + 1, 1)
        rows = self.source.klines(symbol, self.source.base_ms, start, end)
        return int(rows[-1, TIME]) if len(rows) else floor_open(market_ms, self.source.base_ms)

    @property
    def specs(self) -> Mapping[str, MarketSpec]:
        """Markets by symbol."""
        return self.source.specs

    @property
    def market_ms(self) -> int:
        """Market time, ms."""
        return self._market_ms

    @property
    def cell_open_ms(self) -> int:
        """Open time of the current base bar."""
        return next(iter(self._tapes.values())).open_ms

    @property
    def ledger(self) -> Ledger:
        """Balances of the account."""
        return self._ledger

    def matcher(self, symbol: str) -> Matcher:
        """Return the matching engine of a market."""
        return self._matchers[symbol]

    def reset(self, opening_balances: Mapping[str, int]) -> str:
        """Begin a new account in the same market at the same time; return the name of the archived file."""
        archived = self.store.archive(opening_balances)
        self._load(self._market_ms)
        self.store.save(market_ms=self._market_ms)
        return archived.name

    # --- time -------------------------------------------------------------------------------------------------

    def advance(self, until_ms: int, server_ms: int) -> None:
        """Play the market up to and including `until_ms`, cell by cell."""
        while not self.finished:
            cell_end = self.cell_open_ms + self.source.base_ms
            self._play(min(until_ms, cell_end - 1), server_ms)
            if until_ms < cell_end:
                break
            following = self.source.next_open(cell_end)
            if following is None:
                self._finish(cell_end)
            elif following > until_ms:
                break  # a gap in the data: the market is silent until it ends
            else:
                self._enter(following)
        self._market_ms = max(self._market_ms, until_ms if not self.finished else self._market_ms)

    def close_bar(self, server_ms: int) -> None:
        """Play the current base bar to its end and enter the next one, up to its opening trade."""
        cell_end = self.cell_open_ms + self.source.base_ms
        self._play(cell_end - 1, server_ms)
        following = self.source.next_open(cell_end)
        if following is None:
            self._finish(cell_end)
        else:
            self._enter(following)
            self._play(following, server_ms)

    def settle_gap(self, server_ms: int) -> None:
        """Match stored orders against a market that moved on while the exchange was down."""
        for matcher in self._matchers.values():
            matcher.settle_gap(self._moment(server_ms))
        self._drain()

    def _play(self, until_ms: int, server_ms: int) -> None:
        for symbol, matcher in self._matchers.items():
            wanted = self.listener is not None and self.listener.wants_trades(symbol)
            matcher.advance(until_ms, server_ms, wanted=wanted)
        self._market_ms = max(self._market_ms, until_ms)
        self._drain()

    def _enter(self, open_ms: int) -> None:
        self._save_tapes()
        for tape in self._tapes.values():
            tape.enter(open_ms)
        self._market_ms = max(self._market_ms, open_ms)
        if self.listener is not None:
            self.listener.bar_closed()

    def _finish(self, end_ms: int) -> None:
        self.finished = True
        self._enter(end_ms)

    # --- trading ----------------------------------------------------------------------------------------------

    def next_order_id(self) -> int:
        """Return an order id never used before."""
        self._order_id += 1
        return self._order_id

    def place(self, order: Order, server_ms: int) -> Placed:
        """Match a checked order; stored when this returns.

        Raises:
            Rejection: refused; nothing happened.
        """
        self._matchers[order.symbol].place(order, self._moment(server_ms))
        events = self._drain()
        fills = [e.fill for e in events if e.fill is not None and e.fill.order_id == order.order_id]
        return Placed(order.copy(), tuple(fills))

    @property
    def trading_ms(self) -> int:
        """Market time of book and trades: in a gap of the data they stay in the last bar, whose end they never pass."""
        return min(self._market_ms, self.cell_open_ms + self.source.base_ms - 1)

    def _moment(self, server_ms: int) -> Moment:
        return Moment(self.trading_ms, server_ms)

    def cancel(self, order: Order, server_ms: int) -> Order:
        """Cancel an open order (as returned by `open_orders`)."""
        self._matchers[order.symbol].cancel(order, self._moment(server_ms))
        self._drain()
        return order.copy()

    def trade_against(self, order: Order, lots: int, server_ms: int) -> Order:
        """Let the market trade up to `lots` against an open order on the book (as returned by `open_orders`)."""
        self._matchers[order.symbol].trade_against(order, lots, self._moment(server_ms))
        self._drain()
        return order.copy()

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Return the living open orders, oldest first."""
        symbols = [symbol] if symbol is not None else list(self._matchers)
        orders = [order for name in symbols for order in self._matchers[name].open_orders]
        return sorted(orders, key=lambda order: order.order_id)

    def extra_trade(self, symbol: str, is_buy: bool, lots: int, server_ms: int) -> None:
        """Let one more market trade happen now."""
        self._matchers[symbol].extra_trade(is_buy, lots, self._moment(server_ms))
        self._drain()

    def save_clock(self) -> None:
        """Store the market time and every touched cell."""
        self._save_tapes()
        self.store.save(market_ms=self._market_ms)

    def _save_tapes(self) -> None:
        cells = [(symbol, tape.snapshot()) for symbol, tape in self._tapes.items() if tape.unsaved]
        if cells:
            self.store.save(market_ms=self._market_ms, cells=cells)
            for symbol, _ in cells:
                self._tapes[symbol].unsaved = False

    def _drain(self) -> list[OrderEvent]:
        events: list[OrderEvent] = []
        printed: list[tuple[str, list[Print]]] = []
        for symbol, matcher in self._matchers.items():
            if matcher.prints:
                printed.append((symbol, matcher.prints))
                matcher.prints = []
            events += matcher.events
            matcher.events = []
        balances = self._ledger.take_changes() if events else {}
        if events:
            self._commit(events, balances)
        for observer in self.observers if events else ():
            observer(events)
        if self.listener is not None:
            for symbol, prints in printed:
                self.listener.traded(symbol, prints)
            if events:
                self.listener.account_changed(events, balances)
        return events

    def _commit(self, events: Sequence[OrderEvent], balances: Mapping[str, tuple[int, int]]) -> None:
        orders = {event.order.order_id: event.order for event in events}
        fills = [event.fill for event in events if event.fill is not None]
        cells = []
        if fills:
            cells = [(symbol, tape.snapshot()) for symbol, tape in self._tapes.items() if tape.unsaved]
        self.store.save(market_ms=self._market_ms, orders=orders.values(), fills=fills, balances=balances, cells=cells)
        for symbol, _ in cells:
            self._tapes[symbol].unsaved = False

    # --- history ----------------------------------------------------------------------------------------------

    def last_price(self, symbol: str) -> int:
        """Return the last traded price, ticks."""
        return self._tapes[symbol].last_price

    def klines(self, symbol: str, interval_ms: int, start_ms: int | None, end_ms: int | None, limit: int) -> Ints:
        """Return up to `limit` bars: the first from `start_ms` on, or the last before `end_ms`; both inclusive."""
        now = self._market_ms
        end = min(now, end_ms if end_ms is not None else now) + 1
        if interval_ms < self.source.base_ms:
            return self._fine_klines(symbol, interval_ms, start_ms, end, limit)
        tape = self._tapes[symbol]
        start, end = self.source.span(symbol, interval_ms, start_ms, end, limit)
        rows = tape.closed_bars(interval_ms, start, end)
        forming_open = floor_open(tape.open_ms, interval_ms)
        if start <= forming_open < end and (forming_open != tape.open_ms or not self._is_void(tape)):
            rows = np.concatenate([rows, tape.forming_bar(interval_ms)[None, :]])
        return rows[-limit:] if start_ms is None else rows[:limit]

    def _is_void(self, tape: Tape) -> bool:
        """Return whether the current bar lies past the data's end and holds nothing but what we might have traded."""
        return self.finished and tape.running_bar() is None

    def warm(
        self, symbol: str, interval_ms: int, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Iterator[None]:
        """Prepare the same `klines` in steps of a few milliseconds."""
        end = min(self._market_ms, end_ms if end_ms is not None else self._market_ms) + 1
        start, end = self.source.span(symbol, max(interval_ms, self.source.base_ms), start_ms, end, limit)
        return self.source.warm(symbol, interval_ms, start, end)

    def _fine_klines(self, symbol: str, interval_ms: int, start_ms: int | None, end: int, limit: int) -> Ints:
        """Bars shorter than the source's own: made from the trades, flat where nothing traded."""
        base = self.source.base_ms
        wanted = -(-limit * interval_ms // base) + 1
        begin = None if start_ms is None else floor_open(start_ms, base)
        first, last = self.source.span(symbol, base, begin, end, wanted)
        tape = self._tapes[symbol]
        parts = []
        for open_ms in [*tape.base_bars(first, last)[:, TIME].tolist(), tape.open_ms]:
            if open_ms < last and not (open_ms == tape.open_ms and self._is_void(tape)):
                parts.append(self._split_cell(tape, open_ms, interval_ms))
        rows = np.concatenate(parts) if parts else empty_bars()
        rows = rows[(rows[:, TIME] < end) & (rows[:, TIME] >= (start_ms or 0))]
        return rows[-limit:] if start_ms is None else rows[:limit]

    def _split_cell(self, tape: Tape, open_ms: int, interval_ms: int) -> Ints:
        trades = tape.cell_trades(open_ms)
        one = np.zeros((len(trades), 10), np.int64)
        value = trades.price * trades.quantity
        buys = ~trades.buyer_maker
        one[:, 0] = trades.time_ms
        one[:, 1:5] = trades.price[:, None]
        one[:, 5], one[:, 6], one[:, 7] = trades.quantity, value, 1
        one[:, 8], one[:, 9] = trades.quantity * buys, value * buys
        rows = aggregate(one, interval_ms)
        by_open = {int(row[TIME]): row for row in rows}
        until = min(open_ms + self.source.base_ms, self._market_ms + 1)
        price = int(rows[0, 1]) if len(rows) else tape.last_price
        filled = []
        for start in range(open_ms, until, interval_ms):
            row = by_open.get(start)
            filled.append(flat_bar(start, price) if row is None else row)
            price = int(filled[-1][CLOSE])
        return np.array(filled).reshape(-1, 10)

    def bars_between(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Ints:
        """Return the bars that open in [start_ms, end_ms), the forming one included."""
        return self.klines(symbol, interval_ms, start_ms, end_ms - 1, max(1, (end_ms - start_ms) // interval_ms + 1))

    def recent_prints(self, symbol: str, limit: int) -> list[Print]:
        """Return the last `limit` trades, oldest first."""
        tape, base = self._tapes[symbol], self.source.base_ms
        found: list[Print] = []
        open_ms, searched = tape.open_ms, 0
        while len(found) < limit and searched < 2_000 and open_ms >= self.source.first_ms:
            found = self._cell_prints(tape, open_ms) + found
            start, end = self.source.span(symbol, base, None, open_ms, 1)
            earlier = tape.base_bars(start, end)
            if len(earlier) == 0:
                break
            open_ms, searched = int(earlier[-1, TIME]), searched + 1
        return found[-limit:]

    def prints_from(self, symbol: str, start_ms: int, end_ms: int, limit: int, first_id: int = 0) -> list[Print]:
        """Return up to `limit` trades in [start_ms, end_ms] with ids from `first_id` on, oldest first."""
        tape, base = self._tapes[symbol], self.source.base_ms
        start_ms = max(start_ms, (first_id >> ID_SHIFT) * base)
        found: list[Print] = []
        cell: int | None = self.source.next_open(floor_open(start_ms, base))
        while cell is not None and cell <= min(end_ms, tape.open_ms) and len(found) < limit:
            prints = self._cell_prints(tape, cell)
            found += [p for p in prints if start_ms <= p.time_ms <= end_ms and p.trade_id >= first_id]
            cell = self.source.next_open(cell + base)
        if cell is None and self.finished and start_ms <= tape.open_ms <= end_ms:
            found += [p for p in self._cell_prints(tape, tape.open_ms) if p.trade_id >= first_id]
        return found[:limit]

    def _cell_prints(self, tape: Tape, open_ms: int) -> list[Print]:
        trades = tape.cell_trades(open_ms)
        first = (open_ms // self.source.base_ms) << ID_SHIFT
        columns = (trades.time_ms, trades.price, trades.quantity, trades.buyer_maker)
        return [
            Print(first + n, *row) for n, row in enumerate(zip(*(column.tolist() for column in columns), strict=True))
        ]
