"""Which inputs a model sees: feature sets a person can choose, by name and version. Any thread; torch-free."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from core.errors import UserError
from ml.checks import in_range
from ml.jsonvalues import JsonValue

TREND_FAST, TREND_SLOW = 12, 26  # look-backs of the windowed MACD, bars


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
)


def feature_sets() -> tuple[FeatureSetInfo, ...]:
    """Return the feature sets a run can use."""
    return FEATURE_SETS


@dataclass(frozen=True, slots=True)
class FeatureSpec(JsonValue):
    """Which inputs the model sees.

    Attributes:
        name / version: one of `FEATURE_SETS`.
        horizons: look-backs of the return features, bars, ascending.
        window: look-back of volatility, range and volume features, bars.
    """

    name: str = "market"
    version: int = 1
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16, 24)
    window: int = 48

    def validate(self) -> None:
        """Raise `UserError` for an unknown set or useless look-backs."""
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


def warm_up_bars(features: FeatureSpec) -> int:
    """Return how many closed bars must precede a bar before its feature row is complete."""
    longest = TREND_SLOW if features.name == "market" else 0
    return max(features.window, features.horizons[-1], longest)
