"""Revisions of store.sqlite."""
