"""One window of the trading environment as a plain gymnasium environment. Training child only (imports torch).

For anybody's algorithm, and to check the batched environment by: accounts are kept by the reference kernel, one bar at
a time. `register_environments` makes it known as "Maru/Trading-v0".
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.accounting import reference
from core.accounting.reference import AccountState, BarPrices, Step, Target
from core.accounting.rules import CostRates, MarketRules
from ml.agents.accounting import AccountRules, Accounts, Bars, CostTensors, RowRules, StepOutcome, weight
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.episodes import EpisodeRules, Episodes
from ml.agents.market_tensor import MarketTensor, Stretch
from ml.arrays import Float32Array
from ml.environment import as_actions, spaces_of

ENVIRONMENT_ID = "Maru/Trading-v0"


class TradingEnv(gymnasium.Env[Any, Any]):
    """One account on a market.

    `info` holds the row that was reached, the equity, the weight of the position and the log return of the bar.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - as in the base class

    def __init__(
        self,
        market: MarketTensor,
        spec: EnvironmentSpec | None = None,
        *,
        rules: MarketRules | None = None,
        costs: CostRates | None = None,
        stretches: tuple[Stretch, ...] | None = None,
        typical_volatility: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Build the environment; arguments as of `ml.environment.BatchedTradingEnv`.

        Raises:
            UserError: the specification contradicts itself or the market, or no episode fits into the stretches.
        """
        self.settings = spec or EnvironmentSpec()
        self.render_mode = render_mode
        self._market = market.to("cpu")
        self._rules = EpisodeRules(
            self._market,
            self.settings,
            stretches=stretches,
            rules=rules,
            costs=costs,
            typical=typical_volatility,
            kernel=partial(reference_kernel, costs or self.settings.costs),
        )
        size = self.settings.window * self._market.features.shape[1] + len(self._rules.account_names)
        self.observation_space, self.action_space = spaces_of(self.settings, size)
        self._now: Episodes | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed, options=options)
        uniform = torch.from_numpy(self.np_random.random((EpisodeRules.DRAWS, 1)))
        self._now = self._rules.begin(uniform, aged=False)
        return self._observation(self._now), self._info(self._now, 0.0)

    def step(self, action: NDArray[np.float32] | np.int64) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """Let a decision meet the next bar.

        Raises:
            ValueError: an action that is no number or level.
            RuntimeError: the episode has ended, or none has begun.
        """
        if self._now is None:
            raise RuntimeError("no episode is running: reset the environment")
        actions = as_actions(np.asarray(action)[None], self.settings, 1)
        moved = self._rules.move(self._now, self._rules.weights_of(torch.from_numpy(actions)))
        terminated, truncated = bool(moved.terminated), bool(moved.truncated)
        observation = self._observation(moved.episodes)
        info = self._info(moved.episodes, float(moved.log_return))
        self._now = None if terminated or truncated else moved.episodes
        return observation, float(moved.reward), terminated, truncated, info

    def _observation(self, now: Episodes) -> Float32Array:
        row = int(now.row)
        window = self._market.features[row - self.settings.window + 1 : row + 1].reshape(-1)
        joined: Float32Array = torch.cat([window, self._rules.account_of(now)[0]]).numpy()
        return joined

    def _info(self, now: Episodes, log_return: float) -> dict[str, Any]:
        held = weight(now.accounts, self._rules.rules_at(now.row))
        worth = float(self._rules.worth(now))
        return {"row": int(now.row), "equity": worth, "weight": float(held), "log_return": log_return}


def register_environments() -> None:
    """Let `gymnasium.make` know the environment; it takes the arguments of `TradingEnv`."""
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(ENVIRONMENT_ID, entry_point=f"{__name__}:{TradingEnv.__name__}")


def reference_kernel(
    rates: CostRates, accounts: Accounts, target: Tensor, bars: Bars, costs: CostTensors, rules: AccountRules
) -> StepOutcome:
    """Do what `ml.agents.accounting.step_targets` does with `core.accounting.reference`, one account after the other.

    Args:
        rates: hold what the tensors do not.
        accounts / target / bars / costs / rules: as there.
    """
    numbers = torch.stack([part.expand(len(target)).double() for part in (*accounts, target, *bars, *costs)], dim=1)
    results = list[list[float]]()
    each = rules.one_by_one() if isinstance(rules, RowRules) else itertools.repeat(rules)
    for own, (cash, lots, mark, entry, liquidated, wanted, *rest) in zip(each, numbers.tolist(), strict=False):
        state = AccountState(cash, lots, mark, entry, bool(liquidated))
        charged = replace(rates, **dict(zip(costs._fields, rest[len(bars) :], strict=True)))
        met = reference.step(state, Target(wanted), BarPrices(*rest[: len(bars)]), charged, own)
        results.append(_numbers_of(met, state))
    *account, is_over = (columns := torch.tensor(results, dtype=torch.float64).unbind(1))[: len(accounts)]
    *rest, is_new = columns[len(accounts) :]
    return StepOutcome._make([Accounts._make([*account, is_over.bool()]), *rest, is_new.bool()])


def _numbers_of(met: Step, before: AccountState) -> list[float]:
    """Return a step in the order of `StepOutcome`."""
    own = next((fill for fill in met.fills if not fill.is_forced), None)
    after, costs = met.state, met.costs
    return [
        *(after.cash, after.lots, after.mark, after.entry_price, after.liquidated),
        *(met.log_return, own.lots if own else 0.0, own.price if own else 0.0),
        *(costs.fee, costs.spread, costs.slippage, costs.impact, costs.funding, costs.borrow),
        after.liquidated and not before.liquidated,
    ]
