"""Strategies as a table. GUI thread."""

from __future__ import annotations

from PySide6.QtCore import QObject

from app.flows.sentence_text import local_text
from app.i18n import MISSING, mark, tr
from app.models.format import signed
from app.models.positions_model import pnl_tone
from app.models.precision import Precision
from app.models.record_model import Column, RecordModel, Tone
from core.events import StrategyState, StrategyStatus

STATE_TEXT = {
    StrategyState.STOPPED: mark("Stopped"),
    StrategyState.WARMING_UP: mark("Warming up"),
    StrategyState.RUNNING: mark("Running"),
    StrategyState.PAUSED: mark("Paused"),
    StrategyState.FAILED: mark("Failed"),
}
_STATE_MARK = {
    StrategyState.STOPPED: "○",
    StrategyState.WARMING_UP: "△",
    StrategyState.RUNNING: "●",
    StrategyState.PAUSED: "□",
    StrategyState.FAILED: "×",
}
_STATE_TONE = {
    StrategyState.STOPPED: Tone.MUTED,
    StrategyState.WARMING_UP: Tone.ACCENT,
    StrategyState.RUNNING: Tone.SUCCESS,
    StrategyState.PAUSED: Tone.WARNING,
    StrategyState.FAILED: Tone.DANGER,
}
ACTIVE_STATES = frozenset({StrategyState.WARMING_UP, StrategyState.RUNNING})
MODEL_ID_LENGTH = 10


def state_text(status: StrategyStatus) -> str:
    """Write a strategy's state with a mark, so that colour is not the only cue."""
    return f"{_STATE_MARK[status.state]} {tr(STATE_TEXT[status.state])}"


class StrategiesModel(RecordModel[StrategyStatus]):
    """One row per strategy."""

    def __init__(self, precision: Precision, parent: QObject | None = None) -> None:
        columns = (
            Column[StrategyStatus]("title", mark("Strategy"), lambda s: s.title, lambda s: s.title, width=20),
            Column[StrategyStatus](
                "state",
                mark("State"),
                state_text,
                lambda s: s.state.value,
                tone=lambda s: _STATE_TONE[s.state],
                width=13,
            ),
            Column[StrategyStatus]("symbol", mark("Symbol"), lambda s: s.symbol, lambda s: s.symbol, width=11),
            Column[StrategyStatus]("timeframe", mark("Bar"), lambda s: s.timeframe, lambda s: s.timeframe, width=6),
            Column[StrategyStatus](
                "position",
                mark("Position"),
                lambda s: precision.quantity(s.symbol, s.position),
                lambda s: float(s.position),
                numeric=True,
                width=12,
            ),
            Column[StrategyStatus](
                "pnl",
                mark("PnL"),
                lambda s: signed(s.pnl),
                lambda s: float(s.pnl),
                numeric=True,
                tone=lambda s: pnl_tone(s.pnl),
                width=13,
            ),
            Column[StrategyStatus](
                "signal",
                mark("Last signal"),
                lambda s: MISSING if s.last_signal is None else f"{s.last_signal:.0%}".replace("%", "\u00a0%"),
                lambda s: -1.0 if s.last_signal is None else s.last_signal,
                numeric=True,
                width=11,
            ),
            Column[StrategyStatus](
                "model",
                mark("Model"),
                lambda s: s.model_id[:MODEL_ID_LENGTH] or MISSING,
                lambda s: s.model_id,
                tone=lambda s: Tone.MUTED,
                width=12,
            ),
            Column[StrategyStatus](
                "detail",
                mark("Note"),
                lambda s: local_text(s.detail) or MISSING,
                lambda s: s.detail,
                tone=lambda s: Tone.MUTED,
                width=30,
            ),
        )
        super().__init__(columns, lambda s: s.strategy_id, parent=parent)

    def active(self, symbol: str | None = None) -> list[StrategyStatus]:
        """Return the strategies that trade now, of one market or all."""
        return [s for s in self.records() if s.state in ACTIVE_STATES and symbol in (None, s.symbol)]
