"""Garbage collection in the GUI thread and the stall measurement."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Iterator
from types import ModuleType

import pytest
from pytestqt.qtbot import QtBot

from app.gc_guard import GcGuard
from app.stall_watch import StallWatch


@pytest.fixture
def guard(qapp: object) -> Iterator[GcGuard]:
    made = GcGuard()
    yield made
    made.stop()
    assert gc.isenabled()


def test_guard_collects_cycles_although_automatic_collection_is_off(guard: GcGuard) -> None:
    guard.start()
    assert not gc.isenabled()
    gc.collect()

    class Node:
        pass

    for _ in range(2_000):
        node = Node()
        node.me = node  # type: ignore[attr-defined]
    assert gc.get_count()[0] > 700
    guard.collect()
    assert gc.get_count()[0] < 700


def test_guard_runs_a_full_collection_regularly(guard: GcGuard) -> None:
    guard.start()
    before = gc.get_stats()[2]["collections"]
    for _ in range(40):
        guard.collect()
    assert gc.get_stats()[2]["collections"] == before + 1


def test_what_imports_leave_behind_is_exempted_without_a_collection(
    guard: GcGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard.start()
    frozen, collected = gc.get_freeze_count(), [stats["collections"] for stats in gc.get_stats()]
    monkeypatch.setitem(sys.modules, "a_new_module", ModuleType("a_new_module"))
    guard.collect()
    assert gc.get_freeze_count() > frozen
    assert [stats["collections"] for stats in gc.get_stats()] == collected


def test_freeze_exempts_what_lives(guard: GcGuard) -> None:
    before = gc.get_freeze_count()
    guard.freeze()
    assert gc.get_freeze_count() > before


def test_stall_is_measured_and_its_stack_kept(qtbot: QtBot, caplog: pytest.LogCaptureFixture) -> None:
    watch = StallWatch(threshold_ms=60)
    watch.start()
    qtbot.wait(50)
    with caplog.at_level(logging.INFO, "app.stall_watch"):
        time.sleep(0.25)  # the stall
        qtbot.waitUntil(lambda: len(watch.stalls) >= 1, timeout=5000)
    watch.stop()
    assert watch.worst_ms >= 200
    assert watch.take_recent_ms() >= 200
    assert watch.take_recent_ms() < 200
    assert any("time.sleep" in stall.stack for stall in watch.stalls)
    assert "the window stood still" in caplog.text
    watch.reset()
    assert watch.worst_ms == 0
    assert watch.stalls == []
    watch.stop()
