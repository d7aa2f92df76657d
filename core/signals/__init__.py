"""From forecast to approved intent: signal generation and pre-trade risk. Pure decisions."""
