"""How near a model's forecasts came on unseen bars, beside its baselines, by market state and by seed. GUI thread."""

from __future__ import annotations

from PySide6.QtWidgets import QLabel, QWidget

from app.flows.model_words import REGIME_GROUPS, REGIMES, accuracy_rows, forecaster_name
from app.i18n import MISSING, format_number, format_percent, tr
from app.models.model_card import ModelCard
from app.theme import ThemeManager
from app.ui.model_card.page import CardPage, beside, captioned
from app.ui.widgets.dot_plot import DotPlot
from app.ui.widgets.figure_table import FigureTable, Heading
from ml.api import ClassMetrics, HorizonMetrics, RegimeMetrics
from ml.statistic_results import SeedSummary


def accuracy_headings() -> list[Heading]:
    """Return the columns of the table of forecasters."""
    return [
        Heading(tr("On unseen bars")),
        Heading(tr("MAE"), tr("Mean absolute error of the forecast return; smaller is better")),
        Heading(tr("RMSE"), tr("Root of the mean squared error; large misses count more")),
        Heading(tr("R²"), tr("Share of the squared error that the forecast takes off “price stays”")),
        Heading(tr("IC"), tr("Correlation of forecast and outcome")),
        Heading(tr("Rank IC"), tr("Correlation of their ranks")),
        Heading(tr("Hit rate (95 %)"), tr("Share of right signs, with the range that chance leaves open")),
        Heading(tr("CRPS"), tr("Error of the whole forecast range; smaller is better")),
        Heading(tr("Skill"), tr("Share of the absolute error that the forecast takes off “price stays”")),
        Heading(
            tr("p-value"),
            tr("How often luck alone would put this model so far ahead of the baseline (Diebold–Mariano test)"),
        ),
    ]


def class_row(row: ClassMetrics) -> tuple[str, ...]:
    """Return name, accuracy, AUC, MCC, Brier score, log loss and ECE as written."""
    return (
        forecaster_name(row.name),
        format_percent(row.accuracy, 1),
        format_number(row.auc, 3),
        format_number(row.mcc, 3, sign=True),
        format_number(row.brier, 4),
        format_number(row.log_loss, 4),
        format_number(row.ece, 4),
    )


def regime_row(row: RegimeMetrics) -> tuple[str, ...]:
    """Return regime, targets, R², IC, hit rate, CRPS skill and coverage as written."""
    group = tr(REGIME_GROUPS.get(row.grouping, row.grouping))
    return (
        f"{group}: {tr(REGIMES.get(row.regime, row.regime))}",
        format_number(row.targets),
        format_percent(row.r2, 2, sign=True),
        format_number(row.ic, 3, sign=True),
        format_percent(row.hit_rate, 1),
        format_percent(row.crps_skill, 1, sign=True),
        format_percent(row.coverage, 1),
    )


class AccuracyPage(CardPage):
    """Tables of forecasters, classes and regimes; one line of dots per figure that the seeds agree on or do not."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        self.table = FigureTable("model_accuracy", self.body)
        self.add(self.table)
        self._classes_caption = self.add_caption()
        self.classes = FigureTable("model_classes", self.body)
        self.add(self.classes)
        self._regimes_caption = self.add_caption()
        self.regimes = FigureTable("model_regimes", self.body)
        self.add(self.regimes)
        self._seeds_caption = self.add_caption()
        self.seeds_note = self.add_sentence()
        self.seeds = FigureTable("model_seeds", self.body)
        self.add(self.seeds)
        self.dots = {name: DotPlot(theme.palette, self.body) for name in ("r2", "crps", "ic")}
        self._dot_captions = {name: QLabel(self.body) for name in self.dots}
        self.add(beside(*(captioned(self._dot_captions[name], plot) for name, plot in self.dots.items())))
        self.end()

    def show_card(self, card: ModelCard, horizon: int) -> None:
        metrics = card.metrics.horizons[horizon] if card.metrics.horizons else None
        for part in (self.table, self._regimes_caption, self.regimes):
            part.setVisible(metrics is not None)
        if metrics is not None:
            self._write_horizon(metrics)
        has_classes = metrics is not None and metrics.classes is not None
        self._classes_caption.setVisible(has_classes)
        self.classes.setVisible(has_classes)
        self._write_seeds(card)

    def retranslate(self) -> None:
        self._classes_caption.setText(tr("Chances of up, flat and down"))
        self._regimes_caption.setText(tr("By state of the market"))
        self._seeds_caption.setText(tr("Repetitions with other random numbers"))
        for name, title in (("r2", tr("R²")), ("crps", tr("CRPS")), ("ic", tr("IC"))):
            self._dot_captions[name].setText(tr("{figure} of each network", figure=title))
            self.dots[name].setAccessibleName(self._dot_captions[name].text())

    def refresh_look(self) -> None:
        for plot in self.dots.values():
            plot.set_palette(self.theme.palette)

    def _write_horizon(self, metrics: HorizonMetrics) -> None:
        self.table.show_rows(accuracy_headings(), accuracy_rows(metrics), strong=0)
        regime_headings = (
            *(Heading(tr("State")), Heading(tr("Targets")), Heading(tr("R²")), Heading(tr("IC"))),
            *(Heading(tr("Hit rate")), Heading(tr("CRPS skill")), Heading(tr("Coverage"))),
        )
        self.regimes.show_rows(regime_headings, [regime_row(row) for row in metrics.regimes])
        self._regimes_caption.setVisible(bool(metrics.regimes))
        if metrics.classes is not None:
            headings = (
                *(Heading(tr("On unseen bars")), Heading(tr("Accuracy")), Heading(tr("AUC")), Heading(tr("MCC"))),
                *(Heading(tr("Brier")), Heading(tr("Log loss")), Heading(tr("ECE"))),
            )
            self.classes.show_rows(
                headings, [class_row(row) for row in (metrics.classes, *metrics.baseline_classes)], strong=0
            )

    def _write_seeds(self, card: ModelCard) -> None:
        metrics = card.metrics
        several = len(metrics.seeds) > 1
        self._seeds_caption.setVisible(bool(metrics.seeds))
        self.seeds.setVisible(bool(metrics.seeds))
        self.seeds_note.setVisible(bool(metrics.seeds))
        self.seeds_note.setText(
            tr("Each network alone, at the first horizon; the stored model is their mean. A wide spread means luck.")
            if several
            else tr("There is one network only: how much its result owes to luck cannot be seen.")
        )
        summaries = {"r2": metrics.seed_r2, "crps": metrics.seed_crps, "ic": metrics.seed_ic}
        headings = [Heading(tr("Figure")), Heading(tr("Median")), Heading(tr("95 % interval")), Heading(tr("Range"))]
        titles = {"r2": tr("R²"), "crps": tr("CRPS"), "ic": tr("IC")}
        rows = [_seed_row(titles[name], name, found) for name, found in summaries.items() if found is not None]
        self.seeds.show_rows(headings, rows)
        for name, plot in self.dots.items():
            summary = summaries[name]
            plot.setVisible(several and summary is not None)
            self._dot_captions[name].setVisible(several and summary is not None)
            if summary is None:
                continue
            dots = []
            for score in metrics.seeds:
                value = getattr(score, name)
                if value is not None:
                    said = tr("Seed {seed}: {figure}", seed=score.seed, figure=_figure(name, value))
                    dots.append((value, f"{titles[name]} · {said}"))
            interval = None if summary.low is None or summary.high is None else (summary.low, summary.high)
            plot.set_dots(dots, summary.median, interval)


def _figure(name: str, value: float) -> str:
    if name == "r2":
        return format_percent(value, 2, sign=True)
    return format_percent(value, 4) if name == "crps" else format_number(value, 3, sign=True)


def _seed_row(title: str, name: str, summary: SeedSummary) -> tuple[str, ...]:
    if summary.low is None or summary.high is None:
        interval = MISSING
    else:
        interval = f"{_figure(name, summary.low)} … {_figure(name, summary.high)}"
    spread = f"{_figure(name, summary.minimum)} … {_figure(name, summary.maximum)}"
    return title, _figure(name, summary.median), interval, spread
