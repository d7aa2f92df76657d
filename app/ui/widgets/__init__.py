"""Widgets. GUI thread only."""
