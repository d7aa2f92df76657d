"""Stored models as the window shows them: a row of the list, the card, models side by side. Values, any thread."""

from __future__ import annotations

from dataclasses import dataclass

from app.flows.run_text import finished_text
from core.domain.data_origin import DataOrigin, caution, with_caution
from ml.api import ForecastMetrics, ForecastSpec, ModelSummary
from ml.evaluation_plan import EvaluationProgress
from ml.evaluation_records import DamagedEvaluation, SavedEvaluation
from ml.model_tags import ModelMarks
from ml.verdict import has_edge, verdict


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One stored model in the list.

    Attributes:
        summary: what it is and how it did; its `problem` says why it cannot be used.
        marks: what people said about it.
    """

    summary: ModelSummary
    marks: ModelMarks

    @property
    def model_id(self) -> str:
        """Content hash of the package."""
        return self.summary.model_id

    @property
    def edge(self) -> bool:
        """Whether there is an edge that counts: measured here, and not on invented bars."""
        return self.claimed and not self.marks.foreign

    @property
    def claimed(self) -> bool:
        """Whether the package says that there is an edge on a real market, whoever made it."""
        return self.summary.edge and not caution(DataOrigin(self.summary.venue))


@dataclass(frozen=True, slots=True)
class PartRange:
    """Which bars a part of the split holds: open times of its first and last bar, ns UTC, and its targets."""

    first_ns: int
    last_ns: int
    targets: int


@dataclass(frozen=True, slots=True)
class ModelLineage:
    """What a model was made from.

    Attributes:
        bars / first_ns / last_ns: of the history; open times, ns UTC.
        data_sha256: hash of its bars.
        train / valid / test: the parts of the split.
        code_version: of the program that made it.
        run_id: of the training.
    """

    bars: int
    first_ns: int
    last_ns: int
    data_sha256: str
    train: PartRange
    valid: PartRange
    test: PartRange
    code_version: str
    run_id: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything about one stored model whose files were verified.

    Attributes:
        model_id / created_ns / size_bytes: of the package.
        spec / metrics / lineage: how it was made and how it did.
        marks: what people said about it.
        sharpe_probability: that the true Sharpe ratio of holding the forecast's sign is above zero, were it the only
            one ever tried; None where it is not known.
        used_by: titles of the strategies that trade with it.
        evaluations: what it was judged on since and kept, as `ml.evaluation_records.saved_evaluations` orders it.
    """

    model_id: str
    created_ns: int
    size_bytes: int
    spec: ForecastSpec
    metrics: ForecastMetrics
    lineage: ModelLineage
    marks: ModelMarks
    sharpe_probability: float | None = None
    used_by: tuple[str, ...] = ()
    evaluations: tuple[SavedEvaluation | DamagedEvaluation, ...] = ()

    @property
    def caution(self) -> str:
        """What must be said beside its verdict, in English; "" where its bars are a real market's."""
        return caution(self.spec.data.origin)

    @property
    def edge(self) -> bool:
        """Whether there is an edge that counts: measured here, and not on invented bars."""
        return self.metrics.edge and self._counts

    def verdict_at(self, index: int) -> tuple[str, bool]:
        """Return what may be said of one horizon, in English, and whether there is an edge that counts.

        What trading would have come to was measured at the first horizon only.
        """
        if index == 0:
            return finished_text(self.metrics, self.caution), self.edge
        horizon, tries = self.metrics.horizons[index], self.metrics.tries
        text = with_caution(verdict(horizon, tries), self.spec.data.origin)
        return text, has_edge(horizon, tries) and self._counts

    @property
    def _counts(self) -> bool:
        return not self.marks.foreign and not self.caution


@dataclass(frozen=True, slots=True)
class Judging:
    """How far it is that a model is judged on newer bars, or why that failed.

    Attributes:
        progress: the newest; None before the first.
        stopping: whether it was told to stop.
        message / remedy: why it failed, and what helps; "" while it is at work.
    """

    progress: EvaluationProgress | None = None
    stopping: bool = False
    message: str = ""
    remedy: str = ""

    @property
    def at_work(self) -> bool:
        """Whether it has not ended."""
        return not self.message


@dataclass(frozen=True, slots=True)
class CardProblem:
    """A model that cannot be shown.

    Attributes:
        message / remedy: why, and what helps.
    """

    model_id: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ComparedModels:
    """Models side by side; every row has one text for each of them, in their order.

    Attributes:
        model_ids / titles: the columns.
        metrics: figures of the test part by dotted name; None where a model has none.
        differences: of the configuration, by dotted name.
        not_comparable: why the figures do not measure the same, one sentence each.
        standings: of agents, as `ml.agents.results.STANDINGS` names them; empty for forecasters.
    """

    model_ids: tuple[str, ...]
    titles: tuple[str, ...]
    metrics: tuple[tuple[str, tuple[float | None, ...]], ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    not_comparable: tuple[str, ...]
    standings: tuple[str, ...] = ()
