"""Child of `main.py bench`: measures the real window off screen and prints one JSON line. GUI thread.

Run as `python -m app.bench_window window|chart`; the parent (`app.benchmarks.window_bench`) stays free of Qt.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.bootstrap import Application

BURST_PER_S = 1_000.0
BURST_S = 20.0
CONNECT_LIMIT_S = 60.0
TRAIN_LIMIT_S = 240.0
CHART_BARS = 1_000_000
CHART_FRAMES = 200


def main(arguments: list[str]) -> int:
    """Run the named scenario."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    figures = {"window": measure_window, "chart": measure_chart}[arguments[0]]()
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def measure_window() -> dict[str, float]:
    """Connect, train, trade and take 1,000 market messages a second; return stalls, memory and the time to quit."""
    import psutil
    from PySide6.QtWidgets import QApplication

    from app.qt_start import prepare_process

    prepare_process()  # as main.py does
    from app.bootstrap import Application, end_qt_objects
    from app.crash import CrashHandler
    from app.gui_options import GuiOptions
    from app.models.model_choice import ModelChoice
    from core.config import DataPaths
    from core.domain.orders import OrderDraft, OrderType, Side
    from core.jobs import JobFailed
    from core.strategies.spec import StrategySpec

    qapp = QApplication(["Maru"])
    qapp.setStyle("Fusion")
    qapp.setQuitOnLastWindowClosed(False)
    figures: dict[str, float] = {}
    ended: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="maru-bench-", ignore_cleanup_errors=True) as folder:
        paths = DataPaths(Path(folder)).create()
        crash = CrashHandler(paths.logs)
        crash.install()
        application = Application(qapp, GuiOptions(speed="60", language="en", theme="dark"), paths, crash)
        models: list[str] = []
        failures: list[str] = []
        ready: list[bool] = []

        def remember_models(choices: tuple[ModelChoice, ...]) -> None:
            models.extend(choice.model_id for choice in choices)

        def remember_failure(event: JobFailed) -> None:
            failures.append(event.message)

        def remember_ready() -> None:
            ready.append(True)

        def remember_end() -> None:
            ended.append(True)

        application.desk.models_changed.connect(remember_models)
        application.training.run_failed.connect(remember_failure)
        application.executor.ready.connect(remember_ready)
        application.lifecycle.finished.connect(remember_end)
        application.start()
        _wait(qapp, lambda: bool(application.window.models.instruments), CONNECT_LIMIT_S)
        _wait(qapp, lambda: bool(ready), CONNECT_LIMIT_S)
        _spin(qapp, 5.0)
        figures["stall_connect_ms"] = application.stalls.worst_ms
        application.stalls.reset()

        _start_training(application)
        application.market.submit(lambda: _burst(application))
        _wait(qapp, lambda: bool(models or failures), TRAIN_LIMIT_S)
        if failures:
            raise RuntimeError(f"the training failed: {failures[0]}")
        _spin(qapp, 2.0)
        figures["stall_train_ms"] = application.stalls.worst_ms
        application.stalls.reset()

        application.executor.add_strategy(
            StrategySpec("bench", "Bench", "BTC/USDT", "1m", models[0], Decimal(2_000), -50.0, -100.0)
        )
        application.executor.start_strategy("bench")
        application.executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.01")))
        application.market.submit(lambda: _burst(application))
        _spin(qapp, BURST_S)
        figures["stall_trade_ms"] = application.stalls.worst_ms
        figures["fills"] = float(len(application.window.models.fills.records()))
        figures["rss_mb"] = psutil.Process().memory_info().rss / 1e6

        _spin(qapp, 1.0)
        began = time.perf_counter()
        application.lifecycle.quit()
        _wait(qapp, lambda: bool(ended), 60.0)
        figures["quit_s"] = time.perf_counter() - began
        end_qt_objects(application)
        crash.close()
    return figures


def measure_chart() -> dict[str, float]:
    """Pan over a million bars; return the time of a frame, ms."""
    import numpy as np
    from PySide6.QtCore import QEvent, Qt
    from PySide6.QtGui import QKeyEvent
    from PySide6.QtWidgets import QApplication

    from app.benchmarks.data_bench import minutes_of_prices
    from app.tokens import ThemeName, palette
    from app.ui.charts.view import ChartView

    qapp = QApplication(["Maru"])
    frame = minutes_of_prices(CHART_BARS)
    view = ChartView(palette(ThemeName.DARK))
    view.resize(1600, 900)
    view.set_instrument("BTC/USDT", "1m", 2)
    view.show()
    view.set_history(frame.time_ns, frame.open, frame.high, frame.low, frame.close, frame.volume)
    qapp.processEvents()
    view.set_following(False)
    frames = []
    for _ in range(CHART_FRAMES):
        began = time.perf_counter()
        key = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Left, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(view, key)
        view.grab()
        frames.append((time.perf_counter() - began) * 1_000)
    view.shutdown()
    return {"pan_p50_ms": float(np.percentile(frames, 50)), "pan_p99_ms": float(np.percentile(frames, 99))}


def _start_training(application: Application) -> None:
    from core.domain.candles import Timeframe
    from ml.api import DataRange, ForecastSpec, TrainingSpec

    origin = application.market.origin
    if origin is None:
        raise RuntimeError("the window is connected, but does not know whose bars its market has")
    end_ns = Timeframe.M1.floor(time.time_ns() - 8 * Timeframe.D1.ns)
    data = DataRange(origin, "BTC/USDT", "1m", end_ns - 15_000 * Timeframe.M1.ns, end_ns)
    application.desk.train_on_practice_history(ForecastSpec(data=data, training=TrainingSpec(epochs=30, patience=30)))


async def _burst(application: Application) -> None:
    from core.practice.control import PracticeControl

    control = PracticeControl(application.practice.endpoints.result())
    try:
        await control.burst(BURST_PER_S, BURST_S, "BTCUSDT")
    finally:
        await control.close()


def _wait(qapp: object, done: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("the window did not get there in time")
        _turn(qapp)


def _spin(qapp: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _turn(qapp)


def _turn(qapp: object) -> None:
    from PySide6.QtCore import QEventLoop

    # Waits for events like the real loop does, so that idle time is not spent spinning.
    qapp.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 50)  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
