"""A paper account over a scripted market, and executors over that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from core.config import DataPaths
from core.events import ExecutorEvent
from core.execution.assembly import build_executor, key_fingerprint
from core.execution.executor import Executor
from core.execution.fill_values import FillRules
from core.execution.paper.account_file import AccountFile
from core.execution.paper.gateway import PaperGateway, PaperOptions
from tests.unit.execution.conftest import FAST, NO_MODELS
from tests.unit.execution.paper.market_double import MarketDouble

AT_ONCE = PaperOptions(latency_s=0.0, jitter_s=0.0, rules=FillRules(participation=Decimal(1)))


@dataclass
class Paper:
    """Opens gateways and executors over one account file; every one of them is a program that may end."""

    market: MarketDouble
    paths: DataPaths
    events: list[ExecutorEvent] = field(default_factory=list)
    opened: list[PaperGateway | Executor] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.paths.paper / "fake.sqlite"

    def file(self, **opening: int) -> AccountFile:
        return AccountFile(self.path, {k: Decimal(v) for k, v in (opening or {"USDT": 10_000}).items()})

    def gateway(self, options: PaperOptions = AT_ONCE) -> PaperGateway:
        made = PaperGateway(
            self.market, self.file(), market_clock=self.market.clock, wall_clock=self.market.clock, options=options
        )
        self.opened.append(made)
        return made

    async def connected(self, options: PaperOptions = AT_ONCE) -> PaperGateway:
        gateway = self.gateway(options)
        await gateway.connect()
        return gateway

    def executor(self) -> Executor:
        gateway = self.gateway()
        executor = build_executor(
            self.paths,
            gateway,
            key_fingerprint("fake", gateway.account_id),
            self.events.append,
            NO_MODELS,
            market=self.market.clock,
            wall=self.market.clock,
            options=FAST,
        )
        self.opened.append(executor)
        return executor

    async def started(self) -> Executor:
        executor = self.executor()
        await executor.start()
        return executor

    def said(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
async def paper(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Paper]:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(paths.root / "locks"))
    made = Paper(MarketDouble(), paths)
    yield made
    for opened in reversed(made.opened):
        await (opened.stop() if isinstance(opened, Executor) else opened.close())


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - facts of a file, not events
            await asyncio.sleep(0.005)
