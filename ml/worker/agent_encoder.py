"""Trains the encoder of an agent before the agent, as a run of its own within the agent's. Training child only.

The forecaster is stored and counted like any other. A run that goes on takes the one it has trained already.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.jobs import JobChannel
from ml.agents.job import AgentJob
from ml.agents.progress import ENCODER_FOLDER, ENCODER_PHASE, ENCODER_TEST_PHASE, AgentProgress
from ml.api import CHECKPOINT_FILE, ForecastJob, TrainingProgress, TrainingResult
from ml.model_storage import model_of_run
from ml.worker import forecast

_JUDGED = ("exporting", "testing", "done")  # phases in which a forecaster learns no more


def trained_encoder(job: AgentJob, channel: JobChannel) -> str:
    """Return the id of the encoder, trained now or by an earlier session of the same run.

    Raises:
        JobStopped: asked to stop; the checkpoint of the last finished epoch stays.
        UserError: unusable data or settings, or a full disk.
    """
    run_id = f"{job.run_id}-encoder"
    found = model_of_run(Path(job.models_dir), run_id) if job.resume else None
    if found is not None:
        return found
    run_dir = Path(job.run_dir) / ENCODER_FOLDER
    wanted = ForecastJob(
        run_id=run_id,
        spec=job.spec.encoder_run,
        candles_dir=job.candles_dir,
        models_dir=job.models_dir,
        run_dir=str(run_dir),
        trials_file=job.trials_file,
        resume=job.resume and (run_dir / CHECKPOINT_FILE).exists(),
    )
    return TrainingResult.from_json(forecast.run(wanted.to_json(), _EncoderChannel(channel, job.run_id))).model_id


class _EncoderChannel:
    """Passes on what the run of a forecaster says as what the run of an agent says."""

    def __init__(self, channel: JobChannel, run_id: str) -> None:
        self._channel, self._run_id = channel, run_id

    def progress(self, payload: Mapping[str, Any]) -> None:
        """Report that the encoder is being trained, or judged: that takes as long at times."""
        told = TrainingProgress.from_json(payload)
        said = AgentProgress(
            run_id=self._run_id,
            phase=ENCODER_TEST_PHASE if told.phase in _JUDGED else ENCODER_PHASE,
            step=told.epoch,
            steps=told.epochs,
            seed_index=told.seed_index,
            seeds=told.seeds,
            device=told.device,
            cpu_percent=told.cpu_percent,
            rss_bytes=told.rss_bytes,
            gpu_percent=told.gpu_percent,
            gpu_memory_bytes=told.gpu_memory_bytes,
        )
        self._channel.progress(said.to_json())

    def log(self, level: str, message: str) -> None:
        """Report a log line."""
        self._channel.log(level, message)

    def should_stop(self) -> bool:
        """Return whether to stop."""
        return self._channel.should_stop()

    def clock(self) -> float:
        """Return seconds without pauses."""
        return self._channel.clock()
