"""The benches of the window and of the order path run to their end. No figure is judged here."""

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


def test_the_figures_of_the_order_path_are_measured(tmp_path: Path) -> None:
    done = run(tmp_path, "bench", "orders", "--json", timeout_s=580.0)
    assert done.code == 0, done.err
    figures = done.result()
    assert len(figures) == 6
    assert all(figure["skipped"] == "" and figure["value"] > 0 for figure in figures.values())
