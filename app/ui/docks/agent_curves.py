"""How an agent learns: its newest pass beside rules, validation, reward, losses, and the machine's load. GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.flows.datasets import date_text
from app.i18n import format_compact, mark, tr
from app.theme import ThemeManager, set_look
from app.ui.docks.training_agents import AgentWatch
from app.ui.docks.training_curves import OVERLAY, load_curves, memory_curves
from app.ui.docks.training_runs import TrainingRun
from app.ui.widgets.curve_plot import Curve, CurvePlot
from app.ui.widgets.rule_curves import AGENT, rule_curve
from app.ui.widgets.scroll_column import ScrollColumn
from core.domain.candles import Timeframe
from ml.agents.progress import PassCurves, ValidationRecord

_THOUSAND = 1_000.0

Figure = Callable[[ValidationRecord], float | None]
_BY_STEP: dict[str, tuple[str, Figure]] = {
    "validation": (mark("Net log return of each validation pass"), lambda record: record.log_return),
    "reward": (mark("Mean reward per decision"), lambda record: record.learning.reward),
    "value_loss": (mark("Value loss"), lambda record: record.learning.value_loss),
    "policy_loss": (mark("Policy loss"), lambda record: record.learning.policy_loss),
    "divergence": (mark("KL divergence of an update"), lambda record: record.learning.divergence),
    "explained": (mark("Explained variance"), lambda record: record.learning.explained_variance),
    "spread": (mark("Entropy"), lambda record: record.learning.spread),
    "turnover": (mark("Turnover per bar of each validation pass"), lambda record: record.turnover),
    "speed": (mark("Steps per second"), lambda record: record.steps_per_s or None),
}
_LOAD, _MEMORY = "load", "memory"
_OVER_TIME = {_LOAD: mark("Load in %, over minutes"), _MEMORY: mark("Memory in MB, over minutes")}


def equity_curves(curves: PassCurves) -> list[Curve]:
    """Return the agent on top of the rules, over days since the part began."""
    start = curves.time_ns[0]
    days = tuple((time_ns - start) / Timeframe.D1.ns for time_ns in curves.time_ns)
    return [
        rule_curve(AGENT, days, curves.equity),
        *(rule_curve(rule.name, days, rule.equity) for rule in curves.rules),
    ]


def step_curves(watch: AgentWatch, figure: Figure, *, best: bool = False) -> list[Curve]:
    """Return a figure of each seed over thousands of steps; with `best` the pass whose weights are kept stands out."""
    drawn = []
    for index, seed in sorted(watch.seeds.items()):
        points = [(step / _THOUSAND, figure(seed.records[step])) for step in sorted(seed.records)]
        known = [(x, y) for x, y in points if y is not None]
        mark_at = seed.best.step / _THOUSAND if best and seed.best is not None else None
        name = tr("seed {n}", n=index + 1) if watch.count > 1 else tr("this run")
        drawn.append(
            Curve(
                name,
                tuple(x for x, _ in known),
                tuple(y for _, y in known),
                OVERLAY[index % len(OVERLAY)],
                dashed=index >= len(OVERLAY),
                mark=mark_at,
            )
        )
    return drawn


class EquityPlot(QWidget):
    """The newest pass over the validation part beside rules; hidden before the first."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self.caption, self.plot = QLabel(self), CurvePlot(theme.palette, self)
        self.plot.setObjectName("agent_equity")
        set_look(self.caption, "role", "small")
        self.caption.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.caption)
        layout.addWidget(self.plot, 1)

    def show_curves(self, watch: AgentWatch) -> None:
        """Draw the newest pass."""
        curves = watch.curves
        self.setVisible(curves is not None and len(curves.time_ns) > 1)
        if curves is None or len(curves.time_ns) < 2:
            return
        text = tr(
            "Validation part {first} … {last}, after costs: the newest pass (seed {seed}, {steps} steps) beside rules",
            seed=watch.index_of(curves.seed) + 1,
            first=date_text(curves.time_ns[0]),
            last=date_text(curves.time_ns[-1]),
            steps=format_compact(curves.step),
        )
        if self.caption.text() != text:
            self.caption.setText(text)
        self.plot.set_curves(equity_curves(curves), growth=True)

    def retranslate(self) -> None:
        """Write the fixed texts in the present language."""
        self.plot.setAccessibleName(tr("Equity over the validation part"))
        self.plot.set_x_title(tr("day"))

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        self.plot.set_palette(self._theme.palette)


@dataclass(frozen=True, slots=True)
class _Plot:
    title: str
    caption: QLabel
    plot: CurvePlot


class AgentCurves(ScrollColumn):
    """Plots below each other; one that nothing was measured for is left out."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        body, layout = self.body, self.column
        self.empty = QLabel(body)
        set_look(self.empty, "role", "small")
        self.equity = EquityPlot(theme, body)
        layout.addWidget(self.empty)
        layout.addWidget(self.equity, 1)
        self.plots: dict[str, _Plot] = {}
        titles = {key: title for key, (title, _) in _BY_STEP.items()} | _OVER_TIME
        for key, title in titles.items():
            made = self.plots[key] = _Plot(title, QLabel(body), CurvePlot(theme.palette, body))
            set_look(made.caption, "role", "small")
            made.plot.setObjectName(f"agent_curve_{key}")
            layout.addWidget(made.caption)
            layout.addWidget(made.plot, 1)
        layout.addStretch()

    def show_run(self, run: TrainingRun) -> None:
        """Draw a run."""
        watch = run.agent
        if watch is None:
            return
        self.equity.show_curves(watch)
        for key, (_, figure) in _BY_STEP.items():
            self._draw(key, step_curves(watch, figure, best=key == "validation"))
        self._draw(_LOAD, load_curves(run))
        self._draw(_MEMORY, memory_curves(run))
        self.empty.setVisible(not any(not made.plot.isHidden() for made in self.plots.values()))

    def retranslate(self) -> None:
        """Write the fixed texts in the present language."""
        self.empty.setText(tr("The curves appear after the first validation."))
        self.equity.retranslate()
        for key, made in self.plots.items():
            made.caption.setText(tr(made.title))
            made.plot.setAccessibleName(tr(made.title))
            made.plot.set_x_title(tr("minute") if key in _OVER_TIME else tr("k steps"))

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        self.equity.refresh_look()
        for made in self.plots.values():
            made.plot.set_palette(self._theme.palette)

    def _draw(self, key: str, curves: list[Curve]) -> None:
        made = self.plots[key]
        shown = any(curve.x for curve in curves)
        made.caption.setVisible(shown)
        made.plot.setVisible(shown)
        if shown:
            made.plot.set_curves(curves)
