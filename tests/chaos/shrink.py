"""Making a failing schedule short: leave out steps, then simplify what is left. Pure but for the test it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.chaos.schedule import Schedule, Step

MOST_PLAYS = 400


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], most: int = MOST_PLAYS) -> Schedule:
    """Return a shorter schedule that still fails.

    Args:
        fails: plays a schedule; whether it still shows the failure.
        most: how often `fails` may be called.
    """
    budget = [most]

    def still(candidate: Schedule) -> bool:
        if budget[0] <= 0:
            return False
        budget[0] -= 1
        return fails(candidate)

    if schedule.jitter and still(calm := replace(schedule, jitter=0)):
        schedule = calm
    schedule = _without_steps(schedule, still)
    schedule = _with_simpler_steps(schedule, still)
    return _without_steps(schedule, still)


def _without_steps(schedule: Schedule, still: Callable[[Schedule], bool]) -> Schedule:
    """Delta debugging: leave out halves, quarters … single steps, until nothing more can go."""
    size = max(1, len(schedule.steps) // 2)
    while True:
        shorter, at = schedule, 0
        while at < len(shorter.steps):
            candidate = replace(shorter, steps=shorter.steps[:at] + shorter.steps[at + size :])
            if still(candidate):
                shorter = candidate
            else:
                at += size
        if size == 1 and len(shorter.steps) == len(schedule.steps):
            return shorter
        schedule, size = shorter, max(1, size // 2)


def _with_simpler_steps(schedule: Schedule, still: Callable[[Schedule], bool]) -> Schedule:
    for at, step in enumerate(schedule.steps):
        for simpler in _simpler(step):
            candidate = replace(schedule, steps=[*schedule.steps[:at], simpler, *schedule.steps[at + 1 :]])
            if still(candidate):
                schedule = candidate
                break
    return schedule


def _simpler(step: Step) -> list[Step]:
    """Return plainer versions of a step, plainest first."""
    name, parameters = step
    plain: dict[str, list[Any]] = {
        "place": [{"kind": "market"}, {"owner": "alpha"}, {"reduce": False}, {"tif": "GTC"}],
        "fault": [{"n": 1}],
        "crash_at": [{"n": 1}, {"down": 0.0}],
        "crash": [{"down": 0.0}],
        "kill": [{"flatten": False}],
        "kill_outside": [{"flatten": False}],
    }.get(name, [])
    versions = [[name, {**parameters, **change}] for change in plain]
    return [version for version in versions if version != step]
