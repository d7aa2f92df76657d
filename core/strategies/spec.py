"""What a strategy is made of. Pure values, any thread."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class StrategyKind(StrEnum):
    """What decides."""

    MODEL = "model"  # a forecaster, through thresholds
    AGENT = "agent"  # by target weights of its own


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """A strategy to run: a model on its market with a capital and, for a forecaster, thresholds.

    Attributes:
        strategy_id: stable id, also owner of its orders.
        capital: quote currency it may commit; what an agent's account begins with.
        entry_z / exit_z: forecast strength (`Forecast.z_score`) to enter and to leave; `exit_z` ≤ `entry_z`. An agent
            does not use them.
        kind: of the model.
    """

    strategy_id: str
    title: str
    symbol: str
    timeframe: str
    model_id: str
    capital: Decimal
    entry_z: float = 0.5
    exit_z: float = 0.0
    kind: StrategyKind = StrategyKind.MODEL

    def __post_init__(self) -> None:
        if self.capital <= 0:
            raise ValueError(f"capital must be positive, got {self.capital}")
        if self.exit_z > self.entry_z:
            raise ValueError(f"exit_z {self.exit_z} lies above entry_z {self.entry_z}")
