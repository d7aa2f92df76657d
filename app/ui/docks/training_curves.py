"""How training runs learn and what they take of the machine, one run or several on top of each other. GUI thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from app.i18n import mark, tr
from app.theme import ThemeManager, set_look
from app.ui.docks.training_networks import Network, Series
from app.ui.docks.training_runs import LoadSample, TrainingRun
from app.ui.widgets.curve_plot import Curve, CurveColour, CurvePlot
from app.ui.widgets.scroll_column import ScrollColumn

OVERLAY = (CurveColour.ACCENT, CurveColour.WARNING, CurveColour.SUCCESS, CurveColour.VIOLET, CurveColour.MUTED)
_MEGABYTE = 1e6
# By what the network forecasts, "" where that is not known. They are no figures of one kind: each has its own plot.
LOSSES = {
    "quantile": mark("Pinball loss by epoch, in units of volatility"),
    "student_t": mark("Student loss by epoch, a negative log likelihood"),
    "classes": mark("Cross entropy by epoch"),
    "": mark("Loss by epoch"),
}


def by_epoch(values: Mapping[int, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the columns of a curve over epochs."""
    epochs = sorted(values)
    return tuple(float(epoch) for epoch in epochs), tuple(values[epoch] for epoch in epochs)


def loss_curves(run: TrainingRun) -> list[Curve]:
    """Return validation and training loss of each network of a run; the best epoch stands out."""
    if not run.several:
        return [
            curve
            for network in run.networks
            for curve in (
                _curve(tr("validation"), network, Series.VALID, CurveColour.ACCENT),
                _curve(tr("training"), network, Series.TRAIN, CurveColour.WARNING, dashed=True),
            )
        ]
    curves = []
    for number, network in enumerate(run.networks):
        colour = OVERLAY[number % len(OVERLAY)]
        curves.append(_curve(tr("network {n}", n=number + 1), network, Series.VALID, colour))
        curves.append(_curve("", network, Series.TRAIN, colour, dashed=True))
    return curves


def network_curves(run: TrainingRun, series: Series) -> list[Curve]:
    """Return a figure of each network of a run."""
    return [
        _curve(
            tr("network {n}", n=number + 1) if run.several else tr("this run"),
            network,
            series,
            OVERLAY[number % len(OVERLAY)],
        )
        for number, network in enumerate(run.networks)
    ]


def loss_title(head: str, *, several: bool = False) -> str:
    """Return what a plot of losses shows: which loss, in what unit and, of several networks, which line is which."""
    title = tr(LOSSES.get(head, LOSSES[""]))
    return " · ".join((title, tr("solid: validation, dashed: training"))) if several else title


def _curve(name: str, network: Network, series: Series, colour: CurveColour, *, dashed: bool = False) -> Curve:
    best = network.best_epoch if series is Series.VALID else None
    return Curve(name, *by_epoch(network.curves[series]), colour, dashed=dashed, mark=best)


def load_curves(run: TrainingRun) -> list[Curve]:
    """Return how busy processor and GPU were, over minutes."""
    return _over_time(run, lambda sample: sample.cpu_percent, lambda sample: sample.gpu_percent)


def memory_curves(run: TrainingRun) -> list[Curve]:
    """Return the memory of the run and the used one of the GPU, over minutes."""
    return _over_time(run, _memory, _gpu_memory)


def _over_time(
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


def _overlaid(runs: Sequence[_Drawn], series: Series) -> list[Curve]:
    """Return the networks of each run in one colour; names stand above losses, the numbers before them elsewhere."""
    return [
        _curve(
            f"{drawn.number} · {drawn.name}" if series is Series.VALID else str(drawn.number),
            network,
            series,
            OVERLAY[drawn.number - 1],
            dashed=drawn.number % 2 == 0,
        )
        for drawn in runs
        for network in drawn.run.networks
    ]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A run among several; its number gives the colour."""

    number: int
    run: TrainingRun
    name: str


@dataclass(frozen=True, slots=True)
class _Plot:
    title: str
    caption: QLabel
    plot: CurvePlot


_BY_EPOCH: dict[str, str] = {
    Series.CRPS: mark("CRPS by epoch, in units of volatility"),
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
        losses = {_loss_key(head): title for head, title in LOSSES.items()}
        for key, title in {**losses, **_BY_EPOCH, **_OVER_TIME}.items():
            made = self.plots[key] = _Plot(title, QLabel(body), CurvePlot(theme.palette, body))
            set_look(made.caption, "role", "small")
            made.caption.setWordWrap(True)
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
        drawn = [_Drawn(number, *other) for number, other in enumerate(others[: len(OVERLAY)], start=1)]
        self._write_note(current, others)
        self._draw_losses(current, drawn)
        for key in _BY_EPOCH:
            series = Series(key)
            self._draw(key, _overlaid(drawn, series) if len(drawn) > 1 else network_curves(current, series))
        self._draw(_LOAD, load_curves(current))
        self._draw(_MEMORY, memory_curves(current))

    def retranslate(self) -> None:
        """Write the fixed texts in the present language."""
        for key, made in self.plots.items():
            made.caption.setText(tr(made.title))
            made.plot.setAccessibleName(tr(made.title))
            made.plot.set_x_title(tr("minute") if key in _OVER_TIME else tr("epoch"))
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
            if len({run.head for run, _ in others}) > 1:
                text += "\n" + tr("Their losses are of different kinds and cannot be compared; their CRPS can.")
        if self.note.text() != text:
            self.note.setText(text)

    def _draw_losses(self, current: TrainingRun, drawn: Sequence[_Drawn]) -> None:
        """Draw each kind of loss on axes of its own."""
        alone = len(drawn) < 2
        for head in LOSSES:
            curves = _overlaid([one for one in drawn if one.run.head == head], Series.VALID)
            if alone:
                curves = loss_curves(current) if current.head == head else []
            self._draw(_loss_key(head), curves, always=alone and current.head == head)
        self.plots[_loss_key(current.head)].caption.setText(loss_title(current.head, several=alone and current.several))

    def _draw(self, key: str, curves: list[Curve], *, always: bool = False) -> None:
        made = self.plots[key]
        shown = always or any(curve.x for curve in curves)
        made.caption.setVisible(shown)
        made.plot.setVisible(shown)
        if shown:
            last = max((curve.x[-1] for curve in curves if curve.x), default=0.0)
            made.plot.set_curves(curves, x_range=None if key in _OVER_TIME else (1.0, max(2.0, last)))


def _loss_key(head: str) -> str:
    return f"loss_{head}" if head else "loss"
