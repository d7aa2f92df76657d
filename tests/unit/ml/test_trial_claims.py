"""What counts as a try, and what a claim must stand up to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.api import DataRange, ForecastSpec, spec_hash
from ml.overfitting import deflated_sharpe
from ml.statistic_results import SharpeMoments
from ml.trial_claims import judged_tries, trial_deviation
from ml.trial_ledger import EVALUATION, FINISHED, TRAINING, TrialLedger, TrialRecord

DATA = DataRange(venue="binance", symbol="BTC/USDT", timeframe="1h")


def run(name: str, **other: object) -> Iterator[TrialRecord]:
    """The records of three networks of one run."""
    for seed in range(3):
        base = TrialRecord(
            f"{name}/{seed}", 1, TRAINING, "binance", "BTC/USDT", "1h", "bars", "spec", seed, FINISHED, name,
            test_sharpe=0.01,
        )  # fmt: skip
        changed = dict(other)
        changed["seed"] = seed + int(str(changed.pop("first_seed", 0)))
        yield replace(base, **changed)  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> TrialLedger:
    return TrialLedger(tmp_path / "trials.sqlite")


def test_the_first_try_is_one(ledger: TrialLedger) -> None:
    assert judged_tries(ledger, DATA) == 1
    ledger.append_all(run("run-1"))
    assert judged_tries(ledger, DATA) == 1


def test_the_very_same_again_is_no_other_try(ledger: TrialLedger) -> None:
    ledger.append_all([*run("run-1"), *run("run-2")])
    # The stored model judged on the file it came from.
    judged = next(iter(run("model", trial_id="evaluation/model/1", kind=EVALUATION)))
    ledger.append(judged)
    assert judged_tries(ledger, DATA) == 1


@pytest.mark.parametrize(
    "other",
    [{"first_seed": 7}, {"data_hash": "newer bars"}, {"spec_hash": "other"}, {"timeframe": "4h"}],
    ids=["seeds", "bars", "configuration", "bar length"],
)
def test_whoever_may_choose_the_better_one_has_tried_twice(ledger: TrialLedger, other: dict[str, object]) -> None:
    ledger.append_all([*run("run-1"), *run("run-2", **other)])
    assert judged_tries(ledger, DATA) == 2


@pytest.mark.parametrize("other", [{"symbol": "ETH/USDT"}, {"venue": "upbit"}, {"test_sharpe": None}])
def test_other_markets_and_what_saw_no_test_do_not_count(ledger: TrialLedger, other: dict[str, object]) -> None:
    ledger.append_all([*run("run-1"), *run("run-2", **other)])
    assert judged_tries(ledger, DATA) == 1


def test_where_a_file_lies_does_not_make_another_configuration() -> None:
    spec = ForecastSpec(data=replace(DATA, source="/home/a/BTC_USDT-1h.feather"))
    moved = replace(spec, data=replace(spec.data, source="/mnt/b/BTC_USDT-1h.feather"))
    assert spec_hash(spec) == spec_hash(moved) == spec_hash(replace(spec, data=spec.data.without_folders()))


BARS = 2_000
ERROR = BARS**-0.5


def tried(ratios: np.ndarray) -> list[TrialRecord]:
    """Return the records of configurations with these Sharpe ratios per bar."""
    (base, *_) = run("run")
    return [
        replace(base, trial_id=f"t/{number}", spec_hash=f"spec {number}", test_sharpe=float(ratio))
        for number, ratio in enumerate(ratios)
    ]


def sharpe_ratios(rng: np.random.Generator, count: int, mean: float = 0.0) -> np.ndarray:
    """Return measured ratios of strategies whose true ratio per bar is known."""
    returns = rng.normal(mean, 1.0, (count, BARS))
    return np.asarray(returns.mean(axis=1) / returns.std(axis=1, ddof=1))


def test_the_deviation_of_worthless_trials_is_their_sampling_error_however_hopeless_others_are() -> None:
    rng = np.random.default_rng(1)
    worthless = sharpe_ratios(rng, 200)
    hopeless = sharpe_ratios(rng, 200, mean=-0.5)
    alone, beside = (trial_deviation(tried(ratios), BARS) for ratios in (worthless, np.append(worthless, hopeless)))
    assert alone == pytest.approx(ERROR, rel=0.15)
    assert beside == pytest.approx(alone, rel=0.02)
    assert float(np.std(np.append(worthless, hopeless), ddof=1)) > 10 * alone, "all of them together say nothing"


def test_trials_that_differ_for_better_still_make_a_claim_harder() -> None:
    rng = np.random.default_rng(2)
    apart = np.append(sharpe_ratios(rng, 50), sharpe_ratios(rng, 50, mean=0.3))
    assert trial_deviation(tried(apart), BARS) == pytest.approx(float(np.std(apart, ddof=1)))


def test_hopeless_trials_neither_make_the_best_of_the_others_pass_nor_hide_skill() -> None:
    passed = recognised = 0
    hopeless = np.full(30, -0.5)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        ratios = np.append(sharpe_ratios(rng, 20), hopeless)
        deviation = trial_deviation(tried(ratios), BARS)
        best = SharpeMoments(float(ratios.max()), BARS, 0.0, 3.0)
        passed += deflated_sharpe(best, len(ratios), deviation).probability >= 0.95
        skill = SharpeMoments(float(sharpe_ratios(rng, 1, mean=0.12)[0]), BARS, 0.0, 3.0)
        recognised += deflated_sharpe(skill, len(ratios) + 1, deviation).probability >= 0.95
    assert passed <= 0.05 * 200
    assert recognised >= 0.8 * 200
