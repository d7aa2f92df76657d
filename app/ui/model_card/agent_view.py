"""The card of one stored agent: verdict first, then everything behind it. GUI thread."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QWidget

from app.flows.agent_names import standing_text
from app.flows.origin_text import market_title
from app.flows.sentence_text import local_text
from app.i18n import tr
from app.models.agent_card import AgentCard
from app.theme import ThemeManager, set_look
from app.ui.model_card.agent_diagnostics import AgentDiagnosticsPage
from app.ui.model_card.agent_overview import AgentOverviewPage
from app.ui.model_card.agent_performance import AgentPerformancePage
from app.ui.model_card.agent_robustness import AgentRobustnessPage
from app.ui.model_card.frame import CardFrame
from ml.agents.results import UNTRAINED


class AgentView(CardFrame):
    """Title, standing, verdict and pages of an agent.

    Signals:
        encoder_requested(str): the card of the forecaster it sees through is wanted.
    """

    encoder_requested = Signal(str)

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(theme, "agent_card", parent)
        self._card: AgentCard | None = None
        self.standing = QLabel(self)
        self.standing.setObjectName("agent_standing")
        self._head.addWidget(self.standing)
        self.overview = AgentOverviewPage(theme, self.pages)
        self.performance = AgentPerformancePage(theme, self.pages)
        self.robustness = AgentRobustnessPage(theme, self.pages)
        self.diagnostics = AgentDiagnosticsPage(theme, self.pages)
        self._add_pages((self.overview, self.performance, self.robustness, self.diagnostics))
        self.overview.marks_changed.connect(self.marks_changed)
        self.overview.encoder_requested.connect(self.encoder_requested)
        self.retranslate()

    @property
    def card(self) -> AgentCard | None:
        """The agent shown."""
        return self._card

    def show_card(self, card: AgentCard) -> None:
        """Show an agent; the same one again keeps the page and what is being typed."""
        if self._card is None or self._card.model_id != card.model_id:
            self.overview.forget_edits()
        self._card = card
        self._write()

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self._name_pages((tr("Overview"), tr("Performance"), tr("Robustness"), tr("Diagnostics")))
        self._write()

    def _write(self) -> None:
        card = self._card
        if card is None:
            return
        data, standing = card.spec.data, card.metrics.standing
        self.title.setText(f"{market_title(data.symbol, data.timeframe, data.origin)} · {card.model_id}")
        look = "success" if card.edge else "danger" if standing == UNTRAINED else "warning"
        self.standing.setText(
            f"{'●' if card.edge else '×' if standing == UNTRAINED else '○'} {standing_text(standing)}"
        )
        self.verdict.setText(local_text(card.verdict))
        for label in (self.standing, self.verdict):
            set_look(label, "role", look)
        self._write_foreign(card.marks.foreign)
        for page in (self.performance, self.robustness, self.diagnostics):
            page.show_agent(card)
        self.overview.show_agent(card)
