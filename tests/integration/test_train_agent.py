"""Training an agent as a user does it: a real child under the supervisor, and the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.data.data_storage import CandleStore
from core.domain.data_origin import BINANCE
from ml.agents.run_spec import DDPG, PPO, agent_from_mapping
from ml.model_storage import load_agent
from ml.spec_file import read_mapping, write_spec
from tests.integration.learning_commands import cli, interrupted, last_json
from tests.unit.ml.agents.agent_runs import short_spec
from tests.unit.ml.helpers import ar1_returns, frame_from_returns


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    CandleStore(tmp_path / "candles").write(BINANCE, frame_from_returns(ar1_returns(2_500, 0.3, 1)), "import")
    return tmp_path


def configured(tmp_path: Path, kind: str, **algorithm: Any) -> str:
    spec = short_spec(kind, seeds=1)
    path = tmp_path / f"{kind}.toml"
    write_spec(path, replace(spec, algorithm=replace(spec.algorithm, **algorithm)))
    return str(path)


def test_an_agent_from_the_command_to_the_list(data_dir: Path) -> None:
    config = configured(data_dir, DDPG)
    done = cli("train", "agent", "--config", config, "--json", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    result = last_json(done)
    stored = load_agent(data_dir / "models", result["model_id"])
    assert stored.spec == agent_from_mapping(read_mapping(Path(config)))
    assert result["metrics"]["verdict"] == stored.metrics.verdict
    assert "steps/s on CPU" in done.stderr
    (row,) = last_json(cli("models", "list", "--json", data_dir=data_dir))["models"]
    assert (row["family"], row["kind"], row["model_id"]) == ("agent", "ddpg", result["model_id"])
    assert "targets: entropy" in cli("models", "show", result["model_id"], data_dir=data_dir).stdout


def test_ctrl_c_keeps_a_checkpoint_that_goes_on(data_dir: Path) -> None:
    config = configured(data_dir, PPO, steps=1_000_000, evaluations=200, patience=200)
    rest = interrupted("train", "agent", "--config", config, data_dir=data_dir, at="validation")
    assert "The training was cancelled. Continue with: train agent --resume agent-" in rest
    (run,) = (data_dir / "runs").iterdir()
    kept = len(json.loads((run / "checkpoint-1.json").read_bytes())["state"]["history"])
    assert kept >= 1
    assert not list(data_dir.glob("models/*"))
    interrupted("train", "agent", "--resume", run.name, data_dir=data_dir, at="validation")
    assert len(json.loads((run / "checkpoint-1.json").read_bytes())["state"]["history"]) >= kept


def test_settings_are_written_down(data_dir: Path) -> None:
    path = data_dir / "own.toml"
    told = ("--algorithm", "sac", "--steps", "60000", "--write-config", str(path), "--json")
    answer = last_json(cli("train", "agent", *told, data_dir=data_dir))
    assert agent_from_mapping(read_mapping(path)).to_json() == answer["spec"]
    assert answer["spec"]["algorithm"]["kind"] == "sac"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--algorithm", "dqn"), "algorithm 'dqn' is not known"),
        (("--encoder", "ffff"), "no model 'ffff'"),
        (("--resume", "run-1"), "no run 'run-1' of an agent"),
        (("--resume", "../../x"), "of an agent to resume"),
        (("--steps", "10"), "number of steps"),
        (("--config", "nowhere.toml"), "cannot be read"),
        (("--symbol", "DOGE/USDT"), "DOGE/USDT"),
        (("--config", "ppo.toml", "--algorithm", "sac"), "names its algorithm itself"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(data_dir: Path, arguments: tuple[str, ...], sentence: str) -> None:
    configured(data_dir, PPO)
    given = [str(data_dir / word) if word == "ppo.toml" else word for word in arguments]
    done = cli("train", "agent", *given, data_dir=data_dir)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
