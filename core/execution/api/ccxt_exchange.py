"""The venue's ccxt class with our points of observation. Runs on the gateway's event loop.

ccxt is configured and subclassed, never patched: what it receives is shown to us before it makes less of it, and the
time it signs with is the venue's.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.clock import NS_PER_MS
from core.execution.api.venue_profile import VenueProfile

MOST_DIAL_DELAY_S = 2.0  # the readers of the streams have their own growing pauses

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of an account; never shown in representations, logs or reports."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)


class ExchangeObserver(Protocol):
    """Who is shown what passes through a ccxt exchange, and tells it the time."""

    def venue_now_ns(self) -> int:
        """Return the time to sign with, ns UTC."""
        ...

    def on_answer(self, status: int, url: str, headers: Mapping[str, str], body: str) -> None:
        """Take an HTTP answer; header names in lower case."""
        ...

    def on_stream_message(self, message: dict[str, Any]) -> bool:
        """Take a decoded stream message; whether ccxt need not see it."""
        ...

    def dial_pause_s(self) -> float:
        """Return how long no new stream connection may be opened."""
        ...


def build_exchange(
    base: type[Any], profile: VenueProfile, credentials: Credentials | None, session: Any, observer: ExchangeObserver
) -> Any:
    """Make the exchange object of one venue; to be called on the loop it lives on.

    Args:
        base: the venue's ccxt.pro class.
        profile: options and addresses.
        credentials: keys; None for public data only.
        session: our aiohttp session.
        observer: sees what passes.
    """

    class VenueExchange(base):  # type: ignore[misc]
        """The venue's ccxt class with four observation points and one bound."""

        number = str  # amounts stay the text the venue sent; also for what ccxt itself states, such as fees

        def milliseconds(self) -> int:
            """Return the venue's time, ms UTC; request timestamps derive from it."""
            return observer.venue_now_ns() // NS_PER_MS

        def on_rest_response(
            self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *request: Any
        ) -> str:
            """Show the answer of the call that is being made; and that there was one."""
            observer.on_answer(code, url, {str(name).lower(): str(headers[name]) for name in headers}, body)
            return str(super().on_rest_response(code, reason, url, method, headers, body, *request))

        def ws_dial_delay(self, url: str) -> float:
            """Bound ccxt's pause before a dial: its counter is shared by all streams and soon says 30 s."""
            return max(min(float(super().ws_dial_delay(url)), MOST_DIAL_DELAY_S), observer.dial_pause_s())

        def handle_message(self, stream: Any, message: Any) -> None:
            """Show raw messages to the gateway: ccxt drops fields and merges updates.

            A message that is not understood ends the connection with an error: ccxt would stop reading and say
            nothing, and everybody would wait for messages that never come.
            """
            try:
                if not (isinstance(message, dict) and observer.on_stream_message(message)):
                    super().handle_message(stream, message)
            except Exception as exc:  # noqa: BLE001 - whatever it is, it must not pass in silence
                _log.exception("a stream message was not understood")
                stream.on_error(ConnectionError(f"a stream message was not understood: {exc!r}"))

    VenueExchange.__name__ = base.__name__
    exchange = VenueExchange(_configuration(profile, credentials, session))
    exchange.streaming = {**exchange.streaming, "keepAlive": int(profile.ping_interval_s * 1_000)}
    if profile.urls:
        exchange.urls["api"] = {**exchange.urls["api"], **copy.deepcopy(dict(profile.urls))}
    return exchange


def _configuration(profile: VenueProfile, credentials: Credentials | None, session: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "session": session,
        "asyncio_loop": asyncio.get_running_loop(),
        "enableRateLimit": False,
        "timeout": profile.request_timeout_ms,
        "options": dict(copy.deepcopy(profile.options)),
        "newUpdates": False,
    }
    if credentials is not None:
        config |= {"apiKey": credentials.api_key, "secret": credentials.api_secret}
    return config
