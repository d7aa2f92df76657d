"""Fills: what was really bought and sold. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLineEdit

from app.i18n import mark, tr
from app.models.fills_model import FillRow, FillsModel
from app.theme import ThemeManager
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.panel import Panel, ToolRow, column


class FillsDock(Panel):
    """Table of fills. A double click or Enter shows the fill's market.

    Signals:
        market_requested: unified symbol to look at.
    """

    TITLE = mark("Fills")
    NAME = "fills_dock"
    market_requested = Signal(str)

    def __init__(self, model: FillsModel, theme: ThemeManager) -> None:
        super().__init__(theme)
        self._model = model
        tools = ToolRow(self)
        self.search = QLineEdit(self)
        self.search.setObjectName("fills_search")
        self.search.setClearButtonEnabled(True)
        tools.add(self.search, 1)
        tools.add_stretch()
        self.copy = tools.button("fills_copy")
        self.table: DataTable[FillRow] = DataTable(model, theme, name="fills_table", empty_icon="arrow-left-right")
        tools.serve(self.table)
        column(self, tools, self.table)
        self._market_action = QAction(self)
        self.table.set_menu(self._menu)
        self.table.sort_by("time", Qt.SortOrder.DescendingOrder)
        self.search.textChanged.connect(self._on_search)
        self.copy.clicked.connect(self.table.copy_selection)
        self._market_action.triggered.connect(self._on_market)
        self.table.row_activated.connect(self._on_row_activated)
        self.retranslate()

    def retranslate(self) -> None:
        self.search.setPlaceholderText(tr("Filter"))
        self.copy.setText(tr("Copy"))
        self.copy.setToolTip(tr("Copy the selected rows, or all, for a spreadsheet"))
        self._market_action.setText(tr("Show this market"))
        self.table.empty.set_text(tr("No fills yet."))

    def refresh_look(self) -> None:
        self._model.set_palette(self.theme.palette)
        self.table.refresh_look()

    def _menu(self) -> list[QAction]:
        return [self._market_action]

    @Slot(str)
    def _on_search(self, text: str) -> None:
        self.table.proxy.set_search(text)
        self.table.refresh_page()

    @Slot()
    def _on_market(self) -> None:
        for row in self.table.selected()[:1]:
            self.market_requested.emit(row.fill.symbol)

    @Slot(object)
    def _on_row_activated(self, row: FillRow) -> None:
        self.market_requested.emit(row.fill.symbol)
