"""Whether an agent's result outlives higher costs, slower orders, other times, and how many were tried. GUI thread."""

from __future__ import annotations

import math

from PySide6.QtWidgets import QWidget

from app.flows.agent_names import rule_name
from app.flows.agent_words import ratio_text, return_text, robustness_findings
from app.i18n import format_number, format_percent, tr
from app.models.agent_card import AgentCard
from app.theme import ROW_HEIGHT, ThemeManager
from app.ui.model_card.agent_page import AgentPage
from app.ui.model_card.findings import FindingList
from app.ui.model_card.trading import cost_curves, delay_name
from app.ui.widgets.curve_plot import CurvePlot
from app.ui.widgets.figure_table import FigureTable, Heading
from ml.agents.results import AgentMetrics
from ml.statistic_results import TradingMetrics

_PLOT_HEIGHT = 7 * ROW_HEIGHT


def cost_rows(metrics: AgentMetrics) -> list[tuple[str, ...]]:
    """Return holding, and every multiple of the costs and every delay: name, return, Sharpe ratio, deepest fall."""
    rows = [_row(rule_name("hold"), metrics.baseline("hold").trading)]
    for point in sorted(metrics.costs, key=lambda point: (point.delay, point.multiple)):
        name = tr("{delay}, costs × {multiple}", delay=delay_name(point.delay), multiple=f"{point.multiple:g}")
        rows.append(_row(name, point.metrics))
    return rows


def _row(name: str, trading: TradingMetrics) -> tuple[str, ...]:
    return (
        name,
        return_text(trading.total_return),
        ratio_text(trading.sharpe),
        format_percent(-trading.max_drawdown, 1),
    )


def period_rows(metrics: AgentMetrics) -> list[tuple[str, ...]]:
    """Return parts of the time as rows: name, bars, returns and Sharpe ratios of agent and holding, deepest fall."""
    return [
        (
            period.name,
            format_number(period.bars),
            return_text(math.expm1(period.log_return)),
            return_text(math.expm1(period.hold_log_return)),
            ratio_text(period.sharpe),
            ratio_text(period.hold_sharpe),
            format_percent(-period.max_drawdown, 1),
        )
        for period in metrics.periods
    ]


class AgentRobustnessPage(AgentPage):
    """What speaks for and against it, the cost curve, and parts of the time."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        self._luck_caption = self.add_caption()
        self.findings = FindingList("agent_luck", self.body)
        self.add(self.findings)
        self._costs_caption = self.add_caption()
        self.plot = CurvePlot(theme.palette, self.body)
        self.plot.setObjectName("agent_costs")
        self.plot.setMinimumHeight(_PLOT_HEIGHT)
        self.add(self.plot)
        self.costs = FigureTable("agent_cost_figures", self.body)
        self.add(self.costs)
        self._periods_caption = self.add_caption()
        self.periods = FigureTable("agent_periods", self.body)
        self.add(self.periods)
        self.end()

    def show_agent(self, card: AgentCard) -> None:
        metrics = card.metrics
        self.findings.show_findings(robustness_findings(metrics), praised=card.edge)
        self.plot.set_curves(cost_curves(metrics.costs, metrics.baseline("hold").trading))
        self.plot.set_x_marks(
            [(multiple, f"× {multiple:g}") for multiple in sorted({p.multiple for p in metrics.costs})]
        )
        self.costs.show_rows(
            (Heading(tr("Strategy")), Heading(tr("Net return")), Heading(tr("Sharpe")), Heading(tr("Deepest fall"))),
            cost_rows(metrics),
        )
        self.periods.show_rows(
            (
                *(Heading(tr("Time")), Heading(tr("Bars")), Heading(tr("Net return")), Heading(tr("Holding"))),
                *(Heading(tr("Sharpe")), Heading(tr("Sharpe of holding")), Heading(tr("Deepest fall"))),
            ),
            period_rows(metrics),
        )
        self._periods_caption.setVisible(bool(metrics.periods))
        self.periods.setVisible(bool(metrics.periods))

    def retranslate(self) -> None:
        self._luck_caption.setText(tr("Luck, or more?"))
        self._costs_caption.setText(tr("Total return in % at multiples of the costs, at once and one bar late"))
        self.plot.setAccessibleName(self._costs_caption.text())
        self._periods_caption.setText(tr("Parts of the time"))

    def refresh_look(self) -> None:
        self.plot.set_palette(self.theme.palette)
