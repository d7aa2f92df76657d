"""Alembic migrations; run only in the migration child."""
