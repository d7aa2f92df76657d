"""The practice exchange as a child process. Blocking calls: use a thread, or `asyncio.to_thread`.

The child ends when its standard input closes, so it cannot outlive a parent that crashed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from core.errors import UserError
from core.practice.control import PracticeEndpoints

_MAIN: Final = Path(__file__).resolve().parents[2] / "main.py"
_STOP_S: Final = 5.0
TOKEN_VARIABLE: Final = "MARU_PRACTICE_TOKEN"


class PracticeProcess:
    """Starts and stops one practice exchange."""

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        seed: int | None = None,
        replay: Path | None = None,
        speed: str | None = None,
        start: str | None = None,
        start_bar: int | None = None,
        gate: str | None = None,
        balance: str | None = None,
        port: int | None = None,
        faults: str | None = None,
        limits: str | None = None,
        resume: PracticeEndpoints | None = None,
    ) -> None:
        """Describe the exchange; arguments are those of the `practice-exchange` command, None for its defaults.

        Args:
            resume: listen where this one did, with the same control token, so that its clients find the new one.
        """
        self._token = resume.token if resume is not None else None
        if resume is not None:
            port = urlsplit(resume.rest).port
        options = {
            "--data-dir": data_dir,
            "--seed": seed,
            "--replay": replay.resolve() if replay is not None else None,
            "--speed": speed,
            "--start": start,
            "--start-bar": start_bar,
            "--lockstep-interval": gate,
            "--balance": balance,
            "--port": port,
            "--faults": faults,
            "--limits": limits,
        }
        self._arguments = [part for name, value in options.items() if value is not None for part in (name, str(value))]
        self._process: subprocess.Popen[str] | None = None
        self._cancelled = threading.Event()
        self._complaints: deque[str] = deque(maxlen=20)
        self._readers: list[threading.Thread] = []

    @property
    def pid(self) -> int | None:
        """Process id while running."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_s: float = 20.0) -> PracticeEndpoints:
        """Start the child and wait until it is ready.

        Raises:
            UserError: it ended, was cancelled or did not become ready in time; the message is the child's own where it
                gave one.
        """
        if self._process is not None:
            raise RuntimeError("the practice exchange was already started")
        # A frozen application is its own interpreter and takes subcommands directly.
        command = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, str(_MAIN)]
        self._process = subprocess.Popen(
            [*command, "practice-exchange", "--json", "--exit-with-parent", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=self._environment(),
        )
        if self._cancelled.is_set():  # between the call and the child
            self._process.terminate()
        lines: list[str] = []
        first = threading.Event()

        def take_line(text: str) -> None:
            lines.append(text)
            first.set()

        self._read(self._process.stdout, take_line, first.set)
        self._read(self._process.stderr, self._complaints.append, None)
        said = first.wait(timeout_s)
        return self._parse(lines[0] if lines else "", None if said else timeout_s)

    def cancel(self) -> None:
        """Make a `start` that still waits give up at once; `stop` comes after it as always. Any thread, idempotent."""
        self._cancelled.set()
        process = self._process
        if process is not None:
            process.terminate()  # does nothing where it has ended

    def stop(self) -> int | None:
        """End the child within 5 s and return its exit code; None where none was running. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.join(1.0)
        self._readers.clear()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return process.returncode

    def __enter__(self) -> PracticeEndpoints:
        return self.start()

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def _environment(self) -> dict[str, str]:
        """The token goes this way because a command line can be read by everybody on the machine."""
        token = {TOKEN_VARIABLE: self._token} if self._token is not None else {}
        return {**os.environ, "PYTHONUNBUFFERED": "1", **token}

    def _read(self, pipe: IO[str] | None, take: Callable[[str], None], at_end: Callable[[], None] | None) -> None:
        """Hand over the lines of a pipe from a thread of its own, so that the child never blocks on a full pipe."""

        def read() -> None:
            for text in pipe or ():
                take(text)
            if at_end is not None:
                at_end()

        reader = threading.Thread(target=read, name="practice-exchange-output", daemon=True)
        reader.start()
        self._readers.append(reader)

    def _parse(self, line: str, waited_s: float | None) -> PracticeEndpoints:
        """Read the ready line; `waited_s` where it said nothing for so long, None where it spoke or ended."""
        try:
            answer = json.loads(line) if line else {}
            if "error" in answer:
                self.stop()
                raise UserError(answer["error"], answer.get("remedy", ""))
            return PracticeEndpoints.from_json(answer)
        except (ValueError, KeyError) as exc:
            self.stop()
            said = " ".join(text.strip() for text in list(self._complaints)[-3:])
            why = f"was not ready after {waited_s:.0f} s" if waited_s is not None else f"ended at once: {said}"
            raise UserError(f"The practice exchange {why}.", "Run main.py doctor to check this machine.") from exc
