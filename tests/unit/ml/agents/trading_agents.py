"""Stored agents that were never trained and change their minds a lot: their trades are of no use, but they are some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from core.clock import ManualClock
from ml.agents.encoder import encoder_names
from ml.agents.export import AgentNetwork, WeightRange, export_agent
from ml.agents.run_spec import AgentSpec
from ml.features import FeaturePipeline, Scaling
from ml.model_storage import load_model, save_agent
from tests.unit.ml.agents.agent_packages import content_of

LOUD = 20.0  # by which the last layer of an untrained network is multiplied


def loud_network(spec: AgentSpec, observed: int) -> AgentNetwork:
    """Return untrained actors; only one where the mean of several would be no level of the grid."""
    environment = spec.environment
    seen = spaces.Box(-np.inf, np.inf, (observed,), np.float32)
    box = spaces.Box(-1.0, 1.0, (1,), np.float32)
    actions = spaces.Discrete(environment.levels) if environment.is_discrete else box
    policies = []
    for seed in (1,) if environment.is_discrete else (1, 2):
        torch.manual_seed(seed)
        policies.append(ActorCriticPolicy(seen, actions, lambda _: 1e-3, net_arch=[8]))
        with torch.no_grad():
            policies[-1].action_net.weight.mul_(LOUD)
    levels = environment.levels if environment.is_discrete else 0
    return AgentNetwork(policies, WeightRange(environment.lowest, environment.highest, levels)).eval()


def store_loud_agent(models: Path, spec: AgentSpec, scaling: Scaling | None = None) -> tuple[str, AgentNetwork]:
    """Store such an agent; its encoder, where it names one, lies in the same folder.

    Args:
        scaling: of its features; None for that of random ones.

    Returns:
        Its id, and what was exported.
    """
    names: tuple[str, ...] = ()
    if spec.encoder.is_used:
        names = encoder_names(load_model(models, spec.encoder.model), spec.encoder)
    columns = len(FeaturePipeline(spec.features).names) + len(names)
    network = loud_network(spec, spec.environment.window * columns + 5)
    content = content_of(spec)
    content = replace(
        content,
        encoder_names=names,
        scaling=scaling or content.scaling,
        weights=safetensors.torch.save(network.state_dict()),
        onnx=export_agent(network),
    )
    return save_agent(models, content, ManualClock(10**18)), network
