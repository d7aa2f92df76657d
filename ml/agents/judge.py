"""The whole judgement of a trading agent on bars it never saw. Any thread of a worker process; numpy, numba.

Every policy has gone over the judged bars once, deterministically, from flat. Its targets are followed here in the
kernel that trades, with the costs that trading has; nothing is chosen by what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml.agents.accounts import (
    AccountPath,
    JudgedMarket,
    JudgedPart,
    Stretch,
    delayed,
    figures_of,
    follow,
    log_returns,
)
from ml.agents.baselines import BUY_AND_HOLD, baseline_rules, hindsight_return, random_timing
from ml.agents.claims import with_trials
from ml.agents.diagnostics import LEAST_SHARE, Observed, diagnose
from ml.agents.results import (
    AgentDiagnostics,
    AgentMetrics,
    AgentSeed,
    BaselineFigures,
    MarketFigures,
    PeriodFigures,
)
from ml.arrays import Float32Array, FloatArray, IntArray
from ml.bootstrap import paired_interval, seed_summary, sharpe
from ml.overfitting import sharpe_moments
from ml.statistic_results import (
    BootstrapInterval,
    CostPoint,
    RelativeMetrics,
    SeedSummary,
)
from ml.trading_metrics import (
    COST_MULTIPLES,
    DELAYS,
    drawdowns,
    relative_metrics,
    sharpe_per_bar,
    simple_from_log,
    trading_metrics,
)

ENSEMBLE = "ensemble"
_PARTS = 3  # of the time, where bars have none or are all of one quarter
_MIN_BOOTSTRAP = 10
_FEWEST_RESAMPLES, _MOST_RESAMPLED = 500, 40_000_000
_FEWEST_DRAWS, _MOST_DRAWN = 99, 20_000_000


@dataclass(frozen=True, slots=True, eq=False)
class SeedPass:
    """One pass of the network of one seed over the judged bars.

    Attributes:
        seed: of its training.
        weights: target of each decision, see `ml.agents.accounts.JudgedPart.rows`, shape (m,).
        observed: what it saw; None leaves out what depends on it.
        rewards: sum of its rewards, in log return; None where the reward is something else.
        account: what it saw of its account at each decision, shape (m, A); None where nobody asks.
    """

    seed: int
    weights: FloatArray
    observed: Observed | None = None
    rewards: float | None = None
    account: Float32Array | None = None


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How much is computed.

    Attributes:
        seed: of everything random.
        resamples: of each bootstrap, fewer on very many bars.
        draws: of random timing, fewer on very many bars; fewer than 20 could never show that the timing is better.
        trials: ever run on this market, this one included.
        trial_std: of their Sharpe ratios per bar; None takes the sampling error of a worthless one.
    """

    seed: int = 0
    resamples: int = 2_000
    draws: int = 400
    trials: int = 1
    trial_std: float | None = None

    def affordable_resamples(self, bars: int) -> int:
        """Return how often so many bars are resampled: less often than asked for where it took minutes."""
        return min(self.resamples, max(_FEWEST_RESAMPLES, _MOST_RESAMPLED // bars))

    def affordable_draws(self, bars: int) -> int:
        """Return how often so many bars are traded at random: less often than asked for where it took minutes."""
        return min(self.draws, max(_FEWEST_DRAWS, _MOST_DRAWN // bars))


def judge(
    market: JudgedMarket,
    train: Sequence[Stretch],
    test: Sequence[Stretch],
    passes: Sequence[SeedPass],
    *,
    options: JudgeOptions,
    ensemble: SeedPass | None = None,
    forecast: FloatArray | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> AgentMetrics:
    """Judge an agent.

    Args:
        market: bars, costs and rules.
        train: stretches that baselines choose their parameters on.
        test: stretches that are judged.
        passes: of the networks of all seeds over `test`, at least one.
        options: how much is computed.
        ensemble: a pass of what trades; None takes the mean of the passes' targets, each made with its own account.
        forecast: see `baseline_rules`.
        check_stop: called between the steps; raises to stop.

    Raises:
        ValueError: no pass, weights that do not fit, or bars that are both for training and judged.
    """
    _check(train, test, passes)
    part = JudgedPart.of(market, test)
    whole = ensemble or _mean_of(passes, options)
    held = follow(np.ones(len(part.rows)), part)
    hold = simple_from_log(held.log_return)
    seeds = []
    for each in passes:
        seeds.append(_judged(f"seed_{each.seed}", each, part, hold, options))
        check_stop()
    metrics = _of_ensemble(whole, seeds, part, held, options, check_stop)
    baselines = _baselines(JudgedPart.of(market, train), part, hold, forecast)
    markets = market_figures(part, whole.weights, [each.weights for each in passes])
    judged = replace(metrics, baselines=baselines, markets=markets)
    return with_trials(judged, options.trials, options.trial_std)


def market_figures(part: JudgedPart, weights: FloatArray, networks: Sequence[FloatArray]) -> tuple[MarketFigures, ...]:
    """Return what targets come to in each of several markets alone; nothing where there is one.

    Args:
        part: that is judged.
        weights: targets of what trades, shape (m,).
        networks: targets of each network, in the order of the seeds.
    """
    found, market = list[MarketFigures](), part.market
    for index, decisions in part.of_markets() if market.markets else ():
        own = [s for s in part.stretches if market.market_at(s[0]) == index]
        alone = JudgedPart.of(market, own)
        path, held = follow(weights[decisions], alone), follow(np.ones(len(decisions)), alone)
        figures, hold = (figures_of("", each, market.bars_per_year, None) for each in (path, held))
        found.append(
            MarketFigures(
                symbol=market.markets[index].symbol,
                bars=len(decisions),
                log_return=figures.log_return,
                sharpe=figures.trading.sharpe,
                max_drawdown=figures.trading.max_drawdown,
                turnover=figures.positions.turnover,
                exposure=figures.positions.exposure,
                paid=figures.paid,
                liquidations=figures.liquidations,
                hold_log_return=hold.log_return,
                hold_sharpe=hold.trading.sharpe,
                hold_max_drawdown=hold.trading.max_drawdown,
                seed_log_returns=tuple(float(log_returns(each[decisions], alone).sum()) for each in networks),
            )
        )
    return tuple(found)


def _unexplained(returns: FloatArray, hold: FloatArray, relative: RelativeMetrics | None) -> FloatArray:
    """Return what a constant position in the market does not explain of returns."""
    beta = None if relative is None else relative.beta
    return returns if beta is None else returns - beta * hold


def _check(train: Sequence[Stretch], test: Sequence[Stretch], passes: Sequence[SeedPass]) -> None:
    if not passes:
        raise ValueError("at least one pass")
    if any(start < end and begin < stop for start, stop in train for begin, end in test):
        raise ValueError("no bar is both for training and judged")


def _of_ensemble(
    whole: SeedPass,
    seeds: Sequence[AgentSeed],
    part: JudgedPart,
    held: AccountPath,
    options: JudgeOptions,
    check_stop: Callable[[], None],
) -> AgentMetrics:
    """Return everything about what trades but the baselines and what may be claimed."""
    hold, year = simple_from_log(held.log_return), part.market.bars_per_year
    judged = _judged(ENSEMBLE, whole, part, hold, options)
    check_stop()
    path = follow(whole.weights, part)
    returns, bound = simple_from_log(path.log_return), hindsight_return(part)
    difference = _difference(returns, hold, year, options)
    check_stop()
    timing = random_timing(whole.weights, part, draws=options.affordable_draws(len(part.rows)), seed=options.seed)
    check_stop()
    return AgentMetrics(
        bars=len(returns),
        bars_per_year=year,
        ensemble=judged.figures,
        diagnostics=_with_members(judged, seeds, whole),
        seeds=tuple(seeds),
        pooled_return=_pooled([seed.figures.log_return for seed in seeds], options),
        pooled_sharpe=_pooled([seed.figures.trading.sharpe or 0.0 for seed in seeds], options),
        pooled_drawdown=_pooled([seed.figures.trading.max_drawdown for seed in seeds], options),
        pooled_turnover=_pooled([seed.figures.positions.turnover for seed in seeds], options),
        baselines=(),
        timing=timing,
        costs=_cost_curve(whole.weights, part),
        periods=_periods(path, held, part),
        sharpe=sharpe_moments(returns),
        probabilistic=None,
        deflated=None,
        appraisal=sharpe_moments(_unexplained(returns, hold, judged.figures.relative)),
        deflated_appraisal=None,
        hold_difference=difference,
        hindsight_return=bound,
        hindsight_share=None if bound is None or bound <= 0.0 else judged.figures.log_return / bound,
        standing="",
        verdict="",
    )


def _mean_of(passes: Sequence[SeedPass], options: JudgeOptions) -> SeedPass:
    """Return the mean of what all networks would hold; it has no rewards and saw nothing of its own."""
    if len(passes) == 1:
        return passes[0]
    return SeedPass(options.seed, np.mean([each.weights for each in passes], axis=0))


def _judged(name: str, each: SeedPass, part: JudgedPart, hold: FloatArray, options: JudgeOptions) -> AgentSeed:
    """Return what one pass came to, and whether there is a policy behind it."""
    path = follow(each.weights, part)
    # Intervals take longer than all the rest: what trades has one.
    bootstrap_seed = options.seed if name == ENSEMBLE else None
    lowest, highest = part.market.bounds
    return AgentSeed(
        seed=each.seed,
        figures=figures_of(
            name, path, part.market.bars_per_year, hold, bootstrap_seed, options.affordable_resamples(len(hold))
        ),
        diagnostics=diagnose(
            np.clip(each.weights, lowest, highest),
            simple_from_log(path.log_return),
            hold,
            lowest=lowest,
            highest=highest,
            observed=each.observed,
            rewards=each.rewards,
            earned=path.unsold,
            seed=options.seed,
        ),
    )


def _with_members(whole: AgentSeed, seeds: Sequence[AgentSeed], given: SeedPass) -> AgentDiagnostics:
    """Return the diagnostics of what trades; what only its members can tell is what the middle one of them tells."""
    own, members = whole.diagnostics, [seed.diagnostics for seed in seeds]
    if given.observed is None:
        market = _middle([each.market_share for each in members])
        own = replace(
            own,
            market_share=market,
            account_share=_middle([each.account_share for each in members]),
            mean_change=_middle([each.mean_change for each in members]),
            ignores_market=None if market is None else market < LEAST_SHARE,
        )
    sums = [each.rewards_add_up for each in (own, *members) if each.rewards_add_up is not None]
    gaps = [each.reward_gap for each in (own, *members) if each.reward_gap is not None]
    return replace(own, rewards_add_up=all(sums) if sums else None, reward_gap=max(gaps, key=abs) if gaps else None)


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _baselines(
    train: JudgedPart, test: JudgedPart, hold: FloatArray, forecast: FloatArray | None
) -> tuple[BaselineFigures, ...]:
    found = []
    for rule in baseline_rules(train, test, forecast):
        beside = None if rule.name == BUY_AND_HOLD else hold
        figures = figures_of(rule.name, follow(rule.weights, test), test.market.bars_per_year, beside)
        found.append(BaselineFigures(figures, rule.parameter))
    return tuple(found)


def _pooled(values: Sequence[float], options: JudgeOptions) -> SeedSummary:
    return seed_summary(np.array(values, np.float64), seed=options.seed, resamples=options.resamples)


def _cost_curve(weights: FloatArray, part: JudgedPart) -> tuple[CostPoint, ...]:
    points, year = [], part.market.bars_per_year
    for delay in DELAYS:
        late = delayed(weights, part, delay)
        for multiple in COST_MULTIPLES:
            dearer = part.at_costs(multiple)
            earned = simple_from_log(log_returns(late, dearer))
            held = simple_from_log(log_returns(np.ones(len(weights)), dearer))
            points.append(
                CostPoint(
                    multiple=multiple,
                    delay=delay,
                    metrics=trading_metrics(earned, bars_per_year=year),
                    relative=relative_metrics(earned, held, bars_per_year=year),
                )
            )
    return tuple(points)


def _difference(
    returns: FloatArray, hold: FloatArray, bars_per_year: float, options: JudgeOptions
) -> BootstrapInterval | None:
    if len(returns) < _MIN_BOOTSTRAP:
        return None
    year = math.sqrt(bars_per_year)
    return paired_interval(
        returns,
        hold,
        lambda values: sharpe(values) * year,
        seed=options.seed,
        resamples=options.affordable_resamples(len(returns)),
    )


def _periods(path: AccountPath, hold: AccountPath, part: JudgedPart) -> tuple[PeriodFigures, ...]:
    """Return calendar quarters (UTC) of the bars that returns were earned in, or equal parts."""
    label = _period_names(len(path.log_return), part.time_ns)
    year = math.sqrt(part.market.bars_per_year)
    found = []
    for name in dict.fromkeys(label.tolist()):
        inside = label == name
        own, held = simple_from_log(path.log_return[inside]), simple_from_log(hold.log_return[inside])
        ratio, hold_ratio = sharpe_per_bar(own), sharpe_per_bar(held)
        found.append(
            PeriodFigures(
                name=name,
                bars=len(own),
                log_return=float(path.log_return[inside].sum()),
                hold_log_return=float(hold.log_return[inside].sum()),
                sharpe=None if ratio is None else ratio * year,
                hold_sharpe=None if hold_ratio is None else hold_ratio * year,
                max_drawdown=float(drawdowns(own).max()),
            )
        )
    return tuple(found)


def _period_names(count: int, time_ns: IntArray | None) -> NDArray[np.str_]:
    """Return the name of the period of every bar, shape (count,)."""
    if time_ns is not None:
        month = time_ns.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
        quarters = np.array([f"{1970 + at // 12} Q{1 + at % 12 // 3}" for at in month.tolist()])
        if len(set(quarters.tolist())) > 1:
            return quarters
    return np.array([f"{1 + at * _PARTS // count}/{_PARTS}" for at in range(count)])
