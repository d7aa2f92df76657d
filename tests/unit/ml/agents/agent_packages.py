"""Stored agents that were never trained: what they decide is of no use, everything about their packages is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.td3.policies import TD3Policy

from core.clock import Clock, ManualClock
from core.domain.candles import Timeframe
from ml.agents.environment_spec import ACCOUNT_NAMES, EnvironmentSpec
from ml.agents.episode import Episode
from ml.agents.export import AgentNetwork, WeightRange, export_agent
from ml.agents.package import AgentContent
from ml.agents.run_spec import PPO, AgentSpec, AlgorithmSpec, EncoderSpec
from ml.api import FeatureSpec
from ml.features import FeaturePipeline, RobustScaler, Scaling, TargetUnit
from ml.model_storage import save_agent
from tests.unit.ml.agents.episodes_kit import random_episode
from tests.unit.ml.agents.judged_world import TEST, judged, noise_market

ENCODER = "0123456789abcdef"
HOUR_NS = Timeframe.H1.ns


def small_spec(kind: str = PPO, *, discrete: bool = False, encoder: bool = False, seed: int = 1) -> AgentSpec:
    """Return the specification of a small agent of two seeds."""
    actions = "discrete" if discrete else "continuous"
    return AgentSpec(
        features=FeatureSpec("price"),
        encoder=EncoderSpec(ENCODER) if encoder else EncoderSpec(),
        environment=EnvironmentSpec(window=2, lowest=-0.5, actions=actions, levels=4),
        algorithm=replace(AlgorithmSpec.of(kind), hidden=(8,), seeds=2, seed=seed),
    ).validate()


def content_of(spec: AgentSpec, *, market_seed: int = 1) -> AgentContent:
    """Return everything that its package holds."""
    pipeline = FeaturePipeline(spec.features, Timeframe(spec.data.timeframe))
    names, columns = ("state_0", "q_0.5") if spec.encoder.is_used else (), len(pipeline.names)
    observed = spec.environment.window * (columns + len(names)) + len(ACCOUNT_NAMES)
    network = AgentNetwork([_policy(spec, observed, seed) for seed in (1, 2)], _weights(spec))
    rng = np.random.default_rng(0)
    part = {"first_open_ns": 0, "last_open_ns": 9 * HOUR_NS, "targets": 10}
    lineage = {
        "data": {
            "venue": spec.data.venue,
            "symbol": spec.data.symbol,
            "timeframe": spec.data.timeframe,
            "bars": 30,
            "first_open_ns": 0,
            "last_open_ns": 29 * HOUR_NS,
            "sha256": "0" * 64,
        },
        "split": {"train": part, "valid": part, "test": part},
        "run": {"id": "run-20260101-000000-abcdef"},
    }
    if spec.encoder.is_used:
        lineage["encoder"] = {"model_id": spec.encoder.model, "onnx_sha256": "1" * 64}
    market = noise_market(market_seed, costs=spec.environment.costs)
    size = TEST[1] - TEST[0] - 1
    return AgentContent(
        spec=spec,
        feature_names=pipeline.names,
        feature_digest=pipeline.digest,
        encoder_names=names,
        scaling=Scaling(
            RobustScaler.fit(rng.normal(size=(100, columns)), pipeline.names), TargetUnit((1,), 1e-4, (1.0,))
        ),
        weights=safetensors.torch.save(network.state_dict()),
        onnx=export_agent(network),
        metrics=judged(market, rng.uniform(-0.5, 1.0, size), rng.uniform(-0.5, 1.0, size)),
        lineage=lineage,
    )


def store_agent(
    models_dir: Path, spec: AgentSpec | None = None, *, clock: Clock | None = None, episode: int | None = None
) -> str:
    """Store a small agent and return its id.

    Args:
        episode: bars of the episode in its package; None for none.
    """
    content = content_of(spec or small_spec())
    if episode is not None:
        content = replace(content, episode=episode_of(content, episode))
    return save_agent(models_dir, content, clock or ManualClock(10**18))


def episode_of(content: AgentContent, bars: int = 60) -> Episode:
    """Return an episode that fits a package."""
    window = range(content.spec.environment.window - 1, -1, -1)
    columns = (*content.feature_names, *content.encoder_names)
    names = (*(f"{name}[-{back}]" if back else name for back in window for name in columns), *ACCOUNT_NAMES)
    return random_episode(bars, seeds=content.spec.algorithm.seeds, names=names, gap_at=bars // 2)


def _weights(spec: AgentSpec) -> WeightRange:
    environment = spec.environment
    return WeightRange(environment.lowest, environment.highest, environment.levels if environment.is_discrete else 0)


def _policy(spec: AgentSpec, observed: int, seed: int) -> BasePolicy:
    torch.manual_seed(seed)
    seen = spaces.Box(-np.inf, np.inf, (observed,), np.float32)
    box = spaces.Box(-1.0, 1.0, (1,), np.float32)
    actions = spaces.Discrete(spec.environment.levels) if spec.environment.is_discrete else box
    hidden = list(spec.algorithm.hidden)
    if spec.algorithm.is_off_policy:
        return TD3Policy(seen, actions, lambda _: 1e-3, net_arch=hidden)
    return ActorCriticPolicy(seen, actions, lambda _: 1e-3, net_arch=hidden)
