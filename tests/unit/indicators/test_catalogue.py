from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.data.importer import import_candles
from core.errors import UserError
from core.indicators.catalogue import (
    Scale,
    catalogue,
    columns_needed,
    compute,
    indicator_info,
    output_scales,
    scale_free,
    warm_up,
)
from core.indicators.talib_indicators import available_indicators, talib_indicator
from core.indicators.talib_rules import CHART_ONLY, MEASURED, OWN, PATTERNS, SCALES, SETTLING, talib_values
from tests.unit.indicators.markets import Columns, dear, smooth, spiky
from tests.unit.indicators.settings import SETTINGS, setting

FEATURES = [info.name for info in catalogue() if not info.chart_only]
OF_TALIB = [name for name in FEATURES if name in available_indicators()]
# Given as bars since, where TA-Lib counts from the first bar of the history.
AGES = {"MAXINDEX", "MININDEX", "MINMAXINDEX"}
# One unit of each scale, where it is not the price.
UNITS = {
    Scale.PERCENT: 100.0,
    Scale.HUNDRED: 100.0,
    Scale.MINUS_HUNDRED: 100.0,
    Scale.AROUND_HUNDRED: 100.0,
    Scale.GROWTH: 100.0,
    Scale.CYCLE: 50.0,
}
PRICES = {Scale.PRICE, Scale.DIFFERENCE, Scale.PRICE_SUM, Scale.PRICE_SQUARED, Scale.DIFFERENCE_SQUARED}


def test_every_function_of_talib_is_described() -> None:
    names = {info.name for info in catalogue()}
    assert set(available_indicators()) <= names
    assert [info.name for info in catalogue()] == sorted(names)
    assert not [info.name for info in catalogue() if "not known" in info.chart_only]


def test_the_tables_name_nothing_that_is_not_there() -> None:
    known = set(available_indicators())
    for table in (CHART_ONLY, OWN, SCALES, SETTLING, MEASURED):
        assert set(table) <= known, set(table) - known
    assert not set(CHART_ONLY) & set(OWN)


@pytest.mark.parametrize("which", SETTINGS)
@pytest.mark.parametrize("name", [name for name in OF_TALIB if name not in AGES])
def test_values_are_those_of_talib_over_a_long_history(name: str, which: str) -> None:
    info = indicator_info(name)
    parameters = setting(info, which)
    start = warm_up(name, parameters)
    columns = smooth(start + 3000)
    complete = {each.name: parameters.get(each.name, each.default) for each in info.parameters}
    ours = compute(name, columns, parameters)
    theirs = talib_indicator(name, columns, talib_values(info.parameters, complete))
    assert list(ours) == list(theirs)
    for label, scale in output_scales(name).items():
        unit = UNITS.get(scale, 1.0)
        if scale in PRICES:
            unit = np.nanmax(columns["close"]) ** (2 if "SQUARED" in scale.name else 1)
        elif scale in (Scale.VOLUME, Scale.MONEY, Scale.PRICE_PER_VOLUME):
            unit = float(np.nanstd(theirs[label])) or 1.0
        tail = slice(start + 1000, None)
        np.testing.assert_allclose(ours[label][tail] / unit, theirs[label][tail] / unit, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["MAXINDEX", "MININDEX"])
def test_indices_are_bars_since(name: str) -> None:
    columns = smooth(500)
    theirs = talib_indicator(name, columns)["integer"]
    np.testing.assert_array_equal(compute(name, columns, {})["integer"][29:], (np.arange(500) - theirs)[29:])


@pytest.mark.parametrize("name", FEATURES)
def test_scale_free_values_do_not_know_the_unit_of_price_and_volume(name: str) -> None:
    start = warm_up(name, {})
    columns = dear(start + 2000)
    # Powers of two: other factors would round prices anew and so break or make ties.
    other = {key: values * {"time_ns": 1, "volume": 2.0**-9}.get(key, 2.0**-33) for key, values in columns.items()}
    other["time_ns"] = columns["time_ns"]
    for label, values in scale_free(name, columns, {}).items():
        np.testing.assert_allclose(scale_free(name, other, {})[label], values, rtol=1e-9, atol=1e-12)
        assert np.abs(values[start:]).max() < 100


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("MACDD", {}, "not known. Did you mean MACD?"),
        ("xyzzy", {}, "not known. The catalogue"),
        ("RSI", {"period": 3}, "no parameter 'period'. It knows: timeperiod"),
        ("RSI", {"timeperiod": 1}, "timeperiod cannot be 1. Choose a whole number from 2 to 1000"),
        ("RSI", {"timeperiod": 2.5}, "timeperiod cannot be 2.5"),
        ("RSI", {"timeperiod": float("nan")}, "timeperiod cannot be nan"),
        ("BBANDS", {"nbdevup": 11}, "nbdevup cannot be 11. Choose a number from 0.1 to 10"),
        ("SAR", {}, "SAR cannot be a feature: it turns on crossings"),
    ],
)
def test_bad_requests_are_one_sentence(name: str, parameters: dict[str, float], sentence: str) -> None:
    columns = dear(100)
    for function in (compute, scale_free):
        with pytest.raises(UserError) as caught:
            function(name, columns, parameters)
        assert sentence in str(caught.value)
    with pytest.raises(UserError):
        warm_up(name, parameters)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UserError, match="AMIHUD needs the column 'volume'"):
        scale_free("AMIHUD", {"close": dear(100)["close"]}, {})
    assert columns_needed("ATR") == ("high", "low", "close")
    assert columns_needed("MARKETFI") == ("high", "low", "volume", "close")


def test_names_do_not_depend_on_case_and_reasons_are_one_sentence() -> None:
    assert indicator_info("rsi") is indicator_info("RSI")
    for info in catalogue():
        assert not info.chart_only or (info.chart_only.startswith("it") and not info.chart_only.endswith("."))


def test_moving_averages_are_chosen_by_name() -> None:
    columns = smooth(3000)
    kind = indicator_info("MA").parameters[1]
    for index, name in enumerate(kind.choices):
        parameters = {"timeperiod": 12.0}
        ours = compute("MA", columns, {**parameters, "matype": index})["real"]
        np.testing.assert_allclose(ours[2000:], compute(name, columns, parameters)["real"][2000:], rtol=1e-11)


def test_warm_up_grows_with_the_smoothing() -> None:
    assert warm_up("SMA", {"timeperiod": 20}) == 19
    # (13 / 14)^n falls below 1e-10 at n = 311.
    assert warm_up("RSI", {}) == 320
    assert warm_up("RSI", {"timeperiod": 28}) > 600
    assert warm_up("DEMA", {}) > warm_up("EMA", {}) > 400


def test_short_histories_are_all_nan() -> None:
    for size in (0, 1, 19):
        assert np.isnan(compute("SMA", dear(400) | {"close": np.ones(size)}, {"timeperiod": 20})["real"]).all()


def _deviation_from_windows(name: str, columns: Columns, moments: np.ndarray) -> float:
    start, worst = warm_up(name, {}), 0.0
    batch = scale_free(name, columns, {})
    for moment in moments[moments >= start]:
        window = {key: values[moment - start : moment + 1] for key, values in columns.items()}
        for label, values in scale_free(name, window, {}).items():
            expected = batch[label][moment]
            worst = max(worst, abs(values[-1] - expected) / max(1.0, abs(expected)))
    return worst


def test_patterns_of_a_coarse_tick_do_not_turn_on_rounding() -> None:
    """Bodies equal to the mean body are frequent here; a rounded running sum would tip the comparison either way."""
    rng, size = np.random.default_rng(0), 1500
    ends = 1 + 0.1 * rng.integers(0, 8, (2, size))
    reach = 0.1 * rng.integers(0, 3, (2, size))
    rows = {"open": ends[0], "high": ends.max(0) + reach[0], "low": ends.min(0) - reach[1], "close": ends[1]}
    columns = {key: np.round(values, 1) for key, values in rows.items()}
    for name in (info.name for info in catalogue() if info.group == PATTERNS):
        start = warm_up(name, {})
        batch = compute(name, columns, {})["integer"]
        for moment in range(start, size, 3):
            window = {key: values[moment - start : moment + 1] for key, values in columns.items()}
            assert compute(name, window, {})["integer"][-1] == batch[moment], (name, moment)


@pytest.mark.slow
def test_nothing_drifts_over_a_million_bars() -> None:
    columns = spiky(1_000_000)
    moments = np.concatenate((np.random.default_rng(0).integers(500_000, 1_000_000, 15), [999_999]))
    for name in ("SMA", "WMA", "STDDEV", "BBANDS", "LINEARREG", "CORREL", "BETA", "CCI", "MFI", "CMF", "VWMA", "STOCH"):
        assert _deviation_from_windows(name, columns, moments) <= 1e-9, name
    # What is guarded against: after spikes of volume TA-Lib's running sums never come back.
    theirs = talib_indicator("VWMA", columns)["real"][moments]
    ours = compute("VWMA", columns, {})["real"][moments]
    assert np.abs(theirs / ours - 1).max() > 1e-9


@pytest.mark.realdata
@pytest.mark.parametrize("name", FEATURES)
def test_real_bars_give_the_same_from_a_window(name: str, realdata: Path) -> None:
    frame = import_candles(realdata / "ohlcv_binance_btc_2017_2024" / "BTC_USDT-1h.feather").frame
    columns = {key: getattr(frame, key) for key in ("time_ns", "open", "high", "low", "close", "volume")}
    start = warm_up(name, {})
    for values in scale_free(name, columns, {}).values():
        assert np.isfinite(values[start:]).all()
    moments = np.random.default_rng(1).integers(start, len(frame), 25)
    assert _deviation_from_windows(name, columns, moments) <= 1e-9


def test_the_catalogue_costs_no_heavy_import() -> None:
    code = """
import sys
from core.indicators.catalogue import catalogue
catalogue()
heavy = {"pandas", "polars", "scipy", "torch", "sklearn", "numba"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
