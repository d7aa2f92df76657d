"""What a training run came to, in sentences for its panel and its notice. Qt-free, pure, any thread."""

from __future__ import annotations

from ml.agents.results import AgentMetrics
from ml.api import ForecastMetrics
from ml.verdict import idle_sentence


def finished_text(metrics: ForecastMetrics, caution: str) -> str:
    """Return the whole of it in English: half a verdict may promise what its other half takes back.

    Args:
        metrics: of the run.
        caution: what must be said about its bars, or "".
    """
    return " ".join(filter(None, (metrics.verdict, idle_sentence(metrics.seeds), caution)))


def agent_finished_text(metrics: AgentMetrics, caution: str) -> str:
    """Return the same of an agent, see `finished_text`."""
    return f"{metrics.verdict} {caution}".rstrip()
