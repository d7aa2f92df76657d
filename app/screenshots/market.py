"""The market in the pictures: bars, book, trades and prices of the synthetic practice market. Qt-free, any thread.

Everything is a pure function of the seed and the fixed moment `NOW_NS`: the same call gives the same picture.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np

from core.clock import NS_PER_MS, NS_PER_S
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.domain.data_origin import DEFAULT_SEED
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import Side
from core.practice import bars
from core.practice.liquidity import Touch, resting_levels
from core.practice.specs import MarketSpec
from core.practice.synthetic import SyntheticMarket

NOW_NS: Final = 1_780_000_000 * NS_PER_S  # 2026-05-28 20:26:40 UTC
BARS: Final = 600
_BOOK_LEVELS = 60
_TRADES = 120


class PictureMarket:
    """The synthetic market as the feeds would have shown it at `NOW_NS`."""

    def __init__(self, seed: int = DEFAULT_SEED) -> None:
        self._source = SyntheticMarket(seed)
        self._specs: dict[str, MarketSpec] = {spec.unified: spec for spec in self._source.specs.values()}

    @property
    def symbols(self) -> tuple[str, ...]:
        """Unified symbols on offer."""
        return tuple(self._specs)

    def history(self, symbol: str, timeframe: Timeframe, count: int = BARS) -> CandleFrame:
        """Return the `count` newest bars; the last one is still open and holds the minutes up to now."""
        spec = self._specs[symbol]
        last_ns = timeframe.floor(NOW_NS)
        first_ns = last_ns - (count - 1) * timeframe.ns
        closed = self._source.klines(spec.symbol, timeframe.ms, first_ns // NS_PER_MS, last_ns // NS_PER_MS)
        minutes = self._source.klines(
            spec.symbol, bars.MINUTE_MS, last_ns // NS_PER_MS, Timeframe.M1.floor(NOW_NS) // NS_PER_MS
        )
        forming = bars.aggregate(minutes, timeframe.ms)
        rows = np.concatenate([closed, forming])
        tick, lot = 10.0**-spec.price_decimals, 10.0**-spec.quantity_decimals
        final = np.ones(len(rows), np.bool_)
        final[len(closed) :] = False
        return CandleFrame(
            rows[:, bars.TIME] * NS_PER_MS,
            open=rows[:, bars.OPEN] * tick,
            high=rows[:, bars.HIGH] * tick,
            low=rows[:, bars.LOW] * tick,
            close=rows[:, bars.CLOSE] * tick,
            volume=rows[:, bars.VOLUME] * lot,
            final=final,
            symbol=symbol,
            timeframe=timeframe,
        )

    def book(self, symbol: str) -> BookSnapshot:
        """Return the visible book around the last trade."""
        spec = self._specs[symbol]
        last = self.trades(symbol, 1)[-1]
        price = round(last.price * 10**spec.price_decimals)
        touch = Touch.after(price, last.side is Side.SELL, price)
        tick, lot = 10.0**-spec.price_decimals, 10.0**-spec.quantity_decimals

        def side(*, asks: bool) -> tuple[tuple[float, float], ...]:
            prices, lots = resting_levels(
                zlib.crc32(symbol.encode()), spec.level_lots, touch, NOW_NS // NS_PER_MS, asks=asks
            )
            pairs = zip(prices[:_BOOK_LEVELS], lots[:_BOOK_LEVELS], strict=True)
            return tuple((round(int(p) * tick, 8), round(int(q) * lot, 8)) for p, q in pairs)

        return BookSnapshot(symbol, side(asks=False), side(asks=True), NOW_NS)

    def trades(self, symbol: str, count: int = _TRADES) -> list[PublicTrade]:
        """Return the `count` newest trades of the market, oldest first."""
        spec = self._specs[symbol]
        found: list[PublicTrade] = []
        open_ms = Timeframe.M1.floor(NOW_NS) // NS_PER_MS
        while len(found) < count:
            open_ms -= bars.MINUTE_MS  # the minute that closed last, then the one before it, and so on
            part = self._source.trades(spec.symbol, open_ms)
            found[:0] = [
                PublicTrade(
                    symbol,
                    f"{open_ms}-{number}",
                    round(int(part.price[number]) * 10.0**-spec.price_decimals, 8),
                    round(int(part.quantity[number]) * 10.0**-spec.quantity_decimals, 8),
                    Side.SELL if part.buyer_maker[number] else Side.BUY,
                    int(part.time_ms[number]) * NS_PER_MS,
                )
                for number in range(len(part))
            ]
        return found[-count:]

    def ticker(self, symbol: str) -> Ticker:
        """Return the last price with the change of 24 hours."""
        hours = self.history(symbol, Timeframe.H1, 25)
        book = self.book(symbol)
        last = float(hours.close[-1])
        return Ticker(
            symbol,
            last,
            book.bids[0][0],
            book.asks[0][0],
            last / float(hours.close[0]) - 1.0,
            float(hours.volume.sum()),
            NOW_NS,
        )
