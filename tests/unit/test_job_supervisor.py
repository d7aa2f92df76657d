"""The supervisor against real spawned children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.job_supervisor import JobSupervisor, StopPolicy
from core.jobs import (
    JobCancelled,
    JobEvent,
    JobFailed,
    JobFinished,
    JobLog,
    JobPaused,
    JobProgress,
    JobResumed,
    JobStarted,
)

JOBS = "tests.unit.job_targets"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def supervisor() -> Iterator[JobSupervisor]:
    with JobSupervisor() as value:
        yield value


def run_to_end(supervisor: JobSupervisor, limit: float = 60.0) -> list[JobEvent]:
    events: list[JobEvent] = []
    deadline = time.monotonic() + limit
    while supervisor.running:
        assert time.monotonic() < deadline, f"the job did not end: {events}"
        events += supervisor.poll(0.2)
    return events


def wait_for(supervisor: JobSupervisor, kind: type) -> list[JobEvent]:
    events: list[JobEvent] = []
    deadline = time.monotonic() + 60
    while not any(isinstance(event, kind) for event in events):
        assert time.monotonic() < deadline
        events += supervisor.poll(0.2)
    return events


def test_a_job_reports_everything_in_order_and_leaves_nothing_behind(
    supervisor: JobSupervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    supervisor.start("j1", f"{JOBS}:echo", {"steps": 3, "text": "마루"}, threads=1)
    events = run_to_end(supervisor)
    assert isinstance(events[0], JobStarted)
    assert not psutil.pid_exists(events[0].pid)
    assert [event.payload["step"] for event in events if isinstance(event, JobProgress)] == [0, 1, 2]
    assert [event for event in events if isinstance(event, JobLog)] == [JobLog("j1", "INFO", "done")]
    last = events[-1]
    assert isinstance(last, JobFinished)
    assert last.result["spec"] == {"steps": 3, "text": "마루"}
    assert last.result["env"] == {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if sys.platform != "win32":
        assert last.result["nice"] >= min(19, os.nice(0) + 10)
    assert capfd.readouterr().out == ""  # a job cannot spoil the parent's JSON


def test_repeated_jobs_leak_no_descriptor_and_no_process(supervisor: JobSupervisor) -> None:
    def one() -> None:
        supervisor.start("j", f"{JOBS}:echo", {})
        assert isinstance(run_to_end(supervisor)[-1], JobFinished)

    one()  # the first start opens multiprocessing's own tracker
    process = psutil.Process()
    before = process.num_fds() if sys.platform != "win32" else process.num_handles()
    children = len(process.children())
    one()
    one()
    after = process.num_fds() if sys.platform != "win32" else process.num_handles()
    assert after <= before
    assert len(process.children()) <= children


def test_a_second_job_is_refused_while_one_runs(supervisor: JobSupervisor) -> None:
    supervisor.start("j1", f"{JOBS}:deaf", {})
    with pytest.raises(RuntimeError, match="j1"):
        supervisor.start("j2", f"{JOBS}:echo", {})


def test_a_gentle_stop_lets_the_job_save(supervisor: JobSupervisor, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    supervisor.start("j", f"{JOBS}:obeys", {"checkpoint": str(checkpoint)})
    wait_for(supervisor, JobProgress)
    supervisor.request_stop()
    assert run_to_end(supervisor)[-1] == JobCancelled("j", forced=False)
    assert checkpoint.read_text() == "saved"


@POSIX
def test_a_deaf_job_is_ended_by_force_within_two_seconds(supervisor: JobSupervisor) -> None:
    supervisor.start("j", f"{JOBS}:deaf", {})
    wait_for(supervisor, JobProgress)
    started = time.monotonic()
    supervisor.request_stop()
    supervisor.request_stop()  # a second click changes nothing
    assert run_to_end(supervisor)[-1] == JobCancelled("j", forced=True)
    policy = StopPolicy()
    assert policy.grace_s + policy.kill_s < 2.0
    assert time.monotonic() - started < 30  # generous: only says that force was used at all


def test_a_stop_during_a_long_import_ends_the_child_at_once(supervisor: JobSupervisor) -> None:
    supervisor.start("j", "tests.unit.slow_import:run", {})
    wait_for(supervisor, JobStarted)
    supervisor.request_stop()
    assert run_to_end(supervisor)[-1] == JobCancelled("j", forced=False)


def test_a_stop_right_after_start_is_not_lost(supervisor: JobSupervisor, tmp_path: Path) -> None:
    supervisor.start("j", f"{JOBS}:obeys", {"checkpoint": str(tmp_path / "checkpoint")})
    supervisor.request_stop()
    assert isinstance(run_to_end(supervisor)[-1], JobCancelled)


def test_a_paused_job_stands_still_lives_and_goes_on_as_if_nothing_had_been() -> None:
    walk = {"seed": 7, "steps": 300}
    with JobSupervisor() as plain:
        plain.start("j", f"{JOBS}:walks", walk)
        whole = run_to_end(plain)[-1]
    assert isinstance(whole, JobFinished)

    with JobSupervisor(StopPolicy(silence_s=2.0)) as supervisor:
        supervisor.start("j", f"{JOBS}:walks", walk)
        wait_for(supervisor, JobProgress)
        supervisor.pause()
        supervisor.pause()  # a second click changes nothing
        before = wait_for(supervisor, JobPaused)
        assert before.count(JobPaused("j")) == 1
        assert before[-1] == JobPaused("j")
        until = time.monotonic() + 3.0  # longer than it may be silent
        while time.monotonic() < until:
            assert supervisor.poll(0.1) == []
        assert supervisor.running
        supervisor.resume()
        after = run_to_end(supervisor)
    assert after[0] == JobResumed("j")
    steps = [event.payload["step"] for event in after if isinstance(event, JobProgress)]
    assert 0 < steps[0] < 299
    assert steps == list(range(steps[0], 300))
    last = after[-1]
    assert isinstance(last, JobFinished)
    assert last.result["position"] == whole.result["position"]
    assert last.result["wall_seconds"] - last.result["seconds"] >= 2.9


def test_a_job_can_be_paused_again_and_again(supervisor: JobSupervisor) -> None:
    supervisor.start("j", f"{JOBS}:walks", {"seed": 1, "steps": 300})
    supervisor.pause()  # before it is up
    wait_for(supervisor, JobPaused)
    for _ in range(3):
        supervisor.resume()
        wait_for(supervisor, JobResumed)
        supervisor.pause()
        wait_for(supervisor, JobPaused)
    supervisor.resume()
    assert isinstance(run_to_end(supervisor)[-1], JobFinished)
    supervisor.pause()  # nothing to pause: no error
    supervisor.resume()


def test_a_paused_job_can_be_stopped_and_saves(supervisor: JobSupervisor, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    supervisor.start("j", f"{JOBS}:obeys", {"checkpoint": str(checkpoint)})
    supervisor.pause()
    wait_for(supervisor, JobPaused)
    supervisor.request_stop()
    supervisor.pause()  # too late: it stops all the same
    assert run_to_end(supervisor) == [JobCancelled("j", forced=False)]
    assert checkpoint.read_text() == "saved"


def test_a_user_error_keeps_its_sentence_and_remedy(supervisor: JobSupervisor) -> None:
    supervisor.start("j", f"{JOBS}:fails_for_user", {})
    assert run_to_end(supervisor)[-1] == JobFailed("j", "There are too few bars.", "Fetch more.", user_error=True)


def test_a_bug_arrives_with_its_traceback(supervisor: JobSupervisor) -> None:
    supervisor.start("j", f"{JOBS}:crashes", {})
    last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFailed)
    assert not last.user_error
    assert "KeyError" in last.message
    assert "job_targets.py" in last.details


def test_a_full_disk_is_said_in_one_sentence(supervisor: JobSupervisor) -> None:
    supervisor.start("j", f"{JOBS}:disk_full", {})
    last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFailed)
    assert last.user_error
    assert last.message == "The disk is full (weights.safetensors)."


def test_an_unknown_job_is_a_bug_not_a_hang(supervisor: JobSupervisor) -> None:
    supervisor.start("j", "tests.unit.nowhere:run", {})
    last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFailed)
    assert "ModuleNotFoundError" in last.message


@POSIX
def test_a_killed_child_is_explained(supervisor: JobSupervisor) -> None:
    supervisor.start("j", f"{JOBS}:vanishes", {})
    last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFailed)
    assert "SIGKILL" in last.message


def test_what_a_child_printed_last_is_kept_where_somebody_can_read_it(
    supervisor: JobSupervisor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output.txt"
    output.write_text("of the session before")
    supervisor.start("j", f"{JOBS}:grumbles", {}, output=output)
    last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFailed)
    assert last.remedy == f"What it printed last is in {output}."
    assert last.details == "exit code 7\n어디가 아파요"
    assert "아파요" not in capfd.readouterr().err
    supervisor.start("j", f"{JOBS}:grumbles", {})
    last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFailed)
    assert (last.remedy, last.details) == ("Its output on standard error says why.", "exit code 7")
    assert "아파요" in capfd.readouterr().err


@POSIX
def test_where_a_child_broke_is_kept(supervisor: JobSupervisor, tmp_path: Path) -> None:
    supervisor.start("j", f"{JOBS}:faults", {}, output=tmp_path / "output.txt")
    last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFailed)
    assert "SIGSEGV" in last.message
    assert "in faults" in last.details
    supervisor.start("j", f"{JOBS}:vanishes", {}, output=tmp_path / "no folder" / "output.txt")
    last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFailed)  # that file cannot be written; the job runs all the same
    assert "SIGKILL" in last.message


@POSIX
def test_a_dead_child_is_noticed_though_its_pipe_stays_open(supervisor: JobSupervisor) -> None:
    supervisor.start("j", f"{JOBS}:leaves_a_heir", {})
    events = run_to_end(supervisor)
    heir = next(event.payload["heir"] for event in events if isinstance(event, JobProgress))
    psutil.Process(heir).kill()
    last = events[-1]
    assert isinstance(last, JobFailed)
    assert last.details == "exit code 5"


@POSIX
def test_a_silent_child_is_ended() -> None:
    with JobSupervisor(StopPolicy(silence_s=2.5)) as supervisor:
        supervisor.start("j", f"{JOBS}:stops_dead", {})
        last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFailed)
    assert "not responded" in last.message


def test_close_kills_a_running_job(supervisor: JobSupervisor) -> None:
    supervisor.start("j", f"{JOBS}:deaf", {})
    pid = next(event.pid for event in wait_for(supervisor, JobStarted) if isinstance(event, JobStarted))
    supervisor.close()
    assert not psutil.pid_exists(pid)
    assert not supervisor.running
    assert supervisor.poll() == []
    supervisor.request_stop()  # nothing to stop: no error


PARENT = """
from core.job_supervisor import JobSupervisor
from core.jobs import JobPaused, JobStarted
if __name__ == "__main__":
    supervisor = JobSupervisor()
    supervisor.start("j", "tests.unit.job_targets:{job}", {{"seed": 1, "steps": 1_000_000}})
    {then}
    pid = 0
    while True:
        for event in supervisor.poll(0.2):
            pid = event.pid if isinstance(event, JobStarted) else pid
            if isinstance(event, {awaited}):
                print(pid, flush=True)
"""


@POSIX
@pytest.mark.parametrize(
    ("job", "then", "awaited"), [("deaf", "pass", "JobStarted"), ("walks", "supervisor.pause()", "JobPaused")]
)
def test_the_child_dies_with_its_parent(tmp_path: Path, job: str, then: str, awaited: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(job=job, then=then, awaited=awaited))
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, cwd=root, env=env) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    gone, alive = psutil.wait_procs([child], timeout=20)
    assert alive == [] or all(process.status() == psutil.STATUS_ZOMBIE for process in alive)  # an init reaps it
    assert gone or alive


def test_a_job_hears_what_it_is_told_in_order(supervisor: JobSupervisor) -> None:
    supervisor.tell({"nobody": "listens"})
    supervisor.start("j1", f"{JOBS}:answers", {})
    wait_for(supervisor, JobProgress)
    told = [{"number": number, "text": "마루"} for number in range(50)] + [{"last": True}]
    for message in told:
        supervisor.tell(message)
    last = run_to_end(supervisor)[-1]
    assert isinstance(last, JobFinished)
    assert last.result == {"heard": told}
