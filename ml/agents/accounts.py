"""What target weights come to in the kernel that trades. Any thread of a worker process; numpy, numba.

Judged bars are stretches without a gap. An account is opened before each and holds nothing; a target is decided at the
close of every bar but the last, and what is held at the last close is sold there with all costs. Where several markets
have a bar at the same time, the capital is spread evenly over them anew at each bar, free of costs: markets that move
together are not so much more evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.accounting.fast import BarArrays, TargetRun, run_targets
from core.accounting.rules import CostRates, MarketRules
from ml.agents.results import AgentFigures, CostShares
from ml.arrays import FloatArray, IntArray, finite_series
from ml.statistic_results import PositionMetrics
from ml.trading_metrics import position_metrics, relative_metrics, simple_from_log, trading_metrics

Stretch = tuple[int, int]
"""Rows from the first to before the second, of one market and without a gap."""


@dataclass(frozen=True, slots=True)
class MarketRows:
    """Rows of one of several markets: from `start` to before those of the next one.

    Attributes:
        symbol: the market.
        start: its first row.
        rules: of its accounts.
    """

    symbol: str
    start: int
    rules: MarketRules


@dataclass(frozen=True, slots=True, eq=False)
class JudgedMarket:
    """Bars, and how an account trades on them.

    Attributes:
        bars: all, of several markets behind each other; shape (T,) each.
        volatility: of the log return per bar, known at its close, shape (T,).
        runs: all rows, cut where bars are missing or another market begins; rules look back within them.
        costs / rules: of the accounts; of several markets the rules of the first, and `markets` knows those of each.
        bars_per_year: that make a year of 365 days.
        cash: of each account at its beginning, in quote currency; matters where the rules know a smallest order.
        lowest / highest: weights that may be held.
        time_ns: opening times, ns UTC, shape (T,); None where they mean nothing.
        markets: in the order of their rows; empty where there is one alone. Leverage and shorts are the same in all.
    """

    bars: BarArrays
    volatility: FloatArray
    runs: tuple[Stretch, ...]
    costs: CostRates
    rules: MarketRules
    bars_per_year: float
    cash: float = 1.0
    lowest: float = -1.0
    highest: float = 1.0
    time_ns: IntArray | None = None
    markets: tuple[MarketRows, ...] = ()

    def rules_at(self, row: int) -> MarketRules:
        """Return the rules of the market that a row belongs to."""
        return self.markets[self.market_at(row)].rules if self.markets else self.rules

    def market_at(self, row: int) -> int:
        """Return the index of the market that a row belongs to; 0 where there is one alone."""
        return max(0, sum(each.start <= row for each in self.markets) - 1)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest weight that policy and market allow."""
        leverage = self.rules.max_leverage
        lowest = max(self.lowest, -leverage if self.rules.allows_short else 0.0)
        return lowest, min(self.highest, leverage)


@dataclass(frozen=True, slots=True, eq=False)
class JudgedPart:
    """Stretches that are judged together.

    Attributes:
        market: they belong to.
        stretches: in any order, each with two bars at least.
        rows: at whose close something is decided, all of each stretch but its last, shape (m,).
        time_ns: opening time of the bar behind each decision, each time once and ascending, shape (k,); None where
            bars have no times, then k = m.
        slot: which of them belongs to each decision, shape (m,); None where they simply follow each other.
    """

    market: JudgedMarket
    stretches: tuple[Stretch, ...]
    rows: IntArray
    time_ns: IntArray | None
    slot: IntArray | None

    @classmethod
    def of(cls, market: JudgedMarket, stretches: Sequence[Stretch]) -> JudgedPart:
        """Return stretches to judge.

        Raises:
            ValueError: no stretch, or one without a decision.
        """
        if not stretches or any(stop - start < 2 for start, stop in stretches):
            raise ValueError("at least one stretch, and two bars in each")
        rows = np.concatenate([np.arange(start, stop - 1) for start, stop in stretches])
        if market.time_ns is None:
            return cls(market, tuple(stretches), rows, None, None)
        times, slot = np.unique(market.time_ns[rows + 1], return_inverse=True)
        in_turn = len(times) == len(rows) and bool((np.diff(slot) > 0).all())
        return cls(market, tuple(stretches), rows, times, None if in_turn else slot)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Decisions of each stretch."""
        return tuple(stop - start - 1 for start, stop in self.stretches)

    @property
    def slices(self) -> list[slice]:
        """Where the decisions of each stretch lie among all of them."""
        ends = np.cumsum(self.lengths).tolist()
        return [slice(end - length, end) for end, length in zip(ends, self.lengths, strict=True)]

    def of_markets(self) -> list[tuple[int, IntArray]]:
        """Return the index of each market that is judged, with its decisions among all of them, ascending."""
        found: dict[int, list[IntArray]] = {}
        for inside, (start, _) in zip(self.slices, self.stretches, strict=True):
            found.setdefault(self.market.market_at(start), []).append(np.arange(inside.start, inside.stop))
        return [(index, np.concatenate(parts)) for index, parts in sorted(found.items())]

    def at_costs(self, multiple: float) -> JudgedPart:
        """Return the part where trading costs so many times as much."""
        return replace(self, market=replace(self.market, costs=self.market.costs.times(multiple)))

    @property
    def portion(self) -> FloatArray:
        """Share of the capital that each decision is about, shape (m,)."""
        return np.ones(len(self.rows)) if self.slot is None else 1.0 / np.bincount(self.slot)[self.slot]

    def together(self, log_return: FloatArray) -> FloatArray:
        """Return what all markets earn at each time, from what each earns behind each decision, shape (k,)."""
        if self.slot is None:
            return log_return
        summed = np.bincount(self.slot, weights=np.expm1(log_return))
        return np.asarray(np.log1p(summed / np.bincount(self.slot)), np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class AccountPath:
    """What following weights did.

    Attributes:
        log_return: net, of all markets together, at each time, shape (k,); the others behind each decision, shape (m,).
        weight: held at the close; at the end of a stretch as it was before the sale.
        traded: value of the fills over the equity before the bar, without what was closed by force.
        paid: sums over all bars.
        unsold: net log returns of all accounts, each for itself, what is held at the end not sold.
        liquidations: accounts closed by force.
        lengths: decisions of each stretch.
    """

    log_return: FloatArray
    weight: FloatArray
    traded: FloatArray
    paid: CostShares
    unsold: float
    liquidations: int
    lengths: tuple[int, ...]


def log_returns(weights: FloatArray, part: JudgedPart, *, close_out: bool = True) -> FloatArray:
    """Return the net log return of every bar, shape (k,).

    Args:
        weights: targets, one for each decision, shape (m,).
        part: to follow them on.
        close_out: sell what is held at the end of each stretch, with all costs.

    Raises:
        ValueError: weights that do not fit or are not finite.
    """
    return _joined(_runs(weights, part, close_out=close_out), part)


def follow(weights: FloatArray, part: JudgedPart) -> AccountPath:
    """Return what following weights does; see `log_returns`."""
    sold, kept = _runs(weights, part, close_out=True), _runs(weights, part, close_out=False)
    held, traded, portion = [], [], part.portion
    totals = dict.fromkeys(("fee", "spread", "slippage", "impact", "funding", "borrow"), 0.0)
    for run, still, inside, (start, stop) in zip(sold, kept, part.slices, part.stretches, strict=True):
        unit = part.market.rules_at(start).unit
        worth = still.lots[1:] * unit * part.market.bars.close[start + 1 : stop]
        held.append(_share(worth, still.equity[1:]))
        value = _share(np.abs(still.fill_lots[1:]) * unit * still.fill_price[1:], still.equity[:-1])
        value[-1] += abs(held[-1][-1])  # sold at the end
        traded.append(value)
        for name in totals:
            totals[name] += float(portion[inside] @ _share(getattr(run, name)[1:], run.equity[:-1]))
    return AccountPath(
        log_return=_joined(sold, part),
        weight=np.concatenate(held),
        traded=np.concatenate(traded),
        paid=CostShares(**totals),
        unsold=sum(float(run.log_return.sum()) for run in kept),
        liquidations=sum(int(run.liquidated_at) >= 0 for run in kept),
        lengths=part.lengths,
    )


def figures_of(
    name: str,
    path: AccountPath,
    bars_per_year: float,
    hold: FloatArray | None,
    bootstrap_seed: int | None = None,
    resamples: int = 1_000,
) -> AgentFigures:
    """Measure a path.

    Args:
        name: of who followed it.
        path: to measure.
        bars_per_year: that make a year of 365 days.
        hold: simple returns of holding over the same bars; None for holding itself.
        bootstrap_seed / resamples: see `trading_metrics`.
    """
    returns, year = simple_from_log(path.log_return), bars_per_year
    return AgentFigures(
        name=name,
        log_return=float(path.log_return.sum()),
        trading=trading_metrics(returns, bars_per_year=year, bootstrap_seed=bootstrap_seed, resamples=resamples),
        positions=_positions(path, year),
        relative=None if hold is None else relative_metrics(returns, hold, bars_per_year=year),
        paid=path.paid,
        liquidations=path.liquidations,
    )


def delayed(weights: FloatArray, part: JudgedPart, bars: int) -> FloatArray:
    """Return weights that are followed so many bars later; before the first of a stretch nothing is held."""
    late = np.zeros(len(weights))
    for inside in part.slices:
        values = weights[inside]
        late[inside][bars:] = values[: max(0, len(values) - bars)]
    return late


def _runs(weights: FloatArray, part: JudgedPart, *, close_out: bool) -> list[TargetRun]:
    if finite_series(weights).shape != part.rows.shape:
        raise ValueError("one weight for every bar of a stretch but its last")
    market, found = part.market, []
    for inside, (start, stop) in zip(part.slices, part.stretches, strict=True):
        bars, rules = bars_between(market.bars, start, stop), market.rules_at(start)
        found.append(run_targets(weights[inside], bars, market.costs, rules, cash=market.cash, close_out=close_out))
    return found


def _joined(runs: Sequence[TargetRun], part: JudgedPart) -> FloatArray:
    return part.together(np.concatenate([run.log_return[1:] for run in runs]))  # [0] is the beginning


def bars_between(bars: BarArrays, start: int, stop: int) -> BarArrays:
    """Return some of the bars, not copied."""
    return BarArrays(
        open=bars.open[start:stop],
        high=bars.high[start:stop],
        low=bars.low[start:stop],
        close=bars.close[start:stop],
        volume=bars.volume[start:stop],
        funding_rate=bars.funding_rate[start:stop],
    )


def _share(value: FloatArray, equity: FloatArray) -> FloatArray:
    """Return values over the equity, 0 where nothing is left."""
    result: FloatArray = np.divide(value, equity, out=np.zeros(len(value)), where=equity > 0.0)
    return result


def _positions(path: AccountPath, bars_per_year: float) -> PositionMetrics:
    """Describe the weights held; what is held when a stretch ends does not go on in the next."""
    whole = position_metrics(path.weight, bars_per_year=bars_per_year)
    ends = np.cumsum(path.lengths)[:-1]
    apart = position_metrics(np.insert(path.weight, ends, 0.0), bars_per_year=bars_per_year)
    return replace(
        whole,
        turnover=float(path.traded.sum()) / len(path.traded) * bars_per_year,
        holding_bars=apart.holding_bars,
        trades=apart.trades,
    )
