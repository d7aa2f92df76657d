"""What the training queue holds: forecasters, searches for their settings, agents. Qt-free, pure, any thread."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ml.agents.job import is_agent
from ml.search_results import is_search


class TrainingKind(StrEnum):
    """Kind of a run; its value is the name in the books."""

    FORECAST = "forecast"
    SEARCH = "search"
    AGENT = "agent"


def kind_of(spec: Mapping[str, Any]) -> TrainingKind:
    """Return what a specification in JSON form asks for; a forecaster where it says nothing else."""
    if is_search(spec):
        return TrainingKind.SEARCH
    return TrainingKind.AGENT if is_agent(spec) else TrainingKind.FORECAST
