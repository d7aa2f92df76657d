"""The child's half of a job: the first code that runs in a spawned job process. Qt-free and torch-free.

Threads in the child: the main thread runs the job; a watcher thread reads the pipe (requests, end of file when the
parent dies); a beat thread tells the parent once a second that the process lives. Messages are JSON objects, one
per pipe message, with a `type` of the constants below.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from core.errors import UserError
from core.jobs import JobChannel, JobStopped, Json

STARTED, BEAT, PROGRESS, LOG, PAUSED, RESUMED = "started", "beat", "progress", "log", "paused", "resumed"
FINISHED, FAILED, CANCELLED = "finished", "failed", "cancelled"
STOP, PAUSE, RESUME, TELL = "stop", "pause", "resume", "tell"  # what the parent sends

BEAT_SECONDS = 1.0
NICENESS = 10
_PR_SET_PDEATHSIG = 1
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_ORPHANED = 3
_NO_KEYRING = "keyring.backends.null.Keyring"

JobFunction = Callable[[Json, JobChannel], Json]


class PipeChannel:
    """The channel a job sees; thread-safe for sending.

    Attributes:
        importing: while set, a stop request ends the process at once: nothing has been begun yet.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._send_lock = threading.Lock()
        self._stop = threading.Event()
        self._go = threading.Event()  # cleared while a pause is wanted
        self._go.set()
        self._inbox: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self._waiting = threading.Lock()  # one of the job's threads counts a pause, the others wait for that one
        self._clock_lock = threading.Lock()  # guards the two below
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self.importing = True

    def progress(self, payload: Mapping[str, Any]) -> None:
        """Report progress."""
        self.send({"type": PROGRESS, "payload": dict(payload)})

    def log(self, level: str, message: str) -> None:
        """Report a log line."""
        self.send({"type": LOG, "level": level, "message": message})

    def should_stop(self) -> bool:
        """Return whether the supervisor asked to stop; wait while it wants the job paused."""
        if not self._go.is_set():
            self._wait_paused()
        return self._stop.is_set()

    def clock(self) -> float:
        """Return seconds that stand still during pauses."""
        with self._clock_lock:
            now = time.monotonic() if self._paused_at is None else self._paused_at
            return now - self._paused_s

    def receive(self, timeout_s: float) -> Json | None:
        """Return the next message the supervisor sent with `tell`, waiting for it; None where none came."""
        try:
            return self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _wait_paused(self) -> None:
        with self._waiting:
            if self._go.is_set():
                return
            with self._clock_lock:
                self._paused_at = time.monotonic()
            self.send({"type": PAUSED})
            self._go.wait()
            with self._clock_lock:
                self._paused_s += time.monotonic() - self._paused_at
                self._paused_at = None
            if not self._stop.is_set():
                self.send({"type": RESUMED})

    def send(self, message: Json) -> None:
        """Send one message; a vanished parent ends this process."""
        data = json.dumps(message, allow_nan=False).encode()
        try:
            with self._send_lock:
                self._connection.send_bytes(data)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(_ORPHANED)

    def watch(self) -> None:
        """Read the parent's messages until its end of the pipe closes; body of the watcher thread."""
        while True:
            try:
                message = json.loads(self._connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(_ORPHANED)  # the parent is gone: nobody wants the result
            if message["type"] == PAUSE and not self._stop.is_set():
                self._go.clear()
            elif message["type"] == RESUME:
                self._go.set()
            elif message["type"] == TELL:
                self._inbox.put(message["payload"])
            elif message["type"] == STOP:
                self._stop.set()
                self._go.set()
                if self.importing:
                    self.send({"type": CANCELLED})
                    os._exit(0)

    def beat(self) -> None:
        """Send heartbeats for ever; body of the beat thread."""
        pause = threading.Event()
        while not pause.wait(BEAT_SECONDS):
            self.send({"type": BEAT})


def child_main(
    connection: Connection, target: str, spec_json: str, parent_pid: int, threads: int, output: str = ""
) -> None:
    """Run the job `target` and report over `connection`; never returns.

    Args:
        connection: the child's end of the pipe.
        target: "module:function" of a `JobFunction`.
        spec_json: the job's specification.
        parent_pid: to notice a parent that died before this line.
        threads: for numerical libraries; 0 leaves one core free.
        output: file for what this process and its libraries print; "" leaves it to standard error.
    """
    if output:
        _print_to(output)
    _settle(parent_pid, threads)
    channel = PipeChannel(connection)
    for name, body in (("job-watch", channel.watch), ("job-beat", channel.beat)):
        threading.Thread(target=body, name=name, daemon=True).start()
    channel.send({"type": STARTED, "pid": os.getpid()})
    channel.send(_run(channel, target, json.loads(spec_json)))
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    # Leave without interpreter teardown: it costs up to a second with large libraries and can only fail.
    os._exit(0)


def _run(channel: PipeChannel, target: str, spec: Json) -> Json:
    """Import and call the job; every outcome becomes one message."""
    try:
        function = resolve(target)
        channel.importing = False
        return {"type": FINISHED, "result": function(spec, channel)}
    except JobStopped:
        return {"type": CANCELLED}
    except UserError as exc:
        return _failure(exc.message, exc.remedy, user_error=True)
    except MemoryError:
        return _failure("The memory of this machine is used up.", "Use fewer bars or a smaller batch.", user_error=True)
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _bug(exc)
        where = f" ({exc.filename})" if exc.filename else ""
        return _failure(f"The disk is full{where}.", "Free some space and start again.", user_error=True)
    except Exception as exc:  # noqa: BLE001  # the traceback travels to the parent, which shows it
        return _bug(exc)


def resolve(target: str) -> JobFunction:
    """Import the function named "module:function".

    Raises:
        ValueError: the name has no such form.
        ImportError / AttributeError: no such function.
    """
    module_name, separator, function_name = target.partition(":")
    if not separator:
        raise ValueError(f"a job is named 'module:function', not {target!r}")
    function: JobFunction = getattr(importlib.import_module(module_name), function_name)
    return function


def _failure(message: str, remedy: str, *, user_error: bool, details: str = "") -> Json:
    return {"type": FAILED, "message": message, "remedy": remedy, "user_error": user_error, "details": details}


def _bug(exc: BaseException) -> Json:
    details = "".join(traceback.format_exception(exc))
    return _failure(f"{type(exc).__name__}: {exc}", "", user_error=False, details=details)


def thread_count(requested: int) -> int:
    """Return `requested`, or for 0 all cores but one."""
    return requested if requested > 0 else max(1, (os.cpu_count() or 2) - 1)


def _print_to(output: str) -> None:
    """Let standard error be a file; where that cannot be written it stays what it is."""
    with contextlib.suppress(OSError):
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, 2)
        os.close(file)
        if sys.stderr is None:  # a windowed program has none
            sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115


def _settle(parent_pid: int, threads: int) -> None:
    """Make this process a good citizen: polite, mortal, quiet on standard output."""
    if sys.platform == "linux":
        # Works also while this process holds the interpreter lock, when the watcher thread cannot run.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform != "win32":
        if os.getppid() != parent_pid:
            os._exit(_ORPHANED)
        os.nice(NICENESS)
    else:
        import psutil

        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent asks politely
    if sys.stderr is not None:  # a windowed program has none
        faulthandler.enable(sys.stderr)
        os.dup2(2, 1)  # standard output belongs to the parent's JSON
    os.environ["PYTHON_KEYRING_BACKEND"] = _NO_KEYRING  # keys are the parent's alone
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(thread_count(threads))
