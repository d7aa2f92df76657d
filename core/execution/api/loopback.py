"""HTTP sessions for gateways; a practice session can reach this machine only. Runs on the gateway's event loop.

The check sits where the socket is made, on the resolved address: whatever URL, redirect or name lookup led there, and
for HTTP and WebSocket alike, a practice gateway cannot open a connection that leaves the machine.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, Any

from core.execution.api.gateway import FatalGatewayError

if TYPE_CHECKING:
    import aiohttp


class LeavesThisMachine(FatalGatewayError):
    """A practice gateway was about to connect to another machine."""


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address or the name localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_loopback_socket(address: tuple[Any, ...]) -> socket.socket:
    """Make the socket for one resolved address.

    Raises:
        LeavesThisMachine: the address is not a loopback address.
    """
    family, kind, protocol, _, target = address
    if not is_loopback(str(target[0])):
        raise LeavesThisMachine(f"the practice gateway connects to this machine only, not to {target[0]}")
    return socket.socket(family, kind, protocol)


def open_session(*, loopback_only: bool) -> aiohttp.ClientSession:
    """Return a session that ignores proxy settings of the environment; restricted to loopback where asked."""
    import aiohttp
    import certifi

    if loopback_only:
        connector = aiohttp.TCPConnector(socket_factory=open_loopback_socket)
    else:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=certifi.where()))
    return aiohttp.ClientSession(connector=connector, trust_env=False)
