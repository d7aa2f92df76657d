"""The order path: intent, risk, order manager, gateway, fills, positions."""
