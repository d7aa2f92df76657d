"""Reads the judged pass of a stored agent for the window. Qt-free; runs on a worker's thread."""

from __future__ import annotations

from app.models.replay import AgentReplay
from core.config import DataPaths
from core.errors import UserError
from ml.model_storage import load_agent, load_episode


def read_replay(paths: DataPaths, model_id: str) -> AgentReplay:
    """Verify an agent and return its judged pass.

    Raises:
        UserError: no such agent, its package is damaged, or it keeps no episode.
    """
    stored = load_agent(paths.models, model_id)
    episode = load_episode(paths.models, model_id)
    if episode is None:
        raise UserError(
            f"The agent {model_id} was stored without the bars it was judged on.",
            "An earlier version made it. Train it again to replay what it did.",
        )
    markets = max(1, len(stored.metrics.markets))
    return AgentReplay.of(model_id, stored.spec.data.origin, stored.spec.algorithm.kind, episode, markets)
