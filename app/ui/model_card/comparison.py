"""Stored models side by side. GUI thread."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QWidget

from app.flows.agent_names import standing_text
from app.flows.model_words import p_text, share_text
from app.flows.sentence_text import local_text
from app.flows.setting_words import setting_name, setting_value
from app.i18n import MISSING, format_number, format_percent, mark, tr
from app.models.model_card import ComparedModels
from app.theme import ThemeManager
from app.ui.model_card.page import CardPage
from app.ui.widgets.figure_table import FigureTable, Heading


def _share(decimals: int, *, sign: bool = False) -> Callable[[float], str]:
    return lambda value: format_percent(value, decimals, sign=sign)


def _plain(decimals: int, *, sign: bool = False) -> Callable[[float], str]:
    return lambda value: format_number(value, decimals, sign=sign)


# Dotted names of `ml.model_compare` with the words and the way they are written.
_FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "targets": (mark("Test bars"), _plain(0)),
    "model.mae": (mark("MAE"), _share(3)),
    "model.rmse": (mark("RMSE"), _share(3)),
    "model.r2": (mark("R²"), _share(2, sign=True)),
    "model.ic": (mark("IC"), _plain(3, sign=True)),
    "model.rank_ic": (mark("Rank IC"), _plain(3, sign=True)),
    "model.hit_rate": (mark("Hit rate"), _share(1)),
    "model.skill": (mark("Skill"), _share(2, sign=True)),
    "crps": (mark("CRPS"), _share(4)),
    "crps_skill": (mark("CRPS skill"), _share(1, sign=True)),
    "coverage": (mark("Coverage"), _share(1)),
    "edge_p_value": (mark("p-value"), p_text),
    "seed_r2.median": (mark("R², median of the seeds"), _share(2, sign=True)),
    "sharpe.sharpe": (mark("Sharpe ratio per bar"), _plain(4, sign=True)),
    # of agents
    "bars": (mark("Test bars"), _plain(0)),
    "ensemble.trading.total_return": (mark("Net return"), _share(1, sign=True)),
    "ensemble.log_return": (mark("Log return"), _plain(3, sign=True)),
    "ensemble.trading.sharpe": (mark("Sharpe ratio per year"), _plain(2, sign=True)),
    "ensemble.trading.max_drawdown": (mark("Deepest fall"), lambda value: format_percent(-value, 1)),
    "ensemble.positions.turnover": (mark("Turnover per year"), _plain(1)),
    "ensemble.positions.exposure": (mark("Exposure"), _share(1)),
    "pooled_return.iqm": (mark("Log return, interquartile mean of the networks"), _plain(3, sign=True)),
    "hold_difference.estimate": (mark("Sharpe ratio less that of holding"), _plain(2, sign=True)),
    "timing.p_value": (mark("Timing, p-value"), p_text),
    "hindsight_share": (mark("Share of what hindsight earns"), _share(2)),
    "diagnostics.mode_share": (mark("Constant action"), _share(1)),
    "diagnostics.hold_correlation": (mark("Buy-and-hold fingerprint"), _plain(3, sign=True)),
    "diagnostics.market_share": (mark("Moved by the market"), _share(1)),
    "probabilistic": (mark("Sharpe ratio above 0, were it the only try"), share_text),
    "deflated_appraisal.probability": (mark("The same without what the market gave, after all tries"), share_text),
    "deflated.probability": (mark("Deflated Sharpe ratio (probability)"), share_text),
}


def figure_rows(compared: ComparedModels) -> list[tuple[str, ...]]:
    """Return the figures that some model has as rows: name, then one text per model."""
    found = dict(compared.metrics)
    rows = []
    for name, (title, write) in _FIGURES.items():
        values = found.get(name, ())
        if any(value is not None for value in values):
            rows.append((tr(title), *(MISSING if value is None else write(value) for value in values)))
    return rows


class ComparisonPage(CardPage):
    """What cannot be compared, figures, and how the models were made differently."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        self._compared: ComparedModels | None = None
        self.title = self.add_sentence("heading")
        self.reasons = self.add_sentence("warning")
        self.figures = FigureTable("compared_figures", self.body)
        self.add(self.figures)
        self._differences_caption = self.add_caption()
        self.differences = FigureTable("compared_settings", self.body)
        self.add(self.differences)
        self.end()

    def show_models(self, compared: ComparedModels) -> None:
        """Write models side by side."""
        self._compared = compared
        self.reasons.setVisible(bool(compared.not_comparable))
        self.reasons.setText(" ".join(local_text(reason) for reason in compared.not_comparable))
        models = [Heading(title) for title in compared.titles]
        standings = [(tr("Standing"), *map(standing_text, compared.standings))] if compared.standings else []
        self.figures.show_rows([Heading(tr("On unseen bars")), *models], [*standings, *figure_rows(compared)])
        self._differences_caption.setVisible(bool(compared.differences))
        self.differences.setVisible(bool(compared.differences))
        self.differences.show_rows(
            [Heading(tr("Setting")), *models],
            [
                (setting_name(name), *(setting_value(name, value) for value in row))
                for name, row in compared.differences
            ],
        )

    def retranslate(self) -> None:
        self.title.setText(tr("Models side by side"))
        self._differences_caption.setText(tr("Where they were made differently"))
        if self._compared is not None:
            self.show_models(self._compared)
