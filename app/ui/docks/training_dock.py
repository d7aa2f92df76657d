"""Training: the runs, how they learn, and what came of them. GUI thread only.

Fed with `ml.api` values that the training worker emits and with its queue; progress is drawn at most ten times a
second, results and failures at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from PySide6.QtCore import QSignalBlocker, QTimer, Signal, Slot
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QSpinBox, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from app.flows.training_queue import MAX_SLOTS, TrainingQueue
from app.i18n import mark, tr
from app.models.training_compare_model import ComparedRun, TrainingCompareModel, compared_run
from app.services import TrainingCommands
from app.theme import GRID, ThemeManager
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.docks.paced import FRAME_MS
from app.ui.docks.search_view import SearchView
from app.ui.docks.training_curves import OVERLAY, RunCurves
from app.ui.docks.training_details import RunDetails
from app.ui.docks.training_list import RunList, name_text
from app.ui.docks.training_runs import RunState, TrainingRun
from app.ui.docks.training_tools import Deed, RunTools, deeds_for
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.panel import Panel, ToolRow
from app.ui.widgets.spin_box import indent_text
from ml.api import DataRange, ForecastSpec, TrainingProgress, TrainingResult
from ml.search_results import SearchProgress, SearchResult

_TICK_MS = 1_000
MINIMUM_WIDTH = 87 * GRID  # the table of figures fits, with a scroll bar beside it


class TrainingDock(Panel):
    """List of runs over the chosen one, the curves of those selected, and a table of all that finished.

    Signals:
        wizard_requested: a person wants to set up a new run.
        strategy_requested(str): a person wants a strategy from this model id.
        model_requested(str): a person wants to look at this model id.
        search_requested(str): a person wants to search for settings, starting from those of this run.
    """

    TITLE = mark("Training")
    NAME = "training_dock"
    wizard_requested = Signal()
    strategy_requested = Signal(str)
    model_requested = Signal(str)
    search_requested = Signal(str)

    def __init__(
        self,
        commands: TrainingCommands,
        theme: ThemeManager,
        parent: QWidget | None = None,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(theme, parent)
        self._commands, self._now_s = commands, now_s
        self._runs: dict[str, TrainingRun] = {}
        self._queue = TrainingQueue()
        self._shown = ""
        self._stale: set[str] = set()
        self._frame = QTimer(self)
        self._frame.setSingleShot(True)
        self._frame.setInterval(FRAME_MS)
        self._frame.timeout.connect(self._on_frame)
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._on_tick)
        self.empty = EmptyState(theme, "brain", self)
        self.empty.triggered.connect(self._on_wizard)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(self._build_page())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)
        self.setMinimumWidth(MINIMUM_WIDTH)
        self.retranslate()
        self.refresh_look()

    # -- runs -------------------------------------------------------------------------------------------------------

    @property
    def runs(self) -> tuple[TrainingRun, ...]:
        """The runs as listed: those that ended, oldest first, then the queue in its order."""
        queued = [q.run_id for q in self._queue.runs if (run := self._runs.get(q.run_id)) and not run.state.is_over]
        ended = [run_id for run_id in self._runs if run_id not in queued]
        return tuple(self._runs[run_id] for run_id in (*ended, *queued))

    def restore(self, past: Sequence[TrainingRun]) -> None:
        """List runs of earlier sessions, oldest first, in front of those of this one."""
        fresh = {run.run_id: run for run in past if run.run_id not in self._runs}
        self._runs = {**fresh, **self._runs}
        self._shown = self._shown or next(reversed(self._runs), "")
        self._refresh()

    def on_run_queued(self, run_id: str, data: DataRange, begun_ns: int) -> None:
        """List what comes before a run, such as a download, begun at `begun_ns` (ns UTC); it becomes the one shown."""
        run = self._run(run_id)
        if run.state.is_over:
            run.begin_again()
        run.data, run.begun_ns = data, begun_ns
        self._shown = run_id
        self._refresh()

    def on_queue(self, queue: TrainingQueue) -> None:
        """Take the queue as it is now; a run that is new in it becomes the one shown."""
        for queued in queue.runs:
            known = self._runs.get(queued.run_id)
            run = self._run(queued.run_id)
            if known is None or known.state.is_over:
                self._shown = queued.run_id
            run.take_queued(queued)
        self._queue = queue
        with QSignalBlocker(self.slots):
            self.slots.setValue(queue.slots)
        self._refresh()

    @Slot(object)
    def on_progress(self, progress: TrainingProgress) -> None:
        """Take the newest progress of a run; it is drawn with the next frame."""
        known = progress.run_id in self._runs
        self._run(progress.run_id).take_progress(progress, self._now_s())
        if not known:
            self._refresh()
            return
        self._stale.add(progress.run_id)
        if self.isVisible() and not self._frame.isActive():
            self._on_frame()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._clock.start()
        self._refresh()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._clock.stop()

    @Slot(object)
    def on_result(self, result: TrainingResult) -> None:
        """Show what a run brought."""
        self._run(result.run_id).take_result(result)
        self._refresh()

    def on_search_progress(self, progress: SearchProgress) -> None:
        """Take the newest progress of a search."""
        run = self._run(progress.run_id)
        run.take_search_progress(progress)
        self.list.refresh_run(run, self.runs)
        if progress.run_id == self._shown:
            self._write_chosen()

    def on_search_result(self, result: SearchResult) -> None:
        """Show what a search brought."""
        self._run(result.run_id).take_search_result(result)
        self._refresh()

    def on_failed(self, run_id: str, message: str, remedy: str, *, resumable: bool = False) -> None:
        """Say why a run ended without a result, what helps, and whether it can go on from a checkpoint."""
        run = self._run(run_id)
        run.state, run.message, run.remedy, run.resumable = RunState.FAILED, message, remedy, resumable
        self._refresh()

    def on_cancelled(self, run_id: str, *, resumable: bool = False) -> None:
        """Take note that a run stopped because it was told to, and whether it can go on from a checkpoint."""
        run = self._run(run_id)
        run.state, run.resumable = RunState.CANCELLED, resumable
        self._refresh()

    def remove_run(self, run_id: str) -> None:
        """Take a run off the list, for example a download that was followed by its training."""
        if self._runs.pop(run_id, None) is not None:
            self._stale.discard(run_id)
            self._model.discard(run_id)
            if self._shown == run_id:
                self._shown = next(reversed(self._runs), "")
            self._refresh()

    # -- appearance -------------------------------------------------------------------------------------------------

    def retranslate(self) -> None:
        self.empty.set_text(
            tr("No training yet."),
            tr("Train a model…"),
            tr("A wizard leads from price history to a tested model in a few minutes."),
        )
        self._new.setText(tr("Train a model…"))
        self._search.setAccessibleName(tr("Search for settings…"))
        self._search.setToolTip(
            tr("Search for settings: try many around those of the chosen run, and compare them by their validation")
        )
        self.pages.setTabText(self.pages.indexOf(self.search), tr("Search"))
        self.slots.setPrefix(tr("At a time: "))
        self.slots.setToolTip(tr("How many runs are at work at a time; each takes memory and processor of its own"))
        self.slots.setAccessibleName(tr("Runs at a time"))
        self.list.setAccessibleName(tr("Training runs"))
        for page, text in ((self.details, tr("Run")), (self.curves, tr("Curves")), (self.table, tr("Comparison"))):
            self.pages.setTabText(self.pages.indexOf(page), text)
        self.table.empty.set_text(tr("Finished runs are compared here."))
        self._model.retranslate()
        for part in (self.tools, self.details, self.curves, self.search):
            part.retranslate()
        self._refresh()

    def refresh_look(self) -> None:
        self._model.set_palette(self.theme.palette)
        self._search.setIcon(self.theme.icon("search"))
        for part in (self.empty, self.table, self.tools, self.details, self.curves, self.search):
            part.refresh_look()
        self._refresh()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _build_page(self) -> QWidget:
        page = QWidget(self)
        top = ToolRow(page)
        self._new = top.button("training_new", variant="primary")
        self._new.clicked.connect(self._on_wizard)
        self._search = top.button("training_search")
        self._search.clicked.connect(self._on_search)
        top.add_stretch()
        self.slots = QSpinBox(page)
        self.slots.setObjectName("training_slots")
        self.slots.setRange(1, MAX_SLOTS)
        indent_text(self.slots)
        self.slots.valueChanged.connect(self._on_slots)
        top.add(self.slots)
        self.list = RunList(self.theme, page)
        self.list.chosen.connect(self._on_chosen)
        top.serve(self.list)
        self.tools = RunTools(self.theme, self.list, page)
        self.tools.asked.connect(self._on_deed)
        self.pages = QTabWidget(page)
        self.pages.setObjectName("training_pages")
        self.pages.setDocumentMode(True)
        self.details = RunDetails(self.theme, self.pages)
        self.curves = RunCurves(self.theme, self.pages)
        self._model = TrainingCompareModel(self)
        self.table: DataTable[ComparedRun] = DataTable(
            self._model, self.theme, name="training_comparison", empty_icon="brain", parent=self.pages
        )
        self.table.row_activated.connect(self._on_row_activated)
        self.search = SearchView(self.theme, self.pages)
        self.search.train_requested.connect(self._on_train)
        for widget in (self.search, self.details, self.curves, self.table):
            self.pages.addTab(widget, "")
        self.pages.currentChanged.connect(self._write_pages)
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for part in (top, self.list, self.tools):
            layout.addWidget(part)
        layout.addWidget(self.pages, 1)
        return page

    def _run(self, run_id: str) -> TrainingRun:
        if run_id not in self._runs:
            self._runs[run_id] = TrainingRun(run_id)
        self._shown = self._shown or run_id
        return self._runs[run_id]

    def _refresh(self) -> None:
        """Write everything."""
        self._stack.setCurrentIndex(int(bool(self._runs)))
        self._stale.clear()
        runs = self.runs
        self.list.show_runs(runs, self._shown)
        if not runs:
            return
        self._write_comparison(runs)
        self._write_chosen()

    @Slot()
    def _on_frame(self) -> None:
        """Draw the progress heard since the last frame."""
        if not self._stale:
            return
        runs = self.runs
        for run_id in self._stale:
            self.list.refresh_run(self._runs[run_id], runs)
        touched = self._stale & {self._shown, *self.list.selected_ids()}
        self._stale.clear()
        if touched:
            self._write_chosen()
        self._frame.start()

    @Slot()
    def _on_tick(self) -> None:
        """Let the time left of the runs at work run down: one that is judged sends no messages."""
        now_s = self._now_s()
        for run in self._runs.values():
            if run.state is RunState.RUNNING and run.left_s is not None:
                run.tick(now_s)
                self._stale.add(run.run_id)
        if self._stale and not self._frame.isActive():
            self._on_frame()

    def _write_chosen(self) -> None:
        """Write what belongs to the chosen runs: buttons, details, curves."""
        self.tools.show_deeds(self._chosen(), self._queue)
        self._offer_pages(self._runs.get(self._shown))
        self._write_pages()

    def _offer_pages(self, run: TrainingRun | None) -> None:
        """Show the pages of a search or those of a run; the one in front stays in front where it is among them."""
        searches = run is not None and run.is_search
        self._search.setEnabled(run is not None and run.spec is not None)
        if self.pages.currentWidget() in ((self.details, self.curves) if searches else (self.search,)):
            first = self.search if searches else self.details
            self.pages.setTabVisible(self.pages.indexOf(first), True)
            self.pages.setCurrentWidget(first)
        for page in (self.search, self.details, self.curves):
            self.pages.setTabVisible(self.pages.indexOf(page), (page is self.search) is searches)

    @Slot()
    def _write_pages(self) -> None:
        """Write the page in front; the others are written when they come to the front."""
        run = self._runs.get(self._shown)
        if run is None:
            return
        runs = self.runs
        selected = self._chosen()
        front = self.pages.currentWidget()
        if front is self.search:
            self.search.show_run(run)
            return
        overlaid = front is self.curves and len(selected) > 1
        colours = zip(selected, OVERLAY, strict=False) if overlaid else ()
        self.list.set_overlay({other.run_id: getattr(self.theme.palette, tone.value) for other, tone in colours})
        if front is self.details:
            after = self._runs.get(run.after)
            self.details.show_run(run, "" if after is None else name_text(after, runs))
        elif front is self.curves:
            self.curves.show_runs(run, [(other, name_text(other, runs)) for other in selected])

    def _write_comparison(self, runs: Sequence[TrainingRun]) -> None:
        for place, run in enumerate(runs):
            if run.result is None:
                self._model.discard(run.run_id)
            else:
                row = compared_run(run.run_id, name_text(run, runs), run.spec, run.result, run.caution, place)
                if self._model.record(run.run_id) != row:
                    self._model.put(row)
        while self._model.flush():
            pass

    def _chosen(self) -> tuple[TrainingRun, ...]:
        """Return the selected runs; the one shown where none is selected."""
        ids = self.list.selected_ids() or [self._shown]
        return tuple(self._runs[run_id] for run_id in ids if run_id in self._runs)

    @Slot()
    def _on_wizard(self) -> None:
        self.wizard_requested.emit()

    @Slot()
    def _on_search(self) -> None:
        self.search_requested.emit(self._shown)

    @Slot(object)
    def _on_train(self, spec: ForecastSpec) -> None:
        self._commands.start_training(spec.to_json())

    @Slot(int)
    def _on_slots(self, slots: int) -> None:
        self._commands.set_training_slots(slots)

    @Slot()
    def _on_chosen(self) -> None:
        self._shown = self.list.current_id() or self._shown
        self._write_chosen()

    @Slot(object)
    def _on_row_activated(self, row: ComparedRun) -> None:
        self._shown = row.run_id
        self._refresh()
        self.pages.setCurrentWidget(self.details)

    @Slot(str)
    def _on_deed(self, name: str) -> None:
        deed = Deed(name)
        runs = [run for run in self._chosen() if deed in deeds_for(run, self._queue)]
        if deed is Deed.REMOVE and runs:
            self._ask_remove(runs)
            return
        for run in runs:
            self._carry_out(deed, run)

    def _carry_out(self, deed: Deed, run: TrainingRun) -> None:
        commands, run_id = self._commands, run.run_id
        if deed is Deed.PAUSE:
            commands.pause_training(run_id)
        elif deed is Deed.CONTINUE:
            commands.continue_training(run_id)
        elif deed is Deed.CANCEL:
            run.state = RunState.CANCELLING
            commands.cancel_training(run_id)
            self._refresh()
        elif deed is Deed.RESUME:
            commands.resume_training(run_id)
        elif deed in (Deed.UP, Deed.DOWN):
            commands.move_training(run_id, -1 if deed is Deed.UP else 1)
        elif deed is Deed.AFTER:
            commands.plan_after(run_id)
        elif deed is Deed.USE and run.result is not None:
            self.strategy_requested.emit(run.result.model_id)
        elif deed is Deed.CARD and run.result is not None:
            self.model_requested.emit(run.result.model_id)

    def _ask_remove(self, runs: Sequence[TrainingRun]) -> None:
        dialog = ConfirmDialog(
            self.window(),
            name="remove_runs_dialog",
            title=tr("Delete the selected training runs?"),
            text=tr("Their figures and checkpoints are deleted. The models they made stay."),
            stakes=tuple(name_text(run, self.runs) for run in runs),
        )
        dialog.offer("remove", tr("Delete"), keep=tr("Keep"), subject=[run.run_id for run in runs])
        dialog.agreed.connect(self._on_remove_agreed)
        dialog.show()

    @Slot(object)
    def _on_remove_agreed(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            self._commands.forget_training(run_id)
