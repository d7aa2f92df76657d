"""One subscription of a venue's own messages, read past ccxt's caches. Runs on the gateway's event loop.

ccxt merges what it receives, drops fields and may miss an update between two calls of its `watch` methods; here every
message is seen once and in order of arrival.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from core.execution.api.ccxt_client import CcxtClient
from core.execution.api.gateway import GatewayError, RetryableError
from core.execution.api.venue_profile import VenueDialect
from core.execution.error_handler import Operation

E = TypeVar("E")
T = TypeVar("T")

RELEASE_TIMEOUT_S = 1.0


async def guard(client: CcxtClient, awaitable: Awaitable[T]) -> T:
    """Await a stream and classify its failure.

    ccxt cancels the futures it handed out when it closes; that must not look like the cancellation of our task.

    Raises:
        GatewayError: the stream ended.
    """
    try:
        return await awaitable
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RetryableError("the connection was closed") from None
    except Exception as exc:
        error = client.translate(exc, Operation.QUERY)
        if error is None:
            raise
        raise error from exc


async def stop_task(task: asyncio.Task[None]) -> None:
    """Cancel a helper task; an error it died of was either delivered already or is a bug and surfaces here."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class RawStream(Generic[E]):
    """What one subscription says; see `open_raw`."""

    def __init__(self, client: CcxtClient, dialect: VenueDialect, name: str) -> None:
        self._client = client
        self._dialect = dialect
        self.name = name
        self._queue: asyncio.Queue[E | GatewayError] = asyncio.Queue()

    async def next(self, timeout_s: float) -> list[E]:
        """Return what has come, in order; empty where nothing comes within `timeout_s`.

        Raises:
            GatewayError: the stream ended; what came before was returned.
        """
        try:
            async with asyncio.timeout(timeout_s):
                item = await self._queue.get()
        except TimeoutError:
            return []
        if isinstance(item, GatewayError):
            raise item
        return [item, *self.waiting()]

    def waiting(self) -> list[E]:
        """Return what has come and was not fetched; an end of the stream stays for `next`."""
        found: list[E] = []
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if isinstance(item, GatewayError):
                self._queue.put_nowait(item)
                break
            found.append(item)
        return found

    def put(self, item: E | GatewayError) -> None:
        """Take a message, or the end."""
        self._queue.put_nowait(item)

    async def hold(self) -> None:
        """Keep the subscription until the connection ends, and tell its end."""
        try:
            await guard(self._client, self._dialect.hold_stream(self._client.live, self.name))
        except GatewayError as exc:
            self.put(exc)
        except Exception:  # a bug: it surfaces when the reader, woken by this, has left
            self.put(RetryableError("the connection was closed"))
            raise
        else:
            self.put(RetryableError("the connection was closed"))

    async def release(self) -> None:
        """Give the subscription up; best effort: a connection that is gone carries none either."""
        exchange = self._client.exchange
        if exchange is not None:
            with contextlib.suppress(TimeoutError, GatewayError):
                async with asyncio.timeout(RELEASE_TIMEOUT_S):
                    await guard(self._client, self._dialect.release_stream(exchange, self.name))


@contextlib.asynccontextmanager
async def open_raw(
    client: CcxtClient, dialect: VenueDialect, name: str, decode: Callable[[Mapping[str, Any]], E | None]
) -> AsyncIterator[RawStream[E]]:
    """Subscribe to a stream.

    Args:
        client: the connection.
        dialect: subscribes and gives up.
        name: as the venue spells it.
        decode: None for messages of other streams.
    """
    stream: RawStream[E] = RawStream(client, dialect, name)

    def take(message: Mapping[str, Any]) -> bool:
        event = decode(message)
        if event is not None:
            stream.put(event)
        return event is not None

    client.add_raw_handler(take)
    holder = asyncio.create_task(stream.hold(), name="raw-stream")
    try:
        yield stream
    finally:
        client.remove_raw_handler(take)
        await stop_task(holder)
