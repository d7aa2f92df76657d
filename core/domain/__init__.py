"""Frozen value types of the trading domain. Pure data: no I/O, no threads, safe to pass between them."""
