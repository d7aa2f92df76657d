"""The job that trains an agent: runs in a spawned child under `core.job_supervisor` (imports torch).

Bars come by path, the model goes to disk, only numbers travel over the pipe.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import safetensors.torch

from core.clock import SystemClock
from core.jobs import JobChannel, Json, stop_if_asked
from ml.agents.bars import AgentBars, MarketInput, universe_bars
from ml.agents.checkpoint import kept_agent_seconds
from ml.agents.claims import settle_agent_claims
from ml.agents.export import export_agent
from ml.agents.job import AgentJob
from ml.agents.package import ENCODER, AgentContent
from ml.agents.progress import AgentProgress, AgentResult
from ml.agents.results import AgentMetrics
from ml.agents.run_spec import agent_hash
from ml.agents.trial import judge_agent
from ml.model_storage import StoredModel, data_lineage, load_model, save_agent
from ml.rl_trainer import TrainedAgent, train_rl_model
from ml.trial_ledger import FINISHED, TRAINING, TrialLedger, TrialRecord, trial_record
from ml.worker.agent_encoder import trained_encoder
from ml.worker.agent_markets import load_markets, markets_lineage
from ml.worker.counting import Beginnings, counted
from ml.worker.run_parts import report, run_at_work, run_lineage


def run(spec: Json, channel: JobChannel) -> Json:
    """Train, judge and store an agent.

    Args:
        spec: `ml.agents.job.AgentJob` as JSON.
        channel: progress goes out as `ml.agents.progress.AgentProgress` as JSON.

    Returns:
        `ml.agents.progress.AgentResult` as JSON.

    Raises:
        JobStopped: asked to stop; the last checkpoint stays.
        UserError: unusable data or settings, a full disk, a run that has ended or that another process is at.
    """
    job = AgentJob.from_json(spec)
    with run_at_work(job, job.spec, channel, kept_agent_seconds) as seconds:
        return _run(job, channel, seconds)


def _run(job: AgentJob, channel: JobChannel, seconds: Callable[[], float]) -> Json:
    if job.spec.encoder.train_first:
        job = replace(job, spec=job.spec.with_encoder(trained_encoder(job, channel)))
    _phase(job, channel, "loading")
    encoder = load_model(Path(job.models_dir), job.spec.encoder.model) if job.spec.encoder.is_used else None
    inputs = load_markets(job.spec, Path(job.candles_dir), Path(job.run_dir), anew=not job.resume)
    _phase(job, channel, "features" if encoder is None else "encoding")
    bars = universe_bars(inputs, job.spec, encoder, partial(stop_if_asked, channel))
    with counted(Path(job.trials_file), partial(_trial, job, bars)) as begin:
        _phase(job, channel, "training")
        trained = train_rl_model(
            bars,
            job.spec,
            run_id=job.run_id,
            run_dir=Path(job.run_dir),
            on_progress=lambda progress: report(channel, progress, partial(_begin, begin, bars)),
            should_stop=channel.should_stop,
            clock=channel.clock,
            log=channel.log,
            resume=job.resume,
        )
        _phase(job, channel, "exporting", trained)
        onnx = export_agent(trained.network)
        _phase(job, channel, "testing", trained)
        judged = judge_agent(bars, job.spec, trained.network, onnx, partial(stop_if_asked, channel))
        metrics = _count(job, bars, trained, judged.metrics)
    channel.log("INFO", metrics.verdict)
    content = replace(_content(job, inputs, bars, trained, onnx, metrics, encoder), episode=judged.episode)
    model_id = save_agent(Path(job.models_dir), content, SystemClock())
    report(channel, replace(_summary(job, trained, "done"), eta_s=0.0))
    return AgentResult(
        run_id=job.run_id,
        model_id=model_id,
        symbol=job.spec.data.symbol,
        timeframe=job.spec.data.timeframe,
        algorithm=job.spec.algorithm.kind,
        steps=trained.steps,
        seconds=trained.seconds,
        steps_per_s=trained.steps / trained.seconds if trained.seconds else 0.0,
        device=trained.device.description,
        history=trained.history,
        metrics=metrics,
        total_s=seconds(),
    ).to_json()


def _phase(job: AgentJob, channel: JobChannel, name: str, trained: TrainedAgent | None = None) -> None:
    """Announce a phase, or stop before it."""
    stop_if_asked(channel)
    algorithm = job.spec.algorithm
    progress = AgentProgress(job.run_id, name, steps=algorithm.steps, seeds=algorithm.seeds)
    report(channel, progress if trained is None else _summary(job, trained, name))


def _summary(job: AgentJob, trained: TrainedAgent, phase: str) -> AgentProgress:
    state = trained.states[-1]
    return AgentProgress(
        run_id=job.run_id,
        phase=phase,
        step=state.history[-1].step,
        steps=job.spec.algorithm.steps,
        seed_index=len(trained.states) - 1,
        seeds=len(trained.states),
        last=state.history[-1],
        best_return=state.best_return,
        best_step=state.best_step,
        device=trained.device.title,
    )


def _begin(begin: Beginnings, bars: AgentBars, seed_index: int) -> None:
    """Write down that a seed begins, on every market."""
    for market in range(len(bars.markets)):
        begin(seed_index * len(bars.markets) + market)


def _trial(job: AgentJob, bars: AgentBars, number: int, status: str) -> TrialRecord:
    """Return the record of one seed on one market; the numbers of a seed's markets follow each other."""
    index, market = divmod(number, len(bars.markets))
    frame, seed = bars.markets[market].frame, job.spec.algorithm.seed + index
    spec = replace(job.spec.bars, data=replace(job.spec.data, symbol=frame.symbol))
    hashes = (data_lineage(frame)["sha256"], agent_hash(job.spec))
    part = frame.symbol if market else ""
    return trial_record(TRAINING, spec, job.run_id, hashes, seed, status, SystemClock().now_ns(), part=part)


def _count(job: AgentJob, bars: AgentBars, trained: TrainedAgent, metrics: AgentMetrics) -> AgentMetrics:
    """Write every seed into the ledger and claim no more than all trials of its markets so far allow.

    A seed was tried on each market, and what it is picked by is what it showed on all of them together.
    """
    ledger, year, count = TrialLedger(Path(job.trials_file)), math.sqrt(metrics.bars_per_year), len(bars.markets)
    records = []
    for index, (seed, state) in enumerate(zip(metrics.seeds, trained.states, strict=True)):
        ratio = seed.figures.trading.sharpe
        records += [
            replace(
                _trial(job, bars, index * count + market, FINISHED),
                test_sharpe=None if ratio is None else ratio / year,
                score=state.best_return,
                score_name="valid_log_return",
            )
            for market in range(count)
        ]
    ledger.append_all(records)
    return settle_agent_claims(metrics, ledger, job.spec.ranges)


def _content(
    job: AgentJob,
    inputs: Sequence[MarketInput],
    bars: AgentBars,
    trained: TrainedAgent,
    onnx: bytes,
    metrics: AgentMetrics,
    encoder: StoredModel | None,
) -> AgentContent:
    parts = {
        "train": (bars.data.train, bars.train),
        "valid": (bars.data.valid, bars.valid),
        "test": (bars.data.test, bars.test),
    }
    counts = {name: (part, sum(len(stretch) - 1 for stretch in stretches)) for name, (part, stretches) in parts.items()}
    seeds = [
        {"seed": state.seed, "steps": state.history[-1].step, "best_step": state.best_step} for state in trained.states
    ]
    lineage = run_lineage(job, job.spec.data, bars.frame.time_ns, markets_lineage(inputs), counts, seeds)
    for name, (first, last) in bars.spans_ns.items():
        lineage["split"][name] |= {"first_open_ns": first, "last_open_ns": last}
    if encoder is not None:
        lineage[ENCODER] = {
            "model_id": encoder.model_id,
            "onnx_sha256": hashlib.sha256(encoder.onnx).hexdigest(),
        }
    return AgentContent(
        spec=job.spec.without_folders(),
        feature_names=bars.data.pipeline.names,
        feature_digest=bars.data.pipeline.digest,
        encoder_names=bars.encoder_names,
        scaling=bars.data.scaling,
        weights=safetensors.torch.save(trained.network.state_dict()),
        onnx=onnx,
        metrics=metrics,
        lineage=lineage,
    )
