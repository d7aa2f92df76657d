"""Writes down the judged pass of an agent, bar by bar. Training child only (imports torch).

The targets are those of the pass that is judged; what they come to is computed as the judge does, in the kernel that
trades. Of several markets the first is written down, with an account of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from core.accounting.fast import run_targets
from ml.agents.accounts import JudgedMarket, JudgedPart, bars_between, log_returns
from ml.agents.baselines import baseline_rules
from ml.agents.episode import MOST_BARS, Episode, observations_kept
from ml.agents.evaluation import judged_rows
from ml.agents.judge import SeedPass
from ml.agents.market_tensor import Stretch
from ml.agents.walks import WeightPolicy
from ml.arrays import BoolArray, Float32Array, FloatArray, IntArray
from ml.environment import BatchedTradingEnv

_AT_ONCE = 4_096  # observations
_CHARGES = ("fee", "spread", "slippage", "impact", "funding", "borrow")


@dataclass(frozen=True, slots=True, eq=False)
class RecordedPass:
    """What is written down.

    Attributes:
        env: that was walked in.
        market / train: bars that were judged, and what rules choose their parameters on.
        test: all stretches of the walk.
        judged: the pass of what trades.
        members: the network of each seed.
        forecast: see `baseline_rules`.
    """

    env: BatchedTradingEnv
    market: JudgedMarket
    train: JudgedPart
    test: Sequence[Stretch]
    judged: SeedPass
    members: Sequence[WeightPolicy]
    forecast: FloatArray | None = None


def record_episode(done: RecordedPass, timeframe: str) -> Episode:
    """Return the end of a pass, as much of it as a package keeps."""
    market, account = done.market, done.judged.account
    if account is None or market.time_ns is None:
        raise ValueError("a pass that knows its account, over bars that have times")
    symbol, part, ours = _first_market(done)
    weights = done.judged.weights[ours]
    ends = np.cumsum(part.lengths)
    rows = np.insert(part.rows, ends, [stop - 1 for _, stop in part.stretches])
    held, traded, cost = _walked(weights, part)
    seeds, observed = _seen(done, np.insert(part.rows, ends, -1), np.insert(account[ours], ends, 0.0, axis=0))
    return Episode(
        symbol=done.env.market.symbols[symbol],
        timeframe=timeframe,
        time_ns=market.time_ns[rows],
        open=market.bars.open[rows],
        high=market.bars.high[rows],
        low=market.bars.low[rows],
        close=market.bars.close[rows],
        volume=market.bars.volume[rows],
        target=np.insert(np.clip(weights, *market.bounds), ends, 0.0),
        held=held,
        traded=traded,
        equity=_equity(weights, part),
        cost=cost,
        seeds=seeds,
        names=observed_names(done.env),
        observed=observed,
        rules={rule.name: _equity(rule.weights, part) for rule in baseline_rules(done.train, part, done.forecast)},
        starts=np.concatenate([[0], ends[:-1] + np.arange(1, len(ends))]).astype(np.int64),
    ).newest()


def observed_names(env: BatchedTradingEnv) -> tuple[str, ...]:
    """Return the name of every number of an observation; those of earlier bars of the window say how much earlier."""
    window = range(env.spec.window - 1, -1, -1)
    columns = (f"{name}[-{back}]" if back else name for back in window for name in env.market.names)
    return (*columns, *env.account_names)


def _first_market(done: RecordedPass) -> tuple[int, JudgedPart, BoolArray]:
    """Return the first market, what is judged of it, and which decisions of the pass are its own."""
    symbol = min(stretch.symbol for stretch in done.test)
    own = judged_rows(done.env, [stretch for stretch in done.test if stretch.symbol == symbol])
    part = JudgedPart.of(done.market, own)
    every = JudgedPart.of(done.market, judged_rows(done.env, done.test))
    return symbol, part, np.isin(every.rows, part.rows)


def _walked(weights: FloatArray, part: JudgedPart) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the weight held at every close before it is changed there, and what was traded and paid in every bar."""
    market, held, traded, paid = part.market, [], [], []
    for inside, (start, stop) in zip(part.slices, part.stretches, strict=True):
        bars, rules = bars_between(market.bars, start, stop), market.rules_at(start)
        sold, kept = (
            run_targets(weights[inside], bars, market.costs, rules, cash=market.cash, close_out=close_out)
            for close_out in (True, False)
        )
        unit = rules.unit
        held.append(_share(kept.lots * unit * bars.close, kept.equity))
        before = np.concatenate([[market.cash], sold.equity[:-1]])
        value = sold.fill_lots * unit * sold.fill_price
        value[-1] += sold.close_out_lots * unit * sold.close_out_price
        traded.append(_share(value, before))
        paid.append(_share(np.sum([getattr(sold, name) for name in _CHARGES], axis=0), before))
    return np.concatenate(held), np.concatenate(traded), np.concatenate(paid)


def _share(value: FloatArray, equity: FloatArray) -> FloatArray:
    """Return values over the equity, 0 where nothing is left."""
    result: FloatArray = np.divide(value, equity, out=np.zeros(len(value)), where=equity > 0.0)
    return result


def _equity(weights: FloatArray, part: JudgedPart) -> FloatArray:
    """Return the equity at every close, with what is held at the end of each stretch sold there."""
    earned = log_returns(weights, part)
    begins = np.concatenate([[0], np.cumsum(part.lengths)[:-1]])
    result: FloatArray = np.exp(np.cumsum(np.insert(earned, begins, 0.0)))
    return result


def _seen(done: RecordedPass, rows: IntArray, account: Float32Array) -> tuple[FloatArray, Float32Array]:
    """Return what each network says to what was seen, and what that was at the newest bars; 0 where a row is -1."""
    env, size = done.env, len(rows)
    width = env.market_size + env.account_size
    kept = observations_kept(size, width)
    seeds, observed = np.zeros((size, len(done.members))), np.zeros((kept, width), np.float32)
    asked = np.flatnonzero(rows >= 0)
    asked = asked[asked >= size - MOST_BARS]
    for begin in range(0, len(asked), _AT_ONCE):
        places = asked[begin : begin + _AT_ONCE]
        seen = env.observe(torch.from_numpy(rows[places]), torch.from_numpy(account[places]))
        for index, member in enumerate(done.members):
            seeds[places, index] = member(seen).numpy()
        new = places >= size - kept
        observed[places[new] - (size - kept)] = seen.numpy()[new]
    return seeds, observed
