"""Working orders and the position as labelled lines. GUI thread. Drawing only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QColor, QPainter

from app.i18n import format_exact, format_number, format_percent, mark, tr
from app.theme import SPACE_S, SPACE_XS
from app.ui.charts.axes import PriceAxis, Scale, Tag
from app.ui.charts.style import ChartStyle, hairline
from core.domain.orders import Order, OrderState, OrderType, Side
from core.domain.positions import Position

MAX_LINES = 50
_TYPE_WORDS = {
    OrderType.MARKET: mark("market"),
    OrderType.LIMIT: mark("limit"),
    OrderType.LIMIT_MAKER: mark("post only"),
    OrderType.STOP_LOSS_LIMIT: mark("stop"),
}


@dataclass(frozen=True, slots=True)
class _Line:
    price: float
    text: str
    colour: QColor
    dashed: bool


def line_price(order: Order) -> Decimal | None:
    """Return the price at which an order stands on the chart: a stop's trigger, else its limit."""
    intent = order.intent
    return intent.stop_price if intent.order_type is OrderType.STOP_LOSS_LIMIT else intent.limit_price


def order_text(order: Order) -> str:
    """Return what an order line says: side, open quantity, kind, and its state where that is uncertain."""
    words = {
        "quantity": format_exact(order.remaining_quantity),
        "kind": tr(_TYPE_WORDS[order.intent.order_type]),
    }
    if order.intent.side is Side.BUY:
        text = tr("▲ BUY {quantity} {kind}", **words)
    else:
        text = tr("▼ SELL {quantity} {kind}", **words)
    if order.state is OrderState.UNKNOWN:
        return tr("{order} · unconfirmed", order=text)
    if order.state is OrderState.PENDING_CANCEL:
        return tr("{order} · cancelling", order=text)
    return text


class OrderLines:
    """Orders and position of the market on the chart; at most `MAX_LINES` lines, those nearest the price first."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._position: Position | None = None

    def set_orders(self, orders: Sequence[Order]) -> None:
        """Show these orders; ended ones and those without a price are left out."""
        self._orders = [o for o in orders if not o.state.is_terminal and line_price(o) is not None]

    def set_position(self, position: Position | None) -> None:
        """Show the average price of a position; None or a flat one shows nothing."""
        self._position = position if position is not None and position.quantity else None

    def paint(
        self,
        painter: QPainter,
        scale: Scale,
        axis: PriceAxis,
        last_price: float | None,
        style: ChartStyle,
        reserved: QRect | None = None,
    ) -> list[Tag]:
        """Paint lines and labels into the scale's rectangle and return the tags for the axis.

        Args:
            painter / scale / axis / style: where and how.
            last_price: for the open profit, and to choose the nearest lines where there are too many.
            reserved: area labels keep clear of (a button lies there).
        """
        rect = scale.rect
        lines = [line for line in self._lines(last_price, style) if scale.shows(line.price)]
        if last_price is not None:
            lines.sort(key=lambda line: abs(line.price - last_price))
        lines = sorted(lines[:MAX_LINES], key=lambda line: -line.price)
        painter.setFont(style.small)
        metrics = painter.fontMetrics()
        tall = metrics.height() + SPACE_XS
        taken = [reserved] if reserved is not None else []
        for line in lines:
            y = scale.y(line.price)
            painter.setPen(hairline(line.colour, Qt.PenStyle.DashLine if line.dashed else Qt.PenStyle.SolidLine))
            painter.drawLine(rect.left(), y, rect.right(), y)
        for line in lines:
            y = scale.y(line.price)
            width = metrics.horizontalAdvance(line.text) + 2 * SPACE_S
            chip = QRect(rect.right() - SPACE_S - width, y - tall // 2, width, tall)
            for other in reversed(taken):
                if chip.intersects(other):
                    chip.moveRight(other.left() - SPACE_XS)
            taken.append(chip)
            painter.setPen(hairline(line.colour))
            painter.setBrush(style.background)
            painter.drawRect(chip.adjusted(0, 0, -1, -1))
            painter.setPen(line.colour)
            painter.drawText(chip, Qt.AlignmentFlag.AlignCenter, line.text)
        return [Tag(line.price, axis.text(line.price), line.colour, style.ink(line.colour)) for line in lines]

    def _lines(self, last_price: float | None, style: ChartStyle) -> list[_Line]:
        lines: list[_Line] = []
        for order in self._orders:
            price = line_price(order)
            if price is None:
                continue
            colour = style.price_colour(order.intent.side is Side.BUY)
            if order.state is OrderState.UNKNOWN:
                colour = style.warning
            lines.append(_Line(float(price), order_text(order), colour, dashed=True))
        if self._position is not None:
            text = position_text(self._position, last_price)
            lines.append(_Line(float(self._position.average_price), text, style.accent, dashed=False))
        return lines


def position_text(position: Position, last_price: float | None) -> str:
    """Return what the position line says: direction, size, open profit before exit fees."""
    size = format_exact(abs(position.quantity))
    text = tr("LONG {quantity}", quantity=size) if position.quantity > 0 else tr("SHORT {quantity}", quantity=size)
    if last_price is None or not position.average_price:
        return text
    mark_price = Decimal(repr(last_price))
    change = (mark_price / position.average_price - 1) * (1 if position.quantity > 0 else -1)
    arrow = "▲" if change >= 0 else "▼"
    profit = format_number(position.unrealised_pnl(mark_price), 2, sign=True)
    return f"{text} · {arrow} {profit} ({format_percent(change, sign=True)})"
