"""What came of the trades: round trips, profit, fees, funding, hit rate, drawdown. Pure functions; any thread.

Two views. `analyze_trades` nets all owners, market by market, at average price: how the account did. `analyze_owners`
takes each owner's books by lots, every exit paired with the entries it closed: how a strategy, or the person, did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.money import ZERO, total
from core.domain.positions import FundingShare, Position
from core.execution.position_tracker import ClosedLot, Convert, History, book_fill, book_funding, net_pnl, replay


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """From flat to flat in one market.

    Attributes:
        pnl: profit after fees and funding, quote currency.
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
        funding: received less paid, converted to quote currency.
        net_pnl: realised + unrealised − fees + funding.
        hit_rate: part of the round trips that earned something after fees; None without any.
        max_drawdown: deepest fall of the net profit from its highest point so far, seen at each fill and payment and at
            the end.
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
    funding: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class OwnerStats:
    """What one owner did in one market, by lots; amounts in quote currency.

    Attributes:
        trips: every closed lot, in the order of closing.
        fees: all fees paid, those of lots still open or moved to another owner included.
        unpriced: fees and payments that are in no figure because nobody could convert them.
        net_pnl: realised + unrealised − fees + funding.
        hit_rate: part of the trips that earned something after their fees; None without any.
        gains / losses: sums over the trips that earned and those that did not, after fees; losses are negative or zero.
        mean_holding_ns: mean time from entry to exit, weighted by quantity; None without any.
    """

    symbol: str
    owner: str
    fills: int
    trips: tuple[ClosedLot, ...]
    quantity: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    fees: Decimal
    funding: Decimal
    unpriced: int
    net_pnl: Decimal
    hit_rate: float | None
    gains: Decimal
    losses: Decimal
    mean_holding_ns: int | None


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
    funding: Sequence[FundingShare] = (),
) -> TradeStats:
    """Analyse fills in their order.

    Args:
        fills: executions, oldest first; all markets and owners together, each market netted on its own.
        marks: last price by symbol; positions without one are marked at their entry.
        instruments: rules by symbol; a rest below the lot size counts as flat (fees in base currency leave dust).
            Markets that are not in it are left out.
        convert: price of third currencies in quote currency.
        funding: payments, oldest first; one counts before the first fill that is later.
    """
    account = _Account(instruments, convert or (lambda currency, quote: None))
    fills = [fill for fill in fills if fill.symbol in instruments]
    due = [share for share in funding if share.payment.symbol in instruments]
    for fill in fills:
        while due and due[0].payment.time_ns <= fill.time_ns:
            account.fund(due.pop(0))
        account.fill(fill)
    for share in due:
        account.fund(share)
    positions = {symbol: market.position for symbol, market in account.markets.items()}
    net = total(net_pnl(p, marks.get(s)) for s, p in positions.items())
    fees = total(p.fees for p in positions.values())
    paid = total(p.funding for p in positions.values())
    realised = total(p.realised_pnl for p in positions.values())
    trips = tuple(account.trips)
    return TradeStats(
        fills=len(fills),
        turnover=account.turnover,
        realised_pnl=realised,
        unrealised_pnl=total((net, fees, -paid, -realised)),
        fees=fees,
        net_pnl=net,
        round_trips=trips,
        hit_rate=sum(trip.pnl > 0 for trip in trips) / len(trips) if trips else None,
        max_drawdown=max(account.drawdown, account.peak - net),
        open_quantity={s: p.quantity for s, p in positions.items() if p.quantity},
        funding=paid,
    )


def analyze_owners(
    histories: Mapping[tuple[str, str], History],
    marks: Mapping[str, Decimal],
    instruments: Mapping[str, Instrument],
) -> tuple[OwnerStats, ...]:
    """Analyse each owner's books by lots.

    Args:
        histories: all facts by (symbol, owner), as the journal tells them.
        marks: last price by symbol; lots without one are marked at their entry.
        instruments: names the currencies of each market; markets that are not in it are left out.

    Returns:
        One entry for each owner and market, by symbol and owner.
    """
    return tuple(
        _owner_stats(symbol, owner, history, marks.get(symbol), instruments[symbol])
        for (symbol, owner), history in sorted(histories.items())
        if symbol in instruments
    )


class _Account:
    """Running figures of all markets."""

    def __init__(self, instruments: Mapping[str, Instrument], convert: Convert) -> None:
        self._instruments = instruments
        self._convert = convert
        self._last: dict[str, Decimal] = {}
        self.markets: dict[str, _Market] = {}
        self.trips: list[RoundTrip] = []
        self.turnover, self.peak, self.drawdown = ZERO, ZERO, ZERO

    def fill(self, fill: Fill) -> None:
        """Take one execution."""
        market, instrument = self._market(fill.venue, fill.symbol), self._instruments[fill.symbol]
        was_flat = abs(market.position.quantity) < instrument.lot_size
        if was_flat:
            market.opened_ns = fill.time_ns
        market.position = book_fill(market.position, fill, instrument, self._convert).position
        if not was_flat and abs(market.position.quantity) < instrument.lot_size:
            self.trips.append(_close(market, fill))
        self.turnover += fill.value
        self._last[fill.symbol] = fill.price
        self._note_equity()

    def fund(self, share: FundingShare) -> None:
        """Take one payment."""
        market = self._market(share.payment.venue, share.payment.symbol)
        market.position = book_funding(market.position, share)
        self._note_equity()

    def _market(self, venue: str, symbol: str) -> _Market:
        return self.markets.setdefault(symbol, _Market(Position(venue, symbol, "")))

    def _note_equity(self) -> None:
        equity = total(net_pnl(m.position, self._last.get(s)) for s, m in self.markets.items())
        self.peak = max(self.peak, equity)
        self.drawdown = max(self.drawdown, self.peak - equity)


def _close(market: _Market, fill: Fill) -> RoundTrip:
    earned = net_pnl(market.position, fill.price)
    fees = market.position.fees
    trip = RoundTrip(fill.symbol, earned - market.before, fees - market.fees_before, market.opened_ns, fill.time_ns)
    market.before, market.fees_before = earned, fees
    return trip


def _owner_stats(symbol: str, owner: str, history: History, mark: Decimal | None, instrument: Instrument) -> OwnerStats:
    position, trips = replay(Position(instrument.venue, symbol, owner), history, instrument)
    unrealised = ZERO if mark is None else position.fifo_unrealised_pnl(mark)
    profits = [trip.pnl for trip in trips]
    closed = total(abs(trip.quantity) for trip in trips)
    held = total(abs(trip.quantity) * (trip.closed_ns - trip.opened_ns) for trip in trips)
    return OwnerStats(
        symbol=symbol,
        owner=owner,
        fills=len(history.fills),
        trips=trips,
        quantity=position.quantity,
        realised_pnl=position.fifo_pnl,
        unrealised_pnl=unrealised,
        fees=position.fees,
        funding=position.funding,
        unpriced=position.unpriced,
        net_pnl=total((position.fifo_pnl, unrealised, -position.fees, position.funding)),
        hit_rate=sum(profit > 0 for profit in profits) / len(profits) if profits else None,
        gains=total(profit for profit in profits if profit > 0),
        losses=total(profit for profit in profits if profit <= 0),
        mean_holding_ns=int(held / closed) if closed else None,
    )
