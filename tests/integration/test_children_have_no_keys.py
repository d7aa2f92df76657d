"""No child of the program inherits a key of the environment, whoever starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPOSITORY

GIVEN = {"MARU_API_KEY_BINANCE": "plantedkey0123456789", "MARU_API_SECRET_BINANCE": "plantedsecret9876543210"}


@pytest.mark.skipif(sys.platform != "linux", reason="the environment of another process is read there")
def test_the_practice_exchange_is_handed_no_key(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "main.py", "trade", "--practice", "--data-dir", str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, **GIVEN, "MARU_RUNTIME_DIR": str(tmp_path / "locks")},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        while "Trading." not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        own = psutil.Process(process.pid)
        children = own.children(recursive=True)
        while any(child.cmdline() == own.cmdline() for child in children):  # forked, not yet what it will be
            time.sleep(0.05)
            children = own.children(recursive=True)
        assert children
        for child in children:
            assert not {name for name in child.environ() if name.startswith("MARU_API_")}, child.cmdline()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
