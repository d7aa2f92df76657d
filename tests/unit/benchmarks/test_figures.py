from __future__ import annotations

from pathlib import Path

import pytest

from app.benchmarks.catalogue import CATALOGUE
from app.benchmarks.figures import Catalogue, Figure, Measurement, Peer, describe, measure
from core.errors import UserError

FAST = Figure("x.fast_ms", "ms", "lower", 10.0, "x", "a latency")
MANY = Figure("x.many_per_s", "1/s", "higher", 100.0, "x", "a rate")


@pytest.mark.parametrize(
    ("figure", "value", "ok"), [(FAST, 9.0, True), (FAST, 11.0, False), (MANY, 120.0, True), (MANY, 80.0, False)]
)
def test_a_bar_is_met_in_the_direction_that_is_better(figure: Figure, value: float, ok: bool) -> None:
    assert describe(figure, Measurement(value))["ok"] is ok


def test_the_ratio_is_above_one_when_ours_is_better_than_the_best_peer() -> None:
    lower = describe(FAST, Measurement(5.0, (Peer("slow", 50.0), Peer("good", 10.0))))
    assert lower["ratio"] == pytest.approx(2.0)
    assert [peer["ratio"] for peer in lower["peers"]] == pytest.approx([10.0, 2.0])
    higher = describe(MANY, Measurement(300.0, (Peer("slow", 10.0), Peer("good", 100.0))))
    assert higher["ratio"] == pytest.approx(3.0)


def test_a_figure_without_value_says_why_and_is_neither_met_nor_missed() -> None:
    row = describe(FAST, Measurement(skipped="no display"))
    assert (row["value"], row["ok"], row["skipped"]) == (None, None, "no display")


def test_a_scenario_runs_once_for_all_its_figures_and_a_silent_one_is_reported() -> None:
    calls: list[Path] = []

    def scenario(folder: Path) -> dict[str, Measurement]:
        calls.append(folder)
        return {"x.fast_ms": Measurement(1.0)}

    result = measure(Catalogue((FAST, MANY), {"x": scenario}), [FAST, MANY], lambda _: None)
    assert len(calls) == 1
    assert result["x.fast_ms"]["value"] == 1.0
    assert result["x.many_per_s"]["skipped"]


def test_selection_takes_figures_and_capabilities_and_refuses_unknown_names() -> None:
    catalogue = Catalogue((FAST, MANY), {})
    assert catalogue.select(["x"]) == [FAST, MANY]
    assert catalogue.select(["x.fast_ms", "x"]) == [FAST, MANY]
    with pytest.raises(UserError, match="nothing"):
        catalogue.select(["nothing"])


def test_every_figure_of_the_program_has_a_scenario_and_a_unique_name() -> None:
    names = [figure.name for figure in CATALOGUE.figures]
    assert len(names) == len(set(names))
    assert {figure.group for figure in CATALOGUE.figures} == set(CATALOGUE.scenarios)
