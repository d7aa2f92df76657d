"""The effort of a run, expected from measured costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import UserError
from ml.api import EvaluationSpec, FeatureColumn, FeatureSpec, ForecastSpec, ModelSpec, SplitSpec, TrainingSpec
from ml.dataset import build_dataset, prepare_bars
from ml.effort import estimate, minimum_bars
from tests.unit.ml.helpers import frame_from_returns, noise_returns

SINGLE = ForecastSpec(
    model=ModelSpec(horizons=(1, 4, 24)), evaluation=EvaluationSpec(seeds=1), training=TrainingSpec(epochs=10)
)


def test_estimates_grow_with_the_work() -> None:
    small, large = estimate(ForecastSpec(), 10_000), estimate(ForecastSpec(), 50_000)
    assert large.seconds > small.seconds
    assert large.train_targets > 4 * small.train_targets
    wide = ForecastSpec(model=ModelSpec(hidden_size=256))
    assert estimate(wide, 50_000).seconds > 5 * large.seconds
    single = replace(ForecastSpec(), evaluation=EvaluationSpec(seeds=1))
    assert estimate(ForecastSpec(), 30_000).seconds > estimate(single, 30_000).seconds + 2
    assert not estimate(ForecastSpec(), minimum_bars(ForecastSpec()) - 1).enough
    assert estimate(ForecastSpec(), minimum_bars(ForecastSpec())).enough
    assert estimate(ForecastSpec(), 0).train_targets == 0


@pytest.mark.parametrize(
    ("spec", "measured_s"),  # processor time of `train forecast` over 58,419 hourly bars, one thread, every epoch used
    [
        (SINGLE, 11.4),
        (replace(SINGLE, model=replace(SINGLE.model, kind="gru")), 15.2),
        (
            replace(SINGLE, features=FeatureSpec("technical"), model=replace(SINGLE.model, hidden_size=64, layers=2)),
            15.4,
        ),
        (replace(SINGLE, model=replace(SINGLE.model, head="classes")), 21.1),
    ],
    ids=["lstm", "gru", "two wide layers", "classes"],
)
def test_estimates_come_near_to_what_was_measured(spec: ForecastSpec, measured_s: float) -> None:
    assert estimate(spec, 58_419).seconds == pytest.approx(measured_s, rel=0.35)


def test_importance_and_boosting_cost_what_their_columns_cost() -> None:
    few = replace(SINGLE, evaluation=EvaluationSpec(seeds=1, boosting=False, permutation_repeats=0))
    many = replace(few, features=FeatureSpec("technical"))
    assert estimate(many, 50_000).seconds == pytest.approx(estimate(few, 50_000).seconds, rel=0.02)
    for evaluation in (replace(few.evaluation, boosting=True), replace(few.evaluation, permutation_repeats=5)):
        added = [
            estimate(replace(spec, evaluation=evaluation), 50_000).seconds - estimate(spec, 50_000).seconds
            for spec in (few, many)
        ]
        assert added[1] > 1.5 * added[0] > 0


def test_a_batch_that_is_left_to_the_program_has_a_duration_too() -> None:
    gru = replace(SINGLE, model=replace(SINGLE.model, kind="gru"))
    left = replace(gru, training=replace(gru.training, batch_segments=0))
    assert estimate(left, 50_000).seconds == pytest.approx(estimate(gru, 50_000).seconds)


def test_a_column_that_does_not_exist_is_said() -> None:
    with pytest.raises(UserError):
        estimate(replace(SINGLE, features=FeatureSpec("custom", columns=(FeatureColumn("NO_SUCH"),))), 50_000)


@pytest.mark.parametrize("gap", [None, 700], ids=["whole", "with a gap"])
@pytest.mark.parametrize(
    "spec",
    [
        ForecastSpec(),
        replace(SINGLE, split=SplitSpec(0.6, 0.2, 48)),
        replace(SINGLE, features=FeatureSpec("technical"), model=ModelSpec(horizons=(1, 12))),
    ],
    ids=["defaults", "long horizon", "technical"],
)
def test_the_targets_told_are_those_of_the_run(spec: ForecastSpec, gap: int | None) -> None:
    missing = () if gap is None else (gap, gap + 1)
    frame = frame_from_returns(noise_returns(4_000, 5), missing=missing)
    data = build_dataset(frame, spec)
    counted = tuple(len(data.rows(part)) for part in (data.train, data.valid, data.test))
    told = estimate(spec, len(frame), None if gap is None else len(prepare_bars(frame, spec).target_rows()))
    assert (told.train_targets, told.valid_targets, told.test_targets) == counted
