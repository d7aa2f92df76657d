"""The bench of the window runs to its end: it connects, trains, trades and quits. No figure is judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.programs import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_windows_figures_are_measured(tmp_path: Path) -> None:
    done = run(tmp_path, "bench", "ui.quit_s", "--json")
    assert done.code == 0, done.err
    (figure,) = done.result().values()
    assert figure["skipped"] == ""
    assert figure["value"] > 0
