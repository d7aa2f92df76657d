"""The dead-man switch: a process of its own beside a trading program. One event loop on the main thread.

A reader thread takes the program's messages from standard input; answers go to standard output and are dropped where
nobody reads them. It neither dies with its program nor obeys Ctrl-C: it has to outlive both. It needs no lock, no
database and no Qt, and the venue's client is loaded only once the program has had time to start.

What it holds of the venue is a `CancelGateway`: a gateway that has no way to send an order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.clock import Clock, SystemClock
from core.domain.money import plain
from core.domain.orders import TradingMode
from core.execution.api.gateway import (
    FatalGatewayError,
    GatewayError,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
)
from core.execution.foreign_kill import ForeignJournal
from core.execution.process_lock import ExecutorLock
from core.execution.sentinel import (
    BEAT,
    BYE,
    END,
    READY,
    SEEN,
    START,
    Action,
    Claim,
    Outcome,
    SentinelPolicy,
    SentinelRules,
    SentinelStart,
    is_protective,
)
from core.logger import hide_named

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from core.execution.api.venue_profile import VenueDialect, VenueProfile

WARM_AFTER_S = 5.0
ROUNDS = 5
ROUND_PAUSE_S = 0.3
LONGEST_PAUSE_S = 1.0  # between two looks at whether there is still anything to do
AT_ONCE = 5  # cancels on the wire together; each batch is asked for its right anew
ATTEMPT_S = 120.0
REFUSALS = 3  # in a row, after which a key counts as refused
REFUSED_EXIT = 3
_IGNORED_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # by name: not every system has all

Sleep = Callable[[float], Awaitable[None]]


class CancelGateway(Protocol):
    """All of a venue that the switch can reach."""

    async def fetch_open_orders(self) -> list[OrderReport]:
        """Return all working orders of the account."""
        ...

    async def cancel_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """Cancel one order; raises OrderUnknown where it is not open any more."""
        ...


@dataclass(frozen=True, slots=True)
class CancelOnly:
    """A `CancelGateway` of two functions: whatever else their gateway can do cannot be reached from here."""

    list_open: Callable[[], Awaitable[list[OrderReport]]] = field(repr=False)
    cancel: Callable[[str, str], Awaitable[OrderReport]] = field(repr=False)

    async def fetch_open_orders(self) -> list[OrderReport]:
        """Return all working orders of the account."""
        return await self.list_open()

    async def cancel_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """Cancel one order."""
        return await self.cancel(symbol, client_order_id)


Connect = Callable[[], "AbstractAsyncContextManager[CancelGateway]"]


class MuteDialect:
    """A venue's dialect that has no words for a new order: even the gateway inside cannot send one."""

    def __init__(self, dialect: VenueDialect) -> None:
        self._dialect = dialect

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dialect, name)

    def order_arguments(self, request: OrderRequest) -> tuple[str, dict[str, Any]]:
        """Refuse.

        Raises:
            FatalGatewayError: always.
        """
        raise FatalGatewayError(f"the dead-man switch sends no orders: {request.client_order_id}")


def profile_of(start: SentinelStart) -> VenueProfile:
    """Return the venue without the ability to send orders.

    Raises:
        FatalGatewayError: there is no such venue.
    """
    from core.execution.api.binance_api import binance_practice_profile, binance_profile

    if start.mode == TradingMode.PRACTICE:
        profile = binance_practice_profile(**start.urls)
    elif start.venue == "binance":
        profile = binance_profile()
    else:
        raise FatalGatewayError(f"no venue is known by the name {start.venue}")
    mute: Any = MuteDialect(profile.dialect)
    return replace(profile, dialect=mute)


def connector(start: SentinelStart) -> Connect:
    """Return what opens the gateway for the time of one attempt."""

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[CancelGateway]:
        from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
        from core.execution.api.key_permissions import StopGuard

        gateway = CcxtGateway(
            profile_of(start),
            TradingMode(start.mode),
            Credentials(start.api_key, start.api_secret),
            market_clock=SystemClock(),
            link="sentinel",
            key_guard=StopGuard(),
        )
        try:
            await gateway.connect()

            async def list_open() -> list[OrderReport]:
                return await gateway.fetch_open_orders()

            async def cancel(symbol: str, client_order_id: str) -> OrderReport:
                return await gateway.cancel_order(symbol, client_order_id)

            yield CancelOnly(list_open, cancel)
        finally:
            await gateway.close()

    return connect


class Diary:
    """The switch's own file, as far as the disk allows: a full one must not keep orders from being cancelled."""

    def __init__(self, path: Path, wall: Clock) -> None:
        self._file = ForeignJournal(path)
        self._wall = wall

    def note(self, kind: str, **payload: Any) -> None:
        """Write one line, durable before returning."""
        with contextlib.suppress(OSError):
            self._file.append(kind, {"time_ns": self._wall.now_ns(), **payload})


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What one attempt came to; without an outcome there is another one."""

    outcome: Outcome | None = None
    error: str = ""
    refused: bool = False
    retry_after_s: float = 0.0


@dataclass(slots=True)
class _Done:
    """What one action did: order ids."""

    cancelled: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    nameless: set[str] = field(default_factory=set)


class ClaimedSuccessor:
    """The next executor of the same key, as its claim and its lock show it."""

    def __init__(self, start: SentinelStart) -> None:
        folder = Path(start.runtime_folder)
        self._old = ("", start.claim, start.claim_before)
        self._lock = ExecutorLock(folder, start.fingerprint)
        self._claim = Claim(folder, start.fingerprint)

    def has_claimed(self) -> bool:
        """Whether another executor answers for the orders since."""
        return self._claim.read() not in self._old

    def is_starting(self) -> bool:
        """Whether somebody holds the lock."""
        try:
            return not self._lock.is_free()
        except OSError:  # a lock that cannot be opened is held by nobody who could trade
            return False


class Sentinel:
    """Watches one program and acts in its place.

    Args:
        start: what the program said first.
        policy: fed by whoever reads the program's messages, on this loop.
        connect: opens the venue for one attempt.
    """

    def __init__(
        self,
        start: SentinelStart,
        policy: SentinelPolicy,
        connect: Connect,
        diary: Diary,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._start = start
        self._rules: SentinelRules = start.rules
        self._policy = policy
        self._connect = connect
        self._diary = diary
        self._monotonic = monotonic
        self._sleep = sleep
        self._successor = ClaimedSuccessor(start)

    async def run(self) -> int:
        """Watch until there is nothing left to watch; returns the exit code."""
        ticker = asyncio.create_task(self._tick())
        try:
            while True:
                match self._decide():
                    case Action.LEAVE:
                        return 0
                    case Action.WATCH:
                        await self._sleep(self._rules.tick_s)
                    case Action.CANCEL:
                        outcome = await self._act()
                        if outcome is Outcome.REFUSED:
                            return REFUSED_EXIT
                        if outcome not in (Outcome.CAME_BACK, Outcome.TAKEN_OVER):
                            self._policy.acted()
        finally:
            ticker.cancel()

    async def _tick(self) -> None:
        """Let the policy notice when this process did not run, also while a venue is waited for."""
        while True:
            self._policy.tick(self._monotonic())
            await self._sleep(self._rules.tick_s)

    def _decide(self) -> Action:
        return self._policy.decide(self._monotonic(), self._successor)

    def _may_cancel(self) -> bool:
        """Whether the program is still silent and nobody took its orders over."""
        return self._decide() is Action.CANCEL

    async def _act(self) -> Outcome:
        """Cancel until the venue confirms or somebody else is responsible again."""
        done, outcome, error = _Done(), Outcome.FAILED, ""
        self._diary.note("begin", silence_s=self._rules.silence_s, alone=self._policy.is_alone)
        try:
            outcome, error = await self._insist(done)
        except Exception as exc:
            error = repr(exc)
            raise
        finally:
            self._diary.note(
                END,
                outcome=outcome.value,
                error=error,
                cancelled=sorted(done.cancelled),
                kept=sorted(done.kept),
                nameless=sorted(done.nameless),
            )
        return outcome

    async def _insist(self, done: _Done) -> tuple[Outcome, str]:
        """Try until there is an outcome; returns it and what went wrong last."""
        begun_s, pause_s, refusals, told = self._monotonic(), self._rules.backoff_s, 0, ""
        while self._may_cancel():
            attempt = await self._attempt(done)
            if attempt.outcome is not None:
                return attempt.outcome, ""
            refusals = refusals + 1 if attempt.refused else 0
            if refusals == REFUSALS:
                return Outcome.REFUSED, attempt.error
            if attempt.error != told:
                told = attempt.error
                self._diary.note("failed", error=told)
            if self._rules.patience_s is not None and self._monotonic() - begun_s > self._rules.patience_s:
                return Outcome.GAVE_UP, told
            await self._pause(max(pause_s, attempt.retry_after_s))
            pause_s = min(pause_s * 2, self._rules.backoff_max_s)
        return Outcome.TAKEN_OVER if self._policy.is_alone else Outcome.CAME_BACK, told

    async def _attempt(self, done: _Done) -> _Attempt:
        """Open the venue and cancel. Whatever goes wrong, orders may be open, so nothing but a refusal ends it."""
        try:
            async with asyncio.timeout(ATTEMPT_S), self._connect() as gateway:
                return _Attempt(await self._cancel_all(gateway, done))
        except FatalGatewayError as exc:  # a hotel's network says no as well, so one refusal is not the key's
            return _Attempt(error=exc.message, refused=True)
        except RetryableError as exc:
            return _Attempt(error=exc.message, retry_after_s=exc.retry_after_s)
        except GatewayError as exc:
            return _Attempt(error=exc.message)
        except Exception as exc:  # noqa: BLE001 - an answer that is not understood must not leave the rest open
            return _Attempt(error=hide_named(repr(exc)))

    async def _pause(self, seconds: float) -> None:
        until_s = self._monotonic() + seconds
        while (left_s := until_s - self._monotonic()) > 0 and self._may_cancel():
            await self._sleep(min(left_s, LONGEST_PAUSE_S))

    async def _cancel_all(self, gateway: CancelGateway, done: _Done) -> Outcome | None:
        """Cancel what is open and ask again; returns the outcome, or None where it is not reached (yet).

        Orders are cancelled one by one, never a whole market: only what was listed while nobody else was responsible
        can go, not what a new executor sends meanwhile.
        """
        for attempt in range(ROUNDS):
            if attempt:
                await self._sleep(ROUND_PAUSE_S)
            listed = await gateway.fetch_open_orders()
            mine = [o for o in listed if not is_protective(o, self._policy.protective, self._start.own_prefix)]
            done.kept = {_name(order) for order in listed if order not in mine}
            done.nameless = {_name(order) for order in mine if not order.client_order_id}
            mine = [order for order in mine if order.client_order_id]
            if not mine:
                return Outcome.INCOMPLETE if done.nameless else Outcome.CONFIRMED
            troubles: list[BaseException] = []
            for first in range(0, len(mine), AT_ONCE):
                if not self._may_cancel():
                    return None
                troubles += await self._cancel_some(gateway, mine[first : first + AT_ONCE], done)
            if troubles:  # only now: an order that cannot be cancelled must not keep the others open
                raise troubles[0]
        return None

    async def _cancel_some(self, gateway: CancelGateway, orders: list[OrderReport], done: _Done) -> list[BaseException]:
        """Cancel a few orders together; returns what went wrong."""
        self._diary.note("cancelling", orders=[_name(order) for order in orders])
        answers = await asyncio.gather(
            *(gateway.cancel_order(order.symbol, order.client_order_id) for order in orders), return_exceptions=True
        )
        troubles: list[BaseException] = []
        for order, answer in zip(orders, answers, strict=True):
            if isinstance(answer, OrderReport):
                done.cancelled.add(_name(order))
                self._diary.note("cancelled", order=_name(order), filled=plain(answer.filled_quantity))
            elif not isinstance(answer, OrderUnknown):  # one that is not open any more is no trouble
                troubles.append(answer)
        return troubles


def _name(order: OrderReport) -> str:
    return order.client_order_id or order.venue_order_id


def messages(descriptor: int) -> Iterator[dict[str, Any]]:
    """Yield JSON lines until the other end closes; what is no message is left out. Blocks."""
    rest = b""
    while chunk := os.read(descriptor, 65_536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict):
                    yield message


def _say(kind: str) -> None:
    """Answer the program; where nobody reads any more, nobody needs to know."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({"kind": kind}).encode() + b"\n")


def _take(message: dict[str, Any], policy: SentinelPolicy) -> None:
    if message.get("kind") == BEAT:
        policy.beat(time.monotonic(), [str(name) for name in message.get("protective", ())])
        _say(SEEN)
    elif message.get("kind") == BYE:
        policy.dismiss()


async def _serve(start: SentinelStart, said: Iterator[dict[str, Any]]) -> int:
    policy = SentinelPolicy(start.rules, time.monotonic())
    loop = asyncio.get_running_loop()

    def listen() -> None:
        with contextlib.suppress(RuntimeError):  # the loop ended first
            for message in said:
                loop.call_soon_threadsafe(_take, message, policy)
            loop.call_soon_threadsafe(policy.program_gone)

    threading.Thread(target=listen, name="sentinel-pipe", daemon=True).start()
    sentinel = Sentinel(start, policy, connector(start), Diary(Path(start.journal), SystemClock()))
    warming = asyncio.create_task(_warm(start.venue))
    _say(READY)
    try:
        return await sentinel.run()
    finally:
        warming.cancel()


async def _warm(venue: str) -> None:
    """Load the venue's client while all is well: when the switch has to act, memory or disk may be in trouble."""
    from core.execution.api.ccxt_loader import load_exchange_class

    await asyncio.sleep(WARM_AFTER_S)
    # A failure shows where it counts: when the gateway is opened.
    with contextlib.suppress(Exception):
        await asyncio.get_running_loop().run_in_executor(None, load_exchange_class, venue)


def main() -> int:
    """Serve the program at the other end of standard input; returns the exit code."""
    for name in _IGNORED_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    said = messages(0)
    first = next(said, None)
    if first is None or first.get("kind") != START:
        return 0  # the program thought better of it
    start = SentinelStart.from_json(first)
    try:
        profile_of(start)
    except FatalGatewayError as exc:
        print(exc.message, file=sys.stderr)
        return REFUSED_EXIT
    # Until here a failure is told on standard error. From here on nobody may read it, and a full pipe would stop us.
    if sys.platform != "win32":
        os.set_blocking(1, False)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    return asyncio.run(_serve(start, said))


if __name__ == "__main__":
    sys.exit(main())
