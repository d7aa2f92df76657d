"""What all pages of the training wizard share. GUI thread only."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWizardPage

from app.flows.training_flow import Step, TrainingFlow
from app.theme import SPACE_L, SPACE_M, SPACE_S, SPACE_XS, Palette, set_look
from app.ui.wizards.fields import WheelGuard, wrapped_label


class StepPage(QWizardPage):
    """A page over one step of the flow: fields write into the flow, the flow says what is wrong.

    Signals:
        edited: an entry changed; other pages may show something else now.
    """

    edited = Signal()

    def __init__(self, step: Step, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__()
        self.setObjectName(f"training_{step.value}_page")
        self._step, self._flow, self._guard = step, flow, guard
        self._filling = False
        outer = QVBoxLayout(self)
        outer.setContentsMargins(SPACE_M, SPACE_M, SPACE_S, SPACE_S)
        outer.setSpacing(SPACE_L)
        # Not QWizardPage.setTitle: each wizard style draws that in a place and font of its own.
        heading = QVBoxLayout()
        heading.setSpacing(SPACE_XS)
        self._title, self._subtitle = QLabel(), wrapped_label("muted")
        self._title.setObjectName("page_title")
        set_look(self._title, "role", "title")
        heading.addWidget(self._title)
        heading.addWidget(self._subtitle)
        outer.addLayout(heading)
        self.body = QVBoxLayout()
        self.body.setSpacing(SPACE_L)
        outer.addLayout(self.body, 1)
        self._problem = wrapped_label("warning")
        self._problem.setObjectName("problem_label")
        outer.addWidget(self._problem)

    @property
    def step(self) -> Step:
        """The step this page edits."""
        return self._step

    def set_heading(self, title: str, subtitle: str) -> None:
        """Name the page and say what it is about."""
        self._title.setText(title)
        self._subtitle.setText(subtitle)
        self.setAccessibleName(title)
        self.setAccessibleDescription(subtitle)

    def retranslate(self) -> None:
        """Set every visible text again."""
        raise NotImplementedError

    def fill(self) -> None:
        """Put the entries of the flow into the fields."""
        raise NotImplementedError

    def show_derived(self) -> None:
        """Show what follows from the entries: previews, estimates, explanations."""
        raise NotImplementedError

    def set_palette(self, palette: Palette) -> None:
        """Give painted parts the colours of another theme; pages without such parts need nothing."""

    def refresh(self) -> None:
        """Show the present state of the flow."""
        self._filling = True  # fields report programmatic changes as well
        self.fill()
        self._filling = False
        self._show_state()

    def take(self, **changes: Any) -> None:
        """Take entries from the fields; called by the page's own slots."""
        if self._filling:
            return
        self._flow.update(**changes)
        self.refresh()
        self.edited.emit()

    def isComplete(self) -> bool:
        return self._flow.problem(self._step) is None

    def initializePage(self) -> None:
        self.retranslate()
        self.refresh()

    def cleanupPage(self) -> None:
        """Going back keeps every entry; Qt's default would reset the fields."""

    def _show_state(self) -> None:
        self.show_derived()
        problem = self._flow.problem(self._step)
        self._problem.setText("" if problem is None else problem.text())
        self._problem.setVisible(problem is not None)
        self.completeChanged.emit()
