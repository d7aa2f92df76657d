"""Paper trading: a simulated account whose orders fill against live market data. Keys do not exist here."""
