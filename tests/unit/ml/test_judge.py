"""The judgement of whole runs: seeds, intervals, importance, earnings and the count of trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.domain.candles import Timeframe
from core.jobs import JobStopped
from ml.api import EvaluationSpec, FeatureSpec, ForecastMetrics, ForecastSpec, ModelSpec, TrainingSpec, spec_hash
from ml.arrays import Float32Array, FloatArray
from ml.dataset import ForecastDataset, build_dataset
from ml.inference import Forecasts, RecurrentState
from ml.judge import SeedForecaster, conformal_metrics, count_trials, feature_importance, judge, part_forecasts
from ml.metric_results import ConformalMetrics
from ml.metrics.quantile import crps_of_quantiles
from ml.statistic_results import ConformalOffset
from ml.trial_claims import trial_deviation
from ml.trial_ledger import TrialLedger
from tests.trained_model import Trained
from tests.unit.ml.helpers import ar1_returns, frame_from_returns, noise_returns

SPEC = ForecastSpec(
    features=FeatureSpec("price", 1, horizons=(1, 4), window=24),
    model=ModelSpec(horizons=(1, 3)),
    training=TrainingSpec(segment_length=64, burn_in=8),
    evaluation=EvaluationSpec(boosting=False, permutation_repeats=2),
)
FRAME = frame_from_returns(ar1_returns(4_000, 0.3, 7), missing=(3_500,))
NORMAL = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])


@pytest.fixture(scope="module")
def data() -> ForecastDataset:
    return build_dataset(FRAME, SPEC)


class Linear:
    """Forecasts `weight` times one scaled feature, with the ranges of a normal variable."""

    def __init__(self, column: int, weight: float, width: float = 1.0) -> None:
        self.column, self.weight, self.width = column, weight, width

    def initial_state(self) -> RecurrentState:
        return ()

    def run(self, inputs: Float32Array, state: RecurrentState) -> tuple[Forecasts, RecurrentState]:
        centre = self.weight * inputs[:, self.column].astype(np.float64)
        quantiles = centre[:, None, None] + self.width * NORMAL
        return Forecasts(np.repeat(quantiles, 2, axis=1), None), state


def judged(data: ForecastDataset, *weights: float, width: float = 1.0) -> ForecastMetrics:
    column = data.pipeline.names.index("return_1")
    seeds = [SeedForecaster(i + 1, 3, 2, 0.5, Linear(column, w, width)) for i, w in enumerate(weights)]
    return judge(data, SPEC, FRAME, Linear(column, float(np.mean(weights)), width), seeds)


def test_seeds_are_judged_alone_and_summed_up(data: ForecastDataset) -> None:
    metrics = judged(data, 0.1, 0.2, 0.3)
    assert [row.seed for row in metrics.seeds] == [1, 2, 3]
    column = data.pipeline.names.index("return_1")
    part = part_forecasts(Linear(column, 0.2), data, data.test, SPEC.training.burn_in)
    outcome = data.log_return[part.rows, 0]
    wanted = crps_of_quantiles(part.forecasts.quantiles[:, 0], outcome, SPEC.model.quantile_levels).mean()
    assert metrics.seeds[1].crps == pytest.approx(wanted)
    assert metrics.seed_r2 is not None
    assert metrics.seed_r2.median == np.median([row.r2 for row in metrics.seeds])
    assert (metrics.seed_r2.low, metrics.seed_r2.high) == (None, None)  # three are too few for an interval
    assert metrics.edge
    assert ForecastMetrics.from_json(metrics.to_json()) == metrics


def test_test_rows_are_those_of_the_test_part_and_inputs_before_it_only_build_up_the_state(
    data: ForecastDataset,
) -> None:
    part = part_forecasts(Linear(0, 0.1), data, data.test, 8)
    assert part.rows[0] >= data.test.start
    assert set(part.rows.tolist()) <= set(data.rows(data.test).tolist())
    # After the missing bar features warm up, then the state: nothing else is left out.
    assert len(data.rows(data.test)) - len(part.rows) == 8


@pytest.mark.parametrize("width", [0.6, 1.0, 1.6])
def test_intervals_that_are_wrong_are_set_right(data: ForecastDataset, width: float) -> None:
    metrics = judged(data, 0.28, width=width)
    assert [row.horizon for row in metrics.conformal] == [1, 3]
    for row in metrics.conformal:
        assert row.split_coverage == pytest.approx(0.9, abs=0.05)
        assert row.adaptive_coverage == pytest.approx(0.9, abs=0.03)
    first = metrics.conformal[0]
    assert (first.coverage < 0.8) is (width == 0.6)
    assert (first.coverage > 0.95) is (width == 1.6)
    assert (first.offsets[0].offset > 0) is (width == 0.6)


def test_adaptive_intervals_without_ends_are_counted() -> None:
    size = 400
    quantiles = np.tile([-1.0, 0.0, 1.0], (size, 1))
    scores, offsets = np.linspace(-1.0, 0.0, 200), (ConformalOffset(0.1, 200, 0.0),)

    def measured(outcome: FloatArray) -> ConformalMetrics:
        return conformal_metrics(1, (0.05, 0.5, 0.95), quantiles, outcome, np.ones(size), offsets, scores)

    assert measured(np.zeros(size)).adaptive_infinite == 0.0
    wild = measured(3.0 ** np.arange(size).clip(max=100))  # each outcome beyond all before
    assert 0.0 < wild.adaptive_infinite < 1.0
    assert wild.adaptive_width is not None


def test_only_what_a_forecaster_looks_at_is_important(data: ForecastDataset) -> None:
    column = data.pipeline.names.index("return_1")
    rows = feature_importance(data, SPEC, Linear(column, 0.28), lambda: None)
    assert rows[0].name == "return_1"
    assert rows[0].loss > 0.01
    assert rows[0].deviation is not None
    assert all(row.loss == 0.0 for row in rows[1:])
    assert len(rows) == len(data.pipeline.names)
    without = replace(SPEC, evaluation=replace(SPEC.evaluation, permutation_repeats=0))
    assert feature_importance(data, without, Linear(column, 0.28), lambda: None) == ()


def test_importance_knows_nothing_of_the_test_part(data: ForecastDataset) -> None:
    column = data.pipeline.names.index("return_1")
    inputs = data.inputs.copy()
    inputs[data.test.start :] = 5.0
    outcome = data.log_return.copy()
    outcome[data.test.start :] = 1.0
    other = replace(data, inputs=inputs, log_return=outcome)
    args = (SPEC, Linear(column, 0.28), lambda: None)
    assert feature_importance(other, *args) == feature_importance(data, *args)


def test_a_person_can_stop_it(data: ForecastDataset) -> None:
    def stop() -> None:
        raise JobStopped

    column = data.pipeline.names.index("return_1")
    with pytest.raises(JobStopped):
        judge(data, SPEC, FRAME, Linear(column, 0.2), [], check_stop=stop)


def test_every_seed_of_every_run_counts_once_and_makes_a_result_less_remarkable(
    data: ForecastDataset, tmp_path: Path
) -> None:
    ledger = TrialLedger(tmp_path / "trials.sqlite")
    metrics = judged(data, 0.1, 0.2, 0.3)
    assert metrics.deflated is None
    hashes = ("bars", spec_hash(SPEC))
    first = count_trials(ledger, metrics, SPEC, "run-1", hashes, 1)
    again = count_trials(ledger, metrics, SPEC, "run-1", hashes, 2)
    assert ledger.count() == 3
    assert first.deflated == again.deflated
    for number, weight in enumerate((-0.3, 0.05, -0.1)):
        other = judged(data, weight)
        count_trials(ledger, other, SPEC, f"run-{number + 2}", (f"bars{number}", f"other{number}"), 3)
    later = count_trials(ledger, metrics, SPEC, "run-9", hashes, 4)
    assert first.deflated is not None
    assert later.deflated is not None
    assert (first.deflated.trials, later.deflated.trials) == (3.0, 9.0)
    assert later.deflated.threshold > first.deflated.threshold
    assert later.deflated.probability < first.deflated.probability
    assert later.verdict.count("Trading its sign") == 1


def test_the_best_of_many_worthless_configurations_is_no_edge(tmp_path: Path) -> None:
    """One past, sixty forecasts of nothing: some look significant alone, none after the count."""
    noise = build_dataset(frame_from_returns(noise_returns(4_000, 14)), SPEC)
    frame, ledger = frame_from_returns(noise_returns(4_000, 14)), TrialLedger(tmp_path / "trials.sqlite")
    rng = np.random.default_rng(2)
    alone, counted = [], []
    for number in range(60):
        inputs = noise.inputs.copy()
        inputs[:, 0] = rng.normal(size=len(inputs))
        data = replace(noise, inputs=inputs)
        seeds = [SeedForecaster(1, 3, 2, 0.5, Linear(0, 0.01))]
        quick = replace(SPEC, evaluation=replace(SPEC.evaluation, permutation_repeats=0))
        metrics = judge(data, quick, frame, Linear(0, 0.01), seeds)
        alone.append(metrics.edge)
        counted.append(count_trials(ledger, metrics, SPEC, f"run-{number}", ("bars", f"spec{number}"), number).edge)
    assert sum(alone) >= 1
    assert sum(counted) == 0


def test_a_ratio_is_deflated_by_no_less_than_its_own_error(data: ForecastDataset, tmp_path: Path) -> None:
    """Seeds of one configuration are alike, and folds are short: neither says how much luck there is in rivals."""
    ledger = TrialLedger(tmp_path / "trials.sqlite")
    metrics = count_trials(ledger, judged(data, 0.19, 0.2, 0.21), SPEC, "run-1", ("bars", "spec"), 1)
    assert metrics.deflated is not None
    assert metrics.sharpe is not None
    assert metrics.deflated.trial_std == pytest.approx(metrics.sharpe.count**-0.5)
    wild = [replace(row, trial_id=f"fold/{n}", kind="evaluation", test_sharpe=(-1) ** n * 0.5)
            for n, row in enumerate(ledger.records() * 3)]  # fmt: skip
    assert trial_deviation([*ledger.records(), *wild], 400) == pytest.approx(0.05)
    rivals = [replace(row, spec_hash=f"s{n}", test_sharpe=0.2 * n) for n, row in enumerate(ledger.records())]
    assert trial_deviation(rivals, 400) == pytest.approx(0.2)
    searched = [replace(row, test_sharpe=None, valid_sharpe=row.test_sharpe) for row in rivals]
    assert trial_deviation(searched, 400) == pytest.approx(0.2)


def test_a_trained_model_carries_all_of_it(trained: Trained) -> None:
    metrics = trained.result.metrics
    assert [row.seed for row in metrics.seeds] == [1, 2]
    assert metrics.deflated is not None
    assert metrics.deflated.trials == 2.0
    assert metrics.earnings is not None
    assert {(point.multiple, point.delay) for point in metrics.earnings.points} >= {(0.0, 0), (1.0, 0), (3.0, 1)}
    assert {row.name for row in metrics.importance} >= {"return_1", "rsi"}
    assert "Trading its sign at every bar would have" in metrics.verdict


def test_the_identity_of_a_trial_leaves_seed_and_machine_out() -> None:
    seeded = replace(SPEC, training=replace(SPEC.training, seed=9), resources=replace(SPEC.resources, threads=3))
    assert spec_hash(seeded) == spec_hash(SPEC)
    assert spec_hash(replace(SPEC, model=ModelSpec(kind="gru"))) != spec_hash(SPEC)


def test_what_a_price_does_over_a_gap_is_earned_and_its_time_counts() -> None:
    returns = ar1_returns(4_000, 0.3, 7)
    returns[3_500] = -0.25  # in the bar that is missing
    frame = frame_from_returns(returns, missing=(3_500,))
    data = build_dataset(frame, SPEC)
    column = data.pipeline.names.index("return_1")
    rows = part_forecasts(Linear(column, 0.2), data, data.test, SPEC.training.burn_in).rows
    earnings = judge(data, SPEC, frame, Linear(column, 0.2), []).earnings
    assert earnings is not None
    cost, log_close = SPEC.evaluation.cost, np.log(frame.close)
    moves = np.diff(log_close[[*rows, rows[-1] + 1]])
    assert moves.min() < -0.2
    growth = np.exp(moves)
    growth[[0, -1]] -= cost
    assert earnings.hold.total_return == pytest.approx(growth.prod() - 1.0, rel=1e-9)
    hours = (frame.time_ns[rows[-1] + 1] - frame.time_ns[rows[0]]) / Timeframe.H1.ns
    assert hours > len(rows) + 30  # warm-up, burn-in and reach
    assert earnings.hold.bars_per_year == pytest.approx(len(rows) / (hours / 8_760.0))
    assert earnings.hold.cagr == pytest.approx(growth.prod() ** (8_760.0 / hours) - 1.0)
    sign = np.sign(Linear(column, 0.2).run(data.inputs[rows], ())[0].quantiles[:, 0, 2])
    assert earnings.points[0].metrics.total_return == pytest.approx(
        np.prod(1.0 + sign * np.expm1(moves)) - 1.0, rel=1e-9
    )
