"""A window in a process of its own that connects, runs a strategy until it trades, and quits.

Run as `python -m tests.qt.connected_window DATA_DIR MODEL_ID`; prints the modules loaded at three moments, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QApplication

from app.bootstrap import Application, end_qt_objects
from app.crash import CrashHandler
from app.gui_options import GuiOptions
from app.lifecycle import StageOutcome
from core.config import data_paths
from core.strategies.spec import StrategySpec

if TYPE_CHECKING:
    from app.ui.docks.chart_dock import ChartDock

LIMIT_S = 150.0  # for a machine with much else to do; a quiet one needs a few seconds


def top_level_modules() -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})


def wait(qapp: QApplication, done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    pulse = QTimer()  # ends a wait for events in time
    pulse.start(50)
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        qapp.processEvents(QEventLoop.ProcessEventsFlag.AllEvents | QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
    pulse.stop()


def looked_at(chart: ChartDock) -> int:
    fan = chart.chart.looked_fan
    return 0 if fan is None else fan.bar_open_ns


def main(data_dir: str, model_id: str) -> int:
    qapp = QApplication(["Maru"])
    paths = data_paths(Path(data_dir)).create()
    crash = CrashHandler(paths.logs)
    # Two seconds of wall time make an hourly bar.
    options = GuiOptions(data_dir=paths.root, language="en", theme="dark", seed=1, speed="1800")
    application = Application(qapp, options, paths, crash)
    application.window.show()
    qapp.processEvents()
    loaded = {"first_window": top_level_modules()}
    ready = QSignalSpy(application.executor.ready)
    application.start()
    models = application.window.models
    wait(qapp, lambda: bool(models.instruments) and ready.count() > 0, "it connects")
    loaded["connected"] = top_level_modules()
    chart = application.chart
    assert chart is not None
    chart.show_market("ETH/USDT", "15m")
    application.desk.look_wanted.emit(model_id)  # as the window of models asks for it
    wait(qapp, lambda: looked_at(chart) > 0, "the forecast of a model nobody trades with stands over the chart")
    shown = chart.symbol, chart.timeframe.value, chart.chart.fan, chart.look.isVisibleTo(chart)
    if shown != ("BTC/USDT", "1h", None, True):
        raise AssertionError(shown)
    loaded["looking"] = top_level_modules()
    first = looked_at(chart)
    wait(qapp, lambda: looked_at(chart) > first, "a closed bar brings the next forecast")
    spec = StrategySpec("watched", "Watched", "BTC/USDT", "1h", model_id, Decimal(1_000), -50.0, -100.0)
    application.executor.add_strategy(spec)
    application.executor.start_strategy("watched")
    wait(qapp, lambda: bool(models.fills.records()), "the strategy trades")
    loaded["trading"] = top_level_modules()
    wait(qapp, lambda: chart.chart.fan is not None, "the forecast of the strategy's model stands over the chart")
    wait(qapp, lambda: chart.chart.looked_fan is None, "the same model is not drawn twice")
    if "a running strategy trades with it" not in chart.look.title.full_text():
        raise AssertionError(chart.look.title.full_text())
    chart.look.end.click()
    wait(qapp, lambda: not chart.look.isVisibleTo(chart) and not application.look.workers(), "it goes for good")
    application.desk.look_wanted.emit(model_id)  # the program may end while a model is looked at
    wait(qapp, lambda: looked_at(chart) > 0 or bool(chart.look.isVisibleTo(chart)), "it comes back")
    application.lifecycle.quit()
    code = qapp.exec()
    cut = [report for report in application.lifecycle.reports if report.outcome is not StageOutcome.DONE]
    if cut:
        raise AssertionError(cut)
    end_qt_objects(application)
    crash.close()
    sys.stdout.write(json.dumps(loaded) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
