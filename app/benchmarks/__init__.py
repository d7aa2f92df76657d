"""Measured figures of `main.py bench`, one module per capability. Qt-free: window figures come from child processes."""
