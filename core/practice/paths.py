"""How the trades of one bar follow from a short recipe, exactly. Pure functions over numpy, any thread.

A bar's path visits four anchors - open, the first extreme, the second extreme, close - and fills the three legs
between them with *mirrored pairs*: two trades of equal quantity at prices `p` and `a + b - p` on the leg from `a` to
`b`. A pair's value is `(a + b) * quantity` whatever `p` is, so volume, value, trade count and taker-buy sums of a bar
have a closed form. That is what lets a thousand daily bars be served without generating their millions of trades,
and still equal the sum of those trades to the last lot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.practice.bars import CLOSE, COLUMNS, TIME, VOLUME, Ints

# recipe columns
R_TIME, R_OPEN, R_HIGH, R_LOW, R_CLOSE, R_VOLUME, R_PAIRS, R_BUY, R_HIGH_FIRST = range(9)
RECIPE_COLUMNS = 9

MIN_VOLUME = 4  # lots: one for each anchor
_BUY_BITS = 8
_BUY_SCALE = 1 << _BUY_BITS


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades of one bar in order.

    Attributes:
        time_ms: absolute time of each trade, ms.
        price: ticks.
        quantity: lots.
        buyer_maker: True where the seller was the aggressor.
    """

    time_ms: Ints
    price: Ints
    quantity: Ints
    buyer_maker: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_ms)


def no_trades() -> Trades:
    """Return an empty run of trades."""
    zero = np.empty(0, np.int64)
    return Trades(zero, zero, zero, np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True)
class Shape:
    """The closed form of many bars: per anchor or leg (axis 0) and bar (axis 1).

    Attributes:
        anchor: prices of the four anchors, (4, n).
        anchor_lots: quantities of the anchor trades, (4, n).
        anchor_buy: whether the anchor trade was a taker buy, (4, n).
        pairs: number of pairs on each leg, (3, n).
        pair_lots: sum over the leg of one side's quantity of every pair, (3, n).
        buy_pairs / buy_lots: the part of them that is taker buys, (3, n).
    """

    anchor: Ints
    anchor_lots: Ints
    anchor_buy: npt.NDArray[np.bool_]
    pairs: Ints
    pair_lots: Ints
    buy_pairs: Ints
    buy_lots: Ints


def shape_of(recipe: Ints) -> Shape:
    """Expand recipes of bars with trades, (RECIPE_COLUMNS, n), into their closed form.

    Every recipe needs `volume >= MIN_VOLUME` and `pairs <= (volume - MIN_VOLUME) // 4`.
    """
    opening, high, low, close = recipe[R_OPEN], recipe[R_HIGH], recipe[R_LOW], recipe[R_CLOSE]
    high_first = recipe[R_HIGH_FIRST] == 1
    anchor = np.stack([opening, np.where(high_first, high, low), np.where(high_first, low, high), close])
    anchor_buy = np.stack([recipe[R_BUY] % 2 == 0, high_first, ~high_first, close >= opening])

    volume, pairs = recipe[R_VOLUME], recipe[R_PAIRS]
    # Float division is several times faster than integer division and exact enough: any split would do here.
    each = np.maximum(1, (volume / (4 + 2 * pairs)).astype(np.int64))
    rest = volume - 4 * each
    paired = np.where(pairs > 0, rest >> 1, 0)
    anchor_lots = np.stack([each + rest - 2 * paired, each, each, each])

    leg_pairs = np.stack([pairs // 3, (pairs + 1) // 3, (pairs + 2) // 3])
    first_two = leg_pairs[:2] * (paired / np.maximum(pairs, 1)).astype(np.int64)
    pair_lots = np.concatenate([first_two, (paired - first_two[0] - first_two[1])[None, :]])
    share = np.clip(recipe[R_BUY] + np.where(anchor[1:] >= anchor[:-1], 24, -24), 8, _BUY_SCALE - 8)
    buy_pairs = (leg_pairs * share + _BUY_SCALE // 2) >> _BUY_BITS
    # Every pair has at least one lot on each side, whoever the taker is.
    buy_lots = np.clip(pair_lots * share >> _BUY_BITS, buy_pairs, pair_lots - (leg_pairs - buy_pairs))
    buy_lots = np.where(buy_pairs == 0, 0, np.where(buy_pairs == leg_pairs, pair_lots, buy_lots))
    return Shape(anchor, anchor_lots, anchor_buy, leg_pairs, pair_lots, buy_pairs, buy_lots)


def bars_of(recipe: Ints) -> Ints:
    """Return the bars, (n, COLUMNS), that the trades of the recipes (RECIPE_COLUMNS, n) aggregate to.

    Volume 0 gives a flat bar.
    """
    columns = np.zeros((COLUMNS, recipe.shape[1]), np.int64)
    columns[TIME : CLOSE + 1] = recipe[R_TIME : R_CLOSE + 1]
    traded = recipe[R_VOLUME] > 0
    if traded.all():
        columns[VOLUME:] = _sums(recipe)
    else:
        columns[VOLUME:, traded] = _sums(recipe[:, traded])
    return columns.T


def _sums(recipe: Ints) -> Ints:
    """Return volume, value, trade count, taker buy volume and taker buy value of bars with trades, (5, n)."""
    shape = shape_of(recipe)
    leg_price = shape.anchor[1:] + shape.anchor[:-1]
    anchor_value = shape.anchor * shape.anchor_lots
    return np.stack(
        [
            shape.anchor_lots.sum(axis=0) + 2 * shape.pair_lots.sum(axis=0),
            anchor_value.sum(axis=0) + (leg_price * shape.pair_lots).sum(axis=0),
            4 + 2 * shape.pairs.sum(axis=0),
            (shape.anchor_lots * shape.anchor_buy).sum(axis=0) + 2 * shape.buy_lots.sum(axis=0),
            (anchor_value * shape.anchor_buy).sum(axis=0) + (leg_price * shape.buy_lots).sum(axis=0),
        ]
    )


def trades_of(recipe: Ints, length_ms: int, rng: np.random.Generator) -> Trades:
    """Generate the trades of one bar: the first at its open, the last one millisecond before its end.

    Args:
        recipe: one recipe, (RECIPE_COLUMNS,).
        length_ms: bar length.
        rng: source of the details that the sums do not fix; the same state gives the same trades.
    """
    if recipe[R_VOLUME] == 0:
        return no_trades()
    shape = shape_of(recipe[:, None])
    anchor = shape.anchor[:, 0]
    turn = np.sort(rng.uniform(0.08, 0.92, 2))
    corner = np.array([0, int(turn[0] * length_ms), int(turn[1] * length_ms) + 2, length_ms - 1], np.int64)
    times, prices = [corner], [anchor]
    lots, makers = [shape.anchor_lots[:, 0]], [~shape.anchor_buy[:, 0]]
    for leg in range(3):
        pairs = int(shape.pairs[leg, 0])
        if pairs == 0:
            continue
        start, end = int(anchor[leg]), int(anchor[leg + 1])
        moment = rng.random(pairs) * 0.5
        along = np.clip(moment + 0.12 * rng.standard_normal(pairs), 0.0, 1.0)
        price = start + np.rint((end - start) * along).astype(np.int64)
        buys = int(shape.buy_pairs[leg, 0])
        quantity = np.concatenate(
            [
                _partition(int(shape.buy_lots[leg, 0]), buys, rng),
                _partition(int(shape.pair_lots[leg, 0] - shape.buy_lots[leg, 0]), pairs - buys, rng),
            ]
        )
        maker = np.arange(pairs) >= buys
        span = max(0, int(corner[leg + 1] - corner[leg]) - 2)
        for moments, side_prices in ((moment, price), (1.0 - moment, start + end - price)):
            times.append(corner[leg] + 1 + (span * moments).astype(np.int64))
            prices.append(side_prices)
            lots.append(quantity)
            makers.append(maker)
    time_ms = np.minimum(np.concatenate(times), length_ms - 1)
    order = np.argsort(time_ms, kind="stable")
    order = np.r_[0, order[(order != 0) & (order != 3)], 3]  # open first, close last, whatever ties there are
    return Trades(
        time_ms[order] + int(recipe[R_TIME]),
        np.concatenate(prices)[order],
        np.concatenate(lots)[order],
        np.concatenate(makers)[order],
    )


def _partition(total: int, parts: int, rng: np.random.Generator) -> Ints:
    """Split `total` into `parts` random whole numbers, each at least 1 (`total >= parts`)."""
    if parts == 0:
        return np.empty(0, np.int64)
    weights = rng.standard_exponential(parts)
    cuts = np.floor(np.cumsum(weights) / weights.sum() * (total - parts)).astype(np.int64)
    cuts[-1] = total - parts
    parts_of_total: Ints = np.diff(cuts, prepend=0) + 1
    return parts_of_total
