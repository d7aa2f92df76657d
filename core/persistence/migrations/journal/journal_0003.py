"""Order plans. Migration child only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from core.persistence import types

revision = "journal_0003"
down_revision = "journal_0002"


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        "order_plans",
        sa.Column("plan_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("draft", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("stop_price", types.DecimalText(), nullable=True),
        sa.Column("cancelled", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_order_plans")),
    )
    op.create_index(op.f("ix_order_plans_state"), "order_plans", ["state"], unique=False)
