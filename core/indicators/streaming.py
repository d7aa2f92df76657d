"""One indicator bar by bar, equal to the batch. Owned by one thread; no locks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.errors import UserError
from core.indicators.catalogue import columns_needed, evaluate, feature_request


class StreamingIndicator:
    """Computes the newest value of one indicator from a buffer of as many bars as it remembers."""

    def __init__(self, name: str, parameters: Mapping[str, float] | None = None, *, raw: bool = False) -> None:
        """Start with an empty buffer.

        Args:
            name: of an indicator that is no `chart_only` one.
            parameters: those that differ from the defaults.
            raw: give the values of `compute` instead of those of `scale_free`.

        Raises:
            UserError: unknown name or parameter, or an indicator that is no feature.
        """
        self._definition, self._values, self._warm_up = feature_request(name, parameters or {})
        self._raw = raw
        self._size = self._warm_up + 1
        # Twice the room that is needed, so that the bars move to the front once in a buffer's length.
        self._columns: dict[str, Any] = {
            column: np.empty(2 * self._size, np.int64 if column == "time_ns" else np.float64)
            for column in columns_needed(name)
        }
        self._end = 0

    @property
    def warm_up(self) -> int:
        """Bars that must precede a bar before it has a value."""
        return self._warm_up

    def push(self, bar: Mapping[str, float]) -> dict[str, float] | None:
        """Take in the next closed bar and return the outputs at it, None while the buffer warms up.

        Args:
            bar: the columns the indicator needs, by name.

        Raises:
            UserError: a column is missing; the bar is not taken in.
        """
        missing = [column for column in self._columns if column not in bar]
        if missing:
            raise UserError(f"{self._definition.info.name} needs the column {missing[0]!r}.")
        if self._end == 2 * self._size:
            for values in self._columns.values():
                values[: self._warm_up] = values[self._size + 1 :]
            self._end = self._warm_up
        for column, values in self._columns.items():
            values[self._end] = bar[column]
        self._end += 1
        if self._end < self._size:
            return None
        rows = {column: values[self._end - self._size : self._end] for column, values in self._columns.items()}
        outputs = evaluate(self._definition, rows, self._values, raw=self._raw)
        return {label: float(values[-1]) for label, values in outputs.items()}
