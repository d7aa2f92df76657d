"""`main.py trade` as a server runs it: no Qt anywhere, a real model, a real exchange, books equal at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trained_model import Trained

ROOT = Path(__file__).parents[2]

# Runs main.py where importing Qt raises, as on a machine that has none.
BLOCKED = """
import runpy, sys

class NoQt:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"PySide6", "shiboken6", "torch"}:
            raise ImportError(f"{name} must not be imported here")

sys.meta_path.insert(0, NoQt())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main_py(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "MARU_RUNTIME_DIR": str(data_dir / "locks")}
    return subprocess.Popen(
        [sys.executable, "-c", BLOCKED, str(ROOT / "main.py"), *arguments, "--data-dir", str(data_dir), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_a_model_trades_without_qt_and_the_books_equal_the_exchange(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(trained.models_dir)
    model = trained.result.model_id
    process = main_py(
        tmp_path, "trade", "--practice", "--speed", "max", "--seed", "3", "--minutes", "0.1", "--model", model
    )
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["orders_match"]
    assert result["positions_match"]
    assert result["orders"] == result["fills"] > 0
    assert "Signal of model-" in err


def test_a_signal_ends_it_cleanly(tmp_path: Path) -> None:
    process = main_py(tmp_path, "trade", "--practice")
    assert process.stderr is not None
    said = process.stderr.readline()
    while "Trading." not in said:
        said = process.stderr.readline()
        assert said, "it ended before trading began"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["orders"] == 0
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trade",), "Where to trade is not clear"),
        (("trade", "--endpoints", "nowhere.json"), "cannot be read"),
        (("trade", "--practice", "--model", "m", "--capital", "lots"), "not an amount of money"),
        (("trade", "--practice", "--model", "nosuchmodel"), "There is no model"),
        (("kill",), "cannot be read"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    process = main_py(tmp_path, *arguments)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert message in json.loads(out)["error"]
    assert "Traceback" not in err


def test_a_model_of_another_market_is_refused_before_anything_starts(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(trained.models_dir)
    model = trained.result.model_id
    process = main_py(tmp_path, "trade", "--practice", "--symbol", "ETH/USDT", "--model", model)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2, err
    assert "was trained on" in json.loads(out)["error"]


def test_an_exchange_that_is_down_is_one_sentence(tmp_path: Path) -> None:
    address = "127.0.0.1:9"
    endpoints = {
        "rest": f"http://{address}",
        "ws": f"ws://{address}/stream/ws",
        "ws_api": f"ws://{address}/ws-api/v3",
        "control": f"http://{address}/control",
        "token": "t",
        "api_key": "k",
        "api_secret": "s",
        "symbols": ["BTCUSDT"],
    }
    (tmp_path / "e.json").write_text(json.dumps(endpoints))
    process = main_py(tmp_path, "trade", "--endpoints", str(tmp_path / "e.json"))
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2, err
    assert "does not answer" in json.loads(out)["error"]
    killed = main_py(tmp_path, "kill", "--endpoints", str(tmp_path / "e.json"))
    out, err = killed.communicate(timeout=30)
    assert killed.returncode == 1, err
    result = json.loads(out)
    assert not result["confirmed"]
    assert "does not answer" in result["errors"][0]
    assert json.loads((tmp_path / "fence.json").read_text())["epoch"] == 1
