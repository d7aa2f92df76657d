"""First tables of journal.sqlite. Migration child only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from core.persistence import types

revision = "journal_0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "commands",
        sa.Column("command_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_commands")),
    )
    op.create_index("ix_commands_kind", "commands", ["kind"], unique=False)
    op.create_table(
        "equity",
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("pnl", types.DecimalText(), nullable=False),
        sa.Column("day_start", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("time_ns", name=op.f("pk_equity")),
    )
    op.create_table(
        "intents",
        sa.Column("intent_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("quantity", types.DecimalText(), nullable=False),
        sa.Column("order_type", sa.String(), nullable=False),
        sa.Column("limit_price", types.DecimalText(), nullable=True),
        sa.Column("stop_price", types.DecimalText(), nullable=True),
        sa.Column("time_in_force", sa.String(), nullable=False),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference_price", types.DecimalText(), nullable=True),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("feature_hash", sa.String(), nullable=False),
        sa.Column("forecast", sa.Double(), nullable=True),
        sa.Column("bar_open_ns", sa.BigInteger(), nullable=True),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("intent_id", name=op.f("pk_intents")),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "positions",
        sa.Column("venue", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("quantity", types.DecimalText(), nullable=False),
        sa.Column("average_price", types.DecimalText(), nullable=False),
        sa.Column("realised_pnl", types.DecimalText(), nullable=False),
        sa.Column("fees", types.DecimalText(), nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("venue", "symbol", "owner", name=op.f("pk_positions")),
    )
    op.create_table(
        "strategies",
        sa.Column("strategy_id", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("capital", types.DecimalText(), nullable=False),
        sa.Column("entry_z", sa.Double(), nullable=False),
        sa.Column("exit_z", sa.Double(), nullable=False),
        sa.Column("running", sa.Boolean(), nullable=False),
        sa.Column("last_bar_ns", sa.BigInteger(), nullable=True),
        sa.Column("last_target", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("strategy_id", name=op.f("pk_strategies")),
    )
    op.create_table(
        "trading_state",
        sa.Column("row_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_trading_state")),
    )
    op.create_table(
        "orders",
        sa.Column("client_order_id", sa.String(), nullable=False),
        sa.Column("intent_id", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("venue_order_id", sa.String(), nullable=False),
        sa.Column("filled_quantity", types.DecimalText(), nullable=False),
        sa.Column("average_price", types.DecimalText(), nullable=True),
        sa.Column("booked_quantity", types.DecimalText(), nullable=False),
        sa.Column("booked_value", types.DecimalText(), nullable=False),
        sa.Column("fills_complete", sa.Boolean(), nullable=False),
        sa.Column("reason_code", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("submitted_ns", sa.BigInteger(), nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"], name=op.f("fk_orders_intent_id")),
        sa.PrimaryKeyConstraint("client_order_id", name=op.f("pk_orders")),
        sa.UniqueConstraint("intent_id", name=op.f("uq_orders_intent_id")),
    )
    op.create_index("ix_orders_state", "orders", ["state"], unique=False)
    op.create_index("ix_orders_updated_ns", "orders", ["updated_ns"], unique=False)
    op.create_index("ix_orders_venue", "orders", ["symbol", "venue_order_id"], unique=False)
    op.create_table(
        "fills",
        sa.Column("venue", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("trade_id", sa.String(), nullable=False),
        sa.Column("venue_order_id", sa.String(), nullable=False),
        sa.Column("client_order_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("price", types.DecimalText(), nullable=False),
        sa.Column("quantity", types.DecimalText(), nullable=False),
        sa.Column("fee", types.DecimalText(), nullable=False),
        sa.Column("fee_currency", sa.String(), nullable=False),
        sa.Column("fee_quote", types.DecimalText(), nullable=True),
        sa.Column("liquidity", sa.String(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("booked_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["client_order_id"], ["orders.client_order_id"], name=op.f("fk_fills_client_order_id")),
        sa.PrimaryKeyConstraint("venue", "symbol", "trade_id", name=op.f("pk_fills")),
    )
    op.create_index(op.f("ix_fills_booked_ns"), "fills", ["booked_ns"], unique=False)
    op.create_index(op.f("ix_fills_client_order_id"), "fills", ["client_order_id"], unique=False)
    op.create_table(
        "order_events",
        sa.Column("event_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("client_order_id", sa.String(), nullable=False),
        sa.Column("from_state", sa.String(), nullable=False),
        sa.Column("to_state", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_order_id"], ["orders.client_order_id"], name=op.f("fk_order_events_client_order_id")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_order_events")),
    )
    op.create_index(op.f("ix_order_events_client_order_id"), "order_events", ["client_order_id"], unique=False)
