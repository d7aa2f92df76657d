"""One search for settings: how far it is, its trials, what made the difference and what to train. GUI thread only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from PySide6.QtCore import QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QLabel, QPushButton, QWidget

from app.flows.sentence_text import local_text
from app.flows.setting_words import setting_name, setting_value
from app.i18n import format_duration, format_number, format_percent, mark, tr
from app.theme import ROW_HEIGHT, SPACE_M, SPACE_S, SPACE_XS, Palette, ThemeManager, set_look
from app.ui.docks.run_page import RunPage
from app.ui.docks.training_list import left_text
from app.ui.docks.training_runs import RunState, TrainingRun
from app.ui.widgets.curve_plot import Curve, CurveColour, CurvePlot
from ml.search_results import ParameterImportance, SearchProgress, SearchResult

_DECIMALS = 5
_FEW_TRIALS, _TRIALS_PER_SETTING = 30, 3
_PHASE_WORDS = {
    "loading": mark("Reading bars"),
    "searching": mark("Trying settings"),
    "finalists": mark("Repeating the best with other seeds"),
    "judging": mark("Weighing the trials"),
    "done": mark("Finished"),
}


def search_headline(run: TrainingRun) -> str:
    """Return what a search is doing in a few words."""
    words = {
        RunState.QUEUED: tr("Waiting for its turn …"),
        RunState.HELD: tr("On hold"),
        RunState.STARTING: tr("Starting the search …"),
        RunState.PAUSING: tr("Pausing …"),
        RunState.PAUSED: tr("Paused"),
        RunState.CANCELLING: tr("Cancelling …"),
        RunState.CANCELLED: tr("Cancelled"),
        RunState.INTERRUPTED: tr("Interrupted"),
        RunState.FAILED: tr("The search failed"),
    }
    if run.state in words:
        return words[run.state]
    if run.found is not None:
        return tr(
            "Finished after {n} trials in {time}",
            n=len(run.found.trials),
            time=format_duration(run.found.seconds),
        )
    return tr(_PHASE_WORDS.get(run.searched.phase if run.searched is not None else "loading", "Trying settings"))


def search_note(run: TrainingRun) -> tuple[str, str]:
    """Return what is to be said about a search, and the role of its look."""
    if run.state is RunState.FAILED:
        return f"{local_text(run.message)} {local_text(run.remedy)}".strip(), "danger"
    if run.found is not None:
        return result_text(run.found), "muted"
    if run.state in (RunState.CANCELLED, RunState.INTERRUPTED):
        kept = tr("Every trial that ended is kept; the search can go on.")
        return kept if run.resumable else tr("It ended before its first trial."), "muted"
    if run.state is RunState.PAUSED:
        return tr("No other trial begins; those under way wait after their epoch, or come to their end."), "muted"
    if run.searched is None:
        return "", "muted"
    return " · ".join(
        filter(None, (progress_text(run.searched, run.search_left_s), local_text(run.searched.note)))
    ), "muted"


def progress_text(progress: SearchProgress, left_s: float | None) -> str:
    """Return how many trials have ended, how, and how long the rest takes: `left_s`, or not known."""
    if progress.phase == "finalists":
        return tr("{n} of {total} repeated", n=progress.finalists_done, total=progress.finalists)
    if progress.phase != "searching":
        return ""
    parts = [tr("{n} of {total} trials done", n=progress.done, total=progress.trials)]
    if progress.pruned:
        parts.append(tr("{n} given up early", n=progress.pruned))
    if progress.failed:
        parts.append(tr("{n} failed", n=progress.failed))
    if progress.best is not None:
        parts.append(tr("best CRPS {value}", value=format_number(progress.best, _DECIMALS)))
    if left_s is not None:
        parts.append(tr("{time} left", time=left_text(left_s)))
    return " · ".join(parts)


def result_text(result: SearchResult) -> str:
    """Return what came out, and how much of it may be luck."""
    winner = result.finalists[0]
    parts = [
        tr(
            "Trial {number} is the best: CRPS {value} ± {spread} with {n} seeds that no trial had used.",
            number=winner.number + 1,
            value=format_number(winner.crps, _DECIMALS),
            spread=format_number(winner.crps_std, _DECIMALS),
            n=len(winner.seeds),
        )
    ]
    if result.overfitting is not None:
        parts.append(
            tr(
                "Probability of overfitting if the trial with the best returns were picked: {share}.",
                share=format_percent(result.overfitting.pbo, 0),
            )
        )
    parts.append(tr("CRPS is in units of volatility, lower is better."))
    parts.append(tr("All of this was measured on the validation part; the test part is still unseen."))
    return " ".join(parts)


def winner_text(result: SearchResult) -> str:
    """Return the settings of the best trial, one in a line; "" where they are not known."""
    chosen = next((trial.parameters for trial in result.trials if trial.number == result.winner), ())
    return "\n".join(f"{setting_name(one.name)}: {setting_value(one.name, one.value)}" for one in chosen)


def importance_text(result: SearchResult) -> str:
    """Return how far the shares can be trusted: a forest of trees finds differences in any few trials."""
    finished = sum(trial.crps is not None for trial in result.trials)
    if finished >= max(_FEW_TRIALS, _TRIALS_PER_SETTING * len(result.importance)):
        return tr("From {n} finished trials.", n=finished)
    return tr("From {n} finished trials only: with so few, most of this is chance.", n=finished)


def share_text(share: float) -> str:
    """Return a share as written; one that is there is never called nothing."""
    return f"< {format_percent(0.01, 0)}" if 0.0 < share < 0.005 else format_percent(share, 0)


def trial_curves(scores: Sequence[float | None]) -> list[Curve]:
    """Return the score of every finished trial, and the best so far."""
    known = [(float(number), score) for number, score in enumerate(scores, start=1) if score is not None]
    if not known:
        return []
    x, y = zip(*known, strict=True)
    best = tuple(itertools.accumulate(y, min))
    # In steps: between two trials the former best holds.
    step_x = (x[0], *(number for number in x[1:] for _ in range(2)))
    step_y = (best[0], *itertools.chain.from_iterable(itertools.pairwise(best)))
    return [
        Curve(tr("best so far"), step_x, step_y, CurveColour.ACCENT),
        Curve(tr("trial"), x, y, CurveColour.MUTED, dashed=True),
    ]


class ImportanceBars(QWidget):
    """One bar per setting, longest first, with its name and its share."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = colours
        self._entries: tuple[ParameterImportance, ...] = ()

    def set_entries(self, entries: Sequence[ParameterImportance]) -> None:
        """Show these shares."""
        self._entries = tuple(entries)
        self.setAccessibleDescription(", ".join(f"{setting_name(e.name)} {share_text(e.share)}" for e in self._entries))
        self.updateGeometry()
        self.update()

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._palette = colours
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(12 * ROW_HEIGHT, len(self._entries) * ROW_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(6 * ROW_HEIGHT, len(self._entries) * ROW_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        metrics = painter.fontMetrics()
        titles = [setting_name(entry.name) for entry in self._entries]
        names = max(map(metrics.horizontalAdvance, titles), default=0) + SPACE_M
        names = min(names, self.width() // 2)
        figures = metrics.horizontalAdvance(format_percent(1.0, 0)) + SPACE_S
        room = max(0, self.width() - names - figures)
        longest = max((entry.share for entry in self._entries), default=0.0) or 1.0
        for row, (title, entry) in enumerate(zip(titles, self._entries, strict=True)):
            line = QRect(0, row * ROW_HEIGHT, self.width(), ROW_HEIGHT)
            painter.setPen(QColor(self._palette.text))
            name = metrics.elidedText(title, Qt.TextElideMode.ElideLeft, names - SPACE_S)
            painter.drawText(line, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, name)
            bar = QRect(names, line.top() + SPACE_XS, round(room * entry.share / longest), ROW_HEIGHT - 2 * SPACE_XS)
            painter.fillRect(bar, QColor(self._palette.accent))
            painter.drawText(line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, share_text(entry.share))
        painter.end()


class SearchView(RunPage):
    """Headline, note, progress, trials, importance, and what to do with the winner.

    Signals:
        train_requested(object): `ml.api.ForecastSpec` of the winner.
    """

    train_requested = Signal(object)

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__("search", parent)
        self._theme = theme
        self._result: SearchResult | None = None
        body, layout = self.body, self.column
        self.trials_caption, self.importance_caption = QLabel(body), QLabel(body)
        for caption in (self.trials_caption, self.importance_caption):
            set_look(caption, "role", "small")
        self.plot = CurvePlot(theme.palette, body)
        self.plot.setObjectName("search_trials")
        self.importance = ImportanceBars(theme.palette, body)
        self.importance.setObjectName("search_importance")
        self.importance_note, self.winner_caption, self.winner = QLabel(body), QLabel(body), QLabel(body)
        for label in (self.importance_note, self.winner_caption):
            set_look(label, "role", "small")
            label.setWordWrap(True)
        self.winner.setObjectName("search_winner")
        self.winner.setWordWrap(True)
        self.winner.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.train = QPushButton(body)
        self.train.setObjectName("search_train")
        set_look(self.train, "variant", "primary")
        self.train.clicked.connect(self._on_train)
        layout.addWidget(self.trials_caption)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self.importance_caption)
        layout.addWidget(self.importance)
        for label in (self.importance_note, self.winner_caption, self.winner):
            layout.addWidget(label)
        layout.addWidget(self.train, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addStretch()

    def show_run(self, run: TrainingRun) -> None:
        """Write everything about a search."""
        self._result = run.found
        self.show_state(run, search_headline(run), *search_note(run))
        self.plot.set_curves(trial_curves(run.scores), x_range=(1.0, float(max(2, len(run.scores)))))
        entries = run.found.importance if run.found is not None else ()
        self.importance.set_entries(entries)
        for part in (self.importance, self.importance_caption, self.importance_note):
            part.setVisible(bool(entries))
        if run.found is not None:
            self.importance_note.setText(importance_text(run.found))
            self.winner_caption.setText(tr("Settings of trial {number}", number=run.found.winner + 1))
            self.winner.setText(winner_text(run.found))
        for part in (self.winner_caption, self.winner):
            part.setVisible(run.found is not None and bool(self.winner.text()))
        self.train.setVisible(run.found is not None)

    def retranslate(self) -> None:
        """Write the fixed texts in the present language."""
        title = tr("CRPS by trial in units of volatility, lower is better")
        self.trials_caption.setText(title)
        self.plot.setAccessibleName(title)
        self.plot.set_x_title(tr("trial"))
        self.plot.set_empty_text(tr("The first finished trial appears here."))
        self.importance_caption.setText(tr("What made the difference"))
        self.importance.setAccessibleName(tr("What made the difference"))
        self.train.setText(tr("Train with these settings"))

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        self.plot.set_palette(self._theme.palette)
        self.importance.set_palette(self._theme.palette)

    @Slot()
    def _on_train(self) -> None:
        if self._result is not None:
            self.train_requested.emit(self._result.spec)
