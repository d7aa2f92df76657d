"""What counts as a try, and what a claim must stand up to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ml.api import DataRange, ForecastSpec, spec_hash
from ml.trial_claims import judged_tries
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
