"""Setting up a search for settings: how many trials, how many at a time, how long. GUI thread only."""

from __future__ import annotations

import os
from dataclasses import replace

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QDialog, QFormLayout, QHBoxLayout, QLabel, QPushButton, QSpinBox, QVBoxLayout, QWidget

from app.flows.origin_text import data_title
from app.i18n import tr
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look
from app.ui.widgets.fit import fit_height
from app.ui.widgets.spin_box import indent_text
from ml.api import ForecastSpec
from ml.search_spec import MAX_PROCESSES, SearchSpec

MOST_TRIALS = 2_000
MOST_MINUTES = 7 * 24 * 60
_WIDTH = 110 * GRID


class SearchDialog(QDialog):
    """A form for a `SearchSpec` around the settings of a run.

    Signals:
        search_requested(object): the `SearchSpec`.
    """

    search_requested = Signal(object)

    def __init__(self, base: ForecastSpec, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._spec = SearchSpec.around(base)
        self.setObjectName("search_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Search for settings"))
        cores = min(MAX_PROCESSES, os.cpu_count() or 1)
        self.trials = self._number("search_trials_field", 4, MOST_TRIALS, self._spec.trials)
        self.processes = self._number("search_processes", 1, cores, max(1, cores - 1))
        self.minutes = self._number("search_minutes", 0, MOST_MINUTES, 0)
        self.minutes.setSpecialValueText(tr("no limit"))
        self.minutes.setSuffix(tr(" min"))
        self.leave, self.begin = QPushButton(tr("Cancel"), self), QPushButton(tr("Start the search"), self)
        self.leave.setObjectName("search_cancel")
        self.begin.setObjectName("search_start")
        set_look(self.begin, "variant", "primary")
        self.begin.setDefault(True)
        self.leave.clicked.connect(self.reject)
        self.begin.clicked.connect(self._on_begin)
        self._lay_out()
        fit_height(self, _WIDTH)

    def spec(self) -> SearchSpec:
        """Return the search as it is set up."""
        return replace(
            self._spec,
            trials=self.trials.value(),
            processes=self.processes.value(),
            timeout_min=float(self.minutes.value()),
        )

    def _number(self, name: str, low: int, high: int, value: int) -> QSpinBox:
        box = QSpinBox(self)
        box.setObjectName(name)
        box.setRange(low, high)
        box.setValue(value)
        indent_text(box)
        return box

    def _lay_out(self) -> None:
        what = QLabel(tr("Starts from the settings of {market}", market=data_title(self._spec.base.data)), self)
        set_look(what, "role", "heading")
        how = QLabel(
            tr(
                "Features, network and training are varied. Each trial learns from the training part and is measured "
                "on the validation part; the test part stays unseen. The best are repeated with other seeds."
            ),
            self,
        )
        form = QFormLayout()
        form.setSpacing(SPACE_S)
        form.addRow(tr("Trials"), self.trials)
        form.addRow(tr("At the same time"), self.processes)
        form.addRow(tr("Time limit"), self.minutes)
        hint = QLabel(
            tr("One at a time makes the search exactly repeatable; several are faster. Each takes one processor core."),
            self,
        )
        set_look(hint, "role", "small")
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.leave)
        buttons.addWidget(self.begin)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        for label in (what, how):
            label.setWordWrap(True)
            layout.addWidget(label)
        layout.addLayout(form)
        hint.setWordWrap(True)
        layout.addWidget(hint)
        layout.addLayout(buttons)

    @Slot()
    def _on_begin(self) -> None:
        self.search_requested.emit(self.spec())
        self.accept()
