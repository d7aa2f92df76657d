"""What a failed venue call means: one decision from the exception and the HTTP facts. Pure functions, any thread.

The costly mistake is to call an order refused that may exist: whatever is not surely refused or surely unsent is
ambiguous on a submit, and merely repeatable on a query. ccxt exceptions are recognised by class name along their
ancestry, so this module does not need ccxt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.execution.api.gateway import (
    AmbiguousOutcome,
    DefinitiveReject,
    FatalGatewayError,
    GatewayError,
    NoAnswer,
    OrderUnknown,
    RetryableError,
)


class Operation(StrEnum):
    """What was attempted."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    QUERY = "query"


class Outcome(StrEnum):
    """What a failure says about the venue's state."""

    REFUSED = "refused"  # answered and refused; nothing happened
    ORDER_UNKNOWN = "order_unknown"  # the venue does not know the order
    NOT_PROCESSED = "not_processed"  # surely without effect; may be repeated
    FATAL = "fatal"  # repeating cannot help
    UNDECIDED = "undecided"  # no answer, or none that decides


@dataclass(frozen=True, slots=True)
class HttpFacts:
    """What is known of the answer.

    Attributes:
        status: HTTP status; None where no answer was read to its end.
        retry_after_s: the Retry-After header, seconds.
        code: the venue's own error code in the body; ccxt drops it where it recognises the text.
    """

    status: int | None = None
    retry_after_s: float | None = None
    code: str = ""


NO_ANSWER = HttpFacts()


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """A venue's own error codes, and phrases that overrule them.

    Attributes:
        venue: name that ccxt puts before every message; left out of what a person reads.
    """

    venue: str = ""
    codes: Mapping[str, Outcome] = field(default_factory=dict)
    phrases: Mapping[str, Outcome] = field(default_factory=dict)


NO_TABLE = ErrorTable()

# Nearest ancestor first wins, so a class needs a row only where it differs from its parent.
EXCEPTION_OUTCOMES: Mapping[str, Outcome] = {
    "AuthenticationError": Outcome.FATAL,
    "ArgumentsRequired": Outcome.FATAL,
    "NotSupported": Outcome.FATAL,
    "InvalidProxySettings": Outcome.FATAL,
    "ExchangeClosedByUser": Outcome.UNDECIDED,
    "RestrictedLocation": Outcome.FATAL,
    "BadRequest": Outcome.REFUSED,
    "OperationRejected": Outcome.REFUSED,
    "InsufficientFunds": Outcome.REFUSED,
    "InvalidAddress": Outcome.REFUSED,
    "InvalidOrder": Outcome.REFUSED,
    "OrderNotFound": Outcome.ORDER_UNKNOWN,
    "OrderNotCached": Outcome.ORDER_UNKNOWN,
    "DuplicateOrderId": Outcome.UNDECIDED,  # an order of that id does exist
    "InvalidNonce": Outcome.NOT_PROCESSED,
    "ChecksumError": Outcome.UNDECIDED,
    "DDoSProtection": Outcome.NOT_PROCESSED,
    "RateLimitExceeded": Outcome.NOT_PROCESSED,
    "OnMaintenance": Outcome.UNDECIDED,
    "NetworkError": Outcome.UNDECIDED,
    "OperationFailed": Outcome.UNDECIDED,
    "TimeoutError": Outcome.UNDECIDED,
    "ClientError": Outcome.UNDECIDED,  # aiohttp
    "OSError": Outcome.UNDECIDED,
}

# Answers without a venue code: a proxy or a firewall spoke, not the matching engine.
STATUS_OUTCOMES: Mapping[int, Outcome] = {
    401: Outcome.FATAL,
    403: Outcome.NOT_PROCESSED,
    404: Outcome.FATAL,
    405: Outcome.FATAL,
    408: Outcome.UNDECIDED,
    409: Outcome.UNDECIDED,
    418: Outcome.NOT_PROCESSED,
    429: Outcome.NOT_PROCESSED,
    451: Outcome.FATAL,
}
DEFAULT_RETRY_AFTER_S: Mapping[int, float] = {403: 60.0, 418: 120.0, 429: 5.0}

_CODE = re.compile(r'"code"\s*:\s*"?(-?\d+)')
_MESSAGE = re.compile(r'"msg"\s*:\s*"((?:[^"\\]|\\.)*)"')
_ADDRESS = re.compile(r"(?:http|ws)s?://([^/\s]+)")
_SILENCE = frozenset({"NetworkError", "TimeoutError", "ClientError", "OSError"})
# Raised before a single byte was sent.
_NEVER_SENT = frozenset({"ClientConnectorError", "ConnectionRefusedError", "gaierror"})


def venue_code(text: str) -> str:
    """Return the venue's own error code in a body or an exception's text, or ""."""
    found = _CODE.search(text)
    return found.group(1) if found else ""


def decide(exc: BaseException, facts: HttpFacts, table: ErrorTable) -> Outcome | None:
    """Return what a failure says about the venue's state; None where the exception is no venue failure but a bug."""
    text = str(exc)
    for phrase, outcome in table.phrases.items():
        if phrase in text:
            return outcome
    if _was_never_sent(exc):
        return Outcome.NOT_PROCESSED
    code = facts.code or venue_code(text)
    if code in table.codes:
        return table.codes[code]
    if facts.status is not None and facts.status >= 500:
        return Outcome.UNDECIDED
    if facts.status is not None and facts.status in STATUS_OUTCOMES and (facts.status in (418, 429) or not code):
        return STATUS_OUTCOMES[facts.status]
    names = [cls.__name__ for cls in type(exc).__mro__]
    for name in names:
        if name in EXCEPTION_OUTCOMES:
            return EXCEPTION_OUTCOMES[name]
    if "BaseError" in names:  # ccxt's catch-all: refused if the venue answered with a code, else nobody knows
        return Outcome.REFUSED if code and facts.status is not None else Outcome.UNDECIDED
    return None


def classify(
    exc: BaseException, operation: Operation, facts: HttpFacts = NO_ANSWER, table: ErrorTable = NO_TABLE
) -> GatewayError | None:
    """Return the gateway error that a failed call becomes.

    Args:
        exc: what ccxt, aiohttp or the parser raised.
        operation: what was attempted.
        facts: status and headers of the answer, if there was one.
        table: the venue's own codes.

    Returns:
        The error to raise from `exc`, or None where `exc` is a bug that must surface as it is. A submit never
        yields None: whatever went wrong after sending, the order may exist.
    """
    for cause in _chain(exc):
        if isinstance(cause, GatewayError):
            return cause
    outcome = decide(exc, facts, table)
    code = facts.code or venue_code(str(exc))
    message = describe(exc, code).removeprefix(f"{table.venue} ")
    if outcome is None:
        return (
            AmbiguousOutcome(f"the answer to the order was not understood: {message}", code)
            if (operation is Operation.SUBMIT)
            else None
        )
    if outcome is Outcome.UNDECIDED and operation is Operation.SUBMIT:
        return AmbiguousOutcome(message, code)
    if outcome in (Outcome.UNDECIDED, Outcome.NOT_PROCESSED):
        silence = _was_never_sent(exc) or (outcome is Outcome.UNDECIDED and _is_silence(exc, facts, code))
        kind = NoAnswer if silence else RetryableError
        return kind(message, code, _retry_after(facts))
    if outcome is Outcome.FATAL:
        return FatalGatewayError(message, code)
    if outcome is Outcome.ORDER_UNKNOWN and operation is not Operation.SUBMIT:
        return OrderUnknown(message, code)
    return DefinitiveReject(message, code)


def describe(exc: BaseException, code: str = "") -> str:
    """Return one line for a person: the venue's own words where it sent some, never a signed address."""
    text = str(exc) or type(exc).__name__
    found = _MESSAGE.search(text)
    if found:
        return f"{found.group(1)} ({code})" if code else found.group(1)
    # ccxt puts the whole address into the message, signature and all.
    without_query = re.sub(r"\?\S*", "", text.splitlines()[0])
    if code:
        return f"{without_query} ({code})"
    if _was_never_sent(exc):
        address = _ADDRESS.search(text)
        return f"no connection to {address.group(1)}" if address else "no connection"
    if type(exc).__name__ == "RequestTimeout":
        return f"no answer in time: {without_query}"
    root = list(_chain(exc))[-1]
    if root is not exc and str(root) and str(root) != text:
        return f"{without_query}: {str(root).splitlines()[0]}"
    return without_query


def _retry_after(facts: HttpFacts) -> float:
    if facts.retry_after_s is not None:
        return max(0.0, facts.retry_after_s)
    return DEFAULT_RETRY_AFTER_S.get(facts.status or 0, 1.0)


def _is_silence(exc: BaseException, facts: HttpFacts, code: str) -> bool:
    """Whether nothing came back at all, as opposed to an answer that helps nobody."""
    names = {cls.__name__ for cls in type(exc).__mro__}
    return facts.status is None and not code and bool(names & _SILENCE)


def _was_never_sent(exc: BaseException) -> bool:
    return any(cls.__name__ in _NEVER_SENT for cause in _chain(exc) for cls in type(cause).__mro__)


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what caused it; ccxt's stream client puts the cause into the arguments of its own."""
    current: BaseException | None = exc
    while current is not None:
        yield current
        wrapped = current.args[0] if len(current.args) == 1 else None
        current = current.__cause__ or (wrapped if isinstance(wrapped, BaseException) else None)
