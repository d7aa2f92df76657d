"""Which bars count as newer than a model, and what is said where there are none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.domain.candles import Timeframe
from core.domain.data_origin import DataOrigin
from core.errors import UserError
from ml.evaluation_plan import FEWEST_JUDGED, ModelResult
from ml.model_storage import load_model
from ml.newer_bars import newer_bars_job
from ml.worker.evaluate import run
from tests.job_kit import RecordingChannel
from tests.trained_model import Trained
from tests.unit.ml.test_evaluate import longer

HOUR = Timeframe.H1


@pytest.fixture
def paths(tmp_path: Path, trained: Trained) -> DataPaths:
    made = DataPaths(tmp_path).create()
    shutil.copytree(trained.models_dir / trained.result.model_id, made.models / trained.result.model_id)
    return made


def fill(paths: DataPaths, trained: Trained, newer: int, origin: str = "binance") -> None:
    CandleStore(paths.candles).write(DataOrigin(origin), longer(trained, newer), "import")


def test_every_bar_behind_the_models_own_is_judged_and_no_other(paths: DataPaths, trained: Trained) -> None:
    fill(paths, trained, 400)
    job = newer_bars_job(paths, trained.result.model_id)
    last = int(trained.frame.time_ns[-1])
    assert (job.data.start_ns, job.data.end_ns) == (last + HOUR.ns, None)
    assert (job.include_training, job.include_earlier) == (False, False)
    result = ModelResult.from_json(json.loads(json.dumps(run(job.to_json(), RecordingChannel()))))
    assert (result.first_ns, result.own_test, result.trained_on, result.earlier) == (last + HOUR.ns, 0, 0, 0)
    assert result.judged == 399  # the last has no outcome yet


def test_as_many_as_are_needed_are_enough(paths: DataPaths, trained: Trained) -> None:
    reach = load_model(paths.models, trained.result.model_id).spec.model.reach
    fill(paths, trained, FEWEST_JUDGED + reach - 1)
    with pytest.raises(UserError, match=f"^Only {FEWEST_JUDGED + reach - 1} stored bars") as refused:
        newer_bars_job(paths, trained.result.model_id)
    assert f"{FEWEST_JUDGED + reach} are needed" in refused.value.message
    fill(paths, trained, FEWEST_JUDGED + reach)
    job = newer_bars_job(paths, trained.result.model_id)
    assert ModelResult.from_json(run(job.to_json(), RecordingChannel())).judged == FEWEST_JUDGED


@pytest.mark.parametrize("newer", [0, None])
def test_no_newer_bar_is_said_with_what_helps(paths: DataPaths, trained: Trained, newer: int | None) -> None:
    if newer is not None:
        CandleStore(paths.candles).write(DataOrigin("binance"), trained.frame, "import")
    with pytest.raises(UserError, match=r"^No stored bar of BTC/USDT 1h is newer than 20") as refused:
        newer_bars_job(paths, trained.result.model_id)
    assert "data import" in refused.value.remedy


def test_bars_of_another_origin_are_not_its_market(
    paths: DataPaths, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(paths, trained, 400, "practice-synthetic-1")
    with pytest.raises(UserError, match="No stored bar"):
        newer_bars_job(paths, trained.result.model_id)
    stored = load_model(paths.models, trained.result.model_id)
    practice = replace(stored.spec.data, venue="practice-synthetic-2")
    of_practice = replace(stored, spec=replace(stored.spec, data=practice))
    monkeypatch.setattr("ml.newer_bars.load_model", lambda *_: of_practice)
    with pytest.raises(UserError, match="No stored bar") as refused:
        newer_bars_job(paths, trained.result.model_id)
    assert "data fetch" in refused.value.remedy


def test_a_damaged_model_is_refused(paths: DataPaths, trained: Trained) -> None:
    fill(paths, trained, 400)
    (paths.models / trained.result.model_id / "model.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="is damaged"):
        newer_bars_job(paths, trained.result.model_id)
