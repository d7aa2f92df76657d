"""Kept evaluations: what was written is read again, and what was changed since is named and not believed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.clock import ManualClock
from core.errors import UserError
from ml.api import ForecastMetrics, PointMetrics
from ml.evaluation_plan import ModelResult
from ml.evaluation_records import EVALUATIONS_FOLDER, DamagedEvaluation, SavedEvaluation, saved_evaluations
from ml.evaluation_records import save_evaluation as save

MODEL, OTHER = "0123456789abcdef", "fedcba9876543210"
MADE_NS = 1_700_000_000_123_456_789


def result(model_id: str = MODEL, **changes: Any) -> ModelResult:
    metrics = ForecastMetrics(
        targets=300,
        effective_targets=300,
        model=PointMetrics("model", 0.0123456789012345, 0.02, 0.01, 0.1 + 0.2, ic=0.03, ic_low=-0.01, ic_high=0.07),
        baselines=(),
        pinball=0.004,
        pinball_baseline=0.005,
        coverage=0.9,
        nominal_coverage=0.9,
        edge_p_value=0.2,
        edge=False,
        forecast_std=0.001,
        target_std=0.01,
        verdict="No evidence of an edge over naive forecasts (horizon 1: R² +0.10% on 300 unseen bars, p = 0.200).",
    )
    made = ModelResult(
        model_id, "binance", "BTC/USDT", "1h", "ab" * 32, 1, 2, 300, 0, False, 0, False, 0, ("봉 300개",), metrics
    )
    return replace(made, **changes)


def test_what_was_kept_is_read_again_the_newest_first(tmp_path: Path) -> None:
    assert saved_evaluations(tmp_path, MODEL) == ()
    clock = ManualClock(MADE_NS)
    first = save(tmp_path, result(), clock)
    clock.set(MADE_NS + 5_000_000_000)
    second = save(tmp_path, result(judged=299), clock)
    save(tmp_path, result(OTHER), clock)
    assert first.parent == tmp_path / EVALUATIONS_FOLDER
    assert saved_evaluations(tmp_path, MODEL) == (
        SavedEvaluation(second.name, MADE_NS + 5_000_000_000, result(judged=299)),
        SavedEvaluation(first.name, MADE_NS, result()),
    )
    assert [record.result for record in saved_evaluations(tmp_path, OTHER)] == [result(OTHER)]  # type: ignore[union-attr]


def test_two_results_of_one_second_are_two_records_and_one_twice_is_one(tmp_path: Path) -> None:
    clock = ManualClock(MADE_NS)
    first = save(tmp_path, result(), clock)
    assert first != save(tmp_path, result(last_ns=3), clock)
    clock.advance(3_600_000_000_000)
    assert save(tmp_path, result(), clock) == first
    assert len(saved_evaluations(tmp_path, MODEL)) == 2
    first.write_bytes(b"")  # what was damaged since is kept anew
    assert save(tmp_path, result(), clock) != first
    assert len(saved_evaluations(tmp_path, MODEL)) == 3


def _edited(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" + data,
        lambda data: b"[1, 2]",
        lambda data: b"[" * 100_000,
        lambda data: data.replace(b'"edge": false', b'"edge": true'),
        lambda data: data.replace(b'"edge_p_value": 0.2', b'"edge_p_value": 0.02'),
        _edited(lambda content: content.update(created_ns=5)),
        _edited(lambda content: content.update(model_id=OTHER)),
        _edited(lambda content: content.pop("sha256")),
        _edited(lambda content: content.update(more=1)),
    ],
)
def test_a_changed_record_is_named_and_hides_no_other(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    clock = ManualClock(MADE_NS)
    broken = save(tmp_path, result(), clock)
    sound = save(tmp_path, result(judged=299), clock)
    before = broken.read_bytes()
    broken.write_bytes(damage(before))
    assert broken.read_bytes() != before
    damaged, whole = saved_evaluations(tmp_path, MODEL)
    assert isinstance(damaged, DamagedEvaluation)
    assert (damaged.file, damaged.message) == (broken.name, f"The evaluation {broken.name} is damaged.")
    assert "Judge the model again" in damaged.remedy
    assert whole == SavedEvaluation(sound.name, MADE_NS, result(judged=299))


def test_the_record_of_another_model_under_this_ones_name_is_not_taken(tmp_path: Path) -> None:
    path = save(tmp_path, result(OTHER), ManualClock(MADE_NS))
    path.rename(path.with_name(path.name.replace(OTHER, MODEL)))
    (damaged,) = saved_evaluations(tmp_path, MODEL)
    assert isinstance(damaged, DamagedEvaluation)


def test_another_version_is_called_that(tmp_path: Path) -> None:
    path = save(tmp_path, result(), ManualClock(MADE_NS))
    for version in (1, 3):
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "format": version}))
        (damaged,) = saved_evaluations(tmp_path, MODEL)
        assert isinstance(damaged, DamagedEvaluation)
        assert "another version of the program" in damaged.message


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions of POSIX, and root has them all")
def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = save(tmp_path, result(), ManualClock(MADE_NS))
    path.chmod(0)
    (damaged,) = saved_evaluations(tmp_path, MODEL)
    assert "cannot be read: Permission denied" in damaged.message  # type: ignore[union-attr]
    path.parent.chmod(0)
    try:
        (damaged,) = saved_evaluations(tmp_path, MODEL)
    finally:
        path.parent.chmod(0o700)
    assert "cannot be read: Permission denied" in damaged.message  # type: ignore[union-attr]


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / EVALUATIONS_FOLDER).write_text("")
    (damaged,) = saved_evaluations(tmp_path, MODEL)
    assert isinstance(damaged, DamagedEvaluation)
    with pytest.raises(UserError):
        save(tmp_path, result(), ManualClock(MADE_NS))
