"""The practice exchange: a Binance-protocol server on loopback."""
