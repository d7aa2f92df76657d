"""The run of an agent in words and figures, live, and what came of it. GUI thread only."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from app.flows.agent_names import rule_name
from app.flows.run_text import agent_finished_text
from app.flows.sentence_text import local_text
from app.i18n import (
    MISSING,
    format_compact,
    format_duration,
    format_number,
    format_percent,
    mark,
    tr,
)
from app.theme import SPACE_M, SPACE_XS, ThemeManager, set_look
from app.ui.docks.agent_curves import EquityPlot
from app.ui.docks.run_page import RunPage
from app.ui.docks.training_agents import AgentWatch, SeedWatch
from app.ui.docks.training_list import left_text
from app.ui.docks.training_runs import RunState, TrainingRun
from app.ui.docks.training_words import state_headline, state_note
from app.ui.widgets.elided_label import ElidedLabel
from app.ui.widgets.figure_table import FigureTable, Heading
from ml.agents.progress import ENCODER_PHASE, ENCODER_TEST_PHASE, AgentResult
from ml.agents.results import EDGE, AgentFigures, AgentMetrics

_DEVICE = 3  # which of the figures this is
_MEGABYTE = 1e6
_PHASES = {
    ENCODER_PHASE: mark("Training the forecaster"),
    ENCODER_TEST_PHASE: mark("Testing the forecaster on unseen bars"),
    "loading": mark("Reading bars"),
    "features": mark("Computing features"),
    "encoding": mark("The forecaster looks at every bar"),
    "training": mark("Training"),
    "exporting": mark("Writing the model package"),
    "testing": mark("Testing on unseen bars"),
    "done": mark("Finished"),
}


def agent_headline(run: TrainingRun, watch: AgentWatch, after: str = "") -> str:
    """Return what the run is doing in a few words; `after` names the run it waits for."""
    if run.state is RunState.FINISHED and watch.result is not None:
        return _finished_headline(watch.result)
    if run.state is not RunState.RUNNING or watch.progress is None:
        return state_headline(run, after)
    phase, progress, working = tr(_PHASES.get(watch.phase, "Training")), watch.progress, watch.at_work
    if watch.phase == ENCODER_PHASE and progress.steps:
        epoch = tr("{phase}: epoch {epoch} of {epochs}", phase=phase, epoch=progress.step, epochs=progress.steps)
        if progress.seeds <= 1:
            return epoch
        number = progress.seed_index + 1
        return tr("{phase}, network {number} of {total}", phase=epoch, number=number, total=progress.seeds)
    if watch.count <= 1 or not working:
        return phase
    if len(working) == 1:
        return tr("{phase}, seed {number} of {total}", phase=phase, number=working[0] + 1, total=watch.count)
    return tr("{phase}, {n} seeds side by side", phase=phase, n=len(working))


def _finished_headline(result: AgentResult) -> str:
    return tr(
        "Finished in {total}: {steps} steps, {learning}",
        total=format_duration(result.total_s),
        steps=format_compact(result.steps),
        learning=tr("{time} of learning", time=format_duration(result.seconds)),
    )


def agent_note(run: TrainingRun, watch: AgentWatch) -> tuple[str, str]:
    """Return the verdict, the failure, what a state means, or nothing; and the role of its look."""
    if watch.result is not None and run.state is RunState.FINISHED:
        metrics = watch.result.metrics
        praised = metrics.standing == EDGE and not run.caution
        return local_text(agent_finished_text(metrics, run.caution)), "success" if praised else "warning"
    return state_note(run) or ("", "muted")


def agent_figures(run: TrainingRun, watch: AgentWatch) -> tuple[str, ...]:
    """Return steps, time left, speed, device, load and memory as written."""
    progress, result = watch.progress, watch.result
    if result is not None:
        speed = tr("{n} steps/s", n=format_compact(result.steps_per_s))
        return format_compact(result.steps), MISSING, speed, agent_device(watch)[0], MISSING, MISSING
    if progress is None or run.state.is_over:
        done = sum(seed.step for seed in watch.seeds.values())
        return (format_compact(done) if done else MISSING, *(MISSING,) * 5)
    left = left_text(run.left_s) if run.left_s is not None else MISSING
    rate = 0.0 if run.state is RunState.PAUSED else watch.steps_per_s
    speed = tr("{n} steps/s", n=format_compact(rate)) if rate else MISSING
    device = agent_device(watch)[0] or MISSING
    load = MISSING if run.state is RunState.PAUSED else _load_text(watch)
    return _steps_text(watch), left, speed, device, load, _memory_text(watch)


def _steps_text(watch: AgentWatch) -> str:
    done = sum(seed.step for seed in watch.seeds.values())
    if not done or not watch.steps:
        return MISSING
    return f"{format_compact(done)} / {format_compact(watch.steps * watch.count)}"


def _load_text(watch: AgentWatch) -> str:
    progress = watch.progress
    assert progress is not None
    parts = [(tr("CPU"), progress.cpu_percent), (tr("GPU"), progress.gpu_percent)]
    told = [f"{name} {format_number(value, 0)}\u00a0%" for name, value in parts if value is not None]
    return ", ".join(told) or MISSING


def _memory_text(watch: AgentWatch) -> str:
    progress = watch.progress
    assert progress is not None
    parts = [("", progress.rss_bytes), (tr("GPU"), progress.gpu_memory_bytes)]
    told = [
        f"{name} {format_number(value / _MEGABYTE, 0)}\u00a0MB".strip() for name, value in parts if value is not None
    ]
    return ", ".join(told) or MISSING


def agent_device(watch: AgentWatch) -> tuple[str, str]:
    """Return what computes, short, and why that was chosen."""
    source = watch.result or watch.progress
    title, _, reason = (source.device if source is not None else "").partition(" (")
    return local_text(title), local_text(reason.removesuffix(")"))


def validation_rows(watch: AgentWatch) -> list[tuple[str, ...]]:
    """Return per seed: its number, steps, newest and best validation return, turnover and exposure."""
    return [
        (
            format_number(index + 1),
            format_compact(seed.step) if seed.step else format_number(0),
            _return(None if seed.last is None else seed.last.log_return),
            _return(None if seed.best is None else seed.best.log_return),
            _plain(None if seed.last is None else seed.last.turnover, 3),
            _share(None if seed.last is None else seed.last.exposure),
        )
        for index, seed in sorted(watch.seeds.items())
    ]


def learning_rows(watch: AgentWatch) -> list[tuple[str, ...]]:
    """Return per seed what its algorithm says of itself: reward, value loss, KL, explained variance, entropy."""
    return [(format_number(index + 1), *_learning(seed)) for index, seed in sorted(watch.seeds.items())]


def _learning(seed: SeedWatch) -> tuple[str, ...]:
    if seed.last is None:
        return (MISSING,) * 5
    said = seed.last.learning
    return (
        _plain(said.reward, 4, sign=True),
        _plain(said.value_loss, 4),
        _plain(said.divergence, 4),
        _share(said.explained_variance),
        _plain(said.spread, 3),
    )


def result_rows(metrics: AgentMetrics) -> list[tuple[str, ...]]:
    """Return the agent and every rule: name, net return, Sharpe ratio a year, deepest fall, turnover a year."""
    return [_result_row(figures) for figures in (metrics.ensemble, *(row.figures for row in metrics.baselines))]


def _result_row(figures: AgentFigures) -> tuple[str, ...]:
    trading = figures.trading
    return (
        rule_name(figures.name),
        MISSING if trading.total_return is None else format_percent(trading.total_return, 1, sign=True),
        _plain(trading.sharpe, 2, sign=True),
        format_percent(trading.max_drawdown, 1),
        format_number(figures.positions.turnover, 0),
    )


def _return(log_return: float | None) -> str:
    return MISSING if log_return is None else format_number(log_return, 4, sign=True)


def _plain(value: float | None, decimals: int, *, sign: bool = False) -> str:
    return MISSING if value is None else format_number(value, decimals, sign=sign)


def _share(value: float | None) -> str:
    return MISSING if value is None else format_percent(value, 1)


class AgentDetails(RunPage):
    """Headline, note, progress, six figures, the newest pass beside rules, the seeds, and the test."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__("agent", parent)
        self.plot = EquityPlot(theme, self.body)
        self.result = FigureTable("agent_result", self.body)
        self.seeds = FigureTable("agent_validation", self.body)
        self.learning = FigureTable("agent_learning", self.body)
        self._titles = [QLabel(self.body) for _ in range(3)]
        self.column.addLayout(self._build_figures(self.body))
        for title, part in zip(self._titles, (self.result, self.seeds, self.learning), strict=True):
            set_look(title, "role", "strong")
            self.column.addWidget(title)
            self.column.addWidget(part)
            if part is self.result:
                self.column.addWidget(self.plot, 1)
        self.column.addStretch()

    def show_run(self, run: TrainingRun, after: str = "") -> None:
        """Write everything about a run; `after` names the run it waits for."""
        watch = run.agent
        if watch is None:
            return
        self.show_state(run, agent_headline(run, watch, after), *agent_note(run, watch))
        for label, figure in zip(self.figures, agent_figures(run, watch), strict=True):
            if label.full_text() != figure:
                label.set_full_text(figure)
        self.figures[_DEVICE].set_hint(agent_device(watch)[1])
        self.plot.show_curves(watch)
        self._show_table(0, self.result, [] if watch.result is None else result_rows(watch.result.metrics), 0)
        self._show_table(1, self.seeds, validation_rows(watch))
        self._show_table(2, self.learning, learning_rows(watch))

    def retranslate(self) -> None:
        """Write the fixed texts in the present language."""
        captions = (tr("Steps"), tr("Time left"), tr("Speed"), tr("Device"), tr("Load"), tr("Memory"))
        for label, text in zip(self.captions, captions, strict=True):
            label.setText(text)
        titles = (tr("On unseen bars, after costs"), tr("Validation, by seed"), tr("Learning, by seed"))
        for label, text in zip(self._titles, titles, strict=True):
            label.setText(text)
        self.plot.retranslate()

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        self.plot.refresh_look()

    def _show_table(
        self, number: int, table: FigureTable, rows: list[tuple[str, ...]], strong: int | None = None
    ) -> None:
        for part in (self._titles[number], table):
            part.setVisible(bool(rows))
        if rows:
            table.show_rows(_headings(table.objectName()), rows, strong)

    def _build_figures(self, body: QWidget) -> QGridLayout:
        """Six figures in two rows: caption above value."""
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE_M)
        grid.setVerticalSpacing(SPACE_XS)
        self.captions = [QLabel(body) for _ in range(6)]
        self.figures = [ElidedLabel(parent=body) for _ in range(6)]
        for number, (caption, figure) in enumerate(zip(self.captions, self.figures, strict=True)):
            set_look(caption, "role", "small")
            cell = QVBoxLayout()
            cell.setSpacing(0)
            cell.addWidget(caption)
            cell.addWidget(figure)
            grid.addLayout(cell, number // 3, number % 3)
            grid.setColumnStretch(number % 3, 1)
        return grid


def _headings(table: str) -> Sequence[Heading]:
    if table == "agent_result":
        return (
            Heading(tr("Who")),
            Heading(tr("Net return")),
            Heading(tr("Sharpe"), tr("Sharpe ratio of a year, after costs")),
            Heading(tr("Drawdown")),
            Heading(tr("Turnover"), tr("Value traded in a year, in multiples of the account")),
        )
    if table == "agent_validation":
        return (
            Heading(tr("Seed")),
            Heading(tr("Steps")),
            Heading(tr("Newest"), tr("Net log return of the newest pass over the validation part")),
            Heading(tr("Best"), tr("That of the best pass, whose weights are kept")),
            Heading(tr("Turnover"), tr("Mean move of the target weight per bar")),
            Heading(tr("Exposure"), tr("Mean size of the target weight")),
        )
    return (
        Heading(tr("Seed")),
        Heading(tr("Reward"), tr("Mean reward per decision since the pass before")),
        Heading(tr("Value loss"), tr("How far the critic is off")),
        Heading(tr("KL"), tr("How far a policy moves in one update")),
        Heading(tr("Expl. var."), tr("Share of the returns' variance that the critic explains")),
        Heading(tr("Entropy"), tr("PPO: entropy of the policy; SAC: the weight that entropy has")),
    )
