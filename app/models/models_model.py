"""Stored models as a table. GUI thread."""

from __future__ import annotations

import math

from PySide6.QtCore import QObject

from app.flows.origin_text import market_title
from app.i18n import MISSING, format_moment, format_number, format_percent, mark, tr
from app.models.model_card import ModelRow
from app.models.record_model import Column, RecordModel, Tone
from core.domain.data_origin import DataOrigin

_Column = Column[ModelRow]


def row_title(row: ModelRow) -> str:
    """Return the market of a model; the beginning of its id where the package cannot be read."""
    summary = row.summary
    if summary.problem:
        return row.model_id[:10]
    return market_title(summary.symbol, summary.timeframe, DataOrigin(summary.venue))


def _state(row: ModelRow) -> str:
    if row.summary.problem:
        return f"× {tr('damaged')}"
    if row.edge:
        return f"● {tr('yes')}"
    if row.claimed:
        return f"○ {tr('claimed')}"
    return f"○ {tr('invented market')}" if row.summary.edge else f"○ {tr('no')}"


def _state_tone(row: ModelRow) -> Tone:
    if row.summary.problem:
        return Tone.DANGER
    return Tone.SUCCESS if row.edge else Tone.MUTED


def _kind(row: ModelRow) -> str:
    kind = row.summary.kind.upper()
    return (kind or MISSING) if row.summary.forecasts else tr("agent, {kind}", kind=kind)


class ModelsModel(RecordModel[ModelRow]):
    """One row per stored model."""

    def __init__(self, parent: QObject | None = None) -> None:
        columns = (
            _Column("market", mark("Market"), row_title, row_title, width=16),
            _Column("kind", mark("Model"), _kind, lambda r: f"{r.summary.family} {r.summary.kind}", width=12),
            _Column("edge", mark("Edge"), _state, _state, tone=_state_tone, width=12),
            _Column(
                "created",
                mark("Made"),
                lambda r: format_moment(r.summary.created_ns, "%Y-%m-%d %H:%M") if r.summary.created_ns else MISSING,
                lambda r: r.summary.created_ns,
                width=15,
            ),
            _Column(
                "r2",
                mark("R²"),
                lambda r: MISSING if r.summary.r2 is None else format_percent(r.summary.r2, 2, sign=True),
                lambda r: -math.inf if r.summary.r2 is None else r.summary.r2,
                numeric=True,
                width=9,
            ),
            _Column(
                "tags",
                mark("Tags"),
                lambda r: ", ".join(([tr("foreign")] if r.marks.foreign else []) + list(r.marks.tags)) or MISSING,
                lambda r: ",".join(r.marks.tags),
                width=14,
            ),
            _Column(
                "size",
                mark("Size"),
                lambda r: tr("{n} kB", n=format_number(r.summary.size_bytes / 1_024, 0)),
                lambda r: r.summary.size_bytes,
                numeric=True,
                width=9,
            ),
            _Column("id", mark("Id"), lambda r: r.model_id, lambda r: r.model_id, width=18),
        )
        super().__init__(columns, lambda r: r.model_id, parent=parent)

    def show_rows(self, rows: tuple[ModelRow, ...]) -> None:
        """Show exactly these models."""
        there = {row.model_id for row in rows}
        for record in self.records():
            if record.model_id not in there:
                self.discard(record.model_id)
        for row in rows:
            if self.record(row.model_id) != row:
                self.put(row)
        while self.flush():
            pass
