"""What a failed venue call means: one decision from the exception and the HTTP facts. Pure functions, any thread.

The costly mistake is to call an order refused that may exist: whatever is not surely refused or surely unsent is
ambiguous on a submit, and merely repeatable on a query. Proof of a refusal is a code of the venue that says so, or a
kind of answer that its documentation promises to mean it; HTTP 5xx, an answer nobody can read and silence never are.
ccxt exceptions are recognised by class name along their ancestry, so this module does not need ccxt.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

from core.clock import NS_PER_MS, NS_PER_S, from_datetime
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
        code_key: name of the field in an error's body that holds the code.
        message_key: name of the field that holds the words for a person.
    """

    venue: str = ""
    codes: Mapping[str, Outcome] = field(default_factory=dict)
    phrases: Mapping[str, Outcome] = field(default_factory=dict)
    code_key: str = "code"
    message_key: str = "msg"


NO_TABLE = ErrorTable()

# Nearest ancestor first wins, so a class needs a row only where it differs from its parent.
EXCEPTION_OUTCOMES: Mapping[str, Outcome] = {
    "AuthenticationError": Outcome.FATAL,
    "ArgumentsRequired": Outcome.FATAL,
    "NotSupported": Outcome.FATAL,
    "ManualInteractionNeeded": Outcome.FATAL,
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
    "UnsubscribeError": Outcome.UNDECIDED,
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
    407: Outcome.FATAL,
    408: Outcome.UNDECIDED,
    409: Outcome.UNDECIDED,
    410: Outcome.FATAL,
    418: Outcome.NOT_PROCESSED,
    429: Outcome.NOT_PROCESSED,
    451: Outcome.FATAL,
}
DEFAULT_RETRY_AFTER_S: Mapping[int, float] = {403: 60.0, 418: 120.0, 429: 5.0}

_BANNED_UNTIL_MS = re.compile(r"banned\s+until\s+(\d{13})")
_QUERY = re.compile(r"\?\S*")
_ADDRESS = re.compile(r"(?:http|ws)s?://([^/\s]+)")
_SILENCE = frozenset({"NetworkError", "TimeoutError", "ClientError", "OSError"})
# Raised before a single byte of the request was sent: name lookup, connect, TLS handshake, a proxy that refuses.
_NEVER_SENT = frozenset(
    {
        "ClientConnectorError",
        "ClientHttpProxyError",
        "ConnectionRefusedError",
        "ConnectionTimeoutError",
        "ServerFingerprintMismatch",
        "gaierror",
    }
)


def venue_code(text: str, table: ErrorTable = NO_TABLE) -> str:
    """Return the venue's own error code in a body or an exception's text, or ""."""
    found = re.search(rf'"{table.code_key}"\s*:\s*"?(-?\w+)', text)
    return found.group(1) if found else ""


def retry_after_s(header: str | None, body: str, venue_now_ns: int) -> float | None:
    """Return how long the venue asks to stay away; None where it names no time.

    Args:
        header: Retry-After: seconds or an HTTP date.
        body: may name the end of a ban, ms UTC.
        venue_now_ns: the venue's clock, ns UTC.
    """
    if header is not None:
        with contextlib.suppress(ValueError):
            seconds = float(header)
            return max(0.0, seconds) if math.isfinite(seconds) else None
        with contextlib.suppress(ValueError):
            moment = parsedate_to_datetime(header)
            aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return max(0.0, (from_datetime(aware) - venue_now_ns) / NS_PER_S)
    found = _BANNED_UNTIL_MS.search(body)
    return max(0.0, (int(found.group(1)) * NS_PER_MS - venue_now_ns) / NS_PER_S) if found else None


def decide(exc: BaseException, facts: HttpFacts, table: ErrorTable) -> Outcome | None:
    """Return what a failure says about the venue's state; None where the exception is no venue failure but a bug."""
    text, status = str(exc), facts.status
    if _was_never_sent(exc):
        return Outcome.NOT_PROCESSED
    code = facts.code or venue_code(text, table)
    named = next((outcome for phrase, outcome in table.phrases.items() if phrase in text), table.codes.get(code))
    if named is not None:
        # A venue that is in trouble proves nothing by what it says, unless it says that it did nothing.
        in_trouble = status is not None and status >= 500
        return Outcome.UNDECIDED if in_trouble and named is not Outcome.NOT_PROCESSED else named
    if status is not None and status >= 500:
        return Outcome.UNDECIDED
    if status is not None and status in STATUS_OUTCOMES and (status in (418, 429) or not code):
        return STATUS_OUTCOMES[status]
    names = [cls.__name__ for cls in type(exc).__mro__]
    if status is not None and status < 400 and not code and "BaseError" in names:
        return Outcome.UNDECIDED  # the call was served, its answer not understood
    for name in names:
        if name in EXCEPTION_OUTCOMES:
            return EXCEPTION_OUTCOMES[name]
    if "BaseError" in names:  # ccxt's catch-all: refused if the venue says with a code that the request was wrong
        return Outcome.REFUSED if code and status is not None and 400 <= status != 409 else Outcome.UNDECIDED
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
    code = facts.code or venue_code(str(exc), table)
    message = describe(exc, code, table).removeprefix(f"{table.venue} ")
    if outcome is None:
        return (
            AmbiguousOutcome(f"the answer to the order was not understood: {message}", code)
            if (operation is Operation.SUBMIT)
            else None
        )
    # An order that the venue says it does not know was not refused either: that answer belongs to another question.
    if outcome in (Outcome.UNDECIDED, Outcome.ORDER_UNKNOWN) and operation is Operation.SUBMIT:
        return AmbiguousOutcome(message, code)
    if outcome in (Outcome.UNDECIDED, Outcome.NOT_PROCESSED):
        silence = _was_never_sent(exc) or (outcome is Outcome.UNDECIDED and _is_silence(exc, facts, code))
        kind = NoAnswer if silence else RetryableError
        return kind(message, code, _retry_after(facts))
    if outcome is Outcome.FATAL:
        return FatalGatewayError(message, code)
    if outcome is Outcome.ORDER_UNKNOWN:
        return OrderUnknown(message, code)
    return DefinitiveReject(message, code)


def describe(exc: BaseException, code: str = "", table: ErrorTable = NO_TABLE) -> str:
    """Return one line for a person: the venue's own words where it sent some, never a signed address."""
    text = str(exc) or type(exc).__name__
    found = re.search(rf'"{table.message_key}"\s*:\s*"((?:[^"\\]|\\.)*)"', text)
    if found:
        return f"{found.group(1)} ({code})" if code else found.group(1)
    # ccxt puts the whole address into the message, signature and all.
    without_query = _QUERY.sub("", text.splitlines()[0])
    if code:
        return f"{without_query} ({code})"
    if _was_never_sent(exc):
        address = _ADDRESS.search(text)
        return f"no connection to {address.group(1)}" if address else "no connection"
    if type(exc).__name__ == "RequestTimeout":
        return f"no answer in time: {without_query}"
    root = list(_chain(exc))[-1]
    if root is not exc and str(root) and str(root) != text:
        return f"{without_query}: {_QUERY.sub('', str(root).splitlines()[0])}"
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
