"""Equity over time from fills and closes. Pure; any thread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain.fills import Fill

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def equity_curve(
    close_time_ns: IntArray, close: FloatArray, fills: Sequence[Fill], capital: float, base: str, quote: str
) -> FloatArray:
    """Return the account value at each bar close: cash plus base currency at the close.

    Fees in the base currency shrink the holding, fees in the quote currency shrink the cash.

    Args:
        close_time_ns: bar close times, ns UTC, ascending, shape (n,).
        close: closes in quote currency, shape (n,).
        fills: own fills of one market in any order; a fill counts from the first close at or after it.
        capital: quote currency at the start.
        base, quote: currencies of the market.

    Returns:
        float64 array of shape (n,), quote currency.

    Raises:
        ValueError: a fee was paid in a third currency, which this curve cannot value.
    """
    cash, held = np.zeros(len(close)), np.zeros(len(close))
    for fill in fills:
        row = int(np.searchsorted(close_time_ns, fill.time_ns, side="left"))
        if row == len(close):
            row = len(close) - 1
        cash[row] -= fill.side.sign * float(fill.value)
        held[row] += fill.side.sign * float(fill.quantity)
        if fill.fee_currency == quote:
            cash[row] -= float(fill.fee)
        elif fill.fee_currency == base:
            held[row] -= float(fill.fee)
        elif fill.fee:
            raise ValueError(f"a fee in {fill.fee_currency} cannot be valued in {quote}")
    return capital + np.cumsum(cash) + np.cumsum(held) * close


def buy_and_hold_curve(open_price: FloatArray, close: FloatArray, capital: float, taker_fee: float) -> FloatArray:
    """Return the value of buying with all `capital` at the first open, paying one taker fee, and holding.

    Args:
        open_price, close: prices of shape (n,), quote currency.
        capital: quote currency at the start.
        taker_fee: fee rate of the one purchase.

    Returns:
        float64 array of shape (n,), quote currency.
    """
    if len(close) == 0:
        return np.empty(0)
    return np.asarray(capital / open_price[0] * (1.0 - taker_fee) * close, dtype=np.float64)
