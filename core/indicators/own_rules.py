"""The catalogue's own indicators: name, parameters, memory. Tables and pure functions, any thread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.indicators import estimators as est
from core.indicators import indicators as ind
from core.indicators.description import (
    Columns,
    Definition,
    IndicatorInfo,
    Outputs,
    Scale,
    Values,
    period,
)
from core.indicators.parameters import ParameterInfo
from core.indicators.rolling import FloatArray, rolling_zscore

_OHLC = ("open", "high", "low", "close")
_VOLATILITY, _FLOW, _LIQUIDITY = "Volatility Estimates", "Order Flow", "Liquidity Estimates"
_RETURNS, _WINDOWED, _CALENDAR = "Return Statistics", "Windowed Relatives", "Calendar"


def _before(values: Values) -> int:
    return int(values["timeperiod"]) - 1


def _changes(values: Values) -> int:
    return int(values["timeperiod"])


def _none(_values: Values) -> int:
    return 0


def _one(
    name: str,
    title: str,
    group: str,
    inputs: tuple[str, ...],
    parameters: tuple[ParameterInfo, ...],
    memory: Callable[[Values], int],
    function: Callable[..., FloatArray],
    scale: Scale = Scale.UNIT,
) -> Definition:
    """Describe an indicator of one output whose function takes its columns, then its parameters, in order."""

    def compute(columns: Columns, values: Values) -> Outputs:
        arguments = [int(values[parameter.name]) for parameter in parameters]
        return {"real": function(*(columns[column] for column in inputs), *arguments)}

    return Definition(IndicatorInfo(name, title, group, inputs, ("real",), parameters, ""), (scale,), memory, compute)


def _volatilities() -> tuple[Definition, ...]:
    window = (period("timeperiod", 20),)
    ranges = ("high", "low")
    return (
        _one("PARKINSON", "Parkinson Volatility", _VOLATILITY, ranges, window, _before, est.parkinson),
        _one("GARMAN_KLASS", "Garman-Klass Volatility", _VOLATILITY, _OHLC, window, _before, est.garman_klass),
        _one("ROGERS_SATCHELL", "Rogers-Satchell Volatility", _VOLATILITY, _OHLC, window, _before, est.rogers_satchell),
        _one("YANG_ZHANG", "Yang-Zhang Volatility", _VOLATILITY, _OHLC, window, _changes, est.yang_zhang),
        _one(
            "REALISED_VOLATILITY",
            "Close-to-Close Volatility",
            _VOLATILITY,
            ("close",),
            window,
            _changes,
            ind.realised_volatility,
        ),
    )


def _flow_memory(values: Values) -> int:
    return int(values["timeperiod"]) - 1 + int(values["stddevperiod"])


def _flows() -> tuple[Definition, ...]:
    window, traded = (period("timeperiod", 20),), ("close", "volume")
    both = (*window, period("stddevperiod", 50))
    return (
        _one("VOLUME_IMBALANCE", "Volume Imbalance", _FLOW, traded, window, _changes, est.volume_imbalance),
        _one("FLOW_IMBALANCE", "Bulk-Classified Flow Imbalance", _FLOW, traded, both, _flow_memory, est.flow_imbalance),
        _one("VOLUME_Z", "Volume Z-Score", _FLOW, ("volume",), window, _before, rolling_zscore),
        _one("AMIHUD", "Amihud Illiquidity", _LIQUIDITY, traded, window, _changes, est.amihud, Scale.ILLIQUIDITY),
        _one(
            "CORWIN_SCHULTZ",
            "Spread Estimate (Corwin-Schultz)",
            _LIQUIDITY,
            ("high", "low"),
            window,
            _changes,
            est.corwin_schultz,
        ),
        _one(
            "ROLL_SPREAD",
            "Spread Estimate (Roll)",
            _LIQUIDITY,
            ("close",),
            window,
            lambda values: int(values["timeperiod"]) + 1,
            est.roll_spread,
        ),
        _one(
            "ABDI_RANALDO",
            "Spread Estimate (Abdi-Ranaldo)",
            _LIQUIDITY,
            ("high", "low", "close"),
            window,
            _changes,
            est.abdi_ranaldo,
        ),
    )


def _shape(part: int) -> Callable[[FloatArray, int], FloatArray]:
    return lambda close, window: est.return_shape(close, window)[part]


def _statistics() -> tuple[Definition, ...]:
    window, close = period("timeperiod", 50), ("close",)
    lagged, ratio = (period("lag", 1, 1), window), (period("horizon", 5), window)
    fast_slow = (period("fastperiod", 12, 1), period("slowperiod", 48, 1))

    def with_lag(values: Values) -> int:
        return int(values["timeperiod"]) + int(values["lag"])

    def with_horizon(values: Values) -> int:
        return int(values["timeperiod"]) + int(values["horizon"]) - 1

    def longer(values: Values) -> int:
        return int(max(values["fastperiod"], values["slowperiod"])) - 1

    return (
        _one(
            "LOG_RETURN",
            "Log Return",
            _RETURNS,
            close,
            (period("horizon", 1, 1),),
            lambda values: int(values["horizon"]),
            ind.log_returns,
        ),
        _one("RETURN_SKEW", "Skewness of Returns", _RETURNS, close, (window,), _changes, _shape(0)),
        _one("RETURN_KURTOSIS", "Kurtosis of Returns", _RETURNS, close, (window,), _changes, _shape(1), Scale.KURTOSIS),
        _one("AUTOCORRELATION", "Autocorrelation of Returns", _RETURNS, close, lagged, with_lag, est.autocorrelation),
        _one(
            "VARIANCE_RATIO",
            "Variance Ratio",
            _RETURNS,
            close,
            ratio,
            with_horizon,
            est.variance_ratio,
            Scale.POSITIVE,
        ),
        _one("DRAWDOWN", "Drawdown from the High", _RETURNS, ("high", "close"), (window,), _before, est.drawdown),
        _one("RUN_UP", "Run-Up from the Low", _RETURNS, ("low", "close"), (window,), _before, est.run_up),
        _one("TREND", "Trend of Simple Means", _WINDOWED, close, fast_slow, longer, ind.trend),
    )


def _relatives() -> tuple[Definition, ...]:
    window, bars = (period("timeperiod", 14),), ("high", "low", "close")
    return (
        _one("WINDOWED_ATR", "Mean True Range by Price", _WINDOWED, bars, window, _changes, ind.average_true_range),
        _one("CUTLER_RSI", "Cutler's RSI", _WINDOWED, ("close",), window, _changes, ind.relative_strength),
        _one("RANGE_POSITION", "Position in the Range", _WINDOWED, bars, window, _before, ind.range_position),
        _one("BODY", "Body by Range of the Bar", _WINDOWED, _OHLC, (), _none, ind.body),
    )


def _calendar() -> tuple[Definition, ...]:
    def describe(
        name: str, title: str, outputs: tuple[str, ...], function: Callable[..., tuple[FloatArray, ...]]
    ) -> Definition:
        def compute(columns: Columns, _values: Values) -> Outputs:
            times = np.asarray(columns["time_ns"], np.int64)
            return dict(zip(outputs, function(times), strict=True))

        info = IndicatorInfo(name, title, _CALENDAR, ("time_ns",), outputs, (), "")
        return Definition(info, (Scale.UNIT,) * len(outputs), _none, compute)

    circle = ("sine", "cosine")
    return (
        describe("TIME_OF_DAY", "Time of Day", circle, ind.time_of_day),
        describe("TIME_OF_WEEK", "Time of Week", circle, ind.time_of_week),
        describe("DAY_OF_MONTH", "Day of Month", circle, est.day_of_month),
        describe("SESSION", "Trading Session", ("asia", "europe", "america"), est.sessions),
    )


def own_definitions() -> tuple[Definition, ...]:
    """Return the indicators that are not TA-Lib's."""
    return (*_volatilities(), *_flows(), *_statistics(), *_relatives(), *_calendar())
