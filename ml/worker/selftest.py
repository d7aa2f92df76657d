"""The self-test job: runs in a spawned child under `core.job_supervisor` (imports torch)."""

from __future__ import annotations

from dataclasses import replace

from core.jobs import JobChannel, Json, stop_if_asked
from ml.selftest import TRADING, SelftestJob, SelftestProgress, SelftestResult, TaskResult
from ml.selftest_steps import LabHooks

_EARLIEST_ESTIMATE = 0.02  # share of the run below which its speed is not known


def run(spec: Json, channel: JobChannel) -> Json:
    """Run the tasks one after the other.

    Args:
        spec: `ml.selftest.SelftestJob` as JSON.
        channel: progress goes out as `ml.selftest.SelftestProgress` as JSON.

    Returns:
        `ml.selftest.SelftestResult` as JSON.

    Raises:
        JobStopped: asked to stop.
        UserError: the device asked for cannot be used.
    """
    job = SelftestJob.from_json(spec)
    plan = {task: job.planned_seconds(task) for task in job.tasks}
    whole, begun = sum(plan.values()), channel.clock()
    results: list[TaskResult] = []
    passed = 0.0
    for task in job.tasks:
        started = channel.clock()
        before = passed

        def tell(step: str, share: float, task: str = task, before: float = before) -> None:
            done = (before + share * plan[task]) / whole
            channel.progress(SelftestProgress(task, step, done, _left(channel.clock() - begun, done)).to_json())

        stop_if_asked(channel)
        found = check(job, task, LabHooks(tell, channel.should_stop, channel.clock))
        result = replace(found, seconds=channel.clock() - started)
        results.append(result)
        passed += plan[task]
        done = passed / whole
        left = _left(channel.clock() - begun, done)
        channel.progress(SelftestProgress(task, "finished", done, left, result).to_json())
    return SelftestResult(tuple(results)).to_json()


def check(job: SelftestJob, task: str, hooks: LabHooks) -> TaskResult:
    """Do one task; only what its self-test needs is imported."""
    if job.catalogue == TRADING.name:
        from ml.selftest_agent_checks import CHECKS as AGENT_CHECKS
        from ml.selftest_agent_lab import AgentLab

        return AGENT_CHECKS[task](AgentLab(job, hooks))
    from ml.selftest_checks import CHECKS
    from ml.selftest_lab import Lab

    return CHECKS[task](Lab(job, hooks))


def _left(took: float, done: float) -> float | None:
    """Return the seconds left at the present speed; None while too little is done to know it."""
    return None if done < _EARLIEST_ESTIMATE else took * (1.0 - done) / done
