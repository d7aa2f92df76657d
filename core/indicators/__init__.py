"""Indicators, batch and streaming."""
