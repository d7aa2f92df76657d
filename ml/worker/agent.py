"""The job that trains an agent: runs in a spawned child under `core.job_supervisor` (imports torch).

Bars come by path, the model goes to disk, only numbers travel over the pipe.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import safetensors.torch

from core.clock import SystemClock
from core.data.frame import CandleFrame
from core.jobs import JobChannel, Json, stop_if_asked
from ml.agents.bars import AgentBars, agent_bars
from ml.agents.checkpoint import kept_agent_seconds
from ml.agents.claims import settle_agent_claims
from ml.agents.export import export_agent
from ml.agents.job import AgentJob
from ml.agents.package import ENCODER, AgentContent
from ml.agents.progress import AgentProgress, AgentResult
from ml.agents.results import AgentMetrics
from ml.agents.run_spec import agent_hash
from ml.agents.trial import judge_agent
from ml.features import MarketHistory
from ml.model_storage import StoredModel, data_lineage, load_model, save_agent
from ml.rl_trainer import TrainedAgent, train_rl_model
from ml.trial_ledger import FINISHED, TRAINING, TrialLedger, TrialRecord, trial_record
from ml.worker.agent_encoder import trained_encoder
from ml.worker.counting import counted
from ml.worker.pinned_bars import load_pinned_history
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
    history = load_pinned_history(job.spec.data, Path(job.candles_dir), Path(job.run_dir), anew=not job.resume)
    _phase(job, channel, "features" if encoder is None else "encoding")
    bars = agent_bars(history, job.spec, encoder, partial(stop_if_asked, channel))
    with counted(Path(job.trials_file), partial(_trial, job, history.frame)) as begin:
        _phase(job, channel, "training")
        trained = train_rl_model(
            bars,
            job.spec,
            run_id=job.run_id,
            run_dir=Path(job.run_dir),
            on_progress=lambda progress: report(channel, progress, begin),
            should_stop=channel.should_stop,
            clock=channel.clock,
            log=channel.log,
            resume=job.resume,
        )
        _phase(job, channel, "exporting", trained)
        onnx = export_agent(trained.network)
        _phase(job, channel, "testing", trained)
        judged = judge_agent(bars, job.spec, trained.network, onnx, partial(stop_if_asked, channel))
        metrics = _count(job, history.frame, trained, judged)
    channel.log("INFO", metrics.verdict)
    content = _content(job, history, bars, trained, onnx, metrics, encoder)
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


def _trial(job: AgentJob, frame: CandleFrame, index: int, status: str) -> TrialRecord:
    seed, hashes = job.spec.algorithm.seed + index, (data_lineage(frame)["sha256"], agent_hash(job.spec))
    return trial_record(TRAINING, job.spec.bars, job.run_id, hashes, seed, status, SystemClock().now_ns())


def _count(job: AgentJob, frame: CandleFrame, trained: TrainedAgent, metrics: AgentMetrics) -> AgentMetrics:
    """Write every seed into the ledger and claim no more than all trials of the market so far allow."""
    ledger, year = TrialLedger(Path(job.trials_file)), math.sqrt(metrics.bars_per_year)
    records = []
    for index, (seed, state) in enumerate(zip(metrics.seeds, trained.states, strict=True)):
        ratio = seed.figures.trading.sharpe
        records.append(
            replace(
                _trial(job, frame, index, FINISHED),
                test_sharpe=None if ratio is None else ratio / year,
                score=state.best_return,
                score_name="valid_log_return",
            )
        )
    ledger.append_all(records)
    return settle_agent_claims(metrics, ledger, (job.spec.data,))


def _content(
    job: AgentJob,
    history: MarketHistory,
    bars: AgentBars,
    trained: TrainedAgent,
    onnx: bytes,
    metrics: AgentMetrics,
    encoder: StoredModel | None,
) -> AgentContent:
    data = job.spec.data
    parts = {
        "train": (bars.data.train, bars.train),
        "valid": (bars.data.valid, bars.valid),
        "test": (bars.data.test, bars.test),
    }
    counts = {name: (part, sum(len(stretch) - 1 for stretch in stretches)) for name, (part, stretches) in parts.items()}
    seeds = [
        {"seed": state.seed, "steps": state.history[-1].step, "best_step": state.best_step} for state in trained.states
    ]
    lineage = run_lineage(job, data, history, counts, seeds)
    if encoder is not None:
        lineage[ENCODER] = {
            "model_id": encoder.model_id,
            "onnx_sha256": hashlib.sha256(encoder.onnx).hexdigest(),
        }
    return AgentContent(
        spec=replace(job.spec, data=data.without_folders()),
        feature_names=bars.data.pipeline.names,
        feature_digest=bars.data.pipeline.digest,
        encoder_names=bars.encoder_names,
        scaling=bars.data.scaling,
        weights=safetensors.torch.save(trained.network.state_dict()),
        onnx=onnx,
        metrics=metrics,
        lineage=lineage,
    )
