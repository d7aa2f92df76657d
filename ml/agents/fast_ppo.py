"""PPO on the batched environment without leaving the device. Torch; job children only.

The algorithm is that of stable-baselines3; what is overridden is how it collects and how it goes through what it
collected. Nothing waits for the device within a rollout or an epoch: ends of episodes are looked at once a rollout,
losses are read once an iteration, and so a GPU is kept busy. Where a mini-batch is large that makes no difference to
what is learnt: a test holds the two versions' learning curves beside each other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from torch.nn import functional

from ml.agents.rollout import IndexRollout, RolloutSamples
from ml.agents.streams import Streams
from ml.environment import BatchedTradingEnv

if TYPE_CHECKING:
    from ml.agents.defaults import PPOSettings
    from ml.agents.run_spec import AlgorithmSpec

FUSED_ADAM = {"fused": True, "eps": 1e-5}  # the library's own eps goes with its default optimiser only
_KL_ROOM = 1.5  # the rule of the original implementation


class _OpenCategorical(CategoricalDistribution):
    """Draws what torch's own multinomial draws, to the bit on a CPU, without first looking at the chances.

    That look makes the host wait for the device at every step. A network that diverged is found when it is validated.
    """

    def sample(self) -> Tensor:
        chances = self.distribution.probs
        return (chances / torch.empty_like(chances).exponential_()).argmax(-1)


class DevicePolicy(ActorCriticPolicy):
    """The library's policy under a name of its own, since it warns of its own on a GPU; its draws wait for nothing."""

    def _build(self, lr_schedule: Schedule) -> None:
        if isinstance(self.action_space, spaces.Discrete):
            self.action_dist = _OpenCategorical(int(self.action_space.n))
        super()._build(lr_schedule)


class FastPPO(PPO):
    """PPO for `ml.environment.BatchedTradingEnv`; arguments as `stable_baselines3.PPO`.

    `target_kl` is looked at after each epoch, not after each mini-batch.
    """

    rollout_buffer: IndexRollout

    def __init__(
        self,
        env: BatchedTradingEnv,
        *,
        policy_kwargs: dict[str, Any] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Set up networks and memory on the environment's device.

        Args:
            seed: of networks, exploration and the order of mini-batches, a stream each; the environment has its own.

        Raises:
            ValueError: an option that this version does without.
        """
        if kwargs.get("use_sde") or kwargs.get("clip_range_vf") is not None:
            raise ValueError("FastPPO knows neither state-dependent exploration nor a clipped value")
        torch.distributions.Distribution.set_default_validate_args(False)  # each check would wait for the device
        streams = Streams.of(seed or 0)
        super().__init__(
            DevicePolicy,
            env,
            rollout_buffer_class=IndexRollout,
            rollout_buffer_kwargs={"account_size": env.account_size, "seed": streams.samples},
            policy_kwargs={"optimizer_kwargs": dict(FUSED_ADAM), **(policy_kwargs or {})},
            seed=seed,
            device=env.device,
            **kwargs,
        )
        if seed is not None:
            torch.manual_seed(streams.exploration)  # actions are drawn by the global generator

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the networks that are made next; the environment is not touched."""
        if seed is not None:
            torch.manual_seed(Streams.of(seed).networks)

    @property
    def _trading(self) -> BatchedTradingEnv:
        assert isinstance(self.env, BatchedTradingEnv)
        return self.env

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Let all windows act so many steps and keep what happened; False where the callback wants to stop."""
        trading, rollout = self._trading, self.rollout_buffer
        self.policy.set_training_mode(False)
        rollout.reset()
        callback.on_rollout_start()
        seen = trading.observe(trading.rows, trading.account)
        while rollout.pos < n_rollout_steps:
            rows, account = trading.rows, trading.account
            with torch.no_grad():
                drawn, value, log_prob = self.policy(seen)
            went = trading.step_tensor(drawn)  # clips what lies outside the box
            seen = went.obs
            self.num_timesteps += trading.num_envs
            rollout.write(
                rows=rows,
                account=account,
                drawn=drawn,
                value=value.flatten(),
                log_prob=log_prob,
                reward=went.reward,
                ended=went.terminated | went.truncated,
                truncated=went.truncated,
                end_rows=went.rows,
                end_account=went.account,
            )
            callback.update_locals(locals())
            if not callback.on_step():
                return False
        with torch.no_grad():
            self._value_ends(rollout)
            rollout.finish(self.policy.predict_values(seen).flatten())
        callback.on_rollout_end()
        return True

    def _value_ends(self, rollout: IndexRollout) -> None:
        """Say what would have followed where an episode's length cut it."""
        rollout.end_value.zero_()
        ends = rollout.truncated.flatten().nonzero().squeeze(1)  # the only wait for the device in a rollout
        if len(ends):
            rows = rollout.end_rows.flatten().index_select(0, ends)
            account = rollout.end_account.flatten(0, 1).index_select(0, ends)
            values = self.policy.predict_values(self._trading.observe(rows, account)).flatten()
            rollout.end_value.view(-1).index_copy_(0, ends, values)

    def train(self) -> None:
        """Fit policy and value to the rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = float(self.clip_range(self._current_progress_remaining))  # type: ignore[operator]
        told: list[Tensor] = []
        for _ in range(self.n_epochs):
            begun = len(told)
            for samples in self.rollout_buffer.batches(self.batch_size):
                loss, figures = self._loss(samples, clip_range)
                self.policy.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub lacks the types
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
                told.append(figures)
            self._n_updates += 1
            if self.target_kl is not None:
                divergence = float(torch.stack(told[begun:])[:, 3].mean())
                if divergence > _KL_ROOM * self.target_kl:
                    break
        self._log(torch.stack(told).mean(dim=0), clip_range)

    def _loss(self, samples: RolloutSamples, clip_range: float) -> tuple[Tensor, Tensor]:
        """Return the loss of a mini-batch, and policy loss, value loss, entropy, divergence and clipped share."""
        seen = self._trading.observe(samples.rows, samples.account)
        values, log_prob, entropy = self.policy.evaluate_actions(seen, samples.actions)
        advantages = samples.advantages
        if self.normalize_advantage and len(advantages) > 1:  # one alone has no deviation
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        log_ratio = log_prob - samples.log_prob
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
        policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean()
        value_loss = functional.mse_loss(values.flatten(), samples.returns)
        spread = -log_prob.mean() if entropy is None else entropy.mean()
        loss = policy_loss - self.ent_coef * spread + self.vf_coef * value_loss
        with torch.no_grad():
            divergence = (ratio - 1 - log_ratio).mean()
            outside = ((ratio - 1).abs() > clip_range).float().mean()
            figures = torch.stack((policy_loss, value_loss, spread, divergence, outside)).detach()
        return loss, figures

    def _log(self, means: Tensor, clip_range: float) -> None:
        rollout = self.rollout_buffer
        unexplained = (rollout.target - rollout.value).var() / rollout.target.var().clamp_min(1e-12)
        extra = [1.0 - unexplained, rollout.reward.mean(), rollout.ended.float().sum()]
        names = [
            "train/policy_gradient_loss",
            "train/value_loss",
            "train/entropy",
            "train/approx_kl",
            "train/clip_fraction",
            "train/explained_variance",
            "rollout/reward_mean",
            "rollout/episodes",
        ]
        if isinstance(self.action_space, spaces.Box):
            names.append("train/std")
            extra.append(self.policy.log_std.detach().exp().mean())
        figures = torch.cat((means, torch.stack(extra))).tolist()  # one wait for the device
        for name, figure in zip(names, figures, strict=True):
            self.logger.record(name, figure)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)


def ppo_learner(env: BatchedTradingEnv, settings: PPOSettings | AlgorithmSpec, *, seed: int) -> FastPPO:
    """Return a learner with settings under the names of the product.

    Args:
        env: all windows.
        settings: how it learns.
        seed: of networks, exploration and samples.
    """
    rate = settings.learning_rate
    return FastPPO(
        env,
        seed=seed,
        learning_rate=(lambda left: left * rate) if settings.schedule == "linear" else rate,
        batch_size=settings.batch,
        gamma=settings.gamma,
        n_steps=settings.n_steps,
        gae_lambda=settings.gae_lambda,
        n_epochs=settings.epochs,
        clip_range=settings.clip_range,
        ent_coef=settings.entropy,
        policy_kwargs={"net_arch": list(settings.hidden), "log_std_init": math.log(settings.noise)},
    )
