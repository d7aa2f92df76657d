"""Thousands of trading accounts as one vectorised environment. Training child only (imports torch).

All windows share one copy of the bars; an observation is a strided view of the features, gathered by row, beside what
the account looks like. `step_tensor` stays on the device: no branch on a value, no copy to the host, and the state
lives in tensors that keep their place, so that steps can be captured as a CUDA graph. The NumPy side of
stable-baselines3 is a thin shell around it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from core.accounting.rules import CostRates, MarketRules
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.episodes import EpisodeRules, Episodes
from ml.agents.market_tensor import MarketTensor, Stretch
from ml.arrays import BoolArray, Float32Array, FloatArray, IntArray

Indices = None | int | Iterable[int]


class Transition(NamedTuple):
    """What a step led to.

    Attributes:
        obs: after the next episode began where one ended, float32 (N, D).
        reward: float32 (N,).
        terminated / truncated: of the episode, bool (N,); never both.
        rows / account: the state that the step led to, also where the episode ended: int64 (N,), float32 (N, A).
        next_rows / next_account: the state of `obs`.
        log_return: of the equity, float64 (N,).
        episode_reward / episode_length: sum of the rewards and number of steps of the episode so far, of `rows`:
            float64 (N,), int64 (N,).
    """

    obs: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    rows: Tensor
    account: Tensor
    next_rows: Tensor
    next_account: Tensor
    log_return: Tensor
    episode_reward: Tensor
    episode_length: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class StretchPass:
    """One walk over a stretch from flat.

    Attributes:
        stretch: of the bars.
        first_row: of the first decision.
        weights: targets, float64, shape (n - 1,) for the n rows from `first_row` to the end of the stretch.
        equity: at the close of each of the n rows, float64, shape (n,).
        rewards: for each decision, before they are scaled, float64, shape (n - 1,).
        account: what the agent saw of its account at each decision, float32, shape (n - 1, A).
    """

    stretch: Stretch
    first_row: int
    weights: FloatArray
    equity: FloatArray
    rewards: FloatArray
    account: Float32Array


class BatchedTradingEnv(VecEnv):
    """One trading environment with many windows.

    Attributes:
        market: the bars, on the device.
        spec: what is seen, done, paid and charged.
        stretches: that episodes stay within.
        generator: of all random numbers; who captures steps as a CUDA graph registers it there.
        reward_scale: what rewards are multiplied by.
        typical_volatility: median over the stretches, log return per bar.
        market_size / account_size: columns of an observation from the bars and from the account.
        account_names: the latter.
    """

    def __init__(
        self,
        market: MarketTensor,
        spec: EnvironmentSpec,
        *,
        windows: int,
        seed: int,
        rules: MarketRules | None = None,
        costs: CostRates | None = None,
        stretches: Sequence[Stretch] | None = None,
        device: str | torch.device = "cpu",
        stagger: bool = True,
        typical_volatility: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Build the environment.

        Args:
            market: the bars.
            spec: what is seen, done, paid and charged.
            windows: N.
            seed: of all random numbers.
            rules: of all markets; None for the markets' with the leverage, margin and band of `spec`.
            costs: None for those of `spec`.
            stretches: of the part of the split; None for all of the market's.
            device: where everything happens.
            stagger: let the first episodes end at different times.
            typical_volatility: what rewards are measured by; None for the median over the stretches.
            clock: seconds, for the statistics of an episode.

        Raises:
            UserError: the specification contradicts itself or the market, or no episode fits into the stretches.
        """
        self.market = market.to(device)
        self.spec = spec
        self.device = torch.device(device)
        self.episode_rules = EpisodeRules(
            self.market, spec, stretches=stretches, rules=rules, costs=costs, typical=typical_volatility
        )
        self.stretches = self.episode_rules.stretches
        self.typical_volatility = self.episode_rules.typical
        self.reward_scale = self.episode_rules.scale
        self.account_names = self.episode_rules.account_names
        self.account_size = len(self.account_names)
        self.market_size = spec.window * self.market.features.shape[1]
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(seed)
        self._stagger, self._clock, self._began = stagger, clock, clock()
        width = self.market.features.shape[1]
        self._windows = self.market.features.as_strided(
            (len(self.market) - spec.window + 1, self.market_size), (width, 1)
        )
        self._live: Episodes | None = None
        self._seen: Tensor | None = None
        self._actions: Tensor | None = None
        self._quiet: list[dict[str, Any]] = [{}] * windows  # one and the same: nobody writes to it
        self.render_mode: str | None = None  # is asked for by the constructor of the base
        super().__init__(windows, *spaces_of(spec, self.market_size + self.account_size))

    # The device side

    @property
    def rows(self) -> Tensor:
        """Rows of the current observations, int64 (N,)."""
        return self._state().row.clone()

    @property
    def account(self) -> Tensor:
        """What the agent sees of its accounts now, float32 (N, A)."""
        self._state()
        assert self._seen is not None
        return self._seen.clone()

    @property
    def episodes(self) -> Episodes:
        """Where each episode stands now; its tensors are written to by the next step."""
        return self._state()

    def reset_tensor(self) -> Tensor:
        """Begin new episodes everywhere and return the observations, float32 (N, D)."""
        fresh = self.episode_rules.begin(self._uniform(), aged=self._stagger)
        account = self.episode_rules.account_of(fresh)
        if self._live is None or self._seen is None:
            self._live, self._seen = Episodes(*(tensor.clone() for tensor in fresh)), account.clone()
        else:
            for place, new in zip((*self._live, self._seen), (*fresh, account), strict=True):
                place.copy_(new)
        return self.observe(fresh.row, account)

    def step_tensor(self, actions: Tensor) -> Transition:
        """Let decisions meet the next bar, and begin the next episode where one ended.

        Args:
            actions: float32 (N, 1) between -1 and 1, or int64 (N,). One that is no number is not followed.
        """
        rules, live = self.episode_rules, self._state()
        moved = rules.move(live, rules.weights_of(actions))
        reached = moved.episodes
        account, length = rules.account_of(reached), reached.row - reached.start  # before the state is written to
        is_over = moved.terminated | moved.truncated
        fresh = rules.begin(self._uniform(), aged=False)
        for name, place, new, old in zip(live._fields, live, fresh, reached, strict=True):
            if name not in rules.settled:
                torch.where(is_over, new, old, out=place)
        assert self._seen is not None
        torch.where(is_over.unsqueeze(1), rules.first_account(fresh), account, out=self._seen)
        next_rows, next_account = self.rows, self.account
        return Transition(
            obs=self.observe(next_rows, next_account),
            reward=moved.reward.float(),
            terminated=moved.terminated,
            truncated=moved.truncated,
            rows=reached.row,
            account=account,
            next_rows=next_rows,
            next_account=next_account,
            log_return=moved.log_return,
            episode_reward=reached.rewarded,
            episode_length=length,
        )

    def observe(self, rows: Tensor, account: Tensor) -> Tensor:
        """Return observations of any rows and accounts, float32 (B, D): the window, oldest bar first, then the account.

        Args:
            rows: int64 (B,), with a full window before each.
            account: float32 (B, A).
        """
        size = self.market_size
        observation = torch.empty((len(rows), size + self.account_size), device=self.device)
        torch.index_select(
            self._windows, 0, rows - (self.spec.window - 1), out=observation[:, :size]
        )  # no copy after it
        observation[:, size:] = account
        return observation

    def weights_of(self, actions: Tensor) -> Tensor:
        """Return the target weights that actions mean, float64 (N,)."""
        return self.episode_rules.weights_of(actions)

    def state(self) -> dict[str, Tensor]:
        """Return a copy of what `restore` takes: where all episodes stand, and the random numbers."""
        named = {**self._places(), "generator": self.generator.get_state()}
        return {name: tensor.clone() for name, tensor in named.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Go on from the state of an environment built alike, to the bit, and return the observations.

        Raises:
            ValueError: it is of another number of windows or another kind of account.
        """
        if self._live is None:
            self.reset_tensor()
        places = self._places()
        if any(name not in tensors or tensors[name].shape != place.shape for name, place in places.items()):
            raise ValueError("the state is of another environment")
        for name, place in places.items():
            place.copy_(tensors[name])
        self.generator.set_state(tensors["generator"].cpu())
        return self.observe(self.rows, self.account)

    def _state(self) -> Episodes:
        if self._live is None:
            raise RuntimeError("the environment was never reset")
        return self._live

    def _places(self) -> dict[str, Tensor]:
        """Return the tensors that the state lives in."""
        named = self._state()._asdict()
        assert self._seen is not None
        return {**named, "account": self._seen}

    def _uniform(self) -> Tensor:
        shape = (EpisodeRules.DRAWS, self.num_envs)
        return torch.rand(shape, generator=self.generator, dtype=torch.float64, device=self.device)

    # One walk through a part

    def evaluate_pass(
        self,
        policy: Callable[[Tensor], Tensor],
        stretches: Sequence[Stretch] | None = None,
        *,
        cost_factor: float = 1.0,
        start_weight: float | None = None,
        says_weights: bool = False,
    ) -> tuple[StretchPass, ...]:
        """Walk once through each stretch with nothing random.

        The environment's own episodes are not touched. A stretch too short for one decision is left out.

        Args:
            policy: observations (B, D) to actions, of the best deterministic kind; B may shrink on the way.
            stretches: None for those of the environment.
            cost_factor: of the costs of trading.
            start_weight: held before the first decision, also one that no action means; None for that of episodes.
            says_weights: the policy returns target weights themselves, (B,) or (B, 1): they are cut at the bounds, as
                where an agent trades, and otherwise followed to the last digit.
        """
        chosen = self.stretches if stretches is None else tuple(stretches)
        usable = sorted((s for s in chosen if len(s) > self.spec.window), key=lambda s: (-len(s), s))
        spec = replace(self.spec, cost_jitter=0.0, random_position=False)
        own = self.episode_rules
        rules = EpisodeRules(
            self.market,
            spec,
            stretches=self.stretches,
            rules=own.rules,
            costs=own.costs.times(cost_factor),
            typical=own.typical,
        )
        first = [s.start + spec.window - 1 for s in usable]
        decisions = [s.stop - 1 - row for s, row in zip(usable, first, strict=True)]
        with torch.no_grad():
            held = spec.start_weight if start_weight is None else start_weight
            meant = rules.cut if says_weights else rules.weights_of
            weights, worth, rewards, accounts = self._walk(
                lambda seen: meant(policy(seen)), rules, first, decisions, held
            )
        passes = (
            StretchPass(
                stretch=stretch,
                first_row=row,
                weights=weights[:count, index],
                equity=worth[: count + 1, index],
                rewards=rewards[:count, index],
                account=accounts[:count, index],
            )
            for index, (stretch, row, count) in enumerate(zip(usable, first, decisions, strict=True))
        )
        return tuple(sorted(passes, key=lambda each: each.stretch))

    def _walk(
        self,
        choose: Callable[[Tensor], Tensor],
        rules: EpisodeRules,
        first: list[int],
        decisions: list[int],
        start_weight: float,
    ) -> tuple[FloatArray, FloatArray, FloatArray, Float32Array]:
        """Return weights (K, S), equity (K + 1, S), rewards (K, S), accounts (K, S, A) of walks, the longest first."""
        steps, count = max(decisions, default=0), len(first)
        weights = torch.zeros((steps, count), dtype=torch.float64, device=self.device)
        worth = torch.zeros((steps + 1, count), dtype=torch.float64, device=self.device)
        rewards = torch.zeros_like(weights)
        accounts = torch.zeros((steps, count, self.account_size), device=self.device)
        row = torch.tensor(first, dtype=torch.int64, device=self.device)
        until = row + torch.tensor(decisions, dtype=torch.int64, device=self.device)
        one = torch.ones(count, dtype=torch.float64, device=self.device)
        now = rules.at(row, until, start_weight * one, one)
        worth[0] = rules.worth(now)
        for step in range(steps):
            active = sum(length > step for length in decisions)
            now = Episodes(*(tensor[:active] for tensor in now))
            accounts[step, :active] = rules.account_of(now)
            weights[step, :active] = choose(self.observe(now.row, accounts[step, :active]))
            moved = rules.move(now, weights[step, :active])
            now, rewards[step, :active] = moved.episodes, moved.reward / rules.scale
            worth[step + 1, :active] = rules.worth(now)
        return weights.cpu().numpy(), worth.cpu().numpy(), rewards.cpu().numpy(), accounts.cpu().numpy()

    # The NumPy side of stable-baselines3

    def reset(self) -> Float32Array:
        """Begin new episodes everywhere, with the seed that was set last."""
        if self._seeds[0] is not None:
            self.generator.manual_seed(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        observation: Float32Array = self.reset_tensor().cpu().numpy()
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next step.

        Raises:
            ValueError: of the wrong shape, or not all of them numbers or levels: they would trade.
        """
        self._actions = torch.from_numpy(as_actions(actions, self.spec, self.num_envs)).to(self.device)

    def step_wait(self) -> tuple[Float32Array, Float32Array, BoolArray, list[dict[str, Any]]]:
        """Carry out the step."""
        if self._actions is None:
            raise RuntimeError("there is no step to wait for")
        actions, self._actions = self._actions, None
        with torch.no_grad():
            step = self.step_tensor(actions)
        dones: BoolArray = (step.terminated | step.truncated).cpu().numpy()
        infos = self._quiet
        ended = np.flatnonzero(dones)
        if len(ended):
            infos = list(self._quiet)
            for index, info in zip(ended.tolist(), self._endings(step, torch.from_numpy(ended)), strict=True):
                infos[index] = info
        return step.obs.cpu().numpy(), step.reward.cpu().numpy(), dones, infos

    def _endings(self, step: Transition, ended: Tensor) -> list[dict[str, Any]]:
        """Return what is said of the episodes that ended."""
        at = ended.to(self.device)
        last = self.observe(step.rows.index_select(0, at), step.account.index_select(0, at)).cpu().numpy()
        columns = (step.truncated, step.episode_reward, step.episode_length)
        cut, rewards, lengths = (column.index_select(0, at).tolist() for column in columns)
        seconds = round(self._clock() - self._began, 6)
        return [
            {
                "terminal_observation": observation,
                "TimeLimit.truncated": is_cut,
                "episode": {"r": reward, "l": length, "t": seconds},
            }
            for observation, is_cut, reward, length in zip(last, cut, rewards, lengths, strict=True)
        ]

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute once for each window: they share all of them."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of all windows.

        Raises:
            ValueError: for some of them only.
        """
        if indices is not None and len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError("the windows share all attributes")
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Call a method once, and return what it says for each window."""
        return [getattr(self, method_name)(*args, **kwargs)] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Indices = None) -> list[bool]:
        """Whether the windows do what a wrapper does: each tells of its episodes as `Monitor` lets one."""
        return [wrapper_class is Monitor] * len(list(self._get_indices(indices)))


def spaces_of(spec: EnvironmentSpec, size: int) -> tuple[spaces.Box, spaces.Box | spaces.Discrete]:
    """Return the spaces of observations of so many numbers, and of actions."""
    observations = spaces.Box(-np.inf, np.inf, (size,), np.float32)
    if spec.is_discrete:
        return observations, spaces.Discrete(spec.levels)
    return observations, spaces.Box(-1.0, 1.0, (1,), np.float32)


def as_actions(actions: np.ndarray, spec: EnvironmentSpec, windows: int) -> Float32Array | IntArray:
    """Return actions as a step takes them, (N, 1) or (N,).

    Raises:
        ValueError: of the wrong shape, or not all of them numbers or levels: they would trade.
    """
    shape = (windows,) if spec.is_discrete else (windows, 1)
    if actions.shape != shape:
        raise ValueError(f"actions of shape {actions.shape}, not {shape}")
    if not spec.is_discrete:
        if not np.isfinite(actions).all():
            raise ValueError("actions must be finite numbers")
        return np.array(actions, np.float32)
    if not (np.issubdtype(actions.dtype, np.integer) and ((actions >= 0) & (actions < spec.levels)).all()):
        raise ValueError(f"actions must be whole numbers from 0 below {spec.levels}")
    return np.array(actions, np.int64)
