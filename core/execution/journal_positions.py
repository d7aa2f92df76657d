"""How positions, lots, funding and transfers stand in the journal. Pure functions over rows and connections.

`core.execution.journal` owns the transactions; everything here runs inside of one of them, on the executor's thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from core.domain.money import parse_decimal
from core.domain.positions import Cursor, FundingPayment, FundingShare, Lot, Ownership, Position, Transfer
from core.execution.records import OwnershipRecord
from core.persistence.engine import replacing
from core.persistence.models import FundingRow, LotRow, PositionRow

Row = Mapping[str, Any]
Place = tuple[str, str, str]  # venue, symbol, owner

# Made once: building a statement takes longer than executing it, and a fill needs all of them.
_SAVE_POSITION = replacing(PositionRow, "venue", "symbol", "owner")
_INSERT_LOT = sa.insert(LotRow)
_DELETE_LOT = sa.delete(LotRow).where(
    LotRow.venue == sa.bindparam("of_venue"),
    LotRow.symbol == sa.bindparam("of_symbol"),
    LotRow.owner == sa.bindparam("of_owner"),
    LotRow.trade_id == sa.bindparam("of_trade_id"),
)


def save_position(connection: sa.Connection, position: Position, written: tuple[Lot, ...] | None) -> None:
    """Write a position and its lots as they are now.

    Args:
        written: its lots as they stand in the file; None reads them.
    """
    connection.execute(_SAVE_POSITION, _position_values(position))
    _save_lots(connection, position, _written_lots(connection, position) if written is None else written)


def _written_lots(connection: sa.Connection, position: Position) -> tuple[Lot, ...]:
    found = connection.execute(sa.select(LotRow.__table__).where(*_of(position))).mappings()
    return tuple(sorted((to_lot(dict(row)) for row in found), key=lambda lot: lot.order))


def _save_lots(connection: sa.Connection, position: Position, written: tuple[Lot, ...]) -> None:
    """Write only what differs: a fill changes the oldest lots or the newest of what may be thousands."""
    before, after = _trimmed(written, position.lots)
    lots = {lot.trade_id: lot for lot in after}
    there = {lot.trade_id: lot for lot in before}
    gone = [trade_id for trade_id, lot in there.items() if lots.get(trade_id) != lot]
    if gone:
        of = {"of_venue": position.venue, "of_symbol": position.symbol, "of_owner": position.owner}
        connection.execute(_DELETE_LOT, [{**of, "of_trade_id": trade_id} for trade_id in gone])
    fresh = [lot for trade_id, lot in lots.items() if there.get(trade_id) != lot]
    if fresh:
        connection.execute(_INSERT_LOT, [_lot_values(position, lot) for lot in fresh])


def _trimmed(one: tuple[Lot, ...], other: tuple[Lot, ...]) -> tuple[tuple[Lot, ...], tuple[Lot, ...]]:
    """Return two sequences of lots without the beginning and the end they have in common."""
    start = 0
    while start < min(len(one), len(other)) and one[start] is other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] is other[-1 - end]:
        end += 1
    return one[start : len(one) - end], other[start : len(other) - end]


def _of(position: Position) -> tuple[sa.ColumnElement[bool], ...]:
    return LotRow.venue == position.venue, LotRow.symbol == position.symbol, LotRow.owner == position.owner


def _position_values(position: Position) -> dict[str, Any]:
    return {
        "venue": position.venue,
        "symbol": position.symbol,
        "owner": position.owner,
        "quantity": position.quantity,
        "average_price": position.average_price,
        "realised_pnl": position.realised_pnl,
        "fees": position.fees,
        "updated_ns": position.updated_ns,
        "fifo_pnl": position.fifo_pnl,
        "funding": position.funding,
        "unpriced": position.unpriced,
        "chapter": position.cursor.chapter,
        "cursor_ns": position.cursor.time_ns,
        "cursor_id": position.cursor.trade_id,
    }


def to_positions(rows: Iterable[Row], lot_rows: Iterable[Row]) -> list[Position]:
    """Build positions from their rows and those of their lots."""
    lots: dict[Place, list[Lot]] = {}
    for row in lot_rows:
        lots.setdefault(place(row), []).append(to_lot(row))
    return [_to_position(row, lots.get(place(row), [])) for row in rows]


def place(row: Row) -> Place:
    """Return whose position in which market a row is about."""
    return row["venue"], row["symbol"], row["owner"]


def _to_position(row: Row, lots: list[Lot]) -> Position:
    written = {} if row["fifo_pnl"] is None else {"fifo_pnl": row["fifo_pnl"]}
    return Position(
        venue=row["venue"],
        symbol=row["symbol"],
        owner=row["owner"],
        quantity=row["quantity"],
        average_price=row["average_price"],
        realised_pnl=row["realised_pnl"],
        fees=row["fees"],
        updated_ns=row["updated_ns"],
        funding=row["funding"],
        unpriced=row["unpriced"],
        lots=tuple(sorted(lots, key=lambda lot: lot.order)),
        cursor=Cursor(row["chapter"], row["cursor_ns"], row["cursor_id"]),
        **written,
    )


def to_lot(row: Row) -> Lot:
    """Build a lot from its row."""
    return Lot(row["trade_id"], row["opened_ns"], row["quantity"], row["price"], row["fee"])


def _lot_values(position: Position, lot: Lot) -> dict[str, Any]:
    return {
        "venue": position.venue,
        "symbol": position.symbol,
        "owner": position.owner,
        "trade_id": lot.trade_id,
        "opened_ns": lot.opened_ns,
        "quantity": lot.quantity,
        "price": lot.price,
        "fee": lot.fee,
    }


def funding_values(share: FundingShare, now_ns: int) -> dict[str, Any]:
    """Columns of a share of a funding payment."""
    payment = share.payment
    return {
        "venue": payment.venue,
        "symbol": payment.symbol,
        "payment_id": payment.payment_id,
        "owner": share.owner,
        "amount": share.amount,
        "payment": payment.amount,
        "currency": payment.currency,
        "amount_quote": share.amount_quote,
        "time_ns": payment.time_ns,
        "booked_ns": now_ns,
    }


def to_share(row: Row) -> FundingShare:
    """Build a share of a funding payment from its row."""
    payment = FundingPayment(
        row["venue"], row["symbol"], row["payment_id"], row["payment"], row["currency"], row["time_ns"]
    )
    return FundingShare(payment, row["owner"], row["amount"], row["amount_quote"])


def ownership_values(record: OwnershipRecord) -> dict[str, Any]:
    """Columns of an ownership."""
    return {
        "symbol": record.symbol,
        "ownership": record.ownership.value,
        "changed_by": record.changed_by,
        "paused": json.dumps(record.paused),
        "since_ns": record.since_ns,
    }


def to_ownership(row: Row) -> OwnershipRecord:
    """Build an ownership from its row."""
    paused = tuple(json.loads(row["paused"]))
    return OwnershipRecord(row["symbol"], Ownership(row["ownership"]), row["changed_by"], paused, row["since_ns"])


def is_payment(payment: FundingPayment) -> sa.ColumnElement[bool]:
    """Condition that finds the shares of a payment."""
    return sa.and_(
        FundingRow.venue == payment.venue,
        FundingRow.symbol == payment.symbol,
        FundingRow.payment_id == payment.payment_id,
    )


def transfer_values(transfer: Transfer) -> dict[str, Any]:
    """Columns of a transfer."""
    lots = [
        {
            "trade_id": lot.trade_id,
            "opened_ns": lot.opened_ns,
            "quantity": f"{lot.quantity:f}",
            "price": f"{lot.price:f}",
        }
        for lot in transfer.lots
    ]
    return {
        "venue": transfer.venue,
        "symbol": transfer.symbol,
        "from_owner": transfer.from_owner,
        "to_owner": transfer.to_owner,
        "average_price": transfer.average_price,
        "lots": json.dumps(lots),
        "reason": transfer.reason,
        "time_ns": transfer.time_ns,
    }


def to_transfer(row: Row) -> Transfer:
    """Build a transfer from its row."""
    lots = tuple(
        Lot(lot["trade_id"], lot["opened_ns"], parse_decimal(lot["quantity"]), parse_decimal(lot["price"]))
        for lot in json.loads(row["lots"])
    )
    return Transfer(
        venue=row["venue"],
        symbol=row["symbol"],
        from_owner=row["from_owner"],
        to_owner=row["to_owner"],
        average_price=row["average_price"],
        lots=lots,
        reason=row["reason"],
        time_ns=row["time_ns"],
    )
