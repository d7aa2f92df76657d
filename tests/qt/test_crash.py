"""Errors nobody caught: files, redaction, repeats, the interpreter's death, and the next start."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QThread, Slot
from pytestqt.qtbot import QtBot

from app.crash import KEEP_FILES, CrashHandler, CrashReport, redact, report_loop_error
from tests.conftest import REPOSITORY


class Dialog(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.reports: list[CrashReport] = []
        self.foreign = 0

    @Slot(object)
    def show(self, report: CrashReport) -> None:
        self.foreign += QThread.currentThread() is not self.thread()
        self.reports.append(report)


@pytest.fixture
def handler(qapp: object, tmp_path: Path) -> Iterator[CrashHandler]:
    made = CrashHandler(tmp_path / "logs")
    assert made.install().clean
    yield made
    made.close()


@pytest.fixture
def dialog(handler: CrashHandler) -> Dialog:
    made = Dialog()
    handler.crashed.connect(made.show)
    return made


def _raise(message: str) -> None:
    try:
        raise ValueError(message)
    except ValueError as exc:
        sys.excepthook(ValueError, exc, exc.__traceback__)


def test_error_is_written_and_shown(handler: CrashHandler, dialog: Dialog) -> None:
    _raise("broken ledger")
    (report,) = dialog.reports
    assert report.summary == "ValueError: broken ledger"
    assert report.path is not None
    written = report.path.read_text("utf-8")
    assert "broken ledger" in written
    assert "in _raise" in written
    assert "Python:" in written


def test_error_of_a_thread_reaches_the_gui_thread(qtbot: QtBot, handler: CrashHandler, dialog: Dialog) -> None:
    thread = threading.Thread(target=lambda: 1 / 0, name="feeder")
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: len(dialog.reports) == 1, timeout=5000)
    assert dialog.foreign == 0
    assert "thread feeder" in dialog.reports[0].details


def test_unraisable_error_is_reported(handler: CrashHandler, dialog: Dialog) -> None:
    class Bad:
        def __del__(self) -> None:
            raise RuntimeError("in the finaliser")

    Bad()
    gc.collect()
    assert [report.summary for report in dialog.reports] == ["RuntimeError: in the finaliser"]


async def test_error_of_a_forgotten_task_is_reported(handler: CrashHandler, dialog: Dialog) -> None:
    loop = asyncio.get_running_loop()
    report_loop_error(loop, {"message": "never retrieved", "exception": KeyError("x")})
    assert [report.summary for report in dialog.reports] == ["KeyError: 'x'"]


async def test_a_stream_that_cannot_connect_is_no_bug(
    handler: CrashHandler, dialog: Dialog, caplog: pytest.LogCaptureFixture
) -> None:
    network_error = type("NetworkError", (Exception,), {"__module__": "ccxt.base.errors"})
    refused = type("RequestTimeout", (network_error,), {})("Cannot connect")
    loop = asyncio.get_running_loop()
    report_loop_error(loop, {"message": "never retrieved", "exception": refused, "future": loop.create_future()})
    assert dialog.reports == []
    assert "a stream could not connect: Cannot connect" in caplog.text
    report_loop_error(loop, {"message": "in a callback", "exception": refused})
    assert len(dialog.reports) == 1


def test_repeats_are_counted_not_stacked(handler: CrashHandler, dialog: Dialog, tmp_path: Path) -> None:
    for _ in range(20):
        _raise("again")
    assert [report.count for report in dialog.reports] == [1, 10, 20]
    assert len(list((tmp_path / "logs").glob("crash-*.txt"))) == 1


def test_old_files_are_removed(handler: CrashHandler, tmp_path: Path) -> None:
    for number in range(KEEP_FILES + 5):
        _raise(f"error {number}")
    assert len(list((tmp_path / "logs").glob("crash-*.txt"))) == KEEP_FILES


def test_full_disk_hides_nothing(handler: CrashHandler, dialog: Dialog, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    _raise("while full")
    assert dialog.reports[0].path is None
    assert "while full" in dialog.reports[0].details


def test_registered_secrets_are_removed_too(qapp: object, tmp_path: Path) -> None:
    handler = CrashHandler(tmp_path, lambda text: text.replace("hunter2", "[hidden]"))
    report = handler.report(ValueError("it was hunter2"), "test")
    assert report.summary == "ValueError: it was [hidden]"
    assert report.path is not None
    assert "hunter2" not in report.path.read_text("utf-8")


def test_keyboard_interrupt_is_no_crash(
    handler: CrashHandler, dialog: Dialog, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert dialog.reports == []
    assert "KeyboardInterrupt" in capsys.readouterr().err


def test_hooks_are_given_back(qapp: object, tmp_path: Path) -> None:
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    handler = CrashHandler(tmp_path)
    handler.install()
    assert sys.excepthook != before[0]
    handler.close()
    handler.close()
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == before
    assert CrashHandler(tmp_path)._last_run().clean


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('{"apiKey": "abc123", "other": 1}', "abc123"),
        ("api_key=abc123&x=1", "abc123"),
        ("X-MBX-APIKEY: abc123", "abc123"),
        ("Authorization: Bearer abc123", "abc123"),
        ("POST /order?symbol=BTC&signature=deadbeef01", "deadbeef01"),
        ("telegram_token = 'abc123'", "abc123"),
        ("postgres://maru:abc123@db/x", "abc123"),
        ("sent vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A", "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2"),
        (f"in {Path.home()}/x.py", str(Path.home())),
    ],
)
def test_secrets_are_removed(text: str, secret: str) -> None:
    assert secret not in redact(text)


def test_ordinary_text_stays() -> None:
    text = 'File "app/ui/main_window.py", line 12, in on_order_updated\n    price = Decimal("61200.01")'
    assert redact(text) == text


_DIE = """
import sys, os, signal
from pathlib import Path
from app.crash import CrashHandler
handler = CrashHandler(Path(sys.argv[1]))
last = handler.install()
print(last.clean, len(last.trace) > 0, flush=True)
if sys.argv[2] == "fault":
    import faulthandler
    faulthandler._sigsegv()
elif sys.argv[2] == "kill":
    os._exit(9)
handler.close()
"""


def _run(folder: Path, how: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _DIE, str(folder), how], cwd=REPOSITORY, capture_output=True, text=True, timeout=20
    )
    return done.stdout.strip()


def test_next_start_tells_how_the_last_run_ended(tmp_path: Path) -> None:
    assert _run(tmp_path, "clean") == "True False"
    assert _run(tmp_path, "fault") == "True False"
    assert _run(tmp_path, "kill") == "False True"  # the trace of the fault before
    assert _run(tmp_path, "clean") == "False False"
    assert _run(tmp_path, "clean") == "True False"
    (kept,) = tmp_path.glob("crash-*.txt")
    assert "Segmentation fault" in kept.read_text("utf-8") or "Fatal Python error" in kept.read_text("utf-8")
