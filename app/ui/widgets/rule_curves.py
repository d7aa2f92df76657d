"""How an agent and the rules it is measured against look in every plot of equity. GUI thread."""

from __future__ import annotations

from app.flows.agent_names import rule_name
from app.ui.widgets.curve_plot import Curve, CurveColour

# Rules differ in colour and dash; holding, which decides most verdicts, stands out.
_LOOKS = {
    "ensemble": (CurveColour.ACCENT, False),
    "hold": (CurveColour.WARNING, False),
    "short": (CurveColour.WARNING, True),
    "volatility_target": (CurveColour.SUCCESS, True),
    "momentum": (CurveColour.VIOLET, True),
    "mean_reversion": (CurveColour.MUTED, True),
    "forecast_sign": (CurveColour.SUCCESS, False),
}
_OTHER = (CurveColour.MUTED, False)
AGENT = "ensemble"


def rule_curve(name: str, x: tuple[float, ...], equity: tuple[float, ...]) -> Curve:
    """Return the curve of the agent (`AGENT`) or of a rule, by its name in `ml.agents.results`."""
    colour, dashed = _LOOKS.get(name, _OTHER)
    return Curve(rule_name(name), x, equity, colour, dashed=dashed)
