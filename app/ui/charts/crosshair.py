"""Crosshair over all panes and the legend that reads the bar under it. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QObject, QPoint, QRect, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter

from app.i18n import format_compact, format_number, format_percent, tr
from app.theme import SPACE_M, SPACE_S, SPACE_XS
from app.ui.charts.series import Bar
from app.ui.charts.style import ChartStyle, hairline

FRAME_MS = 16  # one update per display frame, however fast the mouse reports


class Crosshair(QObject):
    """Where the mouse is, at most once per frame.

    Signals:
        moved: `position` changed and should be drawn.
    """

    moved = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.position: QPoint | None = None
        self._wanted: QPoint | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(FRAME_MS)
        self._timer.timeout.connect(self._show)

    def move_to(self, position: QPoint | None) -> None:
        """Ask for a new position, None to hide."""
        self._wanted = position
        if not self._timer.isActive():
            self._timer.start()

    def stop(self) -> None:
        """Stop the timer; the object is not used again."""
        self._timer.stop()

    @Slot()
    def _show(self) -> None:
        if self._wanted != self.position:
            self.position = self._wanted
            self.moved.emit()


def paint_crosshair(painter: QPainter, panes: Sequence[QRect], x: int, y: int, style: ChartStyle) -> None:
    """Draw the vertical line through all panes and the horizontal one through the pane under the mouse."""
    painter.setPen(hairline(style.muted, Qt.PenStyle.DashLine))
    for pane in panes:
        painter.drawLine(x, pane.top(), x, pane.bottom())
        if pane.top() <= y <= pane.bottom():
            painter.drawLine(pane.left(), y, pane.right(), y)


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of the legend in one colour."""

    text: str
    colour: QColor
    font: QFont


def bar_words(bar: Bar, previous_close: float | None, decimals: int, style: ChartStyle) -> list[Word]:
    """Return the OHLCV reading of a bar; the change is against the close before it."""
    base = previous_close if previous_close else bar.open
    change = bar.close / base - 1 if base else 0.0
    colour = style.price_colour(change >= 0)
    words: list[Word] = []
    for label, value in ((tr("O"), bar.open), (tr("H"), bar.high), (tr("L"), bar.low), (tr("C"), bar.close)):
        words.append(Word(label, style.muted, style.small))
        words.append(Word(format_number(value, decimals), colour, style.small))
    arrow = "▲" if change >= 0 else "▼"
    words.append(Word(f"{arrow} {format_percent(change, sign=True)}", colour, style.bold))
    words.append(Word(tr("Vol"), style.muted, style.small))
    words.append(Word(format_compact(bar.volume), style.text, style.small))
    return words


def layout_words(words: Sequence[Word], width: int) -> list[tuple[QPoint, Word]]:
    """Place words left to right, wrapping at `width`; returns their top-left corners."""
    placed: list[tuple[QPoint, Word]] = []
    x = y = 0
    line = max((QFontMetrics(word.font).height() for word in words), default=0) + SPACE_XS
    for number, word in enumerate(words):
        metrics = QFontMetrics(word.font)
        needed = metrics.horizontalAdvance(word.text)
        # A muted label never ends a line without its value.
        with_next = needed
        if word.colour != words[min(number + 1, len(words) - 1)].colour and number + 1 < len(words):
            following = words[number + 1]
            with_next += SPACE_XS + QFontMetrics(following.font).horizontalAdvance(following.text)
        if x and x + with_next > width:
            x, y = 0, y + line
        placed.append((QPoint(x, y), word))
        x += needed + (SPACE_S if len(word.text) > 3 else SPACE_XS)
    return placed


def paint_legend(painter: QPainter, area: QRect, rows: Sequence[Sequence[Word]], style: ChartStyle) -> QRect:
    """Paint rows of words into the top left of `area` on a veil of the background; returns what was covered."""
    placed: list[tuple[QPoint, Word]] = []
    y = 0
    for row in rows:
        if not row:
            continue
        words = layout_words(row, area.width() - 2 * SPACE_S)
        placed += [(QPoint(point.x(), point.y() + y), word) for point, word in words]
        last_point, last_word = words[-1]
        y += last_point.y() + QFontMetrics(last_word.font).height() + SPACE_XS
    if not placed:
        return QRect()
    right = max(point.x() + QFontMetrics(word.font).horizontalAdvance(word.text) for point, word in placed)
    origin = QPoint(area.left() + SPACE_S, area.top() + SPACE_S)
    covered = QRect(origin.x() - SPACE_XS, origin.y() - SPACE_XS, right + 2 * SPACE_XS, y + SPACE_XS)
    veil = QColor(style.background)
    veil.setAlphaF(0.8)
    painter.fillRect(covered, veil)
    for point, word in placed:
        painter.setFont(word.font)
        painter.setPen(word.colour)
        painter.drawText(origin + point + QPoint(0, QFontMetrics(word.font).ascent()), word.text)
    return covered.adjusted(0, 0, SPACE_M, 0)
