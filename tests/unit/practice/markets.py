"""A tiny market whose trades a test writes down, and an exchange over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from core.practice.account_store import AccountStore
from core.practice.bars import MINUTE_MS, Ints, aggregate, bar_of_trades, empty_bars
from core.practice.exchange import Exchange
from core.practice.matching import FillCap
from core.practice.orders import BUY, GTC, LIMIT, MARKET, STOP_LOSS_LIMIT, Order
from core.practice.paths import Trades, no_trades
from core.practice.specs import UNITS, MarketSpec

SPEC = MarketSpec("BTCUSDT", "BTC", "USDT", 2, 5, 1_000)
START = 1_700_000_040_000 // MINUTE_MS * MINUTE_MS


class ScriptedMarket:
    """`MarketSource` of given trades: one list of (offset ms, ticks, lots, buyer was maker) per minute."""

    def __init__(self, minutes: list[list[tuple[int, int, int, bool]]]) -> None:
        self._cells: dict[int, Trades] = {}
        for number, rows in enumerate(minutes):
            open_ms = START + number * MINUTE_MS
            time_ms, price, lots, maker = (np.array(column) for column in zip(*rows, strict=True))
            self._cells[open_ms] = Trades(time_ms + open_ms, price, lots, maker.astype(np.bool_))

    source_id = "scripted"
    base_ms = MINUTE_MS
    first_ms = START

    @property
    def specs(self) -> Mapping[str, MarketSpec]:
        return {SPEC.symbol: SPEC}

    @property
    def end_ms(self) -> int | None:
        return max(self._cells) + MINUTE_MS

    def next_open(self, time_ms: int) -> int | None:
        return next((open_ms for open_ms in self._cells if open_ms >= time_ms), None)

    def trades(self, symbol: str, open_ms: int) -> Trades:
        return self._cells.get(open_ms, no_trades())

    def klines(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Ints:
        rows = [
            bar_of_trades(open_ms, t.price, t.quantity, t.buyer_maker)
            for open_ms, t in self._cells.items()
            if start_ms <= open_ms < end_ms
        ]
        return aggregate(np.array(rows), interval_ms) if rows else empty_bars()

    def warm(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Iterator[None]:
        return iter(())

    def span(self, symbol: str, interval_ms: int, start_ms: int | None, end_ms: int, limit: int) -> tuple[int, int]:
        if start_ms is None:
            return end_ms - limit * interval_ms, end_ms
        return start_ms, min(end_ms, start_ms + limit * interval_ms)


def steady(minutes: int = 3, price: int = 6_000_000) -> ScriptedMarket:
    """Return minutes that open at `price` and trade there once more at their end."""
    return ScriptedMarket([[(0, price, 1_000, False), (59_999, price, 1_000, True)] for _ in range(minutes)])


def exchange_over(
    source: ScriptedMarket,
    folder: Path,
    usdt: int = 10_000,
    btc: int = 0,
    fill_cap: FillCap = lambda symbol: None,
) -> Exchange:
    """Return an exchange at the first trade of the market."""
    store = AccountStore(folder / "account.sqlite", {"USDT": usdt * UNITS, "BTC": btc * UNITS})
    return Exchange(source, store, START, fill_cap)


def order(
    exchange: Exchange,
    side: str = BUY,
    lots: int = 1_000,
    price: int = 0,
    *,
    kind: str = "",
    stop: int = 0,
    time_in_force: str = GTC,
    client_id: str = "",
) -> Order:
    """Return an order ready to be placed; a price makes it a limit order, a stop a stop order."""
    number = exchange.next_order_id()
    kind = kind or (STOP_LOSS_LIMIT if stop else LIMIT if price else MARKET)
    made = Order(number, client_id or f"c{number}", SPEC.symbol, side, kind, time_in_force, price, lots, stop=stop)
    made.created_ms = made.updated_ms = made.working_ms = number
    return made
