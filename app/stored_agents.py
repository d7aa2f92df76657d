"""Reads stored agents for the window. Qt-free; runs on a worker's thread, imports neither torch nor numba."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from app.models.agent_card import AgentCard, AgentEncoder, EquityCurves, SeedSteps
from app.models.model_card import ModelLineage
from core.config import DataPaths
from core.domain.candles import Timeframe
from core.errors import UserError
from core.strategies.agent_strategy import require_spot
from ml.agents.claims import settle_agent_claims
from ml.agents.episode import Episode
from ml.agents.inference import load_policy
from ml.agents.package import StoredAgent
from ml.model_storage import load_episode
from ml.model_tags import ModelMarks
from ml.trial_ledger import TrialLedger

MOST_POINTS = 600  # more than a plot is wide


def agent_card(
    paths: DataPaths, stored: StoredAgent, lineage: ModelLineage, marks: ModelMarks, used_by: tuple[str, ...]
) -> AgentCard:
    """Return all about a verified agent.

    Raises:
        UserError: its evaluated pass is damaged, or the ledger of trials is.
    """
    agent = agent_of_today(paths, stored)
    encoder = agent.encoder_id
    return AgentCard(
        model_id=agent.model_id,
        created_ns=int(agent.manifest["created_ns"]),
        size_bytes=sum(path.stat().st_size for path in agent.folder.iterdir() if path.is_file()),
        spec=agent.spec,
        metrics=agent.metrics,
        lineage=lineage,
        marks=marks,
        observed=agent.observed,
        learned=_learned(agent.manifest),
        encoder=AgentEncoder(encoder, (paths.models / encoder).is_dir()) if encoder else None,
        curves=_curves(load_episode(paths.models, agent.model_id), Timeframe(agent.spec.data.timeframe)),
        refusal=agent_trouble(paths.models, agent.model_id),
        used_by=used_by,
    )


def agent_of_today(paths: DataPaths, stored: StoredAgent) -> StoredAgent:
    """Return the agent with what may be claimed of it after all trials up to now; no ledger knows of none."""
    if not paths.trials.exists():
        return stored
    metrics = settle_agent_claims(stored.metrics, TrialLedger(paths.trials), stored.spec.ranges)
    return replace(stored, metrics=metrics)


def agent_trouble(models: Path, model_id: str) -> str:
    """Return why no strategy can follow an agent; "" where one can."""
    try:
        agent = load_policy(models, model_id)
        require_spot(agent.lowest, agent.highest)
    except UserError as exc:
        return exc.message
    return ""


def _curves(episode: Episode | None, timeframe: Timeframe) -> EquityCurves | None:
    """Return the equity at as many closes as a plot can show; the last one is among them."""
    if episode is None:
        return None
    size = len(episode)
    rows = np.unique(np.linspace(0, size - 1, min(size, MOST_POINTS)).round().astype(np.int64))
    closes = episode.time_ns[rows] + timeframe.ns
    return EquityCurves(
        symbol=episode.symbol,
        time_ns=tuple(closes.tolist()),
        agent=tuple(episode.equity[rows].tolist()),
        rules=tuple((name, tuple(values[rows].tolist())) for name, values in episode.rules.items()),
        bars=size,
        left_out=episode.left_out,
    )


def _learned(manifest: dict[str, Any]) -> tuple[SeedSteps, ...]:
    """Return what a manifest says of its networks; a foreign one may say anything, or nothing."""
    run = manifest.get("run")
    rows = run.get("seeds") if isinstance(run, dict) else None
    try:
        found = tuple(SeedSteps(int(row["seed"]), int(row["steps"]), int(row["best_step"])) for row in rows or ())
    except (TypeError, KeyError, ValueError, OverflowError):
        return ()
    return found if all(row.steps >= row.best_step >= 0 for row in found) else ()
