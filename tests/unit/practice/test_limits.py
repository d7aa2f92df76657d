"""Request limits: what is counted, refused, taken back and forgiven."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.errors import UserError
from core.practice.limits import RequestLimits, parse_limits
from core.practice.operations import OPERATIONS
from core.practice.orders import BUY, GTC, LIMIT, Fill, Order, OrderEvent, Rejection

MINUTE = 60_000
NOON = 1_750_000_020_000 // MINUTE * MINUTE


class Wall:
    """Wall time that a test sets."""

    def __init__(self) -> None:
        self.ms = NOON

    def __call__(self) -> int:
        return self.ms


def refusal(action: Callable[[], None]) -> Rejection:
    with pytest.raises(Rejection) as caught:
        action()
    return caught.value


def fill_of(executed: int, lots: int, *, is_maker: bool) -> OrderEvent:
    order = Order(1, "c", "BTCUSDT", BUY, LIMIT, GTC, 100, 50, executed=executed)
    return OrderEvent("TRADE", order, Fill(1, 1, "BTCUSDT", 100, lots, 0, "BTC", True, is_maker, 0, 0))


def orders_used(limits: RequestLimits) -> list[int]:
    return [row["count"] for row in limits.counted(orders=True)[1:]]


def test_weight_is_counted_per_minute_of_the_clock() -> None:
    wall = Wall()
    wall.ms += 40_000
    limits = RequestLimits(wall)
    limits.charge(5_990)
    limits.charge(10)
    assert limits.headers(orders=False) == {"X-MBX-USED-WEIGHT-1M": "6000"}
    refused = refusal(lambda: limits.charge(1))
    assert (refused.code, refused.status, refused.retry_s) == (-1003, 429, 20)
    wall.ms = NOON + MINUTE
    limits.charge(1)
    assert limits.headers(orders=False) == {"X-MBX-USED-WEIGHT-1M": "1"}


def test_who_ignores_a_refusal_is_banned_and_longer_each_time() -> None:
    wall = Wall()
    limits = RequestLimits(wall)
    limits.charge(6_000)
    assert [refusal(lambda: limits.charge(1)).status for _ in range(22)] == [429] * 20 + [418] * 2
    banned = refusal(limits.check_ban)
    assert (banned.code, banned.status, banned.retry_s) == (-1003, 418, 120)
    assert str(NOON + 120_000) in banned.message
    wall.ms += 119_999
    assert refusal(lambda: limits.charge(1)).status == 418
    wall.ms += 1
    limits.charge(6_000)
    statuses = [refusal(lambda: limits.charge(1)) for _ in range(21)]
    assert (statuses[-1].status, statuses[-1].retry_s) == (418, 240)
    limits.set_factor(1.0)
    limits.charge(1)


def test_refusals_of_different_minutes_do_not_add_up() -> None:
    wall = Wall()
    limits = RequestLimits(wall)
    for _ in range(5):
        limits.charge(6_000)
        assert [refusal(lambda: limits.charge(1)).status for _ in range(15)] == [429] * 15
        wall.ms += MINUTE


def test_orders_are_counted_until_they_trade() -> None:
    wall = Wall()
    limits = RequestLimits(wall)
    for _ in range(100):
        limits.admit_order()
        limits.order_placed()
    refused = refusal(limits.admit_order)
    assert (refused.code, refused.status, refused.retry_s) == (-1015, 429, 10)
    assert "100 orders per 10 SECOND" in refused.message
    limits.orders_changed([fill_of(20, 20, is_maker=False)])
    assert orders_used(limits) == [99, 99]
    limits.orders_changed([fill_of(50, 30, is_maker=False)])  # not its first
    assert orders_used(limits) == [99, 99]
    limits.orders_changed([fill_of(20, 20, is_maker=True)])
    assert orders_used(limits) == [94, 94]
    limits.order_placed()
    limits.order_refused()
    assert orders_used(limits) == [94, 94]
    wall.ms += 10_000
    assert orders_used(limits) == [0, 94]
    limits.orders_changed([fill_of(1, 1, is_maker=True)])
    assert orders_used(limits) == [0, 89]  # no credit below nothing


def test_the_day_has_a_limit_of_its_own() -> None:
    wall = Wall()
    limits = RequestLimits(wall, 0.001)  # 6 weight, 1 order per 10 s, 200 per day
    for _ in range(200):
        limits.admit_order()
        limits.order_placed()
        wall.ms += 10_000
    refused = refusal(limits.admit_order)
    assert "200 orders per 1 DAY" in refused.message
    assert refused.retry_s == (86_400_000 - wall.ms % 86_400_000 + 999) // 1_000


def test_a_factor_is_announced_and_off_enforces_nothing() -> None:
    wall = Wall()
    limits = RequestLimits(wall, 10)
    assert [row["limit"] for row in limits.announced()] == [60_000, 1_000, 2_000_000]
    limits.set_factor(None)
    assert limits.announced() == []
    limits.charge(10**9)
    for _ in range(500):
        limits.admit_order()
        limits.order_placed()
    assert limits.headers(orders=True) == {}


@pytest.mark.parametrize("text", ["", "on", "0", "-1", "nan", "inf", "1e9"])
def test_odd_limits_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="limits"):
        parse_limits(text)


def test_limits_are_read() -> None:
    assert parse_limits("off") is None
    assert parse_limits("2.5") == 2.5


@pytest.mark.parametrize(
    ("name", "params", "weight"),
    [
        ("ping", {}, 1),
        ("exchangeInfo", {}, 20),
        ("depth", {}, 5),
        ("depth", {"limit": "100"}, 5),
        ("depth", {"limit": "101"}, 25),
        ("depth", {"limit": "1000"}, 50),
        ("depth", {"limit": "5000"}, 250),
        ("depth", {"limit": "many"}, 5),
        ("ticker24hr", {"symbol": "BTCUSDT"}, 2),
        ("ticker24hr", {"symbols": '["BTCUSDT","ETHUSDT"]'}, 2),
        ("ticker24hr", {"symbols": ",".join(["X"] * 21)}, 40),
        ("ticker24hr", {}, 80),
        ("tickerPrice", {}, 4),
        ("bookTicker", {"symbol": "BTCUSDT"}, 2),
        ("account", {}, 20),
        ("order", {}, 1),
        ("query", {}, 4),
        ("openOrders", {"symbol": "BTCUSDT"}, 6),
        ("openOrders", {}, 80),
        ("myTrades", {}, 20),
        ("myTrades", {"orderId": "3"}, 5),
    ],
)
def test_weights_are_the_venues(name: str, params: dict[str, str], weight: int) -> None:
    (operation,) = (each for each in OPERATIONS if each.name == name)
    assert operation.weight(params) == weight


def test_every_operation_has_a_name_and_addresses_of_its_own() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    rest = [(operation.method, operation.path) for operation in OPERATIONS if operation.path]
    sockets = [operation.ws for operation in OPERATIONS if operation.ws]
    assert len(set(rest)) == len(rest)
    assert len(set(sockets)) == len(sockets)
