"""SQLAlchemy models, migrations and the order journal."""
