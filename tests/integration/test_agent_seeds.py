"""Seeds of an agent that learn at the same time, in real children of a real job: cancelled, paused, and orphaned."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from core.data.data_storage import CandleStore
from core.domain.data_origin import BINANCE
from core.job_supervisor import JobSupervisor, StopPolicy
from core.jobs import JobCancelled, JobEvent, JobFailed, JobFinished, JobPaused, JobProgress, JobResumed
from ml.agents.job import TRAIN_AGENT_JOB
from ml.agents.progress import AgentProgress, AgentResult
from ml.agents.run_spec import PPO, AgentSpec
from ml.trial_ledger import TrialLedger
from tests.unit.ml.agents.agent_runs import job_of, short_spec
from tests.unit.ml.helpers import ar1_returns, frame_from_returns

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    CandleStore(tmp_path / "candles").write(BINANCE, frame_from_returns(ar1_returns(2_500, 0.3, 1)), "import")
    return tmp_path


def spec_of(*, endless: bool) -> AgentSpec:
    spec = short_spec(PPO)
    long = {"steps": 100_000_000, "evaluations": 10_000, "patience": 10_000} if endless else {}
    return replace(spec, algorithm=replace(spec.algorithm, seeds_at_once=2, **long))  # type: ignore[arg-type]


def start(supervisor: JobSupervisor, data_dir: Path, *, endless: bool, resume: bool = False) -> None:
    supervisor.start("agent-1", TRAIN_AGENT_JOB, job_of(data_dir, spec_of(endless=endless), resume=resume), threads=1)


def wait_until(supervisor: JobSupervisor, is_so: Callable[[list[JobEvent]], bool]) -> list[JobEvent]:
    events: list[JobEvent] = []
    while not is_so(events):
        assert supervisor.running, events[-1]
        events += supervisor.poll(0.1)
    return events


def both_learn(events: list[JobEvent]) -> bool:
    told = [AgentProgress.from_json(event.payload) for event in events if isinstance(event, JobProgress)]
    return {each.seed_index for each in told if each.last is not None} == {0, 1}


def family() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(each.cmdline())]


def assert_gone(processes: list[psutil.Process]) -> None:
    assert len(processes) >= 3
    _, alive = psutil.wait_procs(processes, 10)
    assert not alive


def test_a_run_is_paused_cancelled_and_goes_on(data_dir: Path) -> None:
    with JobSupervisor(StopPolicy(grace_s=60.0)) as supervisor:  # how it ends, not how fast on a busy machine
        start(supervisor, data_dir, endless=True)
        events = wait_until(supervisor, both_learn)
        told = [AgentProgress.from_json(event.payload) for event in events if isinstance(event, JobProgress)]
        assert any(each.rss_bytes and each.eta_s for each in told)
        supervisor.pause()
        wait_until(supervisor, lambda heard: any(isinstance(event, JobPaused) for event in heard))
        supervisor.resume()
        wait_until(supervisor, lambda heard: any(isinstance(event, JobResumed) for event in heard))
        wait_until(supervisor, both_learn)
        processes = family()
        supervisor.request_stop()
        events = wait_until(supervisor, lambda heard: any(isinstance(event, JobCancelled) for event in heard))
        assert events[-1] == JobCancelled("agent-1", forced=False)
        assert_gone(processes)
        run_dir = data_dir / "runs" / "agent-1"
        assert len(list(run_dir.glob("checkpoint-*.json"))) == 2
        assert not (run_dir / "bars").exists()
    records = [(each.seed, each.status) for each in TrialLedger(data_dir / "trials.sqlite").records()]
    assert records == [(1, "begun"), (2, "begun"), (1, "cancelled"), (2, "cancelled")]


def test_a_run_with_two_at_once_becomes_a_model(data_dir: Path) -> None:
    with JobSupervisor() as supervisor:
        start(supervisor, data_dir, endless=False)
        events = wait_until(supervisor, lambda heard: any(isinstance(event, JobFinished) for event in heard))
    assert isinstance(events[-1], JobFinished)
    result = AgentResult.from_json(events[-1].result)
    assert [record.seed for record in result.history] == [1] * 4 + [2] * 4
    assert result.steps_per_s == pytest.approx(result.steps / result.seconds)
    assert (data_dir / "models" / result.model_id).is_dir()


@POSIX
def test_seeds_die_with_their_run(data_dir: Path) -> None:
    with JobSupervisor() as supervisor:
        start(supervisor, data_dir, endless=True)
        wait_until(supervisor, both_learn)
        processes = family()
        parents = [each for each in processes if each.ppid() == psutil.Process().pid]
        assert len(parents) == 1
        parents[0].kill()
        events: list[JobEvent] = []
        while supervisor.running:
            events += supervisor.poll(0.1)
        assert isinstance(events[-1], JobFailed)
        assert_gone(processes)


@POSIX
def test_a_seed_that_is_killed_ends_the_run(data_dir: Path) -> None:
    with JobSupervisor() as supervisor:
        start(supervisor, data_dir, endless=True)
        wait_until(supervisor, both_learn)
        processes = family()
        next(each for each in processes if each.ppid() != psutil.Process().pid).kill()
        events: list[JobEvent] = []
        while supervisor.running:
            events += supervisor.poll(0.1)
        end = events[-1]
        assert isinstance(end, JobFailed)
        assert end.user_error
        assert "ended from outside" in end.message
        assert_gone(processes)
