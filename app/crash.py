"""What happens to errors nobody caught: a redacted file, one signal for the dialog, a trace of the interpreter's death.

Hooks run on whichever thread the error is on. `CrashHandler` lives in the GUI thread; its signal reaches slots there.
"""

from __future__ import annotations

import asyncio
import faulthandler
import hashlib
import logging
import os
import platform
import re
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from PySide6.QtCore import QObject, Signal

from core.logger import clean_traceback, hide_named

log = logging.getLogger(__name__)

KEEP_FILES = 20
_FAULT_FILE = "interpreter-fault.txt"

_LONG_TOKEN = re.compile(r"\b(?=[A-Za-z0-9+/_-]*\d)(?=[A-Za-z0-9+/_-]*[A-Za-z])[A-Za-z0-9+_-]{32,}={0,2}")


def redact(text: str) -> str:
    """Return `text` without secrets and without the user's name: values of telling names, long tokens, home folder."""
    text = _LONG_TOKEN.sub("***", hide_named(text))
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


@dataclass(frozen=True, slots=True)
class CrashReport:
    """One kind of error nobody caught.

    Attributes:
        summary: exception type and message, redacted.
        details: traceback and environment, redacted.
        path: the file it was written to; None where that failed.
        count: how often it happened so far in this run.
    """

    summary: str
    details: str
    path: Path | None
    count: int


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the run before this one ended.

    Attributes:
        clean: whether it reached its end (or there was none).
        trace: what the interpreter wrote while dying; empty where it was killed from outside.
        path: where the trace is kept, if there is one.
    """

    clean: bool
    trace: str = ""
    path: Path | None = None


class CrashHandler(QObject):
    """Catches what nobody caught.

    Signals:
        crashed: a `CrashReport`; emitted once per kind of error and again, with a higher count, at most once per ten
            repetitions. Connect `@Slot` methods only: it is emitted on the thread of the error.
    """

    crashed = Signal(object)

    def __init__(self, folder: Path, clean: Callable[[str], str] | None = None, parent: QObject | None = None) -> None:
        """Create it.

        Args:
            folder: for crash files; made if missing.
            clean: removes further secrets, such as those registered with `core.logger.Redactor`.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._folder = folder
        self._clean_more = clean
        self._lock = threading.Lock()
        self._seen: dict[str, CrashReport] = {}
        self._fault_file: IO[str] | None = None
        self._old: tuple[Any, Any, Any] | None = None

    @property
    def fault_file(self) -> IO[str] | None:
        """Open file for traces of hangs and of the interpreter's death; None before `install`."""
        return self._fault_file

    def install(self) -> LastRun:
        """Take over the hooks, start the fault trace and tell how the last run ended.

        Only one process may do so per folder: `app.single_instance` comes first.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        last = self._last_run()
        self._fault_file = (self._folder / _FAULT_FILE).open("w", encoding="utf-8")
        faulthandler.enable(self._fault_file)
        self._old = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        sys.excepthook = self._on_exception
        threading.excepthook = self._on_thread_exception
        sys.unraisablehook = self._on_unraisable
        return last

    def close(self) -> None:
        """Give the hooks back and mark this run as cleanly ended; the very last thing. Idempotent."""
        if self._old is None or self._fault_file is None:
            return
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._old
        self._old = None
        faulthandler.disable()
        self._fault_file.close()
        self._fault_file = None
        (self._folder / _FAULT_FILE).unlink(missing_ok=True)

    def report(self, error: BaseException, context: str) -> CrashReport:
        """Write a crash file for `error` and tell the window. Any thread.

        Args:
            error: what was raised.
            context: where it surfaced, e.g. "thread market".
        """
        trace = "".join(traceback.format_exception(error))
        key = hashlib.sha256(trace.encode("utf-8", "replace")).hexdigest()
        with self._lock:
            known = self._seen.get(key)
            if known is None:
                report = self._write(error, trace, context)
            else:
                report = CrashReport(known.summary, known.details, known.path, known.count + 1)
            self._seen[key] = report
        log.error("uncaught error in %s: %s", context, report.details if known is None else report.summary)
        if report.count == 1 or report.count % 10 == 0:
            self.crashed.emit(report)
        return report

    def _write(self, error: BaseException, trace: str, context: str) -> CrashReport:
        now = datetime.now(UTC)
        summary = self._clean("".join(traceback.format_exception_only(error)).strip())
        details = self._clean(f"{_environment(now)}\nIn: {context}\n\n{trace}")
        path: Path | None = self._folder / f"crash-{now:%Y%m%d-%H%M%S-%f}.txt"
        try:
            assert path is not None
            path.write_text(details, "utf-8")
            for old in sorted(self._folder.glob("crash-*.txt"))[:-KEEP_FILES]:
                old.unlink(missing_ok=True)
        except OSError as exc:  # a full disk must not hide the error itself
            log.error("the crash file cannot be written: %s", exc)
            path = None
        return CrashReport(summary, details, path, 1)

    def _clean(self, text: str) -> str:
        return redact(text if self._clean_more is None else self._clean_more(text))

    def _last_run(self) -> LastRun:
        path = self._folder / _FAULT_FILE
        if not path.exists():
            return LastRun(clean=True)
        trace = self._clean(path.read_text("utf-8", "replace"))
        if not trace.strip():
            return LastRun(clean=False)
        kept = self._folder / f"crash-{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y%m%d-%H%M%S-%f}.txt"
        kept.write_text(trace, "utf-8")
        return LastRun(clean=False, trace=trace, path=kept)

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt | SystemExit):
            sys.__excepthook__(kind, error, trace)
            return
        self._safely(error.with_traceback(trace), f"thread {threading.current_thread().name}")

    def _on_thread_exception(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or issubclass(args.exc_type, SystemExit):
            return
        name = args.thread.name if args.thread is not None else "?"
        self._safely(args.exc_value, f"thread {name}")

    def _on_unraisable(self, args: Any) -> None:
        if isinstance(args.exc_value, Exception):
            self._safely(args.exc_value, f"{args.err_msg or 'ignored in'} {args.object!r}")

    def _safely(self, error: BaseException, context: str) -> None:
        """Report; should that fail too, print both to standard error: a hook must never raise."""
        try:
            self.report(error, context)
        except Exception:  # noqa: BLE001 - see above
            if sys.__stderr__ is not None:
                sys.__stderr__.write(redact(traceback.format_exc()) + redact(clean_traceback(error)))


def report_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exception handler of an asyncio loop: what no task awaited goes to the crash handler. Thread of the loop.

    A lost connection is no bug: ccxt leaves one failed future per stream behind when it cannot connect again, and the
    gateway reports the link itself.
    """
    error = context.get("exception")
    if isinstance(error, Exception) and isinstance(context.get("future"), asyncio.Future) and _is_lost_link(error):
        log.warning("a stream could not connect: %s", error)
    elif isinstance(error, Exception):
        sys.excepthook(type(error), error, error.__traceback__)
    else:
        loop.default_exception_handler(context)


def _is_lost_link(error: Exception) -> bool:
    """Whether ccxt says that the network failed. Told by name: the library must not be loaded for this."""
    return any((kind.__module__, kind.__name__) == ("ccxt.base.errors", "NetworkError") for kind in type(error).__mro__)


def _environment(now: datetime) -> str:
    lines = [f"Time: {now.isoformat(timespec='seconds')}", f"System: {platform.platform()}"]
    lines.append(f"Python: {platform.python_version()} (process {os.getpid()})")
    for package in ("maru-trader", "PySide6-Essentials", "ccxt"):
        lines.append(f"{package}: {_quiet_version(package)}")
    return "\n".join(lines)


def _quiet_version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # only a crash pays for it

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"
