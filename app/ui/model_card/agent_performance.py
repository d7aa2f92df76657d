"""What an agent earned on unseen bars after all costs, beside simple rules and beside its own networks. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from PySide6.QtWidgets import QLabel, QWidget

from app.flows.agent_words import (
    beside_holding,
    figure_row,
    log_text,
    market_row,
    paid_text,
    ratio_text,
    timing_rows,
)
from app.i18n import MISSING, format_moment, format_number, format_percent, tr
from app.models.agent_card import AgentCard, EquityCurves
from app.theme import ROW_HEIGHT, ThemeManager
from app.ui.model_card.agent_page import AgentPage
from app.ui.model_card.page import beside, captioned
from app.ui.widgets.curve_plot import Curve, CurvePlot
from app.ui.widgets.dot_plot import DotPlot
from app.ui.widgets.figure_table import FigureTable, Heading
from app.ui.widgets.rule_curves import AGENT, rule_curve
from core.clock import NS_PER_S
from ml.agents.results import AgentSeed, MarketFigures
from ml.statistic_results import SeedSummary

_PLOT_HEIGHT = 9 * ROW_HEIGHT
_MARKS = 5
_FIGURES = ("log_return", "sharpe", "max_drawdown", "turnover")


def equity_curves(curves: EquityCurves) -> list[Curve]:
    """Return what 1 became over time, in seconds: of the agent and of the rules."""
    x = tuple(time_ns / NS_PER_S for time_ns in curves.time_ns)
    return [rule_curve(AGENT, x, curves.agent), *(rule_curve(name, x, values) for name, values in curves.rules)]


def day_marks(curves: EquityCurves) -> list[tuple[float, str]]:
    """Return days (UTC) spread evenly over the time shown."""
    first, last = curves.time_ns[0], curves.time_ns[-1]
    moments = [first + (last - first) * n // (_MARKS - 1) for n in range(_MARKS)]
    return [(moment / NS_PER_S, format_moment(moment, "%Y-%m-%d", UTC)) for moment in moments]


def performance_headings() -> list[Heading]:
    """Return the columns of the table of rules."""
    return [
        Heading(tr("On unseen bars")),
        Heading(tr("Net return"), tr("What the whole account gained or lost over all test bars, after all costs")),
        Heading(tr("Log return"), tr("Logarithm of what the account grew to; gains and losses of it add up")),
        Heading(tr("Sharpe"), tr("Mean over standard deviation of the returns, per year")),
        Heading(tr("Deepest fall"), tr("Largest loss from a high, share of it")),
        Heading(tr("Turnover/y"), tr("How often the whole account is traded per year")),
        Heading(tr("Exposure"), tr("Mean size of the position, share of the account")),
        Heading(tr("Costs"), tr("All that was paid, each as a share of the account before that bar, added up")),
    ]


class AgentPerformancePage(AgentPage):
    """Equity over time, the table of rules, then the networks of all seeds."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        self._curves_caption = self.add_caption()
        self.plot = CurvePlot(theme.palette, self.body)
        self.plot.setObjectName("agent_equity")
        self.plot.setMinimumHeight(_PLOT_HEIGHT)
        self.add(self.plot)
        self.curves_note = self.add_sentence()
        self._rules_caption = self.add_caption()
        self.table = FigureTable("agent_rules", self.body)
        self.add(self.table)
        self.relation = self.add_sentence()
        self.paid = self.add_sentence()
        self._markets_caption = self.add_caption()
        self.markets_note = self.add_sentence()
        self.markets = FigureTable("agent_markets", self.body)
        self.add(self.markets)
        self._seeds_caption = self.add_caption()
        self.seeds_note = self.add_sentence()
        self.seeds = FigureTable("agent_seeds", self.body)
        self.add(self.seeds)
        self.dots = {name: DotPlot(theme.palette, self.body) for name in _FIGURES}
        self._dot_captions = {name: QLabel(self.body) for name in _FIGURES}
        self.add(beside(*(captioned(self._dot_captions[name], plot) for name, plot in self.dots.items())))
        self.end()

    def show_agent(self, card: AgentCard) -> None:
        metrics = card.metrics
        self._write_curves(card)
        rows = [figure_row(metrics.ensemble)]
        rows += [figure_row(rule.figures, rule.parameter) for rule in metrics.baselines]
        self.table.show_rows(performance_headings(), [*rows, *timing_rows(metrics)], strong=0)
        self.relation.setText(beside_holding(metrics.ensemble))
        self.paid.setText(paid_text(metrics.ensemble.paid))
        self._write_markets(metrics.markets)
        self._write_seeds(card)

    def retranslate(self) -> None:
        self._curves_caption.setText(tr("What 1 became on the test part, after all costs"))
        self.plot.setAccessibleName(self._curves_caption.text())
        self.plot.set_x_title(tr("UTC"))
        self._rules_caption.setText(tr("Beside simple rules in the same account, with the same costs"))
        self._markets_caption.setText(tr("Each market alone"))
        self._seeds_caption.setText(tr("Networks of other random numbers, each alone"))
        for name, title in _titles().items():
            self._dot_captions[name].setText(tr("{figure} of each network", figure=title))
            self.dots[name].setAccessibleName(self._dot_captions[name].text())

    def refresh_look(self) -> None:
        self.plot.set_palette(self.theme.palette)
        for plot in self.dots.values():
            plot.set_palette(self.theme.palette)

    def _write_curves(self, card: AgentCard) -> None:
        curves = card.curves
        self.plot.setVisible(curves is not None)
        if curves is None:
            notes = [
                tr(
                    "This package does not hold the evaluated pass bar by bar, so there is no curve. Its figures are "
                    "whole."
                )
            ]
        else:
            self.plot.set_x_marks(day_marks(curves))
            self.plot.set_curves(equity_curves(curves), growth=True)
            notes = _curve_notes(curves, len(card.metrics.markets))
        self.curves_note.setVisible(bool(notes))
        self.curves_note.setText(" ".join(notes))

    def _write_markets(self, markets: Sequence[MarketFigures]) -> None:
        for part in (self._markets_caption, self.markets_note, self.markets):
            part.setVisible(len(markets) > 1)
        self.markets_note.setText(
            tr(
                "Each in an account of its own; all other figures are of the money spread evenly over these {n} "
                "markets. They move together, and the best of several looks good by luck.",
                n=format_number(len(markets)),
            )
        )
        first = Heading(tr("Market"))
        others = (
            Heading(tr("Holding"), tr("What holding this market gained or lost, after all costs")),
            Heading(tr("Sharpe of holding")),
        )
        headings = [first, *performance_headings()[1:], *others]
        self.markets.show_rows(headings, [market_row(row) for row in markets])

    def _write_seeds(self, card: AgentCard) -> None:
        metrics, titles = card.metrics, _titles()
        several = len(metrics.seeds) > 1
        summaries = {
            "log_return": metrics.pooled_return,
            "sharpe": metrics.pooled_sharpe,
            "max_drawdown": metrics.pooled_drawdown,
            "turnover": metrics.pooled_turnover,
        }
        self.seeds_note.setText(_seeds_note(metrics.pooled_return))
        headings = (
            Heading(tr("Figure")),
            Heading(tr("Interquartile mean"), tr("Mean of the middle half of the networks")),
            Heading(tr("95 % interval"), tr("Bootstrap interval of the interquartile mean")),
            Heading(tr("Range"), tr("Lowest and highest")),
        )
        rows = [_summary_row(titles[name], name, found) for name, found in summaries.items() if found is not None]
        self.seeds.show_rows(headings, rows)
        for name, plot in self.dots.items():
            found = summaries[name]
            shown = several and found is not None
            plot.setVisible(shown)
            self._dot_captions[name].setVisible(shown)
            if found is None:
                continue
            values = [(seed.seed, _value(seed, name)) for seed in metrics.seeds]
            dots = [
                (value, f"{titles[name]} · {tr('Seed {seed}: {figure}', seed=seed, figure=_written(name, value))}")
                for seed, value in values
                if value is not None
            ]
            interval = None if found.iqm_low is None or found.iqm_high is None else (found.iqm_low, found.iqm_high)
            plot.set_dots(dots, found.iqm, interval)


def _titles() -> dict[str, str]:
    return {
        "log_return": tr("Log return"),
        "sharpe": tr("Sharpe"),
        "max_drawdown": tr("Deepest fall"),
        "turnover": tr("Turnover/y"),
    }


def _curve_notes(curves: EquityCurves, markets: int) -> list[str]:
    notes = []
    if markets > 1:
        notes.append(
            tr(
                "The curve is of {symbol} alone; the figures below are of the capital spread evenly over all {n} "
                "markets.",
                symbol=curves.symbol,
                n=format_number(markets),
            )
        )
    if curves.left_out:
        notes.append(
            tr(
                "The newest {n} bars are kept; {left} before them are in the figures, not in the curve.",
                n=format_number(curves.bars),
                left=format_number(curves.left_out),
            )
        )
    return notes


def _seeds_note(found: SeedSummary) -> str:
    if found.count < 2:
        return tr("There is one network only: how much its result owes to luck cannot be seen.")
    if found.iqm_low is None:
        return tr(
            "What trades is the mean of what the {n} networks want. From five networks on there is an interval; until "
            "then their range says little.",
            n=format_number(found.count),
        )
    return tr(
        "What trades is the mean of what the {n} networks want. A wide spread means luck; the line is the "
        "interquartile mean, the band its interval.",
        n=format_number(found.count),
    )


def _value(seed: AgentSeed, name: str) -> float | None:
    figures = seed.figures
    if name == "log_return":
        return figures.log_return
    if name == "turnover":
        return figures.positions.turnover
    return figures.trading.sharpe if name == "sharpe" else figures.trading.max_drawdown


def _written(name: str, value: float) -> str:
    if name == "log_return":
        return log_text(value)
    if name == "max_drawdown":
        return format_percent(-value, 1)
    return ratio_text(value) if name == "sharpe" else format_number(value, 1)


def _summary_row(title: str, name: str, found: SeedSummary) -> tuple[str, ...]:
    if found.iqm_low is None or found.iqm_high is None:
        interval = MISSING
    else:
        interval = f"{_written(name, found.iqm_low)} … {_written(name, found.iqm_high)}"
    return (
        title,
        _written(name, found.iqm),
        interval,
        f"{_written(name, found.minimum)} … {_written(name, found.maximum)}",
    )
