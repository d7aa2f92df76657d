"""Jobs the training tests run in children. No Qt here: a child must start quickly."""

from __future__ import annotations

import time
from typing import Any

from core.errors import UserError
from core.jobs import JobChannel, JobStopped


def counts(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    for step in range(1, spec["steps"] + 1):
        channel.progress({"step": step})
        time.sleep(0.001)
    return {"steps": spec["steps"], "resume": spec["resume"]}


def waits(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    channel.progress({"run_id": spec["run_id"]})
    while not channel.should_stop():
        time.sleep(0.02)
    raise JobStopped


def fails(spec: dict[str, Any], channel: JobChannel) -> dict[str, Any]:
    raise UserError("There are no bars.", "Fetch some.")
