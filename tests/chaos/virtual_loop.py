"""An asyncio loop whose time jumps to the next timer: no schedule ever waits. Any one thread.

Sockets and threads do not exist in it: where nothing is ready and nothing is due, nothing can ever happen.
"""

from __future__ import annotations

import asyncio
import selectors
from contextvars import ContextVar, copy_context
from typing import Any

# Which simulated process a task belongs to; "" is the world itself (network, venue, driver).
PROCESS: ContextVar[str] = ContextVar("process", default="")

MOST_IDLE_TURNS = 200_000


class Deadlock(AssertionError):
    """Nothing is ready and nothing is due, yet somebody waits."""


class Spinning(AssertionError):
    """Callbacks follow each other without end while no time passes."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits by moving the loop's clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Deadlock("nothing is due and nobody can be woken")
        if timeout > 0:
            self.loop.virtual_s += timeout
            self.loop.turns = 0
        else:
            self.loop.turns += 1
            if self.loop.turns > MOST_IDLE_TURNS:
                raise Spinning(f"{MOST_IDLE_TURNS} turns of the loop in the same instant")
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs coroutines in virtual time and knows which process each task belongs to.

    Attributes:
        virtual_s: seconds since the loop was made.
        failures: what the exception handler was told: errors nobody retrieved.
    """

    def __init__(self) -> None:
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self
        self.virtual_s = 0.0
        self.turns = 0
        self.failures: list[dict[str, Any]] = []
        self._by_process: dict[str, set[asyncio.Task[Any]]] = {}
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda loop, context: self.failures.append(context))

    def time(self) -> float:
        return self.virtual_s

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
        process = (context or copy_context()).get(PROCESS, "")
        if process:
            tasks = self._by_process.setdefault(process, set())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        return task

    def tasks_of(self, process: str) -> list[asyncio.Task[Any]]:
        """Return the living tasks of one process, oldest name first."""
        return sorted(self._by_process.get(process, ()), key=lambda task: _number(task.get_name()))


def _number(name: str) -> tuple[int, str]:
    digits = "".join(c for c in name if c.isdigit())
    return int(digits) if digits else 0, name
