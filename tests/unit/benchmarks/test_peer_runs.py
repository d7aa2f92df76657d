"""The runner of the peers, with commands of its own in their place."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from app.benchmarks import peer_runs
from app.benchmarks.peer_runs import PeerRun, PeersMissing, ensure_peers, run_limited

ROOT = Path(__file__).resolve().parents[3]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return dict(line.split(" ")[0].split("==") for line in lines if line and not line.startswith("#"))


def test_peers_learn_with_the_very_libraries_of_the_program() -> None:
    ours, theirs = pins("requirements.txt"), pins("requirements-peers.txt")
    for name in ("torch", "stable_baselines3", "gymnasium", "numpy"):
        assert {n.lower().replace("-", "_"): v for n, v in ours.items()}[name] == theirs[name], name
    assert {"gym-anytrading", "gym-trading-env"} <= set(theirs)


def test_no_peer_is_installed_with_the_program() -> None:
    assert not {"gym-anytrading", "gym-trading-env"} & set(pins("requirements.txt"))
    assert "--index" not in (ROOT / "requirements-peers.txt").read_text("utf-8")


def test_a_command_that_takes_too_long_ends_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = (
        "import subprocess, sys, time, pathlib;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"pathlib.Path({str(mark)!r}).write_text(str(child.pid));"
        "time.sleep(60)"
    )
    with pytest.raises(PeersMissing, match="no end after 3 s"):
        run_limited([sys.executable, "-c", code], {}, 3.0)
    pid, until = int(mark.read_text()), time.monotonic() + 10.0
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_last_words_of_a_failure_are_the_reason() -> None:
    with pytest.raises(PeersMissing, match=r"exit code 3: no network"):
        run_limited(
            [sys.executable, "-c", "import sys; print('x\\nno network', file=sys.stderr); sys.exit(3)"], {}, 30.0
        )
    with pytest.raises(PeersMissing, match="could not be started"):
        run_limited([str(ROOT / "no-such-program")], {}, 30.0)


def test_an_environment_that_cannot_be_made_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "tools" / "setup_env.py"
    monkeypatch.setattr(peer_runs, "_ROOT", tmp_path)
    with pytest.raises(PeersMissing, match="checkout"):
        ensure_peers()
    script.parent.mkdir()
    script.write_text(
        "import sys; assert sys.argv[1:] == ['--peers']; print('Error: offline', file=sys.stderr); sys.exit(2)"
    )
    with pytest.raises(PeersMissing, match=r"could not be made \(exit code 2: Error: offline\).*make bench-peers"):
        ensure_peers()
    script.write_text("")
    ensure_peers()


def test_a_missing_interpreter_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peer_runs, "_VENV", tmp_path / "none")
    with pytest.raises(PeersMissing, match="could not be started"):
        PeerRun("gym-anytrading", 1).measure(tmp_path / "problem.npz", seconds=1.0, timeout_s=10.0)


def test_peers_are_named_after_what_they_are() -> None:
    assert PeerRun("gym-anytrading", 1).title == "gym-anytrading, stock PPO, 1 env"
    assert PeerRun("gym-trading-env", 8).title == "gym-trading-env, stock PPO, 8 envs"
