"""The learners of agents behind one face: built from a specification, put aside, gone on with. Training child only.

Nothing is unpickled anywhere: what a learner was is tensors and numbers that go into the state of one built alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from ml.agents.fast_off_policy import FastOffPolicy, LearnerState, off_policy_learner
from ml.agents.fast_ppo import FastPPO, ppo_learner
from ml.agents.progress import LearningFigures
from ml.agents.run_spec import PPO, AlgorithmSpec
from ml.checkpoint import under
from ml.environment import BatchedTradingEnv

Learner = FastPPO | FastOffPolicy


def build_learner(spec: AlgorithmSpec, env: BatchedTradingEnv, seed: int) -> Learner:
    """Return a learner at its beginning.

    Args:
        spec: of the algorithm.
        env: all windows.
        seed: of networks, exploration and samples, see `ml.agents.streams`; the environment has its own.
    """
    if spec.kind != PPO:
        return off_policy_learner(spec.kind, env, spec, seed=seed)
    return ppo_learner(env, spec, seed=seed)


def learner_state(learner: Learner) -> LearnerState:
    """Return all that `restore_learner` needs to go on exactly; the tensors may be views that the next step changes."""
    if isinstance(learner, FastOffPolicy):
        found = learner.state()
        return LearnerState(found.tensors | _global_random(learner), found.numbers)
    tensors = {f"policy.{name}": value for name, value in learner.policy.state_dict().items()}
    for parameter, moments in learner.policy.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{parameter}.{key}": value for key, value in moments.items()}
    tensors["generator"] = learner.rollout_buffer.generator.get_state()
    tensors |= {f"env.{name}": value for name, value in _trading(learner).state().items()}
    numbers = {"timesteps": learner.num_timesteps, "updates": learner._n_updates}
    return LearnerState(tensors | _global_random(learner), numbers)


def restore_learner(learner: Learner, state: LearnerState) -> None:
    """Take over a state; `learn(..., reset_num_timesteps=False)` then goes on as if there had been no break.

    Raises:
        RuntimeError, ValueError, KeyError: it is of other networks, another buffer or another environment.
    """
    tensors, numbers = state
    if isinstance(learner, FastOffPolicy):
        learner.restore(state)
    else:
        learner.policy.load_state_dict(under(tensors, "policy."))
        optimizer = learner.policy.optimizer
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in under(tensors, "optimizer.").items():
            parameter, _, moment = key.partition(".")
            moments.setdefault(int(parameter), {})[moment] = value.clone()
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        learner.rollout_buffer.generator.set_state(tensors["generator"].cpu())
        # Tells `learn` that the environment must not be reset.
        learner._last_obs = _trading(learner).restore(under(tensors, "env.")).cpu().numpy()
        learner.num_timesteps, learner._n_updates = numbers["timesteps"], numbers["updates"]
    torch.set_rng_state(tensors["random.cpu"].cpu())
    if learner.device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"].cpu(), learner.device)


def deterministic(policy: BasePolicy) -> Callable[[Tensor], Tensor]:
    """Return the actions of a policy where it does not explore."""

    def act(observations: Tensor) -> Tensor:
        return policy._predict(observations, deterministic=True)

    return act


def learning_figures(learner: Learner) -> LearningFigures:
    """Return what a learner says of itself since it was asked last; reads from the device."""
    if isinstance(learner, FastOffPolicy):
        number, reward, length = learner.episodes.drain()
        means = learner.tally.drain()
        return LearningFigures(
            reward=reward / length if number and length else None,
            value_loss=means.get("critic_loss"),
            policy_loss=means.get("actor_loss"),
            spread=means.get("ent_coef"),
            saturated=means.get("saturated"),
        )
    said = learner.logger.name_to_value
    return LearningFigures(
        reward=said.get("rollout/reward_mean"),
        value_loss=said.get("train/value_loss"),
        policy_loss=said.get("train/policy_gradient_loss"),
        divergence=said.get("train/approx_kl"),
        explained_variance=said.get("train/explained_variance"),
        spread=said.get("train/entropy"),
    )


def _global_random(learner: Learner) -> dict[str, Tensor]:
    """Return the state of torch's own generators, from which PPO draws actions; an unused card sleeps on."""
    found = {"random.cpu": torch.get_rng_state()}
    if learner.device.type == "cuda":
        found["random.cuda"] = torch.cuda.get_rng_state(learner.device)
    return found


def _trading(learner: FastPPO) -> BatchedTradingEnv:
    assert isinstance(learner.env, BatchedTradingEnv)
    return learner.env
