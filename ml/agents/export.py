"""Writes an agent's deterministic actor as ONNX and proves it equal. Runs in the training child only (imports torch).

What is exported is a plain module: observation, features, deterministic action, clip or unscale, target weight. The
columns of a frozen encoder are inputs like all others. Exploration, critics and optimisers stay behind.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from ml.agents.check import INPUT, OUTPUT
from ml.agents.environment_spec import weight_grid
from ml.onnx_export import to_onnx

TOLERANCE = 1e-5

_CHECKED_BATCHES = (1, 3, 512)
_CHECKED_SCALES = (0.1, 1.0, 10.0)  # the last one drives most actions to their bounds
_FEWEST_SETTLED = 0.5


@dataclass(frozen=True, slots=True)
class WeightRange:
    """Which target weights an agent may choose from.

    Attributes:
        lowest / highest: the bounds.
        levels: equally spaced weights, bounds included, among which it chooses; 0 where it may choose any between.
    """

    lowest: float
    highest: float
    levels: int = 0


class DeterministicActor(nn.Module):
    """What one policy holds where it does not explore: observation (B, D) to target weight (B,).

    Args:
        policy: of PPO (Gaussian or discrete), DDPG, TD3 or SAC; copied.
        weights: what its actions mean.

    Raises:
        ValueError: a policy of another kind, or whose actions are not those of the environment.
    """

    grid: Tensor

    def __init__(self, policy: BasePolicy, weights: WeightRange) -> None:
        super().__init__()
        parts, squashes = _parts(policy)
        self.layers = nn.Sequential(*copy.deepcopy(parts)).cpu()
        self.squashes = squashes
        self.weights = weights
        _check_actions(policy.action_space, weights)
        if weights.levels:
            grid = torch.tensor(weight_grid(weights.lowest, weights.highest, weights.levels))
            self.register_buffer("grid", grid, persistent=False)  # the configuration says it

    def forward(self, observation: Tensor) -> Tensor:
        """Return the target weights."""
        values: Tensor = self.layers(observation)
        if self.weights.levels:
            chosen: Tensor = self.grid.index_select(0, values.argmax(-1))
            return chosen
        action = (values.tanh() if self.squashes else values).clamp(-1.0, 1.0).squeeze(-1)
        return self.weights.lowest + 0.5 * (action + 1.0) * (self.weights.highest - self.weights.lowest)


class AgentNetwork(nn.Module):
    """Policies of several seeds as one: their mean target weight.

    Attributes:
        members: the actors, at least one, all for the same observations.
        observation_size: D.
    """

    def __init__(self, policies: Sequence[BasePolicy], weights: WeightRange) -> None:
        super().__init__()
        sizes = {policy.observation_space.shape for policy in policies}
        if len(sizes) != 1:
            raise ValueError(f"policies for different observations: {sizes}")
        (shape,) = sizes
        if shape is None or len(shape) != 1:
            raise ValueError(f"observations of shape {shape} are no plain columns")
        self.observation_size = shape[0]
        self.members = nn.ModuleList(DeterministicActor(policy, weights) for policy in policies)

    def forward(self, observation: Tensor) -> Tensor:
        """Return the target weights, shape (B,), for observations (B, D)."""
        return torch.stack([member(observation) for member in self.members]).mean(0)


def export_agent(network: AgentNetwork) -> bytes:
    """Return the network as a self-contained ONNX model: "observation" (batch, D) to "weight" (batch,), float32.

    Raises:
        RuntimeError: the exported model does not give the network's numbers.
    """
    network = network.cpu().eval()
    example = (torch.zeros(2, network.observation_size),)
    data = to_onnx(network, example, (INPUT,), (OUTPUT,), ({0: "batch"},))
    _check(network, data)
    return data


def _parts(policy: BasePolicy) -> tuple[list[nn.Module], bool]:
    """Return the modules between observation and action, and whether a hyperbolic tangent follows them."""
    if isinstance(policy, ActorCriticPolicy):
        if not isinstance(policy.action_dist, CategoricalDistribution | DiagGaussianDistribution):
            raise ValueError(f"actions of a {type(policy.action_dist).__name__} are not exported")
        extractor = policy.pi_features_extractor
        return [_extractor(extractor), policy.mlp_extractor.policy_net, policy.action_net], False
    if isinstance(policy, TD3Policy):  # DDPG has the same
        return [_extractor(policy.actor.features_extractor), policy.actor.mu], False
    if isinstance(policy, SACPolicy):
        actor = policy.actor
        return [_extractor(actor.features_extractor), actor.latent_pi, actor.mu], True
    raise ValueError(f"a {type(policy).__name__} is not exported")


def _extractor(module: nn.Module) -> nn.Module:
    """Leave out what only flattens: observations are flat."""
    return nn.Identity() if isinstance(module, FlattenExtractor) else module


def _check_actions(space: spaces.Space[object], weights: WeightRange) -> None:
    discrete = isinstance(space, spaces.Discrete) and space.n == weights.levels
    box = isinstance(space, spaces.Box) and space.shape == (1,) and (space.low[0], space.high[0]) == (-1.0, 1.0)
    if not (discrete if weights.levels else box):
        raise ValueError(f"the actions {space} are not those of {weights}")


def _check(network: AgentNetwork, data: bytes) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    exact = copy.deepcopy(network).double()
    compared = observed = 0
    for batch, scale in itertools.product(_CHECKED_BATCHES, _CHECKED_SCALES):
        observation = scale * torch.randn(batch, network.observation_size, generator=generator)
        with torch.no_grad():
            wanted, unrounded = network(observation), exact(observation.double())
        (given,) = session.run([OUTPUT], {INPUT: observation.numpy()})
        # Where rounding alone changes what the network says, as at the edge between two levels, nobody can be right.
        settled = ((wanted - unrounded).abs() <= TOLERANCE / 2).numpy()
        difference = float(np.abs(wanted.numpy() - given)[settled].max(initial=0.0))
        if not difference <= TOLERANCE:
            raise RuntimeError(f"the exported weights differ from the network by {difference:g}")
        compared, observed = compared + int(settled.sum()), observed + batch
    if compared < _FEWEST_SETTLED * observed:
        raise RuntimeError("the network is too steep for its numbers to be compared")
