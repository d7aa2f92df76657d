from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from core.indicators.catalogue import catalogue, indicator_info, scale_free, warm_up

RNG = np.random.default_rng(0)
CLOSE = 100 * np.exp(np.cumsum(RNG.normal(0, 0.01, 2000)))
COLUMNS = {"open": CLOSE, "high": CLOSE * 1.01, "low": CLOSE * 0.99, "close": CLOSE, "volume": np.ones(2000)}


@pytest.mark.parametrize("name", ["EMA", "RSI", "ATR", "MACD", "BBANDS"])
def test_warm_up_is_nan_and_what_follows_is_small(name: str) -> None:
    start = warm_up(name, {})
    for values in scale_free(name, COLUMNS, {}).values():
        assert np.isnan(values[:start]).all()
        assert np.isfinite(values[start:]).all()
        assert np.abs(values[start:]).max() < 1


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(UserError, match="Did you mean MACD"):
        indicator_info("MACDD")
    assert indicator_info("rsi") in catalogue()
