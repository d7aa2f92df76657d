"""What a key may do decides whether it is used; an unclear answer never lets one pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import SystemClock
from core.domain.orders import TradingMode
from core.execution.api.binance_api import binance_profile
from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
from core.execution.api.gateway import FatalGatewayError, NoAnswer
from core.execution.api.key_permissions import (
    Allowed,
    KeyRefused,
    Permissions,
    Refused,
    SessionGuard,
    StopGuard,
    Verdict,
    binance_permissions,
    judge,
    tells_permissions,
)
from core.execution.error_handler import Operation

ANSWER: dict[str, Any] = {
    "ipRestrict": True,
    "createTime": 1_698_645_219_000,
    "enableReading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "enableMargin": False,
    "enableFutures": False,
    "permitsUniversalTransfer": False,
    "enableVanillaOptions": False,
    "enableFixApiTrade": False,
    "enableFixReadOnly": True,
    "enableSpotAndMarginTrading": True,
    "enablePortfolioMarginTrading": False,
}


def verdict(**changes: Any) -> Verdict:
    return judge(binance_permissions({**ANSWER, **changes}))


def test_a_key_that_reads_and_trades_from_one_address_passes_without_a_word() -> None:
    assert verdict() == Allowed()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"enableWithdrawals": True}, "withdraw money"),
        ({"enableInternalTransfer": True}, "move money"),
        ({"permitsUniversalTransfer": True}, "move money"),
        ({"enableSubAccountTransfer": True}, "move money"),  # not there today
        ({"permitsFiatWithdraw": 1}, "move money"),
        ({"enableReading": False}, "may not read"),
        ({"enableSpotAndMarginTrading": False}, "may not trade"),
    ],
)
def test_keys_that_are_refused(changes: dict[str, Any], words: str) -> None:
    found = verdict(**changes)
    assert isinstance(found, Refused)
    assert words in found.reason


def test_a_key_that_only_reads_is_good_for_reading() -> None:
    permissions = binance_permissions({**ANSWER, "enableSpotAndMarginTrading": False})
    assert judge(permissions, for_trading=False) == Allowed()


def test_warnings() -> None:
    found = verdict(ipRestrict=False, enableFutures=True, enableMargin=True)
    assert isinstance(found, Allowed)
    assert len(found.warnings) == 2
    assert "any address" in found.warnings[0]
    assert "enableFutures, enableMargin" in found.warnings[1]


@pytest.mark.parametrize(
    "name",
    [
        "enableReading",
        "enableSpotAndMarginTrading",
        "enableWithdrawals",
        "enableInternalTransfer",
        "permitsUniversalTransfer",
    ],
)
@pytest.mark.parametrize("value", [None, "false", 0, "missing"])
def test_an_unclear_answer_lets_no_key_pass(name: str, value: Any) -> None:
    answer = {**ANSWER, name: value}
    if value == "missing":
        del answer[name]
    with pytest.raises(KeyRefused, match=name):
        binance_permissions(answer)


@given(st.builds(Permissions, *(st.booleans() for _ in range(5)), unneeded=st.just(())))
def test_no_key_that_moves_money_is_ever_allowed(permissions: Permissions) -> None:
    for for_trading in (True, False):
        found = judge(permissions, for_trading=for_trading)
        if permissions.withdrawals or permissions.transfers or not permissions.reading:
            assert isinstance(found, Refused)
        else:
            assert isinstance(found, Allowed) == (permissions.trading or not for_trading)


class FakeClient:
    """Answers the permission question, or fails, and counts."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    async def call(self, operation: Operation, weight: float, request: Callable[[Any], Awaitable[Any]]) -> Any:
        return await request(self)

    async def sapiGetAccountApiRestrictions(self) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_a_key_is_asked_about_once_a_session() -> None:
    told: list[Verdict] = []
    client: Any = FakeClient(ANSWER)
    guard = SessionGuard(told=told.append)
    await guard.admit(client, "binance")
    await guard.admit(client, "binance")
    assert (client.asked, told) == (1, [Allowed()])


async def test_a_refused_key_stays_refused_without_another_question() -> None:
    client: Any = FakeClient({**ANSWER, "enableWithdrawals": True})
    guard = SessionGuard()
    for _ in range(2):
        with pytest.raises(KeyRefused, match="withdraw"):
            await guard.admit(client, "binance")
    assert client.asked == 1


async def test_a_venue_out_of_reach_decides_nothing() -> None:
    client: Any = FakeClient(NoAnswer("no connection"))
    guard = SessionGuard(unchecked_confirmed=True)
    with pytest.raises(NoAnswer):
        await guard.admit(client, "binance")
    assert guard.verdict is None
    client.answer = {**ANSWER, "enableWithdrawals": True}
    with pytest.raises(KeyRefused):  # a confirmation is no substitute for the venue's own answer
        await guard.admit(client, "binance")


@pytest.mark.parametrize("answer", [[], "ok", None])
async def test_an_answer_of_another_kind_lets_no_key_pass(answer: Any) -> None:
    client: Any = FakeClient(answer)
    with pytest.raises(KeyRefused):
        await SessionGuard().admit(client, "binance")


async def test_a_venue_that_cannot_be_asked_needs_a_persons_word() -> None:
    assert not tells_permissions("upbit")
    client: Any = FakeClient(ANSWER)
    with pytest.raises(KeyRefused, match="does not tell"):
        await SessionGuard().admit(client, "upbit")
    guard = SessionGuard(unchecked_confirmed=True)
    await guard.admit(client, "upbit")
    assert isinstance(guard.verdict, Allowed)
    assert "You confirmed" in guard.verdict.warnings[0]
    assert client.asked == 0


def test_a_live_gateway_without_a_guard_cannot_be_made() -> None:
    keys, clock = Credentials("k" * 9, "s" * 9), SystemClock()
    with pytest.raises(FatalGatewayError, match="what its key may do"):
        CcxtGateway(binance_profile(), TradingMode.LIVE, keys, market_clock=clock)
    CcxtGateway(binance_profile(), TradingMode.LIVE, keys, market_clock=clock, key_guard=StopGuard())
    CcxtGateway(binance_profile(), TradingMode.LIVE, None, market_clock=clock)
