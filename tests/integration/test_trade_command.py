"""`main.py trade` as a server runs it: no Qt anywhere, a real model, a real exchange, books equal at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.config import DataPaths
from core.execution.journal import Journal
from core.execution.records import StrategyRecord
from core.persistence.schema import ensure_migrated
from core.strategies.spec import StrategyKind, StrategySpec
from tests.trained_model import Trained

ROOT = Path(__file__).parents[2]

# Runs main.py where importing Qt raises, as on a machine that has none. With FAIL_AT_BAR in the environment, the model
# has a bug at that bar.
BLOCKED = """
import itertools, os, runpy, sys

class NoQt:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"PySide6", "shiboken6", "torch"}:
            raise ImportError(f"{name} must not be imported here")

sys.meta_path.insert(0, NoQt())
if fail_at := int(os.environ.get("FAIL_AT_BAR", 0)):
    from core.strategies.model_strategy import ModelStrategy

    bars, on_bar = itertools.count(1), ModelStrategy.on_bar

    def failing(self, *arguments):
        if next(bars) == fail_at:
            raise ZeroDivisionError("a bug in the model")
        return on_bar(self, *arguments)

    ModelStrategy.on_bar = failing
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main_py(data_dir: Path, *arguments: str, **extra: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "MARU_RUNTIME_DIR": str(data_dir / "locks"), **extra}
    return subprocess.Popen(
        [sys.executable, "-c", BLOCKED, str(ROOT / "main.py"), *arguments, "--data-dir", str(data_dir), "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def ended(process: subprocess.Popen[str], code: int, typed: str = "") -> tuple[dict[str, Any], str]:
    """Wait for a command to end with `code` and return its one JSON line and what it said."""
    out, err = process.communicate(typed, timeout=90)
    assert process.returncode == code, out + err
    assert len(out.splitlines()) == 1, out
    return json.loads(out), err


def wait_until_said(process: subprocess.Popen[str], what: str) -> str:
    """Read standard error until a line that holds `what`, and return all of it."""
    assert process.stderr is not None
    said = ""
    while what not in said:
        line = process.stderr.readline()
        assert line, f"it ended before it said {what!r}:\n{said}"
        said += line
    return said


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


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder with an agent that can trade a spot market, and one that sells short."""
    from tests.unit.ml.agents.agent_packages import small_spec  # torch
    from tests.unit.ml.agents.trading_agents import store_loud_agent

    models, short = tmp_path_factory.mktemp("agents"), small_spec()
    long_only = replace(short, environment=replace(short.environment, lowest=0.0, highest=0.9))
    return models, store_loud_agent(models, long_only)[0], store_loud_agent(models, short)[0]


def test_an_agent_trades_without_qt_and_goes_on_with_its_account(agents: tuple[Path, str, str], tmp_path: Path) -> None:
    models, agent, _ = agents
    (tmp_path / "models").symlink_to(models)
    options = ("--practice", "--speed", "max", "--seed", "3", "--minutes", "0.1", "--model", agent)
    orders = []
    for _ in range(2):
        result, err = ended(main_py(tmp_path, "trade", *options), 0)
        assert result["orders_match"], err
        assert result["positions_match"], err
        assert "Signal of agent-" in err
        orders.append(result["orders"])
        journal = Journal(DataPaths(tmp_path).journal_db)
        (record,) = journal.strategies()
        journal.close()
        assert record.spec.kind is StrategyKind.AGENT
        assert record.account is not None
    assert 0 < orders[0] < orders[1]


def test_an_agent_that_sells_short_is_refused(agents: tuple[Path, str, str], tmp_path: Path) -> None:
    models, _, short = agents
    (tmp_path / "models").symlink_to(models)
    result, _ = ended(main_py(tmp_path, "trade", "--practice", "--model", short), 2)
    assert "a spot market allows none below 0" in result["error"]


def test_lost_acknowledgements_and_lost_reports_leave_the_books_equal(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(trained.models_dir)
    faults = "lost-ack:order,next=1;drop:user@executionReport,next=6"
    options = ("--speed", "max", "--seed", "3", "--minutes", "0.3", "--model", trained.result.model_id)
    result, err = ended(main_py(tmp_path, "trade", "--practice", *options, "--faults", faults), 0)
    assert result["orders_match"], err
    assert result["positions_match"], err
    assert result["orders"] == result["fills"] > 0


def test_a_signal_ends_it_cleanly(tmp_path: Path) -> None:
    process = main_py(tmp_path, "trade", "--practice")
    wait_until_said(process, "Trading.")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["orders"] == 0
    assert "Traceback" not in err


# Running in lockstep from a model that is there; ends by itself only because of a failure.
LOCKSTEP = ("trade", "--practice", "--speed", "max", "--seed", "3", "--minutes", "5")


def ghost(data_dir: Path) -> None:
    """Register a strategy that was running and whose model is gone."""
    paths = DataPaths(data_dir)
    ensure_migrated(paths)
    journal = Journal(paths.journal_db)
    spec = StrategySpec("ghost", "Ghost", "BTC/USDT", "1h", "no-such-model", Decimal(100))
    journal.save_strategy(StrategyRecord(spec, running=True))
    journal.close()


def test_a_strategy_that_fails_later_ends_it_with_code_1(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(trained.models_dir)
    model = trained.result.model_id
    answer, err = ended(main_py(tmp_path, *LOCKSTEP, "--model", model, FAIL_AT_BAR="4"), 1)
    assert set(answer) == {"error", "remedy"}
    assert answer["error"] == f"Strategy model-{model[:12]} failed: ZeroDivisionError: a bug in the model."
    assert str(tmp_path / "logs") in answer["remedy"]
    assert "The books equal the exchange." in err
    assert "Signal of model-" in err, "it traded before it failed"


def test_a_strategy_of_an_earlier_run_whose_model_is_gone_ends_it_with_code_1(tmp_path: Path) -> None:
    ghost(tmp_path)
    answer, err = ended(main_py(tmp_path, "trade", "--practice"), 1)
    assert answer["error"] == "Strategy ghost failed: There is no model 'no-such-model'."
    assert "Traceback" not in err


def test_the_other_strategies_go_on_and_the_end_is_code_1_all_the_same(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(trained.models_dir)
    ghost(tmp_path)
    process = main_py(tmp_path, *LOCKSTEP, "--model", trained.result.model_id)
    said = wait_until_said(process, "Strategy ghost: failed")
    said += wait_until_said(process, "Signal of model-")
    process.send_signal(signal.SIGTERM)
    answer, err = ended(process, 1)
    assert answer["error"] == "Strategy ghost failed: There is no model 'no-such-model'."
    assert "Traceback" not in said + err


def test_a_halted_folder_is_refused_until_it_is_rearmed(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(trained.models_dir)
    short = ("trade", "--practice", "--speed", "max", "--seed", "3", "--minutes", "0.02")
    trading = (*short, "--model", trained.result.model_id)
    ended(main_py(tmp_path, *trading), 0)
    _, err = ended(main_py(tmp_path, "kill"), 1)  # the exchange is gone; the fence is up all the same
    assert f"python main.py rearm --data-dir {tmp_path}" in err
    for refused in (trading, short):
        answer, _ = ended(main_py(tmp_path, *refused), 2)
        assert re.fullmatch(
            r"Trading is halted since [\d-]+T[\d:]+\+00:00: kill from the command line.", answer["error"]
        )
        assert f"python main.py rearm --data-dir {tmp_path}" in answer["remedy"]
    for typed in ("", "yes\n"):
        answer, err = ended(main_py(tmp_path, "rearm"), 2, typed)
        assert "not confirmed" in answer["error"]
        assert "kill from the command line" in err
    answer, _ = ended(main_py(tmp_path, "rearm"), 0, "rearm\n")
    assert (answer["rearmed"], answer["trading_state"]) == (True, "active")
    assert (answer["before"]["trading_state"], answer["before"]["epoch"]) == ("halted", 1)
    answer, _ = ended(main_py(tmp_path, "rearm"), 0)  # nothing is asked where nothing is to be done
    assert answer["rearmed"] is False
    result, err = ended(main_py(tmp_path, *short), 0)
    assert result["trading_state"] == "active"
    assert "warming_up" not in err, "strategies stay stopped until started"
    ended(main_py(tmp_path, *trading), 0)


def test_a_kill_while_a_person_decides_stays(tmp_path: Path) -> None:
    tmp_path.joinpath("data").mkdir()
    ended(main_py(tmp_path / "data", "kill"), 2)  # no exchange is known; the fence is up
    deciding = main_py(tmp_path / "data", "rearm")
    wait_until_said(deciding, "Type rearm")
    ended(main_py(tmp_path / "data", "kill"), 2)
    answer, _ = ended(deciding, 1, "rearm\n")
    assert answer["error"].startswith("Trading was halted again meanwhile, and stays so. Trading is halted since 20")
    answer, _ = ended(main_py(tmp_path / "data", "rearm", "--yes"), 0)
    assert (answer["before"]["epoch"], answer["trading_state"]) == (2, "active")


def test_a_running_program_is_not_rearmed_from_outside(tmp_path: Path) -> None:
    process = main_py(tmp_path, "trade", "--practice")
    wait_until_said(process, "Trading.")
    ended(main_py(tmp_path, "kill"), 0)
    answer, _ = ended(main_py(tmp_path, "rearm", "--yes"), 2)
    assert f"process {process.pid}" in answer["error"]
    process.send_signal(signal.SIGINT)
    result, _ = ended(process, 0)
    assert result["trading_state"] == "halted"
    answer, _ = ended(main_py(tmp_path, "rearm", "--yes"), 0)
    assert answer["rearmed"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trade",), "Where to trade is not clear"),
        (("trade", "--endpoints", "nowhere.json"), "cannot be read"),
        (("trade", "--practice", "--model", "m", "--capital", "lots"), "not an amount of money"),
        (("trade", "--practice", "--model", "nosuchmodel"), "There is no model"),
        (("trade", "--practice", "--faults", "explode:order"), "no fault named 'explode'"),
        (("trade", "--endpoints", "nowhere.json", "--faults", "ban,for=1s"), "started for this run"),
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
