"""Composition of what trades with real money: keys, gateway, executor. Qt-free; on the loop of whoever opens it.

LIVE is a property of the gateway made here, for life; nothing above it can make one. Before its key is used the venue
is asked what the key may do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.runtime import model_loaders
from core.clock import SystemClock
from core.config import DataPaths
from core.domain.orders import TradingMode
from core.errors import UserError
from core.events import ConnectionStatus, EventSink, ExecutorEvent
from core.execution.sentinel import SentinelRules
from core.secrets.keys import KeyRecord, LoadedKey, PermissionNote

if TYPE_CHECKING:
    from core.execution.api.ccxt_gateway import CcxtGateway
    from core.execution.api.key_permissions import KeyGuard, SessionGuard, Verdict
    from core.execution.api.venue_profile import VenueProfile
    from core.execution.executor import Executor
    from core.execution.executor_options import ExecutorOptions
    from core.execution.sentinel_process import SentinelKeeper

LIVE_VENUES = ("binance",)

GUARDED = SentinelRules()
ConnectionSink = Callable[[ConnectionStatus], None]


def live_phrase(name: str) -> str:
    """Return what a person types before real money is traded with a key."""
    return f"TRADE LIVE WITH {name}"


def live_profile(venue: str) -> VenueProfile:
    """Return a venue at its own addresses.

    Raises:
        UserError: this program cannot trade there.
    """
    from core.execution.api.binance_api import binance_profile

    if venue not in LIVE_VENUES:
        raise UserError(f"Maru cannot trade at {venue}.", f"It can at: {', '.join(LIVE_VENUES)}.")
    return binance_profile()


def open_live_gateway(
    key: LoadedKey, guard: KeyGuard, *, link: str = "orders", on_connection: ConnectionSink | None = None
) -> CcxtGateway:
    """Make a gateway to a person's account; it is not connected yet.

    Args:
        guard: asked before the key is used.

    Raises:
        UserError: this program cannot trade at the key's venue.
    """
    from core.execution.api.ccxt_gateway import CcxtGateway, Credentials

    return CcxtGateway(
        live_profile(key.record.venue),
        TradingMode.LIVE,
        Credentials(key.pair.api_key, key.pair.api_secret),
        market_clock=SystemClock(),
        on_connection=on_connection,
        link=link,
        key_guard=guard,
    )


@dataclass(slots=True)
class LiveSession:
    """An executor over a person's account.

    Attributes:
        link: the gateway, closed by the executor as well.
        guard: knows what the key may do once the executor has started.
        sentinel: the dead-man switch beside it.
    """

    executor: Executor
    link: CcxtGateway
    guard: SessionGuard
    sentinel: SentinelKeeper

    async def close(self) -> None:
        """Stop the executor, dismiss the switch and close the gateway; orders stay."""
        self.sentinel.hand_over()
        try:
            await self.executor.stop()
        finally:
            try:
                await self.sentinel.close()
            finally:
                await self.link.close()


async def open_live_session(
    paths: DataPaths,
    key: LoadedKey,
    sink: EventSink,
    *,
    options: ExecutorOptions | None = None,
    sentinel: SentinelRules | None = GUARDED,
) -> LiveSession:
    """Build an executor that trades real money, on the running loop; it is not started yet.

    Args:
        paths: prepared data folder; one account, one folder.
        key: from the store, see `core.secrets.book`.
        sink: receives every executor event, on this loop's thread.
        options: intervals; None uses the defaults.
        sentinel: patience of the dead-man switch; None for none.

    Raises:
        UserError: this program cannot trade there, another program trades with the key or over the folder, or the
            folder belongs to another account.
    """
    from core.execution.api.key_permissions import SessionGuard
    from core.execution.assembly import build_executor
    from core.execution.sentinel_process import SentinelKeeper, live_account
    from core.execution.trading_place import TradingPlace, publish_place

    record = key.record
    guard = SessionGuard(unchecked_confirmed=record.withdrawals_unchecked)
    gateway = open_live_gateway(key, guard, on_connection=sink)
    keeper = SentinelKeeper(paths, live_account(record, key.pair), sink, SystemClock(), sentinel)

    def tell(event: ExecutorEvent) -> None:
        sink(event)
        keeper.follow(event)

    executor = build_executor(
        paths,
        gateway,
        record.fingerprint,
        tell,
        model_loaders(paths),
        market=SystemClock(),
        options=options,
    )
    keeper.guard(executor)
    session = LiveSession(executor, gateway, guard, keeper)
    try:
        # `main.py kill` must find the account without asking this process; only the holder of the lock may say where.
        publish_place(paths, TradingPlace(TradingMode.LIVE, record.venue, record.name, record.fingerprint))
    except BaseException:
        await session.close()
        raise
    return session


async def ask_permissions(key: LoadedKey) -> Verdict:
    """Ask the venue what a key may do; places and cancels nothing.

    Raises:
        UserError: the venue cannot be reached, or refuses the key.
    """
    from core.execution.api.gateway import GatewayError
    from core.execution.api.key_permissions import KeyRefused, Refused, SessionGuard

    guard = SessionGuard(unchecked_confirmed=key.record.withdrawals_unchecked)
    gateway = open_live_gateway(key, guard)
    try:
        await gateway.connect()
    except KeyRefused as exc:
        return guard.verdict or Refused(exc.message, exc.remedy)
    except GatewayError as exc:
        raise UserError(
            f"{key.record.venue} cannot be used: {exc.message.rstrip('.')}.",
            "Check the connection and the key, then try again.",
        ) from exc
    finally:
        await gateway.close()
    assert guard.verdict is not None
    return guard.verdict


async def ask_venue(key: LoadedKey) -> PermissionNote:
    """Ask the venue what a key may do, as it is kept with the key; see `ask_permissions`."""
    return permission_note(await ask_permissions(key), SystemClock().now_ns())


def asked_venues() -> tuple[str, ...]:
    """Return the venues of ours that say what a key may do."""
    from core.execution.api.key_permissions import tells_permissions

    return tuple(filter(tells_permissions, LIVE_VENUES))


def permission_note(verdict: Verdict, now_ns: int) -> PermissionNote:
    """Return a verdict as it is kept with the key."""
    from core.execution.api.key_permissions import Allowed

    if isinstance(verdict, Allowed):
        return PermissionNote(True, verdict.warnings, now_ns)
    return PermissionNote(False, (verdict.reason, verdict.remedy), now_ns)


def confirmation_needed(record: KeyRecord) -> bool:
    """Return whether a person has to confirm that a key cannot withdraw, because its venue does not say it."""
    from core.execution.api.key_permissions import tells_permissions

    return not record.withdrawals_unchecked and not tells_permissions(record.venue)
