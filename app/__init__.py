"""Binds core and ml: to the screen (Qt) and to the command line (no Qt)."""
