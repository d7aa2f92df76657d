"""What widgets may ask of the rest of the program: protocols, injected by constructor. GUI thread.

Widgets never see gateways, databases or training code. Commands return at once; results come back as events.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from core.domain.orders import OrderType, Side, TimeInForce


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """A manual order as the ticket holds it; the executor turns it into an `Intent`."""

    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """A strategy to run: a model on its market with a capital and a threshold.

    Attributes:
        strategy_id: stable id, also owner of its orders.
        capital: quote currency it may commit.
        entry_z / exit_z: forecast strength (`Forecast.z_score`) to enter and to leave.
    """

    strategy_id: str
    title: str
    symbol: str
    timeframe: str
    model_id: str
    capital: Decimal
    entry_z: float = 0.5
    exit_z: float = 0.0


class TradingCommands(Protocol):
    """Orders and strategies; every call is passed to the executor thread and journalled there."""

    def place_order(self, draft: OrderDraft) -> None:
        """Send a manual order through risk to the venue."""
        ...

    def cancel_order(self, client_order_id: str) -> None:
        """Cancel one order."""
        ...

    def cancel_all(self, symbol: str | None) -> None:
        """Cancel all orders of the account, or those of one market."""
        ...

    def add_strategy(self, spec: StrategySpec) -> None:
        """Register a strategy (stopped)."""
        ...

    def remove_strategy(self, strategy_id: str) -> None:
        """Forget a stopped strategy; its books stay."""
        ...

    def start_strategy(self, strategy_id: str) -> None:
        """Warm up and run a strategy."""
        ...

    def stop_strategy(self, strategy_id: str) -> None:
        """Stop a strategy and cancel its working orders; its position stays."""
        ...

    def kill(self, flatten: bool) -> None:
        """Halt, cancel everything, confirm by query, optionally sell all positions, report."""
        ...

    def rearm(self) -> None:
        """Allow trading again after a kill; only ever by explicit request."""
        ...


class MarketCommands(Protocol):
    """What the chart looks at."""

    def watch(self, symbol: str, timeframe: str) -> None:
        """Switch the live market view."""
        ...


class TrainingCommands(Protocol):
    """Training runs in a child process."""

    def start_training(self, spec: dict[str, Any]) -> str:
        """Start a run described by `ml.api.ForecastSpec.to_json()` and return its run id."""
        ...

    def cancel_training(self, run_id: str) -> None:
        """Stop a run within 2 s."""
        ...
