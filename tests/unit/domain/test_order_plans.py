"""ExitRules of order plans: what makes one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.domain.order_plans import ExitRules

D = Decimal


def test_an_exit_without_any_price_is_none() -> None:
    with pytest.raises(ValueError, match="needs a stop, a trailing distance or a target"):
        ExitRules()


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity"])
@pytest.mark.parametrize("field", ["stop_price", "target_price", "trail"])
def test_prices_of_an_exit_are_positive_numbers(field: str, price: str) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ExitRules(**{field: D(price)})
