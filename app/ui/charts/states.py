"""What a chart shows when it has no bars, or none it can vouch for. GUI thread."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QPainter

from app.flows.sentence_text import local_text
from app.i18n import format_duration, tr
from app.theme import RADIUS, SPACE_M, SPACE_S, SPACE_XL
from app.ui.charts.style import ChartStyle, hairline


class ChartState(Enum):
    """Whether there is something to look at."""

    EMPTY = auto()
    LOADING = auto()
    READY = auto()
    ERROR = auto()


@dataclass(frozen=True, slots=True)
class StateText:
    """What an empty, loading or failed chart says.

    Attributes:
        title: one short sentence, translated by whoever made it, or the core's own.
        detail: what to do next; may be empty.
    """

    title: str
    detail: str = ""

    def shown(self) -> StateText:
        """Return it in the present language."""
        return StateText(local_text(self.title), local_text(self.detail))


def paint_state(painter: QPainter, area: QRect, state: ChartState, text: StateText, style: ChartStyle) -> None:
    """Write a state in the middle of the chart."""
    text = text.shown()
    wrap = Qt.AlignmentFlag.AlignHCenter | Qt.TextFlag.TextWordWrap
    inner = area.adjusted(SPACE_XL, 0, -SPACE_XL, 0)
    painter.setFont(style.normal)
    title = painter.boundingRect(inner, wrap, text.title)
    title.moveCenter(area.center())
    if text.detail:
        title.translate(0, -title.height() // 2)
    painter.setPen(style.warning if state is ChartState.ERROR else style.text)
    painter.drawText(title, wrap, text.title)
    painter.setFont(style.small)
    painter.setPen(style.muted)
    detail = painter.boundingRect(inner, wrap, text.detail)
    detail.moveTop(title.bottom() + SPACE_S)
    painter.drawText(detail, wrap, text.detail)


def stale_text(seconds: float) -> str:
    """Return what a chart says whose newest data is `seconds` old."""
    return tr("STALE {age}", age=format_duration(max(1.0, seconds)))


def paint_stale(painter: QPainter, area: QRect, seconds: float, style: ChartStyle) -> None:
    """Write the age of the data over the chart, where nobody can miss it."""
    text = stale_text(seconds)
    painter.setFont(style.bold)
    metrics = painter.fontMetrics()
    width, height = metrics.horizontalAdvance(text) + 2 * SPACE_M, metrics.height() + SPACE_S
    chip = QRect(area.center().x() - width // 2, area.bottom() - height - SPACE_M, width, height)
    painter.setPen(hairline(style.warning))
    painter.setBrush(style.warning)
    painter.drawRoundedRect(chip, RADIUS, RADIUS)
    painter.setPen(style.ink(style.warning))
    painter.drawText(chip, Qt.AlignmentFlag.AlignCenter, text)
