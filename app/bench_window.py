"""Child of `main.py bench`: measures the real window off screen and prints one JSON line. GUI thread.

Run as `python -m app.bench_window window|chart`; the parent (`app.benchmarks.window_bench`) stays free of Qt.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from app.bootstrap import Application
    from app.models.model_choice import ModelChoice
    from core.jobs import JobFailed

BURST_PER_S = 1_000.0
BURST_S = 20.0
CONNECT_LIMIT_S = 60.0
TRAIN_LIMIT_S = 240.0
TRAIN_EPOCHS = 30
CHART_BARS = 1_000_000
CHART_FRAMES = 200
PULSE_MS = 20


def main(arguments: list[str]) -> int:
    """Run the named scenario."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    figures = {"window": measure_window, "chart": measure_chart}[arguments[0]]()
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


@dataclass(slots=True)
class OpenWindow:
    """The program's window off screen, connected to its practice exchange.

    Attributes:
        models: ids of the models trained since it opened.
        failures: sentences of the trainings that failed.
    """

    qapp: QApplication
    application: Application
    models: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _ended: list[bool] = field(default_factory=list)

    def connect(self) -> None:
        """Start it and wait until it trades."""
        ready: list[bool] = []

        def remember_models(choices: tuple[ModelChoice, ...]) -> None:
            self.models.extend(choice.model_id for choice in choices)

        def remember_failure(event: JobFailed) -> None:
            self.failures.append(event.message)

        def remember_ready() -> None:
            ready.append(True)

        def remember_end() -> None:
            self._ended.append(True)

        application = self.application
        application.desk.models_changed.connect(remember_models)
        application.training.run_failed.connect(remember_failure)
        application.executor.ready.connect(remember_ready)
        application.lifecycle.finished.connect(remember_end)
        application.start()
        self.wait(lambda: bool(application.window.models.instruments), CONNECT_LIMIT_S)
        self.wait(lambda: bool(ready), CONNECT_LIMIT_S)

    def train(self, epochs: int) -> None:
        """Start a training run on the exchange's history."""
        from core.domain.candles import Timeframe
        from ml.api import DataRange, EvaluationSpec, ForecastSpec, TrainingSpec

        origin = self.application.market.origin
        if origin is None:
            raise RuntimeError("the window is connected, but does not know whose bars its market has")
        end_ns = Timeframe.M1.floor(time.time_ns() - 8 * Timeframe.D1.ns)
        data = DataRange(origin, "BTC/USDT", "1m", end_ns - 15_000 * Timeframe.M1.ns, end_ns)
        training, evaluation = TrainingSpec(epochs=epochs, patience=epochs), EvaluationSpec(seeds=1, boosting=False)
        spec = ForecastSpec(data=data, training=training, evaluation=evaluation)
        self.application.desk.train_on_practice_history(spec)

    def burst(self, seconds: float) -> None:
        """Have the exchange publish `BURST_PER_S` extra trades for so long; returns at once."""
        self.application.market.submit(lambda: _burst(self.application, seconds))

    def wait(self, done: Callable[[], bool], limit_s: float) -> None:
        """Turn the event loop until something is true.

        Raises:
            TimeoutError: it did not become true in time.
        """
        deadline = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError("the window did not get there in time")
            self._turn()

    def spin(self, seconds: float) -> None:
        """Turn the event loop for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._turn()

    def quit(self) -> None:
        """Quit as a person does and wait for the end of the last stage."""
        self.application.lifecycle.quit()
        self.wait(lambda: bool(self._ended), 60.0)

    def _turn(self) -> None:
        from PySide6.QtCore import QEventLoop

        # Waits for events like the real loop does: a thread that spins would hold the interpreter against all others.
        # The variant that takes a time does not wait, so a timer ends the wait.
        self.qapp.processEvents(QEventLoop.ProcessEventsFlag.AllEvents | QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


@contextmanager
def open_window() -> Iterator[OpenWindow]:
    """Make the window over a new data folder; whoever uses it connects it and quits."""
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    from app.qt_start import prepare_process

    prepare_process()  # as main.py does
    from app.bootstrap import Application, end_qt_objects
    from app.crash import CrashHandler
    from app.gui_options import GuiOptions
    from core.config import DataPaths

    qapp = QApplication(["Maru"])
    qapp.setStyle("Fusion")
    qapp.setQuitOnLastWindowClosed(False)
    with tempfile.TemporaryDirectory(prefix="maru-bench-", ignore_cleanup_errors=True) as folder:
        paths = DataPaths(Path(folder)).create()
        crash = CrashHandler(paths.logs)
        crash.install()
        application = Application(qapp, GuiOptions(speed="60", language="en", theme="dark"), paths, crash)
        pulse = QTimer()
        pulse.start(PULSE_MS)
        yield OpenWindow(qapp, application)
        pulse.stop()
        end_qt_objects(application)
        crash.close()


def measure_window() -> dict[str, float]:
    """Connect, train, trade and take 1,000 market messages a second; return stalls, memory and the time to quit."""
    import psutil

    from core.domain.orders import OrderDraft, OrderType, Side
    from core.strategies.spec import StrategySpec

    figures: dict[str, float] = {}
    with open_window() as window:
        application = window.application
        window.connect()
        window.spin(5.0)
        figures["stall_connect_ms"] = application.stalls.worst_ms
        application.stalls.reset()

        window.train(TRAIN_EPOCHS)
        window.burst(BURST_S)
        window.wait(lambda: bool(window.models or window.failures), TRAIN_LIMIT_S)
        if window.failures:
            raise RuntimeError(f"the training failed: {window.failures[0]}")
        window.spin(2.0)
        figures["stall_train_ms"] = application.stalls.worst_ms
        application.stalls.reset()

        application.executor.add_strategy(
            StrategySpec("bench", "Bench", "BTC/USDT", "1m", window.models[0], Decimal(2_000), -50.0, -100.0)
        )
        application.executor.start_strategy("bench")
        application.executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.01")))
        window.burst(BURST_S)
        window.spin(BURST_S)
        figures["stall_trade_ms"] = application.stalls.worst_ms
        figures["fills"] = float(len(application.window.models.fills.records()))
        figures["rss_mb"] = psutil.Process().memory_info().rss / 1e6

        window.spin(1.0)
        began = time.perf_counter()
        window.quit()
        figures["quit_s"] = time.perf_counter() - began
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


async def _burst(application: Application, seconds: float) -> None:
    from core.practice.control import PracticeControl

    control = PracticeControl(application.practice.endpoints.result())
    try:
        await control.burst(BURST_PER_S, seconds, "BTCUSDT")
    finally:
        await control.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
