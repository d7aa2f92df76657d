"""The simulated gateway hands over what `CcxtGateway` would: the same rows through ccxt's parsers and ours."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from core.domain.orders import OrderType, Side, TimeInForce
from core.execution.api.binance_api import BINANCE_FEE_RULE, BinanceDialect
from core.execution.api.ccxt_loader import load_exchange_class
from core.execution.api.ccxt_parse import parse_balances, parse_fill, parse_instrument, parse_order
from core.execution.api.gateway import OrderRequest
from core.practice.orders import Rejection
from tests.chaos import wire
from tests.chaos.faults import FaultPlan
from tests.chaos.market import SPECS
from tests.chaos.venue import SimVenue
from tests.chaos.virtual_loop import VirtualLoop


@pytest.fixture(scope="module")
def exchange() -> Any:
    """ccxt's own class, fed by hand."""
    made = type("Binance", (load_exchange_class("binance"),), {"number": str})()
    made.options |= {
        "crossMarginPairsData": [],
        "isolatedMarginPairsData": [],
    }  # what load_markets would have put there
    loop = VirtualLoop()
    sim = SimVenue(loop, 0, FaultPlan(lambda: 0.0))
    made.set_markets(made.parse_markets(sim.api.exchange_info({})["symbols"]))
    loop.close()
    return made


@pytest.fixture
def sim() -> Iterator[SimVenue]:
    loop = VirtualLoop()
    yield SimVenue(loop, 3, FaultPlan(lambda: 0.0))
    loop.close()


def requests() -> list[OrderRequest]:
    """One order of every kind: filled in parts, resting, expired at once, waiting."""
    quantity, limit = Decimal("0.04000"), OrderType.LIMIT
    buy, sell = Side.BUY, Side.SELL
    ioc = TimeInForce.IOC
    return [
        OrderRequest("maru-a", "BTC/USDT", buy, OrderType.MARKET, quantity),
        OrderRequest("maru-b", "BTC/USDT", sell, OrderType.MARKET, quantity),
        OrderRequest("maru-c", "BTC/USDT", buy, limit, quantity, Decimal("29000.00")),
        OrderRequest("maru-d", "BTC/USDT", buy, limit, Decimal(2), Decimal("30010.00"), time_in_force=ioc),
        OrderRequest("maru-e", "ETH/USDT", buy, OrderType.LIMIT_MAKER, Decimal("0.1"), Decimal("1900.00")),
        OrderRequest(
            "maru-f", "BTC/USDT", sell, OrderType.STOP_LOSS_LIMIT, quantity, Decimal("28000.00"), Decimal("28100.00")
        ),
        OrderRequest("maru-g", "BTC/USDT", buy, limit, Decimal(3), Decimal("30005.00")),
    ]


def place_all(sim: SimVenue) -> list[tuple[OrderRequest, dict[str, Any]]]:
    return [(request, sim.api.place_order(wire.order_params(request))) for request in requests()]


def by_ccxt(exchange: Any, row: dict[str, Any], client_id: str = "") -> Any:
    order = exchange.parse_order(row, exchange.markets_by_id[row["symbol"]][0])
    own_id = client_id or BinanceDialect().client_order_id(order.get("info") or {})
    return parse_order(order, own_id, "binance", 0)


def test_answers_to_orders_are_read_as_ccxt_reads_them(exchange: Any, sim: SimVenue) -> None:
    answers = place_all(sim)
    assert {len(row.get("fills", ())) > 1 for _, row in answers} == {True, False}
    for request, row in answers:
        ours = wire.report_of(row, request.symbol, request.client_order_id)
        assert ours == by_ccxt(exchange, row, request.client_order_id)


def test_queries_and_cancels_are_read_as_ccxt_reads_them(exchange: Any, sim: SimVenue) -> None:
    place_all(sim)
    sim.move(20)
    for request in requests():
        params = {"symbol": request.symbol.replace("/", ""), "origClientOrderId": request.client_order_id}
        row = sim.api.query_order(params)
        assert wire.report_of(row, request.symbol, request.client_order_id) == by_ccxt(
            exchange, row, request.client_order_id
        )
    for symbol, spec in SPECS.items():
        for row in [*sim.api.open_orders({"symbol": symbol}), *sim.api.cancel_open_orders({"symbol": symbol})]:
            assert wire.report_of(row, spec.unified) == by_ccxt(exchange, row)


def test_own_trades_are_read_as_ccxt_reads_them(exchange: Any, sim: SimVenue) -> None:
    place_all(sim)
    sim.move(20)
    rows = sim.my_trades({"symbol": "BTCUSDT", "fromId": "0", "limit": "1000"})
    assert len({row["isMaker"] for row in rows}) == 2
    for row in rows:
        trade = exchange.parse_trade(row, exchange.markets_by_id["BTCUSDT"][0])
        assert wire.fill_of(row, "BTC/USDT", "x") == parse_fill(trade, "BTC/USDT", "x", "binance")


def test_balances_are_read_as_ccxt_reads_them(exchange: Any, sim: SimVenue) -> None:
    place_all(sim)
    answer = sim.api.account({"omitZeroBalances": "false"})
    theirs = parse_balances(exchange.parse_balance_custom(answer, "spot"))
    assert sorted(theirs, key=lambda b: b.currency) == list(wire.balances_of(sim.exchange.ledger.balances()))


def test_instruments_are_read_as_ccxt_reads_them(exchange: Any) -> None:
    for symbol, spec in SPECS.items():
        theirs = parse_instrument(exchange.markets_by_id[symbol][0], "binance", BINANCE_FEE_RULE)
        assert wire.instrument_of(spec) == theirs


def test_orders_are_sent_as_ccxt_sends_them(exchange: Any) -> None:
    for request in requests():
        kind, params = BinanceDialect().order_arguments(request)
        price = None if request.order_type is OrderType.MARKET else f"{request.limit_price:f}"
        sent = exchange.create_order_request(
            request.symbol, kind, request.side.value, f"{request.quantity:f}", price, params
        )
        ours = wire.order_params(request)
        assert {name: str(sent[name]) for name in ours} == ours
        assert set(sent) - set(ours) <= {"recvWindow"}


def test_a_lagging_view_shows_orders_as_they_were(sim: SimVenue) -> None:
    sim.plan.now = lambda: 100.0
    sim.api.place_order(wire.order_params(requests()[2]))
    sim.plan.lag("order", 1.0, 10.0)
    sim.plan.lag("open", 1.0, 10.0)
    with pytest.raises(Rejection, match="-2013"):
        sim.query_order({"symbol": "BTCUSDT", "origClientOrderId": "maru-c"})
    assert sim.open_orders({}) == []
    sim._loop.virtual_s += 2.0  # type: ignore[attr-defined]
    assert sim.query_order({"symbol": "BTCUSDT", "origClientOrderId": "maru-c"})["status"] == "NEW"
    assert [row["clientOrderId"] for row in sim.open_orders({})] == ["maru-c"]
