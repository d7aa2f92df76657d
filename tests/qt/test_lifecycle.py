"""Staged shutdown: order, time-outs, errors, hurry, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from PySide6.QtCore import QObject, Slot
from pytestqt.qtbot import QtBot

from app.lifecycle import Lifecycle, SignalWatcher, Stage, StageOutcome, worker_stage
from tests.conftest import REPOSITORY
from tests.qt.test_workers_base import Echo


class FakeWatchdog:
    def __init__(self) -> None:
        self.calls: list[str | float] = []

    def arm(self, seconds: float) -> None:
        self.calls.append(seconds)

    def disarm(self) -> None:
        self.calls.append("off")


class Listener(QObject):
    def __init__(self, lifecycle: Lifecycle) -> None:
        super().__init__()
        self.heard: list[str] = []
        lifecycle.quitting.connect(self.on_quitting)
        lifecycle.stage_started.connect(self.on_started)
        lifecycle.finished.connect(self.on_finished)

    @Slot()
    def on_quitting(self) -> None:
        self.heard.append("quitting")

    @Slot(str)
    def on_started(self, name: str) -> None:
        self.heard.append(name)

    @Slot()
    def on_finished(self) -> None:
        self.heard.append("finished")


class Rig:
    """A lifecycle whose end is noted instead of ending the test run."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.watchdog = FakeWatchdog()
        self.lifecycle = Lifecycle(self.codes.append, self.watchdog)
        self.listener = Listener(self.lifecycle)

    def outcomes(self) -> list[StageOutcome]:
        return [report.outcome for report in self.lifecycle.reports]


@pytest.fixture
def rig(qapp: object) -> Rig:
    return Rig()


def test_stages_run_in_order_each_after_the_end_of_the_one_before(qtbot: QtBot, rig: Rig) -> None:
    ends = {"a": 0.0, "b": 0.0}
    began: list[str] = []

    def stage(name: str) -> Stage:
        def begin() -> None:
            began.append(name)
            ends[name] = time.monotonic() + 0.03

        return Stage(name, begin, lambda: time.monotonic() > ends[name])

    rig.lifecycle.add_stage(stage("a"))
    rig.lifecycle.add_stage(stage("b"))
    rig.lifecycle.quit(3)
    rig.lifecycle.quit(4)  # changes nothing
    assert rig.lifecycle.is_quitting
    assert began == ["a"]
    qtbot.waitUntil(lambda: rig.codes == [3], timeout=5000)
    assert rig.listener.heard == ["quitting", "a", "b", "finished"]
    assert rig.outcomes() == [StageOutcome.DONE] * 2
    assert all(report.seconds >= 0.03 for report in rig.lifecycle.reports)
    assert rig.watchdog.calls == [16.0, "off"]
    assert not rig.lifecycle.stuck


def test_stage_that_hangs_is_given_up_and_the_rest_runs(qtbot: QtBot, rig: Rig) -> None:
    killed: list[bool] = []
    rig.lifecycle.add_stage(Stage("hangs", lambda: None, lambda: False, 0.05, lambda: killed.append(True)))
    rig.lifecycle.add_stage(Stage("after", lambda: None))
    rig.lifecycle.quit()
    qtbot.waitUntil(lambda: rig.codes == [0], timeout=5000)
    assert killed == [True]
    assert rig.outcomes() == [StageOutcome.TIMED_OUT, StageOutcome.DONE]
    assert rig.lifecycle.stuck


def test_a_stage_that_does_what_must_not_be_cut_has_longer(qtbot: QtBot, rig: Rig) -> None:
    state = {"busy": True, "over": False}
    stage = Stage("stops", lambda: None, lambda: state["over"], 0.05, busy=lambda: state["busy"], busy_timeout_s=60)
    rig.lifecycle.add_stage(stage)
    rig.lifecycle.quit()
    assert rig.watchdog.calls[0] >= 60
    qtbot.wait(200)
    assert rig.lifecycle.reports == []
    state["over"] = True
    qtbot.waitUntil(lambda: rig.codes == [0], timeout=5000)
    assert rig.outcomes() == [StageOutcome.DONE]


def test_a_stage_that_is_done_with_it_has_its_ordinary_time(qtbot: QtBot, rig: Rig) -> None:
    state = {"busy": True}
    stage = Stage("stops", lambda: None, lambda: False, 0.05, busy=lambda: state["busy"], busy_timeout_s=60)
    rig.lifecycle.add_stage(stage)
    rig.lifecycle.quit()
    qtbot.wait(100)
    assert rig.lifecycle.reports == []
    state["busy"] = False
    qtbot.waitUntil(lambda: rig.codes == [0], timeout=5000)
    assert rig.outcomes() == [StageOutcome.TIMED_OUT]


@pytest.mark.parametrize("where", ["begin", "done", "give_up"])
def test_stage_that_raises_is_reported_and_the_rest_runs(
    qtbot: QtBot, rig: Rig, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    surfaced: list[BaseException] = []
    monkeypatch.setattr("sys.excepthook", lambda _kind, error, _trace: surfaced.append(error))

    def fail() -> bool:
        raise ValueError(where)

    stage = {
        "begin": Stage("bad", fail),
        "done": Stage("bad", lambda: None, fail),
        "give_up": Stage("bad", lambda: None, lambda: False, 0.01, fail),
    }[where]
    rig.lifecycle.add_stage(stage)
    rig.lifecycle.add_stage(Stage("after", lambda: None))
    rig.lifecycle.quit()
    qtbot.waitUntil(lambda: rig.codes == [0], timeout=5000)
    expected = StageOutcome.TIMED_OUT if where == "give_up" else StageOutcome.FAILED
    assert rig.outcomes() == [expected, StageOutcome.DONE]
    assert [str(error) for error in surfaced] == [where]


def test_hurry_cuts_every_stage_to_a_second(qtbot: QtBot, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.lifecycle.HURRY_S", 0.05)
    for name in "ab":
        rig.lifecycle.add_stage(Stage(name, lambda: None, lambda: False, 60))
    rig.lifecycle.hurry()  # before the shutdown it means nothing
    rig.lifecycle.quit()
    qtbot.wait(30)
    assert rig.lifecycle.reports == []
    rig.lifecycle.hurry()
    qtbot.waitUntil(lambda: rig.codes == [0], timeout=5000)
    assert rig.outcomes() == [StageOutcome.TIMED_OUT] * 2


def test_nothing_to_do_ends_at_once_and_late_stages_are_refused(qtbot: QtBot, rig: Rig) -> None:
    rig.lifecycle.quit()
    with pytest.raises(RuntimeError, match="too late"):
        rig.lifecycle.add_stage(Stage("late", lambda: None))
    qtbot.waitUntil(lambda: rig.codes == [0], timeout=5000)


def test_workers_stop_whether_started_or_not(qtbot: QtBot, rig: Rig) -> None:
    running, never = Echo(), Echo()
    running.start()
    for worker in (running, never):
        rig.lifecycle.add_stage(worker_stage("worker", worker, 5))
    rig.lifecycle.quit()
    qtbot.waitUntil(lambda: rig.codes == [0], timeout=5000)
    assert rig.outcomes() == [StageOutcome.DONE] * 2
    assert running.isFinished()


def test_warnings_before_closing_name_what_is_at_stake(rig: Rig) -> None:
    answers: list[str | None] = ["2 orders are working.", None]
    rig.lifecycle.add_close_warning(lambda: answers[0])
    rig.lifecycle.add_close_warning(lambda: answers[1])
    assert rig.lifecycle.close_warnings() == ["2 orders are working."]
    answers[0] = None
    assert rig.lifecycle.close_warnings() == []


_SCRIPT = """
import sys
from PySide6.QtCore import QCoreApplication
from app.lifecycle import Lifecycle, SignalWatcher, Stage
app = QCoreApplication([])
lifecycle, watcher = Lifecycle(), SignalWatcher()
hang = sys.argv[1] == "hang"
lifecycle.add_stage(Stage("slow", lambda: print("stopping", flush=True), lambda: not hang, 60))
watcher.requested.connect(lifecycle.quit_for_signal)
watcher.insisted.connect(lifecycle.hurry)
watcher.start()
print("ready", flush=True)
code = app.exec()
watcher.stop()
print("ended", code, flush=True)
sys.exit(code)
"""


def _start(mode: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, mode], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="signals reach other processes differently on Windows")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_quits_cleanly_while_qt_sleeps(number: signal.Signals) -> None:
    with _start("quick") as process:
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
    assert output == "stopping\nended 0\n"
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals reach other processes differently on Windows")
def test_second_signal_hurries() -> None:
    with _start("hang") as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert output == "ended 0\n"


def test_signals_are_taken_counted_and_given_back(qtbot: QtBot) -> None:
    before = signal.getsignal(signal.SIGTERM)
    watcher = SignalWatcher()
    watcher.start()
    with qtbot.waitSignal(watcher.requested, timeout=5000) as first:
        signal.raise_signal(signal.SIGTERM)
    assert first.args == [signal.SIGTERM]
    with qtbot.waitSignal(watcher.insisted, timeout=5000):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # the third one kills
    watcher._on_readable()  # woken for nothing
    watcher.stop()
    watcher.stop()
    assert signal.getsignal(signal.SIGTERM) is before


_HANG = """
import time
from PySide6.QtCore import QCoreApplication, QTimer
from app.lifecycle import FaultWatchdog
FaultWatchdog().arm(0.3)
time.sleep(30)
"""


def test_watchdog_ends_a_process_whose_gui_thread_hangs() -> None:
    result = subprocess.run([sys.executable, "-c", _HANG], cwd=REPOSITORY, capture_output=True, text=True, timeout=20)
    assert result.returncode == 1
    assert "Timeout" in result.stderr
