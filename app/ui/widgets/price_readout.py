"""The last price, large, with its direction. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import QElapsedTimer, QRect, QSize, Qt, QTimer, Slot
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app.i18n import format_number, format_percent, tr
from app.theme import CONTROL_HEIGHT, FONT_SIZE_L, FONT_SIZE_S, RADIUS, SPACE_M, SPACE_S, Palette, mix, number_font

FLASH_MS = 180
SILENT_MS = 2_000  # without a trade for so long, the ticker's price is the newest one known
_TINT = 0.25


class PriceReadout(QWidget):
    """A price with ▲ or ▼ of its last move and the change over 24 hours; it flashes once, quietly, when it moves."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("price_readout")
        self._palette = colours
        self._large, self._small = number_font(FONT_SIZE_L, bold=True), number_font(FONT_SIZE_S)
        self._price: float | None = None
        self._decimals = 2
        self._change: float | None = None
        self._rising: bool | None = None
        self._traded = QElapsedTimer()  # since the last trade heard of; invalid before the first
        self._flash = QTimer(self)
        self._flash.setSingleShot(True)
        self._flash.setInterval(FLASH_MS)
        self._flash.timeout.connect(self._on_flash_over)

    def reset(self, decimals: int) -> None:
        """Forget the price, for another market with prices of so many decimals."""
        self._price = self._change = self._rising = None
        self._decimals = decimals
        self._traded.invalidate()
        self._flash.stop()
        self.updateGeometry()
        self.update()

    def set_decimals(self, decimals: int) -> None:
        """Write the price with so many decimals."""
        self._decimals = decimals
        self.updateGeometry()
        self.update()

    def take_trade(self, price: float) -> None:
        """Show the price of the newest trade; the change stays."""
        self._traded.start()
        self.set_price(price, self._change)

    def take_ticker(self, last: float, change_24h: float | None) -> None:
        """Show the ticker's change, and its price only while no trades are heard: it is a second behind them."""
        behind = self._traded.isValid() and not self._traded.hasExpired(SILENT_MS)
        self.set_price(self._price if behind and self._price is not None else last, change_24h)

    def set_price(self, price: float, change_24h: float | None) -> None:
        """Show a price and its change over 24 hours as a fraction."""
        if price == self._price and change_24h == self._change:
            return
        if self._price is not None and price != self._price:
            self._rising = price > self._price
            self._flash.start()
        before = self.sizeHint()
        self._price, self._change = price, change_24h
        if before != self.sizeHint():
            self.updateGeometry()
        self.setAccessibleName(tr("Last price {price}", price=self.text()))
        self.update()

    def text(self) -> str:
        """Return the price as written."""
        return format_number(self._price, self._decimals)

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._palette = colours
        self.update()

    def stop(self) -> None:
        """Stop the timer; the widget is not used again."""
        self._flash.stop()

    def sizeHint(self) -> QSize:
        width = self.minimumSizeHint().width()
        if self._change is not None:
            width += QFontMetrics(self._small).horizontalAdvance(self._change_text()) + SPACE_M
        return QSize(width, CONTROL_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        if self._price is None:
            return QSize(0, CONTROL_HEIGHT)
        # The arrow's room is always kept: nothing beside the price may move when it appears.
        width = QFontMetrics(self._large).horizontalAdvance("▲ " + self.text()) + 2 * SPACE_S
        return QSize(width, CONTROL_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._price is None:
            return
        painter = QPainter(self)
        colours = self._palette
        shade = colours.text if self._rising is None else colours.up if self._rising else colours.down
        if self._flash.isActive():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(mix(colours.surface, shade, _TINT)))
            painter.drawRoundedRect(self.rect(), RADIUS, RADIUS)
        inner = self.rect().adjusted(SPACE_S, 0, -SPACE_S, 0)
        painter.setFont(self._large)
        painter.setPen(QColor(shade))
        arrow = "" if self._rising is None else "▲ " if self._rising else "▼ "
        width = painter.fontMetrics().horizontalAdvance("▲ " + self.text())
        left = QRect(inner.left(), inner.top(), width, inner.height())
        painter.drawText(left, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, arrow + self.text())
        if self._change is not None and self.width() >= self.sizeHint().width():
            painter.setFont(self._small)
            painter.setPen(QColor(colours.up if self._change >= 0 else colours.down))
            right = QRect(left.right() + SPACE_S, inner.top(), inner.right() - left.right(), inner.height())
            painter.drawText(right, Qt.AlignmentFlag.AlignVCenter, self._change_text())
        painter.end()

    def _change_text(self) -> str:
        arrow = "▲" if (self._change or 0.0) >= 0 else "▼"
        return f"{arrow} {format_percent(self._change, sign=True)}"

    @Slot()
    def _on_flash_over(self) -> None:
        self.update()
