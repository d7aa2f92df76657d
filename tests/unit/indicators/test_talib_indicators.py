from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from core.errors import UserError
from core.indicators.talib_indicators import available_indicators, talib_indicator

CLOSE = 100 + np.cumsum(np.random.default_rng(0).normal(size=200))


def test_an_indicator_by_name_with_parameters() -> None:
    result = talib_indicator("sma", {"close": CLOSE}, {"timeperiod": 10})["real"]
    assert np.isnan(result[:9]).all()
    assert result[-1] == pytest.approx(CLOSE[-10:].mean())


def test_an_indicator_with_several_outputs() -> None:
    result = talib_indicator("MACD", {"close": CLOSE})
    assert list(result) == ["macd", "macdsignal", "macdhist"]
    np.testing.assert_allclose(result["macdhist"][50:], (result["macd"] - result["macdsignal"])[50:])


def test_the_list_holds_the_usual_names() -> None:
    assert {"RSI", "ATR", "MACD", "BBANDS"} <= set(available_indicators())


@pytest.mark.parametrize(
    ("name", "columns", "parameters", "sentence"),
    [
        ("NOPE", {"close": CLOSE}, {}, "not known"),
        ("RSI", {"close": CLOSE}, {"period": 3}, "no parameter 'period'"),
        ("RSI", {"close": CLOSE}, {"timeperiod": -3}, "does not accept"),
        ("ATR", {"close": CLOSE}, {}, "needs the column 'high'"),
    ],
)
def test_bad_requests_are_one_sentence(
    name: str, columns: dict[str, np.ndarray], parameters: dict[str, int], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        talib_indicator(name, columns, parameters)


def test_pandas_stays_out_and_remains_importable() -> None:
    code = """
import sys
import numpy as np
from core.indicators.talib_indicators import talib_indicator
talib_indicator("RSI", {"close": np.arange(1.0, 50.0)})
assert "pandas" not in sys.modules and "polars" not in sys.modules, "the wrapper pulled pandas in"
import importlib.util
assert importlib.util.find_spec("pandas") is not None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
