"""Pre-trade risk: the one gate every intent passes. Pure decisions, any thread; the executor calls them on its own.

An `Approved` value is the only thing the order manager accepts, and only `RiskManager.check` makes one. Cancels are no
intents: they always pass. The rules themselves stand in `core.signals.risk.rules`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.domain.orders import Intent
from core.signals.risk.context import RiskContext, increases_exposure
from core.signals.risk.reasons import ReasonCode
from core.signals.risk.rules import RULES, Question, Rule
from core.signals.risk.settings import RiskSettings, Unit, daily_loss_reached, drawdown_reached

__all__ = [
    "RULES",
    "Approved",
    "Denied",
    "ReasonCode",
    "RiskContext",
    "RiskManager",
    "RiskSettings",
    "Rule",
    "Unit",
    "Verdict",
    "daily_loss_reached",
    "drawdown_reached",
    "increases_exposure",
]


@dataclass(frozen=True, slots=True)
class Approved:
    """An intent that passed; the order manager takes nothing else."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Denied:
    """An intent that did not pass, why for machines and why for people."""

    intent: Intent
    code: ReasonCode
    message: str


Verdict = Approved | Denied


class RiskManager:
    """Applies the settings in force. The settings are replaced only by the executor, after journalling them.

    Args:
        rules: asked in this order; the first one broken is the reason.
    """

    def __init__(self, settings: RiskSettings, rules: tuple[Rule, ...] = RULES) -> None:
        self._settings = settings
        self._rules = rules

    @property
    def settings(self) -> RiskSettings:
        """The settings in force."""
        return self._settings

    def replace_settings(self, settings: RiskSettings) -> None:
        """Put new settings in force; the caller has journalled the command."""
        self._settings = settings

    def check(self, intent: Intent, context: RiskContext) -> Verdict:
        """Decide whether an intent may become an order."""
        return self._first_broken(self._rules, intent, context) or Approved(intent)

    def check_parent(self, intent: Intent, context: RiskContext) -> Denied | None:
        """Decide whether an order that goes out in parts may begin; every part still has to pass `check`.

        Args:
            intent: the whole quantity. It is never sent itself, so there is no approval to be had here.
            context: as for an order of that size; rates, repetitions, places in the list of orders and the book
                concern the parts alone.
        """
        return self._first_broken((rule for rule in self._rules if rule.of_parent), intent, context)

    def _first_broken(self, rules: Iterable[Rule], intent: Intent, context: RiskContext) -> Denied | None:
        question = Question(intent, context, self._settings)
        for rule in rules:
            if message := rule.broken(question):
                return Denied(intent, rule.code, message)
        return None
