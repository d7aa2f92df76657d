"""What a key may do, read from the venue at its first use, and whether it may trade here. Runs on the gateway's loop.

A key that can move money out is refused: whoever steals it from this machine could empty the account. `judge` decides
and is pure. A right that the venue leaves out or says unclearly is not taken for one that is switched off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from core.execution.api.ccxt_client import CcxtClient
from core.execution.api.gateway import FatalGatewayError
from core.execution.error_handler import Operation

ASK_AGAIN = "Try again later; until the venue says it, the key stays unused."
_SAFE_KEY = "Make a key that may only read and trade."
_HARMLESS = frozenset({"enableFixReadOnly"})


class KeyRefused(FatalGatewayError):
    """The key works, but must not be used here; only a person can change that, on the venue's page.

    Attributes:
        remedy: what the person can do.
    """

    def __init__(self, message: str, remedy: str = ASK_AGAIN) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Permissions:
    """Rights of a key.

    Attributes:
        reading: it sees the account.
        trading: it places spot orders.
        withdrawals: it sends money to an outside address.
        transfers: it moves money to other accounts at the venue.
        ip_restricted: the venue takes it from listed addresses only.
        unneeded: further rights that are switched on, in words.
    """

    reading: bool
    trading: bool
    withdrawals: bool
    transfers: bool
    ip_restricted: bool
    unneeded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """The key may be used.

    Attributes:
        warnings: what its person should mind, one sentence each.
    """

    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The key must not be used.

    Attributes:
        reason: why, to follow a colon.
        remedy: one sentence saying what to do.
    """

    reason: str
    remedy: str


Verdict = Allowed | Refused


def judge(permissions: Permissions, *, for_trading: bool = True) -> Verdict:
    """Decide whether a key may be used.

    Args:
        permissions: as the venue told them.
        for_trading: False where it is only to read.
    """
    if permissions.withdrawals:
        return Refused("this key can withdraw money", _SAFE_KEY)
    if permissions.transfers:
        return Refused("this key can move money to other accounts", _SAFE_KEY)
    if not permissions.reading:
        return Refused("this key may not read the account", "Allow reading on the venue's page.")
    if for_trading and not permissions.trading:
        return Refused("this key may not trade", "Allow spot trading on the venue's page.")
    warnings = []
    if not permissions.ip_restricted:
        warnings.append("The venue takes this key from any address. Restrict it to the address of this machine.")
    if permissions.unneeded:
        warnings.append(f"Rights that are not needed here: {', '.join(permissions.unneeded)}. Switch them off.")
    return Allowed(tuple(warnings))


def binance_permissions(answer: Mapping[str, Any]) -> Permissions:
    """Read `GET /sapi/v1/account/apiRestrictions`.

    Raises:
        KeyRefused: a right is missing in the answer or is neither true nor false.
    """
    known = {
        name: _truth(answer, name)
        for name in ("enableReading", "enableSpotAndMarginTrading", "enableWithdrawals", "enableInternalTransfer")
    }
    known["permitsUniversalTransfer"] = _truth(answer, "permitsUniversalTransfer")
    rest = {name for name, value in answer.items() if name not in known and value not in (False, None, 0, "")}
    # A right that was not there when this was written, by what its name says.
    moving = {name for name in rest if "transfer" in name.lower() or "withdraw" in name.lower()}
    named = tuple(sorted(name for name in rest - moving if name.startswith(("enable", "permits"))))
    return Permissions(
        reading=known["enableReading"],
        trading=known["enableSpotAndMarginTrading"],
        withdrawals=known["enableWithdrawals"],
        transfers=known["enableInternalTransfer"] or known["permitsUniversalTransfer"] or bool(moving),
        ip_restricted=answer.get("ipRestrict") is True,
        unneeded=tuple(name for name in named if name not in _HARMLESS),
    )


def _truth(answer: Mapping[str, Any], name: str) -> bool:
    value = answer.get(name)
    if not isinstance(value, bool):
        raise KeyRefused(f"the venue did not say what this key may do ({name} is missing)")
    return value


@dataclass(frozen=True, slots=True)
class PermissionReader:
    """How one venue is asked.

    Attributes:
        ask: makes the request with the exchange object.
        parse: reads the answer.
    """

    ask: Callable[[Any], Awaitable[Any]]
    parse: Callable[[Mapping[str, Any]], Permissions]


async def _ask_binance(exchange: Any) -> Any:
    return await exchange.sapiGetAccountApiRestrictions()


# Venues that say what a key may do, by ccxt's name. All others have to be taken at their person's word.
READERS: Mapping[str, PermissionReader] = {"binance": PermissionReader(_ask_binance, binance_permissions)}
_WEIGHT = 1.0


def tells_permissions(venue: str) -> bool:
    """Return whether a venue can be asked what a key may do."""
    return venue in READERS


async def read_permissions(client: CcxtClient, venue: str) -> Permissions:
    """Ask the venue what the key of an open client may do.

    Raises:
        KeyRefused: the answer does not say it.
        GatewayError: the venue cannot be asked, or refuses the key.
    """
    reader = READERS[venue]
    answer = await client.call(Operation.QUERY, _WEIGHT, reader.ask)
    if not isinstance(answer, Mapping):
        raise KeyRefused("the venue did not say what this key may do")
    return reader.parse(answer)


class KeyGuard(Protocol):
    """Asked by a gateway with keys before the first request that uses them."""

    async def admit(self, client: CcxtClient, venue: str) -> None:
        """Let the key pass.

        Raises:
            GatewayError: it must not be used, or the venue cannot be asked.
        """
        ...


class SessionGuard:
    """Reads the rights of one key once a session, and refuses what must not trade.

    Args:
        unchecked_confirmed: a person confirmed that the key cannot withdraw; counts where the venue cannot be asked.

    Attributes:
        told: takes the verdict as soon as there is one, on the gateway's loop.
    """

    def __init__(self, *, unchecked_confirmed: bool = False, told: Callable[[Verdict], None] | None = None) -> None:
        self._unchecked_confirmed = unchecked_confirmed
        self.told = told
        self._verdict: Verdict | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What was decided; None before the first `admit`."""
        return self._verdict

    async def admit(self, client: CcxtClient, venue: str) -> None:
        """See `KeyGuard.admit`."""
        if self._verdict is None:
            self._verdict = await self._decide(client, venue)
            if self.told is not None:
                self.told(self._verdict)
        if isinstance(self._verdict, Refused):
            raise KeyRefused(self._verdict.reason, self._verdict.remedy)

    async def _decide(self, client: CcxtClient, venue: str) -> Verdict:
        if tells_permissions(venue):
            return judge(await read_permissions(client, venue))
        if not self._unchecked_confirmed:
            return Refused("this venue does not tell what a key may do", "Confirm first that it cannot withdraw.")
        return Allowed(("This venue does not tell what a key may do. You confirmed that it cannot withdraw.",))


class StopGuard:
    """Lets every key pass: whoever stops trading must not be stopped by what else the key could do."""

    async def admit(self, client: CcxtClient, venue: str) -> None:
        """See `KeyGuard.admit`."""
