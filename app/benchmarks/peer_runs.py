"""Runs the peers under their own interpreter, which is made where it is missing. Qt-free and torch-free; main thread.

Nothing here waits without end: making the environment and every run have a limit, after which the child and what it
started are ended and the reason is returned instead of figures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_VENV = _ROOT / ".venv-peers"
_MODULE = "app.benchmarks.peers.trading_peers"
_BUILD_S = 900.0
_IMPATIENT_PIP = {"PIP_RETRIES": "1", "PIP_TIMEOUT": "15"}
_MOST_SHOWN = 300


class PeersMissing(Exception):
    """There is nothing to compare with; the message is the reason."""


@dataclass(frozen=True, slots=True)
class PeerRun:
    """One configuration of a peer.

    Attributes:
        environment: a name of `app.benchmarks.peers.trading_peers.ENVIRONMENTS`.
        envs: environments in one DummyVecEnv.
        learner: "PPO" or, in one environment of gym-trading-env, "DDPG".
    """

    environment: str
    envs: int
    learner: str = "PPO"

    @property
    def title(self) -> str:
        """Return its name among the peers of a figure."""
        return f"{self.environment}, stock {self.learner}, {self.envs} env{'s' if self.envs > 1 else ''}"

    def measure(
        self, problem: Path, *, seconds: float, timeout_s: float, threshold: float | None = None
    ) -> dict[str, Any]:
        """Run it on the problem of a file; see `Outcome.to_json`.

        Raises:
            PeersMissing: it failed or took too long.
        """
        command = [str(_python()), "-m", _MODULE, str(problem), self.environment]
        command += ["--envs", str(self.envs), "--seconds", str(seconds)]
        if self.learner == "DDPG":
            command.append("--ddpg")
        if threshold is not None:
            command += ["--threshold", str(threshold)]
        environment = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(problem.parent)}
        result: dict[str, Any] = json.loads(run_limited(command, environment, timeout_s).splitlines()[-1])
        return result


def ensure_peers() -> None:
    """Make the environment of the peers unless it is there.

    Raises:
        PeersMissing: it could not be made.
    """
    script = _ROOT / "tools" / "setup_env.py"
    if not script.exists():
        raise PeersMissing("the peers are measured from a checkout of the sources only")
    try:
        run_limited([sys.executable, str(script), "--peers"], _IMPATIENT_PIP, _BUILD_S)
    except PeersMissing as error:
        reason = f"the environment of the peers could not be made ({error}); `make bench-peers` makes it"
        raise PeersMissing(reason) from error


def run_limited(command: list[str], environment: dict[str, str], timeout_s: float) -> str:
    """Run a command in the checkout and return what it printed.

    Raises:
        PeersMissing: it could not be started, failed or took longer; it and its children are ended then.
    """
    try:
        child = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=os.name != "nt",
        )
    except OSError as error:
        raise PeersMissing(f"{Path(command[0]).name} could not be started: {error.strerror}") from error
    try:
        printed, complaint = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise PeersMissing(f"no end after {timeout_s:g} s") from error
    finally:
        if child.poll() is None:
            _end(child)
    if child.returncode != 0:
        last = complaint.strip().splitlines()[-1:] or ["it said nothing"]
        raise PeersMissing(f"exit code {child.returncode}: {last[0][:_MOST_SHOWN]}")
    return printed


def _end(child: subprocess.Popen[str]) -> None:
    if os.name == "nt":
        child.kill()
    else:
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def _python() -> Path:
    return _VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
