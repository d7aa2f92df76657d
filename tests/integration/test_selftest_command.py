"""The self-test as a person runs it: a real child, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


def start(folder: Path, *arguments: str, what: str = "forecast") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "main.py", "selftest", what, *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
    )


def test_a_task_is_passed_and_leaves_nothing(tmp_path: Path) -> None:
    out, err = start(tmp_path, "C", "--quick").communicate(timeout=150)
    (line,) = out.splitlines()
    (task,) = json.loads(line)["tasks"]
    assert task["ok"], task
    assert task["task"] == "C"
    assert task["share"] >= task["required"] == 0.97
    assert task["reached"] <= task["optimum"] + 1e-9
    assert task["seconds"] > 0.0
    assert "task C" in err
    assert not list(tmp_path.glob("maru-*"))


def test_agents_hold_the_books_exactly(tmp_path: Path) -> None:
    out, err = start(tmp_path, "O", "--quick", what="rl").communicate(timeout=150)
    (line,) = out.splitlines()
    (task,) = json.loads(line)["tasks"]
    assert task["ok"], task
    assert (task["task"], task["share"], task["optimum"]) == ("O", 1.0, 1.0)
    assert err.splitlines()[-1].startswith("O  ok")
    assert not list(tmp_path.glob("maru-*"))


@pytest.mark.parametrize(("what", "tasks"), [("forecast", ("A", "B")), ("rl", ("H", "E"))])
def test_ctrl_c_ends_it_with_its_child_and_leaves_nothing(what: str, tasks: tuple[str, ...], tmp_path: Path) -> None:
    process = start(tmp_path, *tasks, what=what)
    assert process.stderr is not None
    assert "task " in process.stderr.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(out) == {"error": "The self-test was cancelled.", "remedy": ""}
    assert "Traceback" not in err
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not list(tmp_path.glob("maru-*"))
