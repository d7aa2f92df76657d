"""What the figures of an agent's evaluation allow to say, in sentences for a person. Any thread; pure functions."""

from __future__ import annotations

import math

from ml.agents.results import EDGE, HOLD, NO_EDGE, UNTRAINED, AgentMetrics
from ml.statistic_results import CostPoint, DeflatedSharpe

CONFIDENCE = 0.95
APPRAISED = 0.975  # one side of a 95 % interval, as the difference to holding: in a falling market it decides alone
SIGNIFICANCE = 0.05
IMPLAUSIBLE_SHARPE = 5.0  # a year, after costs; more has been a leak in all but invented markets
_FEWEST_SEEDS = 5
_NEARLY_FLAT = 0.025
ALIKE = 0.98  # correlation from which on nobody sees a difference


def agent_standing(metrics: AgentMetrics) -> str:
    """Return what may be claimed, one of `ml.agents.results.STANDINGS`.

    There is an edge where the Sharpe ratio after costs is above 0 given all that was tried, where it is above that of
    holding, where it is above 0 without what a constant position explains, and where the same positions at random times
    rarely earn as much. Each must hold at 95 % at least, so that all of them by luck are rarer than one in twenty. Of
    several markets the agent trades the first: what it lost there, no other makes up for.
    """
    if not metrics.diagnostics.is_trained:
        return UNTRAINED
    own = metrics.markets[0].log_return if metrics.markets else metrics.ensemble.log_return
    if not _stands(metrics.deflated) or min(own, metrics.ensemble.log_return) <= 0.0:
        return NO_EDGE
    if metrics.hold_difference is None or metrics.hold_difference.low <= 0.0:
        return HOLD
    return EDGE if _stands(metrics.deflated_appraisal, APPRAISED) and metrics.timing.p_value < SIGNIFICANCE else NO_EDGE


def _stands(deflated: DeflatedSharpe | None, confidence: float = CONFIDENCE) -> bool:
    return deflated is not None and deflated.probability >= confidence


def agent_verdict(metrics: AgentMetrics) -> str:
    """Return sentences that do not promise more than the figures of an agent whose standing is known."""
    if metrics.standing == UNTRAINED:
        sentences = _untrained_sentences(metrics)
    elif metrics.standing == EDGE:
        sentences = [f"Evidence of an edge after costs ({_figures(metrics)}).", *_doubts(metrics)]
    elif metrics.standing == HOLD:
        sentences = [f"Not distinguishable from buy and hold ({_figures(metrics)}).", _difference_sentence(metrics)]
        sentences += [_constant_sentence(metrics), _timing_sentence(metrics)]
    else:
        sentences = [f"No evidence of an edge after costs ({_figures(metrics)}).", *_shortcomings(metrics)]
    if metrics.standing != UNTRAINED:
        sentences.append(_likeness_sentence(metrics))
    sentences += [
        _own_market_sentence(metrics),
        _idle_sentence(metrics),
        _seeds_sentence(metrics),
        _hindsight_sentence(metrics),
    ]
    if metrics.diagnostics.rewards_add_up is False:
        sentences.append("Its rewards do not add up to what the account earned: do not trust this training.")
    return " ".join(filter(None, sentences))


def _figures(metrics: AgentMetrics) -> str:
    ratio, earned = metrics.ensemble.trading.sharpe, metrics.ensemble.trading.total_return
    shown = "–" if ratio is None else f"{ratio:+.2f}"
    growth = "–" if earned is None else f"{earned:+,.1%}"
    return f"net return {growth}, Sharpe ratio {shown} a year, {metrics.bars:,} unseen bars"


def _untrained_sentences(metrics: AgentMetrics) -> list[str]:
    found = metrics.diagnostics
    if not found.constant:
        share = 0.0 if found.market_share is None else found.market_share
        return [f"Not trained: what it sees of the market explains {share:.1%} of how its targets vary."]
    sentences = [f"Not trained: its target is nearly the same in {found.mode_share:.1%} of the bars."]
    if abs(found.mode_weight) <= _NEARLY_FLAT:
        sentences.append("Holding nothing may be right here, but looks the same as having learned nothing.")
    elif found.mode_weight > 0.0:
        sentences.append(f"It buys and holds, with a weight of {found.mode_weight:.2f}.")
    else:
        sentences.append(f"It sells short and holds, with a weight of {found.mode_weight:.2f}.")
    return sentences


def _shortcomings(metrics: AgentMetrics) -> list[str]:
    """Say what is missing for an edge."""
    sentences = []
    if metrics.ensemble.liquidations:
        sentences.append("An account was closed by force because its margin was used up.")
    if _would_do_alone(metrics):
        assert metrics.deflated is not None
        shown = f"{metrics.deflated.probability:.1%}"
        sentences.append(
            f"The best of {metrics.deflated.trials:,.0f} tried on this market looks as good by luck: the deflated "
            f"Sharpe ratio gives {shown}, 95% is needed."
        )
    elif _stands(metrics.deflated):
        sentences += [_constant_sentence(metrics), _timing_sentence(metrics)]
    free = _point(metrics, 0.0, 0)
    if metrics.ensemble.log_return < 0.0 < (free.metrics.total_return or 0.0):
        sentences.append(f"Before costs it would have earned {free.metrics.total_return:.1%}.")
    interval = metrics.hold_difference
    if interval is not None and interval.high < 0.0:
        sentences.append("Buy and hold is significantly better on the same bars.")
    elif interval is not None and interval.low <= 0.0:
        sentences += ["It is not distinguishable from buy and hold.", _difference_sentence(metrics)]
    return sentences


def _doubts(metrics: AgentMetrics) -> list[str]:
    """Say what an edge hangs on."""
    sentences = []
    ratio = metrics.ensemble.trading.sharpe or 0.0
    if ratio > IMPLAUSIBLE_SHARPE:
        sentences.append("A Sharpe ratio that high looks like a leak: check the features.")
    if (_point(metrics, 2.0, 0).metrics.total_return or 0.0) <= 0.0:
        sentences.append("At twice the costs nothing of it is left.")
    if (_point(metrics, 1.0, 1).metrics.sharpe or 0.0) < ratio / 2.0:
        sentences.append("One bar later most of it is gone: it needs orders that are as fast as assumed.")
    if any(period.log_return < 0.0 for period in metrics.periods):
        losing, periods = sum(period.log_return < 0.0 for period in metrics.periods), len(metrics.periods)
        sentences.append(f"It loses in {losing} of {periods} parts of the time.")
    better = [row.figures.name for row in metrics.baselines if (row.figures.trading.sharpe or 0.0) >= ratio]
    if better:
        sentences.append("A simple rule does as well on the same bars.")
    pooled = metrics.pooled_return
    if pooled.iqm_low is not None and pooled.iqm_low <= 0.0:
        sentences.append("Its networks disagree: trained once more it may lose.")
    return sentences


def _would_do_alone(metrics: AgentMetrics) -> bool:
    """Whether the figures would do for the only one ever tried, but not for the best of as many as there were."""
    return (
        metrics.deflated is not None
        and not _stands(metrics.deflated)
        and metrics.probabilistic is not None
        and metrics.probabilistic >= CONFIDENCE
        and metrics.ensemble.log_return > 0.0
    )


def _constant_sentence(metrics: AgentMetrics) -> str:
    if metrics.deflated_appraisal is None or _stands(metrics.deflated_appraisal, APPRAISED):
        return ""
    shown = f"{metrics.deflated_appraisal.probability:.1%}"
    return f"A constant position explains what it earned: the deflated Sharpe ratio of the rest gives {shown}."


def _timing_sentence(metrics: AgentMetrics) -> str:
    if metrics.timing.p_value < SIGNIFICANCE:
        return ""
    return f"Its positions at random times earn as much in {1.0 - metrics.timing.percentile:.1%} of draws."


def _difference_sentence(metrics: AgentMetrics) -> str:
    interval = metrics.hold_difference
    if interval is None:
        return "There are too few bars to compare them."
    range_ = f"{interval.low:+.2f} … {interval.high:+.2f}"
    return f"Its Sharpe ratio less that of holding: {interval.estimate:+.2f}, 95% interval {range_}."


def _likeness_sentence(metrics: AgentMetrics) -> str:
    """Say that what varies in the targets hardly shows in the account."""
    likeness = metrics.diagnostics.hold_correlation
    if likeness is None or abs(likeness) < ALIKE:
        return ""
    if likeness > 0.0:
        return f"Its returns are those of buy and hold: their correlation is {likeness:.3f}."
    return f"Its returns are those of selling short and holding: their correlation with the market is {likeness:.3f}."


def _idle_sentence(metrics: AgentMetrics) -> str:
    """Say which networks are not trained; they are in the ensemble all the same."""
    idle = [str(number) for number, seed in enumerate(metrics.seeds, start=1) if not seed.diagnostics.is_trained]
    if not idle or metrics.standing == UNTRAINED:
        return ""
    count, networks, which = len(idle), len(metrics.seeds), ", ".join(idle)
    return f"{count} of {networks} networks are not trained: number {which}."


def _own_market_sentence(metrics: AgentMetrics) -> str:
    """Say what it came to where it trades, which need not be what all markets together came to."""
    if not metrics.markets:
        return ""
    own = metrics.markets[0]
    ratio = "–" if own.sharpe is None else f"{own.sharpe:+.2f}"
    earned, held = (f"{math.expm1(value):+,.1%}" for value in (own.log_return, own.hold_log_return))
    return (
        f"These figures are of {len(metrics.markets)} markets together; it trades {own.symbol} alone, where it made "
        f"{earned} net (Sharpe ratio {ratio} a year) and holding made {held}."
    )


def _seeds_sentence(metrics: AgentMetrics) -> str:
    count = len(metrics.seeds)
    if not count or count >= _FEWEST_SEEDS:  # judged again, what trades alone is judged
        return ""
    if count == 1:
        return "A single network says nothing about what another training would give."
    return f"{count} networks say little about what another training would give; from five on there is an interval."


def _hindsight_sentence(metrics: AgentMetrics) -> str:
    share = metrics.hindsight_share
    if share is None or metrics.standing != EDGE:
        return ""
    return f"That is {share:.1%} of what perfect foresight earns after costs."


def _point(metrics: AgentMetrics, multiple: float, delay: int) -> CostPoint:
    return next(point for point in metrics.costs if point.multiple == multiple and point.delay == delay)
