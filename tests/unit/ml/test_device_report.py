"""Which device is chosen, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from ml.device_report import (
    RESERVE_BYTES,
    DeviceReport,
    build_problem,
    free_memory_problem,
    judge,
    memory_budget,
)

GIB = 1 << 30
CPU = DeviceReport("cpu", "CPU", 32 * GIB, 20 * GIB)
MPS = DeviceReport("mps", "Apple MPS", 32 * GIB, 20 * GIB)
FULL = DeviceReport("cuda:0", "Card A", 24 * GIB, GIB // 2, "8.6", problem=free_memory_problem(GIB // 2))
SMALL = DeviceReport("cuda:1", "Card B", 8 * GIB, 7 * GIB, "8.9")
LARGE = DeviceReport("cuda:2", "Card C", 80 * GIB, 70 * GIB, "9.0")


def chosen(reports: tuple[DeviceReport, ...]) -> DeviceReport:
    (report,) = [report for report in reports if report.chosen]
    return report


def test_automatic_takes_the_gpu_with_the_most_free_memory_and_says_why_not_the_others() -> None:
    reports = judge((FULL, SMALL, LARGE, CPU), "auto")
    assert chosen(reports).name == "cuda:2"
    assert [report.reason for report in reports] == [
        "only 0.5 GiB of its memory are free",
        "another GPU has more free memory",
        "found a usable GPU",
        "a GPU is faster",
    ]


def test_equal_cards_are_taken_in_their_order() -> None:
    assert chosen(judge((SMALL, replace(SMALL, name="cuda:2"), CPU), "auto")).name == "cuda:1"


@pytest.mark.parametrize(
    ("found", "reason"),
    [((CPU,), "this build knows none"), ((FULL, CPU), "only 0.5 GiB of its memory are free")],
)
def test_automatic_falls_back_to_the_cpu_with_the_reason(found: tuple[DeviceReport, ...], reason: str) -> None:
    report = chosen(judge(found, "auto", "this build knows none"))
    assert (report.name, report.reason) == ("cpu", reason)


def test_mps_is_used_only_when_asked_for() -> None:
    reports = judge((MPS, CPU), "auto")
    assert chosen(reports).name == "cpu"
    assert "faster on the CPU" in reports[0].reason
    assert chosen(judge((MPS, CPU), "mps")).reason == "as asked"


@pytest.mark.parametrize(("wanted", "name"), [("cpu", "cpu"), ("cuda", "cuda:2"), ("cuda:1", "cuda:1")])
def test_what_was_asked_for_is_taken(wanted: str, name: str) -> None:
    report = chosen(judge((FULL, SMALL, LARGE, CPU), wanted))
    assert (report.name, report.reason) == (name, "as asked")


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        ((CPU,), "cuda", "no GPU or no driver was found"),
        ((FULL, CPU), "cuda", "only 0.5 GiB"),
        ((FULL, SMALL, CPU), "cuda:0", "only 0.5 GiB"),
        ((SMALL, CPU), "cuda:7", "there is no device cuda:7"),
        ((CPU,), "mps", "there is no device mps"),
    ],
)
def test_what_was_demanded_and_is_not_there_is_one_sentence(
    found: tuple[DeviceReport, ...], wanted: str, words: str
) -> None:
    with pytest.raises(UserError, match=f"The GPU cannot be used: {words}") as refused:
        judge(found, wanted)
    assert "auto or cpu" in refused.value.remedy


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_90"], True),  # code for 8.0 runs on 8.9
        ((8, 0), ["sm_86"], False),
        ((6, 1), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),  # translated when it is loaded
        ((12, 0), ["sm_120"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 4), ["gfx942"], True),  # ROCm
    ],
)
def test_a_build_without_code_for_the_card_is_told(
    capability: tuple[int, int], built_for: list[str], runs: bool
) -> None:
    problem = build_problem(capability, built_for)
    assert (problem == "") is runs
    if not runs:
        assert f"compute capability {capability[0]}.{capability[1]}" in problem


@given(st.integers(0, 1 << 40), st.floats(0.0, 1.0), st.floats(0.05, 0.95))
def test_the_budget_never_exceeds_the_share_nor_what_is_free(total: int, free_share: float, share: float) -> None:
    free = int(total * free_share)
    budget = memory_budget(total, free, share)
    assert 0 <= budget <= total * share
    assert budget == 0 or budget + RESERVE_BYTES <= free


def test_a_report_travels_as_json() -> None:
    for report in judge((FULL, LARGE, CPU), "auto"):
        assert DeviceReport.from_json(report.to_json()) == report
