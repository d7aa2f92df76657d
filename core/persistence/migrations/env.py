"""Alembic's environment: runs the revisions on the connection it is handed. Migration child only."""

from __future__ import annotations

from alembic import context

# render_as_batch: SQLite cannot alter a table in place, Alembic then copies it.
context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
