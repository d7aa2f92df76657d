"""What is known about each of TA-Lib's functions: scale of its outputs, settling, and which are for charts only.

Tables and pure functions, any thread. The memory of a function computed by TA-Lib itself is its lookback plus the
settling named here.
"""

from __future__ import annotations

from collections.abc import Callable

from core.indicators import talib_windowed as own
from core.indicators.description import (
    Columns,
    Outputs,
    Scale,
    Values,
    ema_decay,
    period,
    settling,
    wilder_decay,
)
from core.indicators.parameters import ParameterInfo

# TA-Lib's codes of the moving averages offered. MAMA is left out: it would need the guard of `MEASURED`. KAMA adapts to
# sums of price changes, which are exact on the grid; over anything but prices their rounding would decide its speed.
_LINEAR_MAS = {
    "SMA": 0,
    "EMA": 1,
    "WMA": 2,
    "DEMA": 3,
    "TEMA": 4,
    "TRIMA": 5,
    "T3": 8,
    "HMA": 9,
    "ZLEMA": 12,
    "RMA": 13,
}
SMOOTHERS = tuple(_LINEAR_MAS)
PRICE_MAS = (*SMOOTHERS, "KAMA")
MA_CODES = {**_LINEAR_MAS, "KAMA": 6}
_OWN_MAS = ("SMA", "EMA")  # what our own forms of TA-Lib's functions smooth with

# Functions whose forgetting follows from no constant: measured with random walks, ticks and stretches without change
# (tests/unit/indicators/test_cycles.py). They forget over bars on which the price moves, hence the second number.
CYCLE_MEMORY = 2000
CYCLE_MOVES = 700
MEASURED = ("HT_DCPERIOD", "HT_PHASOR", "HT_SINE", "HT_TRENDMODE", "HT_TRENDLINE", "MAMA")
# Where it moves less: a cycle in the middle of its range, and a trend, for which the still price is taken.
CYCLE_NEUTRAL = {"HT_DCPERIOD": 28.0, "HT_TRENDMODE": 1.0}

_KAMA_SLOWEST = 1 - (2 / 31) ** 2


def ma_settling(name: str, size: float) -> int:
    """Return how long a moving average takes to forget where it started, beyond its lookback."""
    if size <= 1:
        return 0
    once = settling(ema_decay(size))
    lengths = {"EMA": once, "ZLEMA": once, "DEMA": 2 * once, "TEMA": 3 * once, "T3": 6 * once}
    return {**lengths, "RMA": settling(wilder_decay(size)), "KAMA": settling(_KAMA_SLOWEST)}.get(name, 0)


def _ma(*periods: str, kind: str = "matype", names: tuple[str, ...] = PRICE_MAS) -> Callable[[Values], int]:
    def settle(values: Values) -> int:
        return max(ma_settling(names[int(values[kind])], values[each]) for each in periods)

    return settle


def _fixed(name: str, *periods: str) -> Callable[[Values], int]:
    return lambda values: max(ma_settling(name, values[each]) for each in periods)


def _sum(*parts: Callable[[Values], int]) -> Callable[[Values], int]:
    return lambda values: sum(part(values) for part in parts)


def _mama(values: Values) -> int:
    return CYCLE_MEMORY + settling(1 - values["slowlimit"] / 2)


def _cycle(_values: Values) -> int:
    return CYCLE_MEMORY


_MACD_SIGNAL = _fixed("EMA", "signalperiod")
_STOCH_D = _ma("slowd_period", kind="slowd_matype", names=SMOOTHERS)

# Functions in which rounding of a running sum of prices decides something (a comparison, the phase of a price that
# stands still), by the bits of the grid on which those sums are exact. More bits are nearer to the price, fewer leave
# room for longer sums and larger moves. Elsewhere the rounding within a block stays below 1e-12 of the price.
_MAY_USE_KAMA = ("KAMA", "MA", "APO", "PPO", "BBANDS", "MACDEXT")
GRID_BITS = {**dict.fromkeys(MEASURED, 46), **dict.fromkeys(_MAY_USE_KAMA, 40)}  # sums of four; of a period
PATTERN_BITS = 43  # sums of ten

# What the settling is beyond TA-Lib's lookback; none where a name is absent.
SETTLING: dict[str, Callable[[Values], int]] = {
    **dict.fromkeys(("HT_DCPERIOD", "HT_PHASOR", "HT_SINE", "HT_TRENDMODE", "HT_TRENDLINE"), _cycle),
    "MAMA": _mama,
    **{name: _fixed(name, "timeperiod") for name in ("EMA", "DEMA", "TEMA", "T3", "ZLEMA", "RMA", "KAMA")},
    "ERI": _fixed("EMA", "timeperiod"),
    "ATR": _fixed("RMA", "timeperiod"),
    "NATR": _fixed("RMA", "timeperiod"),
    "PLUS_DM": _fixed("RMA", "timeperiod"),
    "MINUS_DM": _fixed("RMA", "timeperiod"),
    "TRIX": lambda values: 3 * ma_settling("EMA", values["timeperiod"]),
    "KC": lambda values: max(ma_settling("EMA", values["timeperiod"]), ma_settling("RMA", values["atrperiod"])),
    "MA": _ma("timeperiod"),
    "APO": _ma("fastperiod", "slowperiod"),
    "PPO": _ma("fastperiod", "slowperiod"),
    "MACD": _sum(_fixed("EMA", "fastperiod", "slowperiod"), _MACD_SIGNAL),
    "MACDFIX": _sum(lambda _values: ma_settling("EMA", 26), _MACD_SIGNAL),
    "MACDEXT": _sum(
        lambda values: max(_ma("fastperiod", kind="fastmatype")(values), _ma("slowperiod", kind="slowmatype")(values)),
        _ma("signalperiod", kind="signalmatype", names=SMOOTHERS),
    ),
    "STOCH": _sum(_ma("slowk_period", kind="slowk_matype", names=SMOOTHERS), _STOCH_D),
    "KDJ": _sum(_ma("slowk_period", kind="slowk_matype", names=SMOOTHERS), _STOCH_D),
    "STOCHF": _ma("fastd_period", kind="fastd_matype", names=SMOOTHERS),
    "BBANDS": _ma("timeperiod"),
    "HA": lambda _values: settling(0.5),
}

# Computed anew: (bars before, outputs).
OWN: dict[str, tuple[Callable[[Values], int], Callable[[Columns, Values], Outputs]]] = {
    "RSI": (own.rsi_memory, own.rsi),
    "CMO": (own.rsi_memory, own.cmo),
    "STOCHRSI": (own.stochastic_rsi_memory, own.stochastic_rsi),
    "PLUS_DI": (own.rsi_memory, own.plus_di),
    "MINUS_DI": (own.rsi_memory, own.minus_di),
    "DX": (own.rsi_memory, own.dx),
    "ADX": (own.adx_memory, own.adx),
    "ADXR": (own.adxr_memory, own.adxr),
    "TSI": (own.tsi_memory, own.tsi),
    "SMI": (own.smi_memory, own.smi),
    "RVI": (own.rvi_memory, own.rvi),
    "CVI": (own.cvi_memory, own.cvi),
    "MASSI": (own.mass_index_memory, own.mass_index),
    "PVO": (own.pvo_memory, own.pvo),
    "MFI": (own.window_of_changes, own.mfi),
    "CMF": (own.window_before, own.cmf),
    "ADOSC": (own.adosc_memory, own.adosc),
    "EFI": (own.efi_memory, own.efi),
    "VWMA": (own.window_before, own.vwma),
    "RVOL": (own.window_of_changes, own.relative_volume),
    "MARKETFI": (own.bar_alone, own.market_facilitation),
    "CCI": (own.window_before, own.cci),
    "BETA": (own.window_of_changes, own.beta),
    "CMOU": (own.window_of_changes, own.unsmoothed_cmo),
    "ER": (own.window_of_changes, own.efficiency),
    "IMI": (own.window_before, own.intraday_momentum),
    "VHF": (own.window_of_changes, own.vertical_horizontal),
    "VORTEX": (own.window_of_changes, own.vortex),
    "ULTOSC": (own.ultimate_memory, own.ultimate),
    "CORREL": (own.window_before, own.correl),
    "STDDEV": (own.window_before, own.stddev),
    "VAR": (own.window_before, own.var),
    "MAXINDEX": (own.window_before, own.max_index),
    "MININDEX": (own.window_before, own.min_index),
    "MINMAXINDEX": (own.window_before, own.min_max_index),
    "AROON": (own.window_of_changes, own.aroon),
    "AROONOSC": (own.window_of_changes, own.aroon_oscillator),
}

_BY_SCALE = {
    Scale.PRICE: "ADD,ACCBANDS,BBANDS,DEMA,DONCHIAN,EMA,HMA,HT_TRENDLINE,KAMA,KC,MA,MAMA,MIDPOINT,MIDPRICE,RMA,SMA,T3,"
    "TEMA,TRIMA,VWMA,WMA,ZLEMA,AVGPRICE,HA,MEDPRICE,TYPPRICE,WCLPRICE,LINEARREG,LINEARREG_INTERCEPT,PERCENTILE,TSF,"
    "MAX,MIN,MINMAX",
    Scale.PRICE_SUM: "SUM",
    Scale.PRICE_SQUARED: "MULT",
    Scale.DIFFERENCE: "SUB,HT_PHASOR,AC,AO,APO,DPO,ERI,MACD,MACDEXT,MACDFIX,MINUS_DM,MOM,PLUS_DM,QSTICK,AVGDEV,"
    "LINEARREG_SLOPE,STDDEV,ADR,ATR,TRANGE",
    Scale.DIFFERENCE_SQUARED: "VAR",
    Scale.PERCENT: "AROONOSC,CCI,CMO,CMOU,COPPOCK,FOSC,FRACTAL,PPO,ROC,SMI,TRIX,TSI,NATR,PVO",
    Scale.HUNDRED: "ADX,ADXR,AROON,DX,IMI,KDJ,MFI,MINUS_DI,PLUS_DI,RSI,STOCH,STOCHF,STOCHRSI,ULTOSC,PERCENTRANK,RVI",
    Scale.MINUS_HUNDRED: "WILLR",
    Scale.UNIT: "HT_SINE,BOP,ROCP,BETA,CORREL,CMF",
    Scale.AROUND_ONE: "DIV,ROCR,VORTEX",
    Scale.AROUND_HUNDRED: "ROCR100",
    Scale.SHARE: "HT_TRENDMODE,ER,VHF",
    Scale.POSITIVE: "RVOL",
    Scale.GROWTH: "CVI",
    Scale.CYCLE: "HT_DCPERIOD",
    Scale.AGE: "MAXINDEX,MININDEX,MINMAXINDEX",
    Scale.SUM_OF_ONES: "MASSI",
    Scale.VOLUME: "ADOSC",
    Scale.MONEY: "EFI",
    Scale.PRICE_PER_VOLUME: "MARKETFI",
}
SCALES = {name: scale for scale, names in _BY_SCALE.items() for name in names.split(",")}
# With which power of the price a scale grows; the others do not.
PRICE_POWERS = {Scale.PRICE: 1, Scale.PRICE_SUM: 1, Scale.DIFFERENCE: 1, Scale.PRICE_SQUARED: 2}
PATTERNS = "Pattern Recognition"  # -100, 0, 100; some go to 200

_LEVEL = "its value is a function of the price in units of the quote currency, which no scale-free form has"
_UNDEFINED = "it is defined for -1 … 1 only, and prices are larger"
_TOTAL = "it adds up from the first bar of the history, so its value depends on where the history starts"
_PATH = "it turns on crossings since the first bar of the history, so its memory has no bound"


def _beside(reason: str, name: str) -> str:
    return f"{reason}; {name} has a window"


CHART_ONLY = {
    **dict.fromkeys(("ATAN", "CEIL", "COS", "COSH", "EXP", "FLOOR", "LN", "LOG10", "SIN", "SINH", "SQRT"), _LEVEL),
    **dict.fromkeys(("TAN", "TANH"), _LEVEL),
    "ACOS": _UNDEFINED,
    "ASIN": _UNDEFINED,
    "LINEARREG_ANGLE": "its angle depends on the unit of the price; LINEARREG_SLOPE says the same without a unit",
    "HT_DCPHASE": "its angle jumps by a full turn; HT_SINE says the same without a jump",
    "CUMSUM": _beside(_TOTAL, "SUM"),
    "AD": _beside(_TOTAL, "CMF"),
    "OBV": _beside(_TOTAL, "VOLUME_IMBALANCE"),
    "PVT": _beside(_TOTAL, "VOLUME_IMBALANCE"),
    "NVI": _beside(_TOTAL, "RVOL"),
    "PVI": _beside(_TOTAL, "RVOL"),
    "WAD": _beside(_TOTAL, "CMF"),
    "VWAP": _beside(_TOTAL, "VWMA"),
    "SAR": _beside(_PATH, "DONCHIAN"),
    "SAREXT": _beside(_PATH, "DONCHIAN"),
    "SUPERTREND": _beside(_PATH, "KC"),
    "MAVP": "it needs a series of periods beside the bars; MA takes one period",
}

_SHORT = {"signalperiod", "fastk_period", "slowk_period", "slowd_period", "fastd_period", "leftbars", "rightbars"}
_SHORT_OF = {"MOM", "ROC", "ROCP", "ROCR", "ROCR100"}
# What TA-Lib refuses, a range of one value, and a slope through two returns.
_LOWEST = {
    ("AC", "signalperiod"): 2,
    ("SMI", "signalperiod"): 2,
    ("STOCHRSI", "fastk_period"): 2,
    ("BETA", "timeperiod"): 5,
}
_RANGES = {
    "nbdevup": (0.1, 10.0),
    "nbdevdn": (0.1, 10.0),
    "nbdev": (0.1, 10.0),
    "multiplier": (0.1, 20.0),
    "vfactor": (0.0, 1.0),
    "fastlimit": (0.01, 0.99),
    "slowlimit": (0.01, 0.99),
    "penetration": (0.0, 1.0),
    "percentile": (0.0, 100.0),
    "startvalue": (0.0, 1e9),
}


def parameter_info(function: str, name: str, default: float) -> ParameterInfo:
    """Describe one parameter of a TA-Lib function."""
    if name.endswith("matype"):
        of_prices = name in ("matype", "fastmatype", "slowmatype")
        names = _OWN_MAS if function in OWN else PRICE_MAS if of_prices else SMOOTHERS
        codes = [MA_CODES[each] for each in names]
        return ParameterInfo(name, codes.index(int(default)), 0, len(names) - 1, True, names)
    if isinstance(default, int):
        lowest = _LOWEST.get((function, name), 1 if name in _SHORT or function in _SHORT_OF else 2)
        return period(name, default, lowest)
    low, high = _RANGES.get(name, (0.0, 1.0))
    return ParameterInfo(name, default, low, high, False)


def talib_values(info_parameters: tuple[ParameterInfo, ...], values: Values) -> dict[str, int | float]:
    """Translate parameters of the catalogue into TA-Lib's: moving averages by their code."""
    result: dict[str, int | float] = {}
    for parameter in info_parameters:
        value = values[parameter.name]
        if parameter.choices:
            result[parameter.name] = MA_CODES[parameter.choices[int(value)]]
        else:
            result[parameter.name] = int(value) if parameter.whole else float(value)
    return result
