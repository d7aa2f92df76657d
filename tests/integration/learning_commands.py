"""Commands that learn, run as a user runs them: a process of its own whose output is read, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def command(data_dir: Path, *arguments: str) -> list[str]:
    return [sys.executable, "main.py", *arguments, "--data-dir", str(data_dir)]


def cli(*arguments: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(data_dir, *arguments), capture_output=True, text=True, check=False, cwd=ROOT, timeout=150
    )


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = done.stdout.splitlines()
    assert len(lines) == 1, (done.stdout, done.stderr)
    result: dict[str, Any] = json.loads(lines[0])
    return result


def interrupted(*arguments: str, data_dir: Path, at: str) -> str:
    """Press Ctrl-C once standard error says `at`; return what stands there from then on."""
    with subprocess.Popen(
        command(data_dir, *arguments), stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as process:
        assert process.stderr is not None
        seen = ""
        while at not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: parent and child
        rest = process.stderr.read()
        assert process.wait(30) == 1
    assert "Traceback" not in seen + rest
    return rest
