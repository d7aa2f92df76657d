"""One life of the trading program: an executor over a journal file, killed at any commit, request or await point.

Death takes effect at once: nothing the dead program still runs through (its `finally` blocks, say) reaches journal,
fence or venue, as after `kill -9`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import sqlalchemy as sa

from core.clock import Clock
from core.config import DataPaths
from core.errors import UserError
from core.events import ExecutorEvent
from core.execution.api.gateway import OrderRequest
from core.execution.executor import Executor
from core.execution.executor_options import ExecutorOptions
from core.execution.fence import Fence, FenceState
from core.execution.journal import Journal
from core.execution.process_lock import ExecutorLock
from core.execution.records import OrderRecord
from core.signals.risk_management import RiskManager, RiskSettings
from core.strategies.making import ModelLoaders
from tests.chaos.gateway import SimGateway
from tests.chaos.virtual_loop import PROCESS, VirtualLoop

if TYPE_CHECKING:
    from tests.chaos.venue import SimVenue

OPTIONS = ExecutorOptions(jitter_seed=0)  # a schedule must replay itself
RISK = RiskSettings()


class ProcessDied(BaseException):
    """Thrown through whatever a dead program still executes; nothing may catch it."""


class SimProcess:
    """A program that can be killed.

    Attributes:
        number: which life this is, from 1.
        executor: built at once; `run` starts it.
        started: whether `Executor.start` returned.
        killed: whether it was killed.
        ended: whether the program ended by itself or by `stop`.
        failure: the bug it ended with, if any.
        events: what it told its screen.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        sim: SimVenue,
        paths: DataPaths,
        wall: Clock,
        number: int,
        new_id: Callable[[], str],
        on_wire: Callable[[SimProcess, OrderRequest], None],
        on_insert: Callable[[SimProcess, OrderRecord], None],
        on_event: Callable[[ExecutorEvent], None],
        on_death: Callable[[SimProcess], None],
    ) -> None:
        self.loop = loop
        self.number = number
        self.name = f"program-{number}"
        self.alive = True
        self.started = False
        self.ended = False
        self.killed = False
        self.failure: BaseException | None = None
        self.events: list[ExecutorEvent] = []
        self.die_at: dict[str, int] = {}  # point -> how many more of them it lives through
        self.disk_faults = 0
        self.on_insert = on_insert
        self._on_event = on_event
        self._on_death = on_death
        self._context = copy_context()
        self._context.run(PROCESS.set, self.name)
        self.gateway = SimGateway(sim, wall, self.guard, lambda request: self._sent(on_wire, request))
        self.journal = ChaosJournal(paths.journal_db, self)
        self.fence = ChaosFence(paths.root / "fence.json", self)
        self.lock = ExecutorLock(paths.root / "locks", "chaos", paths.root)
        self.executor = Executor(
            self.gateway,
            self.journal,
            RiskManager(RISK),
            self._hear,
            ModelLoaders(_no_models, _no_models),
            paths=paths,
            fence=self.fence,
            lock=self.lock,
            market=wall,
            wall=wall,
            options=OPTIONS,
            new_id=new_id,
        )

    def guard(self) -> None:
        """Refuse to let a dead program touch anything."""
        if not self.alive:
            raise ProcessDied(self.name)

    def reach(self, point: str) -> None:
        """The program comes by a point where it may be killed ("commit", "committed", "wire", "wired")."""
        self.guard()
        if point in self.die_at:
            self.die_at[point] -= 1
            if self.die_at[point] <= 0:
                self.die()
                raise ProcessDied(self.name)

    def _sent(self, on_wire: Callable[[SimProcess, OrderRequest], None], request: OrderRequest) -> None:
        self.reach("wire")
        on_wire(self, request)

    def _hear(self, event: ExecutorEvent) -> None:
        if self.alive:
            self.events.append(event)
            self._on_event(event)

    # --- life -------------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let the program do something."""
        return self.loop.create_task(work, context=self._context.copy())

    def run(self) -> asyncio.Task[Any]:
        """Start the program."""
        return self.spawn(self._main())

    async def _main(self) -> None:
        try:
            await self.executor.start()
            self.started = True
            await self.executor.run(resume=False)
        except UserError:
            # Told to a person, who starts the program again; what it opened is closed as every session is.
            await self.executor.stop()
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is the finding
            self.failure = exc
        finally:
            if self.alive:
                self.ended = True

    def die(self) -> None:
        """Kill the program now."""
        if not self.alive:
            return
        self.alive = False
        self.killed = True
        self._on_death(self)
        self.gateway.lose_sessions()
        self.lock.release()
        current = asyncio.current_task(self.loop)
        for task in self.loop.tasks_of(self.name):
            if task is not current:
                task.cancel()

    async def leave(self, patience_s: float = 60.0) -> None:
        """Stop the program as its own exit does: stop the executor, then cancel whatever still runs."""
        stopping = self.spawn(self.executor.stop())
        await asyncio.wait({stopping}, timeout=patience_s)
        for _ in range(100):
            tasks = self.loop.tasks_of(self.name)
            if not tasks or not self.alive:
                break
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
        if self.alive:
            self.ended = True
            self.alive = False
            self.journal.close()

    async def reap(self) -> None:
        """Let a dead program's tasks fall over; no time passes."""
        for _ in range(100):
            tasks = self.loop.tasks_of(self.name)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
        self.journal.close()


class ChaosJournal(Journal):
    """The journal of a program that may die before or after any commit, and whose disk may refuse one."""

    def __init__(self, path: Path, process: SimProcess) -> None:
        super().__init__(path)
        self._process = process
        self._path = path

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        self._process.reach("commit")
        if self._process.disk_faults:
            self._process.disk_faults -= 1
            raise UserError("The disk is full.", "Free some space.")
        with super()._write() as connection:
            yield connection
        self._process.reach("committed")

    def _read(self, statement: Any, values: Any = None) -> Any:
        self._process.guard()
        return super()._read(statement, values)

    def insert_order(self, record: OrderRecord, cause: str, now_ns: int) -> None:
        super().insert_order(record, cause, now_ns)
        self._process.on_insert(self._process, record)


class ChaosFence(Fence):
    """The fence file as a program sees it."""

    def __init__(self, path: Path, process: SimProcess) -> None:
        super().__init__(path)
        self._process = process

    def read(self) -> FenceState | None:
        self._process.guard()
        return super().read()

    def write(self, state: FenceState) -> None:
        self._process.reach("fence")
        super().write(state)


def _no_models(model_id: str) -> NoReturn:
    raise AssertionError(f"no model was to be loaded, not even {model_id}")
