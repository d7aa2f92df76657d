"""Upbit's error codes and its account of the requests left."""

from __future__ import annotations

import importlib

import pytest

from core.execution.api.ccxt_loader import install_shells
from core.execution.api.gateway import (
    AmbiguousOutcome,
    DefinitiveReject,
    FatalGatewayError,
    GatewayError,
    OrderUnknown,
    RetryableError,
)
from core.execution.api.upbit_answers import UPBIT_ERRORS, RemainingRequests, remaining_requests
from core.execution.error_handler import HttpFacts, Operation, Outcome, classify

install_shells()
ccxt_errors = importlib.import_module("ccxt.base.errors")

ON_SUBMIT: dict[Outcome, type[GatewayError]] = {
    Outcome.REFUSED: DefinitiveReject,
    Outcome.FATAL: FatalGatewayError,
    Outcome.NOT_PROCESSED: RetryableError,
    Outcome.ORDER_UNKNOWN: AmbiguousOutcome,
    Outcome.UNDECIDED: AmbiguousOutcome,
}


def said(name: str, words: str = "주문을 처리하지 못했습니다.") -> Exception:
    error: Exception = ccxt_errors.ExchangeError(f'upbit {{"error":{{"message":"{words}","name":"{name}"}}}}')
    return error


@pytest.mark.parametrize("code", UPBIT_ERRORS.codes)
def test_every_code_is_found_in_the_body_and_means_what_the_table_says(code: str) -> None:
    got = classify(said(code), Operation.SUBMIT, HttpFacts(400), UPBIT_ERRORS)
    assert type(got) is ON_SUBMIT[UPBIT_ERRORS.codes[code]]
    assert (got.code, got.message) == (code, f"주문을 처리하지 못했습니다. ({code})")


def test_an_order_that_is_not_there_and_an_id_that_is_taken() -> None:
    assert isinstance(classify(said("order_not_found"), Operation.QUERY, HttpFacts(404), UPBIT_ERRORS), OrderUnknown)
    taken = said("validation_error", "identifier has already been taken")
    assert isinstance(classify(taken, Operation.SUBMIT, HttpFacts(400), UPBIT_ERRORS), AmbiguousOutcome)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("group=default; min=1800; sec=29", RemainingRequests("default", 29)),
        ("group=order;min=59;sec=0", RemainingRequests("order", 0)),
        (" sec = 4 ; group = candles ", RemainingRequests("candles", 4)),
        ("group=order; min=59", None),
        ("group=order; sec=many", None),
        ("sec=3", None),
        ("", None),
        (None, None),
    ],
)
def test_remaining_requests(header: str | None, expected: RemainingRequests | None) -> None:
    assert remaining_requests(header) == expected
