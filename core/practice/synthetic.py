"""A synthetic market with years of history on demand. Pure functions of (seed, symbol, time); one thread at a time.

Daily price anchors come from a seeded walk with volatility regimes and a weak pull to a long-run level. Each day's
1,440 minutes are a bridge between two anchors (clustered volatility, jumps, persistent order flow), made in one numpy
block from the day's own random stream, so any minute of any year can be made alone. A minute's trades follow from its
recipe (`core.practice.paths`); bars are the closed-form sums of those trades.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from core.domain.data_origin import DEFAULT_SEED
from core.practice import paths
from core.practice.bars import DAY_MS, HOUR_MS, MINUTE_MS, Ints, aggregate, empty_bars, floor_open
from core.practice.paths import RECIPE_COLUMNS, Trades
from core.practice.specs import MarketSpec, known_scales

Floats = npt.NDArray[np.float64]

GENESIS_MS: Final = 1_502_668_800_000  # Monday 2017-08-14 00:00 UTC: the first synthetic minute
MINUTES: Final = 1_440

_ANCHOR_BLOCK: Final = 512  # days drawn together; a prefix of the walk never changes when it is extended
_CHUNK_DAYS: Final = 4  # larger temporaries cost more in page faults than they save in calls
_CACHED_DAYS: Final = 96
_PULL: Final = 0.008  # per day, towards the long-run level


@dataclass(frozen=True, slots=True)
class MarketProfile:
    """Character of one synthetic market.

    Attributes:
        base, quote: currencies.
        price: long-run price, quote currency.
        daily_volatility: typical standard deviation of a day's log return.
        minute_volume: typical base currency traded per minute.
        minute_pairs: typical number of trade pairs per minute.
    """

    base: str
    quote: str
    price: float
    daily_volatility: float
    minute_volume: float
    minute_pairs: int


DEFAULT_PROFILES: Final = (
    MarketProfile("BTC", "USDT", 68_000.0, 0.025, 12.0, 40),
    MarketProfile("ETH", "USDT", 3_200.0, 0.032, 180.0, 32),
    MarketProfile("SOL", "USDT", 160.0, 0.045, 1_800.0, 26),
)


class SyntheticMarket:
    """`MarketSource` made from a seed; base bars are minutes."""

    def __init__(self, seed: int = DEFAULT_SEED, profiles: tuple[MarketProfile, ...] = DEFAULT_PROFILES) -> None:
        self._seed = seed
        self._markets: dict[str, _SyntheticSymbol] = {}
        for profile in profiles:
            symbol = _SyntheticSymbol(seed, profile)
            self._markets[symbol.spec.symbol] = symbol

    @property
    def source_id(self) -> str:
        """Stable name of this market."""
        return f"synthetic-{self._seed}"

    @property
    def base_ms(self) -> int:
        """One minute."""
        return MINUTE_MS

    @property
    def specs(self) -> Mapping[str, MarketSpec]:
        """Markets by symbol."""
        return {name: market.spec for name, market in self._markets.items()}

    @property
    def first_ms(self) -> int:
        """Open time of the first minute."""
        return GENESIS_MS

    @property
    def end_ms(self) -> int | None:
        """A synthetic market never ends."""
        return None

    def next_open(self, time_ms: int) -> int | None:
        """Every minute from the first on exists."""
        return max(GENESIS_MS, -(-time_ms // MINUTE_MS) * MINUTE_MS)

    def trades(self, symbol: str, open_ms: int) -> Trades:
        """Return the trades of one minute."""
        if open_ms < GENESIS_MS:
            return paths.no_trades()
        return self._markets[symbol].trades(open_ms)

    def klines(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Ints:
        """Return the bars that open in [start_ms, end_ms)."""
        return self._markets[symbol].klines(interval_ms, max(start_ms, GENESIS_MS), end_ms)

    def warm(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Iterator[None]:
        """Prepare `klines` of the same range piece by piece (see `MarketSource.warm`)."""
        if interval_ms % HOUR_MS == 0 and end_ms > max(start_ms, GENESIS_MS):
            first = (max(start_ms, GENESIS_MS) - GENESIS_MS) // DAY_MS
            yield from self._markets[symbol].warm(first, -(-(end_ms - GENESIS_MS) // DAY_MS))

    def span(self, symbol: str, interval_ms: int, start_ms: int | None, end_ms: int, limit: int) -> tuple[int, int]:
        """Return the range of open times that holds `limit` bars (see `MarketSource.span`)."""
        if start_ms is None:
            last = floor_open(end_ms - 1, interval_ms)
            return max(GENESIS_MS, last - (limit - 1) * interval_ms), end_ms
        first = floor_open(max(start_ms, GENESIS_MS) + interval_ms - 1, interval_ms)
        return first, min(end_ms, first + limit * interval_ms)


class _SyntheticSymbol:
    """One synthetic market: anchors, cached day blocks and cached hourly bars."""

    def __init__(self, seed: int, profile: MarketProfile) -> None:
        name = profile.base + profile.quote
        scales = known_scales(name)
        if scales is None:
            raise ValueError(f"{name} has no known tick and lot")
        self._profile = profile
        self._entropy = (seed, zlib.crc32(name.encode()))
        lots_per_minute = profile.minute_volume * 10 ** scales[1]
        self.spec = MarketSpec(name, profile.base, profile.quote, *scales, max(10, int(lots_per_minute / 12)))
        self._mean_lots = lots_per_minute
        self._log_price = np.array([np.log(profile.price) + 0.0])  # anchor at the start of day 0
        self._volatility = np.empty(0)
        self._walk_state = (0.0, 0)  # log volatility deviation, regime
        self._days: OrderedDict[int, Ints] = OrderedDict()
        self._hourly: dict[int, Ints] = {}  # day -> (24, COLUMNS); two kilobytes a day

    def trades(self, open_ms: int) -> Trades:
        """Return the trades of the minute that opens at `open_ms`."""
        day, offset = divmod(open_ms - GENESIS_MS, DAY_MS)
        recipe = self._recipes(day, day + 1)[0][:, offset // MINUTE_MS]
        rng = _rng((*self._entropy, 2, open_ms // MINUTE_MS))
        return paths.trades_of(recipe, MINUTE_MS, rng)

    def klines(self, interval_ms: int, start_ms: int, end_ms: int) -> Ints:
        """Return the bars that open in [start_ms, end_ms)."""
        start = floor_open(start_ms + interval_ms - 1, interval_ms)
        last = floor_open(end_ms - 1, interval_ms)
        if last < start:
            return empty_bars()
        first_day = (start - GENESIS_MS) // DAY_MS
        final_day = -(-(last + interval_ms - GENESIS_MS) // DAY_MS)
        if interval_ms % HOUR_MS == 0:
            for _ in self.warm(first_day, final_day):
                pass
            rows = np.concatenate([self._hourly[day] for day in range(first_day, final_day)])
            if interval_ms == HOUR_MS:
                return rows[(rows[:, 0] >= start) & (rows[:, 0] <= last)]
        else:
            blocks = [paths.bars_of(np.concatenate(part, axis=1)) for part in self._chunks(first_day, final_day)]
            rows = np.concatenate(blocks)
        kept = rows[(rows[:, 0] >= start) & (rows[:, 0] < last + interval_ms)]
        return kept if interval_ms == MINUTE_MS else aggregate(kept, interval_ms)

    def warm(self, first: int, end: int) -> Iterator[None]:
        """Make the hourly bars of the days [first, end) that are not cached yet, pausing now and then."""
        missing = [day for day in range(first, end) if day not in self._hourly]
        if not missing:
            return
        for part in self._chunks(missing[0], missing[-1] + 1, keep=False):
            hours = aggregate(paths.bars_of(np.concatenate(part, axis=1)), HOUR_MS)
            day = (int(hours[0, 0]) - GENESIS_MS) // DAY_MS
            for number in range(len(part)):
                self._hourly[day + number] = hours[24 * number : 24 * (number + 1)]
            yield

    def _chunks(self, first: int, end: int, *, keep: bool = True) -> Iterator[list[Ints]]:
        for start in range(first, end, _CHUNK_DAYS):
            yield self._recipes(start, min(end, start + _CHUNK_DAYS), keep=keep)

    def _recipes(self, first: int, end: int, *, keep: bool = True) -> list[Ints]:
        """Return the recipes of the days [first, end), each (RECIPE_COLUMNS, 1440), cached where `keep`."""
        cached = [self._days.get(day) for day in range(first, end)]
        if all(block is not None for block in cached):
            blocks = [block for block in cached if block is not None]
        else:
            made = self._make_days(first, end)
            blocks = [made[:, index] for index in range(end - first)]
        if keep:
            for day, block in zip(range(first, end), blocks, strict=True):
                self._days[day] = block if block.flags.owndata else block.copy()
                self._days.move_to_end(day)
            while len(self._days) > _CACHED_DAYS:
                self._days.popitem(last=False)
        return blocks

    def _make_days(self, first: int, end: int) -> Ints:
        """Make recipes of the days [first, end): (RECIPE_COLUMNS, days, 1440)."""
        self._extend_walk(end)
        days = end - first
        draws = _DayDraws.of([_rng((*self._entropy, 1, day)) for day in range(first, end)])
        sigma = self._volatility[first:end, None] / np.sqrt(MINUTES)
        minute_sigma = sigma * _DAY_SHAPE * np.exp(0.45 * np.repeat(draws.hourly, 60, axis=1) - 0.1)
        flow = 0.16 * np.repeat(draws.flow_6h, 360, axis=1) + 0.28 * np.repeat(draws.flow_15m, 15, axis=1)
        step = minute_sigma * (0.92 * draws.noise + flow)
        rows = np.arange(days)
        jump = (draws.jump_chance < 0.35) * draws.jump_size * 12.0
        step[rows, draws.jump_minute] += jump * sigma[:, 0]

        walk = np.cumsum(step, axis=1)
        along = np.arange(1, MINUTES + 1) / MINUTES
        start, stop = self._log_price[first:end, None], self._log_price[first + 1 : end + 1, None]
        tick = 10.0**self.spec.price_decimals
        level = np.empty((days, MINUTES + 1), np.int64)
        level[:, 1:] = np.rint(np.exp(start + along * (stop - start - walk[:, -1:]) + walk) * tick)
        level[:, 0] = np.rint(np.exp(start[:, 0]) * tick)
        level[:, MINUTES] = np.rint(np.exp(stop[:, 0]) * tick)
        return self._to_recipes(first, level, minute_sigma, flow, draws)

    def _to_recipes(self, first: int, level: Ints, sigma: Floats, flow: Floats, draws: _DayDraws) -> Ints:
        days = len(level)
        opening, closing = level[:, :-1], level[:, 1:]
        reach = sigma * opening
        high = np.maximum(opening, closing) + np.rint(reach * 0.45 * draws.above).astype(np.int64)
        low = np.minimum(opening, closing) - np.rint(reach * 0.45 * draws.below).astype(np.int64)
        move = (closing - opening) / np.maximum(reach, 1.0)
        activity = (sigma / (self._profile.daily_volatility / np.sqrt(MINUTES))) * (0.7 + 0.4 * np.abs(move))
        volume = self._mean_lots * activity * np.exp(0.75 * draws.volume - 0.28)
        pairs = np.rint(self._profile.minute_pairs * np.sqrt(np.maximum(volume / self._mean_lots, 0.05)))
        pairs = np.clip(pairs, 3, 240).astype(np.int64)
        share = np.clip(128 + 70 * np.tanh(0.5 * move + 0.8 * flow + 0.3 * draws.imbalance), 20, 236)

        recipe = np.empty((RECIPE_COLUMNS, days, MINUTES), np.int64)
        opens = GENESIS_MS + (first + np.arange(days))[:, None] * DAY_MS + np.arange(MINUTES) * MINUTE_MS
        recipe[paths.R_TIME] = opens
        recipe[paths.R_OPEN] = opening
        recipe[paths.R_HIGH] = high
        recipe[paths.R_LOW] = np.maximum(1, low)
        recipe[paths.R_CLOSE] = closing
        recipe[paths.R_VOLUME] = np.maximum(volume.astype(np.int64), paths.MIN_VOLUME + 4 * pairs)
        recipe[paths.R_PAIRS] = pairs
        recipe[paths.R_BUY] = share.astype(np.int64)
        recipe[paths.R_HIGH_FIRST] = draws.order < np.where(closing > opening, 0.3, 0.7)
        return recipe

    def _extend_walk(self, end: int) -> None:
        """Extend the daily anchors so that day `end - 1` and its end are known."""
        while len(self._volatility) < end:
            block = len(self._volatility) // _ANCHOR_BLOCK
            rng = _rng((*self._entropy, 0, block))
            shocks = rng.standard_normal((_ANCHOR_BLOCK, 2))
            chances = rng.random(_ANCHOR_BLOCK)
            prices, volatilities = self._walk_block(float(self._log_price[-1]), shocks, chances)
            self._log_price = np.concatenate([self._log_price, prices])
            self._volatility = np.concatenate([self._volatility, volatilities])

    def _walk_block(self, price: float, shocks: Floats, chances: Floats) -> tuple[Floats, Floats]:
        """Walk one block of days: regimes (calm, rise, fall), autoregressive log volatility, pull to the mean."""
        home = float(np.log(self._profile.price))
        deviation, regime = self._walk_state
        prices, volatilities = np.empty(len(shocks)), np.empty(len(shocks))
        for index, ((shock, volatility_shock), chance) in enumerate(zip(shocks, chances, strict=True)):
            if chance < 0.03:  # a regime lasts about a month
                regime = int(chance * 100)  # 0, 1 or 2, equally likely
            drift, loudness = ((0.0, -0.15), (0.10, 0.0), (-0.12, 0.25))[regime]
            deviation = 0.93 * deviation + 0.16 * float(volatility_shock)
            volatility = self._profile.daily_volatility * float(np.exp(np.clip(deviation + loudness, -1.2, 1.3)))
            price += volatility * (float(shock) + drift) - _PULL * (price - home)
            prices[index], volatilities[index] = price, volatility
        self._walk_state = (deviation, regime)
        return prices, volatilities


@dataclass(frozen=True, slots=True)
class _DayDraws:
    """All random numbers of a block of days, one row per day, each row from its day's own stream."""

    noise: Floats
    volume: Floats
    imbalance: Floats
    above: Floats
    below: Floats
    order: Floats
    hourly: Floats
    flow_6h: Floats
    flow_15m: Floats
    jump_chance: Floats
    jump_size: Floats
    jump_minute: npt.NDArray[np.int64]

    @classmethod
    def of(cls, streams: list[np.random.Generator]) -> _DayDraws:
        """Draw from each day's stream, always in the same order."""
        days = len(streams)
        normal = np.empty((days, 3, MINUTES))
        wick = np.empty((days, 2, MINUTES))
        uniform = np.empty((days, MINUTES))
        coarse = np.empty((days, 24 + 4 + 96 + 1))
        jump = np.empty((days, 2))
        for index, rng in enumerate(streams):
            rng.standard_normal(out=normal[index])
            rng.standard_exponential(out=wick[index])
            rng.random(out=uniform[index])
            rng.standard_normal(out=coarse[index])
            rng.random(out=jump[index])
        return cls(
            noise=normal[:, 0],
            volume=normal[:, 1],
            imbalance=normal[:, 2],
            above=wick[:, 0],
            below=wick[:, 1],
            order=uniform,
            hourly=coarse[:, :24],
            flow_6h=coarse[:, 24:28],
            flow_15m=coarse[:, 28:124],
            jump_chance=jump[:, 0],
            jump_size=coarse[:, 124],
            jump_minute=(jump[:, 1] * MINUTES).astype(np.int64),
        )


def _day_shape() -> Floats:
    """Return the usual volatility of each minute of a UTC day: quiet in Asia's night, loud at the US open."""
    hour = np.arange(MINUTES) / 60.0
    loud = 0.8 + 0.35 * np.exp(-((hour - 14.5) ** 2) / 8.0) + 0.15 * np.exp(-((hour - 1.0) ** 2) / 3.0)
    return np.asarray(loud / np.sqrt(np.mean(loud**2)))


_DAY_SHAPE: Final = _day_shape()


def _rng(entropy: tuple[int, ...]) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
