"""Whether a model's ranges and chances mean what they say. GUI thread."""

from __future__ import annotations

from PySide6.QtWidgets import QLabel, QWidget

from app.flows.model_words import calibration_sentence, independent_outcomes
from app.i18n import MISSING, format_number, format_percent, tr
from app.models.model_card import ModelCard
from app.theme import ThemeManager
from app.ui.model_card.page import CardPage, beside, captioned
from app.ui.widgets.diagonal_plot import DiagonalPlot, DiagonalPoint
from app.ui.widgets.figure_table import FigureTable, Heading
from app.ui.widgets.histogram_plot import HistogramPlot
from ml.api import HorizonMetrics
from ml.metric_results import ConformalMetrics


def interval_rows(metrics: ConformalMetrics) -> list[tuple[str, ...]]:
    """Return the three intervals as rows: name, share of outcomes inside, mean width."""

    def row(name: str, coverage: float, width: float | None) -> tuple[str, ...]:
        return name, format_percent(coverage, 1), MISSING if width is None else format_percent(width, 3)

    adaptive = tr("corrected with every bar (adaptive)")
    if metrics.adaptive_infinite:
        share = format_percent(metrics.adaptive_infinite, 1)
        adaptive = tr("corrected with every bar (adaptive); {share} have no ends", share=share)
    return [
        row(tr("as forecast"), metrics.coverage, metrics.width),
        row(tr("corrected once (split-conformal)"), metrics.split_coverage, metrics.split_width),
        row(adaptive, metrics.adaptive_coverage, metrics.adaptive_width),
    ]


class CalibrationPage(CardPage):
    """Calibration plot and PIT histogram, reliability of chances, corrected intervals."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        palette = theme.palette
        self.summary = self.add_sentence("")
        self.quantiles = DiagonalPlot(palette, self.body)
        self.quantiles.setObjectName("model_calibration")
        self.pit = HistogramPlot(palette, self.body)
        self.pit.setObjectName("model_pit")
        self._quantiles_caption, self._pit_caption = QLabel(self.body), QLabel(self.body)
        self.add(beside(captioned(self._quantiles_caption, self.quantiles), captioned(self._pit_caption, self.pit)), 2)
        self.uniform = self.add_sentence()
        self._chances_caption = self.add_caption()
        self.chances = DiagonalPlot(palette, self.body)
        self.chances.setObjectName("model_reliability")
        self.add(self.chances, 1)
        self._intervals_caption = self.add_caption()
        self.intervals = FigureTable("model_intervals", self.body)
        self.add(self.intervals)
        self.unused = self.add_sentence()
        self.end()

    def show_card(self, card: ModelCard, horizon: int) -> None:
        metrics = card.metrics.horizons[horizon] if card.metrics.horizons else None
        self.summary.setText(tr("Calibration was not measured.") if metrics is None else calibration_sentence(metrics))
        self._write_quantiles(metrics)
        classes = None if metrics is None else metrics.classes
        self._chances_caption.setVisible(classes is not None)
        self.chances.setVisible(classes is not None)
        if classes is not None:
            points = [DiagonalPoint(p.confidence, p.observed, p.count) for p in classes.reliability]
            self.chances.set_points(points)
        wanted = None if metrics is None else metrics.horizon
        found = next((row for row in card.metrics.conformal if row.horizon == wanted), None)
        self._intervals_caption.setVisible(found is not None)
        self.intervals.setVisible(found is not None)
        self.unused.setVisible(found is not None)
        if found is not None:
            promised = format_percent(found.nominal_coverage, 0)
            headings = (
                Heading(tr("The outer range")),
                Heading(tr("Inside (should be {share})", share=promised)),
                Heading(tr("Mean width"), tr("As a share of the price")),
            )
            self.intervals.show_rows(headings, interval_rows(found))

    def retranslate(self) -> None:
        self._quantiles_caption.setText(tr("Quantiles: on the diagonal every promise is kept"))
        self.quantiles.setAccessibleName(tr("Calibration of the quantiles"))
        self.quantiles.set_axes(tr("promised share of outcomes below"), tr("what came"))
        self.quantiles.set_empty_text(tr("Calibration was not measured."))
        self._pit_caption.setText(tr("Where outcomes fell in the forecast range: even is good"))
        self.pit.setAccessibleName(tr("Where outcomes fell in the forecast range"))
        self.pit.set_axis(tr("place within the forecast (PIT)"))
        self.pit.set_empty_text(tr("Calibration was not measured."))
        self._chances_caption.setText(tr("Chances: of forecasts as sure as this, how many came true"))
        self.chances.setAccessibleName(tr("Reliability of the chances"))
        self.chances.set_axes(tr("chance given to the likeliest class"), tr("came true"))
        self._intervals_caption.setText(tr("Ranges after correction"))
        self.unused.setText(
            tr(
                "The corrected ranges are a measurement only: strategies and the fan in the chart use the ranges as "
                "forecast."
            )
        )

    def refresh_look(self) -> None:
        for plot in (self.quantiles, self.pit, self.chances):
            plot.set_palette(self.theme.palette)

    def _write_quantiles(self, metrics: HorizonMetrics | None) -> None:
        self.uniform.setVisible(metrics is not None)
        if metrics is None:
            self.quantiles.set_points(())
            self.pit.set_counts(())
            return
        independent, found = independent_outcomes(metrics), metrics.calibration
        self.quantiles.set_points([DiagonalPoint(p.nominal, p.observed) for p in found.points], independent)
        self.pit.set_counts(found.pit_counts, independent)
        self.uniform.setText(
            tr(
                "The shaded bands hold 95 % of what chance does to honest forecasts with {n} independent outcomes. "
                "Kolmogorov–Smirnov distance {d}, p-value {p}.",
                n=format_number(independent),
                d=format_number(found.ks_statistic, 3),
                p=format_number(found.ks_p_value, 3),
            )
        )
