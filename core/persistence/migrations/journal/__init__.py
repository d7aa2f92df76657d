"""Revisions of journal.sqlite."""
