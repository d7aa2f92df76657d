"""`main.py train agent`: train an agent in a child process, with progress and cancel. Qt-free and torch-free."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from app.commands.agent_text import agent_lines
from app.commands.cli import DataDirOption, JsonOption, command, emit, say
from app.commands.job_run import ProgressLine, job_result
from app.commands.train import app
from app.commands.train_options import (
    DataFileOption,
    DeviceOption,
    ResumeOption,
    SymbolOption,
    ThreadsOption,
    TimeframeOption,
    VenueOption,
    WriteConfigOption,
    folders_of,
    replace_given,
    resumed_spec,
    with_market,
    write_settings,
)
from core.config import DataPaths, data_paths
from core.domain.data_origin import DataOrigin, with_caution
from core.errors import UserError
from core.jobs import Json
from ml.agents.job import AGENT_RUN, TRAIN_AGENT_JOB, agent_job, new_agent_run_id
from ml.agents.progress import ENCODER_PHASE, AgentProgress, AgentResult, log_agent_progress
from ml.agents.run_spec import AgentSpec, agent_from_mapping
from ml.api import CHECKPOINT_FILE, SPEC_FILE
from ml.spec_file import read_mapping


@app.command()
@command
def agent(
    config: Annotated[Path | None, typer.Option(help="TOML file with sections data, environment, algorithm, …")] = None,
    data: DataFileOption = None,
    venue: VenueOption = None,
    symbol: SymbolOption = None,
    timeframe: TimeframeOption = None,
    algorithm: Annotated[
        str | None, typer.Option(help="ppo, ddpg, td3 or sac, with defaults of its own where no file is given.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Stored forecaster whose view the agent sees too; its id or first characters.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Most decisions that each seed learns from.")] = None,
    seed: Annotated[int | None, typer.Option(help="First seed; further ones count up from it.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Agents from different seeds; their mean is stored.")] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    write_config: WriteConfigOption = None,
    resume: ResumeOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Train a PPO, DDPG, TD3 or SAC agent and store it as a model package. Ctrl-C cancels and keeps the checkpoint."""
    paths = data_paths(data_dir).create()
    run_id = resume if resume is not None else new_agent_run_id()
    values = read_mapping(config) if config is not None else {}
    if algorithm is not None and config is not None:
        raise UserError("A configuration names its algorithm itself.", "Leave out --algorithm, or change the file.")
    if algorithm is not None:
        values = {"algorithm": {"kind": algorithm}}
    if resume is not None:
        settings = {"config": config, "algorithm": algorithm}
        base = resumed_spec(paths, resume, AgentSpec, settings, AGENT_RUN, " of an agent")
    else:
        base = agent_from_mapping(values)
    spec = replace(
        base,
        algorithm=replace_given(base.algorithm, {"steps": steps, "seed": seed, "seeds": seeds}),
        resources=replace_given(base.resources, {"device": device, "threads": threads}),
        encoder=replace_given(base.encoder, {"model": _model_id(paths, encoder or base.encoder.model)}),
    )
    given = {"venue": venue, "symbol": symbol, "timeframe": timeframe}
    spec = with_market(paths, spec, values, data, given, resumed=resume is not None)
    if write_config is not None:
        write_settings(write_config, spec, data, base, as_json=as_json)
        return
    if resume is None:
        spec = spec.with_used_data()
    job = agent_job(spec, **folders_of(paths, run_id, resumed=resume is not None))
    if spec.environment.lowest < 0 or spec.environment.highest > 1:
        say("Weights below 0 or above 1 cannot be traded on spot markets: this agent will be judged, but cannot trade.")
        say("For one that can, set lowest = 0.0 and highest = 1.0 in [environment] of its configuration.")
    say(f"Training {spec.algorithm.kind} on {spec.data.symbol} {spec.data.timeframe} as {run_id} …")
    result = _run(run_id, job)
    emit(result.to_json(), as_json=as_json, text=describe_agent(result, spec.data.origin))


def describe_agent(result: AgentResult, origin: DataOrigin) -> str:
    """Return the outcome of a run on bars of `origin` for a person."""
    lines = [
        f"Agent {result.model_id} for {result.symbol} {result.timeframe}: {result.algorithm}, {result.steps:,} steps "
        f"in {result.seconds:.1f} s, {result.steps_per_s:,.0f} steps/s, {result.device}",
        *agent_lines(result.metrics),
        with_caution(result.metrics.verdict, origin),
    ]
    return "\n".join(lines)


def _model_id(paths: DataPaths, beginning: str) -> str | None:
    """Return the id of the stored model that begins like this; None where none is named."""
    if not beginning:
        return None
    from app.commands.models import find_model

    return find_model(paths.models, beginning)


def _run(run_id: str, job: Json) -> AgentResult:
    # An encoder that is trained first has a checkpoint of its own.
    kept = SPEC_FILE if job["spec"]["encoder"]["train_first"] else CHECKPOINT_FILE
    done = job_result(
        run_id,
        TRAIN_AGENT_JOB,
        job,
        _show,
        what="training",
        continue_with=f"train agent --resume {run_id}",
        kept=Path(job["run_dir"]) / kept,
    )
    return AgentResult.from_json(done)


def _show(line: ProgressLine, payload: Json) -> None:
    progress = AgentProgress.from_json(payload)
    passed = 0 if progress.last is None else progress.last.step
    epoch = progress.step if progress.phase == ENCODER_PHASE else 0
    line.show(log_agent_progress(progress), (progress.phase, progress.seed_index, passed, epoch))
