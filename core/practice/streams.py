"""Market and user-data streams: who listens to what, and what is sent when. Event-loop thread of the exchange.

Trades, final bars and own-order events go out at once. Forming bars, books and tickers are sent at most so often in
wall time, whatever the market's speed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.practice import messages
from core.practice.api import TradingApi
from core.practice.bars import INTERVALS, Ints, floor_open
from core.practice.delivery import Connection
from core.practice.exchange import Exchange
from core.practice.faults import USER_PREFIX
from core.practice.orders import OrderEvent, Rejection
from core.practice.tape import Print

DEPTH_PERIOD_MS: Final = 100
KLINE_PERIOD_MS: Final = 250
TICKER_PERIOD_MS: Final = 1_000
_STREAM: Final = re.compile(r"^([a-z0-9]+)@([A-Za-z]+)(?:_(\w+)|(5|10|20))?(?:@(100ms|1000ms))?$")
_KINDS: Final = frozenset({"trade", "aggTrade", "kline", "depth", "miniTicker", "ticker", "bookTicker"})


@dataclass(frozen=True, slots=True)
class Stream:
    """One market stream.

    Attributes:
        name: as subscribed, e.g. "btcusdt@kline_1m".
        symbol: "BTCUSDT".
        kind: one of trade, aggTrade, kline, depth, miniTicker, ticker, bookTicker.
        argument: bar interval, or number of levels of a partial book; else "".
    """

    name: str
    symbol: str
    kind: str
    argument: str


def parse_stream(name: str, symbols: Sequence[str]) -> Stream:
    """Read a stream name.

    Raises:
        Rejection: it names no stream of this exchange.
    """
    match = _STREAM.match(name)
    if match is None or match[2] not in _KINDS or match[1].upper() not in symbols:
        raise Rejection(-1121, f"Invalid stream: {name}")
    argument = match[3] or match[4] or ""
    if (match[2] == "kline") != (argument in INTERVALS) or (match[4] and match[2] != "depth"):
        raise Rejection(-1120, f"Invalid stream: {name}")
    return Stream(name, match[1].upper(), match[2], argument)


@dataclass(slots=True)
class _BookState:
    """What the depth stream of one market has published."""

    bids: dict[int, int]
    asks: dict[int, int]
    key: tuple[int, int]
    last_id: int


class StreamHub:
    """Distributes what happens on the exchange to the connected clients.

    Attributes:
        connections: every client.
    """

    def __init__(
        self, exchange: Exchange, api: TradingApi, server_ms: Callable[[], int], wall_ms: Callable[[], int]
    ) -> None:
        """Distribute what happens on one exchange.

        Args:
            exchange: is listened to.
            api: answers what some streams show.
            server_ms: the server's clock, stamped on events.
            wall_ms: paces what is sent periodically.
        """
        self._wall_ms = wall_ms
        self.connections: set[Connection] = set()
        self._exchange = exchange
        self._api = api
        self._server_ms = server_ms
        self._listeners: dict[str, set[Connection]] = {}
        self._streams: dict[str, Stream] = {}
        self._users: set[Connection] = set()
        self._open_bar: dict[str, int] = {}
        self._due: dict[str, int] = {}
        self._sent: dict[str, Any] = {}
        self._books: dict[str, _BookState] = {}
        self._next_subscription = 0
        exchange.listener = self
        api.book_ids = self.publish_depth

    # --- subscriptions ----------------------------------------------------------------------------------------

    def subscribe(self, connection: Connection, names: Sequence[str]) -> None:
        """Add streams to a connection.

        Raises:
            Rejection: a name is unknown; then none is added.
        """
        for stream in [self._checked(name) for name in names]:
            connection.streams[stream.name] = stream
            self._streams[stream.name] = stream
            self._listeners.setdefault(stream.name, set()).add(connection)
            if stream.kind == "kline":
                interval = INTERVALS[stream.argument]
                self._open_bar.setdefault(stream.name, floor_open(self._exchange.market_ms, interval))
            self._due[stream.name] = 0  # a newcomer sees the present state at the next tick
            self._sent.pop(stream.name, None)

    def _checked(self, name: str) -> Stream:
        stream = parse_stream(name, list(self._exchange.specs))
        base, interval = self._exchange.source.base_ms, INTERVALS.get(stream.argument, 0)
        if stream.kind == "kline" and interval % base and base % interval:
            raise Rejection(-1120, f"Invalid stream: {name}")
        return stream

    def unsubscribe(self, connection: Connection, names: Sequence[str]) -> None:
        """Remove streams from a connection; unknown names are ignored, as the venue does."""
        for name in names:
            if connection.streams.pop(name, None) is None:
                continue
            listeners = self._listeners[name]
            listeners.discard(connection)
            if not listeners:
                for table in (self._listeners, self._streams, self._open_bar, self._due, self._sent):
                    table.pop(name, None)

    def subscribe_user(self, connection: Connection) -> int:
        """Begin the user-data events of a connection and return the subscription's number."""
        if connection.user_subscription is None:
            connection.user_subscription = self._next_subscription
            self._next_subscription += 1
            self._users.add(connection)
        return connection.user_subscription

    def unsubscribe_user(self, connection: Connection) -> None:
        """End the user-data events of a connection."""
        connection.user_subscription = None
        self._users.discard(connection)

    def forget(self, connection: Connection) -> None:
        """Remove a closed connection."""
        self.unsubscribe(connection, list(connection.streams))
        self.unsubscribe_user(connection)
        self.connections.discard(connection)

    # --- events of the exchange -------------------------------------------------------------------------------

    def wants_trades(self, symbol: str) -> bool:
        """Return whether anybody listens to single trades of a market."""
        name = symbol.lower()
        return f"{name}@trade" in self._listeners or f"{name}@aggTrade" in self._listeners

    def traded(self, symbol: str, prints: Sequence[Print]) -> None:
        """Send trades."""
        spec, now = self._exchange.specs[symbol], self._server_ms()
        for kind, shape in (("trade", messages.trade_event), ("aggTrade", messages.aggregate_event)):
            name = f"{symbol.lower()}@{kind}"
            if name in self._listeners:
                for p in prints:
                    self._send(name, shape(spec, p, now))

    def bar_closed(self) -> None:
        """Send the final frame of every bar that has just ended."""
        for stream in list(self._streams.values()):
            if stream.kind == "kline":
                self._close_bars(stream)

    def account_changed(self, events: Sequence[OrderEvent], balances: Mapping[str, tuple[int, int]]) -> None:
        """Send execution reports and the balances that changed."""
        if not self._users:
            return
        now = self._server_ms()
        payloads = [messages.execution_report(self._exchange.specs[e.order.symbol], e, now) for e in events]
        if balances:
            payloads.append(messages.account_position(balances, now))
        for connection in list(self._users):
            for payload in payloads:
                self._send_user(connection, payload)

    # --- periodic frames --------------------------------------------------------------------------------------

    def tick(self, *, force_bars: bool = False) -> None:
        """Send what is due in wall time; `force_bars` sends forming bars now."""
        now, wall = self._server_ms(), self._wall_ms()
        books: set[str] = set()
        for name, stream in list(self._streams.items()):
            if wall < self._due[name] and not (force_bars and stream.kind == "kline"):
                continue
            if stream.kind == "kline":
                self._due[name] = wall + KLINE_PERIOD_MS
                self._forming_bar(stream, now)
            elif stream.kind == "depth":
                self._due[name] = wall + DEPTH_PERIOD_MS
                if stream.argument:
                    self._partial_book(stream)
                else:
                    books.add(stream.symbol)
            elif stream.kind == "bookTicker":
                self._due[name] = wall + DEPTH_PERIOD_MS
                self._best_prices(stream)
            elif stream.kind in ("miniTicker", "ticker"):
                self._due[name] = wall + TICKER_PERIOD_MS
                self._ticker(stream, now)
        for symbol in books:
            self.publish_depth(symbol)

    def account_replaced(self) -> None:
        """Look at the books afresh: the account, its orders and its key were exchanged for new ones.

        Nobody may go on listening who subscribed with the old key.
        """
        self.end_user_streams()
        self._sent.clear()
        for state in self._books.values():
            state.key = (-1, -1)

    def end_user_streams(self) -> None:
        """End everybody's user-data events: the key no longer gives them."""
        ended = {"e": "eventStreamTerminated", "E": self._server_ms()}
        for connection in list(self._users):
            self._send_user(connection, ended)
            self.unsubscribe_user(connection)

    def publish_depth(self, symbol: str) -> int:
        """Send the book's changes since the last frame and return the sequence number reached."""
        matcher = self._exchange.matcher(symbol)
        book_ms = self._exchange.trading_ms
        key = matcher.book_key(book_ms)
        state = self._books.get(symbol)
        if state is not None and state.key == key:
            return state.last_id
        bids, asks = matcher.book(book_ms, 5_000)
        fresh = _BookState(dict(bids), dict(asks), key, 1)
        self._books[symbol] = fresh
        if state is None:
            fresh.last_id = self._wall_ms()  # above every number of an earlier run, so that old snapshots look old
            return fresh.last_id
        down, up = _changes(state.bids, fresh.bids), _changes(state.asks, fresh.asks)
        fresh.last_id = state.last_id + len(down) + len(up)
        if fresh.last_id > state.last_id:
            spec = self._exchange.specs[symbol]
            event = {
                "e": "depthUpdate",
                "E": self._server_ms(),
                "s": symbol,
                "U": state.last_id + 1,
                "u": fresh.last_id,
                "b": messages.level_rows(spec, down),
                "a": messages.level_rows(spec, up),
            }
            name = symbol.lower()
            for stream in (f"{name}@depth@100ms", f"{name}@depth", f"{name}@depth@1000ms"):
                if stream in self._listeners:
                    self._send(stream, event)
        return fresh.last_id

    def _close_bars(self, stream: Stream) -> None:
        interval = INTERVALS[stream.argument]
        current = floor_open(self._exchange.market_ms, interval)
        known = self._open_bar[stream.name]
        if known >= current:
            return
        self._open_bar[stream.name] = current
        for row in self._exchange.bars_between(stream.symbol, interval, known, current):
            self._send_bar(stream, row, final=True)

    def _forming_bar(self, stream: Stream, now: int) -> None:
        self._close_bars(stream)
        interval = INTERVALS[stream.argument]
        rows = self._exchange.klines(stream.symbol, interval, self._open_bar[stream.name], None, 1)
        if len(rows) == 0:
            return
        row = rows[0]
        shown = row.tolist()
        if self._sent.get(stream.name) != shown:
            self._sent[stream.name] = shown
            self._send_bar(stream, row, final=False)

    def _send_bar(self, stream: Stream, row: Ints, *, final: bool) -> None:
        event = messages.kline_event(
            self._exchange.specs[stream.symbol],
            row,
            stream.argument,
            INTERVALS[stream.argument],
            self._exchange.source.base_ms,
            self._server_ms(),
            final=final,
        )
        self._send(stream.name, event)

    def _partial_book(self, stream: Stream) -> None:
        last_id = self.publish_depth(stream.symbol)
        if self._sent.get(stream.name) != last_id:
            self._sent[stream.name] = last_id
            answer = self._api.depth({"symbol": stream.symbol, "limit": stream.argument})
            self._send(stream.name, answer)

    def _best_prices(self, stream: Stream) -> None:
        spec = self._exchange.specs[stream.symbol]
        bids, asks = self._exchange.matcher(stream.symbol).book(self._exchange.trading_ms, 1)
        if not bids or not asks or self._sent.get(stream.name) == (bids, asks):
            return
        self._sent[stream.name] = (bids, asks)
        (bid, bid_lots), (ask, ask_lots) = bids[0], asks[0]
        event = {
            "u": self.publish_depth(stream.symbol),
            "s": stream.symbol,
            "b": spec.price_text(bid),
            "B": spec.quantity_text(bid_lots),
            "a": spec.price_text(ask),
            "A": spec.quantity_text(ask_lots),
        }
        self._send(stream.name, event)

    def _ticker(self, stream: Stream, now: int) -> None:
        spec = self._exchange.specs[stream.symbol]
        day = self._api.day_bar(stream.symbol)
        shown = day.tolist()
        if self._sent.get(stream.name) == shown:
            return
        self._sent[stream.name] = shown
        if stream.kind == "miniTicker":
            self._send(stream.name, messages.mini_ticker_event(spec, day, now))
        else:
            best = self._exchange.matcher(stream.symbol).book(self._exchange.trading_ms, 1)
            self._send(stream.name, messages.ticker_event(spec, day, best, now))

    def _send(self, name: str, event: Any) -> None:
        text = json.dumps(event, separators=(",", ":"))
        wrapped = f'{{"stream":"{name}","data":{text}}}'
        for connection in self._listeners.get(name, ()):
            connection.deliver(name, wrapped if connection.combined else text)

    def _send_user(self, connection: Connection, event: messages.Json) -> None:
        frame = {"subscriptionId": connection.user_subscription, "event": event}
        connection.deliver(f"{USER_PREFIX}{event['e']}", json.dumps(frame, separators=(",", ":")))


def _changes(old: Mapping[int, int], new: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return changed levels with their new quantity, 0 where a level is gone."""
    changed = [(price, lots) for price, lots in new.items() if old.get(price) != lots]
    return changed + [(price, 0) for price in old if price not in new]
