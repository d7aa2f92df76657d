"""From forecast to approved intent: generator and risk management."""
