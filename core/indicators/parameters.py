"""What numbers an indicator or a column takes, and what is wrong with those it was given. Pure values, any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import UserError


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """One parameter of an indicator.

    Attributes:
        name: as it is spelled in requests.
        default: the value where none is given.
        low: the smallest allowed value.
        high: the largest allowed value.
        whole: True where only whole numbers make sense.
        choices: names of the values 0, 1, 2 …; empty for a plain number.
    """

    name: str
    default: float
    low: float
    high: float
    whole: bool
    choices: tuple[str, ...] = ()

    def allows(self, value: float) -> bool:
        """Return whether it can have this value."""
        return self.low <= value <= self.high and (not self.whole or float(value).is_integer())


def complete_values(owner: str, parameters: tuple[ParameterInfo, ...], given: Mapping[str, float]) -> dict[str, float]:
    """Return all parameters of an indicator or a column, defaults included.

    Args:
        owner: its name, for messages.
        parameters: what it takes.
        given: those that differ from the defaults.

    Raises:
        UserError: an unknown parameter or one out of range.
    """
    known = {info.name: info for info in parameters}
    for name, value in given.items():
        info = known.get(name)
        if info is None:
            raise UserError(f"{owner} has no parameter {name!r}.", f"It knows: {', '.join(known) or 'none'}.")
        if not info.allows(value):
            raise UserError(
                f"{owner}: {name} cannot be {value:g}.",
                f"Choose a whole number from {info.low:g} to {info.high:g}."
                if info.whole
                else f"Choose a number from {info.low:g} to {info.high:g}.",
            )
    return {name: float(given.get(name, info.default)) for name, info in known.items()}
