"""What an indicator is: description, scale, history it needs, and how it is computed. Pure values, any thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from core.indicators.parameters import ParameterInfo
from core.indicators.rolling import FloatArray

Columns = Mapping[str, FloatArray]
Values = Mapping[str, float]
Outputs = dict[str, FloatArray]

# What the start of the history may still change: of a level as a share of the price, of a ratio as a share of itself.
_LEVEL_TOLERANCE = 1e-12
_RATIO_TOLERANCE = 1e-10
LONGEST_PERIOD = 1000


class Scale(Enum):
    """What an output is measured in, which decides its scale-free form (named behind each)."""

    PRICE = auto()  # log(value / close), not below log(0.01)
    PRICE_SUM = auto()  # log(value / (timeperiod * close)), likewise
    PRICE_SQUARED = auto()  # half of log(value / close²), likewise
    DIFFERENCE = auto()  # value / close
    DIFFERENCE_SQUARED = auto()  # value / close²
    PERCENT = auto()  # value / 100; also oscillators of -100 … 100 and candle patterns
    HUNDRED = auto()  # 0 … 100: value / 50 - 1
    MINUS_HUNDRED = auto()  # -100 … 0: value / 50 + 1
    UNIT = auto()  # as it is: shares, correlations, log returns
    AROUND_ONE = auto()  # value - 1
    AROUND_HUNDRED = auto()  # value / 100 - 1
    SHARE = auto()  # 0 … 1: 2 * value - 1
    POSITIVE = auto()  # 0 … infinity, usually 1: (value - 1) / (value + 1)
    GROWTH = auto()  # percent change of a positive amount, by the sum of both amounts: value / (value + 200)
    CYCLE = auto()  # bars of a cycle, 6 … 50: value / 50
    AGE = auto()  # bars since: 2 * value / timeperiod - 1
    SUM_OF_ONES = auto()  # a sum of ratios around 1: value / slowperiod - 1
    VOLUME = auto()  # value / mean volume of the last VOLUME_WINDOW bars
    MONEY = auto()  # value / (close * that mean volume)
    PRICE_PER_VOLUME = auto()  # value * that mean volume / close
    KURTOSIS = auto()  # 3 for a normal distribution: (value - 3) / (value + 3)
    ILLIQUIDITY = auto()  # log(1 + value * close * that mean volume)


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


@dataclass(frozen=True, slots=True)
class Definition:
    """An indicator with everything needed to compute it.

    Attributes:
        info: what a person sees of it.
        scales: one per output.
        memory: how many bars before a bar its value depends on, from the parameters.
        compute: the raw outputs of all rows; those of the first `memory` rows are not used.
    """

    info: IndicatorInfo
    scales: tuple[Scale, ...]
    memory: Callable[[Values], int]
    compute: Callable[[Columns, Values], Outputs]


def period(name: str, default: int, low: int = 2, high: int = LONGEST_PERIOD) -> ParameterInfo:
    """Return a parameter that counts bars."""
    return ParameterInfo(name, default, low, high, True)


def settling(decay: float) -> int:
    """Return how many steps of a smoothing with this decay leave 1e-12 of where it started."""
    return 0 if decay <= 0 else math.ceil(math.log(_LEVEL_TOLERANCE) / math.log(decay))


def memory_length(decay: float) -> int:
    """Return how many values a decaying sum takes in: what it leaves out weighs less than 1e-10.

    Rounded up to three binary digits, which the doubling of `decayed_sum` computes in few steps.
    """
    if decay <= 0:
        return 1
    length = math.ceil(math.log(_RATIO_TOLERANCE) / math.log(decay))
    step = 1 << max(length.bit_length() - 3, 0)
    return -(-length // step) * step


def ema_decay(period: float) -> float:
    """Return the decay of an exponential mean of this period."""
    return 1 - 2 / (period + 1)


def wilder_decay(period: float) -> float:
    """Return the decay of Wilder's mean of this period."""
    return 1 - 1 / period
