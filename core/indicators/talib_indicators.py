"""TA-Lib's indicators by name. Pure functions of float64 arrays, any thread.

The Python wrapper imports pandas when it finds it, which would cost the window a third of a second and 40 MB: it is
hidden while the wrapper is imported. Many of these indicators smooth for ever (RSI, EMA, ATR): their values depend on
where the history starts.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from core.errors import UserError
from core.indicators.rolling import FloatArray

_HIDDEN = ("pandas", "polars")
_import_lock = threading.Lock()


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Make `import NAME` fail inside the block for modules that are not imported yet."""
    absent = [name for name in names if name not in sys.modules]
    modules: dict[str, Any] = sys.modules  # None is the documented way to block an import
    for name in absent:
        modules[name] = None
    try:
        yield
    finally:
        for name in absent:
            del modules[name]


@cache
def _talib() -> Any:
    """Import once: while modules are hidden, another thread could not import them either."""
    with _import_lock, _hidden(_HIDDEN):
        return importlib.import_module("talib.abstract")


@cache
def _functions() -> Any:
    return importlib.import_module(_talib().__package__)


def available_indicators() -> tuple[str, ...]:
    """Return the names TA-Lib knows, sorted."""
    return tuple(sorted(_functions().get_functions()))


def talib_indicator(
    name: str, columns: Mapping[str, FloatArray], parameters: Mapping[str, int | float] | None = None
) -> dict[str, FloatArray]:
    """Compute one indicator.

    Args:
        name: as TA-Lib spells it, for example "RSI"; case does not matter.
        columns: "open", "high", "low", "close", "volume", float64, equal shapes (n,); only those it needs.
        parameters: for example {"timeperiod": 14}.

    Returns:
        One float64 array of shape (n,) per output, by TA-Lib's output name; NaN before the first value.

    Raises:
        UserError: unknown indicator or parameter, or a missing column.
    """
    if name.upper() not in available_indicators():
        raise UserError(f"The indicator {name!r} is not known.", "Use a name of TA-Lib such as RSI, ATR or MACD.")
    function = _talib().Function(name.upper())
    unknown = set(parameters or {}) - set(function.parameters)
    if unknown:
        known = ", ".join(function.parameters) or "none"
        raise UserError(f"{name.upper()} has no parameter {sorted(unknown)[0]!r}.", f"It knows: {known}.")
    needed = [column for value in function.input_names.values() for column in _as_names(value)]
    missing = [column for column in needed if column not in columns]
    if missing:
        raise UserError(f"{name.upper()} needs the column {missing[0]!r}.", f"Give it {', '.join(needed)}.")
    inputs = {column: np.ascontiguousarray(columns[column], np.float64) for column in needed}
    try:
        outputs = function(inputs, **dict(parameters or {}))
    except Exception as exc:
        # The wrapper raises a bare Exception for parameters that are out of range.
        if "TA_BAD_PARAM" not in str(exc):
            raise
        raise UserError(f"{name.upper()} does not accept these parameters.", "Try its defaults.") from exc
    names = list(function.output_names)
    arrays = [outputs] if len(names) == 1 else list(outputs)
    return {label: np.asarray(array, np.float64) for label, array in zip(names, arrays, strict=True)}


@dataclass(frozen=True, slots=True)
class TalibFunction:
    """What TA-Lib says about one of its functions.

    Attributes:
        name: as TA-Lib spells it.
        title: its name in words.
        group: the family it belongs to.
        inputs: the columns it reads, in the order its C function takes them.
        outputs: the names of its results.
        defaults: its parameters, whole numbers as int.
    """

    name: str
    title: str
    group: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    defaults: tuple[tuple[str, int | float], ...]


@cache
def talib_functions() -> tuple[TalibFunction, ...]:
    """Return TA-Lib's functions, sorted by name."""
    result = []
    for name in available_indicators():
        function = _talib().Function(name)
        about = function.info
        inputs = tuple(column for value in function.input_names.values() for column in _as_names(value))
        outputs, defaults = tuple(function.output_names), tuple(dict(function.parameters).items())
        result.append(TalibFunction(name, about["display_name"], about["group"], inputs, outputs, defaults))
    return tuple(result)


@lru_cache(maxsize=4096)
def talib_lookback(name: str, parameters: tuple[tuple[str, int | float], ...]) -> int:
    """Return how many rows TA-Lib leaves without a value."""
    function = _talib().Function(name)
    function.set_parameters(dict(parameters))
    return int(function.lookback)


def talib_call(
    function: TalibFunction, columns: Mapping[str, FloatArray], parameters: Mapping[str, int | float]
) -> list[FloatArray]:
    """Call TA-Lib's C function itself, which costs a tenth of the call by description; the request is known good."""
    inputs = [np.ascontiguousarray(columns[column], np.float64) for column in function.inputs]
    outputs = getattr(_functions(), function.name)(*inputs, **parameters)
    arrays = list(outputs) if isinstance(outputs, tuple) else [outputs]
    return [np.asarray(array, np.float64) for array in arrays]


def _as_names(value: str | list[str] | tuple[str, ...]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
