"""Seeded schedules of orders and faults against the real executor, in virtual time (see `run.py`)."""
