"""A training panel on the screen, over commands that are only noted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PySide6.QtWidgets import QApplication

from app.theme import ThemeManager
from app.ui.docks.training_dock import TrainingDock


class Trainer:
    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.resumed: list[str] = []
        self.asked: list[tuple[Any, ...]] = []

    def plan_after(self, run_id: str) -> None:
        self.asked.append(("after", run_id))

    def pause_training(self, run_id: str) -> None:
        self.asked.append(("pause", run_id))

    def continue_training(self, run_id: str) -> None:
        self.asked.append(("continue", run_id))

    def move_training(self, run_id: str, by: int) -> None:
        self.asked.append(("move", run_id, by))

    def forget_training(self, run_id: str) -> None:
        self.asked.append(("forget", run_id))

    def set_training_slots(self, slots: int) -> None:
        self.asked.append(("slots", slots))

    def start_training(self, spec: dict[str, Any]) -> str:
        raise AssertionError("the panel starts runs through the wizard only")

    def cancel_training(self, run_id: str) -> None:
        self.cancelled.append(run_id)

    def resume_training(self, run_id: str) -> None:
        self.resumed.append(run_id)


@contextmanager
def shown_dock(trainer: Trainer, theme: ThemeManager) -> Iterator[TrainingDock]:
    panel = TrainingDock(trainer, theme)
    panel.resize(400, 600)
    panel.show()
    QApplication.processEvents()
    yield panel
    panel.close()
    panel.deleteLater()
