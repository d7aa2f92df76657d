"""How core asks a trading agent for the position it wants. ml implements it, the composition root injects it.

Runs on the executor's thread; an implementation must answer within a few milliseconds and never block on I/O
after `warm_up`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.accounting.rules import CostRates
from core.domain.candles import Candle
from core.strategies.model import ChangeableModel, TrainedModel


@dataclass(frozen=True, slots=True)
class AccountView:
    """What an agent is told of its own account at the close of a bar. Analytics: the ledger stays Decimal.

    Attributes:
        units: base currency held; negative is short.
        mark: that close, quote currency.
        entry_price: average price of what is held, quote currency; 0.0 where nothing is.
        equity: quote currency.
        peak: highest equity at a close so far, this one included.
        bars_since_change: bars that have closed since the one in which the position changed last.
    """

    units: float
    mark: float
    entry_price: float
    equity: float
    peak: float
    bars_since_change: int


@dataclass(frozen=True, slots=True)
class AgentDecision:
    """What an agent wants.

    Attributes:
        weight: of the position in the equity, between the agent's `lowest` and `highest`.
        feature_hash: of everything it saw.
    """

    weight: float
    feature_hash: str


class AgentPolicy(TrainedModel, Protocol):
    """A trained agent bound to one market."""

    @property
    def lowest(self) -> float:
        """Lowest weight it may choose; below 0 it sells short."""
        ...

    @property
    def highest(self) -> float:
        """Highest weight it may choose; beyond 1 it borrows."""
        ...

    @property
    def band(self) -> float:
        """A target is not followed while the weight is nearer to it than this."""
        ...

    @property
    def costs(self) -> CostRates:
        """What it learned that trading costs."""
        ...

    def warm_up(self, candles: Sequence[Candle]) -> bool:
        """Reset what it has seen and feed closed history, oldest first.

        Returns:
            Whether it can decide at the last bar.
        """
        ...

    def update(self, candle: Candle) -> bool:
        """Feed the next closed bar.

        Returns:
            Whether it can decide at its close; not while warming up, also after a gap.

        Raises:
            ValueError: the bar is not final or does not follow the last one.
        """
        ...

    def decide(self, account: AccountView) -> AgentDecision:
        """Return what it wants at the close of the newest bar.

        Raises:
            ValueError: it is still warming up, or its numbers are not finite.
        """
        ...


class ChangeableAgent(AgentPolicy, ChangeableModel, Protocol):
    """An agent that can be changed between two bars, none missed."""

    def swap(self, model_id: str) -> None:
        """Let the prepared agent decide from the next bar on.

        Raises:
            UserError: it is not ready; nothing was changed.
        """
        ...


class AgentLoader(Protocol):
    """Builds an agent from a stored model."""

    def __call__(self, model_id: str) -> ChangeableAgent:
        """Load the agent.

        Raises:
            UserError: no such agent, the package is damaged, or this program cannot feed it.
        """
        ...
