"""What came of the trades: round trips, profit, fees, hit rate, drawdown. Pure functions; any thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.money import ZERO
from core.domain.positions import Position
from core.execution.position_tracker import Convert, book_fill, net_pnl


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """From flat to flat in one market.

    Attributes:
        pnl: profit after fees, quote currency.
        opened_ns / closed_ns: venue time of the first and last fill, ns UTC.
    """

    symbol: str
    pnl: Decimal
    fees: Decimal
    opened_ns: int
    closed_ns: int


@dataclass(frozen=True, slots=True)
class TradeStats:
    """Figures of a sequence of fills; amounts in quote currency.

    Attributes:
        turnover: value of all fills.
        realised_pnl / unrealised_pnl: before fees; the open part at the given marks.
        fees: converted to quote currency; fees nobody could price are not in it.
        net_pnl: realised + unrealised − fees.
        hit_rate: part of the round trips that earned something after fees; None without any.
        max_drawdown: deepest fall of the net profit from its highest point so far, seen at each fill and at the end.
        open_quantity: base currency still held, by symbol.
    """

    fills: int
    turnover: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    fees: Decimal
    net_pnl: Decimal
    round_trips: tuple[RoundTrip, ...]
    hit_rate: float | None
    max_drawdown: Decimal
    open_quantity: Mapping[str, Decimal]


class _Market:
    """Running figures of one symbol."""

    def __init__(self, position: Position) -> None:
        self.position = position
        self.opened_ns = 0
        self.before = ZERO
        self.fees_before = ZERO


def analyze_trades(
    fills: Sequence[Fill],
    marks: Mapping[str, Decimal],
    instruments: Mapping[str, Instrument],
    convert: Convert | None = None,
) -> TradeStats:
    """Analyse fills in their order.

    Args:
        fills: executions, oldest first; all markets and owners together, each market netted on its own.
        marks: last price by symbol; positions without one are marked at their entry.
        instruments: rules by symbol; a rest below the lot size counts as flat (fees in base currency leave dust).
        convert: price of third currencies in quote currency.
    """
    price_of = convert or (lambda currency, quote: None)
    markets: dict[str, _Market] = {}
    trips: list[RoundTrip] = []
    last: dict[str, Decimal] = {}
    turnover, peak, drawdown = ZERO, ZERO, ZERO
    for fill in fills:
        market = markets.setdefault(fill.symbol, _Market(Position(fill.venue, fill.symbol, "")))
        instrument = instruments[fill.symbol]
        was_flat = abs(market.position.quantity) < instrument.lot_size
        if was_flat:
            market.opened_ns = fill.time_ns
        market.position = book_fill(market.position, fill, instrument, price_of).position
        if not was_flat and abs(market.position.quantity) < instrument.lot_size:
            trips.append(_close(market, fill))
        turnover += fill.value
        last[fill.symbol] = fill.price
        equity = sum((net_pnl(m.position, last[s]) for s, m in markets.items()), start=ZERO)
        peak = max(peak, equity)
        drawdown = max(drawdown, peak - equity)
    positions = {symbol: market.position for symbol, market in markets.items()}
    net = sum((net_pnl(p, marks.get(s)) for s, p in positions.items()), start=ZERO)
    fees = sum((p.fees for p in positions.values()), start=ZERO)
    realised = sum((p.realised_pnl for p in positions.values()), start=ZERO)
    return TradeStats(
        fills=len(fills),
        turnover=turnover,
        realised_pnl=realised,
        unrealised_pnl=net + fees - realised,
        fees=fees,
        net_pnl=net,
        round_trips=tuple(trips),
        hit_rate=sum(trip.pnl > 0 for trip in trips) / len(trips) if trips else None,
        max_drawdown=max(drawdown, peak - net),
        open_quantity={s: p.quantity for s, p in positions.items() if p.quantity},
    )


def _close(market: _Market, fill: Fill) -> RoundTrip:
    earned = net_pnl(market.position, fill.price)
    fees = market.position.fees
    trip = RoundTrip(fill.symbol, earned - market.before, fees - market.fees_before, market.opened_ns, fill.time_ns)
    market.before, market.fees_before = earned, fees
    return trip
