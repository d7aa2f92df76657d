"""The jobs and scenarios of the agents' figures run to their end on a small problem. No figure is judged here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.benchmarks import rl_bench, rl_job
from app.benchmarks.peer_runs import PeerRun, PeersMissing
from app.benchmarks.peers.problem import Problem, mean_reverting, net_score
from ml.agents.learner import build_learner
from ml.agents.run_spec import AlgorithmSpec
from tests.job_kit import RecordingChannel

RATES = {"gym-anytrading": {1: 20.0, 8: 50.0}, "gym-trading-env": {1: 10.0, 8: 40.0}}


def problem() -> Problem:
    return mean_reverting(training=4_000, validation=400, features=3, window=4, seed=1)


def settings() -> AlgorithmSpec:
    return AlgorithmSpec(windows=16, n_steps=8, batch=64, epochs=2, hidden=(8, 8), schedule="constant")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small problem, learnt from with small settings."""
    monkeypatch.setattr(rl_job, "ppo_settings", settings)
    small = replace(rl_job.ddpg_settings(), windows=16, batch=32, gradient_steps=2, learning_starts=64, buffer=2_000)
    monkeypatch.setattr(rl_job, "ddpg_settings", lambda: small)
    problem().save(tmp_path / "problem.npz")
    return str(tmp_path / "problem.npz")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, file: str) -> list[PeerRun]:
    """Scenarios in this process on the small problem, with peers whose figures are known; returns who was asked."""
    asked: list[PeerRun] = []

    def run(target: str, job: dict[str, Any], *, threads: int) -> dict[str, Any]:
        return dict(getattr(rl_job, target.rpartition(":")[2])(job, RecordingChannel()))

    def measure(self: PeerRun, _: Path, *, threshold: float | None = None, **limits: float) -> dict[str, Any]:
        asked.append(self)
        rate = RATES[self.environment][self.envs]
        reached = {"cpu_s": 1_000.0 / rate} if self.environment == "gym-anytrading" else None
        return {"cpu_per_s": rate, "cpu_s": 1_234.0, "to_score": reached}

    monkeypatch.setattr(rl_bench, "run_job", run)
    monkeypatch.setattr(rl_bench, "_problem", problem)
    monkeypatch.setattr(rl_bench, "ensure_peers", lambda: None)
    monkeypatch.setattr(PeerRun, "measure", measure)
    for name, value in (("_SECONDS", 0.01), ("_SCORE_SECONDS", 0.01), ("_SHARE_OF_BEST", -1e9), ("_ENV_STEPS", 3)):
        monkeypatch.setattr(rl_bench, name, value)
    return asked


def test_agents_learn_with_the_settings_of_the_program() -> None:
    spec, ours = AlgorithmSpec(), rl_job.ppo_settings()
    assert (ours.windows, ours.n_steps, ours.batch, ours.epochs) == (
        spec.windows,
        spec.n_steps,
        spec.batch,
        spec.epochs,
    )
    env = rl_job.environment(problem(), 16)
    model = build_learner(settings(), env, 1)
    assert (model.n_steps, model.batch_size, model.n_epochs, model.gamma) == (8, 64, 2, spec.gamma)
    # Separate networks for policy and value, as the peers have them.
    sizes = [tuple(layer.weight.shape) for layer in model.policy.mlp_extractor.policy_net if hasattr(layer, "weight")]
    assert sizes == [(8, 4 * 3 + env.account_size), (8, 8)]
    values = [tuple(layer.weight.shape) for layer in model.policy.mlp_extractor.value_net if hasattr(layer, "weight")]
    assert values == sizes


def test_the_environment_pays_what_the_common_score_says() -> None:
    given = problem()
    env = rl_job.environment(given, 1)
    weights = np.random.default_rng(3).integers(2, size=given.split)

    def policy(seen: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(weights[drawn : drawn + 1]).expand(len(seen))

    drawn = 0
    rewards, held = [], []
    env.reset_tensor()
    first = int(env.rows[0])
    for drawn in range(200):
        went = env.step_tensor(policy(env.observe(env.rows, env.account)))
        if bool(went.terminated | went.truncated):
            break
        rewards.append(float(went.reward[0]))
        held.append(2.0 * weights[drawn] - 1.0)
    score = given.scale * net_score(held, given.close[first:], given.fee)
    # Positions are held at their weight here and at their size there.
    assert len(held) > 20
    assert np.mean(rewards) == pytest.approx(score, rel=5e-3, abs=1e-3)


def test_episodes_stay_within_the_training_part() -> None:
    env = rl_job.environment(problem(), 64)
    assert max(stretch.stop for stretch in env.stretches) == problem().split


def test_the_score_is_that_of_one_pass_over_unseen_bars() -> None:
    given, env = problem(), rl_job.environment(problem(), 16)
    model = build_learner(settings(), env, 1)
    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.copy_(torch.tensor([0.0, 9.0]))  # always long
    unseen = given.close[given.split + given.window - 1 :]
    always_long = net_score(np.ones(len(unseen) - 1), unseen, given.fee)
    assert rl_job.score(env, model, given) == pytest.approx(given.scale * always_long)


def test_paces_are_measured_at_each_number_of_epochs(file: str) -> None:
    told = rl_job.paces({"problem": file, "seconds": 0.01, "epochs": [None, 3]}, RecordingChannel())
    assert told["epochs"] == [2, 3]
    assert told["observation"] == 4 * 3 + 5
    assert all(run["cpu_per_s"] > 0 and run["steps"] >= 3 * 16 * 8 for run in told["runs"])


def test_memory_is_that_of_the_market_and_of_learning_on_it(file: str) -> None:
    job = {"windows": 16, "bars": 400_000, "features": 10, "window": 4, "rollouts": 2}
    told = rl_job.memory(job, RecordingChannel())
    assert told["rss_mb"] > 400_000 * 10 * 4 / 1e6


def test_a_gpu_is_measured_or_the_reason_is_said(file: str) -> None:
    job = {"problem": file, "seconds": 0.01, "windows": 16, "batch": 64}
    assert rl_job.on_gpu({**job, "device": "cpu"}, RecordingChannel())["wall_per_s"] > 0
    told = rl_job.on_gpu({**job, "device": "cuda"}, RecordingChannel())
    assert "GPU" in told["skipped"] or told["wall_per_s"] > 0


def test_ratios_are_against_the_best_peer_of_their_kind(tmp_path: Path, quick: list[PeerRun]) -> None:
    figures = rl_bench.run_ppo(tmp_path)
    ours = figures["rl.ppo_steps_per_s"]
    assert ours.value is not None
    assert [(run.environment, run.envs) for run in quick] == [(name, envs) for envs in (1, 8) for name in RATES]
    assert [peer.value for peer in ours.peers] == [20.0, 10.0, 50.0, 40.0]
    assert figures["rl.ppo_ratio"].value == ours.value / 50.0
    assert figures["rl.ppo_default_ratio"].value == ours.value / 20.0
    assert figures["rl.ppo_equal_epochs_steps_per_s"].value != ours.value


def test_a_peer_that_never_reaches_the_score_counts_with_all_of_its_time(tmp_path: Path, quick: list[PeerRun]) -> None:
    figures = rl_bench.run_score(tmp_path)
    ours = figures["rl.time_to_score_s"]
    assert [(peer.name, peer.value) for peer in ours.peers] == [
        ("gym-anytrading, stock PPO, 1 env", 50.0),
        ("gym-trading-env, stock PPO, 1 env (not reached)", 1_234.0),
    ]
    assert ours.value is not None
    assert figures["rl.time_to_score_ratio"].value == 50.0 / ours.value


def test_a_score_that_the_program_does_not_reach_is_no_figure(
    tmp_path: Path, quick: list[PeerRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rl_bench, "_SHARE_OF_BEST", 1e9)
    for measurement in rl_bench.run_score(tmp_path).values():
        assert measurement.value is None
        assert "not reached" in measurement.skipped
    assert quick == []


def test_ddpg_is_beside_stock_ddpg_with_its_samples(tmp_path: Path, quick: list[PeerRun]) -> None:
    figures = rl_bench.run_ddpg(tmp_path)
    assert quick == [PeerRun("gym-trading-env", 1, "DDPG")]
    ours = figures["rl.ddpg_steps_per_s"].value
    assert ours is not None
    assert figures["rl.ddpg_ratio"].value == ours / 10.0
    assert figures["rl.ddpg_samples_per_step"].value == 32 * 2 / 16


def test_the_environment_is_measured_with_and_without_its_window(tmp_path: Path, quick: list[PeerRun]) -> None:
    figures = rl_bench.run_env(tmp_path)
    assert all(figure.value is not None and figure.value > 0 for figure in figures.values())
    assert set(figures) == {"rl.env_steps_per_s", "rl.env_window_steps_per_s"}


@pytest.mark.parametrize("scenario", [rl_bench.run_ppo, rl_bench.run_score, rl_bench.run_ddpg])
def test_without_peers_the_programs_own_figures_stay_and_ratios_say_why(
    tmp_path: Path, quick: list[PeerRun], monkeypatch: pytest.MonkeyPatch, scenario: Any
) -> None:
    def missing() -> None:
        raise PeersMissing("no network")

    monkeypatch.setattr(rl_bench, "ensure_peers", missing)
    for name, measurement in scenario(tmp_path).items():
        if name.endswith("_ratio"):
            assert (measurement.value, measurement.skipped) == (None, "no network")
        else:
            assert measurement.value is not None
