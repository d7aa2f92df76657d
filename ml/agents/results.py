"""What an evaluation of a trading agent says, as frozen values that travel as JSON. Any thread; torch- and numpy-free.

The agent that trades is the ensemble: the mean of what the networks of all seeds would hold. Everything here is after
costs and of bars that no network has learned from, unless it says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml.jsonvalues import JsonValue
from ml.statistic_results import (
    BootstrapInterval,
    CostPoint,
    DeflatedSharpe,
    PositionMetrics,
    RelativeMetrics,
    SeedSummary,
    SharpeMoments,
    TradingMetrics,
)

UNTRAINED = "untrained"
NO_EDGE = "no_edge"
HOLD = "hold"
EDGE = "edge"
STANDINGS = (UNTRAINED, NO_EDGE, HOLD, EDGE)


@dataclass(frozen=True, slots=True)
class CostShares(JsonValue):
    """What was paid, each as a sum of shares of the equity before the bar in which it was; received is below 0."""

    fee: float
    spread: float
    slippage: float
    impact: float
    funding: float
    borrow: float


@dataclass(frozen=True, slots=True)
class AgentFigures(JsonValue):
    """What following target weights came to, what was held at the end sold with all costs.

    Attributes:
        name: "ensemble", "seed_3", "flat", "hold", "momentum" …
        log_return: net, summed over all bars.
        trading: of the returns per bar.
        positions: of the weights held; `turnover` is the value traded over the equity, per year, without what was
            closed by force.
        relative: beside holding the market; None for holding itself.
        paid: costs.
        liquidations: accounts closed by force; every stretch of bars has its own.
    """

    name: str
    log_return: float
    trading: TradingMetrics
    positions: PositionMetrics
    relative: RelativeMetrics | None
    paid: CostShares
    liquidations: int


@dataclass(frozen=True, slots=True)
class BaselineFigures(JsonValue):
    """A rule in the same accounts with the same costs.

    Attributes:
        figures: on the judged bars; the name says which rule.
        parameter: chosen on the training bars: bars looked back, or volatility aimed at (per bar); None without one.
    """

    figures: AgentFigures
    parameter: float | None


@dataclass(frozen=True, slots=True)
class RandomTiming(JsonValue):
    """The agent's own positions at random times: turnover and exposure are equal, only the timing is not.

    Attributes:
        draws: how many.
        low / median / high: 5 %, 50 % and 95 % quantiles of their net log returns.
        percentile: share of the draws that earned less than the agent.
        p_value: one-sided, that the agent's timing is no better.
    """

    draws: int
    low: float
    median: float
    high: float
    percentile: float
    p_value: float


@dataclass(frozen=True, slots=True)
class PeriodFigures(JsonValue):
    """The agent in a part of the time.

    Attributes:
        name: "2024 Q1", or "1/3" where the bars have no times.
        bars: in it.
        log_return / hold_log_return: net, of the agent and of holding.
        sharpe / hold_sharpe: annualised; None where a return never varies.
        max_drawdown: within it.
    """

    name: str
    bars: int
    log_return: float
    hold_log_return: float
    sharpe: float | None
    hold_sharpe: float | None
    max_drawdown: float


@dataclass(frozen=True, slots=True)
class AgentDiagnostics(JsonValue):
    """Whether there is a policy at all. None is what could not be measured.

    Attributes:
        mode_weight / mode_share: the median target, and the share of bars whose target is nearly that.
        entropy: of the targets in bins of equal width, 0 for a single bin, 1 for all alike.
        saturated: share of targets at the lowest or highest weight.
        hold_correlation: of the returns with those of holding.
        market_share / account_share: how much of the targets' variance the market and the account it observes account
            for: total-effect index (Homma & Saltelli 1996), each put out of order between the bars. They overlap.
        mean_change: mean move of the target, as a share of the range, where the market observed is its mean.
        reward_gap: sum of the rewards minus what the account earned, in log return; the largest of all networks.
        constant: nearly all targets are the same.
        ignores_market: the market it observes hardly moves its targets.
        rewards_add_up: the rewards are the net profit and loss.
    """

    mode_weight: float
    mode_share: float
    entropy: float
    saturated: float
    hold_correlation: float | None
    market_share: float | None
    account_share: float | None
    mean_change: float | None
    reward_gap: float | None
    constant: bool
    ignores_market: bool | None
    rewards_add_up: bool | None

    @property
    def is_trained(self) -> bool:
        """Whether targets depend on the market, as far as was measured."""
        return not self.constant and self.ignores_market is not True


@dataclass(frozen=True, slots=True)
class AgentSeed(JsonValue):
    """The network of one seed alone."""

    seed: int
    figures: AgentFigures
    diagnostics: AgentDiagnostics


@dataclass(frozen=True, slots=True)
class MarketFigures(JsonValue):
    """The agent in one of several markets, in an account of its own, beside holding that market; net.

    Attributes:
        symbol: the market.
        bars: judged.
        log_return / sharpe / max_drawdown: of the agent; the ratio is annualised, None where a return never varies.
        turnover: value traded over the equity, per year.
        exposure: mean size of the weights held.
        paid: costs.
        liquidations: accounts closed by force.
        hold_log_return / hold_sharpe / hold_max_drawdown: of holding.
        seed_log_returns: of the networks alone, in their order.
    """

    symbol: str
    bars: int
    log_return: float
    sharpe: float | None
    max_drawdown: float
    turnover: float
    exposure: float
    paid: CostShares
    liquidations: int
    hold_log_return: float
    hold_sharpe: float | None
    hold_max_drawdown: float
    seed_log_returns: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentMetrics(JsonValue):
    """The whole judgement of an agent.

    Where it trades several markets, everything but `markets` is of the capital spread evenly over them, which is looked
    at once for each time: markets move together, so that a bar of each is less than so many bars. What is resampled are
    times, with the bars of all markets in them.

    Attributes:
        bars: judged, summed over all stretches.
        bars_per_year: that make a year of 365 days.
        ensemble / diagnostics: of what trades.
        seeds: the networks alone.
        pooled_return / pooled_sharpe / pooled_drawdown / pooled_turnover: how they lie; there is an interval from five
            seeds on. A network that never trades has a ratio of 0: it earns nothing for nothing, and left out it would
            leave the better ones. None in packages of earlier versions, which left it out.
        baselines: rules in the same accounts; "flat" and "hold" are always among them.
        timing: the ensemble's positions at random times.
        costs: with 0, 1, 2 and 3 times the costs of trading, at once and one bar late.
        periods: parts of the time.
        sharpe: of the ensemble, per bar, with what its significance depends on; None where returns never vary.
        probabilistic: probability that the true ratio is above 0 (Bailey & López de Prado 2012).
        deflated: the same after all trials of the market so far.
        appraisal / deflated_appraisal: the same of what no constant position explains, the returns less beta times
            those of holding (Treynor & Black 1973): who is short while the market falls has shown nothing yet.
        hold_difference: annualised Sharpe ratio minus that of holding, both resampled at the same bars; None for fewer
            than ten bars.
        hindsight_return / hindsight_share: net log return of who knows every price and pays the costs, and the share
            of it the ensemble earned; None where it was not worked out.
        standing: "untrained", "no_edge", "hold" (not distinguishable from holding) or "edge".
        verdict: sentences for a person.
        markets: each of several markets alone; empty where there is one.
    """

    bars: int
    bars_per_year: float
    ensemble: AgentFigures
    diagnostics: AgentDiagnostics
    seeds: tuple[AgentSeed, ...]
    pooled_return: SeedSummary
    pooled_sharpe: SeedSummary | None
    pooled_drawdown: SeedSummary
    pooled_turnover: SeedSummary
    baselines: tuple[BaselineFigures, ...]
    timing: RandomTiming
    costs: tuple[CostPoint, ...]
    periods: tuple[PeriodFigures, ...]
    sharpe: SharpeMoments | None
    probabilistic: float | None
    deflated: DeflatedSharpe | None
    appraisal: SharpeMoments | None
    deflated_appraisal: DeflatedSharpe | None
    hold_difference: BootstrapInterval | None
    hindsight_return: float | None
    hindsight_share: float | None
    standing: str
    verdict: str
    markets: tuple[MarketFigures, ...] = ()

    def baseline(self, name: str) -> AgentFigures:
        """Return the figures of a rule; raises `KeyError` for one that was not followed."""
        for row in self.baselines:
            if row.figures.name == name:
                return row.figures
        raise KeyError(name)
