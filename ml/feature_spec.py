"""Which inputs a model sees: feature sets a person can choose, by name and version. Any thread; torch-free."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from core.domain.candles import Timeframe
from core.errors import UserError
from ml.checks import in_range
from ml.feature_columns import FeatureColumn, parse_column
from ml.jsonvalues import JsonValue, encode

if TYPE_CHECKING:
    from ml.column_kinds import BoundColumn

TREND_FAST, TREND_SLOW = 12, 26  # look-backs of the windowed MACD, bars
VOLATILITY = "volatility"  # the column that sets the unit of targets
CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class FeatureSetInfo:
    """One feature set a person can choose.

    Attributes:
        name / version: identity; a changed computation gets a new version.
        title / summary: for a person.
    """

    name: str
    version: int
    title: str
    summary: str


FEATURE_SETS: tuple[FeatureSetInfo, ...] = (
    FeatureSetInfo(
        "price",
        1,
        "Price only",
        "Log returns over several horizons in units of recent volatility, plus volatility itself.",
    ),
    FeatureSetInfo(
        "market",
        1,
        "Price, volume and time",
        "Price only, plus RSI, ATR and MACD in scale-free form, position in the recent range, volume z-score, "
        "and time of day and week.",
    ),
    FeatureSetInfo(
        "technical",
        1,
        "Technical indicators",
        "Price only, plus some twenty classic indicators in scale-free form, volatility estimators, the direction of "
        "volume, and time of day and week. They need a longer history after each missing bar.",
    ),
    FeatureSetInfo(
        CUSTOM,
        1,
        "Own choice",
        "Log return and volatility, plus the columns named in the configuration.",
    ),
)


def feature_sets() -> tuple[FeatureSetInfo, ...]:
    """Return the feature sets that say something without further columns."""
    return tuple(info for info in FEATURE_SETS if info.name != CUSTOM)


@dataclass(frozen=True, slots=True)
class FeatureSpec(JsonValue):
    """Which inputs the model sees.

    Attributes:
        name / version: one of `FEATURE_SETS`.
        horizons: look-backs of the return features, bars, ascending.
        window: look-back of volatility, range and volume features, bars.
        columns: further columns beside those of the set.
    """

    name: str = "market"
    version: int = 1
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16, 24)
    window: int = 48
    columns: tuple[FeatureColumn, ...] = ()

    def validate(self) -> None:
        """Raise `UserError` for an unknown set or column, or useless look-backs."""
        known = {(info.name, info.version) for info in FEATURE_SETS}
        if (self.name, self.version) not in known:
            names = ", ".join(f"{name} (version {version})" for name, version in sorted(known))
            raise UserError(f"The feature set {self.name!r} version {self.version} is not known.", f"Use {names}.")
        ascending = all(a < b for a, b in itertools.pairwise(self.horizons))
        if not self.horizons or self.horizons[0] < 1 or self.horizons[-1] > 2_000 or not ascending:
            raise UserError(
                "The return horizons must be ascending whole numbers between 1 and 2,000 bars.",
                "Example: 1, 2, 4, 8, 16, 24.",
            )
        in_range(self.window, 8, 2_000, "feature window", "bars")
        names_seen: set[str] = set()
        for name in column_names(self):
            if name in names_seen:
                raise UserError(f"The feature column {name!r} is there twice.", "Name each column once.")
            names_seen.add(name)


def base_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Return the names of a set's own columns, without those that are written as feature columns."""
    returns = () if spec.name == CUSTOM else tuple(f"return_{horizon}" for horizon in spec.horizons)
    names = ("log_return", *returns, VOLATILITY)
    if spec.name != CUSTOM:
        names += ("volatility_ratio",)
    if spec.name == "market":
        names += ("rsi", "atr", "macd", "range_position", "body", "volume_z")
        names += ("day_sin", "day_cos", "week_sin", "week_cos")
    return names


def bound_columns(spec: FeatureSpec) -> tuple[BoundColumn, ...]:
    """Return the set's and the specification's feature columns, looked up.

    Raises:
        UserError: there is no such column.
    """
    columns = (*(_technical_columns() if spec.name == "technical" else ()), *spec.columns)
    if not columns:
        return ()
    from ml.column_kinds import bind  # numpy and TA-Lib, which the window shows itself without

    return tuple(bind(column) for column in columns)


def column_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Return one name per input of the network.

    Raises:
        UserError: there is no such column.
    """
    return (*base_names(spec), *(name for bound in bound_columns(spec) for name in bound.names))


def warm_up_bars(features: FeatureSpec, timeframe: Timeframe | None = None) -> int:
    """Return how many closed bars of the own market must precede a bar before its feature row is complete.

    Bars of a longer timeframe count as the own bars they are made of, wherever in such a bar the history begins.

    Args:
        features: the specification.
        timeframe: the length of own bars; needed where a column has a longer one.

    Raises:
        UserError: there is no such column, or its timeframe is not a multiple of the own one.
    """
    return max([base_warm_up(features), *(own_bars(bound, timeframe) for bound in bound_columns(features))])


def base_warm_up(features: FeatureSpec) -> int:
    """Return how many bars must precede those columns of a set that are not written as feature columns."""
    if features.name == CUSTOM:
        return features.window
    return max(features.window, features.horizons[-1], TREND_SLOW if features.name == "market" else 0)


def bars_per_longer(own: Timeframe, longer: Timeframe) -> int:
    """Return how many own bars make one of a longer timeframe.

    Raises:
        UserError: they do not fill it evenly.
    """
    count, rest = divmod(longer.ns, own.ns)
    if rest or count < 2:
        raise UserError(
            f"Bars of {longer.value} cannot be made of bars of {own.value}.",
            "Choose a longer timeframe that is a multiple of the model's own.",
        )
    return count


def own_bars(bound: BoundColumn, timeframe: Timeframe | None) -> int:
    """Return how many bars of the own market must precede a value of a column.

    Raises:
        UserError: its timeframe is not a multiple of the own one.
    """
    column = bound.column
    per_bar = 1
    if column.timeframe:
        if timeframe is None:
            raise ValueError(f"{column} needs to know the length of own bars")
        per_bar = bars_per_longer(timeframe, Timeframe(column.timeframe))
    if column.symbol:
        return 0  # that market's bars must precede, not the own ones
    # In the worst case all but one bar of the longer bar that is under way have passed.
    return (bound.warm_up + 1) * per_bar + per_bar - 2 if column.timeframe else bound.warm_up


def needed_markets(features: FeatureSpec) -> tuple[str, ...]:
    """Return which other markets the columns look at, sorted."""
    return tuple(sorted({bound.column.symbol for bound in bound_columns(features)} - {""}))


def needed_series(features: FeatureSpec) -> tuple[str, ...]:
    """Return which side series the columns look at, sorted."""
    return tuple(sorted({bound.column.name for bound in bound_columns(features) if bound.is_series}))


def with_parsed_columns(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a configuration's features section with columns given as text turned into objects.

    Raises:
        UserError: a text is no feature column.
    """
    columns = entries.get("columns")
    if not isinstance(columns, list | tuple):
        return dict(entries)
    parsed = [encode(parse_column(column)) if isinstance(column, str) else column for column in columns]
    return {**entries, "columns": parsed}


@cache
def _technical_columns() -> tuple[FeatureColumn, ...]:
    # Smoothing that never ends is used with short periods: after each missing bar it must run in anew.
    texts = (
        "EMA(timeperiod=8)",
        "EMA(timeperiod=12)",
        "EMA(timeperiod=26)",
        "RSI(timeperiod=14)",
        "ATR(timeperiod=14)",
        "MACD(fastperiod=8,slowperiod=17,signalperiod=9).macdhist",
        "BBANDS(timeperiod=20).upperband",
        "BBANDS(timeperiod=20).lowerband",
        "ADX(timeperiod=7)",
        "CCI(timeperiod=14)",
        "MFI(timeperiod=14)",
        "STOCH(fastk_period=14)",
        "PARKINSON(timeperiod=20)",
        "GARMAN_KLASS(timeperiod=20)",
        "RANGE_POSITION(timeperiod=20)",
        "BODY",
        "VOLUME_Z(timeperiod=20)",
        "VOLUME_IMBALANCE(timeperiod=20)",
        "TIME_OF_DAY",
        "TIME_OF_WEEK",
    )
    return tuple(parse_column(text) for text in texts)
