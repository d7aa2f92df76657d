"""The parts of the risk gate; `core.signals.risk_management` is its public face."""
