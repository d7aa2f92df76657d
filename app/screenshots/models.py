"""Stored models in the pictures: an ordinary one without an edge, a foreign one, a damaged one. Qt-free, pure."""

from __future__ import annotations

import math
from dataclasses import replace

from app.flows.sample_session import MODEL_IDS, PRACTICE, SAMPLE_VERDICT
from app.models.model_card import CardProblem, ComparedModels, ModelCard, ModelLineage, ModelRow, PartRange
from app.models.model_look import ModelLook
from app.screenshots.agents import AGENT_IDS
from app.screenshots.market import NOW_NS
from app.screenshots.session import BARS, BTC
from core.clock import NS_PER_S
from core.domain.data_origin import BINANCE
from core.domain.signals import Forecast, HorizonRange
from core.errors import UserError
from ml.api import (
    Calibration,
    CalibrationPoint,
    ClassMetrics,
    Comparison,
    DataRange,
    FeatureSpec,
    ForecastMetrics,
    ForecastSpec,
    HorizonMetrics,
    ModelSpec,
    ModelSummary,
    PointMetrics,
    RangeMetrics,
    RegimeMetrics,
    ReliabilityPoint,
)
from ml.evaluation_plan import ModelResult
from ml.evaluation_records import DamagedEvaluation, SavedEvaluation
from ml.metric_results import ConformalMetrics, FeatureImportance, SeedScore
from ml.model_tags import NO_MARKS, ModelMarks
from ml.outlook import AgentWeights, LookedAt, Outcomes, Outlook
from ml.statistic_results import (
    CostPoint,
    DeflatedSharpe,
    ForecastEarnings,
    PositionMetrics,
    RelativeMetrics,
    SeedSummary,
    SharpeMoments,
    TradingMetrics,
)

_DAY = 86_400 * NS_PER_S
_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
_FEATURES = (
    *(
        ("volatility", 0.0132, 0.0011),
        ("return_1", 0.0021, 0.0012),
        ("atr", 0.0018, 0.0004),
        ("day_sin", 0.0011, 0.0003),
    ),
    *(
        ("log_return", 0.0009, 0.0011),
        ("volume_z", 0.0004, 0.0004),
        ("week_cos", 0.0001, 0.0002),
        ("body", 0.0, 0.0003),
    ),
    *(("macd", -0.0001, 0.0002), ("range_position", -0.0003, 0.0006), ("rsi", -0.0005, 0.0003)),
)
_BASELINES = {  # error of the point forecast beside the model's, r², correlation, p-value
    "zero": (1.0008, 0.0, None, 0.31),
    "persistence": (1.4373, -1.0312, -0.012, 0.0004),
    "climatology": (1.0010, -0.0006, None, 0.29),
    "ridge": (1.0029, -0.0013, 0.011, 0.21),
    "boosting": (1.0128, -0.0184, 0.004, 0.04),
}


def sound_card() -> ModelCard:
    """Return the card of an ordinary model: no edge, honest ranges."""
    lineage = ModelLineage(
        bars=8_981,
        first_ns=NOW_NS - 375 * _DAY,
        last_ns=NOW_NS - _DAY,
        data_sha256="8c1f0d7be5a2494f91c6",
        train=PartRange(NOW_NS - 370 * _DAY, NOW_NS - 112 * _DAY, 6_190),
        valid=PartRange(NOW_NS - 111 * _DAY, NOW_NS - 57 * _DAY, 1_296),
        test=PartRange(NOW_NS - 56 * _DAY, NOW_NS - _DAY, 1_333),
        code_version="0.4.0+5d0c2f61ab3e",
        run_id="run-finished",
    )
    return ModelCard(
        MODEL_IDS[0],
        NOW_NS - _DAY // 3,
        214_000,
        ForecastSpec(
            data=DataRange(BINANCE, "BTC/USDT", "1h"),
            features=FeatureSpec("market", 1),
            model=ModelSpec(horizons=(1, 4, 24)),
        ),
        _metrics(),
        lineage,
        ModelMarks(("first try",)),
        sharpe_probability=0.71,
        used_by=("Bitcoin 1h",),
    )


def class_card() -> ModelCard:
    """Return the card of a foreign model that gives chances of up, flat and down."""
    card = sound_card()
    reliability = tuple(ReliabilityPoint(0.35 + 0.1 * n, 0.36 + 0.07 * n, 600 // (n + 1)) for n in range(4))
    classes = ClassMetrics("model", 0.361, 0.521, (0.53, 0.50, 0.53), 0.021, 0.6648, 1.0969, 0.0129, reliability)
    chance = replace(classes, name="climatology", accuracy=0.352, auc=0.5, mcc=0.0, brier=0.6661, log_loss=1.0981)
    horizons = tuple(replace(row, classes=classes, baseline_classes=(chance,)) for row in card.metrics.horizons)
    return replace(
        card,
        model_id=MODEL_IDS[1],
        spec=replace(card.spec, model=replace(card.spec.model, kind="gru", head="classes")),
        metrics=replace(card.metrics, horizons=horizons),
        marks=ModelMarks((), "", "gift.maru-model", NOW_NS - _DAY // 5),
        used_by=(),
    )


def bare_card() -> ModelCard:
    """Return the card of a model whose figures are the fewest there can be."""
    card = sound_card()
    bare = replace(
        card.metrics, horizons=(), seeds=(), seed_crps=None, seed_r2=None, seed_ic=None, conformal=(), importance=()
    )
    metrics = replace(bare, earnings=None, sharpe=None, deflated=None)
    return replace(card, metrics=metrics, sharpe_probability=None, marks=NO_MARKS, used_by=())


def judged_card() -> ModelCard:
    """Return the card of a model that was judged again twice, and once more into a record that was damaged since."""
    card = sound_card()
    later = _judged(card, 61, 1_440, 0.006, 0.0021, 0.22), _judged(card, 30, 696, -0.019, -0.0043, 0.81)
    name = f"{card.model_id}-20260819-071502-4c0d1e.json"
    broken = DamagedEvaluation(
        name, f"The evaluation {name} is damaged.", "Judge the model again, or restore the file from a backup."
    )
    return replace(card, evaluations=(broken, *later))


def _judged(card: ModelCard, days: int, targets: int, ic: float, r2: float, p_value: float) -> SavedEvaluation:
    horizons = tuple(
        replace(
            each,
            targets=targets,
            model=replace(each.model, r2=r2, ic=ic, ic_low=ic - 0.05, ic_high=ic + 0.05, hit_rate=0.5 + ic / 2),
            edge_p_value=p_value,
        )
        for each in card.metrics.horizons
    )
    figures = f"horizon 1: R² {r2:+.2%} on {targets:,} unseen bars, p = {p_value:.3f}"
    verdict = f"No evidence of an edge over naive forecasts ({figures})."
    note = "The bars it was trained on are not at hand: its yardsticks come from 6,190 earlier bars."
    last_ns = card.lineage.last_ns + days * _DAY
    result = ModelResult(
        model_id=card.model_id,
        venue=BINANCE,
        symbol="BTC/USDT",
        timeframe="1h",
        data_sha256=card.lineage.data_sha256,
        first_ns=card.lineage.last_ns,
        last_ns=last_ns,
        judged=targets,
        trained_on=0,
        included=False,
        earlier=0,
        included_earlier=False,
        own_test=0,
        notes=(note,) if r2 < 0 else (),
        metrics=replace(card.metrics, horizons=horizons, verdict=verdict),
    )
    return SavedEvaluation(f"{card.model_id}-{days}.json", last_ns + _DAY // 4, result)


def damaged() -> CardProblem:
    """Return a package that cannot be read."""
    return CardProblem(
        MODEL_IDS[2],
        f"The file metrics.json of model {MODEL_IDS[2]} is damaged.",
        "Train it again or restore it from a backup.",
    )


def rows() -> tuple[ModelRow, ...]:
    """Return the list: an ordinary model, a foreign one, a damaged one."""
    return (
        ModelRow(_summary(sound_card()), sound_card().marks),
        ModelRow(_summary(class_card()), class_card().marks),
        ModelRow(
            ModelSummary(MODEL_IDS[2], 0, "", PRACTICE, "", "", 0, "", False, None, "", 198_000, damaged().message),
            NO_MARKS,
        ),
    )


def compared() -> ComparedModels:
    """Return the first two of the list side by side."""
    figures = {
        "targets": (1_333.0, 1_333.0),
        "model.mae": (0.00391, 0.00392),
        "model.rmse": (0.00579, 0.0058),
        "model.r2": (0.0004, -0.0007),
        "model.ic": (0.021, 0.012),
        "model.hit_rate": (0.509, 0.503),
        "crps": (0.00284, 0.00286),
        "crps_skill": (0.024, 0.017),
        "coverage": (0.893, 0.907),
        "edge_p_value": (0.31, 0.52),
        "deflated.probability": (0.34, None),
    }
    return ComparedModels(
        MODEL_IDS[:2],
        tuple(f"BTC/USDT 1h · {model_id[:8]}" for model_id in MODEL_IDS[:2]),
        tuple(figures.items()),
        (("model.kind", ("lstm", "gru")), ("model.head", ("quantile", "classes"))),
        (),
    )


def forecast(model_id: str, bar_open_ns: int, middle: float, deviation: float = 0.0035) -> Forecast:
    """Return what a model expects over four horizons.

    Args:
        middle: of its median, in deviations.
        deviation: of the return over one bar.
    """
    steps = (-1.64, -0.67, middle, 0.67, 1.64)
    ranges = tuple(
        HorizonRange(bars, tuple(deviation * math.sqrt(bars) * step for step in steps)) for bars in (1, 4, 12, 24)
    )
    return Forecast(BTC, bar_open_ns, 1, _LEVELS, ranges[0].quantiles, 0.3, model_id, "", ranges)


def sound_look() -> ModelLook:
    """Return a model that is looked at on bars like those it learned from."""
    outlook = Outlook(NOW_NS, 1.0, forecast(MODEL_IDS[2], NOW_NS, -0.5), 211, 211, Outcomes(143, 131, 0.9, 1))
    return ModelLook(LookedAt(MODEL_IDS[2], BTC, BARS.value, PRACTICE, foreign=False), True, PRACTICE, outlook)


def foreign_look() -> ModelLook:
    """Return one that was made elsewhere, from other bars."""
    look = sound_look()
    outlook = Outlook(NOW_NS, 1.0, forecast(MODEL_IDS[2], NOW_NS, -0.5, 0.0022), 211, 211)
    return replace(look, model=replace(look.model, origin=BINANCE, foreign=True), outlook=outlook)


def agent_look() -> ModelLook:
    """Return an agent that is looked at, on bars like those it learned from."""
    size = 200
    target = tuple(round(0.8 * math.sin(at / 17) + 0.2 * math.sin(at / 5), 3) for at in range(size))
    held = (0.0, *target[:-1])
    times = tuple(NOW_NS + at for at in range(size))  # the scene puts them on the bars it has
    outlook = Outlook(NOW_NS, 1.0, None, 211, 211, weights=AgentWeights(times, target, held, 431))
    model = LookedAt(AGENT_IDS[0], BTC, BARS.value, PRACTICE, foreign=False, agent=True)
    return ModelLook(model, True, PRACTICE, outlook)


def early_look() -> ModelLook:
    """Return one for which there are too few bars."""
    return replace(sound_look(), outlook=Outlook(NOW_NS, 1.0, None, 1_000, 1_467))


def waiting_look() -> ModelLook:
    """Return one whose market is not on the chart."""
    return ModelLook(LookedAt(MODEL_IDS[2], "SOL/USDT", "4h", PRACTICE, foreign=False))


def failed_look() -> ModelLook:
    """Return one that could not go on."""
    problem = UserError(
        f"Model {MODEL_IDS[2]} failed on a bar of the chart.",
        "The log says how. Take the model off the chart, or look at another one.",
    )
    return replace(sound_look(), outlook=None, problem=problem)


def _summary(card: ModelCard) -> ModelSummary:
    spec, metrics = card.spec, card.metrics
    data = spec.data
    return ModelSummary(
        *(card.model_id, card.created_ns, spec.model.kind, data.venue, data.symbol, data.timeframe),
        *(spec.model.horizon_bars, "market 1", metrics.edge, metrics.model.r2, metrics.verdict, card.size_bytes),
    )


def _metrics() -> ForecastMetrics:
    horizons = tuple(_horizon(bars) for bars in (1, 4, 24))
    main = horizons[0]
    seeds = tuple(
        SeedScore(n, 24, 15, 0.4064, 0.00284 + 0.00001 * n, 0.0011 - 0.0004 * n, 0.03 - 0.004 * n, 0.51, 0.01, 0.008)
        for n in range(1, 6)
    )
    return ForecastMetrics(
        targets=main.targets,
        effective_targets=main.effective_targets,
        model=main.model,
        baselines=main.baselines,
        pinball=0.00142,
        pinball_baseline=0.00146,
        coverage=0.893,
        nominal_coverage=0.9,
        edge_p_value=0.31,
        edge=False,
        forecast_std=0.0006,
        target_std=0.0058,
        verdict=SAMPLE_VERDICT,
        crps=0.00284,
        crps_baseline=0.00291,
        crps_skill=0.024,
        horizons=horizons,
        seeds=seeds,
        seed_crps=_spread([score.crps for score in seeds]),
        seed_r2=_spread([score.r2 for score in seeds]),
        seed_ic=_spread([score.ic or 0.0 for score in seeds]),
        conformal=tuple(
            ConformalMetrics(
                h.horizon,
                0.9,
                0.893,
                0.0181 * math.sqrt(h.horizon),
                0.901,
                0.0185 * math.sqrt(h.horizon),
                0.899,
                0.0184 * math.sqrt(h.horizon),
                (),
            )
            for h in horizons
        ),
        importance=tuple(FeatureImportance(*row) for row in _FEATURES),
        earnings=_earnings(),
        sharpe=SharpeMoments(0.0151, 1_333, 0.12, 5.4),
        deflated=DeflatedSharpe(38, 0.0124, 0.0263, 0.34),
    )


def _horizon(bars: int) -> HorizonMetrics:
    wide = math.sqrt(bars)
    mae, crps = 0.00391 * wide, 0.00284 * wide

    def point(name: str, ratio: float, r2: float, ic: float | None) -> PointMetrics:
        low, high = (None, None) if ic is None else (0.509 - 0.027, 0.509 + 0.027)
        hit = None if ic is None else 0.509
        return PointMetrics(name, mae * ratio, mae * ratio * 1.48, 1.0008 - ratio, r2, ic, ic, hit, low, high)

    baselines = tuple(point(name, ratio, r2, ic) for name, (ratio, r2, ic, _) in _BASELINES.items())
    ranges = RangeMetrics("model", crps / 2, crps, 0.893, 0.9, 0.0181 * wide, 0.0236 * wide)
    regimes = [
        ("volatility", name, n, skill)
        for name, n, skill in (("low", 402, 0.031), ("middle", 561, 0.022), ("high", 370, 0.02))
    ]
    regimes += [("trend", "down", 618, 0.021), ("trend", "up", 715, 0.027)]
    return HorizonMetrics(
        horizon=bars,
        targets=1_333,
        effective_targets=1_333 // bars,
        model=point("model", 1.0, 0.0004, 0.021),
        baselines=baselines,
        ranges=ranges,
        baseline_ranges=tuple(
            replace(ranges, name=name, crps=crps * 1.025 * ratio) for name, (ratio, *_) in _BASELINES.items()
        ),
        crps_skill=0.024,
        comparisons=tuple(Comparison(name, "squared", 0.0, 0.5, p, p) for name, (*_, p) in _BASELINES.items()),
        calibration=Calibration(
            tuple(CalibrationPoint(level, level + 0.012 * math.sin(9 * level)) for level in _LEVELS),
            (141, 128, 133, 137, 126, 130, 139, 127, 131, 141),
            0.017,
            0.83,
        ),
        edge_p_value=0.31,
        edge=False,
        range_edge=True,
        regimes=tuple(
            RegimeMetrics(group, name, n, mae, 0.0, 0.0004, 0.02, 0.508, crps, skill, 0.893)
            for group, name, n, skill in regimes
        ),
    )


def _spread(values: list[float]) -> SeedSummary:
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return SeedSummary(
        len(ordered), middle, middle, ordered[0], ordered[-1], ordered[1], ordered[-2], ordered[0], ordered[-1], 0.95
    )


def _earnings() -> ForecastEarnings:
    points = tuple(
        CostPoint(
            float(multiple),
            delay,
            _earned(0.071 - 0.19 * multiple - 0.045 * delay),
            RelativeMetrics(None, None, None, None),
        )
        for delay in (0, 1)
        for multiple in range(4)
    )
    positions = PositionMetrics(1_410.0, 1.0, 0.52, 0.48, 0.0, 3.1, 428)
    return ForecastEarnings(0.001, positions, points, _earned(0.124))


def _earned(total: float) -> TradingMetrics:
    return TradingMetrics(
        *(1_333, 8_760.0, total, total * 6, 0.5, 9 * total, None, None, None, None, 0.11 + abs(total) / 2, 300, None),
        *(0.04, 0.1, 5.4, -0.009, -0.013, 1.0, 0.505, 1.01, 0.004, 0.004),
    )
