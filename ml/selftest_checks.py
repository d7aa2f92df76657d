"""The tasks of the self-test: what is learnt, with which settings, what counts as learnt. Training child only (torch).

Every task uses the product's default settings except for what stands in it: the number of bars and networks, the
quantile levels where ranges are judged, and in the quick version steps of the optimiser that suit short series.
Models are compared with the true forecast on the same bars, so that luck in drawing the series decides nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from core.data.frame import CandleFrame
from ml.api import FeatureSpec, ForecastSpec, ModelSpec, SeriesSource, SplitSpec, TrainingSpec, parse_column
from ml.arrays import Float32Array, FloatArray
from ml.dataset import Part
from ml.feature_pipeline import FeaturePipeline
from ml.feature_sources import MarketHistory, PointSeries
from ml.judge import part_forecasts
from ml.metrics.calibration import calibration
from ml.metrics.quantile import crps_of_quantiles, inside_outer, pinball_losses
from ml.selftest import FORECASTING, Figure, TaskResult, task_result
from ml.selftest_lab import Lab, Learned
from ml.selftest_tasks import (
    ar1_hit_rate,
    ar1_r2,
    ar1_r2_error,
    ar1_sign_sharpe,
    ar1_wrong_sign_r2,
    autoregression,
    bars_of_returns,
    daily_volatility,
    garch,
    noise,
    normal_crps,
    normal_pinball,
    normal_quantiles,
    r2_gain,
    sinusoid,
    sinusoid_profit,
)

_LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
_SIGMA = 0.01
_LEAK_SERIES = "flow_imbalance"
_SMALLEST_KS_P = 0.01
_WEAK_PHI, _WEAK_SHARE = 0.1, 0.8  # a fourth of the signal of 0.2 from twice the bars
# Short series hold few segments of the default length: 8,400 bars make 2 batches per epoch.
_SHORT = TrainingSpec(segment_length=64, burn_in=16, batch_segments=8)


def _history(returns: FloatArray, seed: int) -> MarketHistory:
    return MarketHistory(bars_of_returns(returns, seed))


# --- A: AR(1) ---------------------------------------------------------------------------------------------------


def task_a(lab: Lab) -> TaskResult:
    """AR(1) with several φ: R² against that of the true forecast on the same bars; more than luck allows is a leak."""
    quick = lab.job.quick
    series = [(0.2, 60_000, TrainingSpec())]
    if quick:
        series = [(0.2, 20_000, _SHORT)]
    else:
        # Of a weak signal the noise in the gradient at the usual learning rate takes some 3 % more.
        series += [(-0.2, 60_000, TrainingSpec()), (_WEAK_PHI, 120_000, TrainingSpec(learning_rate=1e-3))]
    lab.expect(len(series))
    shares, figures, conditions = [], [], []
    for number, (phi, size, training) in enumerate(series):
        returns = autoregression(np.full(size, phi), lab.seed(number))
        spec = lab.spec(networks=1 if quick else 2, training=training)
        learned = lab.learn(f"AR(1) with φ = {phi:+g}", _history(returns, lab.seed(100 + number)), spec)
        best = r2_gain(learned.outcome, phi * returns[learned.rows])
        found = r2_gain(learned.outcome, learned.median)
        limit = ar1_r2(phi) + 3.0 * ar1_r2_error(phi, len(learned.rows))
        shares.append((found, best))
        figures += _ar1_figures(learned, phi, found, best)
        conditions.append((found <= limit, f"R² {found:.4f} at φ = {phi:+g} is more than there is: a leak."))
        if phi == _WEAK_PHI:
            enough = found >= _WEAK_SHARE * best
            conditions.append((enough, f"{found / best:.1%} reached at φ = {phi:+g}, {_WEAK_SHARE:.0%} needed."))
    reached, optimum = shares[0]
    return task_result(
        FORECASTING.task("A"),
        reached=reached,
        optimum=optimum,
        share=min(found / best for found, best in shares[:2]),
        required=0.8 if quick else 0.9,
        note="R² at φ = 0.2." if quick else "R² at φ = 0.2; the smaller share of φ = 0.2 and φ = −0.2.",
        conditions=conditions,
        figures=tuple(figures),
    )


def _ar1_figures(learned: Learned, phi: float, found: float, best: float) -> list[Figure]:
    earned = np.sign(learned.median) * learned.outcome
    hits = learned.metrics.model.hit_rate
    ridge = next(row.r2 for row in learned.metrics.baselines if row.name == "ridge")
    name = f"φ={phi:+g}"
    return [
        Figure(f"{name} R²", found, ar1_r2(phi)),
        Figure(f"{name} R² of the true forecast", best, ar1_r2(phi)),
        Figure(f"{name} R² of ridge", ridge, ar1_r2(phi)),
        Figure(f"{name} hit rate", 0.0 if hits is None else hits, ar1_hit_rate(phi)),
        Figure(f"{name} sign Sharpe", float(earned.mean() / earned.std()), ar1_sign_sharpe(phi)),
    ]


# --- B: noise ---------------------------------------------------------------------------------------------------


def claims_allowed(runs: int) -> int:
    """Return how many of `runs` may claim an edge: 5 %, but one, which luck may bring even among few."""
    return max(1, math.floor(0.05 * runs))


def task_b(lab: Lab) -> TaskResult:
    """Noise, and AR(1) bars whose outcomes were shuffled: the verdict must not claim an edge."""
    runs = lab.job.noise_runs
    lab.expect(runs)
    claimed, gains = [], []
    for run in range(runs):
        lab.check_stop()
        shuffle = bool(run % 2)
        seed = lab.seed(200 + run)
        returns = autoregression(np.full(6_000, 0.2), seed) if shuffle else noise(6_000, seed)
        spec = lab.spec(networks=1, model=ModelSpec(hidden_size=16))
        spec = replace(spec, training=replace(spec.training, seed=spec.training.seed + run))
        learned = lab.learn(
            f"{'shuffled' if shuffle else 'noise'} {run + 1} of {runs}",
            _history(returns, seed),
            spec,
            np.random.default_rng(seed) if shuffle else None,
        )
        if learned.metrics.edge:
            claimed.append(str(run + 1))
        gains.append(learned.metrics.model.r2)
    silent = 1.0 - len(claimed) / runs
    says = f"An edge was claimed in run {', '.join(claimed)}." if claimed else "No edge was claimed."
    return task_result(
        FORECASTING.task("B"),
        reached=silent,
        optimum=1.0,
        share=None,
        required=1.0 - claims_allowed(runs) / runs,
        note=f"Share of {runs} runs without a claim. {says}",
        figures=(
            Figure("runs", float(runs)),
            Figure("claims", float(len(claimed)), 0.0),
            Figure("mean R²", float(np.mean(gains)), 0.0),
            Figure("largest R²", float(np.max(gains)), 0.0),
        ),
    )


# --- C: sinusoid ------------------------------------------------------------------------------------------------


def task_c(lab: Lab) -> TaskResult:
    """A price without noise: the profit of the forecast's sign over whole periods of the test part."""
    period, amplitude, cost = 40, 0.1, 0.001
    lab.expect(1)
    returns = sinusoid(12_000, period, amplitude)
    learned = lab.learn("sinusoid", _history(returns, lab.seed(300)), lab.spec(networks=1))
    periods = len(learned.rows) // period
    positions = np.sign(learned.median[: periods * period])
    profit = float((positions * learned.outcome[: periods * period]).sum()) / periods
    turnover = float(np.abs(np.diff(positions)).sum()) / periods
    optimum = sinusoid_profit(amplitude)
    return task_result(
        FORECASTING.task("C"),
        reached=profit,
        optimum=optimum,
        share=profit / optimum,
        required=0.97,
        note=f"Log profit per period of {period} bars, mean of {periods} periods, without costs.",
        figures=(
            Figure("turnover per period", turnover, 4.0),
            Figure(f"after costs of {cost:g}", profit - turnover * cost, sinusoid_profit(amplitude, cost)),
        ),
    )


# --- K: regime flip ---------------------------------------------------------------------------------------------


def wrong_sign_bounds(phi: float, share: float) -> tuple[float, float]:
    """Return which R² after the flip fit a champion that had reached `share` of the optimum before it.

    With a forecast of bφr, R² is (1 − (1 − b)²)φ² before and −(2b + b²)φ² after the flip.
    """
    off = math.sqrt(1.0 - share)
    low, high = (-(2.0 * b + b * b) * phi * phi for b in (1.0 + off, 1.0 - off))
    return low, high


def task_k(lab: Lab) -> TaskResult:
    """φ becomes −φ: the old regime's champion must fail by as much as it should, a new one learn the new regime."""
    quick, phi = lab.job.quick, 0.2
    half, tail = (40_000, 6_000) if quick else (60_000, 9_000)
    required = 0.8 if quick else 0.9
    lab.expect(2)
    returns = autoregression(np.repeat([phi, -phi], half), lab.seed(400))
    frame = bars_of_returns(returns, lab.seed(401))
    spec = lab.spec(networks=1 if quick else 2, training=_SHORT if quick else None)
    split = SplitSpec(valid_from=_date(frame, round(0.8 * half)), test_from=_date(frame, half))
    champion = lab.learn("old regime", MarketHistory(frame.slice(0, half + tail)), replace(spec, split=split))
    newer = lab.learn("new regime", MarketHistory(frame.slice(half)), spec)
    last = returns[half + newer.rows]
    new, best = r2_gain(newer.outcome, newer.median), r2_gain(newer.outcome, -phi * last)
    old = r2_gain(champion.outcome, champion.median)
    error = 3.0 * ar1_r2_error(phi, len(champion.rows))
    low, high = wrong_sign_bounds(phi, required)
    limit = ar1_r2(phi) + 3.0 * ar1_r2_error(phi, len(newer.rows))
    return task_result(
        FORECASTING.task("K"),
        reached=new,
        optimum=best,
        share=new / best,
        required=required,
        note="R² in the new regime after learning anew. An alarm and a promotion belong to automatic updates.",
        conditions=(
            (
                low - error <= old <= high + error,
                f"The old champion's R² of {old:+.4f} in the new regime is not in {low:+.4f} … {high:+.4f}.",
            ),
            (not champion.metrics.edge, "The old champion claims an edge in the new regime."),
            (new <= limit, f"R² {new:.4f} is more than there is: a leak."),
        ),
        figures=(
            Figure("R² of the old champion in the new regime", old, ar1_wrong_sign_r2(phi)),
            Figure("R² of the old true forecast there", _old_truth(champion, returns, phi), ar1_wrong_sign_r2(phi)),
            Figure("R² of the new one", new, ar1_r2(phi)),
        ),
    )


def _old_truth(champion: Learned, returns: FloatArray, phi: float) -> float:
    return r2_gain(champion.outcome, phi * returns[champion.rows])


def _date(frame: CandleFrame, row: int) -> str:
    """Return the open time of a bar as a configuration writes it."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(frame.time_ns[row]) // 1_000)).isoformat()


# --- L: heteroskedastic noise -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ranges:
    """The quality of quantiles beside that of the true ones and of constant ones, on the same bars."""

    name: str
    crps: float
    best: float
    constant: float
    formula: float
    pinball: tuple[tuple[float, float, float], ...]
    coverage: float
    ks_p_value: float
    count: int

    @property
    def tolerance(self) -> float:
        """How far the coverage of the true 90 % interval strays by chance in 95 of 100 cases."""
        return 1.96 * math.sqrt(0.09 / self.count)

    @property
    def gain_share(self) -> float:
        """How much of what there is to gain over constant quantiles was gained."""
        return (self.constant - self.crps) / (self.constant - self.best)


def task_l(lab: Lab) -> TaskResult:
    """Noise whose σ follows the hour of the day, and GARCH noise: CRPS against that of the true distribution."""
    quick = lab.job.quick
    size = 20_000 if quick else 60_000
    sigma = daily_volatility(size, 0.7)
    series = [("daily", sigma * noise(size, lab.seed(500), 1.0), sigma)]
    if not quick:
        series.append(("GARCH", *garch(size, lab.seed(510), alpha=0.2, beta=0.75)))
    lab.expect(len(series))
    found = [_learn_ranges(lab, number, *each) for number, each in enumerate(series)]
    first = found[0]
    share = min(ranges.best / ranges.crps for ranges in found)
    needed = 0.8 if quick else 0.9
    conditions = []
    for ranges in found:
        off = ranges.coverage - 0.9
        conditions += [
            (ranges.gain_share >= needed, f"{ranges.name}: {ranges.gain_share:.1%} of the gain over constant ranges."),
            (abs(off) <= ranges.tolerance, f"{ranges.name}: {ranges.coverage:.2%} inside the 90 % interval."),
            (ranges.ks_p_value >= _SMALLEST_KS_P, f"{ranges.name}: not calibrated (p = {ranges.ks_p_value:.4f})."),
        ]
    return task_result(
        FORECASTING.task("L"),
        reached=first.crps,
        optimum=first.best,
        share=share,
        required=1.0 / 1.02,
        note=f"CRPS with σ following the hour; best / reached, the smaller one of {len(found)} series.",
        conditions=conditions,
        figures=tuple(itertools.chain.from_iterable(_range_figures(ranges) for ranges in found)),
    )


def _learn_ranges(lab: Lab, number: int, name: str, returns: FloatArray, sigma: FloatArray) -> _Ranges:
    quick = lab.job.quick
    spec = lab.spec(
        networks=1 if quick else 2,
        model=ModelSpec(quantile_levels=_LEVELS),
        training=replace(_SHORT, segment_length=128) if quick else None,
    )
    split = SplitSpec(train_fraction=0.75, valid_fraction=0.15)
    learned = lab.learn(f"{name} volatility", _history(returns, lab.seed(520 + number)), replace(spec, split=split))
    outcome, deviations = learned.outcome, sigma[learned.rows + 1]
    quantiles, truth = learned.test.forecasts.quantiles[:, 0], normal_quantiles(deviations, _LEVELS)
    train = learned.data.log_return[learned.data.rows(learned.data.train), 0]
    constant = np.broadcast_to(np.quantile(train, _LEVELS), truth.shape)

    def crps(values: FloatArray) -> float:
        return float(crps_of_quantiles(values, outcome, _LEVELS).mean())

    losses = pinball_losses(quantiles, outcome, _LEVELS).mean(axis=0)
    best_losses = pinball_losses(truth, outcome, _LEVELS).mean(axis=0)
    judged = calibration(quantiles, outcome, _LEVELS, 1, np.random.default_rng(lab.seed(530)))
    return _Ranges(
        name=name,
        crps=crps(quantiles),
        best=crps(truth),
        constant=crps(constant),
        formula=normal_crps(deviations),
        pinball=tuple(
            (level, float(losses[_LEVELS.index(level)]), float(best_losses[_LEVELS.index(level)]))
            for level in (0.05, 0.5)
        ),
        coverage=float(inside_outer(quantiles, outcome).mean()),
        ks_p_value=judged.ks_p_value,
        count=len(outcome),
    )


def _range_figures(ranges: _Ranges) -> list[Figure]:
    name, mean_sigma = ranges.name, ranges.formula * math.sqrt(math.pi)
    return [
        Figure(f"{name} CRPS", ranges.crps, ranges.best),
        Figure(f"{name} CRPS of the true distribution", ranges.best, ranges.formula),
        Figure(f"{name} share of the gain over constant ranges", ranges.gain_share, 1.0),
        *(Figure(f"{name} pinball at {level:g}", loss, best) for level, loss, best in ranges.pinball),
        *(
            Figure(f"{name} true pinball at {level:g}", best, normal_pinball(np.array([mean_sigma]), level))
            for level, _, best in ranges.pinball
        ),
        Figure(f"{name} coverage of 90 %", ranges.coverage, 0.9),
        Figure(f"{name} coverage may stray by", ranges.tolerance),
        Figure(f"{name} p-value of calibration", ranges.ks_p_value),
    ]


# --- M: leak ----------------------------------------------------------------------------------------------------


def leaking_history(returns: FloatArray, seed: int) -> MarketHistory:
    """Return noise with a side series that tells at each bar's close the return to come."""
    frame = bars_of_returns(returns, seed)
    coming = np.append(returns[1:], 0.0) / _SIGMA
    return MarketHistory(frame, (), (PointSeries(_LEAK_SERIES, frame.time_ns + frame.timeframe.ns, coming),))


def _leak_spec(lab: Lab, training: TrainingSpec | None = None) -> ForecastSpec:
    spec = lab.spec(networks=1, training=training)
    return replace(
        spec,
        data=replace(spec.data, series=(SeriesSource(_LEAK_SERIES, "none.csv"),)),
        features=FeatureSpec(columns=(parse_column(f"{_LEAK_SERIES}.level"),)),
    )


def task_m(lab: Lab) -> TaskResult:
    """A feature holds the next return: the forecaster must find it, and the verdict must say that it is a leak."""
    quick = lab.job.quick
    lab.expect(1)
    history = leaking_history(noise(12_000 if quick else 40_000, lab.seed(600), _SIGMA), lab.seed(601))
    learned = lab.learn("leak", history, _leak_spec(lab, _SHORT if quick else None))
    profit, best = float((np.sign(learned.median) * learned.outcome).sum()), float(np.abs(learned.outcome).sum())
    found = r2_gain(learned.outcome, learned.median)
    count = len(learned.rows)
    return task_result(
        FORECASTING.task("M"),
        reached=profit / count,
        optimum=best / count,
        share=profit / best,
        required=0.98,
        note=f"Log profit per bar of the forecast's sign, without costs. Verdict: {learned.metrics.verdict}",
        conditions=(
            (found >= 0.98, f"R² is {found:.4f}, 0.98 needed."),
            (learned.metrics.edge and "leak" in learned.metrics.verdict, "The verdict does not say that it is a leak."),
        ),
        figures=(Figure("R²", found, 1.0),),
    )


# --- N: causality -----------------------------------------------------------------------------------------------


def task_n(lab: Lab) -> TaskResult:
    """Other bars from some bar on: no feature and no forecast at or before it may move by a bit."""
    lab.expect(1)
    returns = noise(3_000, lab.seed(700), _SIGMA)
    history = leaking_history(returns, lab.seed(701))
    trained = replace(_SHORT, epochs=1)
    learned = lab.learn("network", history, _leak_spec(lab, trained))
    features = [FeatureSpec(name) for name in ("price", "market", "technical")]
    features.append(_leak_spec(lab).features)
    held, total, blind = 0, 0, 0
    for number, row in enumerate((999, 1_500, 2_500)):
        other = altered_after(history, row, lab.seed(710 + number))
        for spec in features:
            lab.check_stop()
            before, after = (_matrix(spec, each) for each in (history, other))
            total += 1
            held += np.array_equal(before[: row + 1], after[: row + 1], equal_nan=True)
            blind += np.array_equal(before[row + 1 :], after[row + 1 :], equal_nan=True)
        total += 1
        held += np.array_equal(_forecasts(learned, history, row), _forecasts(learned, other, row))
    return task_result(
        FORECASTING.task("N"),
        reached=held / total,
        optimum=1.0,
        share=held / total,
        required=1.0,
        note=f"Share of {total} comparisons, bit by bit, of feature sets and of a network's forecasts.",
        conditions=((blind == 0, "Features did not notice that the bars had changed: the comparison says nothing."),),
        figures=(Figure("comparisons", float(total)), Figure("unchanged", float(held), float(total))),
    )


def altered_after(history: MarketHistory, row: int, seed: int) -> MarketHistory:
    """Return the history with other bars after `row` and other points of its series after that bar's close."""
    rng, frame = np.random.default_rng(seed), history.frame
    later = np.arange(len(frame)) > row
    factor = np.where(later, np.exp(np.cumsum(np.where(later, rng.normal(0.0, 0.05, len(frame)), 0.0))), 1.0)
    prices = {name: getattr(frame, name) * factor for name in ("open", "high", "low", "close")}
    volume = np.where(later, frame.volume * rng.uniform(0.1, 10.0, len(frame)), frame.volume)
    close_ns = int(frame.time_ns[row]) + frame.timeframe.ns
    series = tuple(
        PointSeries(
            points.name,
            points.known_ns,
            np.where(points.known_ns > close_ns, rng.normal(0.0, 3.0, len(points.value)), points.value),
        )
        for points in history.series
    )
    return replace(history, frame=replace(frame, **prices, volume=volume), series=series)


def _matrix(spec: FeatureSpec, history: MarketHistory) -> FloatArray:
    """Return features with incomplete rows as NaN."""
    rows = FeaturePipeline(spec, history.frame.timeframe).rows(history)
    return np.where(rows.complete[:, None], rows.matrix, np.nan)


def _forecasts(learned: Learned, history: MarketHistory, row: int) -> FloatArray:
    """Return the network's quantiles up to a bar, made from a history with the scaling it was trained with."""
    data = learned.data
    found = data.pipeline.rows(history)
    matrix = found.matrix.copy()
    matrix[~found.complete] = np.nan
    inputs: Float32Array = data.scaling.inputs.transform(matrix)
    changed = replace(data, inputs=inputs, has_input=found.complete)
    return part_forecasts(learned.network, changed, Part(0, row + 1), 0).forecasts.quantiles


CHECKS: dict[str, Callable[[Lab], TaskResult]] = {
    "A": task_a,
    "B": task_b,
    "C": task_c,
    "K": task_k,
    "L": task_l,
    "M": task_m,
    "N": task_n,
}
