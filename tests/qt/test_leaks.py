"""The leak fixtures themselves: each must fail a test that leaves something behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from tests.conftest import REPOSITORY

_CONFTEST = "from tests.qt.conftest import _nothing_left_behind, _quick_collections, assert_collected, settle\n"
_TESTS = """
import threading, time
from PySide6.QtCore import QThread, QTimer, qWarning
from PySide6.QtWidgets import QWidget

kept = []

class Sleeper(QThread):
    def run(self):
        while not self.isInterruptionRequested():
            self.msleep(5)

def test_clean(qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    timer = QTimer(widget)
    timer.start(10)

def test_leaves_timer(qtbot):
    kept.append(QTimer())
    kept[-1].start(10_000)

def test_leaves_qthread(qtbot):
    kept.append(Sleeper())
    kept[-1].start()

def test_leaves_thread(qtbot):
    done = threading.Event()
    kept.append(done)
    threading.Thread(target=done.wait, args=(8,), name="forgotten", daemon=True).start()

def test_leaves_widget(qtbot):
    kept.append(QWidget())
    kept[-1].setObjectName("orphan")

def test_warns(qtbot):
    qWarning("something is wrong")

def test_clean_again(qtbot):
    kept[2].set()
"""


def test_each_kind_of_leak_fails_its_own_test_only(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(_CONFTEST, "utf-8")
    (tmp_path / "test_sample.py").write_text(_TESTS, "utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            str(REPOSITORY / "pyproject.toml"),
            "--rootdir",
            str(tmp_path),
            "-rA",
            "-p",
            "no:cacheprovider",
            str(tmp_path / "test_sample.py"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "QT_QPA_PLATFORM": "offscreen"},
    )
    outcome = {name: verdict for verdict, name in re.findall(r"^(ERROR|FAILED) \S+::(\w+)", done.stdout, re.M)}
    assert outcome == {
        "test_leaves_timer": "ERROR",
        "test_leaves_qthread": "ERROR",
        "test_leaves_thread": "ERROR",
        "test_leaves_widget": "ERROR",
        "test_warns": "FAILED",
    }, done.stdout + done.stderr
    assert "orphan" in done.stdout
    assert "Python thread forgotten still runs" in done.stdout
    assert "kept[-1].start(10_000)" in done.stdout  # the message says where


class Clinging(QWidget):
    """A widget something else holds on to."""

    holders: list[QWidget] = []  # noqa: RUF012 - the leak under test

    def __init__(self) -> None:
        super().__init__()
        self.holders.append(self)


def test_object_that_vanishes_passes_and_one_that_is_held_fails(
    assert_collected: Callable[[Callable[[], QObject]], None], qapp: object
) -> None:
    assert_collected(QWidget)
    with pytest.raises(AssertionError, match="leaked"):
        assert_collected(Clinging)
    Clinging.holders.clear()
