"""Classification of venue failures: the table, and that nothing unclear is ever called refused."""

from __future__ import annotations

import importlib

import pytest
from aiohttp import ClientConnectorError, ServerDisconnectedError
from hypothesis import given
from hypothesis import strategies as st

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
from core.execution.error_handler import HttpFacts, Operation, classify, decide

install_shells()  # the error classes alone, without loading every venue
ccxt_errors = importlib.import_module("ccxt.base.errors")

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
        (ccxt_errors.OrderNotFound("x"), HttpFacts(400), DefinitiveReject, OrderUnknown, OrderUnknown),
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


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("-1007", AmbiguousOutcome),
        ("-1006", AmbiguousOutcome),
        ("-1000", AmbiguousOutcome),
        ("-1008", RetryableError),
        ("-1021", RetryableError),
        ("-1013", DefinitiveReject),
        ("-2010", DefinitiveReject),
        ("-2008", FatalGatewayError),
        ("-2015", FatalGatewayError),
    ],
)
def test_binance_codes_overrule_what_ccxt_made_of_them(code: str, expected: type[GatewayError]) -> None:
    for made in (ccxt_errors.ExchangeError, ccxt_errors.DDoSProtection, ccxt_errors.InvalidOrder):
        error = made(f'binance {{"code":{code},"msg":"words of the venue"}}')
        got = classify(error, SUBMIT, HttpFacts(400), BINANCE_ERRORS)
        assert type(got) is expected
        assert got is not None
        assert (got.code, got.message) == (code, f"words of the venue ({code})")


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
        caused(ccxt_errors.ExchangeNotAvailable(url), REFUSED),
    ):
        got = classify(error, QUERY, HttpFacts(), BINANCE_ERRORS)
        assert got is not None
        assert "signature" not in got.message
        assert "\n" not in got.message
        assert not got.message.startswith("binance")
    assert got.message == "no connection to 127.0.0.1:9"


CLASSES = [c for c in vars(ccxt_errors).values() if isinstance(c, type) and issubclass(c, ccxt_errors.BaseError)]


@given(st.sampled_from(CLASSES), st.sampled_from([None, 200, 400, 401, 403, 408, 418, 429, 500, 503]), st.text())
def test_every_ccxt_error_is_decided_and_server_errors_never_refuse(
    cls: type[Exception], status: int | None, text: str
) -> None:
    error, facts = cls(text), HttpFacts(status)
    assert decide(error, facts, BINANCE_ERRORS) is not None
    if status is not None and status >= 500:
        assert isinstance(classify(error, SUBMIT, facts), AmbiguousOutcome)
