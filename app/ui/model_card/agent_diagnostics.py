"""Whether an agent learned anything at all, together and network by network. GUI thread."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.flows.agent_words import diagnostic_findings, seed_row, trained_text
from app.i18n import tr
from app.models.agent_card import AgentCard
from app.theme import ThemeManager, set_look
from app.ui.model_card.agent_page import AgentPage
from app.ui.model_card.findings import FindingList
from app.ui.widgets.figure_table import FigureTable, Heading


def seed_headings() -> list[Heading]:
    """Return the columns of the table of networks."""
    return [
        Heading(tr("Network")),
        Heading(tr("Nearly always"), tr("Share of the bars near the median target, and that target")),
        Heading(tr("Like holding"), tr("Correlation of its returns with those of buy and hold")),
        Heading(tr("Spread"), tr("Entropy of the targets, from 0 to 1")),
        Heading(tr("At a bound"), tr("Share of the bars at the least or the most it may hold")),
        Heading(tr("By market"), tr("Share of the ups and downs of its targets that the market accounts for")),
        Heading(tr("By account"), tr("Share of them that its own account accounts for")),
        Heading(tr("Reward gap"), tr("Sum of the rewards less what the account earned, in log return")),
        Heading(tr("Trained")),
    ]


class AgentDiagnosticsPage(AgentPage):
    """One sentence, what was looked at, and the same of each network."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        self.summary = self.add_sentence("")
        self.summary.setObjectName("agent_trained")
        self.findings = FindingList("agent_diagnostics", self.body)
        self.add(self.findings)
        self._seeds_caption = self.add_caption()
        self.seeds = FigureTable("agent_networks", self.body)
        self.add(self.seeds)
        self.end()

    def show_agent(self, card: AgentCard) -> None:
        metrics = card.metrics
        found = metrics.diagnostics
        self.summary.setText(trained_text(found))
        set_look(self.summary, "role", "" if found.is_trained else "danger")
        self.findings.show_findings(diagnostic_findings(metrics), praised=card.edge)
        self.seeds.show_rows(seed_headings(), [seed_row(number, metrics) for number in range(len(metrics.seeds))])

    def retranslate(self) -> None:
        self._seeds_caption.setText(tr("Each network alone"))
