"""What happens to many accounts at once, each in an episode of its own. Training child only (imports torch).

Pure functions of tensors (N,) without branches on their values, so that a device never waits for the host. Money is
float64. One bar of an episode: the decision made at the close of its row meets the next row through the accounting
kernel, then the reward is taken. `ml.environment` starts the next episode where one ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from core.accounting.rules import CostRates, MarketRules
from core.errors import UserError
from ml.agents.accounting import (
    AccountRules,
    Accounts,
    Bars,
    CostTensors,
    RowRules,
    StepOutcome,
    charges_of,
    cost_tensors,
    equity,
    step_targets,
    weight,
    whole_lots,
)
from ml.agents.environment_spec import ACCOUNT_NAMES, MOST_UNREALISED, EnvironmentSpec, weight_grid
from ml.agents.market_tensor import CLOSE, FUNDING_RATE, MarketTensor, Stretch
from ml.agents.rewards import BarResult, FadingMoments, first_moments, reward_of

TIME_LEFT = "time_left"
Kernel = Callable[[Accounts, Tensor, Bars, CostTensors, AccountRules], StepOutcome]


class Episodes(NamedTuple):
    """Where each episode stands.

    Attributes:
        row: whose close was seen last, int64.
        start: row that it began at, int64.
        until: row that cuts it off, int64.
        changed: row after whose bar the position was other than before, int64.
        cash / lots / mark / entry_price / liquidated: the account at the close of `row`.
        peak: highest equity of the episode at a close.
        cost_factor: of the costs of trading.
        mean / square: for the differential Sharpe ratio.
        rewarded: sum of the rewards so far.
    """

    row: Tensor
    start: Tensor
    until: Tensor
    changed: Tensor
    cash: Tensor
    lots: Tensor
    mark: Tensor
    entry_price: Tensor
    liquidated: Tensor
    peak: Tensor
    cost_factor: Tensor
    mean: Tensor
    square: Tensor
    rewarded: Tensor

    @property
    def accounts(self) -> Accounts:
        """The accounts."""
        return Accounts(self.cash, self.lots, self.mark, self.entry_price, self.liquidated)

    @property
    def moments(self) -> FadingMoments:
        """What the differential Sharpe ratio remembers."""
        return FadingMoments(self.mean, self.square)


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
        if len(self.before) == 1:
            return self.first + number, self.last
        stretch = torch.searchsorted(self.before, number, right=True) - 1
        row = self.first.index_select(0, stretch) + number - self.before.index_select(0, stretch)
        return row, self.last.index_select(0, stretch)


class EpisodeRules:
    """How episodes begin, go on and are seen, for one specification.

    Attributes:
        market / spec / costs: the bars, the environment, what trading costs.
        rules: of each market.
        stretches: that episodes stay within.
        typical: median volatility, log return per bar, that rewards are measured by.
        scale: what rewards are multiplied by.
        settled: fields of `Episodes` that stay the same for good where episodes that ended are replaced.
    """

    DRAWS = 4  # uniform numbers that the beginning of an episode takes

    def __init__(
        self,
        market: MarketTensor,
        spec: EnvironmentSpec,
        *,
        stretches: Sequence[Stretch] | None = None,
        rules: MarketRules | Sequence[MarketRules] | None = None,
        costs: CostRates | None = None,
        typical: float | None = None,
        kernel: Kernel | None = None,
    ) -> None:
        """Prepare what does not change.

        Args:
            market: the bars, on the device.
            spec: what is seen, done, paid and charged.
            stretches: of the part of the split; None for all of the market's.
            rules: of all markets or of each; None for the markets' with the leverage, margin and band of `spec`.
            costs: None for those of `spec`.
            typical: what rewards are measured by; None for the median volatility over the stretches.
            kernel: None for the batched one.

        Raises:
            UserError: the specification contradicts itself or the market, or no episode fits into the stretches.
        """
        spec.validate()
        device = market.prices.device
        self.market, self.spec = market, spec
        self.stretches = market.stretches if stretches is None else tuple(stretches)
        self.rules, self.costs = _rules_of(market, spec, rules), costs or spec.costs
        self._rule_book = _RuleBook(self.market, self.rules)
        _require_reachable(spec, self.rules[0])
        self._starts = StartTable.of(self.stretches, spec, device)
        self.typical = typical or _median_volatility(market, self.stretches)
        self.scale = spec.reward_scale or 1.0 / self.typical
        self._kernel = kernel or _batched(market, self.rules[0], self.costs)
        self._cost_tensors = cost_tensors(self.costs, dtype=torch.float64, device=device)
        half = 0.5 * (spec.highest - spec.lowest)
        self._half, self._middle = half, spec.lowest + half
        self._nothing, self._one = (torch.tensor(value, dtype=torch.float64, device=device) for value in (0.0, 1.0))
        self._cash, self._alive = self._one * spec.cash, torch.tensor(False, device=device)
        self._first_moments = first_moments(self._one, self.typical)
        self.settled = _settled(spec)
        self._starts_vary = spec.random_position or spec.start_weight != 0
        self._flat_account = torch.tensor(
            [[0.0, 0.0, 0.0, 0.0, 1.0] + [1.0] * spec.close_out], dtype=torch.float32, device=device
        )
        grid = weight_grid(spec.lowest, spec.highest, spec.levels)
        self._grid = torch.tensor(grid, dtype=torch.float64, device=device)

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

    def cut(self, weights: Tensor) -> Tensor:
        """Return target weights, float64 (N,), within the bounds: a network's rounding may leave them."""
        return weights.reshape(len(weights)).double().clamp(self.spec.lowest, self.spec.highest)

    def begin(self, uniform: Tensor, *, aged: bool) -> Episodes:
        """Return new episodes.

        Args:
            uniform: numbers 0 <= u < 1, float64, shape (`DRAWS`, N).
            aged: cut them off as if they had begun earlier, so that they do not all end at once.
        """
        row, last = self._starts.draw(uniform[0])
        until = row + self.spec.episode
        if aged and not self.spec.close_out:
            until = until - (uniform[3] * self.spec.episode).long().clamp(max=self.spec.episode - 1)
        held = self._first_weight(uniform[1])
        return self.at(row, torch.minimum(until, last), held, self._first_factor(uniform[2]))

    def at(self, row: Tensor, until: Tensor, held: Tensor | None, cost_factor: Tensor) -> Episodes:
        """Return episodes that begin at rows.

        Args:
            row: of the beginning.
            until: cuts them off.
            held: weights entered at the mark without cost, float64 (N,); None for none.
            cost_factor: of the costs of trading.
        """
        rules = self.rules_at(row)
        mark = self.market.prices.select(1, CLOSE).index_select(0, row)
        lots, entry, cash = self._nothing.expand_as(mark), self._nothing.expand_as(mark), self._cash.expand_as(mark)
        peak = cash
        if held is not None:
            allowed = held.clamp(-rules.max_leverage if rules.allows_short else 0.0, rules.max_leverage)
            lots = allowed * cash / (mark * rules.unit)
            lots = whole_lots(lots, rules)
            cash = cash - lots * rules.unit * mark
            entry = mark.masked_fill(lots == 0, 0.0)
        return Episodes(
            row=row,
            start=row,
            until=until,
            changed=row,
            cash=cash,
            lots=lots,
            mark=mark,
            entry_price=entry,
            liquidated=self._alive.expand_as(row),
            peak=peak,
            cost_factor=cost_factor,
            mean=self._first_moments.mean.expand_as(mark),
            square=self._first_moments.square.expand_as(mark),
            rewarded=self._nothing.expand_as(mark),
        )

    def move(self, before: Episodes, target: Tensor) -> Moved:
        """Let decisions, weights (N,), meet the next bar."""
        row = before.row + 1
        bars = self._bars(row)
        costs = self._costs_of(before)
        rules = self.rules_at(row)
        outcome = self._kernel(before.accounts, target, bars, costs, rules)
        accounts, log_return = outcome.accounts, outcome.log_return
        terminated = accounts.liquidated
        is_cut = row >= before.until
        if self.spec.close_out:
            accounts, sold = self._sold_out(accounts, bars, costs, rules, is_cut)
            log_return = log_return + sold
            terminated = terminated | is_cut
        worth = equity(accounts, rules)
        peak = torch.maximum(before.peak, worth)
        reward, moments = self._rewarded(before, outcome, log_return, 1.0 - worth / peak, rules)
        episodes = before._replace(
            row=row,
            changed=torch.where(outcome.fill_lots != 0, row, before.changed),
            **accounts._asdict(),
            peak=peak,
            mean=moments.mean,
            square=moments.square,
            rewarded=before.rewarded + reward,
        )
        return Moved(episodes, reward, log_return, terminated, is_cut & ~terminated)

    def rules_at(self, row: Tensor) -> AccountRules:
        """Return the rules of the market that each row belongs to, or those of all markets where they are the same."""
        return self._rule_book.at(row)

    def worth(self, episodes: Episodes) -> Tensor:
        """Return what the accounts are worth at their marks."""
        return equity(episodes.accounts, self.rules_at(episodes.row))

    def account_of(self, episodes: Episodes) -> Tensor:
        """Return what an agent sees of its account, float32 (N, `account_names`).

        The weight of the position; its unrealised return with the sign of the position in volatilities of one bar,
        clipped; log(1 + bars since it was traded last); the drawdown of the episode; how far the price may go against
        the position before it is closed by force, share of the price, at most 1; where there is an end, the share of
        the time that is left.

        Bars since a trade and drawdown are counted from the beginning of the account. While learning that is one
        episode ago at most; the judged walk and a live account go on for longer and show the network larger numbers
        than it learned from. The judgement is of just that.
        """
        accounts, rules = episodes.accounts, self.rules_at(episodes.row)
        held = weight(accounts, rules)
        volatility = self.market.volatility.index_select(0, episodes.row)
        moved = (accounts.mark / accounts.entry_price).log() * accounts.lots.sign() / volatility
        margin = 1.0 / held.abs()
        if rules.maintenance > 0:
            margin = (margin - rules.maintenance) / (1.0 - rules.maintenance * held.sign())
        columns = [
            held,
            moved.masked_fill(accounts.lots == 0, 0.0).clamp(-MOST_UNREALISED, MOST_UNREALISED),
            (episodes.row - episodes.changed).double().log1p(),
            1.0 - equity(accounts, rules) / episodes.peak,
            margin.clamp(0.0, 1.0),
        ]
        if self.spec.close_out:
            columns.append((episodes.until - episodes.row).double() / self.spec.episode)
        return torch.stack(columns, dim=1).float()

    def first_account(self, fresh: Episodes) -> Tensor:
        """Return `account_of` new episodes of the full length, (N, A), or (1, A) where all look alike."""
        return self.account_of(fresh) if self._starts_vary else self._flat_account

    def _first_weight(self, uniform: Tensor) -> Tensor | None:
        spec = self.spec
        if not spec.random_position:
            return torch.full_like(uniform, spec.start_weight) if spec.start_weight else None
        if spec.is_discrete:
            return self._grid.index_select(0, (uniform * spec.levels).long().clamp(max=spec.levels - 1))
        return spec.lowest + uniform * (spec.highest - spec.lowest)

    def _first_factor(self, uniform: Tensor) -> Tensor:
        if not self.spec.cost_jitter:
            return self._one.expand_as(uniform)
        return torch.exp((2.0 * uniform - 1.0) * (self.spec.cost_jitter * math.log(2.0)))

    def _costs_of(self, episodes: Episodes) -> CostTensors:
        costs = self._cost_tensors
        return costs.scaled(episodes.cost_factor) if self.spec.cost_jitter else costs

    def _bars(self, row: Tensor) -> Bars:
        return Bars(*self.market.prices.index_select(0, row).t().contiguous().unbind(0))

    def _sold_out(
        self, accounts: Accounts, bars: Bars, costs: CostTensors, rules: AccountRules, is_cut: Tensor
    ) -> tuple[Accounts, Tensor]:
        """Return the accounts with what is held sold at the close where the episode is cut off, and its log return."""
        close = bars.close
        still = Bars(close, close, close, close, bars.volume, torch.zeros_like(close))
        outcome = self._kernel(accounts, torch.zeros_like(close), still, costs, _any_size(rules))
        pairs = zip(outcome.accounts, accounts, strict=True)
        sold = Accounts(*(torch.where(is_cut, after, before) for after, before in pairs))
        return sold, torch.where(is_cut, outcome.log_return, torch.zeros_like(close))

    def _rewarded(
        self, before: Episodes, outcome: StepOutcome, log_return: Tensor, drawdown: Tensor, rules: AccountRules
    ) -> tuple[Tensor, FadingMoments]:
        """Return the scaled reward of a bar and what is remembered of it."""
        if self.spec.reward == "log_return":  # the usual one needs nothing of the rest
            return log_return * self.scale, before.moments
        worth = equity(before.accounts, rules)
        result = BarResult(
            log_return=log_return,
            volatility=self.market.volatility.index_select(0, before.row),
            weight=(before.lots + outcome.fill_lots) * rules.unit * before.mark / worth,
            drawdown_before=1.0 - worth / before.peak,
            drawdown_after=drawdown,
        )
        reward, moments = reward_of(result, before.moments, self.spec, self.typical)
        return reward * self.scale, moments


class _RuleBook:
    """Finds the rules of rows. Where all markets have the same nothing is looked up."""

    def __init__(self, market: MarketTensor, rules: Sequence[MarketRules]) -> None:
        self._same = rules[0] if len(set(rules)) == 1 else None
        if self._same is None:
            device = market.prices.device
            self._table = RowRules.of(rules, device=device)
            self._starts = torch.tensor([s.start for s in market.stretches], dtype=torch.int64, device=device)
            self._symbols = torch.tensor([s.symbol for s in market.stretches], dtype=torch.int64, device=device)

    def at(self, row: Tensor) -> AccountRules:
        if self._same is not None:
            return self._same
        stretch = torch.searchsorted(self._starts, row, right=True) - 1
        return self._table.at(self._symbols.index_select(0, stretch))


def _rules_of(
    market: MarketTensor, spec: EnvironmentSpec, rules: MarketRules | Sequence[MarketRules] | None
) -> tuple[MarketRules, ...]:
    """Return the rules of each market."""
    if rules is None:
        return tuple(spec.rules(each) for each in market.rules)
    return (rules,) * len(market.symbols) if isinstance(rules, MarketRules) else tuple(rules)


def _any_size(rules: AccountRules) -> AccountRules:
    """Return rules without smallest orders and without the band, as `core.accounting.reference.close_out`."""
    if isinstance(rules, RowRules):
        return rules.any_size()
    return replace(rules, min_quantity=0.0, min_notional=0.0, band=0.0)


def _settled(spec: EnvironmentSpec) -> frozenset[str]:
    """Return the fields of `Episodes` that stay the same for good where episodes that ended are replaced."""
    names = {"liquidated"}
    if not spec.cost_jitter:
        names.add("cost_factor")
    if spec.reward != "differential_sharpe":
        names |= {"mean", "square"}
    return frozenset(names)


def _batched(market: MarketTensor, rules: MarketRules, costs: CostRates) -> Kernel:
    """Return the batched kernel without what costs nothing here."""
    has_funding = bool((market.prices[:, FUNDING_RATE] != 0).any())
    charges = charges_of(costs, rules, has_funding=has_funding)
    return partial(step_targets, impact_exponent=costs.impact_exponent, charges=charges)


def _require_reachable(spec: EnvironmentSpec, rules: MarketRules) -> None:
    """Raise `UserError` where actions mean positions that the market does not allow: the kernel would cut them."""
    if max(abs(spec.lowest), abs(spec.highest)) > rules.max_leverage:
        raise UserError(
            f"Weights from {spec.lowest:g} to {spec.highest:g} go beyond the leverage {rules.max_leverage:g}.",
            "Choose weights within it.",
        )
    if spec.lowest < 0 and not rules.allows_short:
        raise UserError("The market allows no short positions.", "Choose a lowest weight of 0.")


def _median_volatility(market: MarketTensor, stretches: Sequence[Stretch]) -> float:
    """Return the median over the rows of the stretches, log return per bar."""
    return float(torch.cat([market.volatility[s.start : s.stop] for s in stretches]).median())
