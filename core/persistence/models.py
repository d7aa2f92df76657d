"""Tables of the two databases. Declarations only; any thread.

`JournalBase` is the order journal (one writer: the executor, synchronous=FULL). `StoreBase` is everything else (one
writer: the store worker). Amounts are exact text, times are ns since the epoch, UTC.
"""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.persistence.types import DecimalText

# Alembic needs names to alter constraints later; SQLite would leave them anonymous.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class JournalBase(DeclarativeBase):
    """Tables of journal.sqlite."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {Decimal: DecimalText(), int: BigInteger()}  # noqa: RUF012 - SQLAlchemy reads it as is


class StoreBase(DeclarativeBase):
    """Tables of store.sqlite."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {Decimal: DecimalText(), int: BigInteger()}  # noqa: RUF012 - SQLAlchemy reads it as is


class IntentRow(JournalBase):
    """A wish to trade, as risk saw it."""

    __tablename__ = "intents"

    intent_id: Mapped[str] = mapped_column(String, primary_key=True)
    source: Mapped[str]
    owner: Mapped[str]
    symbol: Mapped[str]
    side: Mapped[str]
    quantity: Mapped[Decimal]
    order_type: Mapped[str]
    limit_price: Mapped[Decimal | None]
    stop_price: Mapped[Decimal | None]
    time_in_force: Mapped[str]
    reduce_only: Mapped[bool]
    reason: Mapped[str] = mapped_column(Text)
    reference_price: Mapped[Decimal | None]
    model_id: Mapped[str]
    feature_hash: Mapped[str]
    forecast: Mapped[float | None]
    bar_open_ns: Mapped[int | None]
    created_ns: Mapped[int]


class OrderRow(JournalBase):
    """An order. `intent_id` is unique: one intent is at most one order."""

    __tablename__ = "orders"

    client_order_id: Mapped[str] = mapped_column(String, primary_key=True)
    intent_id: Mapped[str] = mapped_column(ForeignKey("intents.intent_id"), unique=True)
    symbol: Mapped[str]
    state: Mapped[str]
    venue_order_id: Mapped[str]
    filled_quantity: Mapped[Decimal]
    average_price: Mapped[Decimal | None]
    booked_quantity: Mapped[Decimal]
    booked_value: Mapped[Decimal]
    fills_complete: Mapped[bool]
    reason_code: Mapped[str]
    message: Mapped[str] = mapped_column(Text)
    submitted_ns: Mapped[int]
    updated_ns: Mapped[int]

    __table_args__ = (
        Index("ix_orders_state", "state"),
        Index("ix_orders_venue", "symbol", "venue_order_id"),
        Index("ix_orders_updated_ns", "updated_ns"),
    )


class OrderEventRow(JournalBase):
    """One step of an order's life; never changed."""

    __tablename__ = "order_events"

    event_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    client_order_id: Mapped[str] = mapped_column(ForeignKey("orders.client_order_id"), index=True)
    from_state: Mapped[str]
    to_state: Mapped[str]
    cause: Mapped[str]
    detail: Mapped[str] = mapped_column(Text)
    time_ns: Mapped[int]


class FillRow(JournalBase):
    """One execution; the key is what makes a fill heard twice count once."""

    __tablename__ = "fills"

    venue: Mapped[str] = mapped_column(String, primary_key=True)
    symbol: Mapped[str] = mapped_column(String, primary_key=True)
    trade_id: Mapped[str] = mapped_column(String, primary_key=True)
    venue_order_id: Mapped[str]
    client_order_id: Mapped[str] = mapped_column(ForeignKey("orders.client_order_id"), index=True)
    owner: Mapped[str]
    side: Mapped[str]
    price: Mapped[Decimal]
    quantity: Mapped[Decimal]
    fee: Mapped[Decimal]
    fee_currency: Mapped[str]
    fee_quote: Mapped[Decimal | None]
    liquidity: Mapped[str]
    time_ns: Mapped[int]
    booked_ns: Mapped[int] = mapped_column(BigInteger, index=True)
    chapter: Mapped[int]

    __table_args__ = (Index("ix_fills_owner", "symbol", "owner"),)


class PositionRow(JournalBase):
    """Net holding of one owner in one market. `fifo_pnl` is empty until its lots are built (journals of 0001)."""

    __tablename__ = "positions"

    venue: Mapped[str] = mapped_column(String, primary_key=True)
    symbol: Mapped[str] = mapped_column(String, primary_key=True)
    owner: Mapped[str] = mapped_column(String, primary_key=True)
    quantity: Mapped[Decimal]
    average_price: Mapped[Decimal]
    realised_pnl: Mapped[Decimal]
    fees: Mapped[Decimal]
    updated_ns: Mapped[int]
    fifo_pnl: Mapped[Decimal | None]
    funding: Mapped[Decimal]
    unpriced: Mapped[int]
    chapter: Mapped[int]
    cursor_ns: Mapped[int]
    cursor_id: Mapped[str]


class LotRow(JournalBase):
    """What is left of an opening fill; together they are the position."""

    __tablename__ = "lots"

    venue: Mapped[str] = mapped_column(String, primary_key=True)
    symbol: Mapped[str] = mapped_column(String, primary_key=True)
    owner: Mapped[str] = mapped_column(String, primary_key=True)
    trade_id: Mapped[str] = mapped_column(String, primary_key=True)
    opened_ns: Mapped[int]
    quantity: Mapped[Decimal]
    price: Mapped[Decimal]
    fee: Mapped[Decimal]


class FundingRow(JournalBase):
    """One owner's share of a funding payment; the key is what makes a payment heard twice count once."""

    __tablename__ = "funding"

    venue: Mapped[str] = mapped_column(String, primary_key=True)
    symbol: Mapped[str] = mapped_column(String, primary_key=True)
    payment_id: Mapped[str] = mapped_column(String, primary_key=True)
    owner: Mapped[str] = mapped_column(String, primary_key=True)
    amount: Mapped[Decimal]
    payment: Mapped[Decimal]
    currency: Mapped[str]
    amount_quote: Mapped[Decimal | None]
    time_ns: Mapped[int]
    booked_ns: Mapped[int]


class TransferRow(JournalBase):
    """A position that went from one owner to another at cost; never changed. Lots are JSON."""

    __tablename__ = "transfers"

    transfer_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    venue: Mapped[str]
    symbol: Mapped[str]
    from_owner: Mapped[str]
    to_owner: Mapped[str]
    average_price: Mapped[Decimal]
    lots: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    time_ns: Mapped[int]

    __table_args__ = (Index("ix_transfers_symbol", "symbol"),)


class OwnershipRow(JournalBase):
    """Who may trade a market now; one without a row is shared. `paused` names (JSON) the strategies taken over."""

    __tablename__ = "ownership"

    symbol: Mapped[str] = mapped_column(String, primary_key=True)
    ownership: Mapped[str]
    changed_by: Mapped[str]
    paused: Mapped[str] = mapped_column(Text)
    since_ns: Mapped[int]


class OrderPlanRow(JournalBase):
    """The parent of several orders; which orders are its children stands in their intent ids."""

    __tablename__ = "order_plans"

    plan_id: Mapped[str] = mapped_column(String, primary_key=True)
    source: Mapped[str]
    draft: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String, index=True)
    stop_price: Mapped[Decimal | None]
    cancelled: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_ns: Mapped[int]
    updated_ns: Mapped[int]


class StrategyRow(JournalBase):
    """A registered strategy, whether it should run, the last bar it decided on, and what its account remembers."""

    __tablename__ = "strategies"

    strategy_id: Mapped[str] = mapped_column(String, primary_key=True)
    title: Mapped[str]
    symbol: Mapped[str]
    timeframe: Mapped[str]
    model_id: Mapped[str]
    capital: Mapped[Decimal]
    entry_z: Mapped[float]
    exit_z: Mapped[float]
    running: Mapped[bool]
    last_bar_ns: Mapped[int | None]
    last_target: Mapped[float | None]
    kind: Mapped[str] = mapped_column(String, server_default="model")
    account: Mapped[str | None] = mapped_column(Text)


class TradingStateRow(JournalBase):
    """The one row that says whether trading is allowed and which fence epoch it was armed at."""

    __tablename__ = "trading_state"

    row_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)
    epoch: Mapped[int]
    since_ns: Mapped[int]


class CommandRow(JournalBase):
    """Everything a person or another process ordered: risk settings, kill, re-arm, strategies. Never changed."""

    __tablename__ = "commands"

    command_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    kind: Mapped[str]
    payload: Mapped[str] = mapped_column(Text)
    time_ns: Mapped[int]

    __table_args__ = (Index("ix_commands_kind", "kind"),)


class EquityRow(JournalBase):
    """Profit over all owners at one moment, quote currency."""

    __tablename__ = "equity"

    time_ns: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    pnl: Mapped[Decimal]
    day_start: Mapped[bool]


class MetaRow(JournalBase):
    """Small facts about the journal itself, such as the account it belongs to."""

    __tablename__ = "meta"

    key: Mapped[str] = mapped_column(String, primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class RunRow(StoreBase):
    """A training run."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(String, primary_key=True)
    kind: Mapped[str]
    state: Mapped[str]
    spec: Mapped[str] = mapped_column(Text)
    result: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)
    started_ns: Mapped[int] = mapped_column(BigInteger, index=True)
    finished_ns: Mapped[int | None]


class NoticeRow(StoreBase):
    """A sentence once shown to the person at the screen."""

    __tablename__ = "notices"

    notice_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    severity: Mapped[str]
    title: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    time_ns: Mapped[int] = mapped_column(BigInteger, index=True)
