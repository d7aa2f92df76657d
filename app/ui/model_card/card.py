"""The card of one stored forecaster: verdict first, then everything behind it. GUI thread."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QComboBox, QLabel, QWidget

from app.flows.origin_text import market_title
from app.flows.sentence_text import local_text
from app.i18n import tr
from app.models.model_card import Judging, ModelCard
from app.theme import ThemeManager, set_look
from app.ui.model_card.accuracy import AccuracyPage
from app.ui.model_card.calibration import CalibrationPage
from app.ui.model_card.evaluations import EvaluationsPage
from app.ui.model_card.features import FeaturesPage
from app.ui.model_card.frame import CardFrame
from app.ui.model_card.overview import OverviewPage
from app.ui.model_card.trading import TradingPage


class CardView(CardFrame):
    """Title, verdict and pages of a forecaster.

    Signals:
        judge_requested: the model shown shall be judged on newer bars.
        cancel_requested: that shall stop.
    """

    judge_requested = Signal()
    cancel_requested = Signal()

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(theme, "model_card", parent)
        self._card: ModelCard | None = None
        self._judging: Mapping[str, Judging] = {}
        self._horizon_caption = QLabel(self)
        set_look(self._horizon_caption, "role", "small")
        self.horizon = QComboBox(self)
        self.horizon.setObjectName("model_horizon")
        self.overview = OverviewPage(theme, self.pages)
        self.accuracy = AccuracyPage(theme, self.pages)
        self.calibration = CalibrationPage(theme, self.pages)
        self.features = FeaturesPage(theme, self.pages)
        self.trading = TradingPage(theme, self.pages)
        self.evaluations = EvaluationsPage(theme, self.pages)
        self._all = (
            *(self.overview, self.accuracy, self.calibration, self.features, self.trading),
            self.evaluations,
        )
        self._add_pages(self._all)
        self._head.addWidget(self._horizon_caption)
        self._head.addWidget(self.horizon)
        self.horizon.currentIndexChanged.connect(self._write)
        self.overview.marks_changed.connect(self.marks_changed)
        self.evaluations.judge_requested.connect(self.judge_requested)
        self.evaluations.cancel_requested.connect(self.cancel_requested)
        self.retranslate()

    @property
    def card(self) -> ModelCard | None:
        """The model shown."""
        return self._card

    def show_card(self, card: ModelCard) -> None:
        """Show a model; the same one again keeps page, horizon and what is being typed."""
        if self._card is None or self._card.model_id != card.model_id:
            self.overview.forget_edits()
            self.horizon.blockSignals(True)
            self.horizon.clear()
            self.horizon.addItems([self._ahead(bars) for bars in self._horizons(card)])
            self.horizon.blockSignals(False)
        self._card = card
        self._write()
        self._write_judging()

    def set_judging(self, judging: Mapping[str, Judging]) -> None:
        """Show how far evaluations are, by model id, where one is of the model shown."""
        self._judging = judging
        self._write_judging()

    def retranslate(self) -> None:
        """Write every text in the present language."""
        texts = (
            *(tr("Overview"), tr("Accuracy"), tr("Calibration"), tr("Features"), tr("Trading")),
            tr("Judged again"),
        )
        self._name_pages(texts)
        self._horizon_caption.setText(tr("Horizon"))
        self.horizon.setAccessibleName(tr("Horizon"))
        if self._card is not None:
            for index, bars in enumerate(self._horizons(self._card)):
                self.horizon.setItemText(index, self._ahead(bars))
            self._write()

    @staticmethod
    def _horizons(card: ModelCard) -> list[int]:
        return [metrics.horizon for metrics in card.metrics.horizons]

    @staticmethod
    def _ahead(bars: int) -> str:
        return tr("{n} bars ahead", n=bars) if bars > 1 else tr("{n} bar ahead", n=bars)

    def _write_judging(self) -> None:
        if self._card is not None:
            self.evaluations.show_judging(self._judging.get(self._card.model_id))

    @Slot()
    def _write(self) -> None:
        card = self._card
        if card is None:
            return
        data = card.spec.data
        self.title.setText(f"{market_title(data.symbol, data.timeframe, data.origin)} · {card.model_id}")
        text, edge = card.verdict_at(max(0, self.horizon.currentIndex()))
        self.verdict.setText(local_text(text))
        set_look(self.verdict, "role", "success" if edge else "warning")
        self._write_foreign(card.marks.foreign)
        several = self.horizon.count() > 1
        self.horizon.setVisible(several)
        self._horizon_caption.setVisible(several)
        for page in self._all:
            page.show_card(card, max(0, self.horizon.currentIndex()))
