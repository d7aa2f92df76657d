"""What the panel says of any run at work: a headline, a note, how far it is. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QProgressBar, QWidget

from app.theme import set_look
from app.ui.docks.training_runs import TrainingRun
from app.ui.widgets.scroll_column import ScrollColumn

_PERMILLE = 1_000


class RunPage(ScrollColumn):
    """Base of the pages of a training run and of a search, which put their own parts below the bar.

    Args:
        name: beginning of the object names.
    """

    def __init__(self, name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.phase, self.note, self.bar = QLabel(self.body), QLabel(self.body), QProgressBar(self.body)
        set_look(self.phase, "role", "heading")
        self.phase.setWordWrap(True)
        self.note.setObjectName(f"{name}_note")
        self.note.setWordWrap(True)
        self.note.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.bar.setObjectName(f"{name}_progress")
        self.bar.setTextVisible(False)
        set_look(self.bar, "variant", "thin")
        for widget in (self.phase, self.note, self.bar):
            self.column.addWidget(widget)

    def show_state(self, run: TrainingRun, headline: str, note: str, role: str) -> None:
        """Write how a run is; `role` is that of the note, which is hidden where it is empty."""
        self.phase.setText(headline)
        self.note.setVisible(bool(note))
        self.note.setText(note)
        set_look(self.note, "role", role)
        share = run.share
        self.bar.setVisible(not run.state.is_over)
        self.bar.setRange(0, _PERMILLE if share is not None or run.state.waits else 0)
        self.bar.setValue(round((share or 0.0) * _PERMILLE))  # of the run shown, not of the one shown before
