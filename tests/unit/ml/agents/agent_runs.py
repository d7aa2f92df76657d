"""Short runs of agents on a market that says a little of what it will do next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.accounting.rules import CostRates
from core.jobs import Json
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.job import agent_job
from ml.agents.run_spec import AgentEvaluationSpec, AgentSpec, AlgorithmSpec
from ml.api import FeatureSpec, ResourceSpec


def short_spec(kind: str, *, discrete: bool = False, seeds: int = 2) -> AgentSpec:
    """Return a run of seconds whose agents nevertheless learn to follow the last move."""
    algorithm = replace(AlgorithmSpec.of(kind), hidden=(16,), seeds=seeds, evaluations=4)
    if algorithm.is_off_policy:
        algorithm = replace(algorithm, steps=1_600, windows=16, batch=64, learning_starts=320, buffer=2_000)
    else:
        algorithm = replace(algorithm, steps=12_288, windows=64, batch=512, n_steps=16, epochs=4)
    actions = "discrete" if discrete else "continuous"
    return AgentSpec(
        features=FeatureSpec("price", 1, horizons=(1, 4), window=24),
        environment=EnvironmentSpec(
            actions=actions, episode=64, random_position=True, costs=CostRates(taker_fee=0.0002), cost_jitter=0.5
        ),
        algorithm=algorithm,
        evaluation=AgentEvaluationSpec(resamples=100, draws=39),
        resources=ResourceSpec(device="cpu", threads=1),
    ).validate()


def job_of(folder: Path, spec: AgentSpec, run_id: str = "agent-1", *, resume: bool = False) -> Json:
    """Return the job of a run that has everything below one folder."""
    return agent_job(
        spec,
        run_id=run_id,
        candles_dir=folder / "candles",
        models_dir=folder / "models",
        runs_dir=folder / "runs",
        resume=resume,
    )
