"""Strategies of every kind, made from what the journal knows of them. Runs on the executor's thread."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain.instruments import Instrument
from core.strategies.agent_policy import AgentLoader
from core.strategies.agent_strategy import AgentStrategy
from core.strategies.bar_strategy import BarStrategy
from core.strategies.model_strategy import ModelStrategy
from core.strategies.own_account import AccountMemory
from core.strategies.predictor import PredictorLoader
from core.strategies.spec import StrategyKind, StrategySpec


@dataclass(frozen=True, slots=True)
class ModelLoaders:
    """Where strategies get their models from, one loader for each kind."""

    predictor: PredictorLoader
    agent: AgentLoader


def make_strategy(
    spec: StrategySpec,
    loaders: ModelLoaders,
    instrument: Instrument,
    *,
    last_bar_ns: int | None = None,
    last_target: float | None = None,
    account: AccountMemory | None = None,
) -> BarStrategy:
    """Load a strategy's model and let it go on where it stopped.

    Args:
        last_bar_ns / last_target / account: of its last decision, see `core.execution.records.StrategyRecord`.

    Raises:
        UserError: no such model, or one that does not fit.
    """
    if spec.kind is StrategyKind.AGENT:
        policy = loaders.agent(spec.model_id)
        return AgentStrategy(
            spec, policy, instrument, last_bar_ns=last_bar_ns, last_target=last_target, account=account
        )
    predictor = loaders.predictor(spec.model_id)
    return ModelStrategy(spec, predictor, instrument, last_bar_ns=last_bar_ns, last_target=last_target)
