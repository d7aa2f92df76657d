from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from scipy import stats

from core.indicators import estimators as est
from core.indicators.indicators import log_returns, realised_volatility
from tests.unit.indicators.markets import smooth, still

STEPS = 400
BARS = 4000
VOLATILITY = 0.02


def simulated(drift: float = 0.0, gap: float = 0.0, spread: float = 0.0) -> tuple[np.ndarray, ...]:
    """Bars of a fine random walk; trades alternate at random between bid and ask."""
    rng = np.random.default_rng(3)
    steps = rng.normal(drift / STEPS, VOLATILITY / STEPS**0.5, (BARS, STEPS))
    steps[:, 0] += rng.normal(0, 1, BARS) * gap
    logs = np.cumsum(steps.ravel()).reshape(BARS, STEPS)
    logs = logs + spread / 2 * rng.choice([-1, 1], logs.shape)
    path = 100 * np.exp(logs)
    return path[:, 0], path.max(1), path.min(1), path[:, -1]


def test_every_volatility_finds_that_of_a_random_walk() -> None:
    open_, high, low, close = simulated()
    found = {
        "close": realised_volatility(close, BARS - 1),
        "parkinson": est.parkinson(high, low, BARS),
        "garman_klass": est.garman_klass(open_, high, low, close, BARS),
        "rogers_satchell": est.rogers_satchell(open_, high, low, close, BARS),
        "yang_zhang": est.yang_zhang(open_, high, low, close, BARS - 1),
    }
    # A range of 400 trades misses a little of the continuous one.
    for name, values in found.items():
        assert values[-1] == pytest.approx(VOLATILITY, rel=0.08), name


def test_ranges_vary_less_than_closes() -> None:
    open_, high, low, close = simulated()
    spread_of = {
        "close": np.nanstd(realised_volatility(close, 20)),
        "parkinson": np.nanstd(est.parkinson(high, low, 20)),
        "garman_klass": np.nanstd(est.garman_klass(open_, high, low, close, 20)),
        "yang_zhang": np.nanstd(est.yang_zhang(open_, high, low, close, 20)),
    }
    assert spread_of["close"] > 1.7 * spread_of["parkinson"] > 1.7 * spread_of["garman_klass"]
    assert spread_of["close"] > 1.7 * spread_of["yang_zhang"]


def test_a_drift_does_not_raise_rogers_satchell() -> None:
    open_, high, low, close = simulated(drift=0.02)
    assert est.rogers_satchell(open_, high, low, close, BARS)[-1] == pytest.approx(VOLATILITY, rel=0.08)
    assert est.parkinson(high, low, BARS)[-1] > 1.1 * VOLATILITY


def test_yang_zhang_sees_gaps() -> None:
    open_, high, low, close = simulated(gap=0.02)
    total = (VOLATILITY**2 + 0.02**2) ** 0.5
    assert est.yang_zhang(open_, high, low, close, BARS - 1)[-1] == pytest.approx(total, rel=0.08)
    assert est.garman_klass(open_, high, low, close, BARS)[-1] < 0.8 * total


@pytest.mark.parametrize("spread", [0.004, 0.02])
def test_spread_estimates_are_of_the_right_order(spread: float) -> None:
    _, high, low, close = simulated(spread=spread)
    assert est.abdi_ranaldo(high, low, close, BARS - 1)[-1] == pytest.approx(spread, rel=0.5, abs=0.003)
    assert est.roll_spread(close, BARS - 2)[-1] == pytest.approx(spread, rel=0.5, abs=0.006)
    # The mean of estimates cut off at zero is too high where the spread is small against the volatility.
    assert spread / 2 < est.corwin_schultz(high, low, BARS - 1)[-1] < spread + 0.01


def test_corwin_schultz_is_its_formula_for_one_pair_of_bars() -> None:
    high, low = np.array([102.0, 103.0]), np.array([100.0, 100.5])
    beta = np.log(1.02) ** 2 + np.log(103 / 100.5) ** 2
    gamma = np.log(103 / 100) ** 2
    k = 3 - 2 * 2**0.5
    alpha = ((2 * beta) ** 0.5 - beta**0.5) / k - (gamma / k) ** 0.5
    expected = max(2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)), 0)
    assert est.corwin_schultz(high, low, 1)[1] == pytest.approx(expected)
    assert expected > 0


def test_shape_of_returns_equals_scipy() -> None:
    close = smooth(400)["close"]
    returns = np.diff(np.log(close))
    skew, kurtosis = est.return_shape(close, 50)
    assert np.isnan(skew[:50]).all()
    for index in (50, 123, 399):
        window = returns[index - 50 : index]
        assert skew[index] == pytest.approx(stats.skew(window), abs=1e-9)
        assert kurtosis[index] == pytest.approx(stats.kurtosis(window, fisher=False), abs=1e-9)


def test_shape_of_equal_returns_is_that_of_a_normal_distribution() -> None:
    skew, kurtosis = est.return_shape(100 * 1.01 ** np.arange(80.0), 50)
    assert (skew[50:] == 0).all()
    assert (kurtosis[50:] == 3).all()


def test_autocorrelation_and_variance_ratio_of_an_autoregression() -> None:
    rng, phi, size = np.random.default_rng(5), 0.4, 20_000
    returns = np.zeros(size)
    noise = rng.normal(0, 0.01, size)
    for index in range(1, size):
        returns[index] = phi * returns[index - 1] + noise[index]
    close = np.exp(np.cumsum(returns))
    assert est.autocorrelation(close, 1, size - 3)[-1] == pytest.approx(phi, abs=0.03)
    assert est.autocorrelation(close, 2, size - 4)[-1] == pytest.approx(phi**2, abs=0.03)
    # Lo and MacKinlay: 1 + 2 * sum over k of (1 - k / q) rho(k), here for q = 2.
    assert est.variance_ratio(close, 2, size - 3)[-1] == pytest.approx(1 + phi, abs=0.03)
    window = returns[-50:], returns[-51:-1]
    assert est.autocorrelation(close, 1, 50)[-1] == pytest.approx(np.corrcoef(*window)[0, 1], abs=1e-9)


def test_flow_is_one_sided_when_the_price_only_rises() -> None:
    volume = np.full(100, 2.0)
    rising = 100 * np.cumprod(1 + np.random.default_rng(0).uniform(0.001, 0.002, 100))
    assert est.volume_imbalance(rising, volume, 10)[-1] == 1
    assert est.volume_imbalance(1 / rising, volume, 10)[-1] == -1
    bought = est.flow_imbalance(rising, volume, 10, 20)[-1]
    assert 0.8 < bought <= 1
    assert est.flow_imbalance(1 / rising, volume, 10, 20)[-1] == pytest.approx(-bought)


def test_bulk_classification_follows_the_t_distribution() -> None:
    columns = smooth(300)
    returns = log_returns(columns["close"])
    score = returns[299] / returns[250:300].std()
    surplus = 2 * stats.t(3).cdf(score) - 1
    assert est.flow_imbalance(columns["close"], columns["volume"], 1, 50)[299] == pytest.approx(surplus)


def test_illiquidity_falls_with_volume_and_ignores_bars_without_trades() -> None:
    close, volume = smooth(50)["close"], np.full(50, 3.0)
    expected = np.mean(np.abs(np.diff(np.log(close[-21:]))) / (close[-20:] * 3.0))
    assert est.amihud(close, volume, 20)[-1] == pytest.approx(expected)
    assert est.amihud(close, 2 * volume, 20)[-1] == pytest.approx(expected / 2)
    assert est.amihud(close, 0 * volume, 20)[-1] == 0


def test_distance_from_extremes() -> None:
    columns = smooth(200)
    assert est.drawdown(columns["high"], columns["close"], 30)[-1] == pytest.approx(
        np.log(columns["close"][-1] / columns["high"][-30:].max())
    )
    assert est.run_up(columns["low"], columns["close"], 30)[-1] == pytest.approx(
        np.log(columns["close"][-1] / columns["low"][-30:].min())
    )


def test_a_market_that_stands_still_gives_the_neutral_values() -> None:
    flat, none = np.full(80, 0.1), np.zeros(80)
    for values, neutral in (
        (est.parkinson(flat, flat, 20), 0),
        (est.yang_zhang(flat, flat, flat, flat, 20), 0),
        (est.volume_imbalance(flat, none, 20), 0),
        (est.flow_imbalance(flat, none, 20, 20), 0),
        (est.corwin_schultz(flat, flat, 20), 0),
        (est.roll_spread(flat, 20), 0),
        (est.autocorrelation(flat, 1, 20), 0),
        (est.variance_ratio(flat, 4, 20), 1),
        (est.return_shape(flat, 20)[1], 3),
    ):
        assert (values[60:] == neutral).all()


@pytest.mark.parametrize("moment", ["2024-02-01", "2024-02-15T12:00", "2023-12-31T23:59:59", "1999-06-30"])
def test_the_month_is_a_circle(moment: str) -> None:
    when = dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)
    start = when.replace(day=1, hour=0, minute=0, second=0)
    length = (start + dt.timedelta(days=32)).replace(day=1) - start
    angle = 2 * np.pi * ((when - start) / length)
    sine, cosine = est.day_of_month(np.array([int(when.timestamp()) * 10**9]))
    assert (sine[0], cosine[0]) == pytest.approx((np.sin(angle), np.cos(angle)), abs=1e-9)


def test_sessions_by_the_hour() -> None:
    hours = np.arange(24) * 3_600_000_000_000 + 1_700_006_400_000_000_000 // 86_400_000_000_000 * 86_400_000_000_000
    asia, europe, america = est.sessions(hours)
    assert np.flatnonzero(asia).tolist() == list(range(8))
    assert np.flatnonzero(europe).tolist() == list(range(7, 17))
    assert np.flatnonzero(america).tolist() == list(range(13, 21))


def test_standstill_within_a_market_stays_finite() -> None:
    columns = still(5000)
    for values in (
        *est.return_shape(columns["close"], 50),
        est.flow_imbalance(columns["close"], columns["volume"], 20, 50),
        est.amihud(columns["close"], columns["volume"], 20),
    ):
        assert np.isfinite(values[100:]).all()
