"""One training run in words and figures, with its loss and what came of it. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from app.flows.run_text import finished_text
from app.flows.sentence_text import local_text
from app.i18n import MISSING, format_compact, format_duration, format_number, mark, tr, tr_count
from app.theme import SPACE_M, SPACE_XS, ThemeManager, set_look
from app.ui.docks.run_page import RunPage
from app.ui.docks.training_curves import loss_curves, loss_title
from app.ui.docks.training_list import left_text
from app.ui.docks.training_metrics import MetricsTable
from app.ui.docks.training_networks import Network
from app.ui.docks.training_runs import RunState, TrainingRun
from app.ui.docks.training_words import state_headline, state_note
from app.ui.widgets.curve_plot import CurvePlot
from app.ui.widgets.elided_label import ElidedLabel
from ml.api import TrainingResult

_DEVICE, _BEST = 3, 4  # which of the figures these are
_PHASE_WORDS = {
    "loading": mark("Reading bars"),
    "features": mark("Computing features"),
    "training": mark("Training"),
    "testing": mark("Testing on unseen bars"),
    "exporting": mark("Writing the model package"),
    "done": mark("Finished"),
}


def headline(run: TrainingRun, after: str = "") -> str:
    """Return what a run is doing in a few words; `after` names the run it waits for."""
    if run.state is RunState.RUNNING and run.progress is not None:
        phase = tr(_PHASE_WORDS.get(run.progress.phase, "Training"))
        if run.progress.seeds <= 1:
            return phase
        return tr(
            "{phase}, network {number} of {total}",
            phase=phase,
            number=run.progress.seed_index + 1,
            total=run.progress.seeds,
        )
    if run.state is RunState.FINISHED and run.result is not None:
        return _finished_headline(run, run.result)
    return state_headline(run, after)


def _finished_headline(run: TrainingRun, result: TrainingResult) -> str:
    """Return how much was learnt, in what time: that of everything, or of the learning where no more is known."""
    if run.several:
        epochs = tr(
            "{networks} networks with {n} epochs in all",
            networks=len(run.networks),
            n=sum(network.epochs for network in run.networks),
        )
    else:
        epochs = tr_count("{n} epoch", "{n} epochs", result.epochs_run)
    if result.stopped_early and not run.several:
        epochs = tr("{epochs}, stopped early", epochs=epochs)
    learning = tr("{time} of learning", time=format_duration(result.seconds))
    if not result.total_s:
        return tr("Finished: {epochs}, {time}", epochs=epochs, time=learning)
    return tr(
        "Finished in {total}: {epochs}, {learning}",
        total=format_duration(result.total_s),
        epochs=epochs,
        learning=learning,
    )


def note_text(run: TrainingRun) -> tuple[str, str]:
    """Return the verdict, the failure with its remedy, what a state means, or nothing; and the role of its look."""
    if run.state is not RunState.FAILED and run.result is not None:
        metrics = run.result.metrics
        text = local_text(finished_text(metrics, run.caution))
        return text, "success" if metrics.edge and not run.caution else "warning"
    return state_note(run) or ((local_text(run.progress.note) if run.progress is not None else ""), "muted")


def figure_texts(run: TrainingRun) -> tuple[str, ...]:
    """Return epoch, time left, speed, device, best epoch and learning rate as written."""
    progress, result = run.progress, run.result
    best = by_network(run, lambda network: network.best_epoch)
    if result is not None:
        speed = tr("{n} targets/s", n=format_compact(result.targets_per_s))
        epochs = by_network(run, lambda network: network.epochs)
        return epochs, MISSING, speed, device_texts(run)[0], best, MISSING
    if progress is None:
        return (MISSING,) * 6
    left = left_text(run.left_s) if run.left_s is not None and not run.state.is_over else MISSING
    speed = tr("{n} targets/s", n=format_compact(progress.targets_per_s)) if progress.targets_per_s else MISSING
    rate = format_number(progress.learning_rate, 5) if progress.learning_rate else MISSING
    epoch = f"{progress.epoch} / {progress.epochs}" if run.learns else MISSING
    return epoch, left, speed, device_texts(run)[0] or MISSING, best, rate


def by_network(run: TrainingRun, figure: Callable[[Network], int | None]) -> str:
    """Return a figure of each network, in their order."""
    return ", ".join(format_number(figure(network)) for network in run.networks) or MISSING


def device_texts(run: TrainingRun) -> tuple[str, str]:
    """Return what computes, short, and why that was chosen: the trainer says both as "CPU, 1 thread (no GPU …)"."""
    source = run.result or run.progress
    title, _, reason = (source.device if source is not None else "").partition(" (")
    return local_text(title), local_text(reason.removesuffix(")"))


class RunDetails(RunPage):
    """Headline, note, progress, six figures, loss by epoch and test figures of one run."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__("training", parent)
        self._theme = theme
        self.plot_caption, self.plot = QLabel(self.body), CurvePlot(theme.palette, self.body)
        set_look(self.plot_caption, "role", "small")
        self.plot_caption.setWordWrap(True)
        self.metrics = MetricsTable(self.body)
        self.column.addLayout(self._build_figures(self.body))
        self.column.addWidget(self.plot_caption)
        self.column.addWidget(self.plot, 1)
        self.column.addWidget(self.metrics)
        self.column.addStretch()  # takes the room of a plot that has nothing to show

    def show_run(self, run: TrainingRun, after: str = "") -> None:
        """Write everything about a run; `after` names the run it waits for."""
        self.show_state(run, headline(run, after), *note_text(run))
        for label, figure in zip(self.figures, figure_texts(run), strict=True):
            if label.full_text() != figure:
                label.set_full_text(figure)
        self.figures[_DEVICE].set_hint(device_texts(run)[1])
        of_best = tr("Of each network, in their order; 0: no epoch was better than the untrained network")
        self.figures[_BEST].set_hint(of_best if run.networks else "")
        epochs = run.progress.epochs if run.progress is not None and run.learns else 0
        last = max(run.last_epoch, 1 if run.result is not None else epochs, 2)
        self.plot_caption.setText(loss_title(run.head, several=run.several))
        self.plot.set_curves(loss_curves(run), x_range=(1.0, float(last)))
        for part in (self.plot_caption, self.plot):
            part.setVisible(bool(run.last_epoch) or not run.state.is_over)
        self.metrics.setVisible(run.result is not None)
        if run.result is not None:
            self.metrics.show_metrics(run.result.metrics)

    def retranslate(self) -> None:
        """Write the fixed texts in the present language."""
        self.plot.setAccessibleName(tr("Loss by epoch"))
        self.plot.set_x_title(tr("epoch"))
        self.plot.set_empty_text(tr("The loss appears after the first epoch."))
        captions = (tr("Epoch"), tr("Time left"), tr("Speed"), tr("Device"), tr("Best epoch"), tr("Learning rate"))
        for label, text in zip(self.captions, captions, strict=True):
            label.setText(text)

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        self.plot.set_palette(self._theme.palette)

    def _build_figures(self, body: QWidget) -> QGridLayout:
        """Six figures in two rows: caption above value."""
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE_M)
        grid.setVerticalSpacing(SPACE_XS)
        self.captions = [QLabel(body) for _ in range(6)]
        self.figures = [ElidedLabel(parent=body) for _ in range(6)]  # the name of a device may be long
        for number, (caption, figure) in enumerate(zip(self.captions, self.figures, strict=True)):
            set_look(caption, "role", "small")
            cell = QVBoxLayout()
            cell.setSpacing(0)
            cell.addWidget(caption)
            cell.addWidget(figure)
            grid.addLayout(cell, number // 3, number % 3)
            grid.setColumnStretch(number % 3, 1)
        return grid
