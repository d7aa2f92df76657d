"""Finished training runs side by side: what was asked for and what came of it. GUI thread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject

from app.flows.sentence_text import local_text
from app.i18n import MISSING, format_duration, format_number, format_percent, mark, tr
from app.models.record_model import Column, RecordModel, Tone
from core.errors import UserError
from ml.api import ForecastSpec, TrainingResult

_Column = Column["ComparedRun"]


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One finished run.

    Attributes:
        run_id: identity.
        name: market and time.
        spec: what was asked for; None where another version of the program wrote it.
        result: what came of it.
        caution: what must be said beside its verdict; "" where nothing.
        order: sorts by time.
    """

    run_id: str
    name: str
    spec: ForecastSpec | None
    result: TrainingResult
    caution: str
    order: int

    @property
    def verdict(self) -> str:
        """The verdict with its caution, in the present language."""
        return local_text(f"{self.result.metrics.verdict} {self.caution}".rstrip())

    @property
    def edge(self) -> bool:
        """Whether there is an edge that counts: none does on invented bars."""
        return self.result.metrics.edge and not self.caution


def compared_run(
    run_id: str, name: str, spec: dict[str, object] | None, result: TrainingResult, caution: str, order: int
) -> ComparedRun:
    """Return the row of a finished run."""
    try:
        parsed = None if spec is None else ForecastSpec.from_json(spec)
    except UserError:
        parsed = None
    return ComparedRun(run_id, name, parsed, result, caution, order)


def _figure(key: str, title: str, value: str, decimals: int, width: int = 9) -> _Column:
    """Return a column of a figure that may be missing, named by its path below the run's attributes."""

    def read(row: ComparedRun) -> float | None:
        found: Any = row
        for part in value.split("."):
            found = None if found is None else getattr(found, part)
        return None if found is None else float(found)

    return _Column(
        key,
        title,
        lambda row: MISSING if (found := read(row)) is None else format_number(found, decimals),
        lambda row: -math.inf if (found := read(row)) is None else found,
        numeric=True,
        width=width,
    )


def _word(key: str, title: str, part: str, name: str, width: int) -> _Column:
    def read(row: ComparedRun) -> str:
        return MISSING if row.spec is None else str(getattr(getattr(row.spec, part), name))

    return _Column(key, title, read, read, width=width)


def _edge_text(row: ComparedRun) -> str:
    if row.edge:
        return f"● {tr('yes')}"
    return f"○ {tr('invented market')}" if row.result.metrics.edge else f"○ {tr('no')}"


class TrainingCompareModel(RecordModel[ComparedRun]):
    """One row per finished run."""

    def __init__(self, parent: QObject | None = None) -> None:
        columns = (
            _Column("run", mark("Run"), lambda row: row.name, lambda row: row.order, width=32),
            _Column(
                "verdict",
                mark("Edge"),
                _edge_text,
                lambda row: int(row.edge),
                tone=lambda row: Tone.SUCCESS if row.edge else Tone.MUTED,
                width=9,
            ),
            _figure("pinball", mark("Pinball"), "result.metrics.pinball", 4),
            _figure("crps", mark("CRPS"), "result.metrics.crps", 5),
            _figure("r2", mark("R²"), "result.metrics.model.r2", 4),
            _figure("ic", mark("IC"), "result.metrics.model.ic", 4),
            _Column(
                "skill",
                mark("Skill"),
                lambda row: format_percent(row.result.metrics.model.skill, 2, sign=True),
                lambda row: row.result.metrics.model.skill,
                numeric=True,
                width=9,
            ),
            _figure("p_value", mark("p-value"), "result.metrics.edge_p_value", 3),
            _word("kind", mark("Model"), "model", "kind", 8),
            _figure("hidden", mark("Hidden"), "spec.model.hidden_size", 0, 8),
            _word("features", mark("Features"), "features", "name", 12),
            _figure("seed", mark("Seed"), "spec.training.seed", 0, 7),
            _figure("epochs", mark("Epochs"), "result.epochs_run", 0, 8),
            _Column(
                "duration",
                mark("Duration"),
                lambda row: format_duration(row.result.seconds),
                lambda row: row.result.seconds,
                numeric=True,
                width=10,
            ),
            _Column("sentence", mark("Verdict"), lambda row: row.verdict, lambda row: row.verdict, width=50),
        )
        super().__init__(columns, lambda row: row.run_id, parent=parent)
