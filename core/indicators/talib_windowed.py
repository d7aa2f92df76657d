"""TA-Lib's ratios and statistics computed anew, with a memory that ends. Pure functions, any thread.

TA-Lib keeps running sums and smooths for ever. Where its result is a ratio of such numbers, rounding or the start of
the history can decide the value once the market falls quiet (a spike of volume leaves a residue larger than what
follows; a price that stands still divides noise by noise). These forms take the same definitions and sum exactly the
values of the window, so that a buffer of the window's length gives the very bits of the whole history. On a long
history they equal TA-Lib to 1e-9 of their scale; they differ where TA-Lib divides by (almost) zero, as said at each.
"""

from __future__ import annotations

import numpy as np

from core.indicators.description import Columns, Outputs, Values, ema_decay, memory_length, wilder_decay
from core.indicators.rolling import (
    FloatArray,
    decayed_sum,
    lagged,
    ratio,
    rolling_age_of_max,
    rolling_comoments,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_moments,
    rolling_sum,
)

_STILL_RSI = 1e-6  # RSI points; a smaller range within the window is rounding


def change(values: FloatArray) -> FloatArray:
    """Return values[t] - values[t - 1], shape (n,), the first value NaN."""
    return np.diff(values, prepend=np.nan)


def _smooth(values: FloatArray, decay: float) -> FloatArray:
    """Return the decaying mean: weights that sum to 1, whatever the length of the memory."""
    length = memory_length(decay)
    return decayed_sum(values, decay, length) * ((1 - decay) / (1 - decay**length))


def _gain_share(close: FloatArray, decay: float) -> tuple[FloatArray, FloatArray]:
    step, length = change(close), memory_length(decay)
    gain = decayed_sum(np.maximum(step, 0.0), decay, length)
    loss = decayed_sum(np.maximum(-step, 0.0), decay, length)
    return gain, loss


def rsi(columns: Columns, values: Values) -> Outputs:
    """Wilder's RSI; 50 where the price stood still."""
    gain, loss = _gain_share(columns["close"], wilder_decay(values["timeperiod"]))
    return {"real": 100 * ratio(gain, gain + loss, 0.5)}


def rsi_memory(values: Values) -> int:
    """Bars before."""
    return memory_length(wilder_decay(values["timeperiod"]))


def cmo(columns: Columns, values: Values) -> Outputs:
    """Chande's momentum in TA-Lib's smoothed form; 0 where the price stood still."""
    gain, loss = _gain_share(columns["close"], wilder_decay(values["timeperiod"]))
    return {"real": 100 * ratio(gain - loss, gain + loss, 0.0)}


def _mean(values: FloatArray, period: float, kind: float) -> FloatArray:
    """Return the simple (kind 0) or exponential (kind 1) mean."""
    return rolling_mean(values, int(period)) if kind == 0 else _smooth(values, ema_decay(period))


def _mean_length(period: float, kind: float) -> int:
    return int(period) if kind == 0 else memory_length(ema_decay(period))


def stochastic_rsi(columns: Columns, values: Values) -> Outputs:
    """Where the RSI lies in its range of `fastk_period` bars, and the mean of that; 50 where the RSI stood still."""
    strength = rsi(columns, values)["real"]
    window = int(values["fastk_period"])
    bottom = rolling_min(strength, window)
    width = rolling_max(strength, window) - bottom
    still = width <= _STILL_RSI
    fast = np.where(still, 50.0, 100 * (strength - bottom) / np.where(still, 1.0, width))
    return {"fastk": fast, "fastd": _mean(fast, values["fastd_period"], values["fastd_matype"])}


def stochastic_rsi_memory(values: Values) -> int:
    """Bars before."""
    mean = _mean_length(values["fastd_period"], values["fastd_matype"])
    return rsi_memory(values) + int(values["fastk_period"]) - 1 + mean - 1


def _true_range(columns: Columns) -> FloatArray:
    before = lagged(columns["close"], 1)
    return np.maximum(columns["high"], before) - np.minimum(columns["low"], before)


def _directional(columns: Columns, period: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Wilder's decaying sums of upward movement, downward movement and true range."""
    up, down = change(columns["high"]), -change(columns["low"])
    decay = wilder_decay(period)
    length = memory_length(decay)
    plus = decayed_sum(np.where((up > down) & (up > 0), up, 0.0) + 0.0 * up, decay, length)
    minus = decayed_sum(np.where((down > up) & (down > 0), down, 0.0) + 0.0 * down, decay, length)
    return plus, minus, decayed_sum(_true_range(columns), decay, length)


def plus_di(columns: Columns, values: Values) -> Outputs:
    """Upward movement as a share of the true range, 0 … 100; 0 where the price stood still."""
    plus, _, span = _directional(columns, values["timeperiod"])
    return {"real": 100 * ratio(plus, span, 0.0)}


def minus_di(columns: Columns, values: Values) -> Outputs:
    """Downward movement as a share of the true range, 0 … 100; 0 where the price stood still."""
    _, minus, span = _directional(columns, values["timeperiod"])
    return {"real": 100 * ratio(minus, span, 0.0)}


def dx(columns: Columns, values: Values) -> Outputs:
    """Directional movement index; 0 where there was no movement."""
    plus, minus, _ = _directional(columns, values["timeperiod"])
    return {"real": 100 * ratio(np.abs(plus - minus), plus + minus, 0.0)}


def adx(columns: Columns, values: Values) -> Outputs:
    """Wilder's mean of DX."""
    return {"real": _smooth(dx(columns, values)["real"], wilder_decay(values["timeperiod"]))}


def adx_memory(values: Values) -> int:
    """Bars before."""
    return 2 * rsi_memory(values) - 1


def adxr(columns: Columns, values: Values) -> Outputs:
    """Mean of ADX now and `timeperiod` - 1 bars ago."""
    strength = adx(columns, values)["real"]
    return {"real": (strength + lagged(strength, int(values["timeperiod"]) - 1)) / 2}


def adxr_memory(values: Values) -> int:
    """Bars before."""
    return adx_memory(values) + int(values["timeperiod"]) - 1


def _twice(values: FloatArray, first: float, second: float) -> FloatArray:
    return _smooth(_smooth(values, ema_decay(first)), ema_decay(second))


def tsi(columns: Columns, values: Values) -> Outputs:
    """True strength index; 0 where the price stood still."""
    step, first, second = change(columns["close"]), values["firstperiod"], values["secondperiod"]
    return {"real": 100 * ratio(_twice(step, first, second), _twice(np.abs(step), first, second), 0.0)}


def tsi_memory(values: Values) -> int:
    """Bars before."""
    return _ema_length(values["firstperiod"]) + _ema_length(values["secondperiod"]) - 1


def _ema_length(period: float) -> int:
    return memory_length(ema_decay(period))


def smi(columns: Columns, values: Values) -> Outputs:
    """Stochastic momentum index and its exponential mean; 0 where there was no range."""
    window = int(values["timeperiod"])
    top, bottom = rolling_max(columns["high"], window), rolling_min(columns["low"], window)
    slow, fast = values["slowperiod"], values["fastperiod"]
    middle = columns["close"] - (top + bottom) / 2
    line = 200 * ratio(_twice(middle, slow, fast), _twice(top - bottom, slow, fast), 0.0)
    return {"smi": line, "smisignal": _smooth(line, ema_decay(values["signalperiod"]))}


def smi_memory(values: Values) -> int:
    """Bars before."""
    lengths = sum(_ema_length(values[name]) - 1 for name in ("slowperiod", "fastperiod", "signalperiod"))
    return int(values["timeperiod"]) - 1 + lengths


def rvi(columns: Columns, values: Values) -> Outputs:
    """Relative volatility index: the standard deviation of rising bars among all; 50 where the price stood still."""
    close, window, decay = columns["close"], int(values["stddevperiod"]), wilder_decay(values["timeperiod"])
    deviation, step = np.sqrt(rolling_moments(close, window)[1] / window), change(close)
    length = memory_length(decay)
    # Products keep the NaN of the first rows, which a comparison would lose.
    rising = decayed_sum(deviation * np.where(step > 0, 1.0, 0.0), decay, length)
    falling = decayed_sum(deviation * np.where(step < 0, 1.0, 0.0), decay, length)
    return {"real": 100 * ratio(rising, rising + falling, 0.5)}


def rvi_memory(values: Values) -> int:
    """Bars before."""
    return max(int(values["stddevperiod"]) - 1, 1) + rsi_memory(values) - 1


def cvi(columns: Columns, values: Values) -> Outputs:
    """Chaikin's volatility: percent change of the mean range over `rocperiod` bars; 0 where there was no range."""
    mean = _smooth(columns["high"] - columns["low"], ema_decay(values["timeperiod"]))
    before = lagged(mean, int(values["rocperiod"]))
    return {"real": 100 * ratio(mean - before, before, 0.0)}


def cvi_memory(values: Values) -> int:
    """Bars before."""
    return _ema_length(values["timeperiod"]) - 1 + int(values["rocperiod"])


def mass_index(columns: Columns, values: Values) -> Outputs:
    """Mass index: sum over `slowperiod` bars of the mean range by its own mean; each 1 where there was no range."""
    decay = ema_decay(values["fastperiod"])
    once = _smooth(columns["high"] - columns["low"], decay)
    return {"real": rolling_sum(ratio(once, _smooth(once, decay), 1.0), int(values["slowperiod"]))}


def mass_index_memory(values: Values) -> int:
    """Bars before."""
    return 2 * (_ema_length(values["fastperiod"]) - 1) + int(values["slowperiod"]) - 1


def pvo(columns: Columns, values: Values) -> Outputs:
    """Percentage volume oscillator; 0 where nothing was traded."""
    volume, fast, slow = columns["volume"], *sorted((values["fastperiod"], values["slowperiod"]))
    quick, calm = (_mean(volume, each, values["matype"]) for each in (fast, slow))
    return {"real": 100 * ratio(quick - calm, calm, 0.0)}


def pvo_memory(values: Values) -> int:
    """Bars before."""
    return _mean_length(max(values["fastperiod"], values["slowperiod"]), values["matype"]) - 1


def mfi(columns: Columns, values: Values) -> Outputs:
    """Money flow index; 50 where no money moved the price."""
    typical = (columns["high"] + columns["low"] + columns["close"]) / 3
    step, money, window = change(typical), typical * columns["volume"], int(values["timeperiod"])
    rising = rolling_sum(np.where(step > 0, money, 0.0) + 0.0 * step, window)
    falling = rolling_sum(np.where(step < 0, money, 0.0) + 0.0 * step, window)
    return {"real": 100 * ratio(rising, rising + falling, 0.5)}


def _accumulation(columns: Columns) -> FloatArray:
    high, low, close = columns["high"], columns["low"], columns["close"]
    return ratio((close - low) - (high - close), high - low, 0.0) * columns["volume"]


def cmf(columns: Columns, values: Values) -> Outputs:
    """Chaikin's money flow, -1 … 1; 0 where nothing was traded."""
    window = int(values["timeperiod"])
    return {"real": ratio(rolling_sum(_accumulation(columns), window), rolling_sum(columns["volume"], window), 0.0)}


def adosc(columns: Columns, values: Values) -> Outputs:
    """Chaikin's oscillator: fast minus slow exponential mean of the accumulation line.

    The constant the line starts from cancels, and so does the line: what remains are decaying sums of its steps.
    """
    step, slow = _accumulation(columns), ema_decay(values["slowperiod"])
    fast = ema_decay(values["fastperiod"])
    length = max(memory_length(fast), memory_length(slow))
    return {"real": slow * decayed_sum(step, slow, length) - fast * decayed_sum(step, fast, length)}


def adosc_memory(values: Values) -> int:
    """Bars before."""
    return max(_ema_length(values["fastperiod"]), _ema_length(values["slowperiod"])) - 1


def efi(columns: Columns, values: Values) -> Outputs:
    """Elder's force index: exponential mean of price change times volume."""
    return {"real": _smooth(change(columns["close"]) * columns["volume"], ema_decay(values["timeperiod"]))}


def efi_memory(values: Values) -> int:
    """Bars before."""
    return _ema_length(values["timeperiod"])


def vwma(columns: Columns, values: Values) -> Outputs:
    """Volume weighted mean of the close; its plain mean where nothing was traded."""
    close, volume, window = columns["close"], columns["volume"], int(values["timeperiod"])
    total = rolling_sum(volume, window)
    plain = rolling_mean(close, window)
    return {"real": np.where(total == 0, plain, ratio(rolling_sum(close * volume, window), total, 0.0))}


def relative_volume(columns: Columns, values: Values) -> Outputs:
    """Volume by its mean over the `timeperiod` bars before; 1 where nothing was traded in them."""
    volume = columns["volume"]
    return {"real": ratio(volume, lagged(rolling_mean(volume, int(values["timeperiod"])), 1), 1.0)}


def market_facilitation(columns: Columns, _values: Values) -> Outputs:
    """Range by volume; 0 where nothing was traded."""
    return {"real": ratio(columns["high"] - columns["low"], columns["volume"], 0.0)}


def cci(columns: Columns, values: Values) -> Outputs:
    """Commodity channel index; 0 where the typical price stood still."""
    window = int(values["timeperiod"])
    typical = (columns["high"] + columns["low"] + columns["close"]) / 3
    # From the newest price on, whose differences are exact where the market is quiet.
    size = len(typical)
    offset, deviation = np.zeros(size), np.zeros(size)
    for lag in range(1, window):
        offset[lag:] += typical[: size - lag] - typical[lag:]
    offset /= window
    for lag in range(window):
        deviation[lag:] += np.abs(typical[: size - lag] - typical[lag:] - offset[lag:])
    return {"real": ratio(-offset, 0.015 * deviation / window, 0.0)}


def efficiency(columns: Columns, values: Values) -> Outputs:
    """Kaufman's efficiency ratio: net change by the way gone, 0 … 1; 1 where the price stood still, as TA-Lib."""
    close, window = columns["close"], int(values["timeperiod"])
    net = np.abs(close - lagged(close, window))
    return {"real": np.minimum(ratio(net, rolling_sum(np.abs(change(close)), window), 1.0), 1.0)}


def unsmoothed_cmo(columns: Columns, values: Values) -> Outputs:
    """Chande's momentum over a window; 0 where the price stood still."""
    step, window = change(columns["close"]), int(values["timeperiod"])
    gain, loss = rolling_sum(np.maximum(step, 0.0), window), rolling_sum(np.maximum(-step, 0.0), window)
    return {"real": 100 * ratio(gain - loss, gain + loss, 0.0)}


def intraday_momentum(columns: Columns, values: Values) -> Outputs:
    """Sum of rising bodies by that of all bodies, 0 … 100; 50 where no bar had a body."""
    body, window = columns["close"] - columns["open"], int(values["timeperiod"])
    return {"real": 100 * ratio(rolling_sum(np.maximum(body, 0.0), window), rolling_sum(np.abs(body), window), 0.5)}


def vertical_horizontal(columns: Columns, values: Values) -> Outputs:
    """Range of closes by the way gone, 0 … 1; 0 where the price stood still."""
    close, window = columns["close"], int(values["timeperiod"])
    width = rolling_max(close, window) - rolling_min(close, window)
    return {"real": ratio(width, rolling_sum(np.abs(change(close)), window), 0.0)}


def vortex(columns: Columns, values: Values) -> Outputs:
    """Vortex indicator; 0 where there was no true range."""
    window = int(values["timeperiod"])
    span = rolling_sum(_true_range(columns), window)
    rising = np.abs(columns["high"] - lagged(columns["low"], 1))
    falling = np.abs(columns["low"] - lagged(columns["high"], 1))
    return {
        "plusvi": ratio(rolling_sum(rising, window), span, 0.0),
        "minusvi": ratio(rolling_sum(falling, window), span, 0.0),
    }


def ultimate(columns: Columns, values: Values) -> Outputs:
    """Ultimate oscillator, 0 … 100; a window without true range counts 0, as in TA-Lib."""
    pressure = columns["close"] - np.minimum(columns["low"], lagged(columns["close"], 1))
    span, result = _true_range(columns), np.zeros(len(pressure))
    windows = sorted(int(values[f"timeperiod{number}"]) for number in (1, 2, 3))
    for weight, window in zip((4, 2, 1), windows, strict=True):
        result += weight * ratio(rolling_sum(pressure, window), rolling_sum(span, window), 0.0)
    return {"real": result * (100 / 7)}


def ultimate_memory(values: Values) -> int:
    """Bars before."""
    return int(max(values[f"timeperiod{number}"] for number in (1, 2, 3)))


def beta(columns: Columns, values: Values) -> Outputs:
    """Slope of the low's returns on the high's; 0 where the high stood still."""
    high, low = columns["high"], columns["low"]
    returns = [change(column) / lagged(column, 1) for column in (high, low)]
    spread, common, _ = rolling_comoments(returns[0], returns[1], int(values["timeperiod"]))
    return {"real": ratio(common, spread, 0.0)}


def correl(columns: Columns, values: Values) -> Outputs:
    """Correlation of high and low; 0 where either stood still."""
    xx, xy, yy = rolling_comoments(columns["high"], columns["low"], int(values["timeperiod"]))
    return {"real": np.clip(ratio(xy, np.sqrt(xx) * np.sqrt(yy), 0.0), -1.0, 1.0)}


def stddev(columns: Columns, values: Values) -> Outputs:
    """Population standard deviation of the close times `nbdev`."""
    return {"real": np.sqrt(var(columns, values)["real"]) * values["nbdev"]}


def var(columns: Columns, values: Values) -> Outputs:
    """Population variance of the close."""
    window = int(values["timeperiod"])
    return {"real": rolling_moments(columns["close"], window)[1] / window}


def max_index(columns: Columns, values: Values) -> Outputs:
    """Bars since the highest close of the window; TA-Lib counts from the start of the history instead."""
    return {"integer": rolling_age_of_max(columns["close"], int(values["timeperiod"]))}


def min_index(columns: Columns, values: Values) -> Outputs:
    """Bars since the lowest close of the window; TA-Lib counts from the start of the history instead."""
    return {"integer": rolling_age_of_max(-columns["close"], int(values["timeperiod"]))}


def min_max_index(columns: Columns, values: Values) -> Outputs:
    """Bars since the lowest and the highest close of the window."""
    return {"minidx": min_index(columns, values)["integer"], "maxidx": max_index(columns, values)["integer"]}


def aroon(columns: Columns, values: Values) -> Outputs:
    """Aroon down and up, 0 … 100; of equal highs or lows the latest counts."""
    size = int(values["timeperiod"])
    ages = rolling_age_of_max(-columns["low"], size + 1), rolling_age_of_max(columns["high"], size + 1)
    return {"aroondown": 100 * (size - ages[0]) / size, "aroonup": 100 * (size - ages[1]) / size}


def aroon_oscillator(columns: Columns, values: Values) -> Outputs:
    """Aroon up minus down, -100 … 100."""
    lines = aroon(columns, values)
    return {"real": lines["aroonup"] - lines["aroondown"]}


def bar_alone(_values: Values) -> int:
    """Bars before: none."""
    return 0


def window_before(values: Values) -> int:
    """Bars before: `timeperiod` bars including this one."""
    return int(values["timeperiod"]) - 1


def window_of_changes(values: Values) -> int:
    """Bars before: `timeperiod` changes from bar to bar."""
    return int(values["timeperiod"])
