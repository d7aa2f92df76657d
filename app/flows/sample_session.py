"""A trading session made up for pictures and tests of the window. Qt-free, pure, any thread.

Deterministic: the same call gives the same events. Never shown to a person as their own account: only the
`screenshots` command and the tests use it.
"""

from __future__ import annotations

from decimal import Decimal

from app.flows.origin_text import market_title
from app.i18n import tr
from core.clock import NS_PER_S
from core.domain.data_origin import DEFAULT_SEED, practice_origin, with_caution
from core.domain.fills import Fill, Liquidity
from core.domain.instruments import Instrument
from core.domain.market import Ticker
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side, TradingMode
from core.domain.positions import Balance, Lot, Position
from core.domain.signals import Signal
from core.events import (
    BalancesChanged,
    ConnectionState,
    ConnectionStatus,
    ExecutorEvent,
    FillBooked,
    IntentDenied,
    Notice,
    OrderUpdated,
    PositionChanged,
    Severity,
    SignalEmitted,
    StrategyState,
    StrategyStatus,
)

VENUE = "binance"
PRACTICE = practice_origin(f"synthetic-{DEFAULT_SEED}")
# As the evaluation writes it: every text here is one the core could have written, so that pictures speak each language.
SAMPLE_VERDICT = "No evidence of an edge over naive forecasts (horizon 1: R² +0.04% on 1,333 unseen bars, p = 0.310)."
MODEL_IDS = ("9f41c07be2d34a1c", "1b7e55d20c8f4e93", "c3a8802f6be14d07")


def sample_instruments() -> tuple[Instrument, ...]:
    """Return three spot markets with realistic steps."""
    rules = (
        ("BTC", "0.01", "0.00001"),
        ("ETH", "0.01", "0.0001"),
        ("SOL", "0.01", "0.001"),
    )
    return tuple(
        Instrument(
            venue=VENUE,
            symbol=f"{base}/USDT",
            venue_symbol=f"{base}USDT",
            base=base,
            quote="USDT",
            tick_size=Decimal(tick),
            lot_size=Decimal(lot),
            min_quantity=Decimal(lot),
            min_notional=Decimal(5),
        )
        for base, tick, lot in rules
    )


def sample_tickers(now_ns: int) -> tuple[Ticker, ...]:
    """Return a price for each sample market."""
    return (
        Ticker("BTC/USDT", 61_204.5, 61_204.49, 61_204.5, 0.0183, 18_422.1, now_ns),
        Ticker("ETH/USDT", 3_012.77, 3_012.76, 3_012.77, -0.0061, 240_118.0, now_ns),
        Ticker("SOL/USDT", 148.32, 148.31, 148.32, 0.0412, 1_902_344.0, now_ns),
    )


def sample_events(now_ns: int, mode: TradingMode = TradingMode.PRACTICE) -> tuple[ExecutorEvent, ...]:
    """Return what an executor tells in the course of a session that ends at `now_ns` (ns UTC)."""
    return (
        *_links(mode),
        BalancesChanged(
            (
                Balance("USDT", Decimal("8421.37"), Decimal("612.04")),
                Balance("BTC", Decimal("0.0842"), Decimal(0)),
                Balance("ETH", Decimal("0.55"), Decimal(0)),
            )
        ),
        *_strategies(),
        *_orders(now_ns),
        *_fills(now_ns),
        *_positions(now_ns),
        *_messages(now_ns),
    )


def _links(mode: TradingMode) -> tuple[ConnectionStatus, ...]:
    online = ConnectionState.ONLINE
    return (
        ConnectionStatus(VENUE, "market", mode, online, latency_ms=14.0, clock_offset_ms=-3.0),
        ConnectionStatus(VENUE, "orders", mode, online, latency_ms=18.0, clock_offset_ms=-3.0),
    )


def _strategies() -> tuple[StrategyStatus, ...]:
    running, paused, failed = StrategyState.RUNNING, StrategyState.STOPPED, StrategyState.FAILED
    return (
        StrategyStatus(
            "btcusdt-1h-9f41c07b",
            tr("Bitcoin hourly"),
            "BTC/USDT",
            "1h",
            MODEL_IDS[0],
            running,
            "",
            Decimal("0.0842"),
            Decimal("131.52"),
            0.85,
        ),
        StrategyStatus(
            "ethusdt-15m-1b7e55d2",
            tr("Ether quarter-hourly"),
            "ETH/USDT",
            "15m",
            MODEL_IDS[1],
            running,
            "",
            Decimal("0.55"),
            Decimal("-12.08"),
            0.4,
        ),
        StrategyStatus("solusdt-4h-c3a8802f", tr("Solana swing"), "SOL/USDT", "4h", MODEL_IDS[2], paused),
        StrategyStatus(
            "btcusdt-5m-1b7e55d2",
            tr("Bitcoin scalp"),
            "BTC/USDT",
            "5m",
            MODEL_IDS[1],
            failed,
            "The model was trained on ETH/USDT 15m, not on BTC/USDT 5m.",
        ),
    )


def sample_order(
    number: int,
    now_ns: int,
    *,
    symbol: str = "BTC/USDT",
    side: Side = Side.BUY,
    quantity: str = "0.01",
    price: str | None = "60000",
    state: OrderState = OrderState.ACCEPTED,
    filled: str = "0",
    owner: str = "manual",
    message: str = "",
    age_s: int = 0,
) -> Order:
    """Return one order; manual unless `owner` names a strategy."""
    manual = owner == "manual"
    limit = None if price is None else Decimal(price)
    average = limit or Decimal("61200.10")
    when = now_ns - age_s * NS_PER_S
    intent = Intent(
        intent_id=f"intent-{number}",
        source=IntentSource.MANUAL if manual else IntentSource.STRATEGY,
        owner=owner,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
        limit_price=limit,
        created_ns=when,
    )
    return Order(
        client_order_id=f"maru-{number:06d}",
        intent=intent,
        state=state,
        filled_quantity=Decimal(filled),
        average_price=average if Decimal(filled) else None,
        message=message,
        submitted_ns=when,
        updated_ns=when,
    )


def _orders(now_ns: int) -> tuple[OrderUpdated, ...]:
    btc, eth = "btcusdt-1h-9f41c07b", "ethusdt-15m-1b7e55d2"
    orders = (
        sample_order(1, now_ns, quantity="0.01", price="60450.00", age_s=31),
        sample_order(2, now_ns, symbol="ETH/USDT", quantity="0.25", price="2998.50", owner=eth, age_s=74),
        sample_order(
            3,
            now_ns,
            side=Side.SELL,
            quantity="0.02",
            price="62100.00",
            filled="0.008",
            owner=btc,
            age_s=12,
            state=OrderState.PARTIALLY_FILLED,
        ),
        sample_order(
            4, now_ns, quantity="0.0842", price=None, filled="0.0842", owner=btc, state=OrderState.FILLED, age_s=640
        ),
        sample_order(
            5, now_ns, symbol="SOL/USDT", quantity="40", price="131.00", state=OrderState.CANCELED, age_s=1802
        ),
        sample_order(
            6,
            now_ns,
            quantity="2.5",
            price="61000.00",
            state=OrderState.DENIED,
            age_s=2400,
            message="order value 152500.00 is above the limit 5000",
        ),
    )
    return tuple(OrderUpdated(order) for order in orders)


def _fills(now_ns: int) -> tuple[FillBooked, ...]:
    rows = (
        ("BTC/USDT", Side.BUY, "59642.10", "0.0642", "btcusdt-1h-9f41c07b", 640),
        ("BTC/USDT", Side.BUY, "59642.35", "0.0200", "btcusdt-1h-9f41c07b", 639),
        ("ETH/USDT", Side.BUY, "3034.70", "0.5500", "ethusdt-15m-1b7e55d2", 410),
        ("BTC/USDT", Side.SELL, "61200.10", "0.0080", "btcusdt-1h-9f41c07b", 12),
    )
    events = []
    for number, (symbol, side, price, quantity, owner, age_s) in enumerate(rows):
        order = sample_order(
            100 + number,
            now_ns,
            symbol=symbol,
            side=side,
            quantity=quantity,
            price=price,
            filled=quantity,
            owner=owner,
            state=OrderState.FILLED,
            age_s=age_s,
        )
        fill = Fill(
            venue=VENUE,
            symbol=symbol,
            trade_id=str(88_100 + number),
            venue_order_id=str(5_000 + number),
            client_order_id=order.client_order_id,
            side=side,
            price=Decimal(price),
            quantity=Decimal(quantity),
            fee=(Decimal(price) * Decimal(quantity) / 1000).quantize(Decimal("0.0001")),
            fee_currency="USDT",
            liquidity=Liquidity.TAKER if number % 2 == 0 else Liquidity.MAKER,
            time_ns=now_ns - age_s * NS_PER_S,
        )
        events.append(FillBooked(fill, order))
    return tuple(events)


def _positions(now_ns: int) -> tuple[PositionChanged, ...]:
    rows = (
        ("BTC/USDT", "btcusdt-1h-9f41c07b", "0.0842", "59642.16", "12.46", "5.51", "61204.50"),
        ("ETH/USDT", "ethusdt-15m-1b7e55d2", "0.55", "3034.70", "0", "1.67", "3012.77"),
        ("SOL/USDT", "manual", "0", "0", "18.20", "1.10", "148.32"),
    )
    return tuple(
        PositionChanged(
            Position(
                VENUE,
                symbol,
                owner,
                Decimal(quantity),
                Decimal(entry),
                Decimal(realised),
                Decimal(fees),
                now_ns,
                fifo_pnl=Decimal(realised),
                lots=(Lot("1", now_ns, Decimal(quantity), Decimal(entry)),) if Decimal(quantity) else (),
            ),
            Decimal(mark),
        )
        for symbol, owner, quantity, entry, realised, fees, mark in rows
    )


def _messages(now_ns: int) -> tuple[ExecutorEvent, ...]:
    order = sample_order(6, now_ns, quantity="2.5", price="61000.00")
    reason = "forecast z 1.31 ≥ entry 1.00"
    signal = Signal("btcusdt-1h-9f41c07b", "BTC/USDT", 0.85, 61_180.0, now_ns, reason)
    return (
        SignalEmitted(signal),
        IntentDenied(order.intent, "MAX_ORDER_VALUE", "order value 152500.00 is above the limit 5000"),
        Notice(
            Severity.SUCCESS,
            tr("Training finished: {market}", market=market_title("BTC/USDT", "1h", PRACTICE)),
            with_caution(SAMPLE_VERDICT, PRACTICE),
        ),
    )
