"""The tool bar: market, price, mode and the kill switch. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal, Slot
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QToolBar, QWidget

from app.i18n import MISSING, tr
from app.models.format import signed_percent
from app.models.precision import Precision
from app.theme import FONT_SIZE_L, GRID, SPACE_M, ThemeManager, number_font, set_look
from app.ui.widgets.kill_button import KillSwitch
from app.ui.widgets.mode_badge import ModeBadge
from core.domain.market import Ticker


class TopBar(QToolBar):
    """Always visible; cannot be moved away or closed.

    Attributes:
        kill_switch: the red button.
        badge: the mode.

    Signals:
        symbol_chosen: the person chose another market.
    """

    symbol_chosen = Signal(str)

    def __init__(self, theme: ThemeManager, precision: Precision, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._precision = precision
        self.setObjectName("top_bar")
        self.setMovable(False)
        self.setFloatable(False)
        # The kill switch lives here: the bar has no menu that could hide it.
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self.symbol = QComboBox(self)
        self.symbol.setObjectName("symbol")
        self.symbol.setMinimumWidth(32 * GRID)
        self.symbol.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.symbol.installEventFilter(self)
        self.price = QLabel(MISSING, self)
        self.price.setObjectName("last_price")
        self.price.setFont(number_font(FONT_SIZE_L, bold=True))
        self.change = QLabel(self)
        self.change.setObjectName("change_24h")
        self.change.setFont(number_font())
        self.badge = ModeBadge(self)
        self.kill_switch = KillSwitch(theme, self)
        # One widget for all: a tool bar that is too narrow would move single ones, the kill switch first, into a menu.
        content = QWidget(self)
        row = QHBoxLayout(content)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACE_M)
        for widget in (self.symbol, self.price, self.change):
            row.addWidget(widget)
        row.addStretch(1)
        row.addWidget(self.badge)
        row.addWidget(self.kill_switch)
        self.addWidget(content)
        self.symbol.activated.connect(self._on_symbol)
        self.retranslate()

    def set_symbols(self, symbols: tuple[str, ...], current: str) -> None:
        """Offer these markets and show the present one; emits nothing."""
        self.symbol.clear()
        self.symbol.addItems(symbols)
        self.set_symbol(current)

    def set_symbol(self, symbol: str) -> None:
        """Show the present market; its price is unknown until it comes."""
        if self.symbol.findText(symbol) < 0:
            self.symbol.addItem(symbol)
        self.symbol.setCurrentText(symbol)
        self.price.setText(MISSING)
        self.change.setText("")

    def set_ticker(self, ticker: Ticker) -> None:
        """Show price and 24-hour change of the present market; others are ignored."""
        if ticker.symbol != self.symbol.currentText():
            return
        self.price.setText(self._precision.price(ticker.symbol, ticker.last))
        change = ticker.change_24h
        self.change.setText("" if change is None else signed_percent(change))
        set_look(self.change, "role", "muted" if not change else "up" if change > 0 else "down")

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.setWindowTitle(tr("Main bar"))
        self.symbol.setAccessibleName(tr("Market"))
        self.symbol.setToolTip(tr("Market"))
        self.price.setToolTip(tr("Last price"))
        self.change.setToolTip(tr("Change in 24 hours"))
        self.badge.retranslate()
        self.kill_switch.retranslate()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and watched is self.symbol and not self.symbol.hasFocus():
            event.ignore()
            return True
        return False

    @Slot(int)
    def _on_symbol(self, _index: int) -> None:
        self.symbol_chosen.emit(self.symbol.currentText())
