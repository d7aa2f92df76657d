"""A strategy that follows an agent: its target weights become orders. Runs on the executor's thread; no I/O.

The agent trades an account of its own, see `core.strategies.own_account`: its capital and what it has made of it. It
never sees what else the venue's account holds, and never trades it.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.domain.candles import Candle
from core.domain.instruments import Instrument
from core.domain.positions import Position
from core.domain.signals import Signal
from core.errors import UserError
from core.signals.generator import market_intent
from core.signals.target_sizing import target_change
from core.strategies.agent_policy import ChangeableAgent
from core.strategies.bar_strategy import BarStrategy, Decision
from core.strategies.own_account import AccountMemory, OwnAccount, own_account
from core.strategies.spec import StrategySpec


class AgentStrategy(BarStrategy):
    """One agent on one spot market.

    Args:
        account: what was remembered at its last decision; None opens its account.

    Raises:
        UserError: the agent was trained on another market or bar length, or wants positions that spot does not know.
    """

    def __init__(
        self,
        spec: StrategySpec,
        policy: ChangeableAgent,
        instrument: Instrument,
        *,
        last_bar_ns: int | None = None,
        last_target: float | None = None,
        account: AccountMemory | None = None,
    ) -> None:
        trained_on = policy.symbol, policy.timeframe
        super().__init__(spec, trained_on, instrument, last_bar_ns=last_bar_ns, last_target=last_target)
        require_spot(policy.lowest, policy.highest)
        self._policy = policy
        self._memory = account
        self._is_warm = False

    @property
    def warm_up_bars(self) -> int:
        """Closed bars of history the agent needs."""
        return self._policy.warm_up_bars

    @property
    def is_warm(self) -> bool:
        """Whether the agent can decide at the newest bar."""
        return self._is_warm

    @property
    def model(self) -> ChangeableAgent:
        """The agent that decides."""
        return self._policy

    def change_model(self, spec: StrategySpec) -> None:
        """Let the prepared agent of `spec` decide from the next bar on, with the same account.

        Raises:
            UserError: it is not ready; nothing was changed.
        """
        self._policy.swap(spec.model_id)
        self.spec, self._is_warm = spec, True

    def _begin(self, closed: Sequence[Candle]) -> None:
        self._is_warm = self._policy.warm_up(closed)

    def _next(self, candle: Candle) -> None:
        self._is_warm = self._policy.update(candle)

    def _decide(self, candle: Candle, position: Position, now_ns: int) -> Decision:
        account = own_account(self.spec.capital, position, candle, self._memory, self.last_bar_ns)
        wanted = self._policy.decide(account.view)
        self._memory = account.memory
        signal = Signal(
            owner=self.spec.strategy_id,
            symbol=self.spec.symbol,
            target_weight=wanted.weight,
            reference_price=candle.close,
            bar_open_ns=candle.open_time_ns,
            reason=_reason(wanted.weight, account),
            model_id=self._policy.model_id,
            feature_hash=wanted.feature_hash,
        )
        change = target_change(wanted.weight, account, self._instrument, self._policy.costs, self._policy.band)
        intent = market_intent(signal, change, self._instrument, now_ns) if change else None
        return Decision(signal, intent, account.memory)


def require_spot(lowest: float, highest: float) -> None:
    """Raise `UserError` where an agent may choose weights that a spot market does not allow."""
    if lowest < 0 or highest > 1:
        raise UserError(
            f"The agent chooses weights from {lowest:g} to {highest:g}, and a spot market allows none below 0 or "
            "above 1.",
            "Use an agent that was trained with weights from 0 to 1.",
        )


def _reason(weight: float, account: OwnAccount) -> str:
    return f"agent wants {weight:.1%} of {account.equity:.2f} in the market"
