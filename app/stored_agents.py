"""Reads stored agents for the window. Qt-free; runs on a worker's thread, imports neither torch nor numba."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.models.agent_card import AgentCard, AgentEncoder, SeedSteps
from app.models.model_card import ModelLineage
from app.training_reads import agent_trouble
from core.config import DataPaths
from ml.agents.claims import settle_agent_claims
from ml.agents.package import StoredAgent
from ml.model_tags import ModelMarks
from ml.trial_ledger import TrialLedger


def agent_card(
    paths: DataPaths, stored: StoredAgent, lineage: ModelLineage, marks: ModelMarks, used_by: tuple[str, ...]
) -> AgentCard:
    """Return all about a verified agent."""
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
        refusal=agent_trouble(paths.models, agent.model_id),
        used_by=used_by,
    )


def agent_of_today(paths: DataPaths, stored: StoredAgent) -> StoredAgent:
    """Return the agent with what may be claimed of it after all trials up to now; no ledger knows of none."""
    if not paths.trials.exists():
        return stored
    metrics = settle_agent_claims(stored.metrics, TrialLedger(paths.trials), [stored.spec.data])
    return replace(stored, metrics=metrics)


def _learned(manifest: dict[str, Any]) -> tuple[SeedSteps, ...]:
    """Return what a manifest says of its networks; a foreign one may say anything, or nothing."""
    run = manifest.get("run")
    rows = run.get("seeds") if isinstance(run, dict) else None
    try:
        found = tuple(SeedSteps(int(row["seed"]), int(row["steps"]), int(row["best_step"])) for row in rows or ())
    except (TypeError, KeyError, ValueError, OverflowError):
        return ()
    return found if all(row.steps >= row.best_step >= 0 for row in found) else ()
