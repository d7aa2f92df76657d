"""The self-test passes on the product's own way, and fails where what learns is broken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.jobs import JobStopped
from ml import selftest_checks, selftest_lab
from ml.api import ForecastSpec
from ml.arrays import FloatArray
from ml.dataset import ForecastDataset, Part, build_dataset
from ml.feature_sources import MarketHistory
from ml.lstm_trainer import TrainedForecaster, train_lstm_model
from ml.recurrent import EnsembleForecaster
from ml.selftest import FORECASTING, Figure, SelftestJob, SelftestProgress, SelftestResult, TaskResult
from ml.selftest_checks import CHECKS, claims_allowed, wrong_sign_bounds
from ml.selftest_lab import Lab, Learned, shuffle_outcomes
from ml.selftest_steps import LabHooks, Steps
from ml.selftest_tasks import autoregression, bars_of_returns
from ml.worker import selftest as job_module
from ml.worker.forecast import NetworkForecaster
from tests.job_kit import RecordingChannel

HOOKS = LabHooks(lambda what, share: None, lambda: False, time.monotonic)


def lab(folder: Path, **given: Any) -> Lab:
    parts = {name: given.pop(name) for name in ("prepare", "train") if name in given}
    return Lab(SelftestJob(("A",), str(folder), quick=True, **given), HOOKS, **parts)


# --- values ----------------------------------------------------------------------------------------------------


def test_tasks_are_chosen_in_their_order_and_each_once() -> None:
    assert FORECASTING.choose(()) == ("A", "B", "C", "K", "L", "M", "N")
    assert FORECASTING.choose(("k", "A", "K")) == ("A", "K")
    assert tuple(CHECKS) == FORECASTING.choose(())
    with pytest.raises(UserError, match="no task 'Z'"):
        FORECASTING.choose(("A", "Z"))


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "tcn"},
        {"seeds": 3},
        {"seed": -1},
        {"device": "abacus"},
        {"threads": -1},
    ],
)
def test_settings_that_cannot_be_run_are_refused(given: dict[str, Any]) -> None:
    SelftestJob(("A",), "folder").validate()
    with pytest.raises(UserError):
        SelftestJob(("A",), "folder", **given).validate()


def test_the_noise_task_has_its_usual_numbers_of_runs() -> None:
    job = SelftestJob(("B",), "folder")
    assert (job.noise_runs, replace(job, quick=True).noise_runs, replace(job, seeds=9).noise_runs) == (20, 6, 9)
    assert [claims_allowed(runs) for runs in (4, 6, 20, 39, 40, 100)] == [1, 1, 1, 1, 2, 5]


def test_results_travel_as_json() -> None:
    task = TaskResult("B", "noise", 1.0, 1.0, None, 0.95, True, 2.0, "note", (Figure("runs", 20.0),))
    result = SelftestResult((task, replace(task, ok=False)))
    assert SelftestResult.from_json(result.to_json()) == result
    assert not result.ok
    assert SelftestResult((task,)).ok
    progress = SelftestProgress("B", "noise", 0.5, 3.0, task)
    assert SelftestProgress.from_json(progress.to_json()) == progress


def test_a_champion_that_reached_its_share_falls_into_the_bounds() -> None:
    phi, share = 0.2, 0.9
    low, high = wrong_sign_bounds(phi, share)
    outside = 0
    for b in np.linspace(0.5, 1.5, 101):
        before, after = (1.0 - (1.0 - b) ** 2) * phi**2, -(2.0 * b + b * b) * phi**2
        assert (before >= share * phi**2) == (low <= after <= high)
        outside += before < share * phi**2
    assert 0 < outside < 101
    assert low < -3.0 * phi**2 < high


def test_shuffled_outcomes_are_the_same_ones_at_other_bars() -> None:
    frame = bars_of_returns(autoregression(np.full(4_000, 0.5), 1), 1)
    data = build_dataset(frame, ForecastSpec())
    shuffled = shuffle_outcomes(data, np.random.default_rng(1))
    rows = np.flatnonzero(data.has_target)
    before, after = (one.held(rows, Part(0, len(frame))).log_return for one in (data, shuffled))
    assert np.sort(after) == pytest.approx(np.sort(before), abs=1e-12)
    assert after == pytest.approx(shuffled.log_return[rows, 0], abs=1e-12)
    assert shuffled.target[rows] == pytest.approx(shuffled.log_return[rows] / data.unit[rows], rel=1e-6)
    last = np.diff(np.log(frame.close), prepend=0.0)[rows]
    assert abs(np.corrcoef(last, after)[0, 1]) < 0.06
    assert np.corrcoef(last, before)[0, 1] > 0.4


# --- it passes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["A", "C", "M", "N"])
def test_a_quick_task_is_passed(task: str, tmp_path: Path) -> None:
    result = CHECKS[task](lab(tmp_path))
    assert result.ok, result
    assert result.task == task
    assert result.share is not None
    assert result.share >= result.required
    assert not list(tmp_path.iterdir())


def test_no_edge_is_claimed_on_noise(tmp_path: Path) -> None:
    result = CHECKS["B"](lab(tmp_path, seeds=4))
    assert result.ok, result
    assert result.share is None
    assert (result.reached, result.required) == (1.0, 0.75)


# --- it fails where it must ------------------------------------------------------------------------------------


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the network itself: what is broken here lies before the export, which takes seconds."""

    def opened(network: EnsembleForecaster) -> NetworkForecaster:
        return NetworkForecaster(network.members[0])  # type: ignore[arg-type]

    monkeypatch.setattr(selftest_lab, "export_onnx", lambda network: network)
    monkeypatch.setattr(selftest_lab, "OnnxForecaster", opened)


def trains_for(change: Callable[[ForecastSpec], ForecastSpec], spoil: Callable[[EnsembleForecaster], None]) -> Any:
    def train(data: ForecastDataset, spec: ForecastSpec, **hooks: Any) -> TrainedForecaster:
        trained = train_lstm_model(data, change(spec), **hooks)
        spoil(trained.network)
        return trained

    return train


def one_epoch(spec: ForecastSpec) -> ForecastSpec:
    return replace(
        spec, training=replace(spec.training, epochs=1), evaluation=replace(spec.evaluation, seeds=1)
    ).validate()


def forget(network: EnsembleForecaster) -> None:
    """Let the network say the same at every bar."""
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.dim() > 1:
                weights.zero_()
            assert name


@pytest.mark.parametrize("task", ["A", "C", "K", "L", "M"])
@pytest.mark.usefixtures("no_export")
def test_a_network_that_learnt_nothing_fails(task: str, tmp_path: Path) -> None:
    result = CHECKS[task](lab(tmp_path, train=trains_for(one_epoch, forget)))
    assert not result.ok, result
    assert result.share is not None
    if task == "L":  # its CRPS is close: the ranges are what is wrong
        assert "of the gain over constant ranges" in result.note
    else:
        assert "needed." in result.note


@pytest.mark.usefixtures("no_export")
def test_a_leak_in_the_features_fails_although_the_optimum_is_exceeded(tmp_path: Path) -> None:
    def leaks(history: MarketHistory, spec: ForecastSpec) -> ForecastDataset:
        data = build_dataset(history, spec)
        inputs = data.inputs.copy()
        inputs[:, 0] += 0.5 * data.target[:, 0]
        return replace(data, inputs=inputs)

    result = CHECKS["A"](lab(tmp_path, prepare=leaks))
    assert not result.ok, result
    assert result.share is not None
    assert result.share > 1.0
    assert "a leak" in result.note


@pytest.mark.usefixtures("no_export")
def test_a_champion_that_does_not_fail_after_the_flip_is_noticed(tmp_path: Path) -> None:
    """A model of the old regime cannot be good in the new one: here it was trained on it."""

    def peeks(history: MarketHistory, spec: ForecastSpec) -> ForecastDataset:
        data = build_dataset(history, spec)
        return replace(data, train=data.test, valid=data.test) if spec.split.test_from else data

    result = CHECKS["K"](lab(tmp_path, prepare=peeks))
    assert not result.ok, result
    assert "The old champion" in result.note


class _Repeating(Lab):
    """Gives the same judged forecaster each time, with a claim where told."""

    def __init__(self, folder: Path, learned: Learned, claims: tuple[bool, ...]) -> None:
        super().__init__(SelftestJob(("B",), str(folder), seeds=len(claims)), HOOKS)
        self._learned, self._claims = learned, list(claims)

    def learn(self, *args: Any, **kwargs: Any) -> Learned:
        return replace(self._learned, metrics=replace(self._learned.metrics, edge=self._claims.pop(0)))


@pytest.mark.usefixtures("no_export")
def test_more_claims_than_luck_explains_fail(tmp_path: Path) -> None:
    one = lab(tmp_path, train=trains_for(one_epoch, forget))
    history = MarketHistory(bars_of_returns(autoregression(np.zeros(3_000), 1), 1))
    learned = one.learn("noise", history, one.spec(networks=1))
    twenty = [False] * 20
    twenty[3] = True
    assert CHECKS["B"](_Repeating(tmp_path, learned, tuple(twenty))).ok
    twenty[7] = True
    result = CHECKS["B"](_Repeating(tmp_path, learned, tuple(twenty)))
    assert not result.ok
    assert result.reached == pytest.approx(0.9)
    assert "in run 4, 8." in result.note


@pytest.mark.usefixtures("no_export")
def test_features_that_look_ahead_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = selftest_checks._matrix

    def looks_ahead(*args: Any) -> FloatArray:
        return np.roll(honest(*args), -1, axis=0)

    monkeypatch.setattr(selftest_checks, "_matrix", looks_ahead)
    result = CHECKS["N"](lab(tmp_path))
    assert not result.ok
    assert result.reached == pytest.approx(3 / 15)  # the network's own forecasts are causal


@pytest.mark.usefixtures("no_export")
def test_a_comparison_that_sees_no_change_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_checks, "altered_after", lambda history, row, seed: history)
    result = CHECKS["N"](lab(tmp_path))
    assert not result.ok
    assert "says nothing" in result.note


# --- the job ---------------------------------------------------------------------------------------------------


class HastyChannel(RecordingChannel):
    """Its clock moves on by a second whenever it is looked at, and it asks to stop at a time."""

    def __init__(self, stop_at: float = float("inf")) -> None:
        super().__init__()
        self._time, self._stop_at = 0.0, stop_at

    @property
    def told(self) -> list[SelftestProgress]:
        return [SelftestProgress.from_json(message) for message in self.messages]

    def should_stop(self) -> bool:
        return self.clock() >= self._stop_at

    def clock(self) -> float:
        self._time += 1.0
        return self._time


def passes(job: SelftestJob, task: str, hooks: LabHooks) -> TaskResult:
    steps = Steps(job, hooks)
    steps.expect(2)
    for step in range(2):
        steps._tell("series", 0.5)
        steps._step = step + 1
    return TaskResult(task, "title", 1.0, 1.0, 1.0, 0.9, True, 0.0, "")


def test_the_job_runs_the_tasks_and_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(job_module, "check", passes)
    channel = HastyChannel()
    found = SelftestResult.from_json(job_module.run(SelftestJob(("A", "C"), str(tmp_path)).to_json(), channel))
    assert [task.task for task in found.tasks] == ["A", "C"]
    assert all(task.seconds > 0.0 for task in found.tasks)
    done = [progress.done for progress in channel.told]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0)
    assert channel.told[-1].eta_s == pytest.approx(0.0)
    assert [p.finished.task for p in channel.told if p.finished is not None] == ["A", "C"]
    assert FORECASTING.planned_seconds("A", quick=True) < FORECASTING.planned_seconds("A", quick=False)


def test_the_job_stops_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(job_module, "check", passes)
    with pytest.raises(JobStopped):
        job_module.run(SelftestJob(("A", "C"), str(tmp_path)).to_json(), HastyChannel(stop_at=12.0))
