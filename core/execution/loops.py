"""The tasks of one executor: loops and single steps, and what the end of one means. Executor's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from core.errors import UserError


class Loops:
    """Runs what works beside everything else, until `close`.

    Args:
        bears: whether all goes on although the books cannot be written; it tells its person.
        on_failure: told once why nothing goes on, before `ended` is set.

    Attributes:
        ended: set when somebody wants the end, or a task failed.
        failure: why, where a task failed.
    """

    def __init__(self, bears: Callable[[UserError], bool], on_failure: Callable[[BaseException], None]) -> None:
        self._bears = bears
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended = asyncio.Event()
        self.failure: BaseException | None = None

    def begin(self, loop: Coroutine[Any, Any, None]) -> None:
        """Run what must never end by itself."""
        self._add(loop, self._on_end)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run one step of something that is taken again and again."""
        return self._add(work, self._on_step_done)

    async def every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        """Act for ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await action()
            except UserError as exc:
                if not self._bears(exc):
                    raise

    async def close(self) -> None:
        """End every task."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(
        self, work: Coroutine[Any, Any, None], on_done: Callable[[asyncio.Task[None]], None]
    ) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(on_done)
        return task

    def _on_step_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, UserError) and self._bears(error):
            self._tasks.discard(task)
        else:
            self._on_end(task)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # A bug, a refused key, or a journal that cannot be written: without books there is no trading.
        if self.failure is None:
            self.failure = error
            self._on_failure(error)
        self.ended.set()


async def take_all(*steps: Callable[[], Awaitable[None]]) -> None:
    """Take every step in turn: books that one of them cannot write keep no other from being taken.

    Raises:
        UserError: the first that was raised, after all were taken.
    """
    errors: list[UserError] = []
    for step in steps:
        try:
            await step()
        except UserError as exc:
            errors.append(exc)
    if errors:
        raise errors[0]
