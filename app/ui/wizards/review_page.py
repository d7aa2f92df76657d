"""Last page of the training wizard: everything that was chosen, in words. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from app.flows.agent_review import spot_warning
from app.flows.run_review import review
from app.flows.sentence_text import local_text
from app.flows.training_flow import Step, TrainingFlow
from app.flows.training_review import ReviewGroup
from app.i18n import tr
from app.theme import SPACE_M, SPACE_XL, SPACE_XS, number_font, set_look
from app.ui.wizards.fields import LABEL_WIDTH, WheelGuard, card, wrapped_label
from app.ui.wizards.step_page import StepPage
from core.domain.data_origin import caution


class ReviewPage(StepPage):
    """Everything that was chosen, and what to expect of the result."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.REVIEW, flow, guard)
        self._caution = wrapped_label("warning")
        self._caution.setObjectName("review_caution")
        self.body.addWidget(self._caution)  # first: never below the fold
        self._spot = wrapped_label("warning")
        self._spot.setObjectName("review_spot")
        self.body.addWidget(self._spot)
        self._grid = QGridLayout()
        self._grid.setSpacing(SPACE_XL)
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, 1)
        self.body.addLayout(self._grid)
        self._shape: tuple[int, ...] = ()
        self._blocks: list[QWidget] = []
        self._headings: list[QLabel] = []
        self._values: list[tuple[QLabel, QLabel]] = []
        frame, note_layout = card()
        self._note_title, self._note = QLabel(), wrapped_label("muted")
        note_layout.addWidget(self._note_title)
        note_layout.addWidget(self._note)
        self.body.addWidget(frame)
        self.body.addStretch(1)
        self._lines: tuple[tuple[str, str], ...] = ()
        self._seen = False  # its hundred labels are made when somebody comes here

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The (label, value) pairs shown."""
        return self._lines

    def retranslate(self) -> None:
        self.set_heading(tr("Review"), tr("Nothing has been started yet. Going back keeps every entry."))
        self._note_title.setText(tr("What the result will say"))

    def initializePage(self) -> None:
        self._seen = True
        super().initializePage()

    def show_derived(self) -> None:
        if not self._seen:
            return
        dataset = self._flow.dataset
        words = "" if dataset is None else local_text(caution(dataset.origin))
        self._caution.setText(words)
        self._caution.setVisible(bool(words))
        self._spot.setText(spot_warning(self._flow.draft.agent))
        self._spot.setVisible(bool(self._spot.text()))
        self._note.setText(_agent_note() if self._flow.subject.trains_agent else _forecaster_note())
        groups = review(self._flow)
        shape = tuple(len(group.lines) for group in groups)
        if shape != self._shape:
            self._shape = shape
            self._build_lines(groups)
        for heading, group in zip(self._headings, groups, strict=True):
            heading.setText(group.title)
        self._lines = tuple(line for group in groups for line in group.lines)
        for (name, shown), (label, value) in zip(self._values, self._lines, strict=True):
            name.setText(label)
            shown.setText(value)

    def _build_lines(self, groups: tuple[ReviewGroup, ...]) -> None:
        """Make the labels anew, two groups side by side: what is trained decides which groups and lines there are."""
        top = Qt.AlignmentFlag.AlignTop
        for former in self._blocks:
            self._grid.removeWidget(former)
            former.deleteLater()
        self._blocks, self._headings, self._values = [], [], []
        for index, group in enumerate(groups):
            area = QWidget()
            self._blocks.append(area)
            block = QGridLayout(area)
            block.setContentsMargins(0, 0, 0, 0)
            block.setHorizontalSpacing(SPACE_M)
            block.setVerticalSpacing(SPACE_XS)
            block.setColumnMinimumWidth(0, LABEL_WIDTH * 2 // 3)
            block.setColumnStretch(1, 1)
            heading = QLabel()
            set_look(heading, "role", "heading")
            self._headings.append(heading)
            block.addWidget(heading, 0, 0, 1, 2)
            for row in range(1, len(group.lines) + 1):
                name, shown = QLabel(), wrapped_label()
                set_look(name, "role", "muted")
                shown.setFont(number_font())
                block.addWidget(name, row, 0, top)
                block.addWidget(shown, row, 1, top)
                self._values.append((name, shown))
            block.setRowStretch(len(group.lines) + 1, 1)
            self._grid.addWidget(area, index // 2, index % 2)


def _forecaster_note() -> str:
    return tr(
        "The test part is looked at once. The model is compared with simple forecasts on the same bars, "
        "first of all with “the price stays where it is”. “No advantage can be shown” is a normal result, "
        "and an advantage in the past does not promise one later."
    )


def _agent_note() -> str:
    return tr(
        "The test part is looked at once, after everything is decided. The agent is compared with holding, with simple "
        "rules and with its own positions at random times, after all costs. “No advantage can be shown” is a normal "
        "result, and an advantage in the past does not promise one later."
    )
