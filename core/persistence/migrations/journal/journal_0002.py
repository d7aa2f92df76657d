"""Lots, funding, transfers and ownership of markets. Migration child only.

The lots of positions that are there already are built from their fills when the program first loads them
(`core.execution.position_rebuild`): that takes the instruments' currencies, which only the venue knows. Until then
`positions.fifo_pnl` is empty.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from core.persistence import types

revision = "journal_0002"
down_revision = "journal_0001"


def upgrade() -> None:
    """Add columns and tables."""
    op.add_column("fills", sa.Column("chapter", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_fills_owner", "fills", ["symbol", "owner"], unique=False)
    op.add_column("positions", sa.Column("fifo_pnl", types.DecimalText(), nullable=True))
    op.add_column("positions", sa.Column("funding", types.DecimalText(), nullable=False, server_default="0"))
    op.add_column("positions", sa.Column("unpriced", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("positions", sa.Column("chapter", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("positions", sa.Column("cursor_ns", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("positions", sa.Column("cursor_id", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "lots",
        sa.Column("venue", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("trade_id", sa.String(), nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=False),
        sa.Column("quantity", types.DecimalText(), nullable=False),
        sa.Column("price", types.DecimalText(), nullable=False),
        sa.Column("fee", types.DecimalText(), nullable=False),
        sa.PrimaryKeyConstraint("venue", "symbol", "owner", "trade_id", name=op.f("pk_lots")),
    )
    op.create_table(
        "funding",
        sa.Column("venue", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("payment_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("amount", types.DecimalText(), nullable=False),
        sa.Column("payment", types.DecimalText(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_quote", types.DecimalText(), nullable=True),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("booked_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("venue", "symbol", "payment_id", "owner", name=op.f("pk_funding")),
    )
    op.create_table(
        "transfers",
        sa.Column("transfer_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("venue", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("from_owner", sa.String(), nullable=False),
        sa.Column("to_owner", sa.String(), nullable=False),
        sa.Column("average_price", types.DecimalText(), nullable=False),
        sa.Column("lots", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_transfers")),
    )
    op.create_index("ix_transfers_symbol", "transfers", ["symbol"], unique=False)
    op.create_table(
        "ownership",
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("ownership", sa.String(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.Column("paused", sa.Text(), nullable=False),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("symbol", name=op.f("pk_ownership")),
    )
