"""Whose market bars come from, in words for the screen. Qt-free, pure, any thread."""

from __future__ import annotations

from app.i18n import tr
from core.domain.data_origin import DEFAULT_SEED, DataOrigin, invented_seed, is_invented, is_practice
from ml.api import DataRange


def origin_title(origin: DataOrigin) -> str:
    """Return what the market is called: the venue of real bars, "practice market" for invented ones."""
    if is_invented(origin):
        seed = invented_seed(origin)
        return tr("practice market") if seed == str(DEFAULT_SEED) else tr("practice market, seed {seed}", seed=seed)
    return tr("practice replay") if is_practice(origin) else origin


def market_title(symbol: str, timeframe: str, origin: DataOrigin) -> str:
    """Return a market for lists and titles: real bars need no word more ("BTC/USDT 1h")."""
    plain = f"{symbol} {timeframe}".rstrip()
    return f"{plain} · {origin_title(origin)}" if is_practice(origin) else plain


def data_title(data: DataRange) -> str:
    """Return the market a run learns from."""
    return market_title(data.symbol, data.timeframe, data.origin)
