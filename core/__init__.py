"""The trading domain: data, indicators, signals, execution, practice exchange. No Qt, no torch."""
