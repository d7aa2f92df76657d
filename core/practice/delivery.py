"""One WebSocket client: its send queue, and the faults that befall its frames. Event-loop thread of the exchange."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from core.practice.fault_rules import FaultRule
from core.practice.faults import USER_PREFIX, FaultPlan, frame_matches

if TYPE_CHECKING:
    from core.practice.streams import Stream

_QUEUE_LIMIT: Final = 50_000
_STALL_POLL_S: Final = 0.02
_CUT: Final = ""  # in place of a text: what was queued before it is sent, then the connection is cut
_HOLD_MS: Final = 1_000  # a frame that waits for the next one to overtake it waits no longer


class Connection:
    """One WebSocket client with its own send queue, so that a slow reader delays nobody else.

    Attributes:
        socket: its WebSocket.
        combined: frames are wrapped with the name of their stream.
        user: it speaks the WebSocket API, which also carries the account's events.
        cut: drops the TCP connection at once.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        plan: FaultPlan,
        cut: Callable[[], None],
        *,
        combined: bool = False,
        user: bool = False,
    ) -> None:
        self.socket = socket
        self._plan = plan
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._held: list[tuple[str, str]] = []
        self._end: tuple[int, bytes] | None = None
        self.combined = combined
        self.user = user
        self.cut = cut
        self.streams: dict[str, Stream] = {}
        self.user_subscription: int | None = None

    def matches(self, target: str) -> bool:
        """Return whether a target of frames means this connection."""
        names = (USER_PREFIX,) if self.user else tuple(self.streams) or ("",)
        return any(frame_matches(target, name) for name in names)

    def reply(self, payload: Any) -> None:
        """Queue the answer to a request; faults of streams do not concern it."""
        self._put("", json.dumps(payload, separators=(",", ":")))

    def deliver(self, name: str, text: str) -> None:
        """Queue a frame of a stream, unless something befalls it."""
        fate = self._plan.frame(name)
        if fate is not None:
            self._befall(fate, name, text)
            return
        self._put(name, text)
        self._release()

    def _befall(self, fate: FaultRule, name: str, text: str) -> None:
        loop = asyncio.get_running_loop()
        if fate.kind == "cut":
            self._put("", _CUT)
        elif fate.kind == "late":
            loop.call_later(fate.ms / 1_000, self._put, name, text)
        elif fate.kind == "reorder":
            self._held.append((name, text))
            loop.call_later((fate.ms or _HOLD_MS) / 1_000, self._release)
        elif fate.kind == "duplicate":
            self._put(name, text)
            self._put(name, text)
            self._release()

    def _release(self) -> None:
        """Queue the frames that others were to overtake."""
        held, self._held = self._held, []
        for name, text in held:
            self._put(name, text)

    def _put(self, name: str, text: str) -> None:
        """Queue a frame; a reader that is too far behind is disconnected, as the venue does."""
        if self._end is not None:
            return
        queued = self._queue.qsize()
        if queued >= _QUEUE_LIMIT or (name and self._plan.overflows(name, queued)):
            self.close(1008, b"Client is too slow")
            return
        self._queue.put_nowait(text)

    def close(self, code: int, reason: bytes) -> None:
        """Close the socket properly, before anything that is still queued."""
        self._end = code, reason
        self._queue.put_nowait(_CUT)  # wakes the pump where it waits for a frame

    async def pump(self) -> None:
        """Send queued frames until the connection ends."""
        while not self.socket.closed:
            text = await self._queue.get()
            await self._wait_out_stall()
            if self._end is not None:
                await self.socket.close(code=self._end[0], message=self._end[1])
                return
            if text == _CUT:
                self.cut()
                return
            try:
                await self.socket.send_str(text)
            except (ConnectionError, RuntimeError):
                return  # the peer went away between two frames; the reading side cleans up

    async def pong(self, payload: bytes) -> None:
        """Answer a ping, unless the connection is to look dead."""
        if not self._plan.stalled(self.matches, count=False):
            await self.socket.pong(payload)

    async def _wait_out_stall(self) -> None:
        count = True
        while self._end is None and not self.socket.closed and self._plan.stalled(self.matches, count=count):
            count = False
            await asyncio.sleep(_STALL_POLL_S)
