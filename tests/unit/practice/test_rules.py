"""Parameters, filters and signatures by the venue's rules and codes."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from core.errors import UserError
from core.practice import auth, rules
from core.practice.auth import ApiKeys
from core.practice.orders import Rejection
from core.practice.wsapi import as_text
from tests.unit.practice.markets import SPEC

LAST = 6_000_000
LIMIT = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "60000"}


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"side": None}, -1102, "'side'"),
        ({"side": "LONG"}, -1117, "side"),
        ({"type": "ICEBERG"}, -1116, "orderType"),
        ({"type": "TAKE_PROFIT"}, -2010, "not supported"),
        ({"timeInForce": None}, -1102, "'timeInForce'"),
        ({"timeInForce": "GTX"}, -1115, "timeInForce"),
        ({"quantity": None}, -1102, "'quantity'"),
        ({"quantity": "1e-3"}, -1100, "'quantity'"),
        ({"quantity": "-1"}, -1100, "'quantity'"),
        ({"quantity": "0"}, -1013, "quantity"),
        ({"quantity": "0.0000000001"}, -1111, "precision"),
        ({"quantity": "0.000011"}, -1013, "LOT_SIZE"),
        ({"quantity": "9000001"}, -1013, "LOT_SIZE"),
        ({"price": "60000.005"}, -1013, "PRICE_FILTER"),
        ({"price": "99999999"}, -1013, "PRICE_FILTER"),
        ({"price": "400000"}, -1013, "PERCENT_PRICE_BY_SIDE"),
        ({"price": "11000"}, -1013, "PERCENT_PRICE_BY_SIDE"),
        ({"quantity": "0.00008"}, -1013, "NOTIONAL"),
        ({"stopPrice": "1"}, -1106, "'stopPrice'"),
        ({"newClientOrderId": "no spaces"}, -1100, "newClientOrderId"),
        ({"type": "MARKET"}, -1106, "'price'"),
        ({"type": "MARKET", "price": None, "timeInForce": None, "quoteOrderQty": "50"}, -1128, "Combination"),
        ({"type": "LIMIT_MAKER"}, -1106, "'timeInForce'"),
        ({"type": "STOP_LOSS_LIMIT"}, -1102, "'stopPrice'"),
    ],
)
def test_bad_orders_are_refused(change: dict[str, str | None], code: int, words: str) -> None:
    params = {name: value for name, value in {**LIMIT, **change}.items() if value is not None}
    with pytest.raises(Rejection) as refused:
        rules.read_order(params, SPEC, LAST, 0)
    assert refused.value.code == code
    assert words in refused.value.message


def test_good_orders_are_read() -> None:
    limit = rules.read_order({**LIMIT, "newClientOrderId": "x-1"}, SPEC, LAST, 7)
    assert (limit.price, limit.quantity, limit.client_id, limit.created_ms) == (6_000_000, 1_000, "x-1", 7)
    value = rules.read_order({"side": "BUY", "type": "MARKET", "quoteOrderQty": "12.5"}, SPEC, LAST, 7)
    assert value.quote_quantity == 1_250_000_000
    assert value.client_id


def test_the_documented_signature_example() -> None:
    secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    body = (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
    )
    expected = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    assert auth.sign(secret, body) == expected
    assert auth.query_payload("", f"{body}&signature={expected}") == body
    assert auth.query_payload("symbol=A&signature=x", "price=1") == "symbol=Aprice=1"


NOW = 1_700_000_000_000
KEYS = ApiKeys("a" * 64, "s" * 64)


def signed(**changes: str | None) -> dict[str, str]:
    params = {"timestamp": str(NOW), "symbol": "BTCUSDT", **changes}
    kept = {name: value for name, value in params.items() if value is not None}
    return {**kept, "signature": auth.sign(KEYS.api_secret, auth.message_payload(kept)), "apiKey": KEYS.api_key}


def check(params: dict[str, str], key: str = KEYS.api_key) -> None:
    payload = auth.message_payload({name: value for name, value in params.items() if name != "apiKey"})
    auth.check_signed(KEYS, key, params, payload, NOW)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"timestamp": str(NOW - 5_001)}, -1021),
        ({"timestamp": str(NOW + 1_000)}, -1021),
        ({"timestamp": None}, -1102),
        ({"timestamp": "soon"}, -1100),
        ({"recvWindow": "60001"}, -1131),
    ],
)
def test_stale_or_incomplete_requests_are_refused(changes: dict[str, str | None], code: int) -> None:
    with pytest.raises(Rejection) as refused:
        check(signed(**changes))
    assert refused.value.code == code


def test_windows_keys_and_signatures() -> None:
    check(signed())
    check(signed(timestamp=str(NOW - 59_000), recvWindow="60000"))
    check(signed(timestamp=str(NOW + 999)))
    for key, code in (("", -2014), ("short", -2014), ("b" * 64, -2015)):
        with pytest.raises(Rejection) as refused:
            check(signed(), key)
        assert refused.value.code == code
    forged = {**signed(), "symbol": "ETHUSDT"}
    with pytest.raises(Rejection) as refused:
        check(forged)
    assert refused.value.code == -1022
    unsigned = signed()
    del unsigned["signature"]
    with pytest.raises(Rejection) as refused:
        check(unsigned)
    assert refused.value.code == -1102


def test_json_parameters_become_the_text_that_was_signed() -> None:
    assert as_text({"a": True, "b": 5, "c": "0.10", "d": None, "e": ["X"]}) == {
        "a": "true",
        "b": "5",
        "c": "0.10",
        "e": '["X"]',
    }


def test_keys_are_made_once_and_only_for_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "practice" / "keys.json"
    made = auth.load_or_make_keys(path)
    assert auth.load_or_make_keys(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.api_secret not in repr(made)
    renewed = auth.replace_keys(path)
    assert renewed != made
    assert auth.load_or_make_keys(path) == renewed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]
    path.write_text(json.dumps({"api_key": "x"}))
    with pytest.raises(UserError, match="damaged"):
        auth.load_or_make_keys(path)


def test_exchange_info_names_every_filter() -> None:
    filters = {entry["filterType"]: entry for entry in rules.symbol_info(SPEC)["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert filters["NOTIONAL"]["minNotional"] == "5.00000000"
