"""Several seeds that learn at the same time: nothing they learn depends on it, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from core.errors import UserError
from core.jobs import JobStopped
from ml.agents.bars import AgentBars, agent_bars
from ml.agents.checkpoint import kept_agent_seconds
from ml.agents.progress import AgentProgress, ValidationRecord
from ml.agents.run_spec import DDPG, PPO, AgentSpec, AlgorithmSpec, agent_hash
from ml.agents.seed_progress import SeedProgress
from ml.agents.seed_tasks import Room, process_bytes, seeds_at_once
from ml.agents.shared_bars import LearningBars, shared, shared_bars
from ml.features import MarketHistory
from ml.rl_trainer import TrainedAgent, agent_fingerprint, train_rl_model
from ml.telemetry import ResourceMonitor
from tests.unit.ml.agents.agent_runs import short_spec
from tests.unit.ml.helpers import ar1_returns, frame_from_returns

GIB = 1 << 30
Stop = Callable[[list[AgentProgress]], bool]


@pytest.fixture(scope="module")
def bars() -> AgentBars:
    return agent_bars(MarketHistory(frame_from_returns(ar1_returns(2_500, 0.3, 1))), short_spec(PPO))


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    _, alive = psutil.wait_procs(processes(), 5)
    assert not alive


def processes() -> list[psutil.Process]:
    """Return those that train."""
    return [child for child in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


def spec_of(kind: str, at_once: int, *, seeds: int = 3, **changes: Any) -> AgentSpec:
    spec = short_spec(kind, seeds=seeds)
    return replace(spec, algorithm=replace(spec.algorithm, seeds_at_once=at_once, **changes))


def endless(at_once: int, seeds: int) -> AgentSpec:
    return spec_of(PPO, at_once, seeds=seeds, steps=100_000_000, evaluations=10_000, patience=10_000)


class Run:
    """A run of which a test hears everything, and that it stops or waits for."""

    def __init__(self, stop: Stop = lambda _: False) -> None:
        self.seen: list[AgentProgress] = []
        self.logs: list[str] = []
        self.open = threading.Event()  # cleared while the run is paused
        self.open.set()
        self._stop = stop

    def should_stop(self) -> bool:
        self.open.wait(60)
        return self._stop(self.seen)

    def train(self, bars: AgentBars, spec: AgentSpec, folder: Path, *, resume: bool = False) -> TrainedAgent:
        return train_rl_model(
            bars,
            spec,
            run_id="agent-1",
            run_dir=folder,
            on_progress=self.seen.append,
            should_stop=self.should_stop,
            log=lambda _, text: self.logs.append(text),
            resume=resume,
        )


def numbers(trained: TrainedAgent) -> list[tuple[Any, ...]]:
    """Leave out what says how long it took."""
    return [
        (record.seed, record.step, record.log_return, record.turnover, record.exposure, record.learning)
        for record in trained.history
    ]


def assert_equal(one: TrainedAgent, other: TrainedAgent) -> None:
    assert numbers(one) == numbers(other)
    wanted = other.network.state_dict()
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def passed(seen: list[AgentProgress]) -> set[tuple[int, int]]:
    return {(told.seed_index, told.last.step) for told in seen if told.last is not None}


@pytest.mark.parametrize("kind", [PPO, DDPG])
def test_how_many_learn_at_once_changes_nothing(bars: AgentBars, tmp_path: Path, kind: str) -> None:
    alone = Run().train(bars, spec_of(kind, 1), tmp_path / "alone")
    run = Run()
    together = run.train(bars, spec_of(kind, 3), tmp_path / "together")
    assert_equal(together, alone)
    assert [state.seed for state in together.states] == [1, 2, 3]
    assert {told.seed_index for told in run.seen} == {0, 1, 2}
    assert passed(run.seen) == {(record.seed - 1, record.step) for record in together.history}
    assert together.seconds > 0.0
    assert not (tmp_path / "together" / "bars").exists()
    assert not list((tmp_path / "together").glob("checkpoint-*"))


def test_what_was_under_way_goes_on_to_the_very_same_agents(bars: AgentBars, tmp_path: Path) -> None:
    """Stopped while two of three seeds had a checkpoint, it goes on with another number at a time."""
    whole = Run().train(bars, spec_of(PPO, 1), tmp_path / "whole")
    stopped = Run(lambda seen: len({index for index, _ in passed(seen)}) == 2)
    with pytest.raises(JobStopped):
        stopped.train(bars, spec_of(PPO, 2), tmp_path / "cut")
    kept = sorted(file.name for file in (tmp_path / "cut").glob("*.json"))
    assert len(kept) >= 2
    before = kept_agent_seconds(tmp_path / "cut")
    assert before > 0
    run = Run()
    resumed = run.train(bars, spec_of(PPO, 3), tmp_path / "cut", resume=True)
    assert_equal(resumed, whole)
    assert resumed.seconds > before


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_process_that_dies_ends_the_run_with_one_sentence(bars: AgentBars, tmp_path: Path) -> None:
    run = Run()

    def kill_one() -> bool:
        if len({index for index, _ in passed(run.seen)}) == 2 and not killed:
            killed.append(processes()[0].pid)
            os.kill(killed[0], signal.SIGKILL)
        return False

    killed: list[int] = []
    run._stop = lambda _: kill_one()
    with pytest.raises(UserError, match=r"ended from outside \(SIGKILL\)"):
        run.train(bars, endless(2, 2), tmp_path)
    assert len(killed) == 1
    assert list(tmp_path.glob("checkpoint-*.json"))


def test_what_is_wrong_in_a_process_is_said_as_in_the_run_itself(bars: AgentBars, tmp_path: Path) -> None:
    with pytest.raises(JobStopped):
        Run(lambda seen: bool(passed(seen))).train(bars, endless(1, 2), tmp_path)
    (kept,) = tmp_path.glob("checkpoint-1-*.safetensors")
    data = kept.read_bytes()
    kept.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match="The checkpoint of this run is damaged"):
        Run().train(bars, endless(2, 2), tmp_path, resume=True)


def test_a_pause_reaches_every_process_and_it_goes_on(bars: AgentBars, tmp_path: Path) -> None:
    used: list[float] = []
    wanted = [1_000]
    run = Run(lambda seen: len(passed(seen)) >= wanted[0])

    def pause() -> None:
        while len({index for index, _ in passed(run.seen)}) < 2:
            time.sleep(0.05)
        run.open.clear()
        time.sleep(1.5)
        children = processes()
        first = [sum(child.cpu_times()[:2]) for child in children]
        time.sleep(1.0)
        used.extend(sum(child.cpu_times()[:2]) - at for child, at in zip(children, first, strict=True))
        wanted[0] = len(passed(run.seen)) + 2
        run.open.set()

    pauser = threading.Thread(target=pause)
    pauser.start()
    with pytest.raises(JobStopped):
        run.train(bars, endless(2, 2), tmp_path)
    pauser.join()
    assert len(used) >= 2
    assert max(used) < 0.2


def test_bars_are_shared_not_copied(bars: AgentBars, tmp_path: Path) -> None:
    given = LearningBars.of(bars)
    with shared(given, tmp_path / "bars"):
        found = shared_bars(tmp_path / "bars")
        assert torch.equal(found.market.features, bars.market.features)
        assert torch.equal(found.market.prices, bars.market.prices)
        assert torch.equal(found.market.volatility, bars.market.volatility)
        assert (found.train, found.valid) == (bars.train, bars.valid)
        assert (found.bar_ns, found.forecast) == (bars.frame.timeframe.ns, None)
        np.testing.assert_array_equal(found.time_ns, bars.frame.time_ns)
        kept = (bars.market.stretches, bars.market.names, bars.market.rules, bars.market.symbols)
        assert (found.market.stretches, found.market.names, found.market.rules, found.market.symbols) == kept
        found.market.prices[0] = 7.0  # nobody does; if one did, nobody else would see it
        assert torch.equal(shared_bars(tmp_path / "bars").market.prices, bars.market.prices)
    assert not (tmp_path / "bars").exists()


def test_what_a_killed_run_shared_is_gone_where_one_seed_is_left(bars: AgentBars, tmp_path: Path) -> None:
    with shared(LearningBars.of(bars), tmp_path / "bars"):
        shutil.copytree(tmp_path / "bars", tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "bars")
    spec = spec_of(PPO, 2, seeds=1, steps=2_048, evaluations=1)
    Run().train(bars, spec, tmp_path, resume=True)
    assert not (tmp_path / "bars").exists()


def test_the_number_at_once_is_no_part_of_what_is_tried(bars: AgentBars) -> None:
    one, three = spec_of(PPO, 1), spec_of(PPO, 3)
    assert agent_hash(one) == agent_hash(three)
    assert agent_fingerprint(bars, one) == agent_fingerprint(bars, three)
    with pytest.raises(UserError, match="number of seeds at a time"):
        spec_of(PPO, 101).validate()


def test_the_automatic_number_fits_cores_and_memory() -> None:
    ppo, ddpg = AlgorithmSpec.of(PPO), AlgorithmSpec.of(DDPG)
    room = Room(cores=8, threads=1, memory=64 * GIB)

    def number(spec: AlgorithmSpec, room: Room, seeds: int = 5) -> int:
        return seeds_at_once(spec, seeds, room, observed=60, bars_bytes=100 << 20)

    assert number(ppo, room) == 5
    assert number(ppo, replace(room, cores=3)) == 3
    assert number(ppo, replace(room, cores=1)) == 1
    assert number(ppo, replace(room, threads=4)) == 2
    assert number(ppo, replace(room, memory=None)) == 5
    each = process_bytes(ddpg, 60)
    assert number(ddpg, replace(room, memory=int(each * 2.6))) == 2
    assert number(ddpg, replace(room, memory=each // 2)) == 1
    assert number(replace(ppo, steps=50_000), room) == 1  # a process would take longer to start
    assert number(replace(ppo, seeds_at_once=4), replace(room, cores=1, memory=GIB)) == 4  # as asked
    assert number(replace(ppo, seeds_at_once=4), room, seeds=2) == 2
    card = replace(room, gpu_memory=20 * GIB)
    assert number(ppo, card) == 1
    assert number(replace(ppo, seeds_at_once=4), card) == 4
    assert number(replace(ppo, seeds_at_once=4), replace(card, gpu_memory=GIB)) == 1
    assert number(ppo, room, seeds=0) == 1


def word(index: int, step: int, *, eta: float | None = None, last: int | None = None) -> AgentProgress:
    record = None if last is None else ValidationRecord(1, last, 0.1, 0.1, 0.1, 1.0, 1.0)
    return AgentProgress("agent-1", "training", step, 100, index, 5, record, eta_s=eta)


def test_messages_are_few_and_none_that_matters_is_lost(tmp_path: Path) -> None:
    now = [0.0]
    heard: list[AgentProgress] = []
    told = SeedProgress(heard.append, ResourceMonitor(tmp_path), range(5), 2, lambda: now[0])
    for index in (0, 1):
        told.take(word(index, 0))
    for step in range(10, 50, 10):
        for index in (0, 1):
            told.take(word(index, step))
    told.flush()
    assert [(each.seed_index, each.step) for each in heard] == [(0, 0), (1, 0)]
    for _ in range(5):
        now[0] += 0.3
        told.flush()
    assert [(each.seed_index, each.step) for each in heard[2:]] == [(0, 40), (1, 40)]
    told.take(word(1, 50, last=50))
    assert heard[-1].last is not None


def test_the_time_left_is_that_of_the_whole_run(tmp_path: Path) -> None:
    heard: list[AgentProgress] = []
    now = iter(range(1_000))
    told = SeedProgress(heard.append, ResourceMonitor(tmp_path), range(5), 2, lambda: float(next(now)))

    def left(progress: AgentProgress) -> float | None:
        told.take(progress)
        told.flush()
        return heard[-1].eta_s

    assert left(word(0, 0)) is None
    # Two at a time: 50 s of the first, then of the three that wait one after it and two after a whole one beside it.
    assert left(word(0, 50, eta=50.0)) == pytest.approx(250.0)
    assert left(word(1, 50, eta=50.0)) == pytest.approx(250.0)
    told.end(0)
    told.end(1)
    assert left(word(2, 0)) == pytest.approx(200.0)
    assert left(word(3, 50, eta=50.0)) == pytest.approx(150.0)
    alone = SeedProgress(heard.append, ResourceMonitor(tmp_path), range(2), 1)
    alone.take(word(0, 50, eta=10.0, last=50))
    assert heard[-1].eta_s == pytest.approx(30.0)


@pytest.mark.skipif(sys.platform == "win32", reason="no proportional share of memory there")
def test_load_and_memory_are_those_of_all_processes(tmp_path: Path) -> None:
    now = [0.0]
    child = psutil.Popen([sys.executable, "-c", "held = bytearray(64 << 20)\nwhile True: pass"])
    try:
        pids: list[int] = []
        monitor = ResourceMonitor(tmp_path, clock=lambda: now[0], others=lambda: pids)
        time.sleep(0.5)
        sizes = []
        for pids_now in ([], [child.pid], [child.pid]):
            pids[:] = pids_now
            now[0] += 2.0
            time.sleep(0.5)
            sample = monitor.sample()
            assert sample is not None
            sizes.append((sample.rss_bytes, sample.cpu_percent))
        assert sizes[2][0] - sizes[0][0] > 60 << 20
        assert sizes[2][1] > sizes[0][1] + 10.0
    finally:
        child.kill()
        child.wait(10)
    now[0] += 2.0
    assert monitor.sample() is not None  # one that has just ended is no error
