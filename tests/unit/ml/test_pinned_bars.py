"""A run that goes on after new bars came works on those it began with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.data.data_storage import CandleStore
from core.errors import UserError
from core.jobs import JobStopped, Json
from ml.api import (
    DataRange,
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    TrainingResult,
    TrainingSpec,
)
from ml.model_storage import history_lineage, load_model
from ml.spec import SeriesSource
from ml.worker.forecast import run
from ml.worker.pinned_bars import BARS_FILE, load_pinned_history
from tests.job_kit import RecordingChannel, training_job
from tests.unit.ml.helpers import HOUR, appended, ar1_returns, frame_from_returns, noise_returns

FRAME = frame_from_returns(ar1_returns(2_000, 0.4, 1))
SPEC = ForecastSpec(
    features=FeatureSpec("price", 1, horizons=(1, 4), window=24),
    model=ModelSpec(hidden_size=4),
    training=TrainingSpec(epochs=4, segment_length=64, burn_in=8, batch_segments=8, patience=4),
    evaluation=EvaluationSpec(seeds=2, boosting=False, permutation_repeats=0),
    resources=ResourceSpec(device="cpu", threads=1),
)


def job(folder: Path, run_id: str = "run-1", *, resume: bool = False) -> Json:
    return training_job(folder, SPEC, run_id, resume=resume)


def losses(result: TrainingResult) -> list[tuple[float, float]]:
    return [(epoch.train_loss, epoch.valid_loss) for epoch in result.history]


@pytest.mark.parametrize("stop", [(0, 2), (1, 1)])
def test_new_bars_change_nothing_of_a_run_that_goes_on(tmp_path: Path, stop: tuple[int, int]) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        CandleStore(folder / "candles").write("binance", FRAME, "import")
    undisturbed = TrainingResult.from_json(run(job(whole), RecordingChannel()))
    with pytest.raises(JobStopped):
        run(
            job(cut),
            RecordingChannel(lambda told: told["phase"] == "training" and (told["seed_index"], told["epoch"]) == stop),
        )
    CandleStore(cut / "candles").write("binance", appended(FRAME), "import")
    resumed = TrainingResult.from_json(run(job(cut, resume=True), RecordingChannel()))
    assert losses(resumed) == losses(undisturbed)
    assert resumed.metrics == undisturbed.metrics
    first, second = (
        load_model(folder / "models", result.model_id) for folder, result in ((whole, undisturbed), (cut, resumed))
    )
    assert first.manifest["data"] == second.manifest["data"]
    # A model's settings keep the range as it was told: used again, they take the bars there are then.
    assert (second.spec.data.start_ns, second.spec.data.end_ns) == (None, None)
    # A new run takes them all.
    fresh = TrainingResult.from_json(run(job(cut, "run-2"), RecordingChannel()))
    assert losses(fresh) != losses(undisturbed)


def test_other_markets_and_series_stay_with_the_bars(tmp_path: Path) -> None:
    eth = replace(
        frame_from_returns(noise_returns(2_100, 6)), symbol="ETH/USDT", time_ns=FRAME.time_ns[0] + HOUR.ns * _AROUND
    )
    candles = CandleStore(tmp_path / "candles")
    for frame in (FRAME, eth):
        candles.write("binance", frame, "import")
    file = tmp_path / "funding.csv"
    last_close = int(FRAME.time_ns[-1]) + HOUR.ns
    lines = ["known_at,value", *(f"{_text(last_close - hours * HOUR.ns)},{hours}" for hours in (2, 1, 0))]
    file.write_text("\n".join(lines), "utf-8")
    data = DataRange(markets=("ETH/USDT",), series=(SeriesSource("funding", str(file)),))
    first = load_pinned_history(data, tmp_path / "candles", tmp_path)
    assert [len(first.frame), *map(len, first.others)] == [len(FRAME), len(FRAME)]
    assert first.series[0].value.tolist() == [2.0, 1.0, 0.0]
    for frame in (FRAME, eth):
        candles.write("binance", appended(frame), "import")
    file.write_text("\n".join([*lines, f"{_text(last_close + 1)},9"]), "utf-8")
    again = load_pinned_history(data, tmp_path / "candles", tmp_path)
    assert history_lineage(again) == history_lineage(first)
    anew = load_pinned_history(data, tmp_path / "candles", tmp_path, anew=True)
    assert len(anew.frame) == len(FRAME) + 50
    assert history_lineage(load_pinned_history(data, tmp_path / "candles", tmp_path)) == history_lineage(anew)


_AROUND = np.arange(-50, 2_050, dtype=np.int64)


def _text(time_ns: int) -> str:
    return f"{np.datetime64(time_ns, 'ns')}Z"


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    CandleStore(tmp_path / "candles").write("binance", FRAME, "import")
    (tmp_path / BARS_FILE).write_text("{", "utf-8")
    with pytest.raises(UserError, match=r"bars\.json of this run cannot be read") as refused:
        load_pinned_history(DataRange(), tmp_path / "candles", tmp_path)
    assert refused.value.remedy
