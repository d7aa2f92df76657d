from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

import ml.agents.export
from core.errors import UserError
from ml.agents.check import check_agent_behaviour, check_agent_graph
from ml.agents.export import AgentNetwork, WeightRange, export_agent
from ml.arrays import Float32Array
from ml.package_check import read_weights

OBSERVED = 11
SEEN = spaces.Box(-np.inf, np.inf, (OBSERVED,), np.float32)
BOX = spaces.Box(-1.0, 1.0, (1,), np.float32)
ANY = WeightRange(-0.5, 2.0)
GRID = WeightRange(-1.0, 1.0, 5)


def rate(_: float) -> float:
    return 1e-3


def gaussian() -> BasePolicy:
    return ActorCriticPolicy(SEEN, BOX, rate, net_arch=[16, 16])


def discrete() -> BasePolicy:
    return ActorCriticPolicy(SEEN, spaces.Discrete(GRID.levels), rate, net_arch=[16], activation_fn=torch.nn.ReLU)


def deterministic() -> BasePolicy:
    return TD3Policy(SEEN, BOX, rate, net_arch=[16, 16])


def entropic() -> BasePolicy:
    return SACPolicy(SEEN, BOX, rate, net_arch=[16, 16])


KINDS = [(gaussian, ANY), (discrete, GRID), (deterministic, ANY), (entropic, ANY)]


def made(kind: Callable[[], BasePolicy], seed: int) -> BasePolicy:
    """Return a policy whose actions depend strongly on what it sees."""
    torch.manual_seed(seed)
    policy = kind()
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "weight" in name:
                parameter.mul_(1.5).add_(0.1 * torch.randn_like(parameter))
            if "action_net" in name:  # begins near zero
                parameter.mul_(30.0)
    return policy


def weights_of(policy: BasePolicy, weights: WeightRange, observation: Float32Array) -> Float32Array:
    """Return what the environment makes of the actions that the library itself predicts."""
    actions, _ = policy.predict(observation, deterministic=True)
    if weights.levels:
        grid = np.linspace(weights.lowest, weights.highest, weights.levels)
        return np.asarray(grid[actions], np.float32)
    share = (np.clip(actions[:, 0], -1.0, 1.0) + 1.0) / 2.0
    return np.asarray(weights.lowest + share * (weights.highest - weights.lowest), np.float32)


def run(exported: bytes, observation: Float32Array) -> Float32Array:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (weight,) = session.run(["weight"], {"observation": observation})
    return np.asarray(weight)


def observations(batch: int, scale: float) -> Float32Array:
    return (scale * np.random.default_rng(batch).normal(size=(batch, OBSERVED))).astype(np.float32)


@pytest.mark.parametrize(("kind", "weights"), KINDS)
def test_the_exported_actor_is_the_librarys_prediction(kind: Callable[[], BasePolicy], weights: WeightRange) -> None:
    policy = made(kind, 1)
    exported = export_agent(AgentNetwork([policy], weights))
    for batch, scale in ((1, 1.0), (512, 1.0), (512, 20.0)):
        seen = observations(batch, scale)
        given = run(exported, seen)
        assert given.shape == (batch,)
        np.testing.assert_allclose(given, weights_of(policy, weights, seen), atol=1e-5)
        assert given.min() >= weights.lowest
        assert given.max() <= weights.highest
    # The last observations drive it to its bounds: a clip that were missing, or came twice, would show.
    assert given.min() == pytest.approx(weights.lowest, abs=1e-3)
    assert given.max() == pytest.approx(weights.highest, abs=1e-3)


@pytest.mark.parametrize(("kind", "weights"), KINDS)
def test_several_seeds_are_one_network_with_their_mean(kind: Callable[[], BasePolicy], weights: WeightRange) -> None:
    policies = [made(kind, seed) for seed in (1, 2, 3)]
    seen = observations(64, 1.0)
    alone = [weights_of(policy, weights, seen) for policy in policies]
    assert float(np.std(alone, axis=0).max()) > 0.1
    given = run(export_agent(AgentNetwork(policies, weights)), seen)
    np.testing.assert_allclose(given, np.mean(alone, axis=0), atol=1e-5)


def test_the_file_is_self_contained_and_names_no_machine() -> None:
    model = onnx.load_from_string(export_agent(AgentNetwork([made(gaussian, 1)], ANY)))
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert b"/" not in b"".join(node.SerializeToString() for node in model.graph.node).replace(b"ai.onnx", b"")
    (given,), (answer,) = model.graph.input, model.graph.output
    assert [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim] == ["batch", OBSERVED]
    assert [dim.dim_param or dim.dim_value for dim in answer.type.tensor_type.shape.dim] == ["batch"]


def test_the_policy_itself_stays_as_it_is() -> None:
    policy = made(deterministic, 1)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    network = AgentNetwork([policy], ANY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


def test_an_export_that_differs_is_a_bug() -> None:
    network = AgentNetwork([made(entropic, 1)], ANY)
    exported = export_agent(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    with pytest.raises(RuntimeError, match="differ from the network"):
        ml.agents.export._check(network, exported)


def test_what_cannot_be_exported_is_a_bug() -> None:
    with pytest.raises(ValueError, match="actions"):
        AgentNetwork([gaussian()], GRID)
    with pytest.raises(ValueError, match="actions"):
        AgentNetwork([discrete()], WeightRange(-1.0, 1.0, 7))
    squashed = ActorCriticPolicy(SEEN, BOX, rate, use_sde=True, squash_output=True)
    with pytest.raises(ValueError, match="not exported"):
        AgentNetwork([squashed], ANY)
    other = ActorCriticPolicy(spaces.Box(-1.0, 1.0, (3,), np.float32), BOX, rate)
    with pytest.raises(ValueError, match="different observations"):
        AgentNetwork([gaussian(), other], ANY)


@pytest.mark.parametrize(("kind", "weights"), KINDS)
def test_what_is_exported_passes_the_check_of_foreign_packages(
    kind: Callable[[], BasePolicy], weights: WeightRange
) -> None:
    network = AgentNetwork([made(kind, seed) for seed in (1, 2)], weights)
    exported, held = export_agent(network), read_weights(safetensors.torch.save(network.state_dict()))
    check_agent_graph(exported, OBSERVED, held)
    check_agent_behaviour(exported, OBSERVED, weights.lowest, weights.highest)
    with pytest.raises(UserError, match="do not fit its configuration"):
        check_agent_graph(exported, OBSERVED + 1, held)
    with pytest.raises(UserError, match="outside the range"):
        check_agent_behaviour(exported, OBSERVED, weights.lowest, weights.highest - 0.4)
    name = next(iter(held))
    with pytest.raises(UserError, match="not made of the weights"):
        check_agent_graph(exported, OBSERVED, held | {name: held[name] + 0.123})
