"""Classification of venue failures: the table, and that nothing unclear is ever called refused."""

from __future__ import annotations

import importlib
import socket
import ssl

import aiohttp
import pytest
from aiohttp import ClientConnectorError, ServerDisconnectedError
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from core.execution.api.binance_api import BINANCE_ERRORS
from core.execution.api.ccxt_loader import install_shells
from core.execution.api.gateway import (
    AmbiguousOutcome,
    DefinitiveReject,
    FatalGatewayError,
    GatewayError,
    NoAnswer,
    OrderUnknown,
    RetryableError,
)
from core.execution.error_handler import EXCEPTION_OUTCOMES, HttpFacts, Operation, classify, decide, retry_after_s

install_shells()  # the error classes alone, without loading every venue
ccxt_errors = importlib.import_module("ccxt.base.errors")

CLASSES = [c for c in vars(ccxt_errors).values() if isinstance(c, type) and issubclass(c, ccxt_errors.BaseError)]
SUBMIT, CANCEL, QUERY = Operation.SUBMIT, Operation.CANCEL, Operation.QUERY


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


REFUSED = ClientConnectorError(None, ConnectionRefusedError(111, "refused"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "facts", "on_submit", "on_cancel", "on_query"),
    [
        (ccxt_errors.RequestTimeout("x"), HttpFacts(), AmbiguousOutcome, NoAnswer, NoAnswer),
        (ccxt_errors.NetworkError("x"), HttpFacts(), AmbiguousOutcome, NoAnswer, NoAnswer),
        (ccxt_errors.ExchangeNotAvailable("x"), HttpFacts(503), AmbiguousOutcome, RetryableError, RetryableError),
        (ccxt_errors.BadRequest("x"), HttpFacts(500), AmbiguousOutcome, RetryableError, RetryableError),
        (ccxt_errors.BadResponse("x"), HttpFacts(200), AmbiguousOutcome, RetryableError, RetryableError),
        (ccxt_errors.OnMaintenance("x"), HttpFacts(503), AmbiguousOutcome, RetryableError, RetryableError),
        (
            caused(ccxt_errors.ExchangeNotAvailable("x"), ServerDisconnectedError()),
            HttpFacts(),
            AmbiguousOutcome,
            NoAnswer,
            NoAnswer,
        ),
        (
            caused(ccxt_errors.ExchangeNotAvailable("GET http://127.0.0.1:9/x"), REFUSED),
            HttpFacts(),
            NoAnswer,
            NoAnswer,
            NoAnswer,
        ),
        (ccxt_errors.InsufficientFunds("x"), HttpFacts(400), DefinitiveReject, DefinitiveReject, DefinitiveReject),
        (ccxt_errors.InvalidOrder("x"), HttpFacts(), DefinitiveReject, DefinitiveReject, DefinitiveReject),
        (ccxt_errors.BadSymbol("x"), HttpFacts(), DefinitiveReject, DefinitiveReject, DefinitiveReject),
        (ccxt_errors.DuplicateOrderId("x"), HttpFacts(400), AmbiguousOutcome, RetryableError, RetryableError),
        # An order just sent that the venue "does not know" was not refused by that.
        (ccxt_errors.OrderNotFound("x"), HttpFacts(400), AmbiguousOutcome, OrderUnknown, OrderUnknown),
        # Served with 200, yet the library stumbled over the answer: the order is there.
        (ccxt_errors.InvalidOrder("x"), HttpFacts(200), AmbiguousOutcome, RetryableError, RetryableError),
        (ccxt_errors.AuthenticationError("x"), HttpFacts(200), AmbiguousOutcome, RetryableError, RetryableError),
        (ccxt_errors.ExchangeError('{"code":-9999}'), HttpFacts(409), AmbiguousOutcome, RetryableError, RetryableError),
        (ccxt_errors.ExchangeError('{"code":-9999}'), HttpFacts(200), AmbiguousOutcome, RetryableError, RetryableError),
        (ccxt_errors.AuthenticationError("x"), HttpFacts(401), *[FatalGatewayError] * 3),
        (ccxt_errors.PermissionDenied("x"), HttpFacts(), *[FatalGatewayError] * 3),
        (ccxt_errors.DDoSProtection("x"), HttpFacts(429, 7.0), *[RetryableError] * 3),
        (ccxt_errors.InvalidNonce("x"), HttpFacts(400), *[RetryableError] * 3),
        (ccxt_errors.ExchangeNotAvailable("x"), HttpFacts(403), *[RetryableError] * 3),
        (ccxt_errors.ExchangeNotAvailable("x"), HttpFacts(451), *[FatalGatewayError] * 3),
        (ccxt_errors.ExchangeError('{"code":-9999,"msg":"new"}'), HttpFacts(400), *[DefinitiveReject] * 3),
        (ccxt_errors.ExchangeError("payload cut"), HttpFacts(), AmbiguousOutcome, RetryableError, RetryableError),
        (TimeoutError(), HttpFacts(), AmbiguousOutcome, NoAnswer, NoAnswer),
    ],
)
def test_table(
    error: Exception,
    facts: HttpFacts,
    on_submit: type[GatewayError],
    on_cancel: type[GatewayError],
    on_query: type[GatewayError],
) -> None:
    assert type(classify(error, SUBMIT, facts)) is on_submit
    assert type(classify(error, CANCEL, facts)) is on_cancel
    assert type(classify(error, QUERY, facts)) is on_query


# Every code of Binance's documentation that its REST interface can send, and what a submit makes of it.
REFUSED_CODES = (
    *(1010, 1013, 1014, 1100, 1101, 1102, 1103, 1104, 1105, 1106, 1108, 1111, 1112, 1114, 1115, 1116, 1117, 1118),
    *(1119, 1120, 1121, 1122, 1125, 1127, 1128, 1130, 1131, 1134, 1135, 1139, 1145, 1151, 1152, 1153, 1155, 1158),
    *(1160, 1161, 1165, 1166, 1168, 1182, 1191, 1194, 1196, 1197, 1198, 1199, 2010, 2011, 2016, 2022),
)
AMBIGUOUS_CODES = (1000, 1001, 1004, 1006, 1007, 1016, 2013, 2021, 2026)
REPEATABLE_CODES = (1003, 1008, 1015, 1021, 1034, 1181)
FATAL_CODES = (1002, 1020, 1022, 1099, 2008, 2014, 2015)
CODES = {
    **dict.fromkeys(REFUSED_CODES, DefinitiveReject),
    **dict.fromkeys(AMBIGUOUS_CODES, AmbiguousOutcome),
    **dict.fromkeys(REPEATABLE_CODES, RetryableError),
    **dict.fromkeys(FATAL_CODES, FatalGatewayError),
}


def test_the_table_of_codes_is_complete() -> None:
    assert set(BINANCE_ERRORS.codes) == {f"-{code}" for code in CODES}


@pytest.mark.parametrize(("code", "expected"), [(f"-{code}", kind) for code, kind in CODES.items()])
def test_binance_codes_overrule_what_ccxt_made_of_them(code: str, expected: type[GatewayError]) -> None:
    for made in (ccxt_errors.ExchangeError, ccxt_errors.DDoSProtection, ccxt_errors.InvalidOrder):
        error = made(f'binance {{"code":{code},"msg":"words of the venue"}}')
        got = classify(error, SUBMIT, HttpFacts(400), BINANCE_ERRORS)
        assert type(got) is expected
        assert got is not None
        assert (got.code, got.message) == (code, f"words of the venue ({code})")


@pytest.mark.parametrize("code", [f"-{code}" for code in (*REFUSED_CODES, *AMBIGUOUS_CODES, *FATAL_CODES)])
def test_a_venue_in_trouble_refuses_nothing_whatever_code_it_sends(code: str) -> None:
    error = ccxt_errors.ExchangeNotAvailable(f'binance {{"code":{code},"msg":"words"}}')
    assert isinstance(classify(error, SUBMIT, HttpFacts(503), BINANCE_ERRORS), AmbiguousOutcome)
    assert isinstance(classify(error, QUERY, HttpFacts(503), BINANCE_ERRORS), RetryableError)  # not "order unknown"


def test_words_overrule_the_code_they_come_with() -> None:
    def said(code: int, words: str) -> Exception:
        return ccxt_errors.ExchangeError(f'binance {{"code":{code},"msg":"{words}"}}')

    twin = classify(said(-2010, "Duplicate order sent."), SUBMIT, HttpFacts(400), BINANCE_ERRORS)
    assert isinstance(twin, AmbiguousOutcome)
    gone = classify(said(-2011, "Unknown order sent."), CANCEL, HttpFacts(400), BINANCE_ERRORS)
    assert isinstance(gone, OrderUnknown)
    # A cancel refused for any other reason must not look as if the order were gone.
    for words in (
        "Order was not canceled due to cancel restrictions.",
        "This action is disabled on this account.",
        "Market is closed.",
    ):
        refused = classify(said(-2011, words), CANCEL, HttpFacts(400), BINANCE_ERRORS)
        assert isinstance(refused, DefinitiveReject)


# What a firewall or a proxy answers, without any code of the venue.
STATUSES = {
    **dict.fromkeys((200, 201, 302, 400, 408, 409, 411, 413, 422, 425, 431), AmbiguousOutcome),
    **dict.fromkeys((500, 501, 502, 503, 504, 511, 520, 521, 522, 524, 525, 526, 530), AmbiguousOutcome),
    **dict.fromkeys((403, 418, 429), RetryableError),
    **dict.fromkeys((401, 404, 405, 407, 410, 451), FatalGatewayError),
}


@pytest.mark.parametrize(("status", "expected"), STATUSES.items())
def test_an_answer_that_is_no_json_is_judged_by_its_status(status: int, expected: type[GatewayError]) -> None:
    made = ccxt_exception(status)
    got = classify(made(f"binance POST http://127.0.0.1/api {status} x <html>busy</html>"), SUBMIT, HttpFacts(status))
    assert type(got) is expected


def ccxt_exception(status: int) -> type[Exception]:
    """Return what ccxt itself makes of a status; where it knows none, it stumbles over the body."""
    from ccxt.base.exchange import Exchange

    found: type[Exception] = Exchange.httpExceptions.get(str(status), ccxt_errors.BadResponse)
    return found


_ADDRESS = URL("http://h/x?signature=abc")
SIGNED = aiohttp.RequestInfo(_ADDRESS, "POST", None, _ADDRESS)  # type: ignore[arg-type]
NEVER_SENT: dict[str, Exception] = {
    "refused": REFUSED,
    "name not found": aiohttp.ClientConnectorDNSError(None, OSError(-2, "unknown")),  # type: ignore[arg-type]
    "certificate": aiohttp.ClientConnectorCertificateError(None, ssl.CertificateError("x")),  # type: ignore[arg-type]
    "handshake": aiohttp.ClientConnectorSSLError(None, OSError(1, "tls")),  # type: ignore[arg-type]
    "proxy away": aiohttp.ClientProxyConnectionError(None, OSError(111, "x")),  # type: ignore[arg-type]
    "proxy refuses": aiohttp.ClientHttpProxyError(None, (), status=502),  # type: ignore[arg-type]
    "connect timed out": aiohttp.ConnectionTimeoutError("x"),
    "pinned key differs": aiohttp.ServerFingerprintMismatch(b"", b"", "h", 1),
    "resolver": socket.gaierror(-2, "x"),
}
MAYBE_SENT: dict[str, Exception] = {
    "hung up": ServerDisconnectedError(),
    "broken pipe": aiohttp.ClientOSError(32, "broken pipe"),
    "reset": aiohttp.ClientConnectionResetError("x"),
    "answer timed out": aiohttp.SocketTimeoutError("x"),
    "cut in the middle": aiohttp.ClientPayloadError("x"),
    "too many redirects": aiohttp.TooManyRedirects(SIGNED, ()),
    "reset by peer": ConnectionResetError(104, "x"),
    "timeout": TimeoutError(),
}


@pytest.mark.parametrize("name", NEVER_SENT)
def test_what_never_left_is_surely_not_processed(name: str) -> None:
    for wrapper in (ccxt_errors.ExchangeNotAvailable, ccxt_errors.RequestTimeout, ccxt_errors.ExchangeError):
        error = caused(wrapper("binance POST http://127.0.0.1:9/x"), NEVER_SENT[name])
        for operation in Operation:
            assert type(classify(error, operation)) is NoAnswer


@pytest.mark.parametrize("name", MAYBE_SENT)
def test_what_may_have_left_is_ambiguous(name: str) -> None:
    for wrapper in (ccxt_errors.ExchangeNotAvailable, ccxt_errors.RequestTimeout, ccxt_errors.ExchangeError):
        error = caused(wrapper("binance POST http://127.0.0.1:9/x"), MAYBE_SENT[name])
        assert type(classify(error, SUBMIT)) is AmbiguousOutcome
        assert isinstance(classify(error, QUERY), RetryableError)
    assert type(classify(MAYBE_SENT[name], SUBMIT)) is AmbiguousOutcome


def test_no_ccxt_error_is_classified_by_accident() -> None:
    """A class that ccxt adds must be looked at, unless its parent has a row; nothing may rest on the catch-all."""
    catch_all = {"BaseError", "ExchangeError"}
    forgotten = {
        cls.__name__
        for cls in CLASSES
        if cls.__name__ not in catch_all and not {base.__name__ for base in cls.__mro__} & set(EXCEPTION_OUTCOMES)
    }
    assert forgotten == set()
    named = _names(ccxt_errors.error_hierarchy)
    assert {cls.__name__ for cls in CLASSES} == named  # the hierarchy is what ccxt says it is
    assert set(EXCEPTION_OUTCOMES) - named == {"TimeoutError", "ClientError", "OSError"}


def _names(tree: dict[str, dict]) -> set[str]:  # type: ignore[type-arg]
    return set(tree) | {name for branch in tree.values() for name in _names(branch)}


@pytest.mark.parametrize(
    ("header", "body", "expected"),
    [
        ("7", "", 7.0),
        ("0.5", "IP banned until 1700000060000", 0.5),  # the header counts
        ("-3", "", 0.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", "", 60.0),
        (None, '{"code":-1003,"msg":"Way too much request weight used; IP banned until 1700000060000. Use"}', 60.0),
        (None, "IP banned until 1600000000000", 0.0),
        ("soon", "", None),
        ("inf", "", None),
        (None, "", None),
    ],
)
def test_how_long_to_stay_away(header: str | None, body: str, expected: float | None) -> None:
    assert retry_after_s(header, body, 1_700_000_000_000_000_000) == expected


def test_a_bug_surfaces_on_a_query_but_never_hides_an_order() -> None:
    assert classify(KeyError("x"), QUERY) is None
    assert isinstance(classify(KeyError("x"), SUBMIT), AmbiguousOutcome)


def test_retry_after_and_own_errors_pass_through() -> None:
    limited = classify(ccxt_errors.DDoSProtection("x"), QUERY, HttpFacts(429, 7.0))
    assert isinstance(limited, RetryableError)
    assert limited.retry_after_s == 7.0
    banned = classify(ccxt_errors.DDoSProtection("x"), QUERY, HttpFacts(418))
    assert isinstance(banned, RetryableError)
    assert banned.retry_after_s == 120.0
    own = FatalGatewayError("no")
    assert classify(own, QUERY) is own
    assert classify(ccxt_errors.NetworkError(own), SUBMIT) is own


def test_messages_hold_no_signature_and_one_line() -> None:
    url = "binance GET http://127.0.0.1:9/api/v3/account?timestamp=1&signature=abc"
    for error in (
        ccxt_errors.RequestTimeout(url),
        ccxt_errors.ExchangeNotAvailable(url + "\nmore"),
        caused(ccxt_errors.ExchangeError("binance GET http://127.0.0.1:9/x"), MAYBE_SENT["too many redirects"]),
        caused(ccxt_errors.ExchangeNotAvailable(url), REFUSED),
    ):
        got = classify(error, QUERY, HttpFacts(), BINANCE_ERRORS)
        assert got is not None
        assert "signature" not in got.message
        assert "\n" not in got.message
        assert not got.message.startswith("binance")
    assert got.message == "no connection to 127.0.0.1:9"


@given(st.sampled_from(CLASSES), st.sampled_from([None, 200, 400, 401, 403, 408, 418, 429, 500, 503]), st.text())
def test_every_ccxt_error_is_decided_and_server_errors_never_refuse(
    cls: type[Exception], status: int | None, text: str
) -> None:
    error, facts = cls(text), HttpFacts(status)
    assert decide(error, facts, BINANCE_ERRORS) is not None
    if status is not None and status >= 500:
        assert isinstance(classify(error, SUBMIT, facts), AmbiguousOutcome)
