"""What following a model would have earned, after costs, and how much of it is luck. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QWidget

from app.flows.model_words import earnings_sentence, trials_sentence
from app.i18n import format_number, format_percent, tr
from app.models.model_card import ModelCard
from app.theme import ROW_HEIGHT, ThemeManager
from app.ui.model_card.page import CardPage
from app.ui.widgets.curve_plot import Curve, CurveColour, CurvePlot
from app.ui.widgets.figure_table import FigureTable, Heading
from ml.statistic_results import CostPoint, ForecastEarnings, TradingMetrics

_COLOURS = (CurveColour.ACCENT, CurveColour.WARNING)
_NAN = float("nan")
_PLOT_HEIGHT = 7 * ROW_HEIGHT


def cost_curves(points: Sequence[CostPoint], hold: TradingMetrics) -> list[Curve]:
    """Return the total return in % over the multiple of the cost: at once, a bar late, and of holding."""
    multiples = tuple(sorted({point.multiple for point in points}))
    curves = []
    for number, delay in enumerate(sorted({point.delay for point in points})):
        by_multiple = {point.multiple: point.metrics for point in points if point.delay == delay}
        returns = tuple(_percent(by_multiple[m]) if m in by_multiple else _NAN for m in multiples)
        curves.append(
            Curve(delay_name(delay), multiples, returns, _COLOURS[number % len(_COLOURS)], dashed=number % 2 == 1)
        )
    held = tuple(_percent(hold) for _ in multiples)
    return [*curves, Curve(tr("holding, bought and sold once"), multiples, held, CurveColour.MUTED)]


def earnings_rows(earnings: ForecastEarnings) -> list[tuple[str, ...]]:
    """Return holding and every cost and delay as rows: name, return, Sharpe ratio, deepest fall."""
    rows = [_row(tr("Holding the market, cost {cost}", cost=format_percent(earnings.cost, 2)), earnings.hold)]
    for point in earnings.points:
        cost = format_percent(point.multiple * earnings.cost, 2)
        rows.append(_row(tr("{delay}, cost {cost}", delay=delay_name(point.delay), cost=cost), point.metrics))
    return rows


def _row(name: str, metrics: TradingMetrics) -> tuple[str, ...]:
    return (
        name,
        format_percent(metrics.total_return, 1, sign=True),
        format_number(metrics.sharpe, 2, sign=True),
        format_percent(-metrics.max_drawdown, 1),
    )


def _percent(metrics: TradingMetrics) -> float:
    return _NAN if metrics.total_return is None else 100.0 * metrics.total_return


def delay_name(delay: int) -> str:
    """Say how late it trades."""
    return tr("traded at once") if delay == 0 else tr("traded {n} bar late", n=delay)


class TradingPage(CardPage):
    """Cost curve, the same in figures, and what many tries mean."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        self.luck = self.add_sentence("")
        self.trials = self.add_sentence("")
        self._caption = self.add_caption()
        self.note = self.add_sentence()
        self.plot = CurvePlot(theme.palette, self.body)
        self.plot.setObjectName("model_costs")
        self.plot.setMinimumHeight(_PLOT_HEIGHT)
        self.add(self.plot, 1)
        self.table = FigureTable("model_earnings", self.body)
        self.add(self.table)
        self.positions = self.add_sentence()
        self.end()

    def show_card(self, card: ModelCard, horizon: int) -> None:
        metrics = card.metrics
        self.luck.setText(earnings_sentence(metrics.sharpe, card.sharpe_probability))
        self.trials.setText(trials_sentence(metrics.sharpe, metrics.deflated))
        earnings = metrics.earnings
        for part in (self.note, self.table, self.positions):
            part.setVisible(earnings is not None)
        if earnings is None:
            self.plot.set_curves(())
            return
        self.note.setText(
            tr(
                "Long while the forecast is above zero, short while it is below, on the test part at the first "
                "horizon. Across: multiples of the assumed cost of {cost} per change of the whole position.",
                cost=format_percent(earnings.cost, 2),
            )
        )
        self.plot.set_curves(cost_curves(earnings.points, earnings.hold))
        headings = (
            Heading(tr("Strategy")),
            Heading(tr("Return")),
            Heading(tr("Sharpe per year")),
            Heading(tr("Deepest fall")),
        )
        self.table.show_rows(headings, earnings_rows(earnings))
        held = earnings.positions
        self.positions.setText(
            tr(
                "{trades} positions; long {long} and short {short} of the bars; the whole account is turned over "
                "{turnover} times per year.",
                trades=format_number(held.trades),
                long=format_percent(held.long_share, 0),
                short=format_percent(held.short_share, 0),
                turnover=format_number(held.turnover, 0),
            )
        )

    def retranslate(self) -> None:
        self._caption.setText(tr("Total return in % after costs"))
        self.plot.setAccessibleName(tr("Total return in % after costs"))
        self.plot.set_empty_text(tr("What following the forecast would have earned was not measured."))

    def refresh_look(self) -> None:
        self.plot.set_palette(self.theme.palette)
