"""The same long history in a journal and at a practice exchange, for the recovery benchmark. Main thread.

Written in bulk with the schemas and row builders of either side; positions and their lots are what the fills make.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from core.clock import NS_PER_MS
from core.config import DataPaths
from core.domain.fills import Fill, Liquidity
from core.domain.instruments import Instrument
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side, TradingMode
from core.domain.positions import Position
from core.execution import journal_rows as rows
from core.execution.assembly import open_journal
from core.execution.order_manager import client_order_id
from core.execution.position_tracker import BookedFill, History, fee_in_quote, replay
from core.execution.records import OrderRecord
from core.persistence.engine import open_engine
from core.persistence.models import FillRow, IntentRow, OrderEventRow, OrderRow
from core.practice import orders as venue
from core.practice.account_store import AccountStore
from core.practice.ledger import FEE_DIVISOR
from core.practice.specs import UNIT_DECIMALS, MarketSpec

ORDERS = 10_000
FILLS = 100_000
OPEN = 20  # of the orders; they rest far below the market
DAYS = 7
OWNERS = ("manual", "trend", "reversion")
ENTRIES, EXITS = 11, 10  # in turn: what fees took from an entry is never sold, and lots are left
_DAY_MS = 86_400_000
_AGE_MS = 60_000  # of the newest fill


@dataclass(frozen=True, slots=True)
class Market:
    """A market of the history.

    Attributes:
        instrument / spec: as the gateway and as the exchange know it.
        price: its present price, ticks.
    """

    instrument: Instrument
    spec: MarketSpec
    price: int


@dataclass(frozen=True, slots=True)
class Trade:
    """One order with its fills, as the exchange writes them."""

    market: Market
    owner: str
    order: venue.Order
    fills: tuple[venue.Fill, ...]


def make_history(markets: list[Market], now_ms: int, *, orders: int = ORDERS, fills: int = FILLS) -> list[Trade]:
    """Return orders with fills that end a minute ago, oldest first; the last `OPEN` ones rest.

    Nobody sells what is not held.
    """
    source = random.Random(0)
    filled = orders - OPEN
    step_ms = (DAYS * _DAY_MS - _AGE_MS) / fills
    made, number = [], 0
    trade_ids = {market.spec.symbol: 0 for market in markets}
    for index in range(orders):
        market = markets[index % len(markets)]
        owner = OWNERS[index // len(markets) % len(OWNERS)]
        turn = index // (len(markets) * len(OWNERS))
        entering = turn % (ENTRIES + EXITS) < ENTRIES or index >= filled
        parts = 0 if index >= filled else fills // filled + (index < fills % filled)
        at_ms = now_ms - DAYS * _DAY_MS + int(number * step_ms)
        order = _order(index, market, owner, venue.BUY if entering else venue.SELL, at_ms, source)
        executions = []
        for part in range(parts):
            trade_ids[market.spec.symbol] += 1
            time_ms = now_ms - DAYS * _DAY_MS + int(number * step_ms)
            executions.append(_fill(order, market, trade_ids[market.spec.symbol], time_ms, part, parts, source))
            number += 1
        made.append(Trade(market, owner, _filled(order, market, executions), tuple(executions)))
    return made


def _order(index: int, market: Market, owner: str, side: str, at_ms: int, source: random.Random) -> venue.Order:
    intent_id = f"{owner}:bench-{index + 1}"
    spec = market.spec
    lots = 10 * max(1, round(40 * 10 ** (spec.price_decimals + spec.quantity_decimals) / market.price / 10))
    return venue.Order(
        order_id=index + 1,
        client_id=client_order_id(intent_id),
        symbol=spec.symbol,
        side=side,
        type=venue.LIMIT,
        time_in_force=venue.GTC,
        price=market.price + source.randint(-market.price // 200, market.price // 200),
        quantity=lots,
        created_ms=at_ms,
        updated_ms=at_ms,
        working_ms=at_ms,
    )


def _fill(
    order: venue.Order,
    market: Market,
    trade_id: int,
    time_ms: int,
    part: int,
    parts: int,
    source: random.Random,
) -> venue.Fill:
    lots = order.quantity // parts + (part < order.quantity % parts)
    price = order.price - source.randint(0, market.price // 10_000) * (1 if order.is_buy else -1)
    received = lots * market.spec.lot_units if order.is_buy else price * lots * market.spec.value_scale
    return venue.Fill(
        trade_id=trade_id,
        order_id=order.order_id,
        symbol=order.symbol,
        price=price,
        quantity=lots,
        fee=received // FEE_DIVISOR,
        fee_asset=market.spec.base if order.is_buy else market.spec.quote,
        is_buyer=order.is_buy,
        is_maker=True,
        time_ms=time_ms,
        market_ms=time_ms,
    )


def _filled(order: venue.Order, market: Market, fills: list[venue.Fill]) -> venue.Order:
    """Return the order with its fills counted in; one without any rests, far from the market."""
    if not fills:
        price = market.price // 2
        return replace(order, price=price, locked=price * order.quantity * market.spec.value_scale)
    return replace(
        order,
        status=venue.FILLED,
        executed=order.quantity,
        value=sum(fill.price * fill.quantity for fill in fills),
        updated_ms=fills[-1].time_ms,
    )


# --- at the exchange --------------------------------------------------------------------------------------------------


def write_account(file: Path, history: list[Trade], now_ms: int) -> dict[str, Decimal]:
    """Put a history into a stopped exchange's account; returns what each currency held before it.

    Args:
        file: the account, which has not traded yet.
    """
    store = AccountStore(file, {})
    try:
        before = {asset: free + locked for asset, (free, locked) in store.balances().items()}
        free, locked = dict(before), dict.fromkeys(before, 0)
        for trade in history:
            spec = trade.market.spec
            for fill in trade.fills:
                base, quote = fill.quantity * spec.lot_units, fill.price * fill.quantity * spec.value_scale
                sign = 1 if fill.is_buyer else -1
                free[spec.base] = free.get(spec.base, 0) + sign * base
                free[spec.quote] = free.get(spec.quote, 0) - sign * quote
                free[fill.fee_asset] -= fill.fee
            free[spec.quote] -= trade.order.locked
            locked[spec.quote] = locked.get(spec.quote, 0) + trade.order.locked
        balances = {asset: (free[asset], locked.get(asset, 0)) for asset in free}
        if any(amount < 0 for amount, _ in balances.values()):
            raise RuntimeError("the history spends more than the account holds")
        orders, fills = [trade.order for trade in history], [fill for trade in history for fill in trade.fills]
        store.save(market_ms=now_ms, orders=orders, fills=fills, balances=balances)
    finally:
        store.close()
    return {asset: Decimal(units).scaleb(-UNIT_DECIMALS) for asset, units in before.items()}


# --- in the journal ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Booked:
    """One order with its fills, as the journal keeps them."""

    record: OrderRecord
    fills: tuple[BookedFill, ...]
    instrument: Instrument


def write_journal(
    paths: DataPaths, fingerprint: str, history: list[Trade], before: dict[str, Decimal], venue_id: str
) -> list[Position]:
    """Put a history into a new journal; returns the positions it makes.

    Args:
        before: what the account held before the history, by currency.
    """
    booked = [_booked(trade, venue_id) for trade in history]
    positions = _positions(booked, venue_id)
    journal = open_journal(paths, TradingMode.PRACTICE, fingerprint)
    try:
        journal.set_meta("begun_ns", str(history[0].order.created_ms * NS_PER_MS))
        totals = {currency: f"{amount:f}" for currency, amount in before.items()}
        journal.set_meta("first_balances", json.dumps(totals, sort_keys=True))
        _insert(paths, booked)
        for position in positions:
            journal.save_position(position)
    finally:
        journal.close()
    return positions


def _booked(trade: Trade, venue_id: str) -> _Booked:
    instrument, order, spec = trade.market.instrument, trade.order, trade.market.spec
    intent = Intent(
        intent_id=f"{trade.owner}:bench-{order.order_id}",
        source=IntentSource.MANUAL if trade.owner == OWNERS[0] else IntentSource.STRATEGY,
        owner=trade.owner,
        symbol=instrument.symbol,
        side=Side.BUY if order.is_buy else Side.SELL,
        quantity=_quantity(order.quantity, spec),
        order_type=OrderType.LIMIT,
        limit_price=_price(order.price, spec),
        reason="benchmark",
        created_ns=order.created_ms * NS_PER_MS,
    )
    opened = Order(
        order.client_id,
        intent,
        OrderState.FILLED if trade.fills else OrderState.ACCEPTED,
        str(order.order_id),
        submitted_ns=order.created_ms * NS_PER_MS,
        updated_ns=order.updated_ms * NS_PER_MS,
    )
    record, fills = OrderRecord(opened), []
    for execution in trade.fills:
        fill = Fill(
            venue=venue_id,
            symbol=instrument.symbol,
            trade_id=str(execution.trade_id),
            venue_order_id=str(order.order_id),
            client_order_id=order.client_id,
            side=intent.side,
            price=_price(execution.price, spec),
            quantity=_quantity(execution.quantity, spec),
            fee=Decimal(execution.fee).scaleb(-UNIT_DECIMALS),
            fee_currency=execution.fee_asset,
            liquidity=Liquidity.MAKER,
            time_ns=execution.time_ms * NS_PER_MS,
        )
        record = record.with_fill(fill.quantity, fill.price)
        fills.append(BookedFill(fill, fee_in_quote(fill, instrument, _no_rate), 0))
    return _Booked(record, tuple(fills), instrument)


def _positions(booked: list[_Booked], venue_id: str) -> list[Position]:
    facts: dict[tuple[str, str], list[BookedFill]] = {}
    instruments = {each.instrument.symbol: each.instrument for each in booked}
    for each in booked:
        facts.setdefault((each.instrument.symbol, each.record.intent.owner), []).extend(each.fills)
    return [
        replay(Position(venue_id, symbol, owner), History(fills), instruments[symbol])[0]
        for (symbol, owner), fills in facts.items()
    ]


def _insert(paths: DataPaths, booked: list[_Booked]) -> None:
    """Write all rows in one transaction."""
    events, fills = [], []
    for each in booked:
        record = each.record
        steps = [(OrderState.INITIALIZED, OrderState.SUBMITTED, "submit", record.order.submitted_ns)]
        steps.append((OrderState.SUBMITTED, OrderState.ACCEPTED, "venue report", record.order.submitted_ns))
        before = OrderState.ACCEPTED
        for number, fact in enumerate(each.fills, start=1):
            after = OrderState.FILLED if number == len(each.fills) else OrderState.PARTIALLY_FILLED
            steps.append((before, after, "fill", fact.fill.time_ns))
            before, fill = after, fact.fill
            values = rows.fill_values(fill, record.key, record.intent.owner, fact.fee_quote, fill.time_ns)
            fills.append({**values, "chapter": fact.chapter})
        events += [
            {
                "client_order_id": record.key,
                "from_state": old.value,
                "to_state": new.value,
                "cause": cause,
                "detail": "",
                "time_ns": time_ns,
            }
            for old, new, cause, time_ns in steps
        ]
    engine = open_engine(paths.journal_db, synchronous="FULL")
    try:
        with engine.begin() as connection:
            connection.execute(sa.insert(IntentRow), [rows.intent_values(each.record.intent) for each in booked])
            connection.execute(sa.insert(OrderRow), [rows.order_values(each.record) for each in booked])
            connection.execute(sa.insert(OrderEventRow), events)
            connection.execute(sa.insert(FillRow), fills)
    finally:
        engine.dispose()


def _price(ticks: int, spec: MarketSpec) -> Decimal:
    return Decimal(ticks).scaleb(-spec.price_decimals)


def _quantity(lots: int, spec: MarketSpec) -> Decimal:
    return Decimal(lots).scaleb(-spec.quantity_decimals)


def _no_rate(currency: str, quote: str) -> Decimal | None:
    return Decimal(1) if currency == quote else None
