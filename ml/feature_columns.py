"""One input column by name, parameters and market, as a value and as a short text. Pure values, any thread.

The text is what a person writes into a configuration file: `RSI(timeperiod=14)`, `return(horizon=24)@4h`,
`log_return@ETH/USDT`, `BBANDS(timeperiod=20).upperband@1d`. What the names mean stands in `ml.column_kinds`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from core.domain.candles import Timeframe
from core.errors import UserError
from ml.jsonvalues import JsonValue

_IDENTIFIER = "[A-Za-z][A-Za-z0-9_]*"
_NAME = re.compile(f"{_IDENTIFIER}(:[A-Za-z0-9_-]+)?")
_SYMBOL = re.compile(r"[^\s@/]+/[^\s@/]+")
_COLUMN = re.compile(
    rf"(?P<name>{_NAME.pattern})(\((?P<parameters>[^()]*)\))?(\.(?P<output>{_IDENTIFIER}))?(?P<sources>(@[^@\s]+)*)"
)


@dataclass(frozen=True, slots=True)
class Parameter(JsonValue):
    """One named number of a column."""

    name: str
    value: float

    def __str__(self) -> str:
        whole = self.value.is_integer() and abs(self.value) < 1e15
        return f"{self.name}={int(self.value) if whole else repr(self.value)}"


@dataclass(frozen=True, slots=True)
class FeatureColumn(JsonValue):
    """One kind of input, possibly of another market or a longer timeframe.

    Attributes:
        name: an indicator ("RSI"), a computation ("return") or a side series ("funding", "onchain:active_addresses").
        parameters: what differs from the defaults.
        output: one of several outputs; empty for all.
        symbol: another market, for example "ETH/USDT"; empty for the model's own.
        timeframe: a longer bar length such as "4h"; empty for the model's own.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    output: str = ""
    symbol: str = ""
    timeframe: str = ""

    def __str__(self) -> str:
        inside = ", ".join(str(parameter) for parameter in self.parameters)
        return (
            self.name
            + (f"({inside})" if inside else "")
            + (f".{self.output}" if self.output else "")
            + (f"@{self.symbol}" if self.symbol else "")
            + (f"@{self.timeframe}" if self.timeframe else "")
        )

    @property
    def values(self) -> dict[str, float]:
        """Its parameters by name."""
        return {parameter.name: parameter.value for parameter in self.parameters}

    def check_form(self) -> None:
        """Raise `UserError` where the text form would not mean this column."""
        if parse_column(str(self)) != self:
            raise UserError(f"{str(self)!r} is no feature column.", _EXAMPLE)


_EXAMPLE = "Write it like RSI(timeperiod=14), return(horizon=24)@4h or log_return@ETH/USDT."


def parse_column(text: str) -> FeatureColumn:
    """Read the text form of a column.

    Raises:
        UserError: the text is none.
    """
    match = _COLUMN.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text!r} is no feature column.", _EXAMPLE)
    symbol = timeframe = ""
    for source in match["sources"].split("@")[1:]:
        if source in tuple(Timeframe) and not timeframe:
            timeframe = source
        elif _SYMBOL.fullmatch(source) and not symbol:
            symbol = source
        else:
            raise UserError(f"{source!r} in {text!r} is neither a market nor a timeframe.", _EXAMPLE)
    return FeatureColumn(
        name=match["name"],
        parameters=_parse_parameters(match["parameters"] or "", text),
        output=match["output"] or "",
        symbol=symbol,
        timeframe=timeframe,
    )


def _parse_parameters(inside: str, text: str) -> tuple[Parameter, ...]:
    found: dict[str, float] = {}
    for entry in filter(None, (part.strip() for part in inside.split(","))):
        name, _, number = (part.strip() for part in entry.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not re.fullmatch(_IDENTIFIER, name) or not math.isfinite(value) or name in found:
            raise UserError(f"{entry!r} in {text!r} is no parameter.", _EXAMPLE)
        found[name] = value
    return tuple(Parameter(name, value) for name, value in found.items())
