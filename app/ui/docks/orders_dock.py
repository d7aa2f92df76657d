"""Orders: what works, what became of the rest. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLineEdit

from app.flows.order_care import is_changeable, is_unanswered
from app.i18n import mark, tr
from app.models.orders_model import OrdersModel, is_open
from app.services import TradingCommands
from app.theme import ThemeManager
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.panel import Panel, ToolRow, column
from core.domain.orders import Order, OrderState


def is_cancellable(order: Order) -> bool:
    """Whether asking the venue to cancel makes sense."""
    return is_open(order) and order.state is not OrderState.PENDING_CANCEL


class OrdersDock(Panel):
    """Table of orders with cancel, change, and the way to decide on one without an answer.

    A double click or Enter shows the order's market.

    Signals:
        resolve_requested: the `Order` without an answer that the person wants to decide on.
        change_requested: the working `Order` that the person wants to change.
        market_requested: unified symbol to look at.
    """

    TITLE = mark("Orders")
    NAME = "orders_dock"
    resolve_requested = Signal(object)
    change_requested = Signal(object)
    market_requested = Signal(str)

    def __init__(self, model: OrdersModel, trading: TradingCommands, theme: ThemeManager) -> None:
        super().__init__(theme)
        self._model = model
        self._trading = trading
        tools = ToolRow(self)
        self.open_only = tools.button("orders_open_only", checkable=True)
        self.open_only.setChecked(True)
        self.search = QLineEdit(self)
        self.search.setObjectName("orders_search")
        self.search.setClearButtonEnabled(True)
        tools.add(self.search, 1)
        tools.add_stretch()
        self.resolve = tools.button("resolve_order", variant="primary")
        self.change = tools.button("change_order")
        self.cancel_selected = tools.button("cancel_selected")
        self.cancel_all = tools.button("cancel_all")
        self.table: DataTable[Order] = DataTable(model, theme, name="orders_table", empty_icon="list-ordered")
        tools.serve(self.table)
        column(self, tools, self.table)
        self._resolve_action, self._change_action = QAction(self), QAction(self)
        self._cancel_action = QAction(self)
        self._market_action = QAction(self)
        self.table.set_menu(self._menu)
        self.table.sort_by("time", Qt.SortOrder.DescendingOrder)
        self.open_only.toggled.connect(self._on_open_only)
        self.search.textChanged.connect(self._on_search)
        for source in (self.resolve.clicked, self._resolve_action.triggered):
            source.connect(self._on_resolve)
        for source in (self.change.clicked, self._change_action.triggered):
            source.connect(self._on_change)
        self.cancel_selected.clicked.connect(self._on_cancel_selected)
        self.cancel_all.clicked.connect(self._on_cancel_all)
        self._cancel_action.triggered.connect(self._on_cancel_selected)
        self._market_action.triggered.connect(self._on_market)
        self.table.selection_changed.connect(self.refresh_buttons)
        self.table.row_activated.connect(self._on_row_activated)
        model.dataChanged.connect(self.refresh_buttons)
        model.rowsInserted.connect(self.refresh_buttons)
        self._on_open_only(True)
        self.retranslate()

    def retranslate(self) -> None:
        self.open_only.setText(tr("Open only"))
        self.search.setPlaceholderText(tr("Filter"))
        for part in (self.resolve, self._resolve_action):
            part.setText(tr("Resolve…"))
        self.resolve.setToolTip(tr("Decide on an order without an answer"))
        for part in (self.change, self._change_action):
            part.setText(tr("Change…"))
        self.change.setToolTip(tr("Change price or quantity of a working order of your own"))
        self.cancel_selected.setText(tr("Cancel"))
        self.cancel_selected.setToolTip(tr("Cancel selected"))
        self.cancel_all.setText(tr("Cancel all"))
        self.cancel_all.setToolTip(tr("Cancel every open order of the account"))
        self._cancel_action.setText(tr("Cancel selected"))
        self._market_action.setText(tr("Show this market"))
        self._write_empty()

    def refresh_look(self) -> None:
        self._model.set_palette(self.theme.palette)
        self.table.refresh_look()

    @Slot()
    def refresh_buttons(self) -> None:
        """Enable what can be done now."""
        chosen = self.table.selected()
        cancellable = any(is_cancellable(order) for order in chosen)
        for part in (self.resolve, self._resolve_action):
            part.setEnabled(any(is_unanswered(order) for order in chosen))
        for part in (self.change, self._change_action):
            part.setEnabled(len(chosen) == 1 and is_changeable(chosen[0]))
        # One place for two deeds: the row is as wide as the smallest window.
        doubts = not self.change.isEnabled() and any(is_unanswered(order) for order in self._model.records())
        self.resolve.setVisible(doubts)
        self.change.setVisible(not doubts)
        self.cancel_selected.setEnabled(cancellable)
        self._cancel_action.setEnabled(cancellable)
        self.cancel_all.setEnabled(any(is_cancellable(order) for order in self._model.records()))

    def _write_empty(self) -> None:
        if self.open_only.isChecked():
            self.table.empty.set_text(tr("No open orders. Orders of strategies and of the ticket appear here."))
        else:
            self.table.empty.set_text(tr("No orders yet."))

    def _menu(self) -> list[QAction]:
        return [self._resolve_action, self._change_action, self._cancel_action, self._market_action]

    @Slot(bool)
    def _on_open_only(self, only: bool) -> None:
        self.table.proxy.set_filter(is_open if only else None)
        self._write_empty()
        self.table.refresh_page()
        self.refresh_buttons()

    @Slot(str)
    def _on_search(self, text: str) -> None:
        self.table.proxy.set_search(text)
        self.table.refresh_page()

    @Slot()
    def _on_resolve(self) -> None:
        for order in self.table.selected():
            if is_unanswered(order):
                self.resolve_requested.emit(order)

    @Slot()
    def _on_change(self) -> None:
        for order in self.table.selected()[:1]:
            if is_changeable(order):
                self.change_requested.emit(order)

    @Slot()
    def _on_cancel_selected(self) -> None:
        for order in self.table.selected():
            if is_cancellable(order):
                self._trading.cancel_order(order.client_order_id)

    @Slot()
    def _on_cancel_all(self) -> None:
        self._trading.cancel_all(None)

    @Slot()
    def _on_market(self) -> None:
        for order in self.table.selected()[:1]:
            self.market_requested.emit(order.intent.symbol)

    @Slot(object)
    def _on_row_activated(self, order: Order) -> None:
        self.market_requested.emit(order.intent.symbol)
