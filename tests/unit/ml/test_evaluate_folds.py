from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.errors import UserError
from core.jobs import JobStopped, Json
from ml.api import (
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    SplitSpec,
    TrainingSpec,
)
from ml.baselines import BaselineInputs, fit_baselines
from ml.dataset import prepare_bars
from ml.evaluate_folds import fold_dataset, judged_parts, path_scores, paths_verdict, plan_folds, spread
from ml.evaluation_plan import (
    COMBINATORIAL,
    EvaluationPlan,
    EvaluationProgress,
    FoldsResult,
    PathScore,
    folds_job,
)
from ml.evaluators import HorizonForecast
from ml.fold_store import Block, FoldOutcome, FoldRecord, joined, load_fold
from ml.held_moves import HeldMoves, held_on
from ml.lstm_trainer import train_lstm_model
from ml.trial_ledger import TrialLedger
from ml.validation import Fold, Guard, Interval, combinatorial_purged
from ml.worker.folds import run
from tests.job_kit import RecordingChannel
from tests.unit.ml.helpers import appended, ar1_returns, frame_from_returns, noise_returns

SPEC = ForecastSpec(
    features=FeatureSpec("price", 1, horizons=(1, 4), window=12),
    model=ModelSpec(hidden_size=4, dropout=0.0, horizons=(1, 3)),
    split=SplitSpec(purge_bars=4),
    training=TrainingSpec(epochs=2, segment_length=64, burn_in=8, batch_segments=8, learning_rate=0.02),
    evaluation=EvaluationSpec(seeds=2, boosting=False, permutation_repeats=0),
    resources=ResourceSpec(device="cpu", threads=1),
)
WALK = EvaluationPlan(folds=3)
GROUPS = EvaluationPlan(COMBINATORIAL, groups=4, test_groups=2)
FRAME = frame_from_returns(ar1_returns(3_000, 0.5, 1), missing=(1_700,))


def job(folder: Path, plan: EvaluationPlan, spec: ForecastSpec = SPEC, frame: CandleFrame = FRAME) -> Json:
    CandleStore(folder / "candles").write("binance", frame, "import")
    return folds_job(spec, plan, run_id="run-1", candles_dir=folder / "candles", runs_dir=folder / "runs")


def evaluate(folder: Path, plan: EvaluationPlan, spec: ForecastSpec = SPEC, frame: CandleFrame = FRAME) -> FoldsResult:
    return FoldsResult.from_json(json.loads(json.dumps(run(job(folder, plan, spec, frame), RecordingChannel()))))


@pytest.mark.parametrize("plan", [WALK, replace(WALK, mode="rolling"), GROUPS])
def test_folds_keep_their_distance_and_judge_every_row(plan: EvaluationPlan) -> None:
    prepared = prepare_bars(FRAME, SPEC)
    layout = plan_folds(prepared, SPEC, plan)
    reach, look_back = SPEC.model.reach, prepared.pipeline.warm_up
    tested: list[int] = []
    for fold in layout.folds:
        data = fold_dataset(prepared, fold)
        train, valid = data.rows(data.train), data.rows(data.valid)
        test = np.concatenate([data.rows(part) for part in judged_parts(fold)])
        tested += test.tolist()
        for held in (valid, *(data.rows(part) for part in judged_parts(fold))):
            before, behind = train[train < held[0]], train[train > held[-1]]
            assert len(before) + len(behind) == len(train)
            assert not len(before) or before[-1] + reach < held[0] - look_back
            assert not len(behind) or held[-1] + reach < behind[0] - look_back
        assert len(train) > 300
    counts = np.bincount(tested, minlength=len(FRAME))[prepared.target_rows()]
    if plan.scheme == COMBINATORIAL:
        assert set(counts) == {3}  # C(3, 1) paths
    else:
        assert set(counts) == {0, 1}
        assert (np.diff(counts) >= 0).all()  # everything behind the first training


def test_the_scaler_of_a_fold_sees_its_training_rows_only() -> None:
    prepared = prepare_bars(FRAME, SPEC)
    (first, *_) = plan_folds(prepared, SPEC, GROUPS).folds
    data = fold_dataset(prepared, first)
    matrix = prepared.matrix.copy()
    untouched = data.train.mask(len(FRAME))
    matrix[~untouched] += 1_000.0
    other = fold_dataset(replace(prepared, matrix=matrix), first)
    assert other.scaling == data.scaling
    matrix[untouched] += 1_000.0
    assert fold_dataset(replace(prepared, matrix=matrix), first).scaling != data.scaling


@pytest.mark.parametrize("plan", [WALK, GROUPS])
def test_bars_under_test_change_nothing_in_what_is_learnt(tmp_path: Path, plan: EvaluationPlan) -> None:
    folds = plan_folds(prepare_bars(FRAME, SPEC), SPEC, plan).folds
    fold = folds[1]
    close = FRAME.close.copy()
    for part in judged_parts(fold):
        close[part.start : part.stop] *= np.exp(np.random.default_rng(5).normal(0, 0.05, part.stop - part.start))
    wild = replace(FRAME, close=close, high=np.maximum(FRAME.high, close), low=np.minimum(FRAME.low, close))
    weights = []
    for number, frame in enumerate((FRAME, wild)):
        data = fold_dataset(prepare_bars(frame, SPEC), fold)
        trained = train_lstm_model(
            data,
            SPEC,
            run_id="run-1",
            run_dir=tmp_path / str(number),
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
        weights.append([value.numpy() for value in trained.network.state_dict().values()])
        assert (data.scaling, trained.states[0].history[0].valid_loss) is not None
    for before, after in zip(*weights, strict=True):
        np.testing.assert_array_equal(before, after)


def test_walk_forward_finds_what_is_there_and_counts_every_trial(tmp_path: Path) -> None:
    result = evaluate(tmp_path, WALK)
    assert [fold.fold for fold in result.folds] == [1, 2, 3]
    assert all(a.test_to_ns < b.test_from_ns for a, b in zip(result.folds, result.folds[1:], strict=False))
    assert [a.train_targets < b.train_targets for a, b in zip(result.folds, result.folds[1:], strict=False)] == [
        True
    ] * 2
    metrics = result.metrics
    assert metrics is not None
    assert metrics.targets == sum(fold.targets for fold in result.folds)
    assert metrics.edge
    assert metrics.model.r2 > 0.1  # 0.25 at best
    assert [horizon.horizon for horizon in metrics.horizons] == [1, 3]
    assert {row.name for row in metrics.baselines} == {"zero", "persistence", "climatology", "ridge"}
    assert len(metrics.seeds) == 2
    assert metrics.seed_crps is not None
    assert metrics.deflated is not None
    assert metrics.earnings is not None
    # One account from the first bar judged to the last, over the missing bar and from fold to fold.
    first, last = np.searchsorted(FRAME.time_ns, (result.folds[0].test_from_ns, result.folds[-1].test_to_ns))
    paid = (1 - SPEC.evaluation.cost) ** 2
    held = paid * FRAME.close[last + 1] / FRAME.close[first] - 1
    assert metrics.earnings.hold.total_return == pytest.approx(held, abs=1e-4)
    hours = (FRAME.time_ns[last + 1] - FRAME.time_ns[first]) / Timeframe.H1.ns
    assert metrics.earnings.hold.bars_per_year == pytest.approx(8_760 * metrics.targets / hours)
    assert hours > metrics.targets + 20
    assert (result.spread.better, result.paths) == (1.0, ())
    assert "in 3 of 3 folds" in result.verdict
    ledger = TrialLedger(tmp_path / "trials.sqlite")
    assert ledger.count() == 6
    assert {record.kind for record in ledger.records()} == {"evaluation"}
    assert len(set(ledger.sharpes().tolist())) == 6
    assert metrics.deflated.trials == 6
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_noise_gives_no_edge_on_any_path(tmp_path: Path) -> None:
    result = evaluate(tmp_path, GROUPS, frame=frame_from_returns(noise_returns(3_000, 3)))
    assert result.metrics is None
    assert len(result.folds) == 6
    assert len(result.paths) == 3
    assert all(path.r2 < 0.004 for path in result.paths)
    assert all(abs(path.ic or 0.0) < 0.06 for path in result.paths)
    assert sum(path.edge for path in result.paths) < len(result.paths)
    assert "no steady edge" in result.verdict or "No evidence" in result.verdict


def test_what_only_a_label_across_the_border_tells_gives_no_edge(tmp_path: Path) -> None:
    """Under test, twelve bars with a wide range announce a jump; the first of them stand before the border."""
    plan = EvaluationPlan(COMBINATORIAL, groups=4, test_groups=1)
    spec = replace(
        SPEC, features=replace(SPEC.features, name="market", window=24), model=replace(SPEC.model, horizons=(12,))
    )
    fold = plan_folds(prepare_bars(frame_from_returns(noise_returns(3_000, 3)), spec), spec, plan).folds[1]
    (test,) = fold.test
    returns, wide = noise_returns(3_000, 3), np.zeros(3_000)
    for jump in range(test.start, test.stop, 80):
        returns[jump] += 0.1
        wide[jump - 12 : jump] = 0.05
        returns[jump + 40] -= 0.1  # without a word before, so that there is no drift to find
    frame = frame_from_returns(returns, 3)
    frame = replace(frame, high=frame.high * (1.0 + wide), low=frame.low * (1.0 - wide))
    prepared = prepare_bars(frame, spec)

    def least_squares_ic(chosen: Fold) -> float:
        data = fold_dataset(prepared, chosen)
        train, rows = data.rows(data.train), data.rows(data.test)
        weights, *_ = np.linalg.lstsq(data.inputs[train], data.target[train, 0], rcond=None)
        return float(np.corrcoef(data.inputs[rows] @ weights, data.target[rows, 0])[0, 1])

    before, behind, *rest = fold.train
    leaky = replace(fold, train=(Interval(before.start, test.start), behind, *rest))
    assert least_squares_ic(leaky) > 0.15  # twelve labels are enough to learn it
    assert least_squares_ic(fold) < 0.05
    result = evaluate(tmp_path, plan, replace(spec, evaluation=replace(spec.evaluation, seeds=1)), frame)
    assert result.folds[1].r2 < 0.01
    assert result.folds[1].crps_skill < 0.01


def test_a_cancelled_evaluation_goes_on_with_the_fold_it_was_in(tmp_path: Path) -> None:
    whole = evaluate(tmp_path / "whole", WALK)
    spec = job(tmp_path, WALK)
    channel = RecordingChannel(lambda told: told["fold"] == 2 and told["seed_index"] == 1 and told["eta_s"] is not None)
    with pytest.raises(JobStopped):
        run(spec, channel)
    assert channel.messages[-1]["eta_s"] is not None
    ledger = TrialLedger(tmp_path / "trials.sqlite")
    assert [(record.trial_id, record.status) for record in ledger.records()] == [
        ("run-1/fold-001/1", "begun"),
        ("run-1/fold-001/2", "begun"),
        ("run-1/fold-001/1", "finished"),
        ("run-1/fold-001/2", "finished"),
        ("run-1/fold-002/1", "begun"),
        ("run-1/fold-002/2", "begun"),
        ("run-1/fold-002/1", "cancelled"),
        ("run-1/fold-002/2", "cancelled"),
    ]
    CandleStore(tmp_path / "candles").write("binance", appended(FRAME), "import")  # which belong to a new evaluation
    channel = RecordingChannel()
    result = FoldsResult.from_json(run(spec, channel))
    heard = [EvaluationProgress.from_json(message) for message in channel.messages]
    assert 1 not in {told.fold for told in heard}
    assert {told.seed_index for told in heard if (told.phase, told.fold) == ("training", 2)} == {1}
    assert result.folds == whole.folds
    assert result.metrics == whole.metrics
    assert ledger.count() == 6


def test_kept_folds_are_verified_and_belong_to_one_configuration(tmp_path: Path) -> None:
    evaluate(tmp_path, WALK)
    folder = tmp_path / "runs" / "run-1"
    other = replace(SPEC, training=replace(SPEC.training, seed=9))
    with pytest.raises(UserError, match="another configuration"):
        evaluate(tmp_path, WALK, other)
    record = json.loads((folder / "fold-001" / "fold.json").read_bytes())
    levels = SPEC.model.quantile_levels
    found = load_fold(folder / "fold-001", record["fingerprint"], levels)
    assert found is not None
    block = joined(found.blocks, held_on)
    assert block.seed_quantiles.shape == (2, len(block.first.outcome), len(levels))
    assert [regimes.grouping for regimes in block.first.regimes] == ["volatility", "trend"]
    assert len(block.held.log_return) == len(block.first.outcome)
    assert load_fold(folder / "fold-009", record["fingerprint"], levels) is None
    arrays = folder / "fold-001" / "fold.npz"
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="damaged"):
        evaluate(tmp_path, WALK)


def test_classes_survive_the_folder(tmp_path: Path) -> None:
    spec = replace(SPEC, model=replace(SPEC.model, head="classes"), evaluation=replace(SPEC.evaluation, seeds=1))
    result = evaluate(tmp_path, replace(WALK, folds=2), spec)
    assert result.metrics is not None
    first = result.metrics.horizons[0]
    assert first.classes is not None
    assert {row.name for row in first.baseline_classes} == {"climatology", "logistic"}
    again = evaluate(tmp_path, replace(WALK, folds=2), spec)
    assert (again.metrics, again.folds) == (result.metrics, result.folds)


@pytest.mark.parametrize(
    "plan",
    [replace(WALK, folds=60), replace(WALK, train_share=0.1, embargo=0.1), replace(GROUPS, groups=16, test_groups=8)],
)
def test_too_many_folds_for_the_bars_are_refused(plan: EvaluationPlan) -> None:
    with pytest.raises(UserError, match=r"too few bars|number of folds|leave nothing"):
        plan_folds(prepare_bars(FRAME, SPEC), SPEC, plan)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scheme": "oracle"}, "evaluation scheme 'oracle'"),
        ({"folds": 1}, "number of folds 1"),
        ({"mode": "sliding"}, "walk-forward mode"),
        ({"groups": 2}, "number of groups"),
        ({"test_groups": 6}, "number of test groups"),
        ({"embargo": 0.5}, "embargo"),
        ({"valid_share": 0.9}, "validation share"),
        ({"train_share": 0.95}, "training share"),
    ],
)
def test_plans_that_cannot_be_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        folds_job(SPEC, replace(EvaluationPlan(), **change), run_id="r", candles_dir=Path(), runs_dir=Path())


def path(number: int, r2: float, net: float | None, *, edge: bool) -> PathScore:
    return PathScore(number, 100, r2, r2, r2, r2, net, edge_p_value=0.01 if edge else 0.5, edge=edge, range_edge=edge)


@pytest.mark.parametrize(
    ("r2", "edge", "net", "sentence", "loss"),
    [
        (
            (0.01, 0.02),
            (True, True),
            (0.1, 0.2),
            "Evidence of an edge over every naive forecast before costs on 2 of 2 paths",
            0.0,
        ),
        ((0.01, 0.02), (True, False), (-0.1, 0.2), "on 1 of 2 paths", 0.5),
        ((0.01, 0.02), (False, False), (0.1, 0.2), "No evidence of an edge over every naive forecast", 0.0),
        ((-0.01, -0.02), (False, False), (-0.1, -0.2), "No evidence of an edge over every naive forecast", 1.0),
        ((-0.01, -0.02), (False, False), (None, None), "No evidence of an edge over every naive forecast", None),
    ],
)
def test_paths_say_no_more_than_they_allow(
    r2: tuple[float, ...],
    edge: tuple[bool, ...],
    net: tuple[float | None, ...],
    sentence: str,
    loss: float | None,
) -> None:
    values = zip(r2, net, edge, strict=True)
    paths = [path(number, one, two, edge=three) for number, (one, two, three) in enumerate(values, start=1)]
    over = spread(paths, None)
    assert over.probability_of_loss == loss
    verdict = paths_verdict(over, paths, 1)
    assert sentence in verdict
    assert ("no steady edge" in verdict) == (0 < sum(edge) < len(edge))
    assert ("loses money" in verdict) == (loss is not None)
    assert f"past volatility on {sum(edge)} of 2" in verdict
    assert "same bars" in verdict


def test_paths_have_a_spread_and_no_interval() -> None:
    paths = [path(number, 0.01 * number, 0.1, edge=True) for number in range(1, 6)]
    over = spread(paths, None).r2
    assert over is not None
    assert (over.low, over.high, over.iqm_low, over.iqm_high) == (None,) * 4
    assert (over.minimum, over.median, over.maximum) == (0.01, 0.03, 0.05)
    folds = spread(paths, 1).r2
    assert folds is not None
    assert folds.low is not None


LEVELS = (0.05, 0.5, 0.95)


def drift_paths(signal: float, tries: int = 1) -> tuple[PathScore, ...]:
    """Return the paths of forecasts of a drift and a share of what is known of the next return."""
    rng = np.random.default_rng(1)
    size, sigma = 6_000, 0.01
    known = rng.normal(0.0, 0.2 * sigma, size)
    outcome = 0.001 + known + rng.normal(0.0, sigma, size)
    splits = combinatorial_purged(size, groups=4, test_groups=2, guard=Guard(horizon=1, purge=2, embargo=0))
    last, unit = np.roll(outcome, 1), np.full(size, sigma)
    closes = np.concatenate([[0.0], np.cumsum(outcome)])
    times = np.arange(size + 1) * Timeframe.H1.ns
    outcomes = []
    for fold in splits.folds:
        train, blocks = fold.train_rows(), []
        outer = np.quantile(outcome[train] - outcome[train].mean(), LEVELS)
        for block in fold.test:
            rows = np.arange(block.start, block.stop)
            centre = outcome[train].mean() * (1.0 + 0.2 * rng.normal(size=len(rows))) + signal * known[rows]
            inputs = BaselineInputs(
                x_train=known[train, None],
                y_train=outcome[train],
                unit_train=unit[train],
                last_train=last[train],
                x_valid=known[train[:50], None],
                y_valid=outcome[train[:50]],
                unit_valid=unit[train[:50]],
                x_test=known[rows, None],
                unit_test=unit[rows],
                last_test=last[rows],
                levels=LEVELS,
            )
            quantiles = centre[:, None] + outer * [1.0, 0.0, 1.0]
            forecast = HorizonForecast(1, LEVELS, quantiles, outcome[rows])
            naive = fit_baselines(inputs, ["zero", "persistence", "climatology"])
            held = HeldMoves.between(closes, times, rows)
            blocks.append(Block(((forecast, naive),), held, quantiles[None]))
        outcomes.append(FoldOutcome(FoldRecord("", "", 0, 0, 0, 0, 0.0, 0.0, (), 0.0), tuple(blocks)))
    return path_scores(outcomes, splits, SPEC, tries)


def test_a_forecast_of_the_drift_alone_is_no_edge_on_any_path() -> None:
    paths = drift_paths(signal=0.0)
    assert all(path.r2 > 0.0 for path in paths)  # a price that stays is no yardstick where the market rises
    assert not any(path.edge or path.range_edge for path in paths)
    verdict = paths_verdict(spread(paths, None), paths, 1)
    assert verdict.startswith("No evidence of an edge over every naive forecast")
    assert "better" not in verdict


def test_what_is_known_beyond_the_drift_is_an_edge_on_every_path() -> None:
    paths = drift_paths(signal=1.0)
    assert all(path.edge and path.range_edge and path.edge_p_value < 0.01 for path in paths)
    assert "on 3 of 3 paths" in paths_verdict(spread(paths, None), paths, 1)


def test_paths_must_stand_up_to_the_number_of_tries_too() -> None:
    alone, counted = drift_paths(signal=0.03), drift_paths(signal=0.03, tries=10_000)
    assert any(path.edge for path in alone)
    assert not any(path.edge for path in counted)
    verdict = paths_verdict(spread(counted, None), counted, 10_000)
    assert verdict.startswith("No evidence of an edge")
    assert "The best of 10,000 tried on this market looks as good by luck: p below 0.0000050 is needed." in verdict


def test_each_path_takes_every_group_from_another_network(tmp_path: Path) -> None:
    evaluate(tmp_path, GROUPS, replace(SPEC, evaluation=replace(SPEC.evaluation, seeds=1)))
    prepared = prepare_bars(FRAME, SPEC)
    splits = plan_folds(prepared, SPEC, GROUPS).splits
    assert splits is not None
    folders = sorted((tmp_path / "runs" / "run-1").glob("fold-*"))
    fingerprint = json.loads((folders[0] / "fold.json").read_bytes())["fingerprint"]
    outcomes = [load_fold(folder, fingerprint, SPEC.model.quantile_levels) for folder in folders]
    found = [outcome for outcome in outcomes if outcome is not None]
    scores = path_scores(found, splits, SPEC, 1)
    assert len({score.r2 for score in scores}) == len(scores) == 3
    for path in splits.paths:
        blocks = [found[fold].blocks[splits.tested[fold].index(g)] for g, fold in enumerate(path)]
        moved = joined(blocks, held_on).held
        rows = np.searchsorted(FRAME.time_ns, (moved.time_ns[0, 0], moved.time_ns[-1, 1]))
        assert moved.log_return.sum() == pytest.approx(np.diff(np.log(FRAME.close[rows]))[0])
    times = [
        np.concatenate([found[fold].blocks[splits.tested[fold].index(g)].first.time_ns for g, fold in enumerate(path)])
        for path in splits.paths
    ]
    for one in times:
        assert (np.diff(one) > 0).all()
