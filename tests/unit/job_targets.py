"""Jobs for the supervisor's tests; imported by name in the child."""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.jobs import JobChannel, JobStopped, TaskChannel


def echo(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    sys.stdout.write("noise on standard output\n")
    for step in range(int(spec.get("steps", 0))):
        channel.progress({"step": step})
    channel.log("INFO", "done")
    keys = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {"spec": spec, "nice": os.nice(0), "env": {key: os.environ[key] for key in keys}}


def obeys(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    channel.progress({"ready": True})
    while not channel.should_stop():
        time.sleep(0.01)
    Path(spec["checkpoint"]).write_text("saved")
    raise JobStopped


def walks(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    """Walk at random, one step per poll, and say how long that took by either clock."""
    draw = random.Random(spec["seed"])
    position, begun, begun_wall = 0.0, channel.clock(), time.monotonic()
    for step in range(spec["steps"]):
        if channel.should_stop():
            raise JobStopped
        position += draw.gauss(0.0, 1.0)
        channel.progress({"step": step})
        time.sleep(0.002)
    took, took_wall = channel.clock() - begun, time.monotonic() - begun_wall
    return {"position": position, "seconds": took, "wall_seconds": took_wall}


def deaf(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel.progress({"ready": True})
    time.sleep(600)
    return {}


def fails_for_user(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    raise UserError("There are too few bars.", "Fetch more.")


def crashes(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    raise KeyError("a bug")


def disk_full(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "No space left on device", "weights.safetensors")


def vanishes(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def grumbles(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    """End without a word to the parent."""
    print("어디가 아파요", file=sys.stderr, flush=True)
    os._exit(7)


def faults(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def stops_dead(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSTOP)
    return {}


def leaves_a_heir(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    """Die while a process of one's own still holds the pipe."""
    heir = os.fork()
    if heir == 0:
        time.sleep(600)
    channel.progress({"heir": heir})
    os._exit(5)


def surroundings(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    """Say what a job can see of keys."""
    import keyring

    backend = type(keyring.get_keyring())
    begun_with = Path("/proc/self/environ")
    return {
        "environment": dict(os.environ),
        "begun_with": begun_with.read_text("utf-8", "replace") if begun_with.exists() else "",
        "variables": [name for name in os.environ if name.startswith("MARU_API_")],
        "keyring": f"{backend.__module__}.{backend.__qualname__}",
    }


def answers(spec: dict[str, Any], channel: TaskChannel) -> dict[str, Any]:
    """Return what was told, in order, until a message says that it was the last."""
    heard: list[dict[str, Any]] = []
    assert channel.receive(0.01) is None
    channel.progress({"ready": True})
    while not heard or not heard[-1].get("last"):
        message = channel.receive(5.0)
        assert message is not None
        heard.append(message)
    return {"heard": heard}
