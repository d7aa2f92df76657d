"""Forecast metrics on plain arrays, each from first principles. Any thread; numpy only."""
