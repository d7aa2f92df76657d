"""The judgement of an agent as text for a terminal. Qt-free and torch-free."""

from __future__ import annotations

import math

from app.commands.forecast_text import figure_text, summary_text
from ml.agents.results import AgentFigures, AgentMetrics, MarketFigures
from ml.agents.run_spec import AgentSpec

_NAMES = {"ensemble": "agent"}
_MOST_GROWTH = 700.0  # log return beyond which no number holds the growth


def agent_lines(metrics: AgentMetrics) -> list[str]:
    """Return every table of a judgement, without its verdict."""
    return [
        *_figure_lines(metrics),
        *_market_lines(metrics),
        *_seed_lines(metrics),
        *_cost_lines(metrics),
        *_period_lines(metrics),
        *_doubt_lines(metrics),
    ]


def agent_lines_of_spec(spec: AgentSpec, observed: int) -> list[str]:
    """Return how an agent was made."""
    environment, algorithm = spec.environment, spec.algorithm
    actions = f"one of {environment.levels} weights" if environment.is_discrete else "any weight"
    encoder = f", encoder {spec.encoder.model}" if spec.encoder.is_used else ""
    markets = ", ".join(spec.universe.symbols)
    return [
        *([f"learned   on {markets} too; it trades {spec.data.symbol}"] if markets else []),
        f"agent     {algorithm.kind}, {' x '.join(map(str, algorithm.hidden))}, {algorithm.seeds} seeds from "
        f"{algorithm.seed}, {actions} from {environment.lowest:g} to {environment.highest:g}",
        f"observes  {observed:,} numbers: features {spec.features.name} (version {spec.features.version}) of "
        f"{environment.window} bars{encoder}, and its account",
        f"reward    {environment.reward}, taker fee {environment.costs.taker_fee:.3%}, half spread "
        f"{environment.costs.half_spread:.3%}, slippage {environment.costs.slippage:.3%}",
    ]


def _figure_lines(metrics: AgentMetrics) -> list[str]:
    rows = [metrics.ensemble, *(row.figures for row in metrics.baselines)]
    return [
        f"{metrics.bars:,} unseen bars, after all costs:",
        f"  {'':18}{'return':>10}{'Sharpe':>9}{'drawdown':>10}{'turnover/y':>12}{'exposure':>10}{'costs':>9}",
        *map(_row, rows),
    ]


def _row(row: AgentFigures) -> str:
    trading, positions, paid = row.trading, row.positions, row.paid
    costs = paid.fee + paid.spread + paid.slippage + paid.impact + paid.funding + paid.borrow
    return (
        f"  {_NAMES.get(row.name, row.name.replace('_', ' ')):18}{figure_text(trading.total_return, '+.1%'):>10}"
        f"{figure_text(trading.sharpe, '+.2f'):>9}{trading.max_drawdown:10.1%}{positions.turnover:12,.0f}"
        f"{positions.exposure:10.1%}{costs:9.1%}"
    )


def _market_lines(metrics: AgentMetrics) -> list[str]:
    """Return each of several markets, the agent in an account of its own beside holding it."""
    if not metrics.markets:
        return []
    head = f"{'return':>10}{'Sharpe':>9}{'drawdown':>10}{'turnover/y':>12}{'exposure':>10}{'costs':>9}"
    return [
        f"  above: the capital spread evenly over {len(metrics.markets)} markets; each alone:",
        f"  {'':18}{head}{'holding':>10}{'Sharpe':>9}",
        *map(_market_row, metrics.markets),
    ]


def _market_row(row: MarketFigures) -> str:
    paid = row.paid
    costs = paid.fee + paid.spread + paid.slippage + paid.impact + paid.funding + paid.borrow
    return (
        f"  {row.symbol:18}{_grown(row.log_return):>10}{figure_text(row.sharpe, '+.2f'):>9}{row.max_drawdown:10.1%}"
        f"{row.turnover:12,.0f}{row.exposure:10.1%}{costs:9.1%}{_grown(row.hold_log_return):>10}"
        f"{figure_text(row.hold_sharpe, '+.2f'):>9}"
    )


def _grown(log_return: float) -> str:
    return f"{math.expm1(log_return):+.1%}" if log_return < _MOST_GROWTH else "–"


def _seed_lines(metrics: AgentMetrics) -> list[str]:
    if len(metrics.seeds) < 2:
        return []
    lines = [f"{len(metrics.seeds)} seeds alone:", f"  {'log return':12}{summary_text(metrics.pooled_return, '+.3f')}"]
    if metrics.pooled_sharpe is not None:
        lines.append(f"  {'Sharpe':12}{summary_text(metrics.pooled_sharpe, '+.2f')}")
    return lines


def _cost_lines(metrics: AgentMetrics) -> list[str]:
    lines = [f"  {'costs':18}{'return':>10}{'Sharpe':>9}{'one bar late':>14}"]
    late = {point.multiple: point for point in metrics.costs if point.delay == 1}
    for point in metrics.costs:
        if point.delay == 0:
            after = late.get(point.multiple)
            slow = figure_text(None if after is None else after.metrics.total_return, "+.1%")
            lines.append(
                f"  {f'{point.multiple:g} x':18}{figure_text(point.metrics.total_return, '+.1%'):>10}"
                f"{figure_text(point.metrics.sharpe, '+.2f'):>9}{slow:>14}"
            )
    return lines


def _period_lines(metrics: AgentMetrics) -> list[str]:
    lines = [f"  {'time':18}{'log return':>11}{'holding':>10}{'Sharpe':>9}{'drawdown':>10}"]
    return lines + [
        f"  {period.name:18}{period.log_return:+11.3f}{period.hold_log_return:+10.3f}"
        f"{figure_text(period.sharpe, '+.2f'):>9}{period.max_drawdown:10.1%}"
        for period in metrics.periods
    ]


def _doubt_lines(metrics: AgentMetrics) -> list[str]:
    found, timing = metrics.diagnostics, metrics.timing
    lines = [
        f"its positions at random times: {timing.percentile:.1%} of {timing.draws:,} earned less "
        f"(p = {timing.p_value:.3f})",
        f"targets: entropy {found.entropy:.2f}, {found.saturated:.1%} at a bound, {found.mode_share:.1%} near "
        f"{found.mode_weight:+.2f}; varied by the market {figure_text(found.market_share, '.1%')}, by its account "
        f"{figure_text(found.account_share, '.1%')}",
    ]
    if metrics.hindsight_return is not None:
        lines.append(
            f"who knows every price earns a log return of {metrics.hindsight_return:+,.2f} after costs; "
            f"the agent's share of it is {figure_text(metrics.hindsight_share, '.2%')}"
        )
    if metrics.probabilistic is not None:
        text = f"Sharpe ratio above 0 after costs: probability {metrics.probabilistic:.1%}"
        if metrics.deflated is not None:
            text += f", {metrics.deflated.probability:.1%} after {metrics.deflated.trials:,.0f} trials on this market"
        lines.append(text)
    return lines
