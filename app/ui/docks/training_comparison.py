"""Finished runs side by side, forecasters and agents each in a table of its own. GUI thread only."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.i18n import tr
from app.models.agent_compare_model import AgentCompareModel, ComparedAgent
from app.models.training_compare_model import ComparedRun, TrainingCompareModel, compared_run
from app.theme import SPACE_M, SPACE_XS, ThemeManager, set_look
from app.ui.docks.training_list import name_text
from app.ui.docks.training_runs import TrainingRun
from app.ui.widgets.data_table import DataTable


class RunComparison(QWidget):
    """A table of forecasters over one of agents: their figures mean different things. One without rows is left out.

    Signals:
        run_activated(str): a person wants to see this run.
    """

    run_activated = Signal(str)

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("training_comparisons")
        self._forecasts, self._agents = TrainingCompareModel(self), AgentCompareModel(self)
        self.forecasts: DataTable[ComparedRun] = DataTable(
            self._forecasts, theme, name="training_comparison", empty_icon="brain", parent=self
        )
        self.agents: DataTable[ComparedAgent] = DataTable(
            self._agents, theme, name="agent_comparison", empty_icon="brain", parent=self
        )
        self.titles = (QLabel(self), QLabel(self))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        tables: tuple[QWidget, QWidget] = (self.forecasts, self.agents)
        for title, table in zip(self.titles, tables, strict=True):
            set_look(title, "role", "strong")
            title.setContentsMargins(SPACE_M, SPACE_XS, SPACE_M, SPACE_XS)
            layout.addWidget(title)
            layout.addWidget(table, 1)
        self.forecasts.row_activated.connect(self._on_activated)
        self.agents.row_activated.connect(self._on_activated)

    def show_runs(self, runs: Sequence[TrainingRun]) -> None:
        """List the finished ones among these runs; the place of a run is its age."""
        for place, run in enumerate(runs):
            self._show_forecast(run, runs, place)
            self._show_agent(run, runs, place)
        for model in (self._forecasts, self._agents):
            while model.flush():
                pass
        forecasts, agents = self._forecasts.rowCount() > 0, self._agents.rowCount() > 0
        self.agents.setVisible(agents)
        self.forecasts.setVisible(forecasts or not agents)  # says that there is nothing yet
        for title in self.titles:
            title.setVisible(forecasts and agents)

    def discard(self, run_id: str) -> None:
        """Forget a run."""
        self._forecasts.discard(run_id)
        self._agents.discard(run_id)

    def retranslate(self) -> None:
        """Write the fixed texts in the present language."""
        for title, text in zip(self.titles, (tr("Forecasters"), tr("Agents")), strict=True):
            title.setText(text)
        for table in (self.forecasts, self.agents):
            table.empty.set_text(tr("Finished runs are compared here."))
        self._forecasts.retranslate()
        self._agents.retranslate()

    def refresh_look(self, theme: ThemeManager) -> None:
        """Take over the colours of the present theme."""
        for model in (self._forecasts, self._agents):
            model.set_palette(theme.palette)
        for table in (self.forecasts, self.agents):
            table.refresh_look()

    def _show_forecast(self, run: TrainingRun, runs: Sequence[TrainingRun], place: int) -> None:
        if run.result is None:
            self._forecasts.discard(run.run_id)
            return
        row = compared_run(run.run_id, name_text(run, runs), run.spec, run.result, run.caution, place)
        if self._forecasts.record(run.run_id) != row:
            self._forecasts.put(row)

    def _show_agent(self, run: TrainingRun, runs: Sequence[TrainingRun], place: int) -> None:
        result = None if run.agent is None else run.agent.result
        if result is None:
            self._agents.discard(run.run_id)
            return
        row = ComparedAgent(run.run_id, name_text(run, runs), result, run.caution, place)
        if self._agents.record(run.run_id) != row:
            self._agents.put(row)

    @Slot(object)
    def _on_activated(self, row: ComparedRun | ComparedAgent) -> None:
        self.run_activated.emit(row.run_id)
