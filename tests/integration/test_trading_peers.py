"""The environments of the peers, under their own interpreter, are paid what the common score says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from app.benchmarks.peer_runs import PeerRun, run_limited
from app.benchmarks.peers.problem import mean_reverting

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
NAMES = ("gym-anytrading", "gym-trading-env")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="the peers' environment is missing: `make bench-peers` makes it"),
]

# Random actions through an environment: its rewards beside the score of the positions it held.
WALK = """
import json, sys
from pathlib import Path
import numpy as np
from app.benchmarks.peers.problem import Problem, net_score
from app.benchmarks.peers.trading_peers import ENVIRONMENTS

problem = Problem.load(Path(sys.argv[1]))
env = ENVIRONMENTS[sys.argv[2]](problem)
observation, _ = env.reset(seed=1)
rng, rewards, weights, over = np.random.default_rng(1), [], [], False
while not over:
    action = int(rng.integers(2))
    seen, reward, terminated, truncated, _ = env.step(action)
    rewards.append(reward); weights.append(2.0 * action - 1.0); over = terminated or truncated
first = len(problem.close) - 1 - len(weights)
score = problem.scale * net_score(weights, problem.close[first:], problem.fee)
window = problem.features[first + 1 - problem.window : first + 1]
flat = observation if observation.ndim == 2 else observation[:-1]
rows = flat.reshape(problem.window, -1)
print(json.dumps({"mean": np.mean(rewards), "score": score, "steps": len(weights),
                  "same_window": bool(np.array_equal(rows[:, : window.shape[1]], window))}))
"""


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    file = tmp_path / "problem.npz"
    mean_reverting(training=3_000, validation=600, features=4, window=8, seed=1).save(file)
    return file


@pytest.mark.parametrize("name", NAMES)
def test_rewards_are_the_common_score(name: str, problem: Path) -> None:
    command = [str(PYTHON), "-c", WALK, str(problem), name]
    told = json.loads(run_limited(command, {"MPLBACKEND": "Agg"}, 120.0).splitlines()[-1])
    # The first position is drawn or short where the score begins flat, and one library lets positions drift.
    assert told["mean"] == pytest.approx(told["score"], rel=5e-3)
    assert told["steps"] >= 3_600 - 9
    assert told["same_window"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_tells_its_pace_and_its_scores(name: str, problem: Path) -> None:
    told = PeerRun(name, 1).measure(problem, seconds=0.1, timeout_s=280.0, threshold=-1e9)
    assert told["steps"] == 3 * 2_048
    assert len(told["scores"]) == 3
    assert told["to_score"]["steps"] == 2_048
    assert told["cpu_per_s"] > 0
