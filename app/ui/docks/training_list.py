"""The list of training runs: ended ones, those at work and the queue, each with its progress. GUI thread only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSignalBlocker, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QListWidget,
    QListWidgetItem,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from app.i18n import format_duration, format_minute, format_percent, mark, tr
from app.theme import GRID, ICON_SIZE_M, SPACE_S, SPACE_XS, ThemeManager
from app.ui.docks.training_agents import LEARNING, AgentWatch
from app.ui.docks.training_runs import RunState, TrainingRun
from ml.agents.progress import ENCODER_PHASE, ENCODER_TEST_PHASE

LIST_ROWS = 6
_ID_ROLE = int(Qt.ItemDataRole.UserRole)
SHARE_ROLE, SHADE_ROLE, OVERLAY_ROLE = _ID_ROLE + 1, _ID_ROLE + 2, _ID_ROLE + 3
_LINE = GRID // 2

STATE_WORDS = {
    RunState.QUEUED: mark("waiting"),
    RunState.HELD: mark("on hold"),
    RunState.STARTING: mark("starting"),
    RunState.RUNNING: mark("training"),
    RunState.PAUSING: mark("pausing"),
    RunState.PAUSED: mark("paused"),
    RunState.CANCELLING: mark("cancelling"),
    RunState.FINISHED: mark("finished"),
    RunState.FAILED: mark("failed"),
    RunState.CANCELLED: mark("cancelled"),
    RunState.INTERRUPTED: mark("interrupted"),
}
_STATE_ICONS = {
    RunState.QUEUED: "clock",
    RunState.HELD: "pause",
    RunState.STARTING: "loader-circle",
    RunState.RUNNING: "play",
    RunState.PAUSING: "pause",
    RunState.PAUSED: "pause",
    RunState.CANCELLING: "clock",
    RunState.FINISHED: "circle-check",
    RunState.FAILED: "triangle-alert",
    RunState.CANCELLED: "x",
    RunState.INTERRUPTED: "x",
}
_STATE_TONES = {
    RunState.FINISHED: "success",
    RunState.FAILED: "danger",
    RunState.STARTING: "accent",
    RunState.RUNNING: "accent",
    RunState.PAUSING: "warning",
    RunState.PAUSED: "warning",
    RunState.HELD: "warning",
}


def when_text(run: TrainingRun, runs: Sequence[TrainingRun]) -> str:
    """Return when a run was asked for, to the second where another one would look the same."""
    if run.begun_ns is None:
        return ""
    minute = format_minute(run.begun_ns)
    named = (run.title, run.setup)
    others = [other for other in runs if other is not run and (other.title, other.setup) == named]
    twins = any(other.begun_ns is not None and format_minute(other.begun_ns) == minute for other in others)
    return format_minute(run.begun_ns, seconds=True) if twins else minute


def name_text(run: TrainingRun, runs: Sequence[TrainingRun]) -> str:
    """Return market, network and time of a run: what tells it from the others."""
    return " · ".join(filter(None, (run.title, run.setup, when_text(run, runs))))


def left_text(seconds: float) -> str:
    """Return a time left as written; nobody knows it to less than a second."""
    return format_duration(max(1.0, seconds))


def state_text(run: TrainingRun) -> str:
    """Return what a run is doing, and how long it will take."""
    words = tr(STATE_WORDS[run.state])
    if run.is_search:
        return _search_text(run, words)
    if run.agent is not None:
        return _agent_text(run, run.agent, words)
    if run.progress is not None and run.progress.phase == "loading" and run.state is RunState.RUNNING:
        return tr("reading bars")
    if run.progress is None or not run.learns or run.state.is_over or run.state is RunState.CANCELLING:
        return words
    epoch = tr("epoch {epoch} of {epochs}", epoch=run.progress.epoch, epochs=run.progress.epochs)
    if run.progress.phase != "training":
        epoch = tr("testing")
    if run.state is not RunState.RUNNING:
        return f"{epoch} · {words}"
    if run.left_s is None:
        return epoch
    return f"{epoch} · {tr('{time} left', time=left_text(run.left_s))}"


def _search_text(run: TrainingRun, words: str) -> str:
    """Return what a search is doing."""
    progress = run.searched
    if progress is None or run.state.is_over or run.state is RunState.CANCELLING:
        return words
    if progress.phase != "searching":
        return tr("searching") if run.state is RunState.RUNNING else words
    trial = tr("{n} of {total} trials done", n=progress.done, total=progress.trials)
    if run.state is not RunState.RUNNING:
        return f"{trial} · {words}"
    if run.search_left_s is None:
        return trial
    return f"{trial} · {tr('{time} left', time=left_text(run.search_left_s))}"


def _agent_text(run: TrainingRun, watch: AgentWatch, words: str) -> str:
    """Return what the run of an agent is doing."""
    if watch.progress is None or run.state.is_over or run.state is RunState.CANCELLING:
        return words
    testing = {"testing": tr("testing"), ENCODER_TEST_PHASE: tr("testing the forecaster")}
    done = testing.get(watch.phase) or _learned_text(watch)
    if not done:
        return words
    if run.state is not RunState.RUNNING:
        return f"{done} · {words}"
    if run.left_s is None:
        return done
    return f"{done} · {tr('{time} left', time=left_text(run.left_s))}"


def _learned_text(watch: AgentWatch) -> str:
    """Return how much of the learning is done; "" where there is nothing to tell yet."""
    share = watch.share
    if share is None or watch.phase not in (ENCODER_PHASE, LEARNING):
        return ""
    done = format_percent(share, 0)
    return tr("forecaster {share}", share=done) if watch.phase == ENCODER_PHASE else tr("{share} learned", share=done)


class _RunDelegate(QStyledItemDelegate):
    """Draws the progress below a row, and the colour of its curve before it.

    It also knows that the look's padding leaves less room than the row: a text that just missed it was cut, not
    wrapped.
    """

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        inside = QStyleOptionViewItem(option)
        inside.rect = option.rect.adjusted(SPACE_S, 0, -SPACE_S, 0)
        return super().sizeHint(inside, index)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().paint(painter, option, index)
        row: QRect = option.rect
        share, shade, overlay = (index.data(role) for role in (SHARE_ROLE, SHADE_ROLE, OVERLAY_ROLE))
        if share is not None:
            width = round(row.width() * share)
            painter.fillRect(QRect(row.left(), row.bottom() - _LINE + 1, width, _LINE), QColor(shade))
        if overlay:
            painter.fillRect(QRect(row.left(), row.top() + _LINE, _LINE, row.height() - 2 * _LINE), QColor(overlay))


class RunList(QListWidget):
    """As high as its first rows; a narrow one shows market, time and state of a run on two lines.

    Signals:
        chosen: other runs are selected, or another one is the current one.
    """

    chosen = Signal()

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setObjectName("training_runs")
        self.setIconSize(QSize(ICON_SIZE_M, ICON_SIZE_M))
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self.setWordWrap(True)
        self.setItemDelegate(_RunDelegate(self))
        self.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemSelectionChanged.connect(self._on_chosen)
        self.currentRowChanged.connect(self._on_chosen)

    def show_runs(self, runs: Sequence[TrainingRun], current: str) -> None:
        """List these runs in this order; those selected stay selected, and `current` is the current one."""
        ids = [run.run_id for run in runs]
        if ids != self.ids():
            selected = set(self.selected_ids())
            with QSignalBlocker(self):
                self.clear()
                for run_id in ids:
                    item = QListWidgetItem(run_id)
                    item.setData(_ID_ROLE, run_id)
                    self.addItem(item)
                    item.setSelected(run_id in selected)
        for row, run in enumerate(runs):
            self._write(self.item(row), run, runs)
        if current in ids and self.current_id() != current:
            with QSignalBlocker(self):
                command = self.selectionModel().SelectionFlag
                keep = current in self.selected_ids()
                flag = command.NoUpdate if keep else command.ClearAndSelect
                self.setCurrentRow(ids.index(current), flag)

    def refresh_run(self, run: TrainingRun, runs: Sequence[TrainingRun]) -> None:
        """Write the row of one run."""
        self._write(self.item(self.ids().index(run.run_id)), run, runs)

    def set_overlay(self, colours: Mapping[str, str]) -> None:
        """Mark rows with the colour of their curve (run id to #RRGGBB); the others lose their mark."""
        for row in range(self.count()):
            item = self.item(row)
            shade = colours.get(item.data(_ID_ROLE), "")
            if (item.data(OVERLAY_ROLE) or "") != shade:
                item.setData(OVERLAY_ROLE, shade)

    def ids(self) -> list[str]:
        """Return the runs on the list, top to bottom."""
        return [self.item(row).data(_ID_ROLE) for row in range(self.count())]

    def current_id(self) -> str:
        """Return the current run, "" where there is none."""
        item = self.currentItem()
        return "" if item is None else str(item.data(_ID_ROLE))

    def selected_ids(self) -> list[str]:
        """Return the selected runs, top to bottom."""
        return [self.item(row).data(_ID_ROLE) for row in range(self.count()) if self.item(row).isSelected()]

    def updateGeometries(self) -> None:
        super().updateGeometries()
        # As they were laid out just now: only then it is known where a row wraps.
        rows = [self.item(row) for row in range(min(LIST_ROWS, self.count()))]
        height = sum(self.visualItemRect(row).height() for row in rows) + SPACE_XS
        if rows and height != self.maximumHeight():
            self.setFixedHeight(height)

    def _write(self, item: QListWidgetItem, run: TrainingRun, runs: Sequence[TrainingRun]) -> None:
        text = f"{name_text(run, runs)} · {state_text(run)}"
        if item.text() != text:
            item.setText(text)
        palette = self._theme.palette
        shade = getattr(palette, _STATE_TONES.get(run.state, "muted"))
        share = None if run.state.is_over or run.state.waits else run.share
        if (item.data(SHARE_ROLE), item.data(SHADE_ROLE)) != (share, shade):
            item.setData(SHARE_ROLE, share)
            item.setData(SHADE_ROLE, shade)
        item.setIcon(self._theme.icon(_STATE_ICONS[run.state], shade))

    @Slot()
    def _on_chosen(self) -> None:
        self.chosen.emit()
