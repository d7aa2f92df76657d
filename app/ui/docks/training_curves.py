"""How training runs learn and what they take of the machine, one run or several on top of each other. GUI thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from app.i18n import mark, tr
from app.theme import ThemeManager, set_look
from app.ui.docks.training_runs import LoadSample, Series, TrainingRun
from app.ui.widgets.curve_plot import Curve, CurveColour, CurvePlot
from app.ui.widgets.scroll_column import ScrollColumn

OVERLAY = (CurveColour.ACCENT, CurveColour.WARNING, CurveColour.SUCCESS, CurveColour.VIOLET, CurveColour.MUTED)
_MEGABYTE = 1e6


def by_epoch(values: Mapping[int, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the columns of a curve over epochs."""
    epochs = sorted(values)
    return tuple(float(epoch) for epoch in epochs), tuple(values[epoch] for epoch in epochs)


def loss_curves(run: TrainingRun) -> list[Curve]:
    """Return the losses of one run; of repetitions that are done, the validation loss stays in the background."""
    former = [
        Curve(tr("repetition {n}", n=number), *by_epoch(values), CurveColour.MUTED)
        for number, values in enumerate(run.former_seeds, start=1)
    ]
    return [
        Curve(tr("validation"), *by_epoch(run.valid), CurveColour.ACCENT),
        Curve(tr("training"), *by_epoch(run.train), CurveColour.WARNING, dashed=True),
        *former,
    ]


def load_curves(
    run: TrainingRun, first: Callable[[LoadSample], float | None], second: Callable[[LoadSample], float | None]
) -> list[Curve]:
    """Return two figures of the machine's load over minutes; one that was never measured is left out."""
    curves = []
    for name, figure, colour in ((tr("CPU"), first, CurveColour.ACCENT), (tr("GPU"), second, CurveColour.WARNING)):
        points = [(sample.at_s / 60, value) for sample in run.load if (value := figure(sample)) is not None]
        if points:
            x, y = zip(*points, strict=True)
            curves.append(Curve(name, x, y, colour, dashed=colour is CurveColour.WARNING))
    return curves


def _memory(sample: LoadSample) -> float | None:
    return None if sample.memory_bytes is None else sample.memory_bytes / _MEGABYTE


def _gpu_memory(sample: LoadSample) -> float | None:
    return None if sample.gpu_memory_bytes is None else sample.gpu_memory_bytes / _MEGABYTE


def _overlaid(runs: Sequence[tuple[TrainingRun, str]], series: Series) -> list[Curve]:
    """Return one curve per run; the names stand above the first plot, the numbers before them above every one."""
    return [
        Curve(
            f"{number} · {name}" if series is Series.VALID else str(number),
            *by_epoch(run.curves[series]),
            OVERLAY[number - 1],
            dashed=number % 2 == 0,
        )
        for number, (run, name) in enumerate(runs, start=1)
    ]


@dataclass(frozen=True, slots=True)
class _Plot:
    title: str
    caption: QLabel
    plot: CurvePlot


_BY_EPOCH: dict[str, str] = {
    Series.VALID: mark("Loss by epoch"),
    Series.CRPS: mark("CRPS by epoch"),
    Series.RATE: mark("Learning rate by epoch"),
    Series.SPEED: mark("Targets per second, by epoch"),
}
_LOAD, _MEMORY = "load", "memory"
_OVER_TIME: dict[str, str] = {_LOAD: mark("Load in %, over minutes"), _MEMORY: mark("Memory in MB, over minutes")}


class RunCurves(ScrollColumn):
    """Plots below each other; one that nothing was measured for is left out."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        body, layout = self.body, self.column
        self.note = QLabel(body)
        self.note.setWordWrap(True)
        set_look(self.note, "role", "small")
        layout.addWidget(self.note)
        self.plots: dict[str, _Plot] = {}
        for key, title in {**_BY_EPOCH, **_OVER_TIME}.items():
            made = self.plots[key] = _Plot(title, QLabel(body), CurvePlot(theme.palette, body))
            set_look(made.caption, "role", "small")
            made.plot.setObjectName(f"training_curve_{key}")
            layout.addWidget(made.caption)
            layout.addWidget(made.plot, 1)
        layout.addStretch()

    def show_runs(self, current: TrainingRun, others: Sequence[tuple[TrainingRun, str]]) -> None:
        """Draw one run, or several selected ones with their names on top of each other.

        Args:
            current: whose load is shown, and the only one where no others are selected.
            others: the selected runs with their names, the current one among them; fewer than two are no overlay.
        """
        drawn = tuple(others[: len(OVERLAY)])
        self._write_note(current, others)
        for series in _BY_EPOCH:
            if len(others) > 1:
                curves = _overlaid(drawn, Series(series))
            elif series == Series.VALID:
                curves = loss_curves(current)
            else:
                curves = [Curve(tr("this run"), *by_epoch(current.curves[Series(series)]), CurveColour.ACCENT)]
            self._draw(series, curves, always=series == Series.VALID)
        self._draw(_LOAD, load_curves(current, lambda s: s.cpu_percent, lambda s: s.gpu_percent))
        self._draw(_MEMORY, load_curves(current, _memory, _gpu_memory))

    def retranslate(self) -> None:
        """Write the fixed texts in the present language."""
        for made in self.plots.values():
            made.caption.setText(tr(made.title))
            made.plot.setAccessibleName(tr(made.title))
            made.plot.set_empty_text(tr("The loss appears after the first epoch."))

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        for made in self.plots.values():
            made.plot.set_palette(self._theme.palette)

    def _write_note(self, current: TrainingRun, others: Sequence[tuple[TrainingRun, str]]) -> None:
        text = tr("Select several runs in the list to see their curves on top of each other.")
        if len(others) > len(OVERLAY):
            text = tr("The first {n} of the selected runs are drawn.", n=len(OVERLAY))
        elif len(others) > 1:
            name = next((name for run, name in others if run is current), current.title)
            text = tr("Validation losses of the selected runs; load and memory are those of {run}.", run=name)
        if self.note.text() != text:
            self.note.setText(text)

    def _draw(self, key: str, curves: list[Curve], *, always: bool = False) -> None:
        made = self.plots[key]
        shown = always or any(curve.x for curve in curves)
        made.caption.setVisible(shown)
        made.plot.setVisible(shown)
        if shown:
            last = max((curve.x[-1] for curve in curves if curve.x), default=0.0)
            made.plot.set_curves(curves, x_range=(1.0, max(2.0, last)) if key in _BY_EPOCH else None)
