"""Finished training runs side by side: what was asked for and what came of it. GUI thread."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject

from app.flows.model_words import p_text
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
    def seconds(self) -> float:
        """From its start to its model; of the learning where no more was written down."""
        return self.result.total_s or self.result.seconds

    @property
    def epochs(self) -> int:
        """Of all networks together."""
        return len(self.result.history)

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


def _figure(key: str, title: str, value: str, write: Callable[[float], str], width: int = 9) -> _Column:
    """Return a column of a figure that may be missing, named by its path below the run's attributes."""

    def read(row: ComparedRun) -> float | None:
        found: Any = row
        for part in value.split("."):
            found = None if found is None else getattr(found, part)
        return None if found is None else float(found)

    return _Column(
        key,
        title,
        lambda row: MISSING if (found := read(row)) is None else write(found),
        lambda row: -math.inf if (found := read(row)) is None else found,
        numeric=True,
        width=width,
    )


def _plain(decimals: int, *, sign: bool = False) -> Callable[[float], str]:
    return lambda value: format_number(value, decimals, sign=sign)


def _share(decimals: int, *, sign: bool = False) -> Callable[[float], str]:
    return lambda value: format_percent(value, decimals, sign=sign)


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
            _Column("run", mark("Run"), lambda row: row.name, lambda row: row.order, width=44),
            _Column(
                "verdict",
                mark("Edge"),
                _edge_text,
                lambda row: int(row.edge),
                tone=lambda row: Tone.SUCCESS if row.edge else Tone.MUTED,
                width=9,
            ),
            # Returns and shares in %, as on the model card; curves are in units of volatility and say so.
            _figure("pinball", mark("Pinball"), "result.metrics.pinball", _share(4)),
            _figure("crps", mark("CRPS"), "result.metrics.crps", _share(4)),
            _figure("r2", mark("R²"), "result.metrics.model.r2", _share(2, sign=True)),
            _figure("ic", mark("IC"), "result.metrics.model.ic", _plain(3, sign=True)),
            _figure("skill", mark("Skill"), "result.metrics.model.skill", _share(2, sign=True)),
            _figure("p_value", mark("p-value"), "result.metrics.edge_p_value", p_text),
            _word("kind", mark("Model"), "model", "kind", 8),
            _figure("hidden", mark("Hidden"), "spec.model.hidden_size", _plain(0), 8),
            _word("features", mark("Features"), "features", "name", 12),
            _figure("seed", mark("Seed"), "spec.training.seed", _plain(0), 7),
            _figure("networks", mark("Networks"), "spec.evaluation.seeds", _plain(0), 9),
            _figure("epochs", mark("Epochs"), "epochs", _plain(0), 8),
            _Column(
                "duration",
                mark("Duration"),
                lambda row: format_duration(row.seconds),
                lambda row: row.seconds,
                numeric=True,
                width=10,
            ),
            _Column("sentence", mark("Verdict"), lambda row: row.verdict, lambda row: row.verdict, width=50),
        )
        super().__init__(columns, lambda row: row.run_id, parent=parent)
