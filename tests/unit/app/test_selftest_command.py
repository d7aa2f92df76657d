"""The selftest command: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.commands import job_run
from app.commands.root import run_cli
from core.jobs import JobCancelled, JobEvent, JobFailed, JobFinished, JobProgress
from ml.selftest import SelftestJob, SelftestProgress, SelftestResult, TaskResult

PASSED = TaskResult("A", "AR(1) returns", 0.039, 0.04, 0.975, 0.9, True, 3.0, "note")
SILENT = TaskResult("B", "Noise", 0.9, 1.0, None, 0.95, False, 3.0, "two claims")


class FakeSupervisor:
    """Ends at once, as told."""

    events: tuple[JobEvent, ...] = ()
    started: SelftestJob | None = None

    def __enter__(self) -> FakeSupervisor:
        return self

    def __exit__(self, *exc_info: object) -> None: ...

    def start(self, job_id: str, target: str, spec: dict[str, Any], *, threads: int) -> None:
        assert target == "ml.worker.selftest:run"
        assert threads == 1
        type(self).started = SelftestJob.from_json(spec)

    def poll(self, seconds: float) -> list[JobEvent]:
        return list(self.events)


@pytest.fixture(autouse=True)
def _no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_run, "JobSupervisor", FakeSupervisor)


def ends(*events: JobEvent) -> None:
    FakeSupervisor.events = events


def finished(*tasks: TaskResult) -> JobFinished:
    return JobFinished("selftest", SelftestResult(tasks).to_json())


def told(task: TaskResult) -> JobProgress:
    return JobProgress("selftest", SelftestProgress(task.task, "finished", 1.0, 0.0, task).to_json())


def test_all_passed_is_zero_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    ends(told(PASSED), finished(PASSED))
    assert run_cli(["selftest", "forecast", "A", "--quick", "--seed", "7", "--kind", "gru", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    (task,) = json.loads(captured.out)["tasks"]
    assert {"task", "reached", "optimum", "share", "required", "ok", "seconds"} <= set(task)
    assert "AR(1) returns" in captured.err
    job = FakeSupervisor.started
    assert job is not None
    assert (job.tasks, job.quick, job.seed, job.kind, job.device) == (("A",), True, 7, "gru", "cpu")


def test_a_failed_task_is_one_and_its_share_may_be_null(capsys: pytest.CaptureFixture[str]) -> None:
    ends(told(PASSED), told(SILENT), finished(PASSED, SILENT))
    assert run_cli(["selftest", "forecast", "--json"]) == 1
    tasks = json.loads(capsys.readouterr().out)["tasks"]
    assert [(task["ok"], task["share"]) for task in tasks] == [(True, 0.975), (False, None)]


def test_a_person_reads_each_result_once(capsys: pytest.CaptureFixture[str]) -> None:
    step = JobProgress("selftest", SelftestProgress("A", "AR(1)", 0.4, 12.4).to_json())
    ends(step, told(PASSED), told(SILENT), finished(PASSED, SILENT))
    assert run_cli(["selftest", "forecast"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("AR(1) returns") == 1
    assert "97.5% of 90.0% needed" in captured.out
    assert "FAILED" in captured.out.splitlines()[1]
    assert "40% · task A: AR(1) · 12 s left" in captured.err


def test_a_cancelled_run_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    ends(JobCancelled("selftest", forced=False))
    assert run_cli(["selftest", "forecast", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"error": "The self-test was cancelled.", "remedy": ""}


def test_a_device_that_is_not_there_is_two_and_a_bug_one(capsys: pytest.CaptureFixture[str]) -> None:
    ends(JobFailed("selftest", "There is no GPU.", "Use cpu.", user_error=True))
    assert run_cli(["selftest", "forecast", "--device", "cuda", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"error": "There is no GPU.", "remedy": "Use cpu."}
    ends(JobFailed("selftest", "It broke.", details="the traceback"))
    assert run_cli(["selftest", "forecast", "--json"]) == 1
    captured = capsys.readouterr()
    assert "It broke." in json.loads(captured.out)["error"]
    assert "the traceback" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [["forecast", "Z"], ["forecast", "--seeds", "1"], ["forecast", "--kind", "tcn"], ["forecast", "--device", "tin"]],
)
def test_bad_input_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["selftest", *arguments, "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"error", "remedy"}
    assert answer["error"].endswith(".")


def test_a_new_data_folder_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends(told(PASSED), finished(PASSED))
    assert run_cli(["selftest", "forecast", "A", "--json", "--data-dir", str(tmp_path / "new")]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"]
    assert FakeSupervisor.started is not None
    assert Path(FakeSupervisor.started.work_dir).parent == tmp_path / "new" / "runs"


def test_agents_are_tested_alike(capsys: pytest.CaptureFixture[str]) -> None:
    ends(told(PASSED), finished(PASSED))
    assert run_cli(["selftest", "rl", "o", "E", "--quick", "--seed", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"][0]["share"] == 0.975
    job = FakeSupervisor.started
    assert job is not None
    assert (job.catalogue, job.tasks, job.quick, job.seed) == ("trading", ("E", "O"), True, 7)
    ends(told(SILENT), finished(SILENT))
    assert run_cli(["selftest", "rl", "--json"]) == 1
    job = FakeSupervisor.started
    assert job.tasks == ("D", "E", "F", "G", "H", "I", "J", "M", "N", "O")
    assert not job.quick


@pytest.mark.parametrize("arguments", [["A"], ["--seed", "-1"]])
def test_bad_input_of_agents_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["selftest", "rl", *arguments, "--json"]) == 2
    assert set(json.loads(capsys.readouterr().out)) == {"error", "remedy"}
