"""What widgets may ask of the rest of the program: protocols, injected by constructor. GUI thread.

Widgets never see gateways, databases or training code. Commands return at once; results come back as events.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from core.domain.order_plans import PlanDraft
from core.domain.orders import OrderChange, OrderDraft, TradingMode
from core.domain.positions import Ownership
from core.signals.risk_management import RiskSettings
from core.strategies.spec import StrategyKind, StrategySpec

__all__ = [
    "MarketCommands",
    "ModelCommands",
    "OrderDraft",
    "StrategyKind",
    "StrategySpec",
    "TradingCommands",
    "TrainingCommands",
]


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

    def replace_order(self, client_order_id: str, change: OrderChange) -> None:
        """Put a changed order in a resting one's place: cancelled and proven over first, then sent anew."""
        ...

    def ask_about(self, client_order_id: str) -> None:
        """Ask the venue now what became of an order."""
        ...

    def declare_gone(self, client_order_id: str) -> None:
        """Say that a person saw at the venue that an order without an answer is not there."""
        ...

    def create_plan(self, draft: PlanDraft) -> None:
        """Begin an order plan."""
        ...

    def cancel_plan(self, plan_id: str) -> None:
        """End an order plan and cancel its orders."""
        ...

    def resume_plan(self, plan_id: str) -> None:
        """Let a paused order plan go on."""
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

    def change_model(self, strategy_id: str, model_id: str) -> None:
        """Let another model decide for a strategy, from the next bar on where it runs."""
        ...

    def stop_strategy(self, strategy_id: str) -> None:
        """Stop a strategy and cancel its working orders; its position stays."""
        ...

    def take_over(self, symbol: str, move: bool) -> None:
        """Put a market into the person's hands; with `move` the strategies' positions go to the person, at cost."""
        ...

    def hand_back(self, symbol: str, to: Ownership, move_to: str) -> None:
        """Let strategies trade a market again, shared or alone; `move_to` gets the person's position, at cost."""
        ...

    def kill(self, flatten: bool) -> None:
        """Halt, cancel everything, confirm by query, optionally sell all positions, report."""
        ...

    def rearm(self) -> None:
        """Allow trading again after a kill; only ever by explicit request."""
        ...

    def reconnect(self) -> None:
        """Try now to connect again; needed where the venue refused the key."""
        ...

    def change_risk_settings(self, settings: RiskSettings) -> None:
        """Put new risk limits in force; they are journalled first and come back as an event."""
        ...

    def new_account(self, balance: Decimal) -> None:
        """Begin a new account with `balance` of the quote currency; the strategies come along, stopped."""
        ...

    def switch_mode(self, mode: TradingMode) -> None:
        """Trade with the account of another mode; the strategies come along, stopped."""
        ...


class MarketCommands(Protocol):
    """What the chart looks at."""

    def watch(self, symbol: str, timeframe: str) -> None:
        """Switch the live market view."""
        ...


class TrainingCommands(Protocol):
    """Training runs in child processes, from a queue."""

    def start_training(self, spec: dict[str, Any]) -> str:
        """Queue a run described by `ml.api.ForecastSpec.to_json()` and return its run id."""
        ...

    def plan_after(self, run_id: str) -> None:
        """Let a person set up a run that starts when this one has ended."""
        ...

    def pause_training(self, run_id: str) -> None:
        """Let a run stand still where it is; one that waits is not started."""
        ...

    def continue_training(self, run_id: str) -> None:
        """Take a pause back."""
        ...

    def cancel_training(self, run_id: str) -> None:
        """Stop a run within 2 s, or take it out of the queue."""
        ...

    def resume_training(self, run_id: str) -> None:
        """Let a run that ended early go on from its checkpoint."""
        ...

    def move_training(self, run_id: str, by: int) -> None:
        """Move a waiting run so many places down the queue, or up below 0."""
        ...

    def forget_training(self, run_id: str) -> None:
        """Delete an ended run with its checkpoint; the model it made stays."""
        ...

    def set_training_slots(self, slots: int) -> None:
        """Let so many runs be at work at a time."""
        ...


class ModelCommands(Protocol):
    """Stored models; answers come back to the window of models."""

    def list_models(self) -> None:
        """Read which models there are."""
        ...

    def open_model(self, model_id: str) -> None:
        """Read and verify a model."""
        ...

    def compare_models(self, model_ids: Sequence[str]) -> None:
        """Put models side by side."""
        ...

    def set_marks(self, model_id: str, tags: Sequence[str], note: str) -> None:
        """Set tags and note of a model to exactly these."""
        ...

    def export_model(self, model_id: str, target: Path) -> None:
        """Write a model as one file."""
        ...

    def import_model(self, source: Path) -> None:
        """Check a model from elsewhere and store it."""
        ...

    def remove_model(self, model_id: str) -> None:
        """Delete a model for good, where nothing protects it."""
        ...

    def judge_model(self, model_id: str) -> None:
        """Judge a model on the bars that came after its own and keep the result; one at work changes nothing."""
        ...

    def cancel_judging(self, model_id: str) -> None:
        """Stop that."""
        ...
