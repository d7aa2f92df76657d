"""Training: the runs, how the current one learns, and what came of it. GUI thread only.

Fed with `ml.api` values that the training worker emits; progress may be coalesced, results and failures never are.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QSignalBlocker, QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QGridLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QScrollArea,
    QStackedWidget,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from app.flows.sentence_text import local_text
from app.i18n import MISSING, format_compact, format_duration, format_minute, format_number, mark, tr
from app.services import TrainingCommands
from app.theme import GRID, ICON_SIZE_M, SPACE_M, SPACE_S, SPACE_XS, ThemeManager, set_look
from app.ui.docks.training_metrics import MetricsTable
from app.ui.docks.training_runs import RunState, TrainingRun
from app.ui.widgets.curve_plot import Curve, CurveColour, CurvePlot
from app.ui.widgets.elided_label import ElidedLabel
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.panel import Panel, ToolRow
from ml.api import DataRange, TrainingProgress, TrainingResult

_PERMILLE = 1_000
_LIST_ROWS = 4
_DEVICE = 3  # which of the figures names the device
MINIMUM_WIDTH = 82 * GRID  # the table of figures fits, with a scroll bar beside it
_AT_WORK = (RunState.RUNNING, RunState.CANCELLING)
_STATE_WORDS = {
    RunState.QUEUED: mark("waiting"),
    RunState.RUNNING: mark("training"),
    RunState.CANCELLING: mark("cancelling"),
    RunState.FINISHED: mark("finished"),
    RunState.FAILED: mark("failed"),
    RunState.CANCELLED: mark("cancelled"),
    RunState.INTERRUPTED: mark("interrupted"),
}
_STATE_ICONS = {
    RunState.QUEUED: "clock",
    RunState.RUNNING: "play",
    RunState.CANCELLING: "clock",
    RunState.FINISHED: "circle-check",
    RunState.FAILED: "triangle-alert",
    RunState.CANCELLED: "x",
    RunState.INTERRUPTED: "x",
}
_PHASE_WORDS = {
    "loading": mark("Reading bars"),
    "features": mark("Computing features"),
    "training": mark("Training"),
    "testing": mark("Testing on unseen bars"),
    "exporting": mark("Writing the model package"),
    "done": mark("Finished"),
}


class _RunDelegate(QStyledItemDelegate):
    """Knows that the look's padding leaves less room than the row: a text that just missed it was cut, not wrapped."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        inside = QStyleOptionViewItem(option)
        inside.rect = option.rect.adjusted(SPACE_S, 0, -SPACE_S, 0)
        return super().sizeHint(inside, index)


class _RunList(QListWidget):
    """As high as its first rows; a narrow one shows market, time and state of a run on two lines."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setItemDelegate(_RunDelegate(self))
        self.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def updateGeometries(self) -> None:
        super().updateGeometries()
        # As they were laid out just now: only then it is known where a row wraps.
        rows = [self.item(row) for row in range(min(_LIST_ROWS, self.count()))]
        height = sum(self.visualItemRect(row).height() for row in rows) + SPACE_XS
        if rows and height != self.maximumHeight():
            self.setFixedHeight(height)


class TrainingDock(Panel):
    """List of runs over the details of the chosen one.

    Signals:
        wizard_requested: a person wants to set up a new run.
        strategy_requested(str): a person wants a strategy from this model id.
    """

    TITLE = mark("Training")
    NAME = "training_dock"
    wizard_requested = Signal()
    strategy_requested = Signal(str)

    def __init__(self, commands: TrainingCommands, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._commands = commands
        self._runs: dict[str, TrainingRun] = {}
        self._shown: str | None = None
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

    # -- runs -------------------------------------------------------------------------------------------------------

    @property
    def runs(self) -> tuple[TrainingRun, ...]:
        """The runs on the list, oldest first."""
        return tuple(self._runs.values())

    def restore(self, past: Sequence[TrainingRun]) -> None:
        """List runs of earlier sessions, oldest first, in front of those of this one."""
        fresh = {run.run_id: run for run in past if run.run_id not in self._runs}
        self._runs = {**fresh, **self._runs}
        with QSignalBlocker(self._list):  # `_refresh` chooses the row
            self._list.insertItems(0, list(fresh))
        if self._shown is None:
            self._shown = next(reversed(self._runs), None)
        self._refresh()

    def on_run_queued(self, run_id: str, data: DataRange, begun_ns: int) -> None:
        """List a run that was started, or goes on, at `begun_ns` (ns UTC); it becomes the one shown."""
        run = self._run(run_id)
        if run.state.is_over:
            run.begin_again()
        run.data, run.begun_ns = data, begun_ns
        self._shown = run_id
        self._refresh()

    @Slot(object)
    def on_progress(self, progress: TrainingProgress) -> None:
        """Take the newest progress of a run."""
        self._run(progress.run_id).take_progress(progress)
        self._refresh(progress.run_id)

    @Slot(object)
    def on_result(self, result: TrainingResult) -> None:
        """Show what a run brought."""
        self._run(result.run_id).take_result(result)
        self._refresh(result.run_id)

    def on_failed(self, run_id: str, message: str, remedy: str, *, resumable: bool = False) -> None:
        """Say why a run ended without a result, what helps, and whether it can go on from a checkpoint."""
        run = self._run(run_id)
        run.state, run.message, run.remedy, run.resumable = RunState.FAILED, message, remedy, resumable
        self._refresh(run_id)

    def on_cancelled(self, run_id: str, *, resumable: bool = False) -> None:
        """Take note that a run stopped because it was told to, and whether it can go on from a checkpoint."""
        run = self._run(run_id)
        run.state, run.resumable = RunState.CANCELLED, resumable
        self._refresh(run_id)

    def remove_run(self, run_id: str) -> None:
        """Take a run off the list, for example a download that was followed by its training."""
        if run_id in self._runs:
            row = list(self._runs).index(run_id)
            del self._runs[run_id]
            with QSignalBlocker(self._list):  # `_refresh` chooses the row
                self._list.takeItem(row)
            self._shown = next(reversed(self._runs), None) if self._shown == run_id else self._shown
            self._refresh()

    # -- appearance -------------------------------------------------------------------------------------------------

    def retranslate(self) -> None:
        self.empty.set_text(
            tr("No training yet."),
            tr("Train a model…"),
            tr("A wizard leads from price history to a tested model in a few minutes."),
        )
        self._new.setText(tr("Train a model…"))
        self._cancel.setText(tr("Cancel"))
        self._cancel.setToolTip(tr("Stop this run; it can go on later from its last finished epoch"))
        self._resume.setText(tr("Go on"))
        self._resume.setToolTip(tr("Let this run go on from its last finished epoch"))
        self._use.setText(tr("Make a strategy…"))
        self._list.setAccessibleName(tr("Training runs"))
        self._plot.setAccessibleName(tr("Loss by epoch"))
        self._plot.set_empty_text(tr("The loss appears after the first epoch."))
        captions = (tr("Epoch"), tr("Time left"), tr("Speed"), tr("Device"), tr("Best epoch"), tr("Learning rate"))
        for label, text in zip(self._captions, captions, strict=True):
            label.setText(text)
        self._refresh()

    def refresh_look(self) -> None:
        self._plot.set_palette(self.theme.palette)
        self.empty.refresh_look()
        self._refresh()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _build_page(self) -> QWidget:
        page = QWidget(self)
        tools = ToolRow(page)
        self._new = tools.button("training_new", variant="primary")
        self._new.clicked.connect(self._on_wizard)
        tools.add_stretch()
        self._cancel = tools.button("training_cancel", variant="")
        self._cancel.clicked.connect(self._on_cancel)
        self._resume = tools.button("training_resume", variant="")
        self._resume.clicked.connect(self._on_resume)
        self._use = tools.button("training_use", variant="")
        self._use.clicked.connect(self._on_use)
        self._list = _RunList(page)
        self._list.setObjectName("training_runs")
        self._list.setIconSize(QSize(ICON_SIZE_M, ICON_SIZE_M))
        self._list.currentRowChanged.connect(self._on_row_changed)
        tools.serve(self._list)
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(tools)
        layout.addWidget(self._list)
        layout.addWidget(self._build_details(page), 1)
        return page

    def _build_details(self, parent: QWidget) -> QScrollArea:
        body = QWidget(parent)
        self._phase, self._bar = QLabel(body), QProgressBar(body)
        set_look(self._phase, "role", "heading")
        self._phase.setWordWrap(True)
        self._bar.setObjectName("training_progress")
        self._bar.setTextVisible(False)
        set_look(self._bar, "variant", "thin")
        self._note = QLabel(body)
        self._note.setObjectName("training_note")
        self._note.setWordWrap(True)
        self._note.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._plot = CurvePlot(self.theme.palette, body)
        self._metrics = MetricsTable(body)
        layout = QVBoxLayout(body)
        layout.setContentsMargins(SPACE_M, SPACE_S, SPACE_M, SPACE_M)
        layout.setSpacing(SPACE_S)
        for widget in (self._phase, self._note, self._bar):
            layout.addWidget(widget)
        layout.addLayout(self._build_figures(body))
        layout.addWidget(self._plot, 1)
        layout.addWidget(self._metrics)
        layout.addStretch()  # takes the room of a plot that has nothing to show
        area = QScrollArea(parent)
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(body)
        body.setAutoFillBackground(False)
        area.viewport().setAutoFillBackground(False)
        return area

    def _build_figures(self, body: QWidget) -> QGridLayout:
        """Six figures in two rows: caption above value."""
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE_M)
        grid.setVerticalSpacing(SPACE_XS)
        self._captions = [QLabel(body) for _ in range(6)]
        self._figures = [ElidedLabel(parent=body) for _ in range(6)]  # the name of a device may be long
        for number, (caption, figure) in enumerate(zip(self._captions, self._figures, strict=True)):
            set_look(caption, "role", "small")
            cell = QVBoxLayout()
            cell.setSpacing(0)
            cell.addWidget(caption)
            cell.addWidget(figure)
            grid.addLayout(cell, number // 3, number % 3)
            grid.setColumnStretch(number % 3, 1)
        return grid

    def _run(self, run_id: str) -> TrainingRun:
        if run_id not in self._runs:
            self._runs[run_id] = TrainingRun(run_id)
            self._list.addItem(QListWidgetItem(run_id))
        if self._shown is None:
            self._shown = run_id
        return self._runs[run_id]

    def _refresh(self, changed: str | None = None) -> None:
        """Write everything, or only what a change of one run touches."""
        self._stack.setCurrentIndex(int(bool(self._runs)))
        if not self._runs:
            return
        order = list(self._runs)
        for row, run in enumerate(self._runs.values()):
            if changed is None or run.run_id == changed:
                self._write_row(self._list.item(row), run)
        if self._shown is not None and self._list.currentRow() != order.index(self._shown):
            self._list.setCurrentRow(order.index(self._shown))
        if changed is None or changed == self._shown:
            self._write_details(self._runs[self._shown or order[-1]])

    def _write_row(self, item: QListWidgetItem, run: TrainingRun) -> None:
        state = tr(_STATE_WORDS[run.state])
        if run.state is RunState.RUNNING and run.progress is not None and run.learns:
            state = tr("epoch {epoch} of {epochs}", epoch=run.progress.epoch, epochs=run.progress.epochs)
        text = " · ".join(filter(None, (run.title, self._when(run), state)))
        if item.text() != text:
            item.setText(text)
        colours = self.theme.palette
        shade = {RunState.FINISHED: colours.success, RunState.FAILED: colours.danger, RunState.RUNNING: colours.accent}
        item.setIcon(self.theme.icon(_STATE_ICONS[run.state], shade.get(run.state, colours.muted)))

    def _when(self, run: TrainingRun) -> str:
        """Return when a run began, to the second where another one of its market would look the same."""
        if run.begun_ns is None:
            return ""
        minute = format_minute(run.begun_ns)
        others = [other for other in self._runs.values() if other is not run and other.title == run.title]
        twins = any(other.begun_ns is not None and format_minute(other.begun_ns) == minute for other in others)
        return format_minute(run.begun_ns, seconds=True) if twins else minute

    def _write_details(self, run: TrainingRun) -> None:
        self._phase.setText(self._headline(run))
        self._write_note(run)
        share = run.share
        self._bar.setVisible(not run.state.is_over)
        self._bar.setRange(0, _PERMILLE if share is not None or run.state is RunState.QUEUED else 0)
        self._bar.setValue(round((share or 0.0) * _PERMILLE))  # of the run shown, not of the one shown before
        for label, text in zip(self._figures, self._figure_texts(run), strict=True):
            if label.full_text() != text:
                label.set_full_text(text)
        self._figures[_DEVICE].set_hint(device_texts(run)[1])
        epochs = run.progress.epochs if run.progress is not None and run.learns else 0
        last = max([*run.train, *run.valid, 1 if run.result is not None else epochs, 2])
        curves = [
            Curve(tr("validation"), *_columns(run.valid), CurveColour.ACCENT),
            Curve(tr("training"), *_columns(run.train), CurveColour.WARNING, dashed=True),
        ]
        self._plot.set_curves(curves, x_range=(1.0, float(last)), mark=run.best_epoch)
        self._plot.setVisible(bool(run.train) or not run.state.is_over)
        self._metrics.setVisible(run.result is not None)
        if run.result is not None:
            self._metrics.show_metrics(run.result.metrics)
        self._cancel.setVisible(not run.state.is_over)
        self._cancel.setEnabled(run.state is not RunState.CANCELLING)
        self._resume.setVisible(run.state.is_over and run.resumable)
        self._use.setVisible(run.result is not None)

    def _headline(self, run: TrainingRun) -> str:
        if run.state is RunState.RUNNING and run.progress is not None:
            return tr(_PHASE_WORDS.get(run.progress.phase, "Training"))
        if run.state is RunState.FINISHED and run.result is not None:
            key = (
                mark("Stopped early after {n} epochs, {time} of learning")
                if run.result.stopped_early
                else mark("Finished after {n} epochs, {time} of learning")
            )
            return tr(key, n=run.result.epochs_run, time=format_duration(run.result.seconds))
        words = {
            RunState.QUEUED: tr("Waiting for its turn …") if self._is_behind(run) else tr("Starting the trainer …"),
            RunState.RUNNING: tr("Training"),
            RunState.CANCELLING: tr("Cancelling …"),
            RunState.CANCELLED: tr("Cancelled"),
            RunState.INTERRUPTED: tr("Interrupted"),
            RunState.FAILED: tr("Training failed"),
        }
        return words.get(run.state, tr("Finished"))

    def _is_behind(self, run: TrainingRun) -> bool:
        """Whether another run is at work, so that this one waits."""
        return any(other is not run and other.state in _AT_WORK for other in self._runs.values())

    def _write_note(self, run: TrainingRun) -> None:
        """Write the verdict, the failure with its remedy, or nothing."""
        text, role = "", "muted"
        if run.state is RunState.FAILED:
            text, role = f"{local_text(run.message)} {local_text(run.remedy)}".strip(), "danger"
        elif run.result is not None:
            metrics = run.result.metrics
            verdict = f"{metrics.verdict} {run.caution}".rstrip()
            text, role = local_text(verdict), "success" if metrics.edge and not run.caution else "warning"
        elif run.state is RunState.CANCELLED:
            kept = tr("The run stopped at your request. Its checkpoint is kept.")
            text = kept if run.resumable else tr("The run stopped at your request, before its first epoch.")
        elif run.state is RunState.INTERRUPTED:
            kept = tr("The program ended before this run did. Its checkpoint is kept.")
            text = kept if run.resumable else tr("The program ended before this run did, before its first epoch.")
        elif run.state is RunState.FINISHED:
            text = tr("Its figures cannot be read: {reason}", reason=local_text(run.message))
        self._note.setVisible(bool(text))
        self._note.setText(text)
        set_look(self._note, "role", role)

    @staticmethod
    def _figure_texts(run: TrainingRun) -> tuple[str, ...]:
        progress, result = run.progress, run.result
        best = format_number(run.best_epoch)
        if result is not None:
            speed = tr("{n} targets/s", n=format_compact(result.targets_per_s))
            return format_number(result.epochs_run), MISSING, speed, device_texts(run)[0], best, MISSING
        if progress is None:
            return (MISSING,) * 6
        left = format_duration(progress.eta_s) if progress.eta_s is not None and not run.state.is_over else MISSING
        speed = tr("{n} targets/s", n=format_compact(progress.targets_per_s)) if progress.targets_per_s else MISSING
        rate = format_number(progress.learning_rate, 5) if progress.learning_rate else MISSING
        epoch = f"{progress.epoch} / {progress.epochs}" if run.learns else MISSING
        return epoch, left, speed, device_texts(run)[0] or MISSING, best, rate

    @Slot()
    def _on_wizard(self) -> None:
        self.wizard_requested.emit()

    @Slot()
    def _on_cancel(self) -> None:
        run = self._runs.get(self._shown or "")
        if run is not None and not run.state.is_over:
            run.state = RunState.CANCELLING
            self._commands.cancel_training(run.run_id)
            self._refresh(run.run_id)

    @Slot()
    def _on_resume(self) -> None:
        run = self._runs.get(self._shown or "")
        if run is not None and run.resumable:
            self._commands.resume_training(run.run_id)

    @Slot()
    def _on_use(self) -> None:
        run = self._runs.get(self._shown or "")
        if run is not None and run.result is not None:
            self.strategy_requested.emit(run.result.model_id)

    @Slot(int)
    def _on_row_changed(self, row: int) -> None:
        if 0 <= row < len(self._runs):
            self._shown = list(self._runs)[row]
            self._write_details(self._runs[self._shown])


def device_texts(run: TrainingRun) -> tuple[str, str]:
    """Return what computes, short, and why that was chosen: the trainer says both as "CPU, 1 thread (no GPU …)"."""
    source = run.result or run.progress
    title, _, reason = (source.device if source is not None else "").partition(" (")
    return local_text(title), local_text(reason.removesuffix(")"))


def _columns(losses: dict[int, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    epochs = sorted(losses)
    return tuple(float(epoch) for epoch in epochs), tuple(losses[epoch] for epoch in epochs)
