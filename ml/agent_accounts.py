"""What target weights come to in the kernel that trades. Any thread of a worker process; numpy, numba.

Judged bars are stretches without a gap. An account is opened before each and holds nothing; a target is decided at the
close of every bar but the last, and what is held at the last close is sold there with all costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.accounting.fast import BarArrays, TargetRun, run_targets
from core.accounting.rules import CostRates, MarketRules
from ml.agent_results import AgentFigures, CostShares
from ml.arrays import FloatArray, IntArray, finite_series
from ml.statistic_results import PositionMetrics
from ml.trading_metrics import position_metrics, relative_metrics, simple_from_log, trading_metrics

Stretch = tuple[int, int]
"""Rows from the first to before the second, of one market and without a gap."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedMarket:
    """Bars, and how an account trades on them.

    Attributes:
        bars: all, of several markets behind each other; shape (T,) each.
        volatility: of the log return per bar, known at its close, shape (T,).
        runs: all rows, cut where bars are missing or another market begins; rules look back within them.
        costs / rules: of the accounts.
        bars_per_year: that make a year of 365 days.
        cash: of each account at its beginning, in quote currency; matters where the rules know a smallest order.
        lowest / highest: weights that may be held.
        time_ns: opening times, ns UTC, shape (T,); None where they mean nothing.
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

    def at_costs(self, multiple: float) -> JudgedMarket:
        """Return the market where trading costs so many times as much."""
        return replace(self, costs=self.costs.times(multiple))


@dataclass(frozen=True, slots=True, eq=False)
class AccountPath:
    """What following weights did, bar by bar, all stretches behind each other; shape (m,) each.

    Attributes:
        log_return: net.
        weight: held at the close; at the end of a stretch as it was before the sale.
        traded: value of the fills over the equity before the bar, without what was closed by force.
        paid: sums over all bars.
        liquidations: accounts closed by force.
        lengths: bars of each stretch.
    """

    log_return: FloatArray
    weight: FloatArray
    traded: FloatArray
    paid: CostShares
    liquidations: int
    lengths: tuple[int, ...]


def decision_rows(stretches: Sequence[Stretch]) -> IntArray:
    """Return the rows at whose close something is decided, in order: all of each stretch but its last.

    Raises:
        ValueError: no stretch, or one without a decision.
    """
    if not stretches or any(stop - start < 2 for start, stop in stretches):
        raise ValueError("at least one stretch, and two bars in each")
    return np.concatenate([np.arange(start, stop - 1) for start, stop in stretches])


def log_returns(
    weights: FloatArray, market: JudgedMarket, stretches: Sequence[Stretch], *, close_out: bool = True
) -> FloatArray:
    """Return the net log return of every bar that follows a decision, shape (m,).

    Args:
        weights: one per decision row, shape (m,).
        market / stretches: to follow them on.
        close_out: sell what is held at the end of each stretch, with all costs.
    """
    return np.concatenate(
        [run.log_return[1:] for run in _runs(weights, market, stretches, close_out=close_out)]  # [0] is the beginning
    )


def follow(weights: FloatArray, market: JudgedMarket, stretches: Sequence[Stretch]) -> AccountPath:
    """Return what following weights does; see `log_returns` for the arguments."""
    sold = _runs(weights, market, stretches, close_out=True)
    kept = _runs(weights, market, stretches, close_out=False)
    unit = market.rules.unit
    held, traded = [], []
    totals = dict.fromkeys(("fee", "spread", "slippage", "impact", "funding", "borrow"), 0.0)
    for run, still, (start, stop) in zip(sold, kept, stretches, strict=True):
        worth = still.lots[1:] * unit * market.bars.close[start + 1 : stop]
        held.append(_share(worth, still.equity[1:]))
        value = _share(np.abs(still.fill_lots[1:]) * unit * still.fill_price[1:], still.equity[:-1])
        value[-1] += abs(held[-1][-1])  # sold at the end
        traded.append(value)
        for name in totals:
            totals[name] += float(_share(getattr(run, name)[1:], run.equity[:-1]).sum())
    return AccountPath(
        log_return=np.concatenate([run.log_return[1:] for run in sold]),
        weight=np.concatenate(held),
        traded=np.concatenate(traded),
        paid=CostShares(**totals),
        liquidations=sum(int(run.liquidated_at) >= 0 for run in kept),
        lengths=tuple(stop - start - 1 for start, stop in stretches),
    )


def figures_of(
    name: str,
    path: AccountPath,
    market: JudgedMarket,
    hold: FloatArray | None,
    bootstrap_seed: int | None = None,
    resamples: int = 1_000,
) -> AgentFigures:
    """Measure a path.

    Args:
        name: of who followed it.
        path: to measure.
        market: it was followed on.
        hold: simple returns of holding over the same bars; None for holding itself.
        bootstrap_seed / resamples: see `trading_metrics`.
    """
    returns, year = simple_from_log(path.log_return), market.bars_per_year
    return AgentFigures(
        name=name,
        log_return=float(path.log_return.sum()),
        trading=trading_metrics(returns, bars_per_year=year, bootstrap_seed=bootstrap_seed, resamples=resamples),
        positions=_positions(path, year),
        relative=None if hold is None else relative_metrics(returns, hold, bars_per_year=year),
        paid=path.paid,
        liquidations=path.liquidations,
    )


def delayed(weights: FloatArray, stretches: Sequence[Stretch], bars: int) -> FloatArray:
    """Return weights that are followed so many bars later; before the first of a stretch nothing is held."""
    late = np.zeros(len(weights))
    for part in parts_of(stretches):
        values = weights[part]
        late[part][bars:] = values[: max(0, len(values) - bars)]
    return late


def parts_of(stretches: Sequence[Stretch]) -> list[slice]:
    """Return where the decisions of each stretch lie among all of them."""
    ends = np.cumsum([stop - start - 1 for start, stop in stretches])
    return [slice(int(end) - (stop - start - 1), int(end)) for end, (start, stop) in zip(ends, stretches, strict=True)]


def _runs(
    weights: FloatArray, market: JudgedMarket, stretches: Sequence[Stretch], *, close_out: bool
) -> list[TargetRun]:
    if finite_series(weights).shape != decision_rows(stretches).shape:
        raise ValueError("one weight for every bar of a stretch but its last")
    found = []
    for part, (start, stop) in zip(parts_of(stretches), stretches, strict=True):
        bars = bars_between(market.bars, start, stop)
        wanted = np.ascontiguousarray(weights[part], np.float64)
        found.append(run_targets(wanted, bars, market.costs, market.rules, cash=market.cash, close_out=close_out))
    return found


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
