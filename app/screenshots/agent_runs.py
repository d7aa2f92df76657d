"""Runs of agents in the pictures. Qt-free, pure, any thread."""

from __future__ import annotations

import math
from dataclasses import replace

from app.screenshots.agents import AGENT_IDS, agent_card
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
from ml.agents.results import AgentMetrics
from ml.agents.run_spec import AgentSpec, AlgorithmSpec
from ml.agents.verdict import agent_verdict
from ml.api import DataRange

AGENT_RUNNING, AGENT_FINISHED, AGENT_OTHER = "agent-running", "agent-finished", "agent-other"
_STEPS, _PASSES, _SEEDS = 3_000_000, 20, 5
_BARS = 4_380


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
        model_id=AGENT_IDS[0],
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
    """Return the judgement of the stored agent in the pictures, or of one that earned so much less in log return."""
    metrics = agent_card().metrics
    earned = metrics.ensemble.log_return - shift
    trading = replace(metrics.ensemble.trading, total_return=math.expm1(earned))
    changed = replace(metrics, ensemble=replace(metrics.ensemble, log_return=earned, trading=trading))
    return replace(changed, verdict=agent_verdict(changed))
