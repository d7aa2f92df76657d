"""What the key may do: the venue's answer about it, and what a key without a right is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from tests.integration.practice_clients import raw_client, rest_client

RESTRICTIONS = "/sapi/v1/account/apiRestrictions"
BUY: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quoteOrderQty": "50"}


async def test_a_new_key_reads_and_trades_but_does_not_withdraw(tmp_path: Path) -> None:
    begun = time.time() * 1000
    async with raw_client(tmp_path) as client:
        reply = await client.signed("GET", RESTRICTIONS)
        assert reply.status == 200
        assert {name for name, value in reply.body.items() if value is True} == {
            "enableReading",
            "enableSpotAndMarginTrading",
        }
        assert reply.body["enableWithdrawals"] is False
        assert reply.body["ipRestrict"] is False
        assert begun - 2_000 <= reply.body["createTime"] <= time.time() * 1000
        assert (await client.request("GET", RESTRICTIONS)).body["code"] == -1102  # without a signature
        async with rest_client(client.endpoints) as exchange:
            exchange.urls["api"]["sapi"] = f"{client.endpoints.rest}/sapi/v1"
            assert await exchange.sapi_get_account_apirestrictions() == reply.body


async def test_rights_are_given_and_taken_at_run_time(tmp_path: Path) -> None:
    async with raw_client(tmp_path) as client:
        assert (await client.control.permissions(withdrawals=True, ip_restrict=True))["withdrawals"] is True
        seen = (await client.signed("GET", RESTRICTIONS)).body
        assert (seen["enableWithdrawals"], seen["ipRestrict"]) == (True, True)

        await client.control.permissions(trading=False)
        refused = await client.signed("POST", "order", **BUY)
        assert (refused.status, refused.body["code"]) == (401, -2015)
        assert (await client.signed("DELETE", "openOrders", symbol="BTCUSDT")).body["code"] == -2015
        assert (await client.signed("GET", "allOrders", symbol="BTCUSDT")).body == []
        assert (await client.signed("GET", RESTRICTIONS)).body["enableSpotAndMarginTrading"] is False

        await client.control.permissions(trading=True, reading=False)
        assert (await client.signed("GET", "account")).body["code"] == -2015
        assert (await client.signed("POST", "order", **BUY)).body["status"] == "FILLED"
        assert (await client.signed("GET", RESTRICTIONS)).body["enableReading"] is False

        with pytest.raises(UserError, match="no right"):
            await client.control.permissions(flying=True)
        assert (await client.control.permissions())["reading"] is False
        new = await client.control.reset()
        assert new.api_key != client.endpoints.api_key
        assert (await client.control.permissions())["reading"] is True  # a new key begins with the usual rights


async def test_a_revoked_key_opens_nothing_and_its_streams_end(tmp_path: Path) -> None:
    async with raw_client(tmp_path) as client, client.session.ws_connect(client.endpoints.ws_api) as socket:
        await socket.send_json(client.message("1", "userDataStream.subscribe.signature"))
        assert (await socket.receive_json(timeout=5))["status"] == 200
        await client.control.permissions(revoked=True)
        ended = await socket.receive_json(timeout=5)
        assert ended["event"]["e"] == "eventStreamTerminated"
        await socket.send_json(client.message("2", "order.place", **BUY))
        answer = await socket.receive_json(timeout=5)
        assert (answer["status"], answer["error"]["code"]) == (401, -2015)
        for method, path, params in (("GET", "account", {}), ("POST", "order", BUY), ("GET", RESTRICTIONS, {})):
            refused = await client.signed(method, path, **params)
            assert (refused.status, refused.body["code"]) == (401, -2015), json.dumps(refused.body)
        assert (await client.request("GET", "time")).status == 200
        await client.control.permissions(revoked=False)
        assert (await client.signed("GET", "allOrders", symbol="BTCUSDT")).body == []
