"""How fast orders and cancels leave the open window under load, measured in a child process. Qt-free; main thread."""

from __future__ import annotations

import statistics
from pathlib import Path

from app.benchmarks.figures import Measurement
from app.benchmarks.window_bench import run_child


def run(folder: Path) -> dict[str, Measurement]:
    """Measure orders by hand, a strategy's orders and the kill switch."""
    told: dict[str, list[float]] = run_child("app.bench_orders")
    return {
        "orders.intent_to_wire_ms_p50": Measurement(statistics.median(told["intent_ms"])),
        "orders.intent_to_wire_ms_p99": Measurement(percentile(told["intent_ms"], 99)),
        "orders.event_to_wire_ms_p99": Measurement(percentile(told["event_ms"], 99)),
        "orders.kill_to_wire_ms": Measurement(max(told["kill_ms"])),
    }


def percentile(values: list[float], percent: int) -> float:
    """Return the smallest value that so many percent of them do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]
