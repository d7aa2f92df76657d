"""A stored agent as the window shows it. Values, any thread."""

from __future__ import annotations

from dataclasses import dataclass

from app.models.model_card import ModelLineage
from core.domain.data_origin import caution, with_caution
from ml.agents.results import EDGE, AgentMetrics
from ml.agents.run_spec import AgentSpec
from ml.model_tags import ModelMarks


@dataclass(frozen=True, slots=True)
class SeedSteps:
    """What one network learned from: decisions in all, and those after which it was best on the validation part."""

    seed: int
    steps: int
    best_step: int


@dataclass(frozen=True, slots=True)
class EquityCurves:
    """The evaluated pass over the test part, thinned to what a plot can show.

    Attributes:
        symbol: market of the bars.
        time_ns: closes looked at, ns UTC, ascending.
        agent: its equity there, 1 where the pass began.
        rules: equity of the rules in the same accounts, by name.
        bars / left_out: how many bars are kept, and earlier ones that are not.
    """

    symbol: str
    time_ns: tuple[int, ...]
    agent: tuple[float, ...]
    rules: tuple[tuple[str, tuple[float, ...]], ...]
    bars: int
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class AgentEncoder:
    """The forecaster an agent sees through.

    Attributes:
        model_id: of its package.
        stored: whether it is here; without it the agent cannot decide.
    """

    model_id: str
    stored: bool


@dataclass(frozen=True, slots=True)
class AgentCard:
    """Everything about one stored agent whose files were verified.

    Attributes:
        model_id / created_ns / size_bytes: of the package.
        spec / metrics / lineage: how it was made and how it did.
        marks: what people said about it.
        observed: how many numbers it sees at each bar.
        learned: what its networks learned from; empty where the package does not say.
        encoder: the forecaster it sees through; None without one.
        curves: of the evaluated pass; None where the package does not hold it.
        refusal: why no strategy can follow it, in English; "" where one can.
        used_by: titles of the strategies that trade with it.
    """

    model_id: str
    created_ns: int
    size_bytes: int
    spec: AgentSpec
    metrics: AgentMetrics
    lineage: ModelLineage
    marks: ModelMarks
    observed: int
    learned: tuple[SeedSteps, ...] = ()
    encoder: AgentEncoder | None = None
    curves: EquityCurves | None = None
    refusal: str = ""
    used_by: tuple[str, ...] = ()

    @property
    def edge(self) -> bool:
        """Whether there is an edge that counts: measured here, and not on invented bars."""
        return self.metrics.standing == EDGE and not self.marks.foreign and not caution(self.spec.data.origin)

    @property
    def verdict(self) -> str:
        """What may be said of it, in English."""
        return with_caution(self.metrics.verdict, self.spec.data.origin)

    @property
    def is_tradable(self) -> bool:
        """Whether a strategy can be made of it."""
        return not self.refusal
