"""The job that judges a stored model on other bars: runs in a spawned child, without torch where it is no agent."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from core.clock import SystemClock
from core.jobs import JobChannel, Json, stop_if_asked
from ml.agents.package import StoredAgent
from ml.dataset import load_history
from ml.evaluate import count_evaluation, evaluate_model
from ml.evaluation_plan import AgentEvaluation, EvaluationProgress, ModelJob, ModelResult
from ml.features import MarketHistory
from ml.model_storage import StoredModel, load_any, load_model
from ml.model_tags import ModelTags
from ml.trial_ledger import TrialLedger

_ENOUGH_S = 1.0  # of estimated work


def run(spec: Json, channel: JobChannel) -> Json:
    """Judge a stored model.

    Args:
        spec: `ml.evaluation_plan.ModelJob` as JSON.
        channel: progress goes out as `ml.evaluation_plan.EvaluationProgress` as JSON.

    Returns:
        `ml.evaluation_plan.ModelResult` or, of an agent, `ml.evaluation_plan.AgentEvaluation` as JSON.

    Raises:
        JobStopped: asked to stop.
        UserError: as `ml.evaluate.evaluate_model` or `ml.agents.judged_again.evaluate_agent`, or bars that cannot be
            read.
    """
    job = ModelJob.from_json(spec)
    channel.progress(EvaluationProgress("loading").to_json())
    stored = load_any(Path(job.models_dir), job.model_id)
    # What lies before the range warms the network up, and may be what the model was trained on.
    history = load_history(replace(job.data, start_ns=None), Path(job.candles_dir))
    stop_if_asked(channel)
    channel.progress(EvaluationProgress("features").to_json())
    if isinstance(stored, StoredAgent):
        agent = _judge_agent(job, stored, history, channel)
        return replace(agent, notes=(*_doubts(job), *agent.notes)).to_json()
    result = _judge_forecaster(job, stored, history, channel)
    return replace(result, notes=(*_doubts(job), *result.notes)).to_json()


def _doubts(job: ModelJob) -> tuple[str, ...]:
    """Return what is to be said of a model that was made elsewhere."""
    foreign = ModelTags(Path(job.models_dir)).of(job.model_id).foreign
    return ("The model was made elsewhere: what it was trained on is its maker's word.",) if foreign else ()


def _judge_agent(job: ModelJob, stored: StoredAgent, history: MarketHistory, channel: JobChannel) -> AgentEvaluation:
    from ml.agents.judged_again import count_agent_evaluation, evaluate_agent  # torch

    encoder = load_model(Path(job.models_dir), stored.encoder_id) if stored.encoder_id else None
    channel.progress(EvaluationProgress("judging").to_json())
    result = evaluate_agent(stored, encoder, history, job.data, partial(stop_if_asked, channel))
    return count_agent_evaluation(result, stored.spec, TrialLedger(Path(job.trials_file)), SystemClock().now_ns())


def _judge_forecaster(job: ModelJob, stored: StoredModel, history: MarketHistory, channel: JobChannel) -> ModelResult:
    began = 0.0

    def on_step(done: float, left: float) -> None:
        nonlocal began
        stop_if_asked(channel)
        began = began or channel.clock()
        # This machine beside the one the work was estimated on, once it has done enough to be compared.
        pace = (channel.clock() - began) / done if done >= _ENOUGH_S else 1.0
        told = EvaluationProgress("judging", eta_s=left * pace, share=done / (done + left))
        channel.progress(told.to_json())

    result = evaluate_model(
        stored,
        history,
        job.data,
        include_training=job.include_training,
        include_earlier=job.include_earlier,
        on_step=on_step,
    )
    return count_evaluation(result, stored.spec, TrialLedger(Path(job.trials_file)), SystemClock().now_ns())
