"""What all pages of the training wizard share. GUI thread only."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QAbstractSpinBox, QComboBox, QLabel, QScrollArea, QVBoxLayout, QWidget, QWizardPage
from shiboken6 import isValid

from app.flows.training_checks import Problem
from app.flows.training_flow import Step, TrainingFlow
from app.theme import SPACE_L, SPACE_M, SPACE_S, SPACE_XS, Palette, set_look
from app.ui.wizards.draft_fields import DraftField
from app.ui.wizards.fields import Expander, Form, FormRow, WheelGuard, wrapped_label


class StepPage(QWizardPage):
    """A page over one step of the flow: fields write into the flow, the flow says what is wrong.

    Signals:
        edited: an entry changed; other pages may show something else now.

    Attributes:
        body: where the content goes; it scrolls where the window is low.
        rows: by the name of the entry of `TrainingDraft` or `AgentDraft`.
    """

    edited = Signal()

    def __init__(self, step: Step, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__()
        self.setObjectName(f"training_{step.value}_page")
        self._step, self._flow, self._guard = step, flow, guard
        self._filling = False
        self._leaving = False  # the person wants to go on as soon as what is being read was found right
        self._fields: dict[str, DraftField] = {}
        self.rows: dict[str, FormRow] = {}
        self._hidden: set[str] = set()
        self._advanced: Expander | None = None
        self._advanced_names: list[str] = []
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
        content = QWidget()
        self.body = QVBoxLayout(content)
        self.body.setContentsMargins(0, 0, SPACE_S, 0)
        self.body.setSpacing(SPACE_L)
        self._scroll = QScrollArea()
        self._scroll.setObjectName("step_area")
        self._scroll.setWidgetResizable(True)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(content)
        outer.addWidget(self._scroll, 1)
        self._problem = wrapped_label("warning")
        self._problem.setObjectName("problem_label")
        outer.addWidget(self._problem)

    # ------------------------------------------------------------------------------------------------- building

    @property
    def step(self) -> Step:
        """The step this page edits."""
        return self._step

    def add_advanced(self) -> Expander:
        """Append the settings that are closed at first, and return them."""
        self._advanced = Expander("advanced_button")
        self.body.addWidget(self._advanced)
        return self._advanced

    def add_field(self, form: Form, name: str, field: Any, *, wide: bool = False, tall: bool = False) -> FormRow:
        """Append a row for an entry; a `DraftField` is filled and listened to from now on."""
        row = form.add_row(field, wide=wide, tall=tall)
        self.rows[name] = row
        if hasattr(field, "show_value"):
            self._fields[name] = field
            field.edited.connect(self._on_field_edited)
        if isinstance(field, QAbstractSpinBox | QComboBox):
            self._guard.watch(field)
        if self._advanced is not None and form is self._advanced.form:
            self._advanced_names.append(name)
        return row

    # ------------------------------------------------------------------------------------------------- contents

    def set_heading(self, title: str, subtitle: str) -> None:
        """Name the page and say what it is about."""
        self._title.setText(title)
        self._subtitle.setText(subtitle)
        self.setAccessibleName(title)
        self.setAccessibleDescription(subtitle)

    def retranslate(self) -> None:
        """Set every text again that does not depend on the entries; `refresh` sets the others."""
        raise NotImplementedError

    def row_texts(self) -> dict[str, tuple[str, str]]:
        """Return label and explanation of each row by the name of its entry."""
        return {}

    def fill(self) -> None:
        """Put the entries of the flow into the fields."""
        for name, field in self._fields.items():
            field.show_value(self._flow.entry(name))

    def unused(self) -> frozenset[str]:
        """Return the entries that mean nothing beside the present choices: their rows are hidden."""
        return frozenset()

    def show_derived(self) -> None:
        """Show what follows from the entries: previews, estimates, rows that come and go."""

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
        self._leaving = False
        self._flow.update(**changes)
        self.refresh()
        self.edited.emit()

    # ------------------------------------------------------------------------------------------------- problems

    def shown_problem(self) -> str:
        """Return the sentence that says what is wrong, wherever it stands; "" where nothing is."""
        beside = next((row.problem for row in self.rows.values() if row.problem), "")
        return beside or (self._problem.text() if self._problem.property("role") == "warning" else "")

    def tell(self, text: str, role: str) -> None:
        """Say something below the page until the next change; `role` is that of the label."""
        set_look(self._problem, "role", role)
        self._problem.setText(text)
        self._problem.setVisible(bool(text))

    def show_problem(self, problem: Problem) -> None:
        """Bring the person to the field a problem is about."""
        row = self.rows.get(problem.field)
        if row is None:
            return
        if self._advanced is not None and problem.field in self._advanced_names:
            self._advanced.set_open(True)
        row.field.setFocus(Qt.FocusReason.OtherFocusReason)
        self._scroll.ensureWidgetVisible(row.field)

    def validatePage(self) -> bool:
        problem = self._flow.problem(self._step)
        self._leaving = problem is not None and problem.passing
        if problem is not None:
            self.show_problem(problem)
            self._show_state()
        return problem is None

    def initializePage(self) -> None:
        self.retranslate()
        self.refresh()
        problem = self._flow.problem(self._step)
        if problem is not None and not problem.passing and problem.field in self._advanced_names:
            self.show_problem(problem)
            self._show_state()

    def cleanupPage(self) -> None:
        """Going back keeps every entry; Qt's default would reset the fields."""
        self._leaving = False

    @Slot()
    def _go_on(self) -> None:
        """Follow the wish to leave that had to wait."""
        if isValid(self) and self.wizard() is not None and self.wizard().currentPage() is self:
            self.wizard().next()

    def _show_state(self) -> None:
        for name, (label, note) in self.row_texts().items():
            self.rows[name].set_texts(label, note)
        self.show_derived()
        problem = self._flow.problem(self._step)
        if self._leaving and (problem is None or not problem.passing):
            self._leaving = False
            if problem is None:
                QTimer.singleShot(0, self._go_on)
        self._hide_unused(problem)
        placed = False
        for name, row in self.rows.items():
            here = problem is not None and problem.field == name
            placed = placed or (here and self._in_sight(name))
            row.set_problem(problem.text() if here and problem is not None else "")
        self.tell("" if problem is None or placed else problem.text(), "warning")
        if self._advanced is not None:
            flow, unused = self._flow, self.unused()
            changed = (flow.entry(name) != flow.usual(name) for name in self._advanced_names if name not in unused)
            self._advanced.set_changed(sum(changed))

    def _hide_unused(self, problem: Problem | None) -> None:
        """Hide rows that mean nothing now; an entry that is wrong stays in sight."""
        hidden = {name for name in self.unused() & set(self.rows) if problem is None or problem.field != name}
        for name in hidden ^ self._hidden:
            self.rows[name].set_visible(name not in hidden)
        self._hidden = hidden

    def _in_sight(self, name: str) -> bool:
        return self._advanced is None or self._advanced.is_open or name not in self._advanced_names

    @Slot(str, object)
    def _on_field_edited(self, name: str, value: object) -> None:
        self.take(**{name: value})
