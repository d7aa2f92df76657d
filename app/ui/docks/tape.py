"""The latest trades of a market, newest on top. GUI thread only."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import tzinfo

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app.i18n import format_moment, format_number, tr
from app.theme import FONT_SIZE_M, GRID, ROW_HEIGHT, SPACE_S, Palette, number_font
from app.ui.charts.style import hairline
from app.ui.docks.paced import PacedWidget
from core.domain.market import PublicTrade
from core.domain.orders import Side

KEPT = 200
_ROW = ROW_HEIGHT - GRID


class TapeWidget(PacedWidget):
    """Time, price with the aggressor's colour and arrow, quantity."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("order_book_tape")
        self._palette = colours
        self._font = number_font(FONT_SIZE_M)
        self._price_decimals, self._quantity_decimals = 2, 4
        self._trades: deque[PublicTrade] = deque(maxlen=KEPT)
        self._zone: tzinfo | None = None

    @property
    def trades(self) -> tuple[PublicTrade, ...]:
        """What is kept, newest first."""
        return tuple(self._trades)

    def set_precision(self, price_decimals: int, quantity_decimals: int) -> None:
        """Set the decimals of the market's tick and lot size."""
        self._price_decimals, self._quantity_decimals = price_decimals, quantity_decimals

    def set_zone(self, zone: tzinfo | None) -> None:
        """Show times in this zone; None is the machine's own."""
        self._zone = zone
        self.changed()

    def add_trades(self, trades: Sequence[PublicTrade]) -> None:
        """Add trades, oldest first."""
        self._trades.extendleft(trades)
        self.changed()

    def clear(self) -> None:
        """Forget all trades, for another market."""
        self._trades.clear()
        self.changed()

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._palette = colours
        self.update()

    def retranslate(self) -> None:
        """Set the names for screen readers again."""
        self.setAccessibleName(tr("Recent trades"))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(12 * ROW_HEIGHT, 9 * ROW_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(9 * ROW_HEIGHT, 3 * ROW_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._palette.surface))
        painter.setFont(self._font)
        header = QRect(SPACE_S, 0, self.width() - 2 * SPACE_S, ROW_HEIGHT)
        painter.setPen(QColor(self._palette.muted))
        self._paint_row(painter, header, tr("Time"), tr("Price"), tr("Quantity"), QColor(self._palette.muted))
        painter.setPen(hairline(QColor(self._palette.line)))
        painter.drawLine(0, ROW_HEIGHT - 1, self.width(), ROW_HEIGHT - 1)
        if not self._trades:
            painter.setPen(QColor(self._palette.muted))
            below = self.rect().adjusted(SPACE_S, ROW_HEIGHT, -SPACE_S, 0)
            painter.drawText(below, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, tr("No trades yet."))
        visible = max(0, (self.height() - ROW_HEIGHT) // _ROW)
        for number, trade in enumerate(list(self._trades)[:visible]):
            rect = QRect(header.left(), ROW_HEIGHT + number * _ROW, header.width(), _ROW)
            bought = trade.side is Side.BUY
            price = f"{'▲' if bought else '▼'} {format_number(trade.price, self._price_decimals)}"
            quantity = format_number(trade.quantity, self._quantity_decimals)
            colour = QColor(self._palette.up if bought else self._palette.down)
            self._paint_row(
                painter, rect, format_moment(trade.time_ns, "%H:%M:%S", self._zone), price, quantity, colour
            )
        painter.end()

    def _paint_row(self, painter: QPainter, rect: QRect, time: str, price: str, quantity: str, colour: QColor) -> None:
        middle = Qt.AlignmentFlag.AlignVCenter
        third = rect.width() // 3
        painter.setPen(QColor(self._palette.muted))
        painter.drawText(rect, Qt.AlignmentFlag.AlignLeft | middle, time)
        painter.setPen(colour)
        painter.drawText(
            QRect(rect.left(), rect.top(), 2 * third, rect.height()), Qt.AlignmentFlag.AlignRight | middle, price
        )
        muted_header = colour == QColor(self._palette.muted)
        painter.setPen(colour if muted_header else QColor(self._palette.text))
        painter.drawText(rect, Qt.AlignmentFlag.AlignRight | middle, quantity)
