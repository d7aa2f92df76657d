"""Stored agents in the pictures: one without an edge, one that learned nothing. Qt-free, pure."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from app.flows.sample_session import MODEL_IDS
from app.models.agent_card import AgentCard, AgentEncoder, EquityCurves, SeedSteps
from app.models.model_card import ComparedModels, ModelLineage, ModelRow, PartRange
from app.screenshots.market import NOW_NS
from core.accounting.rules import CostRates
from core.clock import NS_PER_S
from core.domain.data_origin import BINANCE
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.results import (
    EDGE,
    NO_EDGE,
    UNTRAINED,
    AgentDiagnostics,
    AgentFigures,
    AgentMetrics,
    AgentSeed,
    BaselineFigures,
    CostShares,
    MarketFigures,
    PeriodFigures,
    RandomTiming,
)
from ml.agents.run_spec import DDPG, AgentSpec, AlgorithmSpec, EncoderSpec
from ml.agents.universe import UniverseSpec
from ml.agents.verdict import agent_verdict
from ml.api import DataRange, FeatureSpec, ModelSummary
from ml.model_tags import ModelMarks
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

AGENT_IDS = ("7d20c41be96f3a58", "b3c9057e1d64f28a")
_DAY = 86_400 * NS_PER_S
_BARS = 11_387
_POINTS = 400
_NOTHING = CostShares(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_RULES = {  # log return, Sharpe, deepest fall, turnover, exposure, costs; what was looked back
    "flat": (0.0, None, 0.0, 0.0, 0.0, 0.0, None),
    "hold": (1.345, 2.35, 0.217, 0.8, 1.0, 0.001, None),
    "volatility_target": (0.902, 2.21, 0.148, 61.0, 0.72, 0.095, 0.0061),
    "momentum": (0.218, 0.47, 0.336, 214.0, 0.53, 0.334, 96.0),
    "mean_reversion": (-0.871, -1.92, 0.597, 1_108.0, 0.47, 1.727, 3.0),
    "forecast_sign": (0.164, 0.35, 0.291, 388.0, 0.51, 0.605, None),
}


def agent_card() -> AgentCard:
    """Return the card of an agent that trades, earns, and is no better than the market."""
    metrics = _metrics()
    return AgentCard(
        AGENT_IDS[0],
        NOW_NS - _DAY // 2,
        318_000,
        AgentSpec(
            data=DataRange(BINANCE, "BTC/USDT", "1h"),
            features=FeatureSpec("market", 1),
            encoder=EncoderSpec(MODEL_IDS[0]),
            environment=EnvironmentSpec(
                lowest=0.0,
                window=4,
                random_position=True,
                cost_jitter=0.5,
                costs=CostRates(taker_fee=0.001, half_spread=0.0001, slippage=0.0002),
            ),
        ),
        metrics,
        _lineage(),
        ModelMarks(("long only",), "Earns while the market rises."),
        observed=125,
        learned=tuple(SeedSteps(n, 2_998_272, 1_200_000 + 150_000 * n) for n in range(1, 6)),
        encoder=AgentEncoder(MODEL_IDS[0], stored=True),
        curves=_curves(),
        used_by=("Bitcoin agent",),
    )


def several_markets_card() -> AgentCard:
    """Return the card of an agent that learned on three markets."""
    card = agent_card()
    markets = (
        ("BTC/USDT", 0.681, 2.02, 0.126, 1.204, 1.9),
        ("ETH/USDT", 0.214, 0.71, 0.231, 0.602, 1.12),
        ("DOGE/USDT", -0.387, -1.44, 0.512, -0.113, -0.21),
    )
    figures = tuple(
        MarketFigures(
            symbol=symbol,
            bars=_BARS,
            log_return=earned,
            sharpe=ratio,
            max_drawdown=fall,
            turnover=38.0,
            exposure=0.5,
            paid=CostShares(0.0499, 0.005, 0.01, 0.0, 0.0, 0.0),
            liquidations=0,
            hold_log_return=held,
            hold_sharpe=beside,
            hold_max_drawdown=0.4,
        )
        for symbol, earned, ratio, fall, held, beside in markets
    )
    universe = UniverseSpec(tuple(symbol for symbol, *_ in markets[1:]))
    return replace(
        card,
        spec=replace(card.spec, universe=universe, encoder=EncoderSpec()),
        encoder=None,
        metrics=replace(card.metrics, markets=figures),
    )


def idle_agent_card() -> AgentCard:
    """Return the card of an agent that does the same at every bar, and that spot cannot trade."""
    card = agent_card()
    before = card.metrics
    diagnostics = replace(
        before.diagnostics,
        mode_weight=-1.0,
        mode_share=0.998,
        entropy=0.004,
        saturated=0.997,
        hold_correlation=-0.999,
        market_share=0.002,
        account_share=0.41,
        constant=True,
        ignores_market=True,
        reward_gap=0.0214,
        rewards_add_up=False,
    )
    ensemble = replace(
        before.ensemble,
        log_return=-1.62,
        trading=_traded(-1.62, -2.31, 0.803),
        positions=PositionMetrics(0.9, 0.999, 0.0, 1.0, 0.0, 11_387.0, 1),
        relative=RelativeMetrics(-0.02, -0.999, -2.4, -0.999),
        paid=replace(_NOTHING, fee=0.0012, borrow=0.0841),
        liquidations=1,
    )
    seeds = tuple(
        replace(seed, diagnostics=replace(diagnostics, mode_share=0.999 - 0.01 * seed.seed))
        for seed in before.seeds[:2]
    )
    metrics = replace(before, ensemble=ensemble, diagnostics=diagnostics, seeds=seeds, standing=UNTRAINED)
    metrics = replace(
        metrics,
        pooled_return=_spread([-1.61, -1.64]),
        pooled_sharpe=_spread([-2.3, -2.33]),
        pooled_drawdown=_spread([0.8, 0.806]),
        pooled_turnover=_spread([0.9, 1.0]),
    )
    environment = replace(card.spec.environment, lowest=-1.0, window=1)
    algorithm = replace(AlgorithmSpec.of(DDPG), seeds=2)
    return replace(
        card,
        model_id=AGENT_IDS[1],
        spec=replace(card.spec, environment=environment, algorithm=algorithm, encoder=EncoderSpec()),
        metrics=replace(metrics, verdict=agent_verdict(metrics)),
        marks=ModelMarks(),
        observed=24,
        learned=(),
        encoder=None,
        curves=None,
        refusal="The agent chooses weights from -1 to 1, and a spot market allows none below 0 or above 1.",
        used_by=(),
    )


def agent_rows() -> tuple[ModelRow, ...]:
    """Return both in the list."""
    return tuple(ModelRow(_summary(card), card.marks) for card in (agent_card(), idle_agent_card()))


def compared_agents() -> ComparedModels:
    """Return both side by side."""
    cards = agent_card(), idle_agent_card()
    metrics = [card.metrics for card in cards]
    figures: dict[str, list[float | None]] = {
        "bars": [float(each.bars) for each in metrics],
        "ensemble.trading.total_return": [each.ensemble.trading.total_return for each in metrics],
        "ensemble.log_return": [each.ensemble.log_return for each in metrics],
        "ensemble.trading.sharpe": [each.ensemble.trading.sharpe for each in metrics],
        "ensemble.trading.max_drawdown": [each.ensemble.trading.max_drawdown for each in metrics],
        "ensemble.positions.turnover": [each.ensemble.positions.turnover for each in metrics],
        "ensemble.positions.exposure": [each.ensemble.positions.exposure for each in metrics],
        "timing.p_value": [each.timing.p_value for each in metrics],
        "diagnostics.market_share": [each.diagnostics.market_share for each in metrics],
    }
    return ComparedModels(
        AGENT_IDS,
        tuple(f"BTC/USDT 1h · {model_id[:8]}" for model_id in AGENT_IDS),
        tuple((name, tuple(values)) for name, values in figures.items()),
        (
            ("algorithm.kind", ("ppo", "ddpg")),
            ("algorithm.seeds", ("5", "2")),
            ("environment.lowest", ("0.0", "-1.0")),
            ("environment.window", ("4", "1")),
        ),
        (),
        tuple(each.standing for each in metrics),
    )


def _summary(card: AgentCard) -> ModelSummary:
    data = card.spec.data
    return ModelSummary(
        *(card.model_id, card.created_ns, card.spec.algorithm.kind, data.venue, data.symbol, data.timeframe),
        *(1, "market 1", card.metrics.standing == EDGE, None, card.metrics.verdict, card.size_bytes),
        family="agent",
    )


def _lineage() -> ModelLineage:
    first = NOW_NS - 2_400 * _DAY
    return ModelLineage(
        bars=58_419,
        first_ns=first,
        last_ns=NOW_NS - _DAY,
        data_sha256="6d5d27b7e97460aa35d7",
        train=PartRange(first, NOW_NS - 850 * _DAY, 36_848),
        valid=PartRange(NOW_NS - 849 * _DAY, NOW_NS - 485 * _DAY, 8_734),
        test=PartRange(NOW_NS - 484 * _DAY, NOW_NS - _DAY, _BARS),
        code_version="0.5.0+71e76216bb2b",
        run_id="agent-20260820-212950-18047b",
    )


def _metrics() -> AgentMetrics:
    ensemble = AgentFigures(
        "ensemble",
        0.681,
        _traded(0.681, 2.02, 0.126),
        PositionMetrics(38.0, 0.501, 0.62, 0.0, 0.38, 61.0, 87),
        RelativeMetrics(0.031, 0.47, -1.21, 0.872),
        CostShares(0.0499, 0.005, 0.01, 0.0, 0.0, 0.0),
        0,
    )
    diagnostics = AgentDiagnostics(
        *(0.31, 0.214, 0.713, 0.118, 0.872, 0.584, 0.307, 0.122, 4.1e-9),
        constant=False,
        ignores_market=False,
        rewards_add_up=True,
    )
    seeds = tuple(_seed(n, diagnostics) for n in range(1, 6))
    metrics = AgentMetrics(
        bars=_BARS,
        bars_per_year=8_760.0,
        ensemble=ensemble,
        diagnostics=diagnostics,
        seeds=seeds,
        pooled_return=_spread([seed.figures.log_return for seed in seeds]),
        pooled_sharpe=_spread([seed.figures.trading.sharpe or 0.0 for seed in seeds]),
        pooled_drawdown=_spread([seed.figures.trading.max_drawdown for seed in seeds]),
        pooled_turnover=_spread([seed.figures.positions.turnover for seed in seeds]),
        baselines=tuple(_rule(name) for name in _RULES),
        timing=RandomTiming(400, 0.494, 0.655, 0.812, 0.6175, 0.3865),
        costs=tuple(
            CostPoint(
                multiple,
                delay,
                _traded(0.746 - 0.065 * multiple - 0.04 * delay, 2.2 - 0.19 * multiple - 0.1 * delay, 0.124),
                RelativeMetrics(None, None, None, None),
            )
            for delay in (0, 1)
            for multiple in (0.0, 1.0, 2.0, 3.0)
        ),
        periods=tuple(PeriodFigures(*row) for row in _periods()),
        sharpe=SharpeMoments(0.0216, _BARS, -0.14, 21.4),
        probabilistic=0.989,
        deflated=DeflatedSharpe(23, 0.0094, 0.0189, 0.613),
        appraisal=SharpeMoments(0.0031, _BARS, 0.02, 14.2),
        deflated_appraisal=DeflatedSharpe(23, 0.0094, 0.0189, 0.046),
        hold_difference=BootstrapInterval(-0.33, -1.42, 0.71, 0.95, 0.27, 9.4, 2_000),
        hindsight_return=38.2,
        hindsight_share=0.0178,
        standing=NO_EDGE,
        verdict="",
    )
    return replace(metrics, verdict=agent_verdict(metrics))


def _seed(number: int, diagnostics: AgentDiagnostics) -> AgentSeed:
    earned = (0.612, 0.741, 0.553, 0.688, 0.497)[number - 1]
    figures = AgentFigures(
        f"seed_{number}",
        earned,
        _traded(earned, 2.9 * earned, 0.11 + 0.012 * number),
        PositionMetrics(41.0 + 9.0 * number, 0.48 + 0.01 * number, 0.6, 0.0, 0.4, 44.0, 120),
        None,
        replace(_NOTHING, fee=0.06),
        0,
    )
    found = replace(
        diagnostics,
        mode_share=diagnostics.mode_share + 0.03 * number,
        entropy=diagnostics.entropy - 0.02 * number,
        market_share=0.6 - 0.04 * number,
    )
    return AgentSeed(number, figures, found)


def _rule(name: str) -> BaselineFigures:
    earned, ratio, fall, turnover, exposure, paid, parameter = _RULES[name]
    positions = PositionMetrics(turnover, exposure, exposure, 0.0, 1.0 - exposure, None, 0)
    figures = AgentFigures(name, earned, _traded(earned, ratio, fall), positions, None, replace(_NOTHING, fee=paid), 0)
    return BaselineFigures(figures, parameter)


def _periods() -> list[tuple[str, int, float, float, float, float, float]]:
    quarters = ("2025 Q2", "2025 Q3", "2025 Q4", "2026 Q1", "2026 Q2", "2026 Q3")
    earned = (0.291, 0.018, -0.041, 0.233, 0.117, 0.063)
    held = (0.541, 0.069, -0.121, 0.447, 0.298, 0.111)
    return [
        (name, 1_898, mine, theirs, 6.1 * mine, 4.2 * theirs, 0.03 + abs(mine) / 3)
        for name, mine, theirs in zip(quarters, earned, held, strict=True)
    ]


def _curves() -> EquityCurves:
    """Return paths that end where the figures say."""
    rng = random.Random(7)
    first, last = NOW_NS - 484 * _DAY, NOW_NS - _DAY
    market, steps = [0.0], _POINTS - 1
    for _ in range(steps):
        market.append(market[-1] + rng.gauss(0.0, 0.02))

    def path(name: str, end: float, beta: float) -> tuple[float, ...]:
        own = random.Random(name)
        noise = [0.0]
        for _ in range(steps):
            noise.append(noise[-1] + own.gauss(0.0, 0.006))
        raw = [beta * value + wander for value, wander in zip(market, noise, strict=True)]
        return tuple(math.exp(value + (end - raw[-1]) * n / steps) for n, value in enumerate(raw))

    betas = {"hold": 1.0, "volatility_target": 0.7, "momentum": 0.5, "mean_reversion": 0.4, "forecast_sign": 0.5}
    rules = tuple(
        (name, (1.0,) * _POINTS if name == "flat" else path(name, row[0], betas[name])) for name, row in _RULES.items()
    )
    times = tuple(first + (last - first) * n // steps for n in range(_POINTS))
    return EquityCurves("BTC/USDT", times, path("agent", 0.681, 0.48), rules, _BARS)


def _spread(values: list[float]) -> SeedSummary:
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    enough = len(ordered) >= 5
    low, high = (ordered[0], ordered[-1]) if enough else (None, None)
    return SeedSummary(len(ordered), middle, middle, low, high, low, high, ordered[0], ordered[-1], 0.95)


def _traded(log_return: float, ratio: float | None, fall: float) -> TradingMetrics:
    total = math.expm1(log_return)
    return TradingMetrics(
        *(_BARS, 8_760.0, total, total / 1.3, 0.23, ratio, None, None, None, None, fall, 2_450, None),
        *(0.05, -0.1, 21.0, -0.003, -0.006, 1.0, 0.51, 1.06, 0.0015, 0.0015),
    )
