"""Start, smoothness and memory of the window, measured in child processes. Qt-free; main thread."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from app.benchmarks.figures import Measurement

_ROOT = Path(__file__).resolve().parents[2]
_STARTS = 5
_TIMEOUT_S = 420.0


def run_start(folder: Path) -> dict[str, Measurement]:
    """Measure the time from the start of the process to the first painted window, warm."""
    seconds: list[float] = []
    for number in range(_STARTS + 1):
        trace = folder / f"trace-{number}.json"
        command = [sys.executable, str(_ROOT / "main.py"), "--data-dir", str(folder / "data"), "--trace", str(trace)]
        began = time.time()
        _run([*command, "--quit-after", "0.5"])
        told = json.loads(trace.read_text())
        if told["heavy_modules"]:
            raise RuntimeError(f"loaded before the first window: {told['heavy_modules']}")
        if number:  # the first start fills the caches
            seconds.append(told["first_window"] - began)
    return {"startup.first_window_s": Measurement(statistics.median(seconds))}


def run_window(folder: Path) -> dict[str, Measurement]:
    """Measure stalls, memory and quitting in one session that connects, trains and trades."""
    told = run_child("app.bench_window", "window")
    stalls = [told[name] for name in ("stall_connect_ms", "stall_train_ms", "stall_trade_ms")]
    return {
        "startup.gui_rss_mb": Measurement(told["rss_mb"]),
        "ui.stall_ms_max": Measurement(max(stalls)),
        "ui.stall_connect_ms": Measurement(stalls[0]),
        "ui.stall_train_ms": Measurement(stalls[1]),
        "ui.stall_trade_ms": Measurement(stalls[2]),
        "ui.quit_s": Measurement(told["quit_s"]),
    }


def run_chart(folder: Path) -> dict[str, Measurement]:
    """Measure panning over a million bars."""
    told = run_child("app.bench_window", "chart")
    return {"chart.pan_ms_p50": Measurement(told["pan_p50_ms"]), "chart.pan_ms_p99": Measurement(told["pan_p99_ms"])}


def run_child(module: str, *arguments: str) -> Any:
    """Run a measuring child and return what its last line says.

    Raises:
        RuntimeError: it failed.
    """
    return json.loads(_run([sys.executable, "-m", module, *arguments]).splitlines()[-1])


def _run(command: list[str]) -> str:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[1:4])} failed with code {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
