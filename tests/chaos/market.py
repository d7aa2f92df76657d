"""A seeded market and an account store in memory, under the practice exchange's own matching. Any one thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

import numpy as np

from core.practice.bars import MINUTE_MS, Ints, aggregate, bar_of_trades, empty_bars
from core.practice.orders import Fill, Order
from core.practice.paths import Trades, no_trades
from core.practice.specs import MarketSpec
from core.practice.tape import StoredCell

START_MS = 1_700_000_040_000 // MINUTE_MS * MINUTE_MS
_MINUTES = 240
_TRADES_PER_MINUTE = 90
_STEP = 0.0004  # standard deviation of one trade's log return: a resting order near the market is soon met

# Few lots per level, so that an order takes several levels and is filled in parts.
SPECS = {
    "BTCUSDT": MarketSpec("BTCUSDT", "BTC", "USDT", 2, 5, 1_500),
    "ETHUSDT": MarketSpec("ETHUSDT", "ETH", "USDT", 2, 4, 2_500),
}
_PRICES = {"BTCUSDT": 3_000_000, "ETHUSDT": 200_000}


class WalkingMarket:
    """`MarketSource` of random walks, the same for the same seed."""

    base_ms = MINUTE_MS
    first_ms = START_MS
    end_ms = START_MS + _MINUTES * MINUTE_MS
    specs: Mapping[str, MarketSpec] = SPECS

    def __init__(self, seed: int) -> None:
        self.source_id = f"walk-{seed}"
        self._cells: dict[str, dict[int, Trades]] = {}
        for number, (symbol, spec) in enumerate(SPECS.items()):
            self._cells[symbol] = _walk(np.random.default_rng((seed, number)), _PRICES[symbol], spec.level_lots)

    def next_open(self, time_ms: int) -> int | None:
        open_ms = -(-time_ms // MINUTE_MS) * MINUTE_MS
        return open_ms if open_ms < self.end_ms else None

    def trades(self, symbol: str, open_ms: int) -> Trades:
        return self._cells[symbol].get(open_ms, no_trades())

    def klines(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Ints:
        cells = self._cells[symbol]
        opens = [m for m in range(-(-start_ms // MINUTE_MS) * MINUTE_MS, end_ms, MINUTE_MS) if m in cells]
        rows = [bar_of_trades(m, cells[m].price, cells[m].quantity, cells[m].buyer_maker) for m in opens]
        return aggregate(np.array(rows), interval_ms) if rows else empty_bars()

    def warm(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Iterator[None]:
        return iter(())

    def span(self, symbol: str, interval_ms: int, start_ms: int | None, end_ms: int, limit: int) -> tuple[int, int]:
        if start_ms is None:
            return end_ms - limit * interval_ms, end_ms
        return start_ms, min(end_ms, start_ms + limit * interval_ms)


@lru_cache(maxsize=16)
def walking_market(seed: int) -> WalkingMarket:
    """Return the market of a seed; read-only, hence shared."""
    return WalkingMarket(seed)


def _walk(rng: np.random.Generator, price: int, level_lots: int) -> dict[int, Trades]:
    count = _MINUTES * _TRADES_PER_MINUTE
    ticks = np.maximum(1, (price * np.exp(np.cumsum(rng.normal(0.0, _STEP, count)))).astype(np.int64))
    lots = 1 + (level_lots * rng.exponential(0.6, count)).astype(np.int64)
    makers = rng.random(count) < 0.5
    offsets = np.linspace(0, MINUTE_MS - 1, _TRADES_PER_MINUTE).astype(np.int64)
    cells = {}
    for minute in range(_MINUTES):
        part = slice(minute * _TRADES_PER_MINUTE, (minute + 1) * _TRADES_PER_MINUTE)
        open_ms = START_MS + minute * MINUTE_MS
        cells[open_ms] = Trades(offsets + open_ms, ticks[part], lots[part], makers[part])
    return cells


class MemoryStore:
    """`AccountStore` without a disk: the venue of these tests never crashes."""

    def __init__(self, opening: Mapping[str, int]) -> None:
        self._balances = {asset: (units, 0) for asset, units in opening.items()}
        self._orders: dict[int, Order] = {}
        self._fills: dict[tuple[str, int], Fill] = {}
        self._cells: dict[tuple[str, int], StoredCell] = {}

    def balances(self) -> dict[str, tuple[int, int]]:
        return dict(self._balances)

    def last_order_id(self) -> int:
        return max(self._orders, default=0)

    def open_orders(self) -> list[Order]:
        return [order.copy() for order in self._orders.values() if order.is_open]

    def all_orders(self) -> list[Order]:
        """Return every order the account ever had, oldest first."""
        return [self._orders[key] for key in sorted(self._orders)]

    def all_fills(self) -> list[Fill]:
        """Return every execution of the account."""
        return list(self._fills.values())

    def find_order(self, symbol: str, order_id: int | None, client_id: str | None) -> Order | None:
        if order_id is not None:
            order = self._orders.get(order_id)
            return order.copy() if order is not None and order.symbol == symbol else None
        for order in reversed(self.all_orders()):
            if order.symbol == symbol and order.client_id == client_id:
                return order.copy()
        return None

    def fills(
        self,
        symbol: str,
        *,
        from_id: int | None = None,
        order_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 500,
    ) -> list[Fill]:
        found = [
            fill
            for (name, trade_id), fill in sorted(self._fills.items())
            if name == symbol
            and trade_id >= (from_id or 0)
            and (start_ms or 0) <= fill.time_ms <= (end_ms or 2**62)
            and order_id in (None, fill.order_id)
        ]
        return found[-limit:] if from_id is None and start_ms is None else found[:limit]

    def load_cell(self, symbol: str, open_ms: int) -> StoredCell | None:
        return self._cells.get((symbol, open_ms))

    def load_bars(self, symbol: str) -> dict[int, Ints]:
        return {open_ms: cell.bar for (name, open_ms), cell in sorted(self._cells.items()) if name == symbol}

    def save(
        self,
        *,
        market_ms: int,
        orders: Iterable[Order] = (),
        fills: Iterable[Fill] = (),
        balances: Mapping[str, tuple[int, int]] | None = None,
        cells: Iterable[tuple[str, StoredCell]] = (),
    ) -> None:
        for order in orders:
            self._orders[order.order_id] = order.copy()
        for fill in fills:
            place = (fill.symbol, fill.trade_id)
            if place in self._fills:
                raise AssertionError(f"trade {place} happened twice")
            self._fills[place] = fill
        self._balances.update(balances or {})
        self._cells.update({(symbol, cell.open_ms): cell for symbol, cell in cells})
