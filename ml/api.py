"""What the rest of the program may know about learning: specifications and results. Any thread; torch-free.

The window, the command line and the training child talk about a run only through these values. They are frozen and
become JSON through `to_json` / `from_json`; nothing here imports torch, pandas or scikit-learn.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import re
import time
import uuid
from dataclasses import dataclass, replace
from typing import Unpack

from core.clock import NS_PER_S
from ml.effort import TrainingEstimate, estimate, judging_share, minimum_bars
from ml.feature_columns import FeatureColumn, Parameter, parse_column
from ml.feature_spec import (
    FEATURE_SETS,
    TREND_FAST,
    TREND_SLOW,
    FeatureSetInfo,
    FeatureSpec,
    feature_sets,
    warm_up_bars,
)
from ml.jsonvalues import Json
from ml.metric_results import (
    Calibration,
    CalibrationPoint,
    ClassMetrics,
    Comparison,
    ForecastMetrics,
    HorizonMetrics,
    PointMetrics,
    RangeMetrics,
    RegimeMetrics,
    ReliabilityPoint,
)
from ml.results import (
    EpochRecord,
    ModelSummary,
    TrainingProgress,
    TrainingResult,
    log_training_progress,
)
from ml.run_job import TRIALS_FILE, RunFolders, RunJob, job_folders
from ml.spec import (
    DEVICES,
    HEADS,
    MAX_SEEDS,
    MODEL_KINDS,
    SCHEDULES,
    STORE_SOURCE,
    DataRange,
    EvaluationSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    SeriesSource,
    SplitSpec,
    TrainingSpec,
    spec_from_mapping,
)

__all__ = [
    "CHECKPOINT_FILE",
    "DEVICES",
    "FEATURE_SETS",
    "HEADS",
    "MAX_SEEDS",
    "MODEL_KINDS",
    "SCHEDULES",
    "SPEC_FILE",
    "STORE_SOURCE",
    "TRAIN_FORECAST_JOB",
    "TREND_FAST",
    "TREND_SLOW",
    "TRIALS_FILE",
    "Calibration",
    "CalibrationPoint",
    "ClassMetrics",
    "Comparison",
    "DataRange",
    "EpochRecord",
    "EvaluationSpec",
    "FeatureColumn",
    "FeatureSetInfo",
    "FeatureSpec",
    "ForecastJob",
    "ForecastMetrics",
    "ForecastSpec",
    "HorizonMetrics",
    "ModelSpec",
    "ModelSummary",
    "Parameter",
    "PointMetrics",
    "RangeMetrics",
    "RegimeMetrics",
    "ReliabilityPoint",
    "ResourceSpec",
    "SeriesSource",
    "SplitSpec",
    "TrainingEstimate",
    "TrainingProgress",
    "TrainingResult",
    "TrainingSpec",
    "estimate",
    "feature_sets",
    "forecast_job",
    "judging_share",
    "log_training_progress",
    "minimum_bars",
    "new_run_id",
    "parse_column",
    "run_begun_ns",
    "spec_from_mapping",
    "spec_hash",
    "warm_up_bars",
]

TRAIN_FORECAST_JOB = "ml.worker.forecast:run"
SPEC_FILE = "spec.json"  # in the folder of a run; what `train forecast --resume` continues with
CHECKPOINT_FILE = "checkpoint.json"  # beside it, once the first epoch has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastJob(RunJob):
    """What the training child gets."""

    spec: ForecastSpec


def spec_hash(spec: ForecastSpec) -> str:
    """Return the identity of what is tried: the specification without seed and resources, wherever its files lie."""
    training = replace(spec.training, seed=0)
    same = replace(spec, data=spec.data.without_folders(), training=training, resources=ResourceSpec())
    return hashlib.sha256(json.dumps(same.to_json(), sort_keys=True).encode()).hexdigest()[:16]


def new_run_id() -> str:
    """Return a fresh run id that sorts by time."""
    return f"run-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def run_begun_ns(run_id: str) -> int | None:
    """Return when a run id was made, ns UTC to the second; None where it is not made of a time."""
    found = re.fullmatch(r"(?:run|agent)-(\d{8}-\d{6})-[0-9a-f]{6}", run_id)
    if found is None:
        return None
    try:
        return calendar.timegm(time.strptime(found[1], "%Y%m%d-%H%M%S")) * NS_PER_S
    except ValueError:
        return None


def forecast_job(spec: ForecastSpec, **where: Unpack[RunFolders]) -> Json:
    """Return the JSON for `JobSupervisor.start(TRAIN_FORECAST_JOB, ...)`.

    Args:
        spec: validated here.

    Raises:
        UserError: the specification is not valid.
    """
    return ForecastJob(spec=spec.validate(), **job_folders(where)).to_json()
