"""Gateways to venues."""
