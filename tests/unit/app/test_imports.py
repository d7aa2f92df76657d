"""What the ground of the window may load before the window shows."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY

GROUND = """
    app.crash app.gc_guard app.language app.lifecycle app.notifications app.settings app.single_instance app.stall_watch
    app.theme app.ui.tray app.workers.base app.workers.executor app.workers.market app.workers.retry
    app.workers.snapshot app.workers.store app.workers.training
"""
HEAVY = "torch pandas ccxt sqlalchemy pyarrow numba scipy sklearn alembic aiohttp"
QT_FREE = "app.i18n app.tokens app.stylesheet app.notifications app.services"


def loaded_by(modules: str, watched: str) -> str:
    """Import modules in a fresh interpreter and return which of the watched ones came along."""
    code = f"import sys, {', '.join(modules.split())}\nprint(*sorted(set({watched.split()!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_ground_of_the_window_loads_nothing_heavy() -> None:
    assert loaded_by(GROUND, HEAVY) == ""


def test_words_and_tokens_load_without_qt() -> None:
    assert loaded_by(QT_FREE, "PySide6 numpy") == ""
