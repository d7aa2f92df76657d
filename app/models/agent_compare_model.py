"""Finished agents side by side, after costs on bars none has learned from: never mixed with forecasters. GUI thread."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject

from app.flows.agent_words import standing_text
from app.flows.run_text import agent_finished_text
from app.flows.sentence_text import local_text
from app.i18n import MISSING, format_compact, format_duration, format_number, format_percent, mark, tr
from app.models.record_model import Column, RecordModel, Tone
from ml.agents.progress import AgentResult
from ml.agents.results import EDGE, AgentFigures

_Column = Column["ComparedAgent"]
_HOLD = "hold"  # the name of the rule, see `ml.agents.baselines`


@dataclass(frozen=True, slots=True)
class ComparedAgent:
    """One finished run.

    Attributes:
        run_id: identity.
        name: market, algorithm and time.
        result: what came of it.
        caution: what must be said beside its verdict; "" where nothing.
        order: sorts by time.
    """

    run_id: str
    name: str
    result: AgentResult
    caution: str
    order: int

    @property
    def verdict(self) -> str:
        """The verdict with its caution, in the present language."""
        return local_text(agent_finished_text(self.result.metrics, self.caution))

    @property
    def edge(self) -> bool:
        """Whether there is an edge that counts: none does on invented bars."""
        return self.result.metrics.standing == EDGE and not self.caution

    @property
    def agent(self) -> AgentFigures:
        """What trades."""
        return self.result.metrics.ensemble

    @property
    def hold(self) -> AgentFigures:
        """Buy and hold on the same bars."""
        return self.result.metrics.baseline(_HOLD)


def _figure(
    key: str,
    title: str,
    read: Callable[[ComparedAgent], float | None],
    write: Callable[[float], str],
    width: int = 9,
) -> _Column:
    """Return a column of a figure that may be missing."""
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


def _standing(row: ComparedAgent) -> str:
    if row.edge:
        return f"● {standing_text(EDGE)}"
    standing = row.result.metrics.standing
    return f"○ {tr('invented market') if standing == EDGE else standing_text(standing)}"


class AgentCompareModel(RecordModel[ComparedAgent]):
    """One row per finished agent."""

    def __init__(self, parent: QObject | None = None) -> None:
        columns = (
            _Column("run", mark("Run"), lambda row: row.name, lambda row: row.order, width=40),
            _Column(
                "standing",
                mark("Outcome"),
                _standing,
                lambda row: int(row.edge),
                tone=lambda row: Tone.SUCCESS if row.edge else Tone.MUTED,
                width=17,
            ),
            _figure("return", mark("Net return"), lambda row: row.agent.trading.total_return, _share(1, sign=True), 10),
            _figure("log_return", mark("Log return"), lambda row: row.agent.log_return, _plain(4, sign=True), 10),
            _figure("hold", mark("Hold return"), lambda row: row.hold.trading.total_return, _share(1, sign=True), 10),
            _figure("sharpe", mark("Sharpe"), lambda row: row.agent.trading.sharpe, _plain(2, sign=True)),
            _figure("hold_sharpe", mark("Hold Sharpe"), lambda row: row.hold.trading.sharpe, _plain(2, sign=True), 10),
            _figure("drawdown", mark("Drawdown"), lambda row: row.agent.trading.max_drawdown, _share(1), 10),
            _figure("turnover", mark("Turnover"), lambda row: row.agent.positions.turnover, _plain(0), 10),
            _figure("exposure", mark("Exposure"), lambda row: row.agent.positions.exposure, _share(1), 10),
            _figure("seeds", mark("Seeds"), lambda row: len(row.result.metrics.seeds), _plain(0), 7),
            _figure("bars", mark("Bars"), lambda row: row.result.metrics.bars, _plain(0), 8),
            _figure("steps", mark("Steps"), lambda row: row.result.steps, format_compact),
            _figure("duration", mark("Duration"), lambda row: row.result.total_s, format_duration, 10),
            _Column("sentence", mark("Verdict"), lambda row: row.verdict, lambda row: row.verdict, width=50),
        )
        super().__init__(columns, lambda row: row.run_id, parent=parent)
