from __future__ import annotations

import numpy as np
import pytest

from core.domain.candles import Timeframe
from core.indicators import indicators as ind
from core.indicators.talib_indicators import talib_indicator
from tests.unit.ml.helpers import frame_from_returns, noise_returns

FRAME = frame_from_returns(noise_returns(400, 1))


def test_log_returns_over_several_bars() -> None:
    close = np.array([1.0, 2.0, 4.0, 4.0])
    np.testing.assert_allclose(ind.log_returns(close, 2)[2:], np.log([4.0, 2.0]))
    assert np.isnan(ind.log_returns(close, 2)[:2]).all()
    with pytest.raises(ValueError, match="positive"):
        ind.log_returns(close, 0)


def test_realised_volatility_of_known_returns() -> None:
    result = ind.realised_volatility(FRAME.close, 20)
    returns = np.diff(np.log(FRAME.close))
    assert np.isnan(result[:20]).all()
    assert result[-1] == pytest.approx(np.sqrt((returns[-20:] ** 2).mean()), rel=1e-12)


def test_true_range_equals_talib() -> None:
    columns = {"high": FRAME.high, "low": FRAME.low, "close": FRAME.close}
    wanted = talib_indicator("TRANGE", columns)["real"]
    np.testing.assert_allclose(ind.true_range(FRAME.high, FRAME.low, FRAME.close)[1:], wanted[1:], rtol=1e-12)
    mean = talib_indicator("SMA", {"close": wanted[1:]}, {"timeperiod": 14})["real"]
    np.testing.assert_allclose(
        ind.average_true_range(FRAME.high, FRAME.low, FRAME.close, 14)[14:], mean[13:] / FRAME.close[14:], rtol=1e-9
    )


def test_relative_strength_equals_cutlers_formula() -> None:
    changes = np.diff(FRAME.close)[-14:]
    gains, losses = changes[changes > 0].sum(), -changes[changes < 0].sum()
    classic = 100 - 100 / (1 + gains / losses)
    assert ind.relative_strength(FRAME.close, 14)[-1] == pytest.approx(classic / 50 - 1, rel=1e-9)
    assert (ind.relative_strength(np.full(30, 5.0), 14)[14:] == 0).all()
    assert (ind.relative_strength(np.arange(1.0, 31.0), 14)[14:] == 1).all()


def test_range_position_equals_williams_r() -> None:
    columns = {"high": FRAME.high, "low": FRAME.low, "close": FRAME.close}
    williams = talib_indicator("WILLR", columns, {"timeperiod": 48})["real"]  # -100 … 0
    position = ind.range_position(FRAME.high, FRAME.low, FRAME.close, 48)
    np.testing.assert_allclose(position[47:], williams[47:] / 50 + 1, atol=1e-9)
    flat = np.full(60, 3.0)
    assert (ind.range_position(flat, flat, flat, 48)[47:] == 0).all()


def test_trend_is_the_log_ratio_of_two_means() -> None:
    expected = np.log(FRAME.close[-12:].mean() / FRAME.close[-26:].mean())
    assert ind.trend(FRAME.close, 12, 26)[-1] == pytest.approx(expected, rel=1e-9)


def test_body_is_bounded_and_zero_without_range() -> None:
    body = ind.body(FRAME.open, FRAME.high, FRAME.low, FRAME.close)
    assert (np.abs(body) <= 1).all()
    flat = np.ones(3)
    assert (ind.body(flat, flat, flat, flat) == 0).all()


def test_time_cycles_return_after_a_day_and_a_week() -> None:
    hour = Timeframe.H1.ns
    midnight = Timeframe.D1.floor(1_700_000_000_000_000_000)
    times = midnight + np.arange(24 * 14, dtype=np.int64) * hour
    sine, cosine = ind.time_of_day(times)
    assert (sine[0], cosine[0]) == (0.0, 1.0)
    assert sine[6] == pytest.approx(1.0)
    np.testing.assert_array_equal(sine[:24], sine[24:48])
    monday = np.array([Timeframe.W1.floor(midnight)])
    assert ind.time_of_week(monday)[1][0] == 1.0
    np.testing.assert_array_equal(ind.time_of_week(times)[0][:168], ind.time_of_week(times)[0][168:])
