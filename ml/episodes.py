"""What happens to many accounts at once, each in an episode of its own. Training child only (imports torch).

Pure functions of tensors (N,) without branches on their values, so that a device never waits for the host. Money is
float64. One bar of an episode: the decision made at the close of its row meets the next row through the accounting
kernel, then the reward is taken. `ml.environment` starts the next episode where one ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from core.accounting.rules import CostRates, MarketRules
from core.errors import UserError
from ml.accounting import Accounts, Bars, CostTensors, StepOutcome, cost_tensors, equity, step_targets, weight
from ml.agent_spec import EnvironmentSpec
from ml.market_tensor import CLOSE, MarketTensor, Stretch
from ml.rewards import BarResult, FadingMoments, first_moments, reward_of

ACCOUNT_NAMES = ("weight", "unrealised", "bars_since_change", "drawdown", "margin_left")
TIME_LEFT = "time_left"
_MOST_UNREALISED = 10.0  # volatilities
Kernel = Callable[[Accounts, Tensor, Bars, CostTensors, MarketRules, float], StepOutcome]


class Episodes(NamedTuple):
    """Where each episode stands.

    Attributes:
        row: whose close was seen last; start: that it began at; until: that cuts it off; changed: after which the
            position was traded last. int64.
        accounts: at the close of `row`.
        peak: highest equity of the episode at a close.
        cost_factor: of the costs of trading.
        moments: for the differential Sharpe ratio.
        rewarded: sum of the rewards so far.
    """

    row: Tensor
    start: Tensor
    until: Tensor
    changed: Tensor
    accounts: Accounts
    peak: Tensor
    cost_factor: Tensor
    moments: FadingMoments
    rewarded: Tensor

    def tensors(self) -> list[Tensor]:
        """Return all of them in a fixed order."""
        return [
            *(self.row, self.start, self.until, self.changed),
            *self.accounts,
            *(self.peak, self.cost_factor, *self.moments, self.rewarded),
        ]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Episodes:
        """Return the episodes that `tensors` was called on."""
        return cls(*tensors[:4], Accounts(*tensors[4:9]), *tensors[9:11], FadingMoments(*tensors[11:13]), tensors[13])


class Moved(NamedTuple):
    """What one bar did to the episodes.

    Attributes:
        episodes: after it, those that ended too.
        reward: scaled, float64.
        log_return: of the equity.
        terminated / truncated: the episode ended for good, or was cut off.
    """

    episodes: Episodes
    reward: Tensor
    log_return: Tensor
    terminated: Tensor
    truncated: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class StartTable:
    """Every row that an episode may begin at, all equally likely.

    Attributes:
        first: such row of each stretch, shape (S,).
        last: row of each stretch, which is only met, shape (S,).
        before: number of such rows in the stretches before, shape (S,).
        count: of all.
    """

    first: Tensor
    last: Tensor
    before: Tensor
    count: int

    @classmethod
    def of(cls, stretches: Sequence[Stretch], spec: EnvironmentSpec, device: torch.device) -> StartTable:
        """Return the starts that leave room for a window before and for an episode after.

        Raises:
            UserError: there is none.
        """
        needed = spec.episode if spec.close_out else 1  # bars that follow; others are cut off where the bars end
        usable = [s for s in stretches if len(s) >= spec.window + needed]
        if not usable:
            raise UserError(
                f"No stretch of bars without a gap is as long as the {spec.window + needed:,} bars an episode needs.",
                "Use a shorter window or episode, repair the gaps, or choose other borders.",
            )
        sizes = [len(s) - spec.window + 1 - needed for s in usable]
        before = [sum(sizes[:index]) for index in range(len(sizes))]

        def column(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        first = column([s.start + spec.window - 1 for s in usable])
        return cls(first, column([s.stop - 1 for s in usable]), column(before), sum(sizes))

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Return the row and the last row of the stretch for numbers 0 <= u < 1."""
        number = (uniform * self.count).long().clamp(max=self.count - 1)
        stretch = torch.searchsorted(self.before, number, right=True) - 1
        row = self.first.index_select(0, stretch) + number - self.before.index_select(0, stretch)
        return row, self.last.index_select(0, stretch)


class EpisodeRules:
    """How episodes begin, go on and are seen, for one market and one specification."""

    DRAWS = 4  # uniform numbers that the beginning of an episode takes

    def __init__(
        self,
        market: MarketTensor,
        spec: EnvironmentSpec,
        rules: MarketRules,
        costs: CostRates,
        typical: float,
        kernel: Kernel = step_targets,
    ) -> None:
        device = market.prices.device
        self.market, self.spec, self.rules, self.typical = market, spec, rules, typical
        self.scale = spec.reward_scale or 1.0 / typical
        self._kernel = kernel
        self._exponent = costs.impact_exponent
        self._costs = cost_tensors(costs, dtype=torch.float64, device=device)
        self._unband = replace(rules, band=0.0)
        half = 0.5 * (spec.highest - spec.lowest)
        self._half, self._middle = half, spec.lowest + half
        grid = torch.linspace(spec.lowest, spec.highest, spec.levels, dtype=torch.float64)
        self._grid = grid.to(device)

    @property
    def account_names(self) -> tuple[str, ...]:
        """Names of the columns that describe the account."""
        return (*ACCOUNT_NAMES, TIME_LEFT) if self.spec.close_out else ACCOUNT_NAMES

    def weights_of(self, actions: Tensor) -> Tensor:
        """Return target weights, float64 (N,), of actions: (N, 1) or (N,) between -1 and 1, or numbers of levels."""
        flat = actions.reshape(len(actions))
        if self.spec.is_discrete:
            return self._grid.index_select(0, flat.long())
        return self._middle + self._half * flat.double().clamp(-1.0, 1.0)

    def begin(self, starts: StartTable, uniform: Tensor, *, aged: bool) -> Episodes:
        """Return new episodes.

        Args:
            starts: rows they may begin at.
            uniform: numbers 0 <= u < 1, float64, shape (`DRAWS`, N).
            aged: cut them off as if they had begun earlier, so that they do not all end at once.
        """
        row, last = starts.draw(uniform[0])
        length = torch.full_like(row, self.spec.episode)
        if aged and not self.spec.close_out:
            length = length - (uniform[3] * self.spec.episode).long().clamp(max=self.spec.episode - 1)
        held = self._first_weight(uniform[1])
        return self.at(row, torch.minimum(row + length, last), held, self._first_factor(uniform[2]))

    def at(self, row: Tensor, until: Tensor, held: Tensor, cost_factor: Tensor) -> Episodes:
        """Return episodes that begin at rows with positions of these weights, entered at the mark without cost."""
        mark = self.market.prices.select(1, CLOSE).index_select(0, row)
        cash = torch.full_like(mark, self.spec.cash)
        rules = self.rules
        allowed = held.clamp(-rules.max_leverage if rules.allows_short else 0.0, rules.max_leverage)
        lots = allowed * cash / (mark * rules.unit)
        if rules.lot_size > 0:
            lots = lots.trunc()
        accounts = Accounts(
            cash=cash - lots * rules.unit * mark,
            lots=lots,
            mark=mark,
            entry_price=torch.where(lots == 0, 0.0, mark),
            liquidated=torch.zeros_like(row, dtype=torch.bool),
        )
        return Episodes(
            row=row,
            start=row,
            until=until,
            changed=row,
            accounts=accounts,
            peak=equity(accounts, rules),
            cost_factor=cost_factor,
            moments=first_moments(mark, self.typical),
            rewarded=torch.zeros_like(mark),
        )

    def move(self, before: Episodes, target: Tensor) -> Moved:
        """Let decisions, weights (N,), meet the next bar."""
        row = before.row + 1
        bars = self._bars(row)
        costs = self._costs_of(before)
        outcome = self._kernel(before.accounts, target, bars, costs, self.rules, self._exponent)
        log_return = outcome.log_return
        accounts = outcome.accounts
        is_traded = outcome.fill_lots != 0
        is_cut = row >= before.until
        wiped = accounts.liquidated
        terminated = wiped
        if self.spec.close_out:
            accounts, sold = self._sold_out(accounts, bars, costs, is_cut)
            log_return = log_return + sold
            terminated = wiped | is_cut
        worth = equity(accounts, self.rules)
        peak = torch.maximum(before.peak, worth)
        result = self._result(before, outcome, log_return, worth, peak)
        reward, moments = reward_of(result, before.moments, self.spec, self.typical)
        reward = reward * self.scale
        episodes = Episodes(
            row=row,
            start=before.start,
            until=before.until,
            changed=torch.where(is_traded, row, before.changed),
            accounts=accounts,
            peak=peak,
            cost_factor=before.cost_factor,
            moments=moments,
            rewarded=before.rewarded + reward,
        )
        return Moved(episodes, reward, log_return, terminated, is_cut & ~terminated)

    def account_of(self, episodes: Episodes) -> Tensor:
        """Return what an agent sees of its account, float32 (N, `account_names`).

        The weight of the position; its unrealised return with the sign of the position in volatilities of one bar,
        clipped; log(1 + bars since it was traded last); the drawdown of the episode; how far the price may go against
        the position before it is closed by force, share of the price, at most 1; where there is an end, the share of
        the time that is left.
        """
        accounts, rules = episodes.accounts, self.rules
        held = weight(accounts, rules)
        is_flat = accounts.lots == 0
        volatility = self.market.volatility.index_select(0, episodes.row)
        entry = torch.where(is_flat, accounts.mark, accounts.entry_price)
        gone = torch.log(accounts.mark / entry) * accounts.lots.sign() / volatility
        size = held.abs().clamp(min=1e-9)
        margin = (1.0 - rules.maintenance * size) / (size * (1.0 - rules.maintenance * held.sign()))
        columns = [
            held,
            gone.clamp(-_MOST_UNREALISED, _MOST_UNREALISED),
            torch.log1p((episodes.row - episodes.changed).double()),
            1.0 - equity(accounts, rules) / episodes.peak,
            margin.clamp(0.0, 1.0),
        ]
        if self.spec.close_out:
            columns.append((episodes.until - episodes.row).double() / self.spec.episode)
        return torch.stack(columns, dim=1).float()

    def _first_weight(self, uniform: Tensor) -> Tensor:
        if not self.spec.random_position:
            return torch.full_like(uniform, self.spec.start_weight)
        if self.spec.is_discrete:
            return self._grid.index_select(0, (uniform * self.spec.levels).long().clamp(max=self.spec.levels - 1))
        return self.spec.lowest + uniform * (self.spec.highest - self.spec.lowest)

    def _first_factor(self, uniform: Tensor) -> Tensor:
        if not self.spec.cost_jitter:
            return torch.ones_like(uniform)
        return torch.exp((2.0 * uniform - 1.0) * (self.spec.cost_jitter * math.log(2.0)))

    def _costs_of(self, episodes: Episodes) -> CostTensors:
        return self._costs.scaled(episodes.cost_factor) if self.spec.cost_jitter else self._costs

    def _bars(self, row: Tensor) -> Bars:
        return Bars(*self.market.prices.index_select(0, row).t().contiguous().unbind(0))

    def _sold_out(self, accounts: Accounts, bars: Bars, costs: CostTensors, is_cut: Tensor) -> tuple[Accounts, Tensor]:
        """Return the accounts with what is held sold at the close where the episode is cut off, and its log return."""
        close = bars.close
        still = Bars(close, close, close, close, bars.volume, torch.zeros_like(close))
        outcome = self._kernel(accounts, torch.zeros_like(close), still, costs, self._unband, self._exponent)
        pairs = zip(outcome.accounts, accounts, strict=True)
        sold = Accounts(*(torch.where(is_cut, after, before) for after, before in pairs))
        return sold, torch.where(is_cut, outcome.log_return, torch.zeros_like(close))

    def _result(
        self, before: Episodes, outcome: StepOutcome, log_return: Tensor, worth: Tensor, peak: Tensor
    ) -> BarResult:
        """Return what the reward is taken of."""
        worth_before = equity(before.accounts, self.rules)
        lots = before.accounts.lots + outcome.fill_lots
        return BarResult(
            log_return=log_return,
            volatility=self.market.volatility.index_select(0, before.row),
            weight=lots * self.rules.unit * before.accounts.mark / worth_before,
            drawdown_before=1.0 - worth_before / before.peak,
            drawdown_after=1.0 - worth / peak,
        )
