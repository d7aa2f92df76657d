"""Fixtures of the order path: a fake venue, a migrated data folder, an executor over both."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.config import DataPaths
from core.domain.candles import Timeframe
from core.events import ExecutorEvent
from core.execution.executor import Executor
from core.execution.executor_options import ExecutorOptions
from core.execution.fence import Fence
from core.execution.journal import Journal
from core.execution.process_lock import ExecutorLock
from core.execution.synchroniser import EvidenceRules
from core.persistence.schema import ensure_migrated
from core.signals.risk_management import RiskManager, RiskSettings
from core.strategies.agent_policy import AgentPolicy
from core.strategies.making import ModelLoaders
from core.strategies.predictor import Predictor
from tests.unit.execution.fake_venue import FakeVenue

FAST = ExecutorOptions(
    reconcile_s=0.05,
    unknown_s=0.01,
    refresh_s=0.01,
    ping_s=0.2,
    settle_s=0.3,
    settle_poll_s=0.005,
    backoff_s=0.005,
    backoff_max_s=0.02,
    jitter_seed=0,
    evidence=EvidenceRules(query_gap_s=0.0),
)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly migrated data folder; copied by every test, because migrating starts a process."""
    paths = DataPaths(tmp_path_factory.mktemp("migrated"))
    ensure_migrated(paths)
    return paths.root


@pytest.fixture
def paths(migrated: Path, tmp_path: Path) -> DataPaths:
    """A data folder of this test alone."""
    shutil.copytree(migrated, tmp_path / "data")
    return DataPaths(tmp_path / "data")


@pytest.fixture
def journal(paths: DataPaths) -> Iterator[Journal]:
    opened = Journal(paths.journal_db)
    yield opened
    opened.close()


@pytest.fixture
def venue() -> FakeVenue:
    return FakeVenue()


@dataclass
class Desk:
    """Starts executors over one venue and data folder, and keeps what they said."""

    venue: FakeVenue
    paths: DataPaths
    load_predictor: Callable[[str], Predictor]
    load_agent: Callable[[str], AgentPolicy]
    events: list[ExecutorEvent] = field(default_factory=list)
    executors: list[Executor] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    risk: RiskSettings = field(default_factory=RiskSettings)
    options: ExecutorOptions = FAST

    def build(self, **extra: object) -> Executor:
        self.journal = Journal(self.paths.journal_db)
        self.venue.on_connection = self.events.append
        executor = Executor(
            self.venue,
            self.journal,
            RiskManager(self.risk),
            self.events.append,
            ModelLoaders(self.load_predictor, self.load_agent),
            paths=self.paths,
            fence=Fence(self.paths.root / "fence.json"),
            lock=ExecutorLock(self.paths.root / "locks", "test"),
            market=self.venue.clock,
            wall=self.venue.clock,
            options=self.options,
            **extra,
        )
        self.executors.append(executor)
        return executor

    async def start(self, **extra: object) -> Executor:
        executor = self.build(**extra)
        await executor.start()
        return executor

    def said(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def no_models(model_id: str) -> Any:
    raise AssertionError(f"no model was to be loaded, not even {model_id}")


NO_MODELS = ModelLoaders(no_models, no_models)


@pytest.fixture
async def desk(venue: FakeVenue, paths: DataPaths) -> AsyncIterator[Desk]:
    made = Desk(venue, paths, no_models, no_models)
    yield made
    for executor in made.executors:
        await executor.stop()


M1 = Timeframe.M1
