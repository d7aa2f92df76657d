"""When bytes go on the wire and come off it, read at the sockets of this process. Any thread; Qt-free.

The product is measured as it is: the tap looks at what asyncio hands to the kernel and at what aiohttp gets from it.
"""

from __future__ import annotations

import asyncio.selector_events
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp.client_proto import ResponseHandler

_QUANTITY = re.compile(rb"(?:^|[?&\s])quantity=([0-9.]+)")
_CANCEL = re.compile(rb"DELETE /api/v3/(?:order|openOrders)\b")
_CLIENT_ID = re.compile(rb"newClientOrderId=([\w-]+)")
_FINAL = re.compile(rb'"x":\s?true')
_CLOSED = re.compile(rb'"t":\s?(\d+),[^{}]*?"i":\s?"1m",[^{}]*?"x":\s?true')


@dataclass(frozen=True, slots=True)
class SentOrder:
    """An order request whose last byte was handed to the kernel at `at_s` (`time.monotonic`)."""

    at_s: float
    client_id: str
    quantity: str


@dataclass(slots=True)
class WireTap:
    """Notes every order and cancel that leaves this process and every final one-minute bar that reaches it.

    Attributes:
        orders: in the order in which they were sent.
        cancels: moments of cancel requests, `time.monotonic`.
        bars: when the frame that closed a bar was first read, by the bar's open time, ms.
    """

    orders: list[SentOrder] = field(default_factory=list)
    cancels: list[float] = field(default_factory=list)
    bars: dict[int, float] = field(default_factory=dict)
    _undo: Callable[[], None] | None = None

    def __enter__(self) -> WireTap:
        transport: Any = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
        protocol: Any = ResponseHandler
        write, data_received = transport.write, protocol.data_received

        def tapped_write(this: Any, data: bytes) -> None:
            write(this, data)
            self._sent(bytes(data), time.monotonic())

        def tapped_received(this: Any, data: bytes) -> None:
            self._received(data, time.monotonic())
            data_received(this, data)

        def undo() -> None:
            transport.write, protocol.data_received = write, data_received

        transport.write, protocol.data_received = tapped_write, tapped_received
        self._undo = undo
        return self

    def __exit__(self, *unused: object) -> None:
        if self._undo is not None:
            self._undo()

    def _sent(self, data: bytes, at_s: float) -> None:
        if b"newClientOrderId=" in data:
            name, quantity = _CLIENT_ID.search(data), _QUANTITY.search(data)
            if name is not None and quantity is not None:
                self.orders.append(SentOrder(at_s, name[1].decode(), quantity[1].decode()))
        elif _CANCEL.match(data):
            self.cancels.append(at_s)

    def _received(self, data: bytes, at_s: float) -> None:
        if _FINAL.search(data):
            for found in _CLOSED.finditer(data):
                self.bars.setdefault(int(found[1]), at_s)
