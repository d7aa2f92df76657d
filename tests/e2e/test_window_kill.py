"""`main.py kill` against the real window, from another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 60


def test_kill_from_outside_finds_the_exchange_of_the_window(tmp_path: Path) -> None:
    env = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    folder, main = str(tmp_path), str(ROOT / "main.py")
    window = subprocess.Popen([sys.executable, main, "--data-dir", folder, "--quit-after", "120"], cwd=ROOT, env=env)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not (tmp_path / "practice" / "endpoints.json").exists():
            assert window.poll() is None, "the window ended"
            assert time.monotonic() < deadline, "the window did not tell where the exchange listens"
            time.sleep(0.1)
        kill = subprocess.run(
            [sys.executable, main, "kill", "--data-dir", folder, "--json"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert kill.returncode == 0, kill.stdout + kill.stderr
        report = json.loads(kill.stdout.splitlines()[-1])
        assert report["confirmed"] is True
        assert Path(report["report"]).is_file()
        assert window.poll() is None, "the window goes on, halted"
        fence = tmp_path / "fence.json"
        while json.loads(fence.read_bytes())["acknowledged"] < json.loads(fence.read_bytes())["epoch"]:
            assert time.monotonic() < deadline + START_LIMIT_S, "the window did not notice the fence"
            time.sleep(0.1)
    finally:
        window.terminate()
        window.wait(30)
    assert window.returncode == 0
