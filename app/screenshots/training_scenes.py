"""Pictures of the training panel: every state of a run, curves, comparison. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from PySide6.QtGui import QPixmap

from app.flows.training_queue import QueuedRun, QueueState, TrainingQueue
from app.screenshots.agent_runs import (
    AGENT_FINISHED,
    AGENT_OTHER,
    AGENT_RUNNING,
    agent_progress,
    agent_result,
    agent_spec,
)
from app.screenshots.market import NOW_NS
from app.screenshots.studio import Studio, settle
from app.screenshots.training import FINISHED, PAUSED, RUNNING, progress, queue, result
from app.theme import GRID
from app.ui.docks.training_dock import MINIMUM_WIDTH, TrainingDock
from core.clock import NS_PER_S
from core.domain.data_origin import BINANCE
from ml.api import DataRange, ForecastSpec

Take = Callable[[Studio], QPixmap]

_WIDE, _HIGH = 140 * GRID, 210 * GRID
_STEP_S = 2.4


def training_scenes() -> dict[str, Take]:
    """Return the pictures by name."""
    return {
        "dock_training_queue": partial(_run, row=2),
        "dock_training_queue_narrow": partial(_run, row=2, width=MINIMUM_WIDTH),
        "dock_training_paused": partial(_run, row=3),
        "dock_training_waiting": partial(_run, row=4),
        "dock_training_held": partial(_run, row=5),
        "dock_training_after": partial(_run, row=6),
        "dock_training_curves": partial(_curves, rows=(2,)),
        "dock_training_overlay": partial(_curves, rows=(0, 1, 2)),
        "dock_training_comparison": _comparison,
        "dock_training_comparison_empty": _nothing_to_compare,
        "dock_agent_run": partial(_agents, row=3),
        "dock_agent_run_narrow": partial(_agents, row=3, width=MINIMUM_WIDTH),
        "dock_agent_finished": partial(_agents, row=1),
        "dock_agent_curves": partial(_agents, row=3, curves=True),
        "dock_agent_comparison": _agents_compared,
    }


@contextmanager
def _panel(studio: Studio, width: int = _WIDE) -> Iterator[TrainingDock]:
    """Open a panel of its own with runs of every kind: two finished ones and the queue."""
    seconds = iter(range(10_000))
    dock = TrainingDock(studio.commands, studio.theme, now_s=lambda: _STEP_S * next(seconds))
    dock.resize(width, _HIGH)
    for number, name in enumerate((FINISHED, "run-former")):
        begun_ns = NOW_NS - (50 - 30 * number) * 60 * NS_PER_S
        spec = ForecastSpec(data=DataRange(BINANCE, "BTC/USDT", "1h"))
        if number:
            spec = replace(spec, model=replace(spec.model, kind="gru", head="student_t"))
        dock.on_queue(TrainingQueue((QueuedRun(name, spec.to_json(), begun_ns),)))
        dock.on_result(result(name, shift=0.004 * number))
    dock.on_queue(queue())
    for name, epochs in ((RUNNING, 17), (PAUSED, 9)):
        for message in progress(epochs, name, shift=0.002):
            dock.on_progress(message)
    dock.on_queue(queue())
    dock.show()
    settle()
    yield dock
    dock.close()
    dock.deleteLater()
    settle()


@contextmanager
def _agent_panel(studio: Studio, width: int = _WIDE) -> Iterator[TrainingDock]:
    """Open a panel of its own with a forecaster, two agents that are done and one whose seeds are learning."""
    seconds = iter(range(10_000))
    dock = TrainingDock(studio.commands, studio.theme, now_s=lambda: _STEP_S * next(seconds))
    dock.resize(width, _HIGH)
    wanted = ((FINISHED, ForecastSpec(data=DataRange(BINANCE, "BTC/USDT", "1h"))), (AGENT_FINISHED, agent_spec()))
    for number, (name, spec) in enumerate((*wanted, (AGENT_OTHER, agent_spec("ddpg")))):
        begun_ns = NOW_NS - (90 - 30 * number) * 60 * NS_PER_S
        dock.on_queue(TrainingQueue((QueuedRun(name, spec.to_json(), begun_ns),)))
    dock.on_result(result(FINISHED))
    for message in agent_progress(AGENT_FINISHED, 14):
        dock.on_agent_progress(message)
    dock.on_agent_result(agent_result())
    dock.on_agent_result(agent_result(AGENT_OTHER, shift=0.02, algorithm="ddpg"))
    dock.on_queue(TrainingQueue((QueuedRun(AGENT_RUNNING, agent_spec().to_json(), NOW_NS, state=QueueState.RUNNING),)))
    for message in agent_progress():
        dock.on_agent_progress(message)
    dock.show()
    settle()
    yield dock
    dock.close()
    dock.deleteLater()
    settle()


def _agents(studio: Studio, row: int, width: int = _WIDE, *, curves: bool = False) -> QPixmap:
    with _agent_panel(studio, width) as dock:
        dock.list.setCurrentRow(row)
        if curves:
            dock.pages.setCurrentWidget(dock.agent_curves)
        return studio.shoot(dock)


def _agents_compared(studio: Studio) -> QPixmap:
    with _agent_panel(studio) as dock:
        dock.pages.setCurrentWidget(dock.comparison)
        return studio.shoot(dock)


def _run(studio: Studio, row: int, width: int = _WIDE) -> QPixmap:
    with _panel(studio, width) as dock:
        dock.list.setCurrentRow(row)
        return studio.shoot(dock)


def _curves(studio: Studio, rows: tuple[int, ...]) -> QPixmap:
    with _panel(studio) as dock:
        dock.list.setCurrentRow(rows[-1])
        for row in rows:
            dock.list.item(row).setSelected(True)
        dock.pages.setCurrentWidget(dock.curves)
        return studio.shoot(dock)


def _comparison(studio: Studio) -> QPixmap:
    with _panel(studio) as dock:
        dock.pages.setCurrentWidget(dock.comparison)
        return studio.shoot(dock)


def _nothing_to_compare(studio: Studio) -> QPixmap:
    with _panel(studio) as dock:
        for run in dock.runs[:2]:
            dock.remove_run(run.run_id)
        dock.pages.setCurrentWidget(dock.comparison)
        return studio.shoot(dock)
