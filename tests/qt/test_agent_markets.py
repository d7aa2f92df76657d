"""The card of an agent that learned on several markets: what is of all of them, and each beside holding it."""

from __future__ import annotations

from PySide6.QtWidgets import QApplication

from app.flows.agent_words import market_row
from app.screenshots.agents import agent_card, several_markets_card
from app.theme import ThemeManager
from app.ui.model_card.agent_view import AgentView


def test_each_market_is_shown_beside_holding_it(qapp: QApplication) -> None:
    view = AgentView(ThemeManager(qapp))
    page, card = view.performance, several_markets_card()
    view.show_card(card)
    assert not page.markets.isHidden()
    assert "these 3 markets" in page.markets_note.text()
    assert page.curves_note.text().startswith("The curve is of BTC/USDT alone")
    written = [text.replace("\xa0", " ") for text in market_row(card.metrics.markets[2])]
    assert written == ["DOGE/USDT", "−32.1 %", "−1.44", "−51.2 %", "38", "50.0 %", "6.5 %", "−10.7 %", "−0.21"]
    view.show_card(agent_card())
    assert page.markets.isHidden()
    assert page.markets_note.isHidden()
    assert "alone" not in page.curves_note.text()
    view.deleteLater()
