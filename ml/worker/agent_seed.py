"""Trains seeds of an agent's run, one after the other. Runs in a child of the run's own process (imports torch).

The bars are mapped from the run's folder, checkpoints and finished seeds go there, and only numbers travel over the
pipe. Whatever is trained here is to the bit what the run's own process would train.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from core.jobs import JobStopped, Json, TaskChannel
from ml.agents.pass_curves import ValidationRules
from ml.agents.progress import AgentProgress
from ml.agents.seed_tasks import SeedJob, SeedReport, SeedTask
from ml.agents.shared_bars import shared_bars
from ml.agents.walks import test_environment
from ml.device_report import CPU
from ml.gpu_utils import choose_device, find_cpu, find_devices
from ml.rl_trainer import AgentHooks, SeedTrainer, first_progress

_WAIT_SECONDS = 0.1


def run(spec: Json, channel: TaskChannel) -> Json:
    """Train what the run asks for until it asks to stop.

    Args:
        spec: `SeedJob` as JSON.
        channel: tasks come in; `SeedReport` as JSON goes out.

    Raises:
        JobStopped: asked to stop; the last checkpoint stays.
        UserError: the numbers diverged, a checkpoint does not fit, or the disk is full.
    """
    job = SeedJob.from_json(spec)
    bars = shared_bars(Path(job.bars_dir))
    find = find_cpu if job.spec.resources.device == CPU else find_devices
    choice = choose_device(job.spec.resources, max(job.spec.algorithm.hidden), find)
    start = first_progress(job.run_id, job.spec, choice)
    rules = ValidationRules(bars, test_environment(bars, job.spec.environment))
    while not channel.should_stop():
        message = channel.receive(_WAIT_SECONDS)
        if message is None:
            continue
        task = SeedTask.from_json(message)
        hooks = AgentHooks(partial(_report, channel), channel.should_stop, channel.clock)
        own = replace(start, seed_index=task.index)
        trainer = SeedTrainer(
            bars, job.spec, choice.name, job.identity, Path(job.run_dir), hooks, own, task.elapsed, rules
        )
        trainer.run(job.resume)
        channel.progress(SeedReport(task.index).to_json())
    raise JobStopped


def _report(channel: TaskChannel, progress: AgentProgress) -> None:
    channel.progress(SeedReport(progress.seed_index, progress).to_json())
