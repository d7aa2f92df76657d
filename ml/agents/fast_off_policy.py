"""DDPG, TD3 and SAC of stable-baselines3 with the loop on the device. Runs in the training child only (imports torch).

The classes keep the policies, losses and schedules of stable-baselines3 and replace, by its extension points, what
costs the time: transitions stay where the environment computed them, nothing in collecting or learning waits for the
device, and the logs are read once per interval. `policy` stays a plain stable-baselines3 policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback, ReplayBufferSamples, RolloutReturn, TrainFreq
from stable_baselines3.common.utils import get_parameters_by_name
from torch import Tensor, nn
from torch.nn import functional

from ml.agents.device_stats import EpisodeStatistics, Tally
from ml.agents.replay import IndexReplayBuffer
from ml.agents.streams import Streams

if TYPE_CHECKING:
    from stable_baselines3.common.buffers import ReplayBuffer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import ActionNoise
    from stable_baselines3.common.vec_env import VecEnv

    from ml.agents.defaults import OffPolicySettings
    from ml.agents.run_spec import AlgorithmSpec
    from ml.environment import BatchedTradingEnv

_SATURATED = 0.99
_SMALLEST_EPS = 1e-8
_LOG_TWO = math.log(2)
_LOG_TWO_PI = math.log(2 * math.pi)
# What the classes replace; given to a constructor it would be ignored.
_REPLACED = ("action_noise", "replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage", "use_sde")


class LearnerState(NamedTuple):
    """All that a learner needs to go on exactly: tensors by name, and numbers that JSON knows."""

    tensors: dict[str, Tensor]
    numbers: dict[str, int]


class _Place(NamedTuple):
    """Where all windows stand, and what is seen from there."""

    rows: Tensor
    account: Tensor
    observations: Tensor


class _Follower:
    """A target network that follows another."""

    def __init__(self, network: nn.Module, target: nn.Module) -> None:
        self._parameters: list[Tensor] = list(network.parameters())
        self._targets: list[Tensor] = list(target.parameters())
        # Running statistics of batch norms are copied as they are.
        running = (get_parameters_by_name(each, ["running_"]) for each in (target, network))
        self._running = list(zip(*running, strict=True))

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        torch._foreach_lerp_(self._targets, self._parameters, tau)
        for target, value in self._running:
            target.copy_(value)


class FastOffPolicy(OffPolicyAlgorithm):
    """What the three learners share: exploring, storing, logging, exact states.

    The settings are those of the stable-baselines3 class; `policy` is its plain "MlpPolicy".
    """

    def __init__(
        self,
        env: BatchedTradingEnv,
        *,
        exploration: float = 0.0,
        learning_starts: int = 5_000,
        policy_kwargs: dict[str, Any] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        """Build the networks, their optimisers and the buffer.

        Args:
            env: all windows.
            exploration: standard deviation of the Gaussian noise on the actions, which lie in [-1, 1].
            learning_starts: steps of all windows together with actions of equal chance before learning starts.
            policy_kwargs: of the policy; by default two layers of 64, and the fused Adam.
            seed: of networks, exploration and samples, a stream each; the environment has its own.
            settings: the other settings of the stable-baselines3 class.

        Raises:
            ValueError: a setting that this class replaces.
        """
        if replaced := [name for name in _REPLACED if name in settings]:
            raise ValueError(f"{', '.join(replaced)}: replaced by this class")
        self.trading_env = env
        self.exploration = exploration
        self.tally = Tally()
        self._at: _Place | None = None
        super().__init__(
            "MlpPolicy",
            env,
            learning_starts=learning_starts,
            policy_kwargs={
                "net_arch": [64, 64],
                "optimizer_kwargs": {"fused": True, "eps": _SMALLEST_EPS},
                **(policy_kwargs or {}),
            },
            seed=seed,
            device=env.device,
            **settings,
        )

    def _setup_model(self) -> None:
        env, streams = self.trading_env, Streams.of(self.seed or 0)
        self.replay = IndexReplayBuffer(
            env, self.buffer_size, n_steps=self.n_steps, gamma=self.gamma, seed=streams.samples
        )
        self.replay_buffer = self.replay
        self.episodes = EpisodeStatistics(env.device)
        self._generator = torch.Generator(env.device).manual_seed(streams.exploration)
        super()._setup_model()

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the networks that are made next; the environment is not touched."""
        if seed is not None:
            torch.manual_seed(Streams.of(seed).networks)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn as in stable-baselines3; `log_interval` counts steps of the environment: counting ends would wait."""
        self._at = None
        return super().learn(
            total_timesteps,
            callback,
            log_interval,  # type: ignore[arg-type]  # None is handed through to collect_rollouts, which knows it
            tb_log_name or type(self).__name__,
            reset_num_timesteps,
            progress_bar,
        )

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: ReplayBuffer,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """Take `train_freq` steps in all windows and store them."""
        self.policy.set_training_mode(False)
        trading, taken = self.trading_env, 0
        callback.on_rollout_start()
        while taken < train_freq.frequency:
            self._step(warm_up=self.num_timesteps < learning_starts)
            taken += 1
            self.num_timesteps += trading.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return RolloutReturn(taken * trading.num_envs, 0, continue_training=False)
            self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
            if log_interval is not None and self.num_timesteps // trading.num_envs % log_interval == 0:
                self.dump_logs()
        callback.on_rollout_end()
        return RolloutReturn(taken * trading.num_envs, 0, continue_training=True)

    @torch.no_grad()
    def _step(self, *, warm_up: bool) -> None:
        env, at = self.trading_env, self._at or self._here()
        if warm_up:
            action = torch.empty(env.num_envs, self.replay.action_dim, device=env.device)
            action.uniform_(-1, 1, generator=self._generator)
        else:
            action = self._explore(at.observations)
            if self.exploration > 0:
                action = (action + self.exploration * self._noise(action)).clamp_(-1, 1)
        step = env.step_tensor(action)
        self.replay.record(at.rows, at.account, action, step)
        self.episodes.add(step.terminated | step.truncated, step.episode_reward, step.episode_length)
        self._at = _Place(step.next_rows, step.next_account, step.obs)

    def _here(self) -> _Place:
        rows, account = self.trading_env.rows, self.trading_env.account
        return _Place(rows, account, self.trading_env.observe(rows, account))

    def _noise(self, like: Tensor) -> Tensor:
        return torch.empty_like(like).normal_(generator=self._generator)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Learn from so many samples."""
        self.policy.set_training_mode(True)
        self._update_learning_rate([optimizer for _, optimizer in self._optimizers()])
        for _ in range(gradient_steps):
            self._n_updates += 1
            self._update(self.replay.sample(batch_size))

    def _explore(self, observations: Tensor) -> Tensor:
        """Return the actions before the noise."""
        raise NotImplementedError

    def _update(self, samples: ReplayBufferSamples) -> None:
        """Take one step of the optimisers and let the targets follow."""
        raise NotImplementedError

    def _count(self, actions: Tensor, **values: Tensor) -> None:
        self.tally.add(**values, saturated=(actions.detach().abs() > _SATURATED).float().mean())

    def dump_logs(self) -> None:
        """Read what was summed on the device and write it to the logger."""
        number, reward, length = self.episodes.drain()
        self._episode_num += number
        if number:
            self.logger.record("rollout/ep_rew_mean", reward)
            self.logger.record("rollout/ep_len_mean", length)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, mean in self.tally.drain().items():
            self.logger.record(f"train/{name}", mean)
        super().dump_logs()

    def _optimizers(self) -> Iterator[tuple[str, torch.optim.Optimizer]]:
        for name in self._get_torch_save_params()[0]:
            owner: Any = self
            for part in name.split("."):
                owner = getattr(owner, part)
            if isinstance(owner, torch.optim.Optimizer):
                yield name, owner

    def state(self) -> LearnerState:
        """Return all that `restore` needs to go on exactly; the tensors may be views that the next step changes."""
        tensors = {f"policy.{name}": value for name, value in self.policy.state_dict().items()}
        for name, optimizer in self._optimizers():
            for parameter, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"{name}.{parameter}.{key}": value for key, value in moments.items()}
        for name in self._get_torch_save_params()[1]:
            tensors[f"variable.{name}"] = getattr(self, name).detach()
        stored, position = self.replay.state()
        tensors |= {f"replay.{name}": value for name, value in stored.items()}
        tensors |= {f"env.{name}": value for name, value in self.trading_env.state().items()}
        tensors["generator"] = self._generator.get_state()
        counts = {"timesteps": self.num_timesteps, "updates": self._n_updates, "episodes": self._episode_num}
        return LearnerState(tensors, counts | position)

    def restore(self, state: LearnerState) -> None:
        """Take over a state; `learn(..., reset_num_timesteps=False)` then goes on as if there had been no break.

        Raises:
            RuntimeError, ValueError, KeyError: it is of other networks, another buffer or another environment.
        """
        tensors, numbers = state
        self.policy.load_state_dict(_under(tensors, "policy."))
        for name, optimizer in self._optimizers():
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(tensors, f"{name}.").items():
                parameter, _, moment = key.partition(".")
                moments.setdefault(int(parameter), {})[moment] = value.clone()
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        with torch.no_grad():
            for name in self._get_torch_save_params()[1]:
                getattr(self, name).copy_(tensors[f"variable.{name}"])
        self.replay.restore(_under(tensors, "replay."), numbers)
        self.trading_env.restore(_under(tensors, "env."))
        self._generator.set_state(tensors["generator"].cpu())
        self.num_timesteps, self._n_updates = numbers["timesteps"], numbers["updates"]
        self._episode_num = numbers["episodes"]
        # Tells `learn` that the environment must not be reset.
        self._last_obs = self._here().observations.cpu().numpy()

    def _excluded_save_params(self) -> list[str]:
        own = ["trading_env", "replay", "episodes", "tally", "_at", "_generator", "_followers"]
        return [*super()._excluded_save_params(), *own]


class FastTD3(FastOffPolicy, TD3):
    """Twin delayed deterministic policy gradient."""

    def __init__(self, env: BatchedTradingEnv, *, exploration: float = 0.3, **settings: Any) -> None:
        """See `FastOffPolicy`."""
        super().__init__(env, exploration=exploration, **settings)

    def _setup_model(self) -> None:
        super()._setup_model()
        self._followers = (_Follower(self.critic, self.critic_target), _Follower(self.actor, self.actor_target))

    def _explore(self, observations: Tensor) -> Tensor:
        return self.actor(observations)  # type: ignore[no-any-return]  # modules are called untyped

    def _update(self, samples: ReplayBufferSamples) -> None:
        with torch.no_grad():
            next_actions = self.actor_target(samples.next_observations)
            if self.target_noise_clip > 0:
                noise = self.target_policy_noise * self._noise(next_actions)
                noise = noise.clamp_(-self.target_noise_clip, self.target_noise_clip)
                next_actions = (next_actions + noise).clamp_(-1, 1)
            target = _target(samples, _least(self.critic_target(samples.next_observations, next_actions)))
        values = self.critic(samples.observations, samples.actions)
        loss = _squared_error(values, target)
        _minimise(loss, self.critic)
        self.tally.add(critic_loss=loss, q_mean=values[0].mean())
        if self._n_updates % self.policy_delay == 0:
            actions = self.actor(samples.observations)
            actor_loss = -self.critic.q1_forward(samples.observations, actions).mean()
            _minimise(actor_loss, self.actor)
            self._count(actions, actor_loss=actor_loss)
            for follower in self._followers:
                follower.follow(self.tau)


class FastDDPG(FastTD3, DDPG):
    """Deep deterministic policy gradient: TD3 without its three corrections."""


class FastSAC(FastOffPolicy, SAC):
    """Soft actor-critic."""

    def __init__(self, env: BatchedTradingEnv, *, exploration: float = 0.0, **settings: Any) -> None:
        """See `FastOffPolicy`; the policy explores by itself."""
        super().__init__(env, exploration=exploration, **settings)

    def _setup_model(self) -> None:
        super()._setup_model()
        self._followers = (_Follower(self.critic, self.critic_target),)
        if self.log_ent_coef is not None:
            self.ent_coef_optimizer = torch.optim.Adam([self.log_ent_coef], lr=self.lr_schedule(1), fused=True)

    def _explore(self, observations: Tensor) -> Tensor:
        return self._draw(observations)[0]

    def _draw(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions and the logarithms of their densities, with randomness of our own and no host sync."""
        mean, log_std, _ = self.actor.get_action_dist_params(observations)
        noise = self._noise(mean)
        before = mean + log_std.exp() * noise
        density = -0.5 * noise.square() - log_std - 0.5 * _LOG_TWO_PI
        # log(1 - tanh(x)²), exact where tanh(x) rounds to 1.
        density = density - 2 * (_LOG_TWO - before - functional.softplus(-2 * before))
        return torch.tanh(before), density.sum(1, keepdim=True)

    def _update(self, samples: ReplayBufferSamples) -> None:
        actions, density = self._draw(samples.observations)
        entropy = self._learn_entropy(density)
        with torch.no_grad():
            next_actions, next_density = self._draw(samples.next_observations)
            following = _least(self.critic_target(samples.next_observations, next_actions)) - entropy * next_density
            target = _target(samples, following)
        values = self.critic(samples.observations, samples.actions)
        loss = 0.5 * _squared_error(values, target)
        _minimise(loss, self.critic)
        actor_loss = (entropy * density - _least(self.critic(samples.observations, actions))).mean()
        _minimise(actor_loss, self.actor)
        self._count(actions, critic_loss=loss, q_mean=values[0].mean(), actor_loss=actor_loss, ent_coef=entropy.mean())
        if self._n_updates % self.target_update_interval == 0:
            self._followers[0].follow(self.tau)

    def _learn_entropy(self, density: Tensor) -> Tensor:
        """Return the weight of the entropy, after which it is moved towards the target entropy."""
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            return self.ent_coef_tensor
        entropy = self.log_ent_coef.detach().exp()
        loss = -(self.log_ent_coef * (density.detach() + float(self.target_entropy))).mean()
        self.ent_coef_optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.ent_coef_optimizer.step()
        return entropy


LEARNERS: dict[str, type[FastOffPolicy]] = {"ddpg": FastDDPG, "td3": FastTD3, "sac": FastSAC}


def off_policy_learner(
    kind: str, env: BatchedTradingEnv, settings: OffPolicySettings | AlgorithmSpec, *, seed: int
) -> FastOffPolicy:
    """Return a learner with settings under the names of the product.

    Args:
        kind: a key of `LEARNERS`.
        env: all windows.
        settings: how it learns; who builds the environment and calls `learn` sees to windows and steps.
        seed: of networks, exploration and samples.
    """
    rate = settings.learning_rate
    special = {"ent_coef": settings.entropy} if kind == "sac" else {}
    return LEARNERS[kind](
        env,
        exploration=settings.noise,
        learning_rate=(lambda left: left * rate) if settings.schedule == "linear" else rate,
        learning_starts=settings.learning_starts,
        batch_size=settings.batch,
        buffer_size=settings.buffer,
        gamma=settings.gamma,
        n_steps=settings.n_steps,
        gradient_steps=settings.gradient_steps,
        tau=settings.tau,
        policy_kwargs={"net_arch": list(settings.hidden)},
        seed=seed,
        **special,
    )


def _least(values: tuple[Tensor, ...]) -> Tensor:
    """Return the smallest estimate of all critics."""
    return torch.cat(values, dim=1).amin(dim=1, keepdim=True)


def _squared_error(values: tuple[Tensor, ...], target: Tensor) -> Tensor:
    """Return the sum over all critics."""
    return torch.stack([functional.mse_loss(value, target) for value in values]).sum()


def _target(samples: ReplayBufferSamples, following: Tensor) -> Tensor:
    assert samples.discounts is not None  # this buffer always says them
    return samples.rewards + (1 - samples.dones) * samples.discounts * following


def _minimise(loss: Tensor, network: nn.Module) -> None:
    """Take one step of the network's optimiser; gradients of other networks are not computed."""
    optimizer = network.optimizer
    assert isinstance(optimizer, torch.optim.Optimizer)  # stable-baselines3 hangs it on the module
    optimizer.zero_grad()
    torch.autograd.backward(loss, inputs=list(network.parameters()))
    optimizer.step()


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
