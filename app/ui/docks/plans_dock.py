"""Order plans: what works, what became of the rest. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction

from app.i18n import mark, tr
from app.models.plans_model import PlansModel, is_under_way
from app.services import TradingCommands
from app.theme import ThemeManager
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.panel import Panel, ToolRow, column
from core.domain.order_plans import OrderPlan, PlanState


class PlansDock(Panel):
    """Table of order plans with cancel and resume.

    A double click or Enter shows the plan's market.

    Signals:
        new_requested: the person wants to make one.
        market_requested: unified symbol to look at.
    """

    TITLE = mark("Order plans")
    NAME = "plans_dock"
    new_requested = Signal()
    market_requested = Signal(str)

    def __init__(self, model: PlansModel, trading: TradingCommands, theme: ThemeManager) -> None:
        super().__init__(theme)
        self._model = model
        self._trading = trading
        tools = ToolRow(self)
        self.open_only = tools.button("plans_open_only", checkable=True)
        self.open_only.setChecked(True)
        tools.add_stretch()
        self.new_plan = tools.button("new_plan")
        self.resume_plan = tools.button("resume_plan")
        self.cancel_plan = tools.button("cancel_plan")
        self.table: DataTable[OrderPlan] = DataTable(model, theme, name="plans_table", empty_icon="list-ordered")
        tools.serve(self.table)
        column(self, tools, self.table)
        self._cancel_action, self._resume_action, self._market_action = QAction(self), QAction(self), QAction(self)
        self.table.set_menu(self._menu)
        self.table.sort_by("created", Qt.SortOrder.DescendingOrder)
        self.open_only.toggled.connect(self._on_open_only)
        self.new_plan.clicked.connect(self.new_requested)
        for source in (self.cancel_plan.clicked, self._cancel_action.triggered):
            source.connect(self._on_cancel)
        for source in (self.resume_plan.clicked, self._resume_action.triggered):
            source.connect(self._on_resume)
        self._market_action.triggered.connect(self._on_market)
        self.table.selection_changed.connect(self.refresh_buttons)
        self.table.row_activated.connect(self._on_row_activated)
        model.dataChanged.connect(self.refresh_buttons)
        self._on_open_only(True)
        self.retranslate()

    def retranslate(self) -> None:
        self.open_only.setText(tr("At work only"))
        self.new_plan.setText(tr("New order plan…"))
        self.cancel_plan.setText(tr("Cancel plan"))
        self.cancel_plan.setToolTip(tr("End the plan and cancel its orders; what it traded stays"))
        self.resume_plan.setText(tr("Resume"))
        self.resume_plan.setToolTip(tr("Let a paused plan go on"))
        self._cancel_action.setText(tr("Cancel plan"))
        self._resume_action.setText(tr("Resume"))
        self._market_action.setText(tr("Show this market"))
        self._write_empty()

    def refresh_look(self) -> None:
        self._model.set_palette(self.theme.palette)
        self.table.refresh_look()

    @Slot()
    def refresh_buttons(self) -> None:
        """Enable what can be done now."""
        chosen = self.table.selected()
        cancellable = any(is_under_way(plan) for plan in chosen)
        resumable = any(plan.state is PlanState.PAUSED for plan in chosen)
        self.cancel_plan.setEnabled(cancellable)
        self._cancel_action.setEnabled(cancellable)
        self.resume_plan.setEnabled(resumable)
        self._resume_action.setEnabled(resumable)

    def _write_empty(self) -> None:
        if self.open_only.isChecked():
            self.table.empty.set_text(tr("No order plans at work. Protect a position, or spread an order over time."))
        else:
            self.table.empty.set_text(tr("No order plans yet."))

    def _menu(self) -> list[QAction]:
        return [self._resume_action, self._cancel_action, self._market_action]

    @Slot(bool)
    def _on_open_only(self, only: bool) -> None:
        self.table.proxy.set_filter(is_under_way if only else None)
        self._write_empty()
        self.table.refresh_page()
        self.refresh_buttons()

    @Slot()
    def _on_cancel(self) -> None:
        for plan in self.table.selected():
            if is_under_way(plan):
                self._trading.cancel_plan(plan.plan_id)

    @Slot()
    def _on_resume(self) -> None:
        for plan in self.table.selected():
            if plan.state is PlanState.PAUSED:
                self._trading.resume_plan(plan.plan_id)

    @Slot()
    def _on_market(self) -> None:
        for plan in self.table.selected()[:1]:
            self.market_requested.emit(plan.draft.symbol)

    @Slot(object)
    def _on_row_activated(self, plan: OrderPlan) -> None:
        self.market_requested.emit(plan.draft.symbol)
