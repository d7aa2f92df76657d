"""Positions and their profit. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction

from app.i18n import mark, tr
from app.models.positions_model import PositionRow, PositionsModel
from app.theme import ThemeManager
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.panel import Panel, ToolRow, column
from core.domain.positions import Ownership

# What the person can do about the ownership of a market, by what it is now.
_CHANGES = {
    Ownership.SHARED: ("take_over", "leave"),
    Ownership.BOT: ("take_over", "share"),
    Ownership.MANUAL: ("hand_back",),
}


class PositionsDock(Panel):
    """Table of positions; closing one prepares an order in the ticket and sends nothing by itself.

    The row menu changes who trades the market; the window asks before anything happens.

    A double click or Enter shows the position's market.

    Signals:
        close_requested: the `Position` to prepare a closing order for.
        protect_requested: the `Position` to prepare an exit for.
        market_requested: unified symbol to look at.
        take_over_requested, hand_back_requested, leave_requested, share_requested: unified symbol of a market whose
            ownership the person wants to change.
    """

    TITLE = mark("Positions")
    NAME = "positions_dock"
    close_requested = Signal(object)
    protect_requested = Signal(object)
    market_requested = Signal(str)
    take_over_requested = Signal(str)
    hand_back_requested = Signal(str)
    leave_requested = Signal(str)
    share_requested = Signal(str)

    def __init__(self, model: PositionsModel, theme: ThemeManager) -> None:
        super().__init__(theme)
        self._model = model
        tools = ToolRow(self)
        self.show_flat = tools.button("positions_show_flat", checkable=True)
        tools.add_stretch()
        self.close_position = tools.button("close_position")
        self.table: DataTable[PositionRow] = DataTable(model, theme, name="positions_table", empty_icon="wallet")
        tools.serve(self.table)
        column(self, tools, self.table)
        self._close_action, self._protect_action = QAction(self), QAction(self)
        self._market_action = QAction(self)
        self._requests = {
            "take_over": self.take_over_requested,
            "hand_back": self.hand_back_requested,
            "leave": self.leave_requested,
            "share": self.share_requested,
        }
        self._ownership_actions = {name: QAction(self) for name in self._requests}
        for name, action in self._ownership_actions.items():
            action.setObjectName(name)
            action.triggered.connect(self._on_ownership)
        self.table.set_menu(self._menu)
        self.table.sort_by("symbol", Qt.SortOrder.AscendingOrder)
        self.show_flat.toggled.connect(self._on_show_flat)
        self.close_position.clicked.connect(self._on_close)
        self._close_action.triggered.connect(self._on_close)
        self._protect_action.triggered.connect(self._on_protect)
        self._market_action.triggered.connect(self._on_market)
        self.table.selection_changed.connect(self.refresh_buttons)
        self.table.row_activated.connect(self._on_row_activated)
        model.dataChanged.connect(self.refresh_buttons)
        self._on_show_flat(False)
        self.retranslate()

    def retranslate(self) -> None:
        self.show_flat.setText(tr("Show closed"))
        self.show_flat.setToolTip(tr("Also closed positions, and dust: less than one lot, too little to be sold"))
        self.close_position.setText(tr("Close position…"))
        self.close_position.setToolTip(tr("Prepare a closing order in the ticket"))
        self._close_action.setText(tr("Close position…"))
        self._protect_action.setText(tr("Protect…"))
        self._market_action.setText(tr("Show this market"))
        self._ownership_actions["take_over"].setText(tr("Take over…"))
        self._ownership_actions["hand_back"].setText(tr("Hand back…"))
        self._ownership_actions["leave"].setText(tr("Leave to the strategies…"))
        self._ownership_actions["share"].setText(tr("Share with the strategies…"))
        self.table.empty.set_text(tr("No open positions. Start a strategy or send an order."))

    def refresh_look(self) -> None:
        self._model.set_palette(self.theme.palette)
        self.table.refresh_look()

    @Slot()
    def refresh_buttons(self) -> None:
        """Enable what can be done now."""
        can_close = any(self._model.is_closable(row) for row in self.table.selected())
        self.close_position.setEnabled(can_close)
        self._close_action.setEnabled(can_close)
        self._protect_action.setEnabled(any(self._can_protect(row) for row in self.table.selected()[:1]))

    def _menu(self) -> list[QAction]:
        rows = self.table.selected()[:1]
        names = _CHANGES[self._model.ownerships.of(rows[0].position.symbol)] if rows else ()
        return [
            self._close_action,
            self._protect_action,
            self._market_action,
            *(self._ownership_actions[name] for name in names),
        ]

    @Slot(bool)
    def _on_show_flat(self, show: bool) -> None:
        self.table.proxy.set_filter(None if show else self._model.is_held)
        self.table.refresh_page()
        self.refresh_buttons()

    @Slot()
    def _on_close(self) -> None:
        for row in self.table.selected()[:1]:
            if self._model.is_closable(row):
                self.close_requested.emit(row.position)

    def _can_protect(self, row: PositionRow) -> bool:
        return self._model.is_closable(row) and row.position.quantity > 0

    @Slot()
    def _on_protect(self) -> None:
        for row in self.table.selected()[:1]:
            if self._can_protect(row):
                self.protect_requested.emit(row.position)

    @Slot()
    def _on_market(self) -> None:
        for row in self.table.selected()[:1]:
            self.market_requested.emit(row.position.symbol)

    @Slot()
    def _on_ownership(self) -> None:
        action = self.sender()
        for row in self.table.selected()[:1]:
            if action is not None:
                self._requests[action.objectName()].emit(row.position.symbol)

    @Slot(object)
    def _on_row_activated(self, row: PositionRow) -> None:
        self.market_requested.emit(row.position.symbol)
