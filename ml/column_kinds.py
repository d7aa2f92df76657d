"""What a feature column can be: returns and volatility, side series, and every indicator. Any thread.

A kind says which parameters and outputs it has, how many bars must precede a value, and computes it. All are causal,
have finite memory and are free of the level of prices and volumes. A changed computation gets a new version, so that a
model trained with the old one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from core.errors import UserError
from core.indicators import indicators as ind
from core.indicators.catalogue import columns_needed, indicator_info, scale_free, warm_up
from core.indicators.parameters import ParameterInfo, complete_values
from core.indicators.rolling import rolling_zscore
from ml.arrays import FloatArray
from ml.feature_columns import FeatureColumn
from ml.feature_sources import Bars

Values = Mapping[str, float]
Outputs = dict[str, FloatArray]

VOLATILITY_FLOOR = 1e-8  # log return per bar; a market that stands still has no scale of its own
_INDICATOR_VERSION = 1
_ONLY = ""  # the name of the output of a computation that has but one
_HOUR_NS = 3_600 * 10**9


@dataclass(frozen=True, slots=True, eq=False)
class BarKind:
    """A column made of the bars of one market.

    Attributes:
        name / version: identity.
        outputs: names; a single empty one where there is no choice.
        parameters: with their defaults and limits.
        warm_up: bars that must precede a value.
        compute: one array of shape (n,) per output.
        calendar: whether only the time of the bars matters, so that other markets make no sense.
    """

    name: str
    version: int
    outputs: tuple[str, ...]
    parameters: tuple[ParameterInfo, ...]
    warm_up: Callable[[Values], int]
    compute: Callable[[Bars, Values], Outputs]
    calendar: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SeriesKind:
    """A column made of a side series, sampled at the close of each own bar; a missing sample is NaN.

    Attributes:
        name / version: identity.
        outputs / parameters: as in `BarKind`.
        compute: one array of shape (n,) per output, from samples of shape (n,).
    """

    name: str
    version: int
    outputs: tuple[str, ...]
    parameters: tuple[ParameterInfo, ...]
    compute: Callable[[FloatArray, Values], Outputs]


ColumnKind = BarKind | SeriesKind


@dataclass(frozen=True, slots=True, eq=False)
class BoundColumn:
    """A column whose kind, parameters and outputs have been looked up and found right.

    Attributes:
        column: as it was asked for.
        kind: what computes it.
        values: all parameters, defaults included.
        outputs: which outputs it asks for.
    """

    column: FeatureColumn
    kind: ColumnKind
    values: dict[str, float]
    outputs: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """One name per output: the column's text form, where there is but one output without it."""
        several = len(self.kind.outputs) > 1
        return tuple(str(replace(self.column, output=output if several else "")) for output in self.outputs)

    @property
    def warm_up(self) -> int:
        """Bars of its own market and length that must precede a value."""
        if isinstance(self.kind, BarKind):
            return self.kind.warm_up(self.values)
        window = int(self.values["window"])
        return max({"level": 0, "zscore": window - 1}.get(output, window) for output in self.outputs)

    @property
    def is_series(self) -> bool:
        """Whether it is made of a side series."""
        return isinstance(self.kind, SeriesKind)

    @property
    def is_own(self) -> bool:
        """Whether it is made of the model's own bars as they are."""
        return isinstance(self.kind, BarKind) and not self.column.symbol and not self.column.timeframe

    def max_age_ns(self, step_ns: int) -> int:
        """Return how old a sample of its series may be; one bar where no limit is set."""
        return round(self.values["max_age_hours"] * _HOUR_NS) or step_ns


def bind(column: FeatureColumn) -> BoundColumn:
    """Look a column up.

    Raises:
        UserError: there is no such column.
    """
    column.check_form()
    kind = kind_of(column.name)
    if (column.symbol or column.timeframe) and (isinstance(kind, SeriesKind) or kind.calendar):
        raise UserError(
            f"The feature {column.name!r} has neither a market nor a timeframe of its own.",
            f"Write {column.name} alone.",
        )
    return BoundColumn(column, kind, _complete_values(kind, column), _outputs_of(kind, column))


def kind_of(name: str) -> ColumnKind:
    """Return the kind of a column by its name; "onchain:fees" is of the kind "onchain".

    Raises:
        UserError: there is none of this name.
    """
    base, _, metric = name.partition(":")
    series = _SERIES_KINDS.get(base)
    if series is not None and (metric or base != ONCHAIN):
        return series
    if series is not None:
        raise UserError("On-chain columns name a metric.", "Example: onchain:active_addresses.")
    kind = None if metric else _BAR_KINDS.get(base) or _indicator_kind(base)
    if kind is None:
        raise UserError(f"The feature {name!r} is not known.", f"Known beside indicators: {', '.join(native_kinds())}.")
    return kind


def native_kinds() -> tuple[str, ...]:
    """Return the names of all kinds that are no indicators, sorted."""
    return tuple(sorted([*_BAR_KINDS, *_SERIES_KINDS]))


def _complete_values(kind: ColumnKind, column: FeatureColumn) -> dict[str, float]:
    """Return all parameters of a column, defaults included, whole numbers as such.

    Raises:
        UserError: an unknown parameter or one out of range.
    """
    values = complete_values(column.name, kind.parameters, column.values)
    return {info.name: int(values[info.name]) if info.whole else values[info.name] for info in kind.parameters}


def _outputs_of(kind: ColumnKind, column: FeatureColumn) -> tuple[str, ...]:
    """Return which outputs a column asks for.

    Raises:
        UserError: it has no such output.
    """
    if not column.output:
        return kind.outputs
    if column.output not in kind.outputs:
        raise UserError(
            f"{column.name} has no output {column.output!r}.",
            "Leave the output away." if kind.outputs == (_ONLY,) else f"It has: {', '.join(kind.outputs)}.",
        )
    return (column.output,)


@cache
def _indicator_kind(name: str) -> BarKind | None:
    """Return an indicator as a kind, None where the name is not in capitals as those of the catalogue are.

    Raises:
        UserError: the catalogue does not know it, or shows it on charts only.
    """
    if not name.isupper():
        return None
    info = indicator_info(name)
    if info.chart_only:
        raise UserError(f"{info.name} is for charts only.", "Choose another indicator.")
    needed = columns_needed(name)

    def compute(bars: Bars, values: Values) -> Outputs:
        return scale_free(info.name, {column: getattr(bars, column) for column in needed}, values)

    return BarKind(
        info.name,
        _INDICATOR_VERSION,
        info.outputs,
        info.parameters,
        lambda values: warm_up(info.name, values),
        compute,
        calendar=info.inputs == ("time_ns",),
    )


def _bars(name: str, default: int, low: int = 1) -> ParameterInfo:
    return ParameterInfo(name, default, low, 2_000, True)


def realised(bars: Bars, window: int) -> FloatArray:
    """Return realised volatility with its floor, log return per bar, shape (n,)."""
    return np.maximum(ind.realised_volatility(bars.close, window), VOLATILITY_FLOOR)


def _single(
    name: str,
    parameters: tuple[ParameterInfo, ...],
    warm_up_bars: Callable[[Values], int],
    compute: Callable[[Bars, Values], FloatArray],
) -> BarKind:
    return BarKind(name, 1, (_ONLY,), parameters, warm_up_bars, lambda bars, values: {_ONLY: compute(bars, values)})


def _scaled_return(bars: Bars, values: Values) -> FloatArray:
    horizon = int(values["horizon"])
    volatility = realised(bars, int(values["window"]))
    result: FloatArray = ind.log_returns(bars.close, horizon) / (volatility * np.sqrt(horizon))
    return result


_WINDOW = _bars("window", 48, 2)
_BAR_KINDS: dict[str, BarKind] = {
    kind.name: kind
    for kind in (
        _single(
            "log_return",
            (_bars("horizon", 1),),
            lambda v: int(v["horizon"]),
            lambda bars, v: ind.log_returns(bars.close, int(v["horizon"])),
        ),
        _single(
            "return",
            (_bars("horizon", 1), _WINDOW),
            lambda v: int(max(v["horizon"], v["window"])),
            _scaled_return,
        ),
        _single(
            "volatility",
            (_WINDOW,),
            lambda v: int(v["window"]),
            lambda bars, v: np.log(realised(bars, int(v["window"]))),
        ),
        _single(
            "volatility_ratio",
            (_bars("fast", 12, 2), _bars("slow", 48, 2)),
            lambda v: int(max(v["fast"], v["slow"])),
            lambda bars, v: np.log(realised(bars, int(v["fast"])) / realised(bars, int(v["slow"]))),
        ),
    )
}

ONCHAIN = "onchain"


def _change(samples: FloatArray, window: int) -> FloatArray:
    result = np.full(len(samples), np.nan)
    result[window:] = samples[window:] - samples[:-window]
    return result


def _of_rates(samples: FloatArray, values: Values) -> Outputs:
    window = int(values["window"])
    return {"level": samples, "diff": _change(samples, window), "zscore": rolling_zscore(samples, window)}


def _of_amounts(samples: FloatArray, values: Values) -> Outputs:
    window = int(values["window"])
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(samples)
    # An amount of zero or less has no relative change: such rows are not complete.
    logs = np.where(np.isfinite(logs), logs, np.nan)
    return {"change": _change(logs, window), "zscore": rolling_zscore(samples, window)}


def _series_kind(
    name: str, max_age_hours: float, outputs: tuple[str, ...], compute: Callable[[FloatArray, Values], Outputs]
) -> SeriesKind:
    age = ParameterInfo("max_age_hours", max_age_hours, 0, 24 * 366, False)
    return SeriesKind(name, 1, outputs, (_bars("window", 24, 1), age), compute)


_RATE_OUTPUTS, _AMOUNT_OUTPUTS = ("level", "diff", "zscore"), ("change", "zscore")
# Rates are free of scale as they are; amounts only in relation to themselves. Funding is settled every eight hours at
# most exchanges and on-chain metrics come by the day; what is measured all the time is stale after one bar.
_SERIES_KINDS: dict[str, SeriesKind] = {
    kind.name: kind
    for kind in (
        _series_kind("funding", 12.0, _RATE_OUTPUTS, _of_rates),
        _series_kind("spread", 0.0, _RATE_OUTPUTS, _of_rates),
        _series_kind("book_imbalance", 0.0, _RATE_OUTPUTS, _of_rates),
        _series_kind("flow_imbalance", 0.0, _RATE_OUTPUTS, _of_rates),
        _series_kind("open_interest", 0.0, _AMOUNT_OUTPUTS, _of_amounts),
        _series_kind("taker_buy_volume", 0.0, _AMOUNT_OUTPUTS, _of_amounts),
        _series_kind(ONCHAIN, 48.0, _AMOUNT_OUTPUTS, _of_amounts),
    )
}
