"""Indicators by name: what they take, how much history they need, their values raw and scale-free. Any thread.

TA-Lib's functions under its names, and our own. A value at t uses bars up to and including t. The first `warm_up` rows
are NaN, the others finite and (to 1e-9 of their scale) independent of where the history starts: the batch works in
blocks that reach back `warm_up` bars, a stream keeps as many, and both give the same numbers. Columns must be finite,
prices positive.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from core.errors import UserError
from core.indicators import talib_rules as rules
from core.indicators.description import (
    Columns,
    Definition,
    IndicatorInfo,
    Outputs,
    Scale,
    Values,
)
from core.indicators.own_rules import own_definitions
from core.indicators.parameters import complete_values
from core.indicators.rolling import FloatArray, on_grid, rolling_sum
from core.indicators.scales import VOLUME_WINDOW, columns_of_scale, scaled
from core.indicators.talib_indicators import TalibFunction, talib_call, talib_functions, talib_lookback

__all__ = [
    "IndicatorInfo",
    "Scale",
    "catalogue",
    "columns_needed",
    "compute",
    "indicator_info",
    "output_scales",
    "scale_free",
    "warm_up",
]

# Rows computed at once: small enough for the processor's cache, and for running sums to stay exact.
_BLOCK = 16_384


def _talib_definition(function: TalibFunction) -> Definition:
    name = function.name
    parameters = tuple(rules.parameter_info(name, each, default) for each, default in function.defaults)
    reason = rules.CHART_ONLY.get(name, "")
    scale = rules.SCALES.get(name)
    if function.group == rules.PATTERNS:
        scale = Scale.PERCENT
    if not reason and scale is None:
        reason = "its scale and its memory are not known"
    info = IndicatorInfo(name, function.title, function.group, function.inputs, function.outputs, parameters, reason)
    scales = (scale or Scale.UNIT,) * len(function.outputs)
    if name in rules.OWN:
        memory, own = rules.OWN[name]
        return Definition(info, scales, memory, own)
    return Definition(info, scales, _talib_memory(info), _talib_compute(function, info))


def _talib_memory(info: IndicatorInfo) -> Callable[[Values], int]:
    settle = rules.SETTLING.get(info.name)

    def memory(values: Values) -> int:
        lookback = talib_lookback(info.name, tuple(rules.talib_values(info.parameters, values).items()))
        return lookback + (settle(values) if settle is not None else 0)

    return memory


def _talib_compute(function: TalibFunction, info: IndicatorInfo) -> Callable[[Columns, Values], Outputs]:
    bits = rules.PATTERN_BITS if function.group == rules.PATTERNS else rules.GRID_BITS.get(function.name, 0)
    power = rules.PRICE_POWERS.get(rules.SCALES.get(info.name, Scale.UNIT), 0)

    def compute_rows(columns: Columns, values: Values) -> Outputs:
        # TA-Lib takes differences below 1e-14 for zero, which are prices of some coins in bitcoin: prices are moved to
        # thousands by a power of two, which rounds nothing, and the results are moved back.
        unit = 2.0 ** (10 - math.frexp(float(columns[function.inputs[0]][0]))[1])
        rows = {column: columns[column] * unit for column in set(function.inputs)}
        if bits:
            rows = {column: on_grid(prices, bits) for column, prices in rows.items()}
        arrays = talib_call(function, rows, rules.talib_values(info.parameters, values))
        outputs = {label: array / unit**power for label, array in zip(function.outputs, arrays, strict=True)}
        if function.name in rules.MEASURED:
            _mask_still(function.name, columns["close"], outputs)
        return outputs

    return compute_rows


def _mask_still(name: str, close: FloatArray, outputs: Outputs) -> None:
    """Put a neutral value where the price moved too rarely for the cycle functions to forget their start."""
    moved = np.concatenate(([0.0], (np.diff(close) != 0).astype(np.float64)))
    rare = rolling_sum(moved, rules.CYCLE_MEMORY) < rules.CYCLE_MOVES
    neutral = close if rules.SCALES[name] is Scale.PRICE else rules.CYCLE_NEUTRAL.get(name, 0.0)
    for label, values in outputs.items():
        outputs[label] = np.where(rare, neutral, values)


@cache
def _definitions() -> dict[str, Definition]:
    every = (*(_talib_definition(function) for function in talib_functions()), *own_definitions())
    return {definition.info.name: definition for definition in sorted(every, key=lambda each: each.info.name)}


def catalogue() -> tuple[IndicatorInfo, ...]:
    """Return every known indicator, sorted by name."""
    return tuple(definition.info for definition in _definitions().values())


def indicator_info(name: str) -> IndicatorInfo:
    """Return the description of one indicator; case does not matter.

    Raises:
        UserError: there is none of this name.
    """
    return _definition(name).info


def _definition(name: str) -> Definition:
    known = _definitions()
    definition = known.get(name.upper())
    if definition is None:
        near = difflib.get_close_matches(name.upper(), known, 1, 0.5)
        remedy = f"Did you mean {near[0]}?" if near else "The catalogue of indicators lists the names."
        raise UserError(f"The indicator {name!r} is not known.", remedy)
    return definition


def _feature(name: str) -> Definition:
    definition = _definition(name)
    if definition.info.chart_only:
        raise UserError(f"{definition.info.name} cannot be a feature: {definition.info.chart_only}.")
    return definition


def output_scales(name: str) -> dict[str, Scale]:
    """Return what each output of an indicator is measured in."""
    definition = _definition(name)
    return dict(zip(definition.info.outputs, definition.scales, strict=True))


def warm_up(name: str, parameters: Mapping[str, float]) -> int:
    """Return how many bars must precede a bar before its value can be trusted.

    Raises:
        UserError: unknown name or parameter, or an indicator that is no feature.
    """
    return feature_request(name, parameters)[2]


def _memory(definition: Definition, values: Values) -> int:
    memory = definition.memory(values)
    by_volume = any("volume" in columns_of_scale(scale) for scale in definition.scales)
    return max(memory, VOLUME_WINDOW - 1) if by_volume else memory


def columns_needed(name: str) -> tuple[str, ...]:
    """Return the columns an indicator reads, those its scale-free form divides by included."""
    definition = _feature(name)
    extra = (column for scale in definition.scales for column in columns_of_scale(scale))
    return tuple(dict.fromkeys((*definition.info.inputs, *extra)))


def compute(name: str, columns: Columns, parameters: Mapping[str, float]) -> Outputs:
    """Return an indicator's raw outputs, float64 arrays of shape (n,), NaN in exactly the first `warm_up` rows.

    Args:
        name: of an indicator that is no `chart_only` one.
        columns: time_ns, open, high, low, close, volume of equal shapes (n,); only those it needs.
        parameters: those that differ from the defaults.

    Raises:
        UserError: unknown name, parameter or column, or an indicator that is no feature.
    """
    return _in_blocks(name, columns, parameters, raw=True)


def scale_free(name: str, columns: Columns, parameters: Mapping[str, float]) -> Outputs:
    """Return an indicator in scale-free form (see `Scale`); otherwise as `compute`."""
    return _in_blocks(name, columns, parameters, raw=False)


def _in_blocks(name: str, columns: Columns, parameters: Mapping[str, float], *, raw: bool) -> Outputs:
    definition, values, memory = feature_request(name, parameters)
    info = definition.info
    needed = info.inputs if raw else columns_needed(name)
    missing = [column for column in needed if column not in columns]
    if missing:
        raise UserError(f"{info.name} needs the column {missing[0]!r}.", f"Give it {', '.join(needed)}.")
    size = len(columns[needed[0]])
    results = {label: np.full(size, np.nan) for label in info.outputs}
    block = max(_BLOCK, 4 * memory)
    for start in range(memory, size, block):
        end = min(start + block, size)
        rows = {column: columns[column][start - memory : end] for column in needed}
        for label, output in evaluate(definition, rows, values, raw=raw).items():
            results[label][start:end] = output[memory:]
    return results


def evaluate(definition: Definition, rows: Columns, values: Values, *, raw: bool) -> Outputs:
    """Return the outputs of a stretch of rows, of which the first `warm_up` are of no use."""
    outputs = definition.compute(rows, values)
    if raw:
        return outputs
    return {
        label: scaled(outputs[label], scale, rows, values)
        for label, scale in zip(definition.info.outputs, definition.scales, strict=True)
    }


def feature_request(name: str, parameters: Mapping[str, float]) -> tuple[Definition, Values, int]:
    """Return definition, complete parameters and warm-up of an indicator that can be a feature.

    Raises:
        UserError: unknown name or parameter, or an indicator that is no feature.
    """
    definition = _feature(name)
    values = complete_values(definition.info.name, definition.info.parameters, parameters)
    return definition, values, _memory(definition, values)
