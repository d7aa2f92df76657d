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

from app.flows.training_kind import TrainingKind
from app.flows.training_queue import MAX_SLOTS, TrainingQueue
from app.i18n import mark, tr
from app.services import TrainingCommands
from app.theme import GRID, ThemeManager
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.docks.agent_curves import AgentCurves
from app.ui.docks.agent_details import AgentDetails
from app.ui.docks.paced import FRAME_MS
from app.ui.docks.search_view import SearchView
from app.ui.docks.training_comparison import RunComparison
from app.ui.docks.training_curves import OVERLAY, RunCurves
from app.ui.docks.training_details import RunDetails
from app.ui.docks.training_list import RunList, name_text
from app.ui.docks.training_runs import RunState, TrainingRun
from app.ui.docks.training_tools import Deed, RunTools, deeds_for
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.panel import Panel, ToolRow
from app.ui.widgets.spin_box import indent_text
from ml.agents.progress import AgentProgress, AgentResult
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
        self._draw_soon(progress.run_id, known)

    @Slot(object)
    def on_agent_progress(self, progress: AgentProgress) -> None:
        """Take the newest progress of an agent; it is drawn with the next frame."""
        known = progress.run_id in self._runs
        self._run(progress.run_id).take_agent_progress(progress, self._now_s())
        self._draw_soon(progress.run_id, known)

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

    def on_agent_result(self, result: AgentResult) -> None:
        """Show what the run of an agent brought."""
        self._run(result.run_id).take_agent_result(result)
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
            self.comparison.discard(run_id)
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
        self.pages.setTabText(self.pages.indexOf(self.search), tr("Search"))
        self.slots.setPrefix(tr("At a time: "))
        self.slots.setToolTip(tr("How many runs are at work at a time; each takes memory and processor of its own"))
        self.slots.setAccessibleName(tr("Runs at a time"))
        self.list.setAccessibleName(tr("Training runs"))
        titles: tuple[tuple[QWidget, str], ...] = (
            *((page, tr("Run")) for page in (self.details, self.agent)),
            *((page, tr("Curves")) for page in (self.curves, self.agent_curves)),
            (self.comparison, tr("Comparison")),
        )
        for page, text in titles:
            self.pages.setTabText(self.pages.indexOf(page), text)
        for part in (self.tools, *self._pages_of_runs, self.comparison):
            part.retranslate()
        self._refresh()

    def refresh_look(self) -> None:
        self._search.setIcon(self.theme.icon("search"))
        self.comparison.refresh_look(self.theme)
        for part in (self.empty, self.tools, *self._pages_of_runs):
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
        self.agent, self.agent_curves = AgentDetails(self.theme, self.pages), AgentCurves(self.theme, self.pages)
        self.comparison = RunComparison(self.theme, self.pages)
        self.comparison.run_activated.connect(self._on_row_activated)
        self.search = SearchView(self.theme, self.pages)
        self.search.train_requested.connect(self._on_train)
        self._pages_of_runs = (self.search, self.details, self.curves, self.agent, self.agent_curves)
        for widget in (*self._pages_of_runs, self.comparison):
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

    def _draw_soon(self, run_id: str, known: bool) -> None:
        """Draw what was heard of a run with the next frame; one that is not listed yet at once."""
        if not known:
            self._refresh()
            return
        self._stale.add(run_id)
        if self.isVisible() and not self._frame.isActive():
            self._on_frame()

    def _refresh(self) -> None:
        """Write everything."""
        self._stack.setCurrentIndex(int(bool(self._runs)))
        self._stale.clear()
        runs = self.runs
        self.list.show_runs(runs, self._shown)
        if not runs:
            return
        self.comparison.show_runs(runs)
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
        """Show the pages for the kind of run; the place in front stays in front where that kind has it."""
        kind = TrainingKind.FORECAST if run is None else run.kind
        self._offer_search(run, kind)
        offered = self._pages_of(kind)
        front = self.pages.currentWidget()
        if front is not self.comparison and front not in offered:
            wanted = offered[-1] if front in (self.curves, self.agent_curves) else offered[0]
            self.pages.setTabVisible(self.pages.indexOf(wanted), True)
            self.pages.setCurrentWidget(wanted)
        for page in self._pages_of_runs:
            self.pages.setTabVisible(self.pages.indexOf(page), page in offered)

    def _pages_of(self, kind: TrainingKind) -> tuple[QWidget, ...]:
        """Return the pages of a kind of run; the comparison is there for all."""
        pages: dict[TrainingKind, tuple[QWidget, ...]] = {
            TrainingKind.FORECAST: (self.details, self.curves),
            TrainingKind.SEARCH: (self.search,),
            TrainingKind.AGENT: (self.agent, self.agent_curves),
        }
        return pages[kind]

    def _offer_search(self, run: TrainingRun | None, kind: TrainingKind) -> None:
        """Let a person search from the settings of a run, or say why not."""
        self._search.setEnabled(run is not None and run.spec is not None and kind is not TrainingKind.AGENT)
        hint = tr("Search for settings: try many around those of the chosen run, and compare them by their validation")
        if kind is TrainingKind.AGENT:
            hint = tr("Settings are searched for forecasters only; an agent's are changed in the wizard.")
        self._search.setToolTip(hint)

    @Slot()
    def _write_pages(self) -> None:
        """Write the page in front; the others are written when they come to the front."""
        run = self._runs.get(self._shown)
        if run is None:
            return
        runs, front = self.runs, self.pages.currentWidget()
        selected = [other for other in self._chosen() if other.kind is TrainingKind.FORECAST]
        overlaid = front is self.curves and len(selected) > 1
        colours = zip(selected, OVERLAY, strict=False) if overlaid else ()
        self.list.set_overlay({other.run_id: getattr(self.theme.palette, tone.value) for other, tone in colours})
        after = self._runs.get(run.after)
        follows = "" if after is None else name_text(after, runs)
        if front is self.search:
            self.search.show_run(run)
        elif front is self.details:
            self.details.show_run(run, follows)
        elif front is self.agent:
            self.agent.show_run(run, follows)
        elif front is self.agent_curves:
            self.agent_curves.show_run(run)
        elif front is self.curves:
            self.curves.show_runs(run, [(other, name_text(other, runs)) for other in selected])

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

    @Slot(str)
    def _on_row_activated(self, run_id: str) -> None:
        self._shown = run_id
        self._refresh()
        self.pages.setCurrentWidget(self._pages_of(self._runs[run_id].kind)[0])

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
        elif deed is Deed.USE:
            self.strategy_requested.emit(run.model_id)
        elif deed is Deed.CARD:
            self.model_requested.emit(run.model_id)

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
