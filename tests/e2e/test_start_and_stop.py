"""Starting and ending the whole program as a user, a system or a power cut does."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.programs import left_over, run, start, wait_for

pytestmark = pytest.mark.slow


def check_journal(data: Path) -> None:
    with sqlite3.connect(f"file:{data / 'journal.sqlite'}?mode=ro", uri=True) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def log_of(data: Path) -> str:
    return "".join(path.read_text("utf-8") for path in (data / "logs").glob("*.log"))


def notices_of(data: Path) -> list[str]:
    """Titles of everything a person was told."""
    with sqlite3.connect(f"file:{data / 'store.sqlite'}?mode=ro", uri=True) as database:
        titles = [title for (title,) in database.execute("SELECT title FROM notices")]
    database.close()
    return titles


def running(data: Path) -> Callable[[], bool]:
    """Whether the window's exchange listens and its journal stands: everything is up."""
    return lambda: (
        (data / "journal.sqlite").exists() and any("practice-exchange" in line for line in left_over(str(data)))
    )


def end(process: subprocess.Popen[str], timeout_s: float = 60.0) -> tuple[int, str]:
    try:
        err = process.communicate(timeout=timeout_s)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, err


def test_it_starts_light_and_ends_by_itself(tmp_path: Path) -> None:
    data, trace = tmp_path / "data", tmp_path / "trace.json"
    ended = run(tmp_path, "--data-dir", data, "--quit-after", "3", "--trace", trace)
    assert (ended.code, ended.out) == (0, "")
    assert "Traceback" not in ended.err
    figures = json.loads(trace.read_text("utf-8"))
    assert figures["heavy_modules"] == []
    assert figures["first_window"] > 0
    check_journal(data)
    assert "did not end properly" not in log_of(data)
    assert "first_run_done=true" in (data / "settings.ini").read_text("utf-8")  # it greeted
    assert left_over(str(data)) == []


def test_the_system_may_end_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = start(tmp_path, "--data-dir", data)
    wait_for(running(data), 30, "the window and its exchange")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    code, err = end(process, 15)
    assert code == 0
    assert "Traceback" not in err
    check_journal(data)
    assert left_over(str(data)) == []
    again = run(tmp_path, "--data-dir", data, "--quit-after", "2")
    assert again.code == 0
    assert "did not end properly" not in log_of(data)


def test_a_kill_is_told_at_the_next_start_and_nothing_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = start(tmp_path, "--data-dir", data)
    wait_for(running(data), 30, "the window and its exchange")
    process.kill()
    assert end(process)[0] == -signal.SIGKILL
    wait_for(lambda: left_over(str(data)) == [], 10, "the children end with their parent")
    check_journal(data)
    again = run(tmp_path, "--data-dir", data, "--quit-after", "3")
    assert again.code == 0
    assert "Traceback" not in again.err
    assert log_of(data).count("the last run did not end properly") == 1
    assert "Maru did not end properly last time." in notices_of(data)
    check_journal(data)
    once_more = run(tmp_path, "--data-dir", data, "--quit-after", "1")
    assert once_more.code == 0
    assert log_of(data).count("did not end properly") == 1


def test_a_second_start_on_the_same_folder_raises_the_first(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = start(tmp_path, "--data-dir", data)
    wait_for(running(data), 30, "the window and its exchange")
    second = run(tmp_path, "--data-dir", data, "--quit-after", "1")
    assert second.code == 0
    assert second.err.strip() == "Maru is already open with this data folder."
    assert first.poll() is None
    first.send_signal(signal.SIGTERM)
    assert end(first, 15)[0] == 0
    check_journal(data)
    assert left_over(str(data)) == []


def test_it_can_be_ended_while_it_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    ended = run(tmp_path, "--data-dir", data, "--quit-after", "0")
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert left_over(str(data)) == []
