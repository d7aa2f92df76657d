"""What rules beside an agent and its standings are called. Qt-free, pure, any thread."""

from __future__ import annotations

from app.i18n import mark, tr
from ml.agents.results import EDGE, HOLD, NO_EDGE, UNTRAINED

_RULES = {
    "ensemble": mark("This agent"),
    "flat": mark("Holding nothing"),
    "hold": mark("Buy and hold"),
    "short": mark("Short and hold"),
    "volatility_target": mark("Hold, volatility-targeted"),
    "momentum": mark("Momentum"),
    "mean_reversion": mark("Mean reversion"),
    "forecast_sign": mark("The forecaster's sign"),
}
_STANDINGS = {
    UNTRAINED: mark("Not trained"),
    NO_EDGE: mark("No edge shown"),
    HOLD: mark("Like buy and hold"),
    EDGE: mark("Evidence of an edge"),
}


def rule_name(name: str) -> str:
    """Return what a rule is called; one this version does not know keeps its own name."""
    return tr(_RULES[name]) if name in _RULES else name


def standing_text(standing: str) -> str:
    """Return what may be claimed of an agent in a word or two."""
    return tr(_STANDINGS[standing]) if standing in _STANDINGS else standing
