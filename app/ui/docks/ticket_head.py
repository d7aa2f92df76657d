"""The head of the order ticket: the market, and whether a person or its strategies trade it. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from app.i18n import MISSING, tr
from app.models.strategies_model import StrategiesModel
from app.services import TradingCommands
from app.theme import SPACE_S, set_look


class TicketHead(QObject):
    """Name of the market, MANUAL badge, and the button that stops its strategies and hands the market back.

    Owns which strategies were taken over from, market by market. Like those of `TicketForm`, its widgets are children
    of the page.

    Args:
        page: the widget the row stands on.
        trading: stops and starts the strategies.
        strategies: says which of them are active.

    Attributes:
        layout: the row, for the page to place.

    Signals:
        handback_requested: ids (tuple) of the strategies taken over; the receiver asks and calls `hand_back`.
    """

    handback_requested = Signal(object)

    def __init__(self, page: QWidget, trading: TradingCommands, strategies: StrategiesModel) -> None:
        super().__init__(page)
        self._trading = trading
        self._strategies = strategies
        self._symbol = ""
        self._taken: dict[str, tuple[str, ...]] = {}
        self._quiet: set[str] = set()  # markets whose taken strategies were seen stopped
        self.market = QLabel(page)
        set_look(self.market, "role", "heading")
        self.manual = QLabel(page)
        self.manual.setObjectName("manual_badge")
        set_look(self.manual, "role", "manual")
        self.take_over = QPushButton(page)
        self.take_over.setObjectName("take_over")
        self.take_over.clicked.connect(self._on_take_over)
        self.layout = QHBoxLayout()
        self.layout.setSpacing(SPACE_S)
        self.layout.addWidget(self.market)
        self.layout.addWidget(self.manual)
        self.layout.addStretch(1)
        self.layout.addWidget(self.take_over)

    def show_market(self, symbol: str) -> None:
        """Show a market ("" for none) and who trades it now, as the strategies say."""
        self._symbol = symbol
        self.market.setText(symbol or MISSING)
        self._refresh()

    def is_manual(self, symbol: str) -> bool:
        """Whether a market was taken over."""
        return symbol in self._taken

    @Slot(object)
    def hand_back(self, strategy_ids: tuple[str, ...]) -> None:
        """Start the strategies taken over again and drop the MANUAL badge; called after the person agreed."""
        for strategy_id in strategy_ids:
            self._trading.start_strategy(strategy_id)
        for symbol in [symbol for symbol, ids in self._taken.items() if ids == strategy_ids]:
            self._release(symbol)
        self._refresh()

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.manual.setText(tr("MANUAL"))
        self.manual.setToolTip(tr("You trade this market; its strategies are stopped."))
        self._refresh()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        symbol = self._symbol
        taken = self._taken.get(symbol, ())
        active = self._strategies.active(symbol) if symbol else []
        runs = any(status.strategy_id in taken for status in active)
        if taken and not runs:
            self._quiet.add(symbol)  # the stop has arrived
        elif taken and symbol in self._quiet:
            self._release(symbol)  # started again elsewhere: the badge would be a lie
            taken = ()
        self.manual.setVisible(bool(taken))
        self.take_over.setVisible(bool(taken or active))
        self.take_over.setText(tr("Hand back…") if taken else tr("Take over"))
        self.take_over.setToolTip(
            tr("Start the stopped strategies again") if taken else tr("Stop the strategies of this market")
        )

    def _release(self, symbol: str) -> None:
        self._taken.pop(symbol, None)
        self._quiet.discard(symbol)

    @Slot()
    def _on_take_over(self) -> None:
        taken = self._taken.get(self._symbol)
        if taken:
            self.handback_requested.emit(taken)
            return
        ids = tuple(status.strategy_id for status in self._strategies.active(self._symbol))
        for strategy_id in ids:
            self._trading.stop_strategy(strategy_id)
        if ids:
            self._taken[self._symbol] = ids
        self._refresh()
