"""Jobs the training tests run in children. No Qt here: a child must start quickly."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from core.errors import UserError
from core.jobs import JobChannel, JobStopped


def counts(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    for step in range(1, spec["steps"] + 1):
        channel.progress({"step": step})
        time.sleep(0.001)
    return {"steps": spec["steps"], "resume": spec["resume"]}


def learns(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    """Three networks with fast epochs of many messages each."""
    for index in range(3):
        for epoch in range(spec["epochs"] + 1):
            for batch in range(5):
                channel.progress({"phase": "training", "seed_index": index, "epoch": epoch, "batch": batch})
    return {}


def waits(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    channel.progress({"run_id": spec["run_id"]})
    while not channel.should_stop():
        time.sleep(0.02)
    raise JobStopped


def fails(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    raise UserError("There are no bars.", "Fetch some.")


def dies(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    """End as a crash in a library does."""
    print("cannot go on", file=sys.stderr, flush=True)
    os._exit(9)


def ticks(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    """Count until told to stop; a paused one stands still."""
    step = 0
    while not channel.should_stop():
        step += 1
        channel.progress({"step": step})
        time.sleep(0.01)
    raise JobStopped


def odd_or_even(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    """Fail where asked to."""
    if spec.get("fail"):
        raise UserError("There are no bars.", "Fetch some.")
    return {}


def learns_side_by_side(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    """Three seeds of an agent whose messages come in turns; a pass is told once with its curves."""
    for step in range(1, spec["passes"] + 1):
        for index in range(3):
            told = {"phase": "training", "seed_index": index, "last": {"step": step}, "step": step}
            channel.progress({**told, "curves": {"step": step}})
            for part in range(4):
                channel.progress({**told, "curves": None, "step": step + part / 10})
    return {}
