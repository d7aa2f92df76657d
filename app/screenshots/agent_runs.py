"""Runs of agents in the pictures. Qt-free, pure, any thread."""

from __future__ import annotations

import math
from dataclasses import replace

from app.flows.sample_session import MODEL_IDS
from app.screenshots.market import NOW_NS
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.progress import (
    MOST_POINTS,
    AgentProgress,
    AgentResult,
    LearningFigures,
    PassCurves,
    RuleCurve,
    ValidationRecord,
)
from ml.agents.results import (
    AgentDiagnostics,
    AgentFigures,
    AgentMetrics,
    AgentSeed,
    BaselineFigures,
    CostShares,
    RandomTiming,
)
from ml.agents.run_spec import AgentSpec, AlgorithmSpec
from ml.agents.verdict import agent_standing, agent_verdict
from ml.api import DataRange
from ml.statistic_results import (
    BootstrapInterval,
    CostPoint,
    DeflatedSharpe,
    PositionMetrics,
    RelativeMetrics,
    SeedSummary,
    SharpeMoments,
    TradingMetrics,
)

AGENT_RUNNING, AGENT_FINISHED, AGENT_OTHER = "agent-running", "agent-finished", "agent-other"
_STEPS, _PASSES, _SEEDS = 3_000_000, 20, 5
_BARS, _YEAR = 4_380, 8_760.0


def agent_spec(kind: str = "ppo", symbol: str = "BTC/USDT") -> AgentSpec:
    """Return what a run in the pictures was asked for."""
    environment = EnvironmentSpec(lowest=0.0, highest=1.0)
    algorithm = replace(AlgorithmSpec.of(kind), steps=_STEPS, seeds=_SEEDS)
    return AgentSpec(data=DataRange(BINANCE, symbol, "1h"), environment=environment, algorithm=algorithm)


def _record(seed: int, number: int) -> ValidationRecord:
    """Return a pass: what is learned is soon unlearned, as on most markets."""
    learned = 1.0 - math.exp(-number / 4.0)
    wobble = 0.03 * math.sin(1.7 * number + seed) + 0.02 * math.sin(0.6 * number * seed)
    return ValidationRecord(
        seed=seed,
        step=number * _STEPS // _PASSES,
        log_return=-0.16 + 0.19 * learned - 0.0006 * number**2 / 4 + wobble,
        turnover=0.21 * math.exp(-number / 5.0) + 0.018 + 0.002 * math.sin(number),
        exposure=0.44 + 0.05 * math.sin(0.9 * number + seed),
        seconds=7.4,
        steps_per_s=20_300.0 + 900.0 * math.sin(number + seed),
        learning=LearningFigures(
            reward=-0.021 + 0.023 * learned + 0.002 * math.sin(2.1 * number + seed),
            value_loss=0.031 * math.exp(-number / 6.0) + 0.009,
            policy_loss=-0.0021 - 0.0006 * math.sin(number + seed),
            divergence=0.0042 + 0.0011 * math.sin(1.3 * number),
            explained_variance=0.31 * learned + 0.03 * math.sin(number),
            spread=1.42 - 0.03 * number + 0.01 * math.sin(number + seed),
            saturated=0.12,
        ),
    )


def _walk(drift: float, swing: float, phase: float) -> tuple[float, ...]:
    days = range(MOST_POINTS)
    return tuple(
        round(math.exp(drift * n + swing * (math.sin(n / 17 + phase) + 0.5 * math.sin(n / 5.3 + 2 * phase))), 6)
        / round(math.exp(swing * (math.sin(phase) + 0.5 * math.sin(2 * phase))), 6)
        for n in days
    )


def pass_curves(seed: int, step: int) -> PassCurves:
    """Return the newest pass beside rules on the same bars."""
    last = Timeframe.D1.floor(NOW_NS) - 180 * Timeframe.D1.ns
    bars = _BARS // MOST_POINTS
    return PassCurves(
        seed=seed,
        step=step,
        time_ns=tuple(last + n * bars * Timeframe.H1.ns for n in range(MOST_POINTS)),
        equity=_walk(0.00018, 0.03, 0.4),
        rules=(
            RuleCurve("hold", _walk(0.00061, 0.09, 0.3)),
            RuleCurve("volatility_target", _walk(0.00052, 0.07, 0.35)),
            RuleCurve("momentum", _walk(-0.0009, 0.03, 1.7)),
            RuleCurve("mean_reversion", _walk(-0.0015, 0.04, 2.6)),
        ),
    )


def agent_progress(run_id: str = AGENT_RUNNING, passes: int = 9) -> tuple[AgentProgress, ...]:
    """Return the messages of a run whose seeds learn side by side."""
    start = AgentProgress(run_id, "loading", steps=_STEPS, seeds=_SEEDS, device="CPU, 2 threads")
    messages = [start]
    for number in range(1, passes + 1):
        for index in range(_SEEDS):
            if number == passes and index > 2:
                continue
            told = [_record(index + 1, n) for n in range(1, number + 1)]
            best = max(told, key=lambda record: record.log_return)
            messages.append(
                replace(
                    start,
                    phase="training",
                    step=told[-1].step,
                    seed_index=index,
                    last=told[-1],
                    best_return=best.log_return,
                    best_step=best.step,
                    steps_per_s=told[-1].steps_per_s / _SEEDS,
                    eta_s=740.0 * (1 - number / _PASSES),
                    cpu_percent=186.0 + 8 * math.sin(number * 1.3 + index),
                    rss_bytes=640_000_000 + 2_000_000 * number,
                    curves=pass_curves(index + 1, told[-1].step),
                )
            )
    return tuple(messages)


def agent_result(run_id: str = AGENT_FINISHED, shift: float = 0.0, algorithm: str = "ppo") -> AgentResult:
    """Return a finished run with the honest figures of an ordinary market: no edge that could be shown."""
    history = tuple(_record(seed, n) for seed in range(1, _SEEDS + 1) for n in range(1, 15 + seed % 3))
    return AgentResult(
        run_id=run_id,
        model_id=MODEL_IDS[1],
        symbol="BTC/USDT",
        timeframe="1h",
        algorithm=algorithm,
        steps=11_400_000,
        seconds=561.0,
        steps_per_s=20_300.0,
        device="CPU, 2 threads (no GPU was found)",
        history=history,
        metrics=agent_metrics(shift),
        total_s=604.0,
    )


def agent_metrics(shift: float = 0.0) -> AgentMetrics:
    """Return the judgement of an agent that trades much and earns less than who holds."""
    ensemble = _figures("ensemble", 0.031 - shift, 212.0, 0.43)
    rules = (
        ("flat", 0.0, 0.0, 0.0, None),
        ("hold", 0.124, 2.0, 1.0, None),
        ("volatility_target", 0.106, 9.0, 0.82, 0.006),
        ("momentum", -0.173, 640.0, 0.51, 24.0),
        ("mean_reversion", -0.304, 910.0, 0.48, 3.0),
    )
    seeds = tuple(
        AgentSeed(seed, _figures(f"seed_{seed}", 0.031 - shift + 0.03 * math.sin(seed), 240.0, 0.44), _diagnostics())
        for seed in range(1, _SEEDS + 1)
    )
    metrics = AgentMetrics(
        bars=_BARS,
        bars_per_year=_YEAR,
        ensemble=ensemble,
        diagnostics=_diagnostics(),
        seeds=seeds,
        pooled_return=_spread([seed.figures.log_return for seed in seeds]),
        pooled_sharpe=_spread([seed.figures.trading.sharpe or 0.0 for seed in seeds]),
        pooled_drawdown=_spread([seed.figures.trading.max_drawdown for seed in seeds]),
        pooled_turnover=_spread([seed.figures.positions.turnover for seed in seeds]),
        baselines=tuple(BaselineFigures(_figures(name, *told), parameter) for name, *told, parameter in rules),
        timing=RandomTiming(400, -0.082, 0.011, 0.093, 0.61, 0.39),
        costs=tuple(
            CostPoint(multiple, delay, _traded(0.061 - 0.03 * multiple - 0.01 * delay - shift), _relative())
            for delay in (0, 1)
            for multiple in (0.0, 1.0, 2.0, 3.0)
        ),
        periods=(),
        sharpe=SharpeMoments(0.0041, _BARS, -0.2, 6.1),
        probabilistic=0.61,
        deflated=DeflatedSharpe(14.0, 0.012, 0.021, 0.13),
        appraisal=SharpeMoments(0.0012, _BARS, -0.1, 5.8),
        deflated_appraisal=DeflatedSharpe(14.0, 0.012, 0.021, 0.09),
        hold_difference=BootstrapInterval(-0.21, -1.42, 0.98, 0.95, 0.36, 24.0, 2_000),
        hindsight_return=9.4,
        hindsight_share=0.003,
        standing="",
        verdict="",
    )
    settled = replace(metrics, standing=agent_standing(metrics))
    return replace(settled, verdict=agent_verdict(settled))


def _figures(name: str, log_return: float, turnover: float, exposure: float) -> AgentFigures:
    return AgentFigures(
        name=name,
        log_return=log_return,
        trading=_traded(log_return),
        positions=PositionMetrics(turnover, exposure, exposure, 0.0, 1.0 - exposure, 18.0, 240),
        relative=None if name == "hold" else _relative(),
        paid=CostShares(turnover * 0.0005, turnover * 0.0001, turnover * 0.0001, 0.0, 0.0, 0.0),
        liquidations=0,
    )


def _relative() -> RelativeMetrics:
    return RelativeMetrics(-0.02, 0.41, -0.3, 0.74)


def _diagnostics() -> AgentDiagnostics:
    return AgentDiagnostics(0.5, 0.11, 0.72, 0.08, 0.74, 0.83, 0.21, 0.14, 0.0, False, False, True)


def _spread(values: list[float]) -> SeedSummary:
    low, high, middle = min(values), max(values), sorted(values)[len(values) // 2]
    return SeedSummary(len(values), middle, middle, low, high, low, high, low, high, 0.95)


def _traded(log_return: float) -> TradingMetrics:
    """Return the figures of returns over half a year that add up to this."""
    flat = log_return == 0.0
    ratio = None if flat else log_return / 0.18
    return TradingMetrics(
        _BARS,
        _YEAR,
        math.expm1(log_return),
        math.expm1(2.0 * log_return),
        0.0 if flat else 0.26,
        ratio,
        None if ratio is None else ratio - 2.7,
        None if ratio is None else ratio + 2.7,
        None,
        None if ratio is None else 1.3 * ratio,
        0.0 if flat else 0.09 + max(0.0, -log_return),
        0 if flat else 1_204,
        None,
        0.0 if flat else 0.041,
        None if flat else -0.2,
        None if flat else 6.1,
        0.0 if flat else -0.0051,
        0.0 if flat else -0.0082,
        None if flat else 1.02,
        None if flat else 0.503,
        None if flat else 1.02,
        None if flat else 0.0024,
        None if flat else 0.0024,
    )
