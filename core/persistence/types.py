"""Column types. Any thread."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from core.domain.money import parse_decimal


class DecimalText(TypeDecorator[Decimal]):
    """A decimal kept as text: SQLite's own numbers are binary floats and would change it."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        """Write the number with every digit it has.

        Raises:
            TypeError: `value` is no Decimal; a float here would smuggle a rounding error into the books.
        """
        if value is None:
            return None
        if not isinstance(value, Decimal):
            raise TypeError(f"expected Decimal, got {type(value).__name__}")
        return format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Read back exactly what was written."""
        return None if value is None else parse_decimal(value)
