"""Indicators by name: what they take, how much history they need, and their values in scale-free form. Any thread.

A value at t uses bars up to and including t. The first `warm_up` rows are NaN; from then on the value no longer
depends on where the history starts, so that a bounded live buffer gives the numbers of the whole history.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from core.errors import UserError
from core.indicators.rolling import FloatArray
from core.indicators.talib_indicators import talib_indicator

_TOLERANCE = 1e-12  # what another starting point may still change, as a share of the price


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """One parameter of an indicator.

    Attributes:
        name: as it is spelled in requests.
        default: the value where none is given.
        low: the smallest allowed value.
        high: the largest allowed value.
        whole: True where only whole numbers make sense.
        choices: names of the values 0, 1, 2 …; empty for a plain number.
    """

    name: str
    default: float
    low: float
    high: float
    whole: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndicatorInfo:
    """What an indicator is.

    Attributes:
        name: as it is spelled in requests, for example "RSI".
        title: its name in words.
        group: the family it belongs to.
        inputs: the columns it reads.
        outputs: the names of its results.
        parameters: in the order they are shown.
        chart_only: why it is no feature (one sentence); empty where it is one.
    """

    name: str
    title: str
    group: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[ParameterInfo, ...]
    chart_only: str


def _period(default: int, name: str = "timeperiod", low: int = 2) -> ParameterInfo:
    return ParameterInfo(name, default, low, 1000, True)


_BANDS = (_period(20), ParameterInfo("nbdevup", 2.0, 0.1, 10, False), ParameterInfo("nbdevdn", 2.0, 0.1, 10, False))
_MACD = (_period(12, "fastperiod"), _period(26, "slowperiod"), _period(9, "signalperiod", 1))


@cache
def catalogue() -> tuple[IndicatorInfo, ...]:
    """Return every known indicator, sorted by name."""
    bands = ("upperband", "middleband", "lowerband")
    return (
        IndicatorInfo(
            "ATR",
            "Average True Range",
            "Volatility Indicators",
            ("high", "low", "close"),
            ("real",),
            (_period(14, low=1),),
            "",
        ),
        IndicatorInfo("BBANDS", "Bollinger Bands", "Overlap Studies", ("close",), bands, _BANDS, ""),
        IndicatorInfo(
            "EMA", "Exponential Moving Average", "Overlap Studies", ("close",), ("real",), (_period(30),), ""
        ),
        IndicatorInfo(
            "MACD",
            "Moving Average Convergence/Divergence",
            "Momentum Indicators",
            ("close",),
            ("macd", "macdsignal", "macdhist"),
            _MACD,
            "",
        ),
        IndicatorInfo(
            "RSI", "Relative Strength Index", "Momentum Indicators", ("close",), ("real",), (_period(14),), ""
        ),
    )


@cache
def _by_name() -> dict[str, IndicatorInfo]:
    return {info.name: info for info in catalogue()}


def indicator_info(name: str) -> IndicatorInfo:
    """Return the description of one indicator; case does not matter.

    Raises:
        UserError: there is none of this name.
    """
    known = _by_name()
    info = known.get(name.upper())
    if info is None:
        near = difflib.get_close_matches(name.upper(), known, 1, 0.5)
        remedy = f"Did you mean {near[0]}?" if near else "The catalogue of indicators lists the names."
        raise UserError(f"The indicator {name!r} is not known.", remedy)
    return info


def _complete(info: IndicatorInfo, parameters: Mapping[str, float]) -> dict[str, float]:
    known = {parameter.name: parameter for parameter in info.parameters}
    for name, value in parameters.items():
        if name not in known:
            raise UserError(f"{info.name} has no parameter {name!r}.", f"It knows: {', '.join(known) or 'none'}.")
        rule = known[name]
        if not rule.low <= value <= rule.high or (rule.whole and value != int(value)):
            kind = "a whole number" if rule.whole else "a number"
            raise UserError(
                f"{info.name}: {name} cannot be {value:g}.", f"Give {kind} from {rule.low:g} to {rule.high:g}."
            )
    values = {parameter.name: parameters.get(parameter.name, parameter.default) for parameter in info.parameters}
    return {name: int(value) if known[name].whole else float(value) for name, value in values.items()}


def _settling(decay: float) -> int:
    return 0 if decay <= 0 else math.ceil(math.log(_TOLERANCE) / math.log(decay))


def _ema(period: float) -> int:
    return int(period) - 1 + _settling(1 - 2 / (period + 1))


def _wilder(period: float) -> int:
    return int(period) + _settling(1 - 1 / period)


def warm_up(name: str, parameters: Mapping[str, float]) -> int:
    """Return how many bars must precede a bar before its value can be trusted."""
    info = indicator_info(name)
    values = _complete(info, parameters)
    if info.name == "MACD":
        return max(_ema(values["fastperiod"]), _ema(values["slowperiod"])) + _ema(values["signalperiod"])
    if info.name == "BBANDS":
        return int(values["timeperiod"]) - 1
    return _ema(values["timeperiod"]) if info.name == "EMA" else _wilder(values["timeperiod"])


def scale_free(name: str, columns: Mapping[str, FloatArray], parameters: Mapping[str, float]) -> dict[str, FloatArray]:
    """Return an indicator in scale-free form, one float64 array of shape (n,) per output.

    Args:
        name: of an indicator that is no `chart_only` one.
        columns: time_ns, open, high, low, close, volume of equal shapes (n,); only those it needs.
        parameters: those that differ from the defaults.

    Raises:
        UserError: unknown name or parameter, or an indicator that is no feature.
    """
    info = indicator_info(name)
    if info.chart_only:
        raise UserError(f"{info.name} cannot be a feature: {info.chart_only}")
    start = warm_up(name, parameters)
    close = columns["close"]
    result: dict[str, FloatArray] = {}
    for label, values in talib_indicator(info.name, columns, _complete(info, parameters)).items():
        if info.name == "RSI":
            scaled = values / 50 - 1
        elif info.group == "Overlap Studies":
            scaled = np.log(values / close)
        else:
            scaled = values / close
        result[label] = scaled
        result[label][:start] = np.nan
    return result
