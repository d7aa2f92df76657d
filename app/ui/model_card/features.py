"""What each feature is worth to a model. GUI thread."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.i18n import tr, tr_count
from app.models.model_card import ModelCard
from app.theme import ThemeManager
from app.ui.model_card.page import CardPage
from app.ui.widgets.bar_plot import Bar, BarPlot

MOST_BARS = 40


class FeaturesPage(CardPage):
    """Permutation importance, the most important feature on top."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        self.note = self.add_sentence()
        self.bars = BarPlot(theme.palette, self.body)
        self.bars.setObjectName("model_importance")
        self.add(self.bars)
        self.rest = self.add_sentence()
        self.end()

    def show_card(self, card: ModelCard, horizon: int) -> None:
        rows = card.metrics.importance
        self.bars.set_bars([Bar(row.name, row.loss, row.deviation) for row in rows[:MOST_BARS]])
        left = len(rows) - MOST_BARS
        self.rest.setVisible(left > 0)
        self.rest.setText(
            tr_count(
                "{n} feature of less worth is not shown.", "{n} features of less worth are not shown.", max(0, left)
            )
        )
        self.note.setVisible(bool(rows))

    def retranslate(self) -> None:
        self.note.setText(
            tr(
                "How much worse the forecasts of the validation part become (CRPS at the first horizon) when the "
                "values of one feature are shuffled; the thin line is one standard deviation. Two features that say "
                "the same hide each other; around zero a feature is worth nothing."
            )
        )
        self.bars.setAccessibleName(tr("Importance of the features"))
        self.bars.set_empty_text(tr("The importance of the features was not measured in this run."))

    def refresh_look(self) -> None:
        self.bars.set_palette(self.theme.palette)
