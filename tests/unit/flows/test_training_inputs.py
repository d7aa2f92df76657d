"""Other markets, series and slow columns in the training wizard, and numbers as people write them."""

from __future__ import annotations

import dataclasses

import pytest

from app.flows.datasets import DatasetGap, date_text
from app.flows.training_flow import Step
from ml.api import SeriesSource
from tests.unit.flows.training_kit import HOUR, START, dataset, extent, flow, sentence


def test_a_market_is_ticked_as_long_as_a_column_looks_at_it() -> None:
    built = flow(dataset(), dataset("ETH/USDT"), dataset("SOL/USDT"), markets=("SOL/USDT",))
    assert built.add_column("log_return@ETH/USDT") is None
    assert built.add_column("RSI(timeperiod=14)@ETH/USDT") is None
    assert built.draft.markets == ("SOL/USDT", "ETH/USDT")
    assert built.spec().data.markets == ("ETH/USDT",)  # what nothing looks at would have to be there for ever
    built.update(columns=built.draft.columns[:1])
    assert built.draft.markets == ("SOL/USDT", "ETH/USDT")
    built.update(columns=())
    assert built.draft.markets == ("SOL/USDT",)
    assert built.spec().data.markets == ()
    loaded = dataclasses.replace(built.spec(), data=dataclasses.replace(built.spec().data, markets=("DOGE/USDT",)))
    built.load(loaded)
    assert sentence(built, Step.REVIEW) == ""


FUNDED = SeriesSource("funding", "f.csv", "rate", 60.0)
Z_SCORE = "funding(window=21).zscore"


@pytest.mark.parametrize(
    ("first_day", "words"),
    [
        (430, "known from 2025-03-06 to 2026-04-09, and the chosen bars are of 2024-01-01 to 2024-11-29: choose"),
        (-900, "known from 2021-07-15 to 2022-08-18, and the chosen"),
    ],
)
def test_a_series_that_no_bar_meets_is_told_where_it_is_given(first_day: int, words: str) -> None:
    built = flow(series=(FUNDED,))
    built.set_series(FUNDED, extent(START + first_day * 24 * HOUR))
    assert words in sentence(built, Step.DATA)
    problem = built.problem(Step.DATA)
    assert problem is not None
    assert problem.field == "series"
    built.set_series(FUNDED, extent())
    assert sentence(built, Step.DATA) == ""


def test_bars_without_a_value_of_the_series_are_no_targets() -> None:
    whole = flow(series=(FUNDED,))
    whole.set_series(FUNDED, extent())
    assert whole.add_column(Z_SCORE) is None
    half = flow(series=(FUNDED,))
    half.set_series(FUNDED, extent(START + 180 * 24 * HOUR))
    assert half.add_column(Z_SCORE) is None
    full, part = whole.estimate(), half.estimate()
    assert full is not None
    assert part is not None
    covered = (8_000 - 180 * 24) / 8_000
    assert part.train_targets == pytest.approx(full.train_targets * covered, rel=0.03)
    (train, *_), usable = half.split(), half.usable()
    assert usable is not None
    assert date_text(train.start_ns or 0) == date_text(usable.first_ns or 0) == "2024-06-29"
    few = flow(series=(FUNDED,))
    few.set_series(FUNDED, extent(START + 310 * 24 * HOUR))
    problem = few.add_column(Z_SCORE)
    assert problem is not None
    assert problem.text() == (
        "The series “funding” is known from 2024-11-06 to 2025-12-10: that leaves 541 of 8,000 bars; these settings "
        "need 830."
    )
    assert few.draft.columns == ()
    few.update(columns=(Z_SCORE,))
    for step in (Step.FEATURES, Step.EVALUATION, Step.REVIEW):
        few.go_to(step)
        assert sentence(few, step) == problem.text()


def test_a_value_too_old_for_its_column_is_none() -> None:
    built = flow(series=(FUNDED,))
    built.set_series(FUNDED, extent())
    assert built.add_column("funding(max_age_hours=6).level") is None
    full, part = flow().estimate(), built.estimate()
    assert full is not None
    assert part is not None
    assert part.train_targets == pytest.approx(full.train_targets * 7 / 8, rel=0.01)
    problem = built.add_column("funding(max_age_hours=1).zscore")
    assert problem is not None
    assert "that leaves" in problem.text()


def test_another_market_of_another_time_leaves_few_bars() -> None:
    other = dataset("ETH/USDT")
    late = dataclasses.replace(other, first_ns=START + 7_700 * HOUR, last_ns=START + 15_700 * HOUR)
    built = flow(dataset(), late)
    problem = built.add_column("log_return@ETH/USDT")
    assert problem is not None
    assert problem.text().startswith("The bars of ETH/USDT are of 2024-11-16 to 2025-10-16: that leaves 299 of 8,000")
    slow = flow(dataset(), other).add_column("RSI(timeperiod=200)@ETH/USDT@4h")
    assert slow is not None
    assert slow.text().startswith(
        "RSI(timeperiod=200)@ETH/USDT@4h needs 20,483 bars of ETH/USDT before its first value"
    )


def test_a_slow_column_is_refused_where_it_is_chosen_and_data_stay_open() -> None:
    built = flow(dataset(bars=5_980))
    problem = built.add_column("RSI(timeperiod=14)@1d")
    assert problem is not None
    assert problem.field == "columns"
    assert "RSI(timeperiod=14)@1d needs 7,726 bars before its first value" in problem.text()
    built.update(columns=("RSI(timeperiod=14)@1d",))
    assert sentence(built, Step.DATA) == ""
    assert "RSI(timeperiod=14)@1d" in sentence(built, Step.FEATURES)
    holes = tuple(
        DatasetGap(at, at + HOUR, 1) for at in range(START + 4_000 * HOUR, START + 30_000 * HOUR, 4_000 * HOUR)
    )
    gappy = flow(dataclasses.replace(dataset(bars=30_000), gaps=holes, bars=30_000 - len(holes)))
    problem = gappy.add_column("RSI(timeperiod=14)@1d")
    assert problem is not None
    assert "without a gap before its first value" in problem.text()


def test_a_batch_left_to_the_machine_can_be_estimated() -> None:
    assert flow(batch_segments=0, kind="gru").estimate() is not None


def test_exponents_are_numbers() -> None:
    spec = flow(learning_rate="1e-3", weight_decay="5E-4").spec()
    assert (spec.training.learning_rate, spec.training.weight_decay) == (0.001, 0.0005)


def test_shares_that_leave_nothing_have_no_dates() -> None:
    built = flow(train_percent="90", valid_percent="15")
    assert [(part.start_ns, part.end_ns) for part in built.split()] == [(None, None)] * 3
