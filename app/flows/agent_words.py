"""A stored agent in words: how it was made, what it may do, what its figures mean. Qt-free, pure.

The sentences are for somebody who never heard of an appraisal ratio. Nothing here makes a result look better than the
verdict that stands above it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from app.flows.agent_names import rule_name
from app.flows.model_words import share_text
from app.i18n import MISSING, format_number, format_percent, tr, tr_count
from app.models.agent_card import AgentCard
from core.accounting.rules import CostRates
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.results import AgentDiagnostics, AgentFigures, AgentMetrics, CostShares, MarketFigures
from ml.agents.verdict import ALIKE, APPRAISED, CONFIDENCE, SIGNIFICANCE
from ml.statistic_results import DeflatedSharpe

_LOOKED_BACK = ("momentum", "mean_reversion")
_SEED = "seed_"
_MOST_GROWTH = 700.0  # log return beyond which no number holds the growth


class Tone(StrEnum):
    """How a finding is to be taken."""

    GOOD = "good"
    NEUTRAL = "neutral"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        title / value: its name and its figure.
        text: what that means, for a layman.
        tone: how it is to be taken.
    """

    title: str
    value: str
    text: str
    tone: Tone = Tone.NEUTRAL


def tried_name(name: str, parameter: float | None = None) -> str:
    """Return what an agent, a network or a rule is called, with the bars it looks back where it does."""
    if name.startswith(_SEED):
        return tr("Seed {seed}", seed=name.removeprefix(_SEED))
    if name in _LOOKED_BACK and parameter is not None:
        return tr_count("{title}, {n} bar", "{title}, {n} bars", round(parameter), title=rule_name(name))
    return rule_name(name)


# -- how it was made ------------------------------------------------------------------------------------------------


def weights_text(environment: EnvironmentSpec) -> str:
    """Say what an agent may hold."""
    range_ = {"low": _weight(environment.lowest), "high": _weight(environment.highest)}
    if environment.lowest < 0.0:
        said = tr("long and short, from {low} to {high} of its account", **range_)
    else:
        said = tr("long only, from {low} to {high} of its account", **range_)
    if environment.is_discrete:
        return tr("{said}, one of {n} weights", said=said, n=environment.levels)
    return tr("{said}, any weight", said=said)


def costs_text(costs: CostRates, jitter: float, *, funding: bool = False) -> str:
    """Name the costs it was trained and judged with; those that are zero are left out."""
    rates = (
        (tr("taker fee {rate}"), costs.taker_fee),
        (tr("half spread {rate}"), costs.half_spread),
        (tr("slippage {rate}"), costs.slippage),
        (tr("borrowed coins {rate} per bar"), costs.borrow_base),
        (tr("borrowed money {rate} per bar"), costs.borrow_quote),
    )
    parts = [text.format(rate=format_percent(rate, 3)) for text, rate in rates if rate]
    if costs.impact:
        parts.append(tr("market impact {factor}", factor=format_number(costs.impact, 3)))
    if funding:
        parts.append(tr("funding as it was due"))
    if not parts:
        return tr("none")
    if jitter:
        factor = format_number(2.0**jitter, 2)
        parts.append(tr("while learning drawn anew for each episode, up to {factor} times more or less", factor=factor))
    return ", ".join(parts)


def sees_text(card: AgentCard) -> str:
    """Say what an agent observes at each bar."""
    features, environment, encoder = card.spec.features, card.spec.environment, card.spec.encoder
    said = tr_count(
        "{numbers} numbers: features {features} of the last bar, and its own account",
        "{numbers} numbers: features {features} of the last {n} bars, and its own account",
        environment.window,
        numbers=format_number(card.observed),
        features=f"{features.name} {features.version}",
    )
    if encoder.is_used and encoder.embedding:
        said = tr("{said}; the forecaster's memory", said=said)
    if encoder.is_used and encoder.quantiles:
        said = tr("{said}; the forecaster's quantiles", said=said)
    return said


def algorithm_text(card: AgentCard) -> str:
    """Say what learned, and how large it is."""
    algorithm = card.spec.algorithm
    hidden = " × ".join(map(str, algorithm.hidden))
    return tr("{kind}, hidden layers {hidden}", kind=algorithm.kind.upper(), hidden=hidden)


def steps_text(card: AgentCard) -> str:
    """Say how long the networks learned, and when they were at their best."""
    planned = tr("{n} planned for each network", n=format_number(card.spec.algorithm.steps))
    if not card.learned:
        return planned
    taken = _range([row.steps for row in card.learned])
    best = _range([row.best_step for row in card.learned])
    return tr(
        "{planned}; {taken} taken, best on the validation part after {best}", planned=planned, taken=taken, best=best
    )


def trading_text(card: AgentCard, refusal: str) -> str:
    """Say whether it may trade.

    Args:
        card: of the agent.
        refusal: why it may not, in the present language; "" where it may.
    """
    if refusal:
        return tr("Not possible here: {reason}", reason=refusal)
    return tr("Spot: it holds between none and all of its account, without debts.")


def _range(values: list[int]) -> str:
    low, high = format_number(min(values)), format_number(max(values))
    return low if low == high else f"{low} … {high}"


def _weight(value: float) -> str:
    return format_percent(value, 0 if abs(100.0 * value) % 1 < 1e-9 else 1)


# -- figures --------------------------------------------------------------------------------------------------------


def paid_in_all(paid: CostShares) -> float:
    """Return all costs together."""
    return paid.fee + paid.spread + paid.slippage + paid.impact + paid.funding + paid.borrow


def figure_row(row: AgentFigures, parameter: float | None = None) -> tuple[str, ...]:
    """Return name, net return, log return, Sharpe ratio, deepest fall, turnover, exposure and costs as written."""
    trading, positions = row.trading, row.positions
    return (
        tried_name(row.name, parameter),
        return_text(trading.total_return),
        log_text(row.log_return),
        ratio_text(trading.sharpe),
        format_percent(-trading.max_drawdown, 1),
        format_number(positions.turnover, 1 if positions.turnover < 10 else 0),
        format_percent(positions.exposure, 1),
        format_percent(paid_in_all(row.paid), 1),
    )


def market_row(row: MarketFigures) -> tuple[str, ...]:
    """Return one of several markets: the columns of `figure_row`, then net return and Sharpe ratio of holding it."""
    return (
        row.symbol,
        _grown(row.log_return),
        log_text(row.log_return),
        ratio_text(row.sharpe),
        format_percent(-row.max_drawdown, 1),
        format_number(row.turnover, 1 if row.turnover < 10 else 0),
        format_percent(row.exposure, 1),
        format_percent(paid_in_all(row.paid), 1),
        _grown(row.hold_log_return),
        ratio_text(row.hold_sharpe),
    )


def _grown(log_return: float) -> str:
    return return_text(math.expm1(log_return) if log_return < _MOST_GROWTH else None)


def timing_rows(metrics: AgentMetrics) -> list[tuple[str, ...]]:
    """Return what its own positions at random times came to: the quantiles of all draws."""
    timing = metrics.timing
    rows = (
        (tr("Random timing, 95 %"), timing.high),
        (tr("Random timing, median"), timing.median),
        (tr("Random timing, 5 %"), timing.low),
    )
    return [(name, return_text(math.expm1(value)), log_text(value), *(MISSING,) * 5) for name, value in rows]


def return_text(value: float | None) -> str:
    """Return a total return as written."""
    return MISSING if value is None else format_percent(value, 1, sign=True)


def log_text(value: float | None) -> str:
    """Return a log return as written."""
    return MISSING if value is None else format_number(value, 3, sign=True)


def ratio_text(value: float | None) -> str:
    """Return a Sharpe ratio as written."""
    return MISSING if value is None else format_number(value, 2, sign=True)


def beside_holding(row: AgentFigures) -> str:
    """Say how the agent relates to holding the market."""
    found = row.relative
    if found is None or found.beta is None:
        return tr("How it relates to holding the market cannot be said: the market or the agent never moved.")
    return tr(
        "Beside holding the market: beta {beta}, alpha {alpha} a year, information ratio {ratio}, correlation "
        "{correlation}.",
        beta=format_number(found.beta, 2, sign=True),
        alpha=return_text(found.alpha),
        ratio=ratio_text(found.information_ratio),
        correlation=MISSING if found.correlation is None else format_number(found.correlation, 3, sign=True),
    )


def paid_text(paid: CostShares) -> str:
    """Say what was paid for what."""
    kinds = (
        (tr("fees {share}"), paid.fee),
        (tr("spread {share}"), paid.spread),
        (tr("slippage {share}"), paid.slippage),
        (tr("market impact {share}"), paid.impact),
        (tr("funding {share}"), paid.funding),
        (tr("borrowing {share}"), paid.borrow),
    )
    parts = [text.format(share=format_percent(share, 2)) for text, share in kinds if share]
    return tr("It paid nothing.") if not parts else tr("It paid: {list}.", list=", ".join(parts))


# -- how far it can be trusted --------------------------------------------------------------------------------------


def robustness_findings(metrics: AgentMetrics) -> list[Finding]:
    """Return what speaks for and against the result being more than luck and more than the market."""
    return [
        *_sharpe_findings(metrics),
        _difference_finding(metrics),
        _timing_finding(metrics),
        _hindsight_finding(metrics),
    ]


def _sharpe_findings(metrics: AgentMetrics) -> Iterator[Finding]:
    title = tr("Sharpe ratio above 0, were it the only try")
    if metrics.sharpe is None or metrics.probabilistic is None:
        yield Finding(title, MISSING, tr("Its returns never vary, so there is no ratio."))
        return
    yield Finding(
        title,
        share_text(metrics.probabilistic),
        tr(
            "Probability that the true ratio is above 0, from {ratio} per bar over {bars} bars.",
            ratio=format_number(metrics.sharpe.sharpe, 4, sign=True),
            bars=format_number(metrics.sharpe.count),
        ),
        _tone(metrics.probabilistic >= CONFIDENCE),
    )
    yield _deflated_finding(tr("The same after all tries"), metrics.deflated, CONFIDENCE)
    yield _deflated_finding(tr("The same without what the market gave"), metrics.deflated_appraisal, APPRAISED)


def _deflated_finding(title: str, found: DeflatedSharpe | None, needed: float) -> Finding:
    if found is None:
        return Finding(title, MISSING, tr("It was not measured."))
    text = tr_count(
        "One try on this market so far. At least {needed} is needed.",
        "{n} tries on this market so far; the best of so many worthless ones shows {threshold} per bar by luck alone. "
        "At least {needed} is needed.",
        max(1, round(found.trials)),
        threshold=format_number(found.threshold, 4, sign=True),
        needed=format_percent(needed, 1),
    )
    return Finding(title, share_text(found.probability), text, _tone(found.probability >= needed))


def _difference_finding(metrics: AgentMetrics) -> Finding:
    title, found = tr("Sharpe ratio less that of holding"), metrics.hold_difference
    if found is None:
        return Finding(title, MISSING, tr("There are too few bars to compare them."))
    share = format_percent(found.confidence, 0)
    value = tr(
        "{estimate} ({share}: {low} … {high})",
        estimate=ratio_text(found.estimate),
        share=share,
        low=ratio_text(found.low),
        high=ratio_text(found.high),
    )
    if found.low > 0.0:
        return Finding(title, value, tr("The whole interval is above 0: better than holding."), Tone.GOOD)
    if found.high < 0.0:
        return Finding(title, value, tr("The whole interval is below 0: holding was better."), Tone.BAD)
    return Finding(title, value, tr("The interval holds 0: it cannot be told from holding."), Tone.BAD)


def _timing_finding(metrics: AgentMetrics) -> Finding:
    timing = metrics.timing
    text = tr(
        "Its own positions at {draws} random times: {share} of them earned less. Below {limit} its timing is more than "
        "luck.",
        draws=format_number(timing.draws),
        share=format_percent(timing.percentile, 1),
        limit=format_number(SIGNIFICANCE, 2),
    )
    good = timing.p_value < SIGNIFICANCE
    return Finding(tr("Timing, p-value"), format_number(timing.p_value, 3), text, _tone(good))


def _hindsight_finding(metrics: AgentMetrics) -> Finding:
    title = tr("Share of what hindsight earns")
    if metrics.hindsight_return is None:
        return Finding(title, MISSING, tr("It was not measured."))
    share = MISSING if metrics.hindsight_share is None else format_percent(metrics.hindsight_share, 2)
    text = tr(
        "Who knows every price beforehand earns a log return of {log} after the same costs. Nobody reaches that.",
        log=format_number(metrics.hindsight_return, 2, sign=True),
    )
    return Finding(title, share, text)


# -- whether it learned anything ------------------------------------------------------------------------------------


def trained_text(found: AgentDiagnostics) -> str:
    """Say whether there is a policy at all."""
    if found.is_trained:
        return tr("It reacts to the market. That alone earns nothing; the other pages say what it was worth.")
    if found.constant:
        return tr("Not trained: it does nearly the same at every bar.")
    return tr("Not trained: what it sees of the market hardly moves what it does.")


def diagnostic_findings(metrics: AgentMetrics) -> list[Finding]:
    """Return what was looked at to find out whether there is a policy, of what trades."""
    found = metrics.diagnostics
    return [
        Finding(
            tr("Constant action"),
            tr("{share} near {weight}", share=format_percent(found.mode_share, 1), weight=_target(found.mode_weight)),
            tr("Share of the bars at which it wants nearly the same. Who always does the same needs no network."),
            _alarm(found.constant),
        ),
        _fingerprint(found),
        Finding(
            tr("Spread of its targets"),
            format_number(found.entropy, 2),
            tr("Entropy: 0 where all targets are alike, 1 where they are spread evenly over what it may hold."),
        ),
        Finding(
            tr("At a bound"),
            format_percent(found.saturated, 1),
            tr("Share of the bars at which it wants the least or the most it may hold."),
        ),
        _market_share(found),
        Finding(
            tr("Moved by its own account"),
            _share(found.account_share),
            tr("Share of the ups and downs of its targets that its position and its drawdown account for."),
        ),
        Finding(
            tr("Without the market"),
            _share(found.mean_change),
            tr("How far its targets move, as a share of what it may hold, when it sees an average market only."),
        ),
        _rewards(found),
        _closed(metrics.ensemble.liquidations),
    ]


def seed_row(number: int, metrics: AgentMetrics) -> tuple[str, ...]:
    """Return what was found of the network of one seed: the columns of `diagnostic_findings`, then its own standing."""
    seed = metrics.seeds[number]
    found = seed.diagnostics
    return (
        tr("Seed {seed}", seed=seed.seed),
        f"{format_percent(found.mode_share, 1)} · {_target(found.mode_weight)}",
        MISSING if found.hold_correlation is None else format_number(found.hold_correlation, 3, sign=True),
        format_number(found.entropy, 2),
        format_percent(found.saturated, 1),
        _share(found.market_share),
        _share(found.account_share),
        MISSING if found.reward_gap is None else _gap(found.reward_gap),
        f"● {tr('trained')}" if found.is_trained else f"× {tr('not trained')}",
    )


def _fingerprint(found: AgentDiagnostics) -> Finding:
    title, likeness = tr("Buy-and-hold fingerprint"), found.hold_correlation
    if likeness is None:
        return Finding(title, MISSING, tr("Its returns or those of the market never vary."))
    value = format_number(likeness, 3, sign=True)
    if likeness >= ALIKE:
        return Finding(
            title, value, tr("Its returns are those of buy and hold: holding does the same, cheaper."), Tone.BAD
        )
    if likeness <= -ALIKE:
        return Finding(title, value, tr("Its returns are those of selling short and holding."), Tone.BAD)
    return Finding(title, value, tr("Correlation of its returns with those of buy and hold; near 1 it only holds."))


def _market_share(found: AgentDiagnostics) -> Finding:
    text = tr("Share of the ups and downs of its targets that the market it sees accounts for.")
    if found.ignores_market:
        text = tr("The market it sees hardly moves its targets: it has learned nothing of it.")
    return Finding(tr("Moved by the market"), _share(found.market_share), text, _alarm(found.ignores_market is True))


def _rewards(found: AgentDiagnostics) -> Finding:
    title = tr("Rewards are what it earned")
    if found.rewards_add_up is None or found.reward_gap is None:
        return Finding(title, MISSING, tr("Its reward is not the log return of the account, so they are not compared."))
    value = _gap(found.reward_gap)
    if found.rewards_add_up:
        return Finding(title, value, tr("Sum of the rewards less what the account earned, in log return."))
    return Finding(title, value, tr("They do not add up: do not trust this training."), Tone.BAD)


def _closed(liquidations: int) -> Finding:
    text = (
        tr("An account was closed by force because its margin was used up.")
        if liquidations
        else tr("No account was closed by force.")
    )
    return Finding(tr("Closed by force"), format_number(liquidations), text, _alarm(bool(liquidations)))


def _gap(value: float) -> str:
    return format_number(value, 6, sign=True) if abs(value) >= 5e-7 else format_number(0.0, 6)


def _target(weight: float) -> str:
    return format_number(weight, 2, sign=True)


def _share(value: float | None) -> str:
    return MISSING if value is None else format_percent(value, 1)


def _tone(good: bool) -> Tone:
    return Tone.GOOD if good else Tone.BAD


def _alarm(bad: bool) -> Tone:
    return Tone.BAD if bad else Tone.NEUTRAL
