"""Order book ladder with the tape beneath. GUI thread only.

Both are painted by one widget each at no more than ten frames a second: hundreds of cells change with every message
and a table of items would repaint them one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QLabel, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from app.flows.sentence_text import local_text
from app.i18n import format_duration, mark, tr
from app.theme import GRID, SPACE_S, SPACE_XS, ThemeManager, set_look
from app.ui.docks.ladder import LadderWidget
from app.ui.docks.tape import TapeWidget
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.panel import Panel
from core.domain.market import BookSnapshot, PublicTrade

_LADDER_STRETCH, _TAPE_STRETCH = 5, 2
MINIMUM_WIDTH = 62 * GRID  # time, arrow, price and quantity stay apart


class OrderBookDock(Panel):
    """Asks over bids with depth bars, and the latest trades of the market.

    Signals:
        price_picked: the price a person clicked, `Decimal` on the market's tick grid.
    """

    TITLE = mark("Order book")
    NAME = "order_book_dock"
    price_picked = Signal(object)

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._symbol = ""
        self._stale: float | None = None
        self._message: tuple[str, str] | None = None
        self.ladder = LadderWidget(theme.palette, self)
        self.tape = TapeWidget(theme.palette, self)
        self.empty = EmptyState(theme, "list-ordered", self)
        self._note = QLabel(self)
        self._note.setContentsMargins(SPACE_S, SPACE_XS, SPACE_S, SPACE_XS)
        set_look(self._note, "role", "warning")
        splitter = QSplitter(Qt.Orientation.Vertical, self)
        splitter.setObjectName("order_book_splitter")
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self.ladder)
        splitter.addWidget(self.tape)
        splitter.setStretchFactor(0, _LADDER_STRETCH)
        splitter.setStretchFactor(1, _TAPE_STRETCH)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(splitter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._note)
        layout.addWidget(self._stack, 1)
        self.setMinimumWidth(MINIMUM_WIDTH)
        self.ladder.price_picked.connect(self._on_price_picked)
        self.retranslate()

    def set_instrument(self, symbol: str, price_decimals: int, quantity_decimals: int) -> None:
        """Switch to a market and wait for its book; for the market already shown only the precision changes."""
        self.ladder.set_precision(price_decimals, quantity_decimals)
        self.tape.set_precision(price_decimals, quantity_decimals)
        if symbol == self._symbol:
            return
        self._symbol = symbol
        self._stale = None
        self.forget()

    @Slot()
    def forget(self) -> None:
        """Wait for another book: the one shown is another venue's."""
        self._message = None
        self.ladder.set_book(None)
        self.tape.clear()
        self._refresh()

    def clear(self, message: str, remedy: str = "") -> None:
        """Show a sentence in place of the book, e.g. why there is none."""
        self._message = (message, remedy)
        self.ladder.set_book(None)
        self.tape.clear()
        self._refresh()

    @Slot(object)
    def on_book(self, book: BookSnapshot) -> None:
        """Take the newest book; those of other markets are ignored."""
        if book.symbol == self._symbol:
            self._message = None
            self.ladder.set_book(book)
            self._refresh()

    @Slot(object)
    def on_trades(self, trades: Sequence[PublicTrade]) -> None:
        """Take new trades of the market, oldest first; those of other markets are ignored."""
        own = [trade for trade in trades if trade.symbol == self._symbol]
        if own:
            self.tape.add_trades(own)

    @Slot(object)
    def set_stale(self, seconds: float | None) -> None:
        """Say how old the book is where it is too old; None while it is fresh."""
        if seconds != self._stale:
            self._stale = seconds
            self.ladder.set_stale(seconds is not None)
            self._refresh()

    def retranslate(self) -> None:
        self.ladder.retranslate()
        self.tape.retranslate()
        self._refresh()

    def refresh_look(self) -> None:
        self.ladder.set_palette(self.theme.palette)
        self.tape.set_palette(self.theme.palette)
        self.empty.refresh_look()

    def shutdown(self) -> None:
        """Stop the timers; the panel is not used again."""
        self.ladder.stop()
        self.tape.stop()

    def _refresh(self) -> None:
        self._note.setVisible(self._stale is not None and self.ladder.book is not None)
        if self._stale is not None:
            self._note.setText(tr("STALE {age}", age=format_duration(max(1.0, self._stale))))
        self._stack.setCurrentIndex(int(self.ladder.book is not None))
        if self._message is not None:
            self.empty.set_text(local_text(self._message[0]), detail=local_text(self._message[1]))
        elif self._symbol:
            self.empty.set_text(tr("Loading {symbol} …", symbol=self._symbol))
        else:
            self.empty.set_text(tr("Waiting for the market …"))

    @Slot(object)
    def _on_price_picked(self, price: Decimal) -> None:
        self.price_picked.emit(price)
