"""The strategy manager: which strategies exist, what they do, start and stop. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction

from app.i18n import mark, tr
from app.models.model_choice import ModelChoice
from app.models.strategies_model import ACTIVE_STATES, StrategiesModel
from app.services import StrategySpec, TradingCommands
from app.theme import ThemeManager
from app.ui.dialogs.add_strategy_dialog import AddStrategyDialog
from app.ui.dialogs.change_model_dialog import ChangeModelDialog, fitting_models
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.panel import Panel, ToolRow, column
from core.domain.data_origin import DataOrigin
from core.events import StrategyStatus


class StrategiesDock(Panel):
    """Table of strategies with add, start, stop and remove.

    A double click or Enter shows the strategy's market.

    Args:
        equity: what the account holds in a quote currency, None where that is not known: no strategy gets more.

    Signals:
        market_requested: unified symbol to look at.
        train_requested: there is no model yet and the person wants one.
    """

    TITLE = mark("Strategies")
    NAME = "strategies_dock"
    market_requested = Signal(str)
    train_requested = Signal()

    def __init__(
        self,
        model: StrategiesModel,
        trading: TradingCommands,
        theme: ThemeManager,
        equity: Callable[[str], Decimal | None],
    ) -> None:
        super().__init__(theme)
        self._model = model
        self._equity = equity
        self._trading = trading
        self._choices: tuple[ModelChoice, ...] = ()
        self._origin: DataOrigin | None = None
        self._form: AddStrategyDialog | None = None
        self._added = ""  # id of a strategy made here that the executor has not shown yet
        tools = ToolRow(self)
        self.start = tools.button("strategy_start")
        self.stop = tools.button("strategy_stop")
        self.remove = tools.button("strategy_remove")
        tools.add_stretch()
        self.add = tools.button("strategy_new")
        self.table: DataTable[StrategyStatus] = DataTable(model, theme, name="strategies_table", empty_icon="bot")
        tools.serve(self.table)
        column(self, tools, self.table)
        self._actions = {name: QAction(self) for name in ("start", "stop", "model", "remove", "market")}
        self.table.set_menu(self._menu)
        self.table.sort_by("title", Qt.SortOrder.AscendingOrder)
        for trigger, slot in (
            (self.start.clicked, self._on_start),
            (self.stop.clicked, self._on_stop),
            (self.remove.clicked, self._on_remove),
            (self.add.clicked, self.open_add_dialog),
            (self._actions["start"].triggered, self._on_start),
            (self._actions["stop"].triggered, self._on_stop),
            (self._actions["model"].triggered, self._on_change_model),
            (self._actions["remove"].triggered, self._on_remove),
            (self._actions["market"].triggered, self._on_market),
        ):
            trigger.connect(slot)
        self.table.empty.triggered.connect(self._on_next_step)
        self.table.selection_changed.connect(self.refresh_buttons)
        self.table.row_activated.connect(self._on_row_activated)
        model.dataChanged.connect(self.refresh_buttons)
        model.rowsInserted.connect(self._on_rows_inserted)
        model.rowsRemoved.connect(self.refresh_buttons)
        self.retranslate()
        self.refresh_look()
        self.refresh_buttons()

    @Slot(object)
    def set_origin(self, origin: DataOrigin | None) -> None:
        """Take whose market is traded; None while that is not known."""
        self._origin = origin
        self._choices = tuple(replace(choice, traded_on=origin) for choice in self._choices)

    def set_models(self, models: Sequence[ModelChoice]) -> None:
        """Set the models a strategy can be made of, best or newest first."""
        self._choices = tuple(replace(choice, traded_on=self._origin) for choice in models)
        self._write_empty()
        self.refresh_buttons()

    def retranslate(self) -> None:
        self.start.setText(tr("Start"))
        self.stop.setText(tr("Stop"))
        self.stop.setToolTip(tr("Stop and cancel its working orders; the position stays"))
        self.remove.setText(tr("Remove…"))
        self.add.setText(tr("Add strategy…"))
        for name, text in (
            ("start", tr("Start")),
            ("stop", tr("Stop")),
            ("model", tr("Change model…")),
            ("remove", tr("Remove…")),
            ("market", tr("Show this market")),
        ):
            self._actions[name].setText(text)
        self._write_empty()

    def refresh_look(self) -> None:
        self._model.set_palette(self.theme.palette)
        self.table.refresh_look()
        for button, name in ((self.start, "play"), (self.stop, "square"), (self.remove, "trash-2"), (self.add, "plus")):
            button.setIcon(self.theme.icon(name))

    @Slot()
    def refresh_buttons(self) -> None:
        """Enable what can be done now."""
        chosen = self.table.selected()
        idle = any(s.state not in ACTIVE_STATES for s in chosen)
        active = any(s.state in ACTIVE_STATES for s in chosen)
        removable = bool(chosen) and not active
        for name, button, enabled in (
            ("start", self.start, idle),
            ("stop", self.stop, active),
            ("remove", self.remove, removable),
        ):
            button.setEnabled(enabled)
            self._actions[name].setEnabled(enabled)
        self._actions["market"].setEnabled(bool(chosen))
        self._actions["model"].setEnabled(len(chosen) == 1 and bool(fitting_models(chosen[0], self._choices)))
        self.add.setEnabled(bool(self._choices))
        self.add.setToolTip("" if self._choices else tr("Train a model first"))

    @Slot()
    def open_add_dialog(self, model_id: str = "") -> None:
        """Open the form for a new strategy; `model_id` is chosen in it, where it is known."""
        if not self._choices:
            return
        if self._form is not None:
            self._form.activateWindow()
            return
        taken = {status.strategy_id: status.title for status in self._model.records()}
        # The form starts with the first of its choices.
        choices = sorted(self._choices, key=lambda choice: choice.model_id != model_id)
        dialog = AddStrategyDialog(tuple(choices), taken, self._equity, self.window())
        dialog.accepted_spec.connect(self._on_spec)
        dialog.finished.connect(self._on_form_finished)
        self._form = dialog
        dialog.show()  # not modal: the kill switch stays within reach

    def _write_empty(self) -> None:
        if self._choices:
            self.table.empty.set_text(tr("No strategies yet – make one of a trained model."), tr("Add strategy…"))
        else:
            self.table.empty.set_text(tr("No strategies yet – train a model."), tr("Train a model…"))

    def _menu(self) -> list[QAction]:
        return list(self._actions.values())

    @Slot()
    def _on_next_step(self) -> None:
        if self._choices:
            self.open_add_dialog()
        else:
            self.train_requested.emit()

    @Slot()
    def _on_form_finished(self) -> None:
        self._form = None

    @Slot(object)
    def _on_spec(self, spec: StrategySpec) -> None:
        self._added = spec.strategy_id
        self._trading.add_strategy(spec)

    @Slot()
    def _on_rows_inserted(self) -> None:
        if self._added and self.table.select_key(self._added):  # the next step is to start it
            self._added = ""
        self.refresh_buttons()

    @Slot()
    def _on_start(self) -> None:
        for status in self.table.selected():
            if status.state not in ACTIVE_STATES:
                self._trading.start_strategy(status.strategy_id)

    @Slot()
    def _on_stop(self) -> None:
        for status in self.table.selected():
            if status.state in ACTIVE_STATES:
                self._trading.stop_strategy(status.strategy_id)

    @Slot()
    def _on_change_model(self) -> None:
        (status,) = self.table.selected()
        dialog = ChangeModelDialog(status, fitting_models(status, self._choices), self.window())
        dialog.chosen.connect(self._trading.change_model)
        dialog.show()  # not modal: the kill switch stays within reach

    @Slot()
    def _on_remove(self) -> None:
        chosen = [s for s in self.table.selected() if s.state not in ACTIVE_STATES]
        if not chosen:
            return
        dialog = ConfirmDialog(
            self.window(),
            name="remove_strategy_dialog",
            title=tr("Remove the selected strategies?"),
            text=tr("Their orders, fills and positions stay in the books."),
            stakes=tuple(s.title for s in chosen),
        )
        dialog.offer("remove", tr("Remove"), keep=tr("Keep"), subject=[s.strategy_id for s in chosen])
        dialog.agreed.connect(self._on_remove_agreed)
        dialog.show()

    @Slot(object)
    def _on_remove_agreed(self, strategy_ids: Sequence[str]) -> None:
        for strategy_id in strategy_ids:
            self._trading.remove_strategy(strategy_id)
            self._model.discard(strategy_id)

    @Slot()
    def _on_market(self) -> None:
        for status in self.table.selected()[:1]:
            self.market_requested.emit(status.symbol)

    @Slot(object)
    def _on_row_activated(self, status: StrategyStatus) -> None:
        self.market_requested.emit(status.symbol)
