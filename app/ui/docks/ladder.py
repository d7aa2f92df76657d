"""The order book as a ladder. GUI thread only.

While the mouse is over it (or a row is chosen by keyboard) every row keeps its price: a book that moves under the
hand turns a buy into a sell. Only a pointer at rest lets go, once the market has left all those prices.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal

from PySide6.QtCore import QEvent, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QEnterEvent, QFocusEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app.i18n import format_number, format_percent, tr
from app.theme import FONT_SIZE_M, GRID, ROW_HEIGHT, SPACE_S, Palette, mix, number_font
from app.ui.charts.style import hairline
from app.ui.docks.paced import PacedWidget
from core.domain.market import BookSnapshot

_ROW = ROW_HEIGHT - GRID
_BAR_SHARE = 0.22
_BASIS_POINTS = 10_000
_FADED = 0.55
REST_S = 3.0  # a hand that has not moved for so long is not about to click


@dataclass(frozen=True, slots=True)
class LadderRow:
    """One price of the ladder; quantity 0 where the price has left the book while the row is held."""

    price: float
    quantity: float
    cumulative: float
    is_ask: bool


def ladder_rows(
    book: BookSnapshot, per_side: int, decimals: int, held: tuple[tuple[float, ...], tuple[float, ...]] | None
) -> list[LadderRow]:
    """Return the rows from the highest ask to the lowest bid.

    Args:
        book: what to show.
        per_side: rows of each side.
        decimals: decimals of the tick size; prices equal at so many decimals are one level.
        held: (ask prices, bid prices), best first, that keep their rows; None shows the best ones.
    """
    asks = _side(book.asks, per_side, decimals, held[0] if held is not None else None, is_ask=True)
    bids = _side(book.bids, per_side, decimals, held[1] if held is not None else None, is_ask=False)
    return [*reversed(asks), *bids]


def _side(
    levels: tuple[tuple[float, float], ...],
    per_side: int,
    decimals: int,
    held: tuple[float, ...] | None,
    *,
    is_ask: bool,
) -> list[LadderRow]:
    if held is None:
        rows, total = [], 0.0
        for price, quantity in levels[:per_side]:
            total += quantity
            rows.append(LadderRow(price, quantity, total, is_ask))
        return rows
    known = {round(price, decimals): quantity for price, quantity in levels}
    rows = []
    for price in held[:per_side]:
        inside = sum(q for p, q in levels if (p <= price if is_ask else p >= price))
        rows.append(LadderRow(price, known.get(round(price, decimals), 0.0), inside, is_ask))
    return rows


class LadderWidget(PacedWidget):
    """Asks over bids: price, quantity over a depth bar, cumulative quantity; the spread between them.

    Signals:
        price_picked: `Decimal` of the row clicked or confirmed with Enter.
    """

    price_picked = Signal(object)

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("order_book_ladder")
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._palette = colours
        self._font = number_font(FONT_SIZE_M)
        self._price_decimals, self._quantity_decimals = 2, 4
        self._held: tuple[tuple[float, ...], tuple[float, ...]] | None = None
        self._touched_s = 0.0
        self._hovered: int | None = None
        self._stale = False
        self.book: BookSnapshot | None = None

    @property
    def rows_held(self) -> bool:
        """Whether the rows keep their prices."""
        return self._held is not None

    def set_precision(self, price_decimals: int, quantity_decimals: int) -> None:
        """Set the decimals of the market's tick and lot size."""
        if (price_decimals, quantity_decimals) != (self._price_decimals, self._quantity_decimals):
            self._price_decimals, self._quantity_decimals = price_decimals, quantity_decimals
            self._release()

    def set_book(self, book: BookSnapshot | None) -> None:
        """Take the newest book, None for none yet."""
        self.book = book
        if book is None or self._left_behind(book):
            self._release()
        self.changed()

    def set_stale(self, stale: bool) -> None:
        """Draw the numbers faded while they are too old to trust."""
        self._stale = stale
        self.changed()

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._palette = colours
        self.update()

    def retranslate(self) -> None:
        """Set the names for screen readers again."""
        self.setAccessibleName(tr("Order book"))
        self.setAccessibleDescription(tr("Arrow keys choose a price, Enter takes it into the order ticket."))
        self.update()

    def rows(self) -> list[LadderRow]:
        """Return the rows as painted now."""
        if self.book is None:
            return []
        return ladder_rows(self.book, self._per_side, self._price_decimals, self._held)

    def row_rect(self, index: int) -> QRect:
        """Return where row `index` of `rows()` is painted: asks end above the spread, bids begin below it."""
        rows = self.rows()
        asks = sum(row.is_ask for row in rows)
        middle = ROW_HEIGHT + self._per_side * _ROW
        top = middle - (asks - index) * _ROW if index < asks else middle + ROW_HEIGHT + (index - asks) * _ROW
        return QRect(0, top, self.width(), _ROW)

    def sizeHint(self) -> QSize:
        return QSize(12 * ROW_HEIGHT, 2 * ROW_HEIGHT + 20 * _ROW)

    def minimumSizeHint(self) -> QSize:
        return QSize(9 * ROW_HEIGHT, 2 * ROW_HEIGHT + 6 * _ROW)

    # -- holding still ----------------------------------------------------------------------------------------------

    def enterEvent(self, event: QEnterEvent) -> None:
        super().enterEvent(event)
        self._hold()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._release()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        if not self.underMouse():
            self._release()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._hold()
        hovered = self._row_at(event.position().toPoint().y())
        if hovered != self._hovered:
            self._hovered = hovered
            self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton:
            self._hold()
            self._pick(self._row_at(event.position().toPoint().y()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        rows = self.rows()
        match event.key():
            case Qt.Key.Key_Up | Qt.Key.Key_Down if rows:
                self._hold()
                asks = sum(row.is_ask for row in rows)
                step = 1 if event.key() == Qt.Key.Key_Down else -1
                start = self._hovered if self._hovered is not None else asks - (step > 0)
                self._hovered = min(max(start + step, 0), len(rows) - 1)
                self.update()
            case Qt.Key.Key_Return | Qt.Key.Key_Enter:
                self._pick(self._hovered)
            case Qt.Key.Key_Escape if self._held is not None:
                self._release()
            case _:
                super().keyPressEvent(event)

    def _hold(self) -> None:
        self._touched_s = time.monotonic()
        if self._held is None and self.book is not None:
            rows = self.rows()
            asks = tuple(row.price for row in reversed(rows) if row.is_ask)
            self._held = asks, tuple(row.price for row in rows if not row.is_ask)
            self.changed()

    def _release(self) -> None:
        self._held = self._hovered = None
        self.update()

    def _left_behind(self, book: BookSnapshot) -> bool:
        """Whether the market has left the rows held: a pointer may rest here for hours, over prices without sizes."""
        if self._held is None or time.monotonic() - self._touched_s < REST_S:
            return False
        asks, bids = self._held
        if not asks or not bids or not book.asks or not book.bids:
            return True
        return book.bids[0][0] > asks[-1] or book.asks[0][0] < bids[-1]

    def _row_at(self, y: int) -> int | None:
        return next((i for i in range(len(self.rows())) if self.row_rect(i).contains(0, y)), None)

    def _pick(self, index: int | None) -> None:
        rows = self.rows()
        if index is not None and index < len(rows):
            self.price_picked.emit(Decimal(f"{rows[index].price:.{self._price_decimals}f}"))

    # -- painting ---------------------------------------------------------------------------------------------------

    @property
    def _per_side(self) -> int:
        return max(1, (self.height() - 2 * ROW_HEIGHT) // 2 // _ROW)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._palette.surface))
        painter.setFont(self._font)
        self._paint_header(painter)
        rows = self.rows()
        deepest = max((row.cumulative for row in rows), default=0.0)
        if self._stale:
            painter.setOpacity(_FADED)
        for index, row in enumerate(rows):
            self._paint_row(painter, self.row_rect(index), row, deepest, index == self._hovered)
        self._paint_spread(painter)
        painter.end()

    def _columns(self, rect: QRect) -> tuple[QRect, QRect, QRect]:
        inner = rect.adjusted(SPACE_S, 0, -SPACE_S, 0)
        third = inner.width() // 3
        price = QRect(inner.left(), inner.top(), third, inner.height())
        quantity = price.translated(third, 0)
        return price, quantity, QRect(quantity.right(), inner.top(), inner.right() - quantity.right(), inner.height())

    def _paint_header(self, painter: QPainter) -> None:
        painter.setPen(QColor(self._palette.muted))
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        header = QRect(0, 0, self.width(), ROW_HEIGHT)
        for area, text in zip(self._columns(header), (tr("Price"), tr("Quantity"), tr("Total")), strict=True):
            painter.drawText(
                area, right, painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, area.width())
            )
        painter.setPen(hairline(QColor(self._palette.line)))
        painter.drawLine(0, ROW_HEIGHT - 1, self.width(), ROW_HEIGHT - 1)

    def _paint_row(self, painter: QPainter, rect: QRect, row: LadderRow, deepest: float, hovered: bool) -> None:
        side = self._palette.down if row.is_ask else self._palette.up
        if deepest > 0:
            length = round(rect.width() * row.cumulative / deepest)
            bar = QRect(rect.right() - length + 1, rect.top(), length, rect.height() - 1)
            painter.fillRect(bar, QColor(mix(self._palette.surface, side, _BAR_SHARE)))
        if hovered:
            painter.setPen(hairline(QColor(self._palette.accent)))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(rect.adjusted(0, 0, -1, -2))
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        price, quantity, total = self._columns(rect)
        painter.setPen(QColor(side))
        painter.drawText(price, right, format_number(row.price, self._price_decimals))
        gone = row.quantity == 0
        painter.setPen(QColor(self._palette.muted if gone else self._palette.text))
        painter.drawText(quantity, right, "–" if gone else format_number(row.quantity, self._quantity_decimals))
        painter.setPen(QColor(self._palette.muted))
        painter.drawText(total, right, format_number(row.cumulative, self._quantity_decimals))

    def _paint_spread(self, painter: QPainter) -> None:
        book = self.book
        rect = QRect(0, ROW_HEIGHT + self._per_side * _ROW, self.width(), ROW_HEIGHT)
        painter.setPen(hairline(QColor(self._palette.line)))
        painter.drawLine(0, rect.top(), rect.right(), rect.top())
        painter.drawLine(0, rect.bottom() - 1, rect.right(), rect.bottom() - 1)
        if book is None or not book.bids or not book.asks:
            return
        spread, mid = book.asks[0][0] - book.bids[0][0], book.mid
        inner = rect.adjusted(SPACE_S, 0, -SPACE_S, 0)
        painter.setPen(QColor(self._palette.muted))
        if self._held is not None:
            painter.setPen(QColor(self._palette.accent))
            text = tr("Rows held while you choose")
        elif mid:
            points = format_number(spread / mid * _BASIS_POINTS, 2)
            text = tr(
                "Spread {spread} · {points} bp", spread=format_number(spread, self._price_decimals), points=points
            )
        else:
            text = format_percent(None)
        elided = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, inner.width())
        painter.drawText(inner, Qt.AlignmentFlag.AlignCenter, elided)
