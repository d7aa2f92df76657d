"""CcxtGateway over HTTP: exact orders on the wire, values back exact, every failure classified."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace
from decimal import Decimal

import pytest
from aiohttp import web

from core.clock import ManualClock, SystemClock
from core.domain.candles import Timeframe
from core.domain.fills import Liquidity
from core.domain.instruments import FeeRule
from core.domain.orders import OrderState, OrderType, Side, TimeInForce, TradingMode
from core.events import ConnectionState, ConnectionStatus
from core.execution.api.binance_api import binance_practice_profile, binance_profile
from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
from core.execution.api.gateway import (
    AmbiguousOutcome,
    DefinitiveReject,
    FatalGatewayError,
    OrderRequest,
    OrderUnknown,
    RetryableError,
)
from core.execution.api.loopback import LeavesThisMachine
from tests.unit.execution_api.venue_double import KEY, MINUTE_MS, SECRET, T0_MS, VenueDouble, kline, refusing

D = Decimal
ORDER = "POST /api/v3/order"
LIMIT = OrderRequest("maru-1", "BTC/USDT", Side.BUY, OrderType.LIMIT, D("0.00123"), D("60000.01"))


async def test_connect_loads_rules_and_clock(gateway: CcxtGateway, statuses: list[ConnectionStatus]) -> None:
    instrument = gateway.instruments["BTC/USDT"]
    assert (instrument.tick_size, instrument.lot_size, instrument.min_notional) == (D("0.01"), D("0.00001"), D(5))
    assert instrument.fee_rule is FeeRule.RECEIVED
    assert (instrument.venue_symbol, instrument.min_quantity) == ("BTCUSDT", D("0.00001"))
    assert next(s.state for s in statuses if not s.detail) is ConnectionState.CONNECTING
    last = statuses[-1]
    assert last.state is ConnectionState.ONLINE
    assert last.latency_ms is not None
    assert last.clock_offset_ms is not None
    assert abs(last.clock_offset_ms) < 100


async def test_limit_order_is_sent_exactly_as_given(gateway: CcxtGateway, venue: VenueDouble) -> None:
    report = await gateway.submit_order(LIMIT)
    sent = venue.sent(ORDER)
    assert len(sent) == 1
    assert {k: sent[0][k] for k in ("symbol", "side", "type", "quantity", "price", "timeInForce")} == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "quantity": "0.00123",
        "price": "60000.01",
        "timeInForce": "GTC",
    }
    assert sent[0]["newClientOrderId"] == "maru-1"
    assert int(sent[0]["recvWindow"]) == gateway.recv_window_ms == 3_000  # what is waited for is what was sent
    assert (report.state, report.client_order_id, report.venue_order_id) == (OrderState.ACCEPTED, "maru-1", "1")
    assert (report.quantity, report.limit_price, report.filled_quantity) == (D("0.00123"), D("60000.01"), D(0))


@pytest.mark.parametrize(
    ("order_type", "extra", "expected"),
    [
        (OrderType.MARKET, {"limit_price": None}, {"type": "MARKET", "quantity": "0.00123"}),
        (OrderType.LIMIT_MAKER, {}, {"type": "LIMIT_MAKER", "price": "60000.01"}),
        (
            OrderType.STOP_LOSS_LIMIT,
            {"stop_price": D("61000.5")},
            {"type": "STOP_LOSS_LIMIT", "stopPrice": "61000.5", "price": "60000.01", "timeInForce": "GTC"},
        ),
        (OrderType.LIMIT, {"time_in_force": TimeInForce.IOC}, {"type": "LIMIT", "timeInForce": "IOC"}),
    ],
)
async def test_every_order_type(
    gateway: CcxtGateway, venue: VenueDouble, order_type: OrderType, extra: dict[str, object], expected: dict[str, str]
) -> None:
    report = await gateway.submit_order(replace(LIMIT, order_type=order_type, **extra))
    sent = venue.sent(ORDER)[0]
    assert {key: sent.get(key) for key in expected} == expected
    assert "quoteOrderQty" not in sent
    if order_type is OrderType.MARKET:
        assert "price" not in sent
    assert report.order_type is order_type


@pytest.mark.parametrize(
    "wrong", [{"quantity": D("0.001234567")}, {"limit_price": D("60000.005")}, {"symbol": "NOPE/USDT"}]
)
async def test_what_would_have_to_be_rounded_is_never_sent(
    gateway: CcxtGateway, venue: VenueDouble, wrong: dict[str, object]
) -> None:
    with pytest.raises(DefinitiveReject):
        await gateway.submit_order(replace(LIMIT, **wrong))
    assert venue.sent(ORDER) == []


async def lose_the_answer(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def half_an_answer(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"orderId": 1')
    assert request.transport is not None
    request.transport.abort()
    return response


async def nonsense(request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>gateway</html>")


async def empty_object(request: web.Request) -> web.StreamResponse:
    return web.json_response({})


@pytest.mark.parametrize(
    ("failure", "expected", "code"),
    [
        (refusing(-2010, "Account has insufficient balance for requested action."), DefinitiveReject, "-2010"),
        (refusing(-2010, "Duplicate order sent."), AmbiguousOutcome, "-2010"),
        (refusing(-1013, "Filter failure: LOT_SIZE"), DefinitiveReject, "-1013"),
        (refusing(-1121, "Invalid symbol."), DefinitiveReject, "-1121"),
        (refusing(-1007, "Timeout waiting for response from backend server."), AmbiguousOutcome, "-1007"),
        (refusing(-1000, "An unknown error occurred.", 500), AmbiguousOutcome, "-1000"),
        (refusing(-1021, "Timestamp for this request is outside of the recvWindow."), RetryableError, "-1021"),
        (refusing(-1015, "Too many new orders."), RetryableError, "-1015"),
        (refusing(-2015, "Invalid API-key, IP, or permissions for action.", 401), FatalGatewayError, "-2015"),
        (refusing(-1022, "Signature for this request is not valid."), FatalGatewayError, "-1022"),
        (lose_the_answer, AmbiguousOutcome, ""),
        (half_an_answer, AmbiguousOutcome, ""),
        (nonsense, AmbiguousOutcome, ""),
        (empty_object, AmbiguousOutcome, ""),
    ],
)
async def test_failures_of_a_submit(
    gateway: CcxtGateway, venue: VenueDouble, failure: object, expected: type[Exception], code: str
) -> None:
    venue.fail_next(ORDER, failure)  # type: ignore[arg-type]
    with pytest.raises(expected) as caught:
        await gateway.submit_order(LIMIT)
    assert type(caught.value) is expected
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert len(venue.sent(ORDER)) == 1  # never sent again by anyone
    assert "signature" not in str(caught.value)


async def test_silence_after_a_submit_is_ambiguous_and_on_a_query_retryable(
    venue: VenueDouble, market_clock: ManualClock
) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    profile = replace(venue.profile(), request_timeout_ms=300)
    gateway = CcxtGateway(profile, TradingMode.PRACTICE, Credentials(KEY, SECRET), market_clock=market_clock)
    await gateway.connect()
    try:
        venue.fail_next(ORDER, never)
        venue.fail_next("GET /api/v3/order", never)
        with pytest.raises(AmbiguousOutcome, match="no answer in time"):
            await gateway.submit_order(LIMIT)
        with pytest.raises(RetryableError):
            await gateway.fetch_order("BTC/USDT", "maru-1")
    finally:
        await gateway.close()


async def test_order_that_never_left_may_be_repeated(gateway: CcxtGateway, venue: VenueDouble) -> None:
    await venue.stop()
    await asyncio.sleep(0.05)  # kept connections notice; on one just closing the outcome would rightly be ambiguous
    with pytest.raises(RetryableError):
        await gateway.submit_order(LIMIT)


async def test_retry_after_is_kept(gateway: CcxtGateway, venue: VenueDouble) -> None:
    venue.fail_next("GET /api/v3/time", refusing(-1003, "Too many requests.", 429, **{"Retry-After": "1"}))
    with pytest.raises(RetryableError) as caught:
        await gateway.server_time_ns()
    assert caught.value.retry_after_s == 1.0
    before = time.monotonic()
    await gateway.server_time_ns()
    assert time.monotonic() - before > 0.5


async def test_order_life(gateway: CcxtGateway, venue: VenueDouble) -> None:
    await gateway.submit_order(LIMIT)
    await gateway.submit_order(replace(LIMIT, client_order_id="maru-2"))
    assert {o.client_order_id for o in await gateway.fetch_open_orders()} == {"maru-1", "maru-2"}
    cancelled = await gateway.cancel_order("BTC/USDT", "maru-1")
    assert (cancelled.state, cancelled.client_order_id) == (OrderState.CANCELED, "maru-1")
    assert (await gateway.fetch_order("BTC/USDT", "maru-1")).state is OrderState.CANCELED
    rest = await gateway.cancel_all_orders("BTC/USDT")
    assert [(o.client_order_id, o.state) for o in rest] == [("maru-2", OrderState.CANCELED)]
    assert await gateway.cancel_all_orders("BTC/USDT") == []
    assert await gateway.fetch_open_orders("BTC/USDT") == []
    with pytest.raises(OrderUnknown):
        await gateway.cancel_order("BTC/USDT", "nobody")
    with pytest.raises(OrderUnknown):
        await gateway.fetch_order("BTC/USDT", "nobody")


async def test_own_trades_are_complete_and_name_our_orders(gateway: CcxtGateway, venue: VenueDouble) -> None:
    await gateway.submit_order(LIMIT)
    venue.orders["foreign"] = {**venue.orders["maru-1"], "clientOrderId": "foreign", "orderId": 9}
    venue.trades = [
        {
            "symbol": "BTCUSDT",
            "id": i,
            "orderId": 9 if i == 0 else 1,
            "price": "60000.01",
            "qty": "0.00001",
            "quoteQty": "0.6000001",
            "commission": "0.00000001",
            "commissionAsset": "BTC",
            "time": T0_MS + i,
            "isBuyer": True,
            "isMaker": i % 2 == 0,
        }
        for i in range(2_500)
    ]
    fills = await gateway.fetch_fills("BTC/USDT")
    assert [f.trade_id for f in fills] == [str(i) for i in range(2_500)]
    assert (fills[0].client_order_id, fills[1].client_order_id) == ("foreign", "maru-1")
    assert (fills[1].price, fills[1].fee, fills[1].fee_currency) == (D("60000.01"), D("0.00000001"), "BTC")
    assert [fills[0].liquidity, fills[1].liquidity] == [Liquidity.MAKER, Liquidity.TAKER]
    later = await gateway.fetch_fills("BTC/USDT", since_ns=(T0_MS + 1_200) * 1_000_000)
    assert [f.trade_id for f in later] == [str(i) for i in range(1_200, 2_500)]


async def test_balances_and_market_data(gateway: CcxtGateway, venue: VenueDouble, market_clock: ManualClock) -> None:
    balances = {b.currency: b for b in await gateway.fetch_balances()}
    assert set(balances) == {"BTC", "USDT"}
    assert (balances["USDT"].free, balances["USDT"].locked) == (D("1000.10"), D("20.5"))
    venue.klines = [kline(i) for i in range(3)]
    market_clock.set((T0_MS + 3 * MINUTE_MS - 1) * 1_000_000)
    assert [c.final for c in await gateway.fetch_candles("BTC/USDT", Timeframe.M1)] == [True, True, False]
    market_clock.set((T0_MS + 3 * MINUTE_MS) * 1_000_000)
    assert [c.final for c in await gateway.fetch_candles("BTC/USDT", Timeframe.M1)] == [True, True, True]
    book = await gateway.fetch_book("BTC/USDT")
    assert (book.bids[0], book.asks[0], book.sequence) == ((99.0, 1.0), (101.0, 3.0), 100)
    trade = (await gateway.fetch_trades("BTC/USDT"))[0]
    assert (trade.price, trade.side) == (100.5, Side.SELL)
    with pytest.raises(DefinitiveReject, match="no market"):
        await gateway.fetch_candles("NOPE/USDT", Timeframe.M1)


async def test_venue_down_at_start_and_wrong_key(venue: VenueDouble, market_clock: ManualClock) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        base = f"127.0.0.1:{probe.getsockname()[1]}"
    down = binance_practice_profile(rest=f"http://{base}", ws=f"ws://{base}/stream/ws", ws_api=f"ws://{base}/ws-api/v3")
    gateway = CcxtGateway(down, TradingMode.PRACTICE, None, market_clock=market_clock)
    with pytest.raises(RetryableError):
        await gateway.connect()
    assert gateway.connection.state is ConnectionState.OFFLINE
    await gateway.close()
    for wrong in (Credentials("nobody", SECRET), Credentials(KEY, "wrong")):
        gateway = CcxtGateway(venue.profile(), TradingMode.PRACTICE, wrong, market_clock=market_clock)
        with pytest.raises(FatalGatewayError, match=r"-2015|-1022"):
            await gateway.connect()
        await gateway.close()


def test_mode_and_addresses_must_agree() -> None:
    clock, keys = SystemClock(), Credentials("k", "s")
    local = binance_practice_profile("http://127.0.0.1:1", "ws://127.0.0.1:1/stream/ws", "ws://127.0.0.1:1/ws-api/v3")
    away = binance_practice_profile("http://127.0.0.1:1", "ws://10.0.0.1:1/stream/ws", "ws://127.0.0.1:1/ws-api/v3")
    for profile, mode, credentials in (
        (binance_profile(), TradingMode.PRACTICE, keys),
        (away, TradingMode.PRACTICE, keys),
        (local, TradingMode.LIVE, keys),
        (local, TradingMode.PAPER, None),
        (binance_profile(), TradingMode.PAPER, keys),
    ):
        with pytest.raises(FatalGatewayError):
            CcxtGateway(profile, mode, credentials, market_clock=clock)
    with pytest.raises(ValueError, match="/stream"):
        binance_practice_profile("http://127.0.0.1:1", "ws://127.0.0.1:1/ws", "ws://127.0.0.1:1/ws-api/v3")


async def test_practice_connector_itself_refuses_other_machines(
    gateway: CcxtGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = gateway._client.exchange
    exchange.urls["api"]["public"] = "http://192.0.2.7:80/api/v3"
    with pytest.raises(LeavesThisMachine, match=r"192\.0\.2\.7"):
        await gateway.server_time_ns()
    exchange.urls["api"]["ws"]["spot"] = "ws://192.0.2.7/stream/ws"
    with pytest.raises(FatalGatewayError, match="this machine only"):
        await anext(gateway.watch_trades("BTC/USDT"))


async def test_no_keys_no_account(venue: VenueDouble, market_clock: ManualClock) -> None:
    gateway = CcxtGateway(venue.profile(), TradingMode.PRACTICE, None, market_clock=market_clock)
    await gateway.connect()
    try:
        with pytest.raises(FatalGatewayError, match="no keys"):
            await gateway.fetch_balances()
        with pytest.raises(FatalGatewayError, match="no keys"):
            gateway.watch_user()
    finally:
        await gateway.close()
    with pytest.raises(RetryableError, match="not connected"):
        await gateway.server_time_ns()
    await gateway.close()


def test_secrets_stay_hidden() -> None:
    shown = repr(Credentials("my-key", "my-secret"))
    assert "my-key" not in shown
    assert "my-secret" not in shown
