"""Frozen dataclasses to JSON and back, strictly typed. Pure functions, any thread.

Only what JSON knows plus tuples, optional values and nested dataclasses is supported: enough for specifications and
results, and small enough that a wrong file is refused with one sentence instead of half understood.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from core.errors import UserError

Json = dict[str, Any]
_LONGEST_SHOWN = 60
T = TypeVar("T")


class JsonValue:
    """Mixin for frozen dataclasses that travel as JSON."""

    __slots__ = ()

    def to_json(self) -> Json:
        """Return plain JSON types.

        Raises:
            ValueError: a number is not finite: where there may be none, None says so.
        """
        encoded: Json = encode(self)
        return encoded

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Build from parsed JSON; missing keys take their defaults.

        Raises:
            UserError: an unknown or missing key, or a value of the wrong type.
        """
        return decode(cls, data)


def encode(value: Any) -> Any:
    """Turn a dataclass, tuple or scalar into JSON types.

    Raises:
        ValueError: a float that is not finite (JSON has none).
        TypeError: a type JSON does not know.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no JSON form")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def decode(cls: type[T], data: Any, path: str = "") -> T:
    """Build the dataclass `cls` from parsed JSON.

    Raises:
        UserError: the data does not fit; the sentence names the place.
    """
    if not isinstance(data, Mapping):
        raise _misfit(path or cls.__name__, "an object", data)
    assert dataclasses.is_dataclass(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = [key for key in data if key not in fields]
    if unknown:
        raise UserError(
            f"The entry {_join(path, str(unknown[0]))} is not known.", f"Known entries: {', '.join(fields)}."
        )
    hints = typing.get_type_hints(cls)
    values: Json = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _decode_value(hints[name], data[name], _join(path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"The entry {_join(path, name)} is missing.", "")
    return cls(**values)


def _decode_value(hint: Any, value: Any, path: str) -> Any:
    if isinstance(hint, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        (inner,) = [option for option in options if option is not type(None)]
        return _decode_value(inner, value, path)
    if typing.get_origin(hint) is tuple:
        item_hint = typing.get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            raise _misfit(path, "a list", value)
        return tuple(_decode_value(item_hint, item, f"{path}[{index}]") for index, item in enumerate(value))
    if dataclasses.is_dataclass(hint):
        return decode(typing.cast("type[Any]", hint), value, path)
    return _decode_scalar(hint, value, path)


def _decode_scalar(hint: type, value: Any, path: str) -> Any:
    # bool is an int in Python, but not in JSON.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_number = is_number and abs(value) <= sys.float_info.max  # a whole number may be larger than any other
    if hint is float and is_number:
        return float(value)
    if hint is int and is_number and value == int(value):
        return int(value)
    if hint in (str, bool) and isinstance(value, hint):
        return value
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    raise _misfit(path, names[hint], value)


def _misfit(path: str, wanted: str, value: Any) -> UserError:
    return UserError(f"The entry {path} must be {wanted}, not {_shown(value)}.", "")


def _shown(value: Any) -> str:
    """Return a value as it was written, as far as it fits into a sentence."""
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits has no text
        text = "one that long"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
