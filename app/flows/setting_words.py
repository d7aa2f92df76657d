"""Settings that a search varies or that models differ in, in words. Qt-free, pure, any thread."""

from __future__ import annotations

from app.flows.agent_review import ACTION_TITLES, REWARD_TITLES
from app.flows.model_words import HEADS
from app.flows.training_review import FEATURE_TEXTS, SCHEDULE_TITLES
from app.i18n import format_number, mark, tr
from ml.search_spec import GROUP, OFF, ON

SETTINGS = {
    "features.name": mark("Feature set"),
    "features.window": mark("Window"),
    "model.kind": mark("Network"),
    "model.head": mark("Forecast"),
    "model.hidden_size": mark("Hidden size"),
    "model.layers": mark("Layers"),
    "model.dropout": mark("Dropout"),
    "model.layer_norm": mark("Layer norm"),
    "model.flat_band": mark("Flat band"),
    "training.learning_rate": mark("Learning rate"),
    "training.schedule": mark("Schedule"),
    "training.clip_norm": mark("Gradient limit"),
    "training.batch_segments": mark("Batch"),
    "training.segment_length": mark("Segment length"),
    "training.burn_in": mark("Burn-in"),
    "training.weight_decay": mark("Weight decay"),
}
# What no search varies, but two models may differ in.
_OTHERS = {
    "data.venue": mark("Source"),
    "data.symbol": mark("Market"),
    "data.timeframe": mark("Bar length"),
    "model.horizons": mark("Horizons"),
    "training.epochs": mark("Epochs"),
    "training.seed": mark("Seed"),
    "evaluation.seeds": mark("Networks"),
    "encoder.model": mark("Encoder"),
    "encoder.embedding": mark("Encoder's state"),
    "encoder.quantiles": mark("Encoder's quantiles"),
    "environment.window": mark("Bars seen at once"),
    "environment.actions": mark("Actions"),
    "environment.levels": mark("Weights to choose from"),
    "environment.lowest": mark("Lowest weight"),
    "environment.highest": mark("Highest weight"),
    "environment.reward": mark("Reward"),
    "environment.episode": mark("Episode"),
    "environment.random_position": mark("Random position at the start"),
    "environment.cost_jitter": mark("Costs drawn anew"),
    "environment.costs.taker_fee": mark("Taker fee"),
    "environment.costs.half_spread": mark("Half spread"),
    "environment.costs.slippage": mark("Slippage"),
    "environment.costs.impact": mark("Market impact"),
    "environment.band": mark("Rebalancing band"),
    "algorithm.kind": mark("Algorithm"),
    "algorithm.steps": mark("Steps"),
    "algorithm.windows": mark("Accounts at once"),
    "algorithm.hidden": mark("Hidden layers"),
    "algorithm.learning_rate": mark("Learning rate"),
    "algorithm.batch": mark("Batch"),
    "algorithm.gamma": mark("Discount"),
    "algorithm.entropy": mark("Reward for entropy"),
    "algorithm.noise": mark("Exploration noise"),
    "algorithm.seeds": mark("Networks"),
    "algorithm.seed": mark("Seed"),
}
_ON_OFF = {"true": mark("on"), "false": mark("off"), ON: mark("on"), OFF: mark("off")}
_VALUES = {
    "model.head": HEADS,
    "training.schedule": SCHEDULE_TITLES,
    "environment.reward": REWARD_TITLES,
    "environment.actions": ACTION_TITLES,
}
_DIGITS = 3


def setting_name(name: str) -> str:
    """Return what a setting is called, in the present language; one of another version keeps its own name."""
    if name.startswith(GROUP):
        return tr("Group {name}", name=name.removeprefix(GROUP))
    words = SETTINGS.get(name) or _OTHERS.get(name)
    return tr(words) if words else name


def setting_value(name: str, value: str) -> str:
    """Return the value of a setting as written, numbers with three significant digits."""
    if name == "features.name":
        return next((tr(texts[0]) for (known, _), texts in FEATURE_TEXTS.items() if known == value), value)
    if name in ("model.kind", "algorithm.kind"):
        return value.upper()
    words = _VALUES.get(name, _ON_OFF)
    if value.lower() in words:
        return tr(words[value.lower()])
    try:
        number = float(value)
    except ValueError:
        return value
    return format_number(int(number) if number.is_integer() else float(f"{number:.{_DIGITS}g}"))
