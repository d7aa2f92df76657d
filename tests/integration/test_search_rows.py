"""Trials of a search are judged on the same bars, whatever their features and gaps in the validation part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.data.data_storage import CandleStore
from core.domain.data_origin import BINANCE
from core.job_supervisor import JobSupervisor
from core.jobs import JobEvent, JobFailed, JobFinished, JobLog, JobProgress
from ml.dataset import build_dataset, load_history
from ml.feature_spec import FeatureSpec, warm_up_bars
from ml.features import bars_since_gap
from ml.search_results import SEARCH_JOB, SearchProgress, SearchResult, search_job
from ml.search_spec import FeatureGroup, SearchSpec, parse_range
from ml.spec import ForecastSpec, ModelSpec, ResourceSpec, TrainingSpec
from ml.trial_ledger import TrialLedger
from tests.unit.ml.helpers import ar1_returns, frame_from_returns

GAPS = (2_310, 2_480)  # in the validation part
SPEC = SearchSpec(
    base=ForecastSpec(
        features=FeatureSpec("price", 1, horizons=(1, 4), window=24),
        model=ModelSpec(hidden_size=4, horizons=(1, 3)),
        training=TrainingSpec(epochs=1, segment_length=64, burn_in=8),
        resources=ResourceSpec(device="cpu"),
    ),
    trials=6,
    finalists=1,
    pruner="none",
    space=(
        parse_range("features.name", "choice price market"),
        parse_range("features.window", "choice 12 48"),
        parse_range("training.burn_in", "choice 4 10"),
    ),
    groups=(FeatureGroup("slow", ("MOM(timeperiod=60)",)),),
)


def search(folder: Path, frame_gaps: tuple[int, ...], spec: SearchSpec = SPEC) -> list[JobEvent]:
    CandleStore(folder / "candles").write(
        BINANCE, frame_from_returns(ar1_returns(3_200, 0.3, 1), missing=frame_gaps), "import"
    )
    job = search_job(spec, run_id="run-1", candles_dir=folder / "candles", runs_dir=folder / "runs")
    events: list[JobEvent] = []
    with JobSupervisor() as supervisor:
        supervisor.start("run-1", SEARCH_JOB, job, threads=1)
        while supervisor.running:
            events += supervisor.poll(0.2)
    return events


def test_all_trials_are_judged_on_the_rows_of_the_longest_look_back(tmp_path: Path) -> None:
    *_, last = search(tmp_path, GAPS)
    assert isinstance(last, JobFinished), last
    trials = SearchResult.from_json(last.result).trials
    assert [trial.message for trial in trials] == [""] * SPEC.trials
    names = {value.value for trial in trials for value in trial.parameters if value.name == "features.name"}
    assert names == {"price", "market"}
    judged = []
    for trial in trials:
        with np.load(tmp_path / "runs" / "run-1" / "returns" / f"{trial.number}.npz") as stored:
            judged.append(stored["rows"].tolist())
    assert all(rows == judged[0] for rows in judged)

    history = load_history(SPEC.base.data, tmp_path / "candles")
    data = build_dataset(history, SPEC.base)
    slow = FeatureSpec(
        "market", window=48, horizons=(1, 4), columns=SPEC.applied({"features.group.slow": "on"}).features.columns
    )
    look_back = warm_up_bars(slow) + 2 * 10
    assert look_back == 60 + 20
    since = bars_since_gap(history.frame.time_ns, history.frame.timeframe.ns)
    rows = data.rows(data.valid)
    assert judged[0] == rows[since[rows] >= look_back].tolist()
    assert len(judged[0]) < len(rows)


def test_too_many_gaps_are_said_before_the_first_trial(tmp_path: Path) -> None:
    *_, last = search(tmp_path, tuple(range(1_000, 3_200, 60)))
    assert isinstance(last, JobFailed), last
    assert last.user_error
    assert "longest look-back" in last.message
    assert TrialLedger(tmp_path / "trials.sqlite").count() == 0


def test_a_search_that_has_tried_everything_ends_and_says_so(tmp_path: Path) -> None:
    spec = replace(SPEC, finalists=3, space=(parse_range("model.kind", "choice lstm gru"),), groups=())
    events = search(tmp_path, (), spec)
    assert isinstance(events[-1], JobFinished), events[-1]
    result = SearchResult.from_json(events[-1].result)
    assert sorted(entry.value for trial in result.trials for entry in trial.parameters) == ["gru", "lstm"]
    assert {finalist.number for finalist in result.finalists} == {0, 1}
    told = [SearchProgress.from_json(event.payload) for event in events if isinstance(event, JobProgress)]
    (warning,) = [event.message for event in events if isinstance(event, JobLog) and event.level == "WARNING"]
    assert warning.endswith("the search ends after 2 of 6 trials.")
    assert {progress.note for progress in told if progress.phase in ("finalists", "done")} == {warning}
