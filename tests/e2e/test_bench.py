"""The benches of the window, the order path, learning and agents run to their end. No figure is judged here."""

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


def test_the_figures_of_learning_are_measured_and_those_of_a_missing_gpu_say_why(tmp_path: Path) -> None:
    done = run(tmp_path, "bench", "forecast", "--json", timeout_s=580.0)
    assert done.code == 0, done.err
    figures = done.result()
    on_gpu = {name for name in figures if name.startswith("forecast.gpu_")}
    assert len(on_gpu) == 3
    assert all(figures[name]["value"] is not None or "GPU" in figures[name]["skipped"] for name in on_gpu)
    assert all(figure["value"] > 0 for name, figure in figures.items() if name not in on_gpu)
    peers = figures["forecast.train_targets_per_s"]["peers"]
    assert [peer["name"] for peer in peers] == ["window DataLoader, batch 64", "window DataLoader, batch 1024"]
    assert figures["forecast.train_ratio"]["value"] == figures["forecast.train_targets_per_s"]["ratio"]


def test_figures_of_agents_that_need_no_peer_are_measured(tmp_path: Path) -> None:
    done = run(
        tmp_path, "bench", "rl.env_steps_per_s", "rl.rss_mb", "rl.gpu_ppo_steps_per_s", "--json", timeout_s=580.0
    )
    assert done.code == 0, done.err
    figures = done.result()
    assert figures["rl.env_steps_per_s"]["value"] > 0
    assert figures["rl.rss_mb"]["value"] > 150.0  # a million bars alone
    on_gpu = figures["rl.gpu_ppo_steps_per_s"]
    assert on_gpu["value"] is not None or "GPU" in on_gpu["skipped"]
