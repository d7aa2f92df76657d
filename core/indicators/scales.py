"""The scale-free form of each scale an indicator can be measured in. Pure functions, any thread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.indicators.description import Columns, Scale, Values
from core.indicators.rolling import FloatArray, ratio, rolling_mean

# Bars whose mean volume is the unit of volumes.
VOLUME_WINDOW = 100
_LOWEST_SHARE = 0.01  # a level below this share of the price (a band in a crash may be negative) counts as this share


def _log_share(share: FloatArray) -> FloatArray:
    result: FloatArray = np.log(np.maximum(share, _LOWEST_SHARE))
    return result


def _mean_volume(columns: Columns) -> FloatArray:
    return rolling_mean(columns["volume"], VOLUME_WINDOW)


def _by_volume(value: FloatArray, columns: Columns, _values: Values) -> FloatArray:
    return ratio(value, _mean_volume(columns), 0.0)


def _by_money(value: FloatArray, columns: Columns, _values: Values) -> FloatArray:
    return ratio(value, columns["close"] * _mean_volume(columns), 0.0)


_FORMS: dict[Scale, Callable[[FloatArray, Columns, Values], FloatArray]] = {
    Scale.PRICE: lambda value, columns, _: _log_share(value / columns["close"]),
    Scale.PRICE_SUM: lambda value, columns, values: _log_share(value / (values["timeperiod"] * columns["close"])),
    Scale.PRICE_SQUARED: lambda value, columns, _: _log_share(np.sqrt(value) / columns["close"]),
    Scale.DIFFERENCE: lambda value, columns, _: value / columns["close"],
    Scale.DIFFERENCE_SQUARED: lambda value, columns, _: value / columns["close"] ** 2,
    Scale.PERCENT: lambda value, _columns, _values: value / 100,
    Scale.HUNDRED: lambda value, _columns, _values: value / 50 - 1,
    Scale.MINUS_HUNDRED: lambda value, _columns, _values: value / 50 + 1,
    Scale.UNIT: lambda value, _columns, _values: value,
    Scale.AROUND_ONE: lambda value, _columns, _values: value - 1,
    Scale.AROUND_HUNDRED: lambda value, _columns, _values: value / 100 - 1,
    Scale.SHARE: lambda value, _columns, _values: 2 * value - 1,
    Scale.POSITIVE: lambda value, _columns, _values: (value - 1) / (value + 1),
    Scale.GROWTH: lambda value, _columns, _values: value / (value + 200),
    Scale.CYCLE: lambda value, _columns, _values: value / 50,
    Scale.AGE: lambda value, _columns, values: 2 * value / values["timeperiod"] - 1,
    Scale.SUM_OF_ONES: lambda value, _columns, values: value / values["slowperiod"] - 1,
    Scale.KURTOSIS: lambda value, _columns, _values: (value - 3) / (value + 3),
    Scale.VOLUME: _by_volume,
    Scale.MONEY: _by_money,
    Scale.PRICE_PER_VOLUME: lambda value, columns, _: value * _mean_volume(columns) / columns["close"],
    Scale.ILLIQUIDITY: lambda value, columns, _: np.log1p(value * columns["close"] * _mean_volume(columns)),
}
_PRICES = {Scale.PRICE, Scale.PRICE_SUM, Scale.PRICE_SQUARED, Scale.DIFFERENCE, Scale.DIFFERENCE_SQUARED}
_VOLUMES = {Scale.MONEY, Scale.PRICE_PER_VOLUME, Scale.ILLIQUIDITY}


def columns_of_scale(scale: Scale) -> tuple[str, ...]:
    """Return the columns the scale-free form divides by."""
    if scale in _PRICES:
        return ("close",)
    if scale is Scale.VOLUME:
        return ("volume",)
    return ("close", "volume") if scale in _VOLUMES else ()


def scaled(value: FloatArray, scale: Scale, columns: Columns, values: Values) -> FloatArray:
    """Return raw values of a scale in scale-free form, shape (n,)."""
    return _FORMS[scale](value, columns, values)
