"""Starts and watches one job child. Qt-free and synchronous: for a worker thread or the command line.

`start`, `poll` and `close` belong to one thread, which must outlive the job: on Linux a child dies with the *thread*
that started it. `request_stop`, `pause`, `resume` and `tell` may be called from any thread.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from core.job_child import (
    BEAT,
    CANCELLED,
    FAILED,
    FINISHED,
    LOG,
    PAUSE,
    PAUSED,
    PROGRESS,
    RESUME,
    RESUMED,
    STARTED,
    STOP,
    TELL,
    child_main,
)
from core.jobs import (
    JobCancelled,
    JobEvent,
    JobFailed,
    JobFinished,
    JobLog,
    JobPaused,
    JobProgress,
    JobResumed,
    JobStarted,
    Json,
)
from core.secrets.environment import seal_environment

_TICK_SECONDS = 0.1
_LAST_WORDS = 8_192  # bytes


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How long a job may take to obey; the sum stays below two seconds.

    Attributes:
        grace_s: after a gentle request, before the process is terminated.
        kill_s: after that, before it is killed.
        silence_s: without any heartbeat, after which a job counts as hung.
    """

    grace_s: float = 1.4
    kill_s: float = 0.3
    silence_s: float = 90.0


class JobSupervisor:
    """Runs one job at a time in a spawned child.

    Example:
        with JobSupervisor() as supervisor:
            supervisor.start("run-1", "ml.worker.forecast:run", spec)
            while supervisor.running:
                for event in supervisor.poll(0.2):
                    ...

    The last event of a job is exactly one of `JobFinished`, `JobFailed`, `JobCancelled`; when it is returned, the
    process has been reaped and its pipe closed.
    """

    def __init__(self, policy: StopPolicy | None = None) -> None:
        self._policy = policy or StopPolicy()
        self._job_id = ""
        self._output: Path | None = None
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()  # guards the sending side and the stop time
        self._stop_at: float | None = None
        self._force_step = 0
        self._last_seen = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether a job was started whose last event has not been returned yet."""
        return self._process is not None

    @property
    def job_id(self) -> str:
        """Id of the current or last job."""
        return self._job_id

    def start(
        self, job_id: str, target: str, spec: Mapping[str, Any], *, threads: int = 0, output: Path | None = None
    ) -> None:
        """Spawn a child that runs `target`.

        Args:
            job_id: returned in every event.
            target: "module:function" of the job.
            spec: JSON object for the job; large data goes by path.
            threads: for numerical libraries in the child; 0 leaves one core free.
            output: file for what the child prints, for a program whose standard error nobody sees.

        Raises:
            RuntimeError: a job is already running.
        """
        if self._process is not None:
            raise RuntimeError(f"job {self._job_id} is still running")
        seal_environment()  # a child inherits the environment: no job is ever handed a key
        context = multiprocessing.get_context("spawn")
        parent_end, child_end = context.Pipe()
        process = context.Process(
            target=child_main,
            args=(child_end, target, json.dumps(spec, allow_nan=False), os.getpid(), threads, str(output or "")),
            name=f"maru-job-{job_id}",
            daemon=True,
        )
        try:
            with _interrupts_blocked():
                process.start()
        except BaseException:
            parent_end.close()
            raise
        finally:
            child_end.close()
        with self._lock:
            self._job_id, self._output = job_id, output
            self._stop_at, self._force_step = None, 0
            self._last_seen = time.monotonic()
            self._process, self._connection = process, parent_end

    def request_stop(self) -> None:
        """Ask the job to stop; `poll` uses force when it does not. Any thread; harmless when nothing runs."""
        with self._lock:
            if self._connection is None or self._stop_at is not None:
                return
            self._stop_at = time.monotonic()
            self._send(self._connection, STOP)

    def pause(self) -> None:
        """Ask the job to wait where it next looks; `JobPaused` tells when it does. Any thread.

        The job keeps its memory and its device. Harmless when nothing runs, and without effect on one told to stop.
        """
        self._request(PAUSE)

    def resume(self) -> None:
        """Let a paused job go on; `JobResumed` tells when it does. Any thread; harmless when nothing runs."""
        self._request(RESUME)

    def tell(self, payload: Mapping[str, Any]) -> None:
        """Send the job a message, which it reads with `TaskChannel.receive`. Any thread; harmless when nothing runs."""
        with self._lock:
            if self._connection is not None and self._stop_at is None:
                self._send(self._connection, TELL, payload)

    def _request(self, kind: str) -> None:
        with self._lock:
            if self._connection is not None and self._stop_at is None:
                self._send(self._connection, kind)

    @staticmethod
    def _send(connection: Connection, kind: str, payload: Mapping[str, Any] | None = None) -> None:
        message = {"type": kind} if payload is None else {"type": kind, "payload": dict(payload)}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # already ended: poll reports how
            connection.send_bytes(json.dumps(message, allow_nan=False).encode())

    def poll(self, timeout: float = 0.0) -> list[JobEvent]:
        """Return what happened, waiting up to `timeout` seconds for the first event.

        Call it at least a few times per second while a job runs: it also enforces stop requests.
        """
        deadline = time.monotonic() + timeout
        while self._process is not None and self._connection is not None:
            ended = not self._process.is_alive()  # asked first: whatever it sent is then already in the pipe
            events = self._drain(self._connection)
            if not events and ended and self._process is not None:
                events = [self._ended_silently(self._reap())]  # something else keeps the pipe open
            if not events and self._process is not None:
                events = self._enforce(self._process)
            remaining = deadline - time.monotonic()
            if events or remaining <= 0 or self._process is None or self._connection is None:
                return events
            wait([self._connection, self._process.sentinel], min(remaining, _TICK_SECONDS))
        return []

    def close(self) -> None:
        """Kill a running job and release everything; idempotent."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def _drain(self, connection: Connection) -> list[JobEvent]:
        """Read every waiting message; a last message or end of file reaps the child."""
        events: list[JobEvent] = []
        try:
            while connection.poll():
                message: Json = json.loads(connection.recv_bytes())
                self._last_seen = time.monotonic()
                event = self._translate(message)
                if event is not None:
                    events.append(event)
                if message["type"] in (FINISHED, FAILED, CANCELLED):
                    self._reap()
                    return events
        except (EOFError, ConnectionResetError):
            events.append(self._ended_silently(self._reap()))
        return events

    def _translate(self, message: Json) -> JobEvent | None:
        kind = message["type"]
        if kind == BEAT:
            return None
        if kind == STARTED:
            return JobStarted(self._job_id, message["pid"])
        if kind == PROGRESS:
            return JobProgress(self._job_id, message["payload"])
        if kind in (PAUSED, RESUMED):
            return JobPaused(self._job_id) if kind == PAUSED else JobResumed(self._job_id)
        if kind == LOG:
            return JobLog(self._job_id, message["level"], message["message"])
        if kind == FINISHED:
            return JobFinished(self._job_id, message["result"])
        if kind == CANCELLED:
            return JobCancelled(self._job_id, forced=False)
        return JobFailed(
            self._job_id, message["message"], message["remedy"], message["user_error"], details=message["details"]
        )

    def _enforce(self, process: BaseProcess) -> list[JobEvent]:
        """Escalate an ignored stop request and end a job that fell silent."""
        now = time.monotonic()
        if self._stop_at is not None:
            waited = now - self._stop_at
            if self._force_step == 0 and waited > self._policy.grace_s:
                self._force_step = 1
                process.terminate()
            elif self._force_step == 1 and waited > self._policy.grace_s + self._policy.kill_s:
                self._force_step = 2
                process.kill()
        elif now - self._last_seen > self._policy.silence_s:
            process.kill()
            self._reap()
            message = f"The job has not responded for {self._policy.silence_s:.0f} seconds and was ended."
            return [JobFailed(self._job_id, message, "Start it again; its last checkpoint is kept.")]
        return []

    def _ended_silently(self, exit_code: int | None) -> JobEvent:
        """Explain a child that closed the pipe without a last message."""
        if self._stop_at is not None:
            return JobCancelled(self._job_id, forced=True)
        if exit_code is not None and exit_code < 0:
            name = signal.Signals(-exit_code).name
            return JobFailed(
                self._job_id,
                f"The job's process was ended from outside ({name}).",
                "Often the memory ran out: use fewer bars or a smaller batch. The last checkpoint is kept.",
                details=self._last_words(exit_code),
            )
        message, remedy = "The job's process ended without a result.", "Its output on standard error says why."
        if self._output is not None:
            remedy = f"What it printed last is in {self._output}."
        return JobFailed(self._job_id, message, remedy, details=self._last_words(exit_code))

    def _last_words(self, exit_code: int | None) -> str:
        """Return the exit code and the end of what the child printed."""
        printed = b""
        if self._output is not None:
            with contextlib.suppress(OSError):
                printed = self._output.read_bytes()[-_LAST_WORDS:]
        return f"exit code {exit_code}\n{printed.decode('utf-8', 'replace')}".rstrip()

    def _reap(self) -> int | None:
        """Wait for the child, by force if it lingers, and free the pipe and the process handle."""
        process, connection = self._process, self._connection
        if process is None or connection is None:
            return None
        process.join(self._policy.kill_s)
        if process.is_alive():
            process.kill()
            process.join()
        exit_code = process.exitcode
        process.close()
        with self._lock:
            connection.close()
            self._process = self._connection = None
        return exit_code


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start a child that never sees Ctrl-C, not even before its first line of Python."""
    if sys.platform == "win32":
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
