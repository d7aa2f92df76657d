"""The order journal: what must survive any crash. Runs on the executor's thread, the file's only writer.

Every method is one transaction, committed (synchronous=FULL) before it returns: what a caller then sends or shows is
already on disk. No database object leaves this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError

from core.domain.fills import Fill
from core.domain.order_plans import OrderPlan, PlanState
from core.domain.orders import Order, OrderState, TradingState
from core.domain.positions import FundingPayment, FundingShare, Lot, Position, Transfer
from core.errors import UserError
from core.execution import journal_positions as books
from core.execution import journal_rows as rows
from core.execution.position_tracker import BookedFill, History
from core.execution.records import (
    INFERRED,
    CommandRecord,
    OrderEvent,
    OrderRecord,
    OwnershipRecord,
    StrategyRecord,
    TradingStateRecord,
)
from core.persistence.engine import HURRIED_MS, Patience, database_errors, open_engine, replacing
from core.persistence.models import (
    CommandRow,
    EquityRow,
    FillRow,
    FundingRow,
    IntentRow,
    LotRow,
    MetaRow,
    OrderEventRow,
    OrderPlanRow,
    OrderRow,
    OwnershipRow,
    PositionRow,
    StrategyRow,
    TradingStateRow,
    TransferRow,
)
from core.signals.risk_management import RiskSettings

_TRADES_READ = "trades_read"  # fact of the journal: how far listings of own trades were read, by symbol
CORRECTED = "corrected"  # cause of a step that no order of ours ever takes
_OPEN = [state.value for state in OrderState if not state.is_terminal]

# Made once: building a statement takes longer than executing it.
_INSERT_FILL = upsert(FillRow).on_conflict_do_nothing()
_INSERT_EQUITY = upsert(EquityRow).on_conflict_do_nothing()
_SAVE_PLAN = replacing(OrderPlanRow, "plan_id")
_SAVE_OWNERSHIP = replacing(OwnershipRow, "symbol")
_SAVE_STRATEGY = replacing(StrategyRow, "strategy_id")
_SAVE_STATE = replacing(TradingStateRow, "row_id")
_SAVE_META = replacing(MetaRow, "key")
_UPDATE_ORDER = sa.update(OrderRow).where(OrderRow.client_order_id == sa.bindparam("of_order"))
_FIND_FILL = sa.select(FillRow.trade_id).where(
    FillRow.venue == sa.bindparam("of_venue"),
    FillRow.symbol == sa.bindparam("of_symbol"),
    FillRow.trade_id == sa.bindparam("of_trade_id"),
)
_LAST_INFERRED = sa.select(sa.func.max(FillRow.time_ns).label("until")).where(
    FillRow.client_order_id == sa.bindparam("of_order"), FillRow.trade_id.startswith(INFERRED)
)


class DuplicateIntent(Exception):
    """The intent is already in the journal: it was decided before and must not become a second order."""


class Journal:
    """Typed access to journal.sqlite. The schema must be current (`core.persistence.schema.ensure_migrated`).

    Every method may raise `UserError` where the file cannot be read or written (disk full, locked, damaged).

    Attributes:
        order_changes: rises with every change of an order or its fills: who read them before need not read them again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._patience = Patience()
        self._engine = open_engine(path, synchronous="FULL", patience=self._patience)
        self._snapshot: sa.Connection | None = None
        self._closed = False
        self.order_changes = 0
        # As committed; nobody else writes the file.
        self._lots: dict[books.Place, tuple[Lot, ...]] = {}

    def close(self) -> None:
        """Close the file; idempotent. Nothing is written afterwards: another program may have taken over."""
        self._closed = True
        self._engine.dispose()

    @contextmanager
    def hurry(self, busy_ms: int = HURRIED_MS) -> Iterator[None]:
        """Give up after `busy_ms` per statement, not after seconds, where another program locks the file.

        For what must not be held up, such as STOP: waiting for the lock stops the whole event loop. Holds across
        awaits, for everything that uses the journal meanwhile; blocks may overlap.
        """
        with self._patience.hurry(busy_ms):
            yield

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        if self._closed:  # a task that outlived its program
            raise UserError("Trading has ended; nothing is written any more.", "Start trading again.")
        with database_errors(self._path), self._engine.begin() as connection:
            yield connection

    def _read(
        self, statement: sa.Select[*tuple[Any, ...]], values: Mapping[str, Any] | None = None
    ) -> list[Mapping[str, Any]]:
        if self._snapshot is not None:
            return [dict(row) for row in self._snapshot.execute(statement, values or {}).mappings()]
        with database_errors(self._path), self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(statement, values or {}).mappings()]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have everything read in the block as of one moment, whatever another process commits meanwhile."""
        with database_errors(self._path), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            self._snapshot = connection
            try:
                yield
            finally:
                self._snapshot = None

    # --- orders -----------------------------------------------------------------------------------------------

    def insert_order(self, record: OrderRecord, cause: str, now_ns: int) -> None:
        """Write an intent and its order. Returns only after the commit: then, and only then, it may be sent.

        Raises:
            DuplicateIntent: the intent or the client order id is already there; nothing was written.
        """
        try:
            with self._write() as connection:
                connection.execute(sa.insert(IntentRow), rows.intent_values(record.intent))
                connection.execute(sa.insert(OrderRow), rows.order_values(record))
                _event(connection, record.order, OrderState.INITIALIZED, cause, now_ns)
            self.order_changes += 1
        except IntegrityError as exc:
            raise DuplicateIntent(record.intent.intent_id) from exc

    def update_order(self, record: OrderRecord, from_state: OrderState, cause: str, now_ns: int) -> None:
        """Write an order's new state and how it came to it."""
        with self._write() as connection:
            _update(connection, record)
            _event(connection, record.order, from_state, cause, now_ns)
        self.order_changes += 1

    def correct_order(self, record: OrderRecord, from_state: OrderState, now_ns: int) -> None:
        """Write an order whose wish was not known whole; only ever one of somebody else."""
        with self._write() as connection:
            mine = IntentRow.intent_id == record.intent.intent_id
            connection.execute(sa.update(IntentRow).where(mine).values(rows.intent_values(record.intent)))
            _update(connection, record)
            _event(connection, record.order, from_state, CORRECTED, now_ns)
        self.order_changes += 1

    def book_fill(
        self,
        fill: Fill,
        record: OrderRecord,
        position: Position,
        fee_quote: Decimal | None,
        now_ns: int,
        *,
        from_state: OrderState,
        cause: str,
    ) -> bool:
        """Write a fill, the order it fills and the position it makes with its lots, all or nothing.

        Returns:
            False where the fill is already booked; then nothing is written.
        """
        values = rows.fill_values(fill, record.key, record.intent.owner, fee_quote, now_ns)
        values["chapter"] = position.cursor.chapter
        with self._write() as connection:
            inserted = connection.execute(_INSERT_FILL, values)
            if inserted.rowcount == 0:
                return False
            _update(connection, record)
            _event(connection, record.order, from_state, cause, now_ns, detail=f"trade {fill.trade_id}")
            self._save_positions(connection, position)
        self.order_changes += 1
        self._note_lots(position)
        return True

    def has_fill(self, fill: Fill) -> bool:
        """Return whether the fill is booked."""
        mine = {"of_venue": fill.venue, "of_symbol": fill.symbol, "of_trade_id": fill.trade_id}
        return bool(self._read(_FIND_FILL, mine))

    def inferred_until(self, client_order_id: str) -> int | None:
        """Return the time of an order's newest fill that the venue never named, ns UTC; None where there is none."""
        until: int | None = self._read(_LAST_INFERRED, {"of_order": client_order_id})[0]["until"]
        return until

    def order(self, client_order_id: str) -> OrderRecord | None:
        """Return one order."""
        return self._one_order(OrderRow.client_order_id == client_order_id)

    def order_of(self, intent_id: str) -> OrderRecord | None:
        """Return the order of an intent."""
        return self._one_order(OrderRow.intent_id == intent_id)

    def order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderRecord | None:
        """Return the order the venue knows by its own id."""
        return self._one_order(sa.and_(OrderRow.symbol == symbol, OrderRow.venue_order_id == venue_order_id))

    def unsettled_orders(self) -> list[OrderRecord]:
        """Return the orders that are not over, or whose fills are not all booked; oldest first."""
        unsettled = sa.or_(OrderRow.state.in_(_OPEN), OrderRow.fills_complete.is_(False))
        return self._orders(_order_query().where(unsettled).order_by(OrderRow.submitted_ns, OrderRow.client_order_id))

    def orders(self, limit: int | None = None) -> list[OrderRecord]:
        """Return the newest orders (all without `limit`), oldest first."""
        newest = _order_query().order_by(OrderRow.updated_ns.desc(), OrderRow.client_order_id).limit(limit)
        return self._orders(newest)[::-1]

    def traded_symbols(self) -> set[str]:
        """Return the markets in which there ever was an order."""
        return {row["symbol"] for row in self._read(sa.select(OrderRow.__table__.c.symbol).distinct())}

    def events(self, client_order_id: str) -> list[OrderEvent]:
        """Return the life of one order, oldest step first."""
        table = OrderEventRow.__table__
        statement = sa.select(table).where(OrderEventRow.client_order_id == client_order_id)
        return [
            OrderEvent(
                row["client_order_id"],
                OrderState(row["from_state"]),
                OrderState(row["to_state"]),
                row["cause"],
                row["detail"],
                row["time_ns"],
            )
            for row in self._read(statement.order_by(OrderEventRow.event_id))
        ]

    def fills(self, limit: int | None = None) -> list[Fill]:
        """Return the newest fills (all without `limit`), oldest first."""
        statement = sa.select(FillRow.__table__).order_by(FillRow.booked_ns.desc(), FillRow.trade_id.desc())
        return [rows.to_fill(row) for row in self._read(statement.limit(limit))][::-1]

    def fills_booked_after(self, booked_ns: int) -> list[Fill]:
        """Return the fills booked after a moment (our wall time)."""
        later = sa.select(FillRow.__table__).where(FillRow.booked_ns > booked_ns).order_by(FillRow.booked_ns)
        return [rows.to_fill(row) for row in self._read(later)]

    def funding_booked_after(self, booked_ns: int) -> list[FundingPayment]:
        """Return the funding payments booked after a moment (our wall time), each once however many share it."""
        later = self._read(sa.select(FundingRow.__table__).where(FundingRow.booked_ns > booked_ns))
        payments = [books.to_share(row).payment for row in later]
        return list({(p.venue, p.symbol, p.payment_id): p for p in payments}.values())

    def last_fill_ns(self) -> dict[str, int]:
        """Return the venue time of the newest booked fill of each symbol, ns UTC; a look at every fill."""
        newest = sa.func.max(FillRow.time_ns).label("last")
        found = self._read(sa.select(FillRow.__table__.c.symbol, newest).group_by(FillRow.symbol))
        return {row["symbol"]: row["last"] for row in found}

    def trades_read(self) -> dict[str, int] | None:
        """Return the newest own trade of each symbol up to which all that the venue lists is booked, ns UTC.

        Returns:
            None in a journal of an earlier version, which does not say.
        """
        stored = self.meta(_TRADES_READ)
        return None if stored is None else {symbol: int(time_ns) for symbol, time_ns in json.loads(stored).items()}

    def set_trades_read(self, until_ns: Mapping[str, int]) -> None:
        """Write up to when own trades were read."""
        self.set_meta(_TRADES_READ, json.dumps(dict(until_ns), sort_keys=True))

    def _one_order(self, condition: sa.ColumnElement[bool]) -> OrderRecord | None:
        found = self._orders(_order_query().where(condition).limit(1))
        return found[0] if found else None

    def _orders(self, statement: sa.Select[*tuple[Any, ...]]) -> list[OrderRecord]:
        return [rows.to_record(row) for row in self._read(statement)]

    # --- order plans ------------------------------------------------------------------------------------------

    def save_plan(self, plan: OrderPlan) -> None:
        """Insert or replace an order plan."""
        with self._write() as connection:
            connection.execute(_SAVE_PLAN, rows.plan_values(plan))

    def plans(self, limit: int | None = None) -> list[OrderPlan]:
        """Return the newest order plans (all without `limit`), oldest first."""
        table = OrderPlanRow.__table__
        newest = sa.select(table).order_by(OrderPlanRow.created_ns.desc(), OrderPlanRow.plan_id).limit(limit)
        return [rows.to_plan(row) for row in self._read(newest)][::-1]

    def plans_under_way(self) -> list[OrderPlan]:
        """Return the order plans that are not over, oldest first."""
        over = [state.value for state in PlanState if state.is_over]
        under_way = sa.select(OrderPlanRow.__table__).where(OrderPlanRow.state.not_in(over))
        return [rows.to_plan(row) for row in self._read(under_way.order_by(OrderPlanRow.created_ns))]

    def plan_state(self, plan_id: str) -> PlanState | None:
        """Return what became of a plan; None where there is none."""
        found = self._read(sa.select(OrderPlanRow.state).where(OrderPlanRow.plan_id == plan_id))
        return PlanState(found[0]["state"]) if found else None

    def children(self, plan_id: str) -> list[OrderRecord]:
        """Return the orders of a plan in the order they were made."""
        table = IntentRow.__table__.c
        mine = sa.and_(table.intent_id >= f"plan:{plan_id}:", table.intent_id < f"plan:{plan_id};")
        return self._orders(_order_query().where(mine).order_by(table.created_ns, table.intent_id))

    def child_fees(self, plan_id: str, currency: str) -> dict[str, Decimal]:
        """Return what the fills of a plan's orders cost in one currency, by client order id; free ones are absent."""
        fill, order = FillRow.__table__, OrderRow.__table__.c
        mine = sa.and_(order.intent_id >= f"plan:{plan_id}:", order.intent_id < f"plan:{plan_id};")
        joined = sa.select(fill.c.client_order_id, fill.c.fee).join(
            OrderRow, order.client_order_id == fill.c.client_order_id
        )
        fees: dict[str, Decimal] = {}
        for row in self._read(joined.where(mine, fill.c.fee_currency == currency)):
            fees[row["client_order_id"]] = fees.get(row["client_order_id"], Decimal(0)) + row["fee"]
        return fees

    # --- positions, funding, ownership ------------------------------------------------------------------------

    def positions(self) -> list[Position]:
        """Return all positions with their lots, flat ones too."""
        return books.to_positions(self._read(sa.select(PositionRow.__table__)), self._read(sa.select(LotRow.__table__)))

    def holdings(self) -> list[Position]:
        """Return quantities alone, also out of a journal that an earlier version wrote and nothing has migrated yet."""
        table = PositionRow.__table__
        found = self._read(sa.select(table.c.venue, table.c.symbol, table.c.owner, table.c.quantity))
        return [Position(**row) for row in found]

    def positions_without_lots(self) -> list[tuple[str, str]]:
        """Return (symbol, owner) of positions that an earlier version wrote."""
        found = self._read(sa.select(PositionRow.__table__).where(PositionRow.fifo_pnl.is_(None)))
        return [(row["symbol"], row["owner"]) for row in found]

    def save_position(self, position: Position) -> None:
        """Write a position that was built anew from its facts."""
        with self._write() as connection:
            self._save_positions(connection, position)
        self._note_lots(position)

    def history(self, symbol: str, owner: str) -> History:
        """Return all facts about one owner's position in one market."""
        fills = self._read(sa.select(FillRow.__table__).where(FillRow.symbol == symbol, FillRow.owner == owner))
        transfers = self._read(
            sa.select(TransferRow.__table__)
            .where(TransferRow.symbol == symbol, sa.or_(TransferRow.from_owner == owner, TransferRow.to_owner == owner))
            .order_by(TransferRow.transfer_id)
        )
        funding = self._read(
            sa.select(FundingRow.__table__).where(FundingRow.symbol == symbol, FundingRow.owner == owner)
        )
        return History(
            tuple(BookedFill(rows.to_fill(row), row["fee_quote"], row["chapter"]) for row in fills),
            tuple(books.to_transfer(row) for row in transfers),
            tuple(books.to_share(row) for row in funding),
        )

    def histories(self) -> dict[tuple[str, str], History]:
        """Return all facts about every position, by (symbol, owner)."""
        found = self._read(sa.select(PositionRow.__table__.c.symbol, PositionRow.__table__.c.owner))
        return {(row["symbol"], row["owner"]): self.history(row["symbol"], row["owner"]) for row in found}

    def set_prices(self, priced: History, position: Position) -> None:
        """Write what fees and payments are in quote currency, now that it is known, and the position they make."""
        with self._write() as connection:
            for booked in priced.fills:
                fill = booked.fill
                mine = (FillRow.venue == fill.venue, FillRow.symbol == fill.symbol, FillRow.trade_id == fill.trade_id)
                connection.execute(sa.update(FillRow).where(*mine).values(fee_quote=booked.fee_quote))
            for share in priced.funding:
                mine_too = (books.is_payment(share.payment), FundingRow.owner == share.owner)
                connection.execute(sa.update(FundingRow).where(*mine_too).values(amount_quote=share.amount_quote))
            self._save_positions(connection, position)
        self._note_lots(position)

    def book_funding(self, shares: Sequence[FundingShare], positions: Sequence[Position], now_ns: int) -> bool:
        """Write a payment's shares and the positions they make, all or nothing.

        Returns:
            False where the payment is already booked; then nothing is written.
        """
        with self._write() as connection:
            known = sa.select(FundingRow.owner).where(books.is_payment(shares[0].payment)).limit(1)
            if connection.execute(known).first() is not None:
                return False
            connection.execute(sa.insert(FundingRow), [books.funding_values(share, now_ns) for share in shares])
            self._save_positions(connection, *positions)
        self._note_lots(*positions)
        return True

    def book_transfer(self, transfer: Transfer, positions: Sequence[Position]) -> None:
        """Write a transfer, the command it is and the positions it makes, all or nothing."""
        values = books.transfer_values(transfer)
        with self._write() as connection:
            connection.execute(sa.insert(TransferRow), values)
            payload = {key: values[key] for key in ("symbol", "from_owner", "to_owner", "reason")}
            _command(connection, "transfer", {**payload, "quantity": f"{transfer.quantity:f}"}, transfer.time_ns)
            self._save_positions(connection, *positions)
        self._note_lots(*positions)

    def ownership(self) -> dict[str, OwnershipRecord]:
        """Return who may trade, by market; markets that are absent are shared."""
        found = self._read(sa.select(OwnershipRow.__table__).order_by("symbol"))
        return {row["symbol"]: books.to_ownership(row) for row in found}

    def set_ownership(self, record: OwnershipRecord) -> None:
        """Write who may trade a market, and the command that led to it."""
        values = books.ownership_values(record)
        with self._write() as connection:
            connection.execute(_SAVE_OWNERSHIP, values)
            _command(connection, "ownership", values, record.since_ns)

    def _save_positions(self, connection: sa.Connection, *positions: Position) -> None:
        for position in positions:
            written = self._lots.get((position.venue, position.symbol, position.owner))
            books.save_position(connection, position, written)

    def _note_lots(self, *positions: Position) -> None:
        """Remember what is committed, so that the next change of thousands of lots need not read them."""
        self._lots.update({(p.venue, p.symbol, p.owner): p.lots for p in positions})

    # --- strategies -------------------------------------------------------------------------------------------

    def save_strategy(self, record: StrategyRecord) -> None:
        """Insert or replace a strategy."""
        with self._write() as connection:
            connection.execute(_SAVE_STRATEGY, rows.strategy_values(record))

    def delete_strategy(self, strategy_id: str) -> None:
        """Forget a strategy; its orders, fills and position stay."""
        with self._write() as connection:
            connection.execute(sa.delete(StrategyRow).where(StrategyRow.strategy_id == strategy_id))

    def strategies(self) -> list[StrategyRecord]:
        """Return all strategies."""
        return [rows.to_strategy(r) for r in self._read(sa.select(StrategyRow.__table__).order_by("strategy_id"))]

    # --- state and settings -----------------------------------------------------------------------------------

    def trading_state(self) -> TradingStateRecord | None:
        """Return the trading state last written; None in a new journal."""
        found = self._read(sa.select(TradingStateRow.__table__))
        if not found:
            return None
        row = found[0]
        return TradingStateRecord(TradingState(row["state"]), row["reason"], row["epoch"], row["since_ns"])

    def set_trading_state(self, record: TradingStateRecord) -> None:
        """Write the trading state, and the command that led to it."""
        values = {"state": record.state.value, "reason": record.reason, "epoch": record.epoch}
        with self._write() as connection:
            connection.execute(_SAVE_STATE, {"row_id": 1, "since_ns": record.since_ns, **values})
            _command(connection, "trading_state", values, record.since_ns)

    def risk_settings(self) -> RiskSettings | None:
        """Return the risk settings last commanded; None in a new journal."""
        found = self.commands("risk_settings", limit=1)
        return RiskSettings.from_json(found[0].payload) if found else None

    def set_risk_settings(self, settings: RiskSettings, now_ns: int) -> None:
        """Write new risk settings as a command."""
        self.add_command("risk_settings", settings.to_json(), now_ns)

    def add_command(self, kind: str, payload: Mapping[str, object], now_ns: int) -> None:
        """Keep what was commanded."""
        with self._write() as connection:
            _command(connection, kind, payload, now_ns)

    def commands(self, kind: str, limit: int | None = None) -> list[CommandRecord]:
        """Return the commands of one kind, newest first."""
        statement = sa.select(CommandRow.__table__).where(CommandRow.kind == kind)
        found = self._read(statement.order_by(CommandRow.command_id.desc()).limit(limit))
        return [CommandRecord(row["kind"], json.loads(row["payload"]), row["time_ns"]) for row in found]

    def meta(self, key: str) -> str | None:
        """Return a fact about the journal."""
        found = self._read(sa.select(MetaRow.__table__).where(MetaRow.key == key))
        return found[0]["value"] if found else None

    def set_meta(self, key: str, value: str) -> None:
        """Write a fact about the journal."""
        with self._write() as connection:
            connection.execute(_SAVE_META, {"key": key, "value": value})

    # --- equity -----------------------------------------------------------------------------------------------

    def add_equity(self, time_ns: int, pnl: Decimal, *, day_start: bool = False) -> None:
        """Keep the profit at one moment (quote currency); the first one at a moment stays."""
        with self._write() as connection:
            connection.execute(_INSERT_EQUITY, {"time_ns": time_ns, "pnl": pnl, "day_start": day_start})

    def day_start(self) -> tuple[int, Decimal] | None:
        """Return (time in ns, profit) of the newest start of a day."""
        statement = sa.select(EquityRow.__table__).where(EquityRow.day_start.is_(True))
        found = self._read(statement.order_by(EquityRow.time_ns.desc()).limit(1))
        return (found[0]["time_ns"], found[0]["pnl"]) if found else None

    def equity(self) -> list[tuple[int, Decimal]]:
        """Return (time in ns, profit) snapshots, oldest first."""
        found = self._read(sa.select(EquityRow.__table__).order_by(EquityRow.time_ns))
        return [(row["time_ns"], row["pnl"]) for row in found]


def _order_query() -> sa.Select[*tuple[Any, ...]]:
    order, intent = OrderRow.__table__, IntentRow.__table__
    columns = [*order.c, *(c for c in intent.c if c.name not in ("intent_id", "symbol"))]
    return sa.select(*columns).join(intent, OrderRow.intent_id == IntentRow.intent_id)


def _update(connection: sa.Connection, record: OrderRecord) -> None:
    if connection.execute(_UPDATE_ORDER, {**rows.order_values(record), "of_order": record.key}).rowcount != 1:
        raise LookupError(f"order {record.key} is not in the journal")


def _event(
    connection: sa.Connection, order: Order, from_state: OrderState, cause: str, now_ns: int, detail: str = ""
) -> None:
    values = {
        "client_order_id": order.client_order_id,
        "from_state": from_state.value,
        "to_state": order.state.value,
        "cause": cause,
        "detail": detail or order.message,
        "time_ns": now_ns,
    }
    connection.execute(sa.insert(OrderEventRow), values)


def _command(connection: sa.Connection, kind: str, payload: Mapping[str, object], now_ns: int) -> None:
    text = json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, sort_keys=True)
    connection.execute(sa.insert(CommandRow), {"kind": kind, "payload": text, "time_ns": now_ns})
