"""The job that judges a stored model on other bars: runs in a spawned child, without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.clock import SystemClock
from core.jobs import JobChannel, Json, stop_if_asked
from ml.dataset import load_history
from ml.evaluate import count_evaluation, evaluate_model
from ml.evaluation_plan import EvaluationProgress, ModelJob
from ml.model_storage import load_model
from ml.model_tags import ModelTags
from ml.trial_ledger import TrialLedger

_ENOUGH_S = 1.0  # of estimated work


def run(spec: Json, channel: JobChannel) -> Json:
    """Judge a stored model.

    Args:
        spec: `ml.evaluation_plan.ModelJob` as JSON.
        channel: progress goes out as `ml.evaluation_plan.EvaluationProgress` as JSON.

    Returns:
        `ml.evaluation_plan.ModelResult` as JSON.

    Raises:
        JobStopped: asked to stop.
        UserError: as `ml.evaluate.evaluate_model`, or bars that cannot be read.
    """
    job = ModelJob.from_json(spec)
    channel.progress(EvaluationProgress("loading").to_json())
    stored = load_model(Path(job.models_dir), job.model_id)
    # What lies before the range warms the network up, and may be what the model was trained on.
    history = load_history(replace(job.data, start_ns=None), Path(job.candles_dir))
    stop_if_asked(channel)
    channel.progress(EvaluationProgress("features").to_json())
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
    if ModelTags(Path(job.models_dir)).of(job.model_id).foreign:
        note = "The model was made elsewhere: what it was trained on is its maker's word."
        result = replace(result, notes=(note, *result.notes))
    return count_evaluation(result, stored.spec, TrialLedger(Path(job.trials_file)), SystemClock().now_ns()).to_json()
