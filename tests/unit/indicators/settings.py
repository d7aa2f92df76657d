"""Parameters with which every indicator is tested."""

from __future__ import annotations

from core.indicators.catalogue import IndicatorInfo

SETTINGS = ("default", "lowest", "other")


def setting(info: IndicatorInfo, which: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for index, parameter in enumerate(info.parameters):
        if which == "lowest":
            values[parameter.name] = (index + 3) % len(parameter.choices) if parameter.choices else parameter.low
        elif which == "other" and parameter.choices:
            values[parameter.name] = parameter.high
        elif which == "other" and parameter.whole:
            values[parameter.name] = parameter.default + 7
        elif which == "other":
            values[parameter.name] = 0.7 * parameter.default + 0.3 * min(parameter.high, 10 * parameter.default + 1)
    return values
