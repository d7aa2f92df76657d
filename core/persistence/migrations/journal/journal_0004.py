"""Strategies that follow agents. Migration child only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "journal_0004"
down_revision = "journal_0003"


def upgrade() -> None:
    """Add what kind of model decides, and what an agent remembers of its account."""
    op.add_column("strategies", sa.Column("kind", sa.String(), nullable=False, server_default="model"))
    op.add_column("strategies", sa.Column("account", sa.Text(), nullable=True))
