"""Subcommands of main.py; Qt-free."""
