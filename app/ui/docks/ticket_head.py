"""The head of the order ticket: the market, and whether a person or its strategies trade it. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from app.i18n import MISSING, tr
from app.models.ownerships import Ownerships
from app.models.strategies_model import StrategiesModel
from app.theme import SPACE_S, set_look
from core.domain.positions import Ownership


class TicketHead(QObject):
    """Name of the market, MANUAL badge, and the button that takes the market over and hands it back.

    Like those of `TicketForm`, its widgets are children of the page.

    Args:
        page: the widget the row stands on.
        strategies: says which of them are active.
        ownerships: says which markets are taken over.

    Attributes:
        layout: the row, for the page to place.

    Signals:
        take_over_requested: unified symbol; the receiver asks.
        hand_back_requested: the same.
    """

    take_over_requested = Signal(str)
    hand_back_requested = Signal(str)

    def __init__(self, page: QWidget, strategies: StrategiesModel, ownerships: Ownerships) -> None:
        super().__init__(page)
        self._strategies = strategies
        self._ownerships = ownerships
        self._symbol = ""
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
        """Show a market ("" for none) and who trades it now."""
        self._symbol = symbol
        self.market.setText(symbol or MISSING)
        self._refresh()

    def is_manual(self, symbol: str) -> bool:
        """Whether a market was taken over."""
        return self._ownerships.of(symbol) is Ownership.MANUAL

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.manual.setText(tr("MANUAL"))
        self.manual.setToolTip(tr("You trade this market; its strategies are stopped."))
        self._refresh()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        taken = self.is_manual(self._symbol)
        active = self._strategies.active(self._symbol) if self._symbol else []
        self.manual.setVisible(taken)
        self.take_over.setVisible(bool(taken or active))
        self.take_over.setText(tr("Hand back…") if taken else tr("Take over…"))
        self.take_over.setToolTip(
            tr("Start the stopped strategies again") if taken else tr("Stop the strategies of this market")
        )

    @Slot()
    def _on_take_over(self) -> None:
        requested = self.hand_back_requested if self.is_manual(self._symbol) else self.take_over_requested
        requested.emit(self._symbol)
