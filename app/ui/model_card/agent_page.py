"""What the pages of an agent's card share. GUI thread."""

from __future__ import annotations

from app.models.agent_card import AgentCard
from app.ui.model_card.page import CardPage


class AgentPage(CardPage):
    """Base of the pages: subclasses write an agent into their parts."""

    def show_agent(self, card: AgentCard) -> None:
        """Write an agent."""
