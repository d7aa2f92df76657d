"""Starting `main.py` as a user does: in a process of its own, with a clean folder, and looking at what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MAIN = REPOSITORY / "main.py"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def result(self) -> dict[str, Any]:
        """Return the last line of standard output, which must be the only one that is there."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"standard output is not one line:\n{self.out}\nstandard error:\n{self.err}"
        found = json.loads(lines[0])
        assert isinstance(found, dict)
        return found


def environment(folder: Path) -> dict[str, str]:
    """Return an environment with an empty home, so that nothing of the user's is read or written."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MARU_", "XDG_", "PYTEST_", "QT_"))}
    return {**kept, "HOME": str(home), "QT_QPA_PLATFORM": "offscreen", "PYTHONFAULTHANDLER": "1"}


def start(folder: Path, *arguments: str | Path, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Start `main.py` with these arguments."""
    return subprocess.Popen(
        [sys.executable, str(MAIN), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(folder),
        cwd=folder,
        preexec_fn=before,
    )


def run(
    folder: Path, *arguments: str | Path, before: Callable[[], None] | None = None, timeout_s: float = 240.0
) -> Ended:
    """Run `main.py` to its end."""
    process = start(folder, *arguments, before=before)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Ended(process.returncode, out, err)


def left_over(marker: str) -> list[list[str]]:
    """Return the command lines of living processes that name `marker`, for example a test's own folder."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and any(marker in part for part in line):
                found.append(line)
        except psutil.Error:  # it ended while we looked
            continue
    return found


def wait_for(ready: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait until `ready`."""
    deadline = time.monotonic() + 3 * timeout_s  # times given are those of a quiet machine
    while not ready():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.05)


def files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield relative path and content of every file below `folder`, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()
