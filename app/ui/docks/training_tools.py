"""What can be done with training runs: buttons and the list's menu. GUI thread only."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QPushButton, QWidget

from app.flows.training_queue import TrainingQueue
from app.i18n import tr
from app.theme import ThemeManager
from app.ui.docks.training_runs import RunState, TrainingRun
from app.ui.widgets.panel import ToolRow


class Deed(StrEnum):
    """Something a person does with runs."""

    PAUSE = "pause"
    CONTINUE = "continue"
    CANCEL = "cancel"
    RESUME = "resume"
    UP = "up"
    DOWN = "down"
    AFTER = "after"
    REMOVE = "remove"
    USE = "use"
    CARD = "card"


_OF_ONE = (Deed.UP, Deed.DOWN, Deed.AFTER, Deed.USE, Deed.CARD)
_ICONS = {
    Deed.PAUSE: "pause",
    Deed.CONTINUE: "play",
    Deed.CANCEL: "x",
    Deed.RESUME: "play",
    Deed.UP: "chevron-up",
    Deed.DOWN: "chevron-down",
    Deed.REMOVE: "trash-2",
}
_KEYS = {Deed.UP: "Alt+Up", Deed.DOWN: "Alt+Down", Deed.REMOVE: "Del"}
_WORDLESS = (Deed.UP, Deed.DOWN, Deed.REMOVE)  # their icon is the word


def deeds_for(run: TrainingRun, queue: TrainingQueue) -> frozenset[Deed]:
    """Return what can be done with a run now."""
    found: set[Deed] = set()
    if queue.find(run.run_id) is not None and run.state is not RunState.CANCELLING:
        found.add(Deed.AFTER)
        found.add(Deed.CONTINUE if run.state.is_paused else Deed.PAUSE)
    if not run.state.is_over and run.state is not RunState.CANCELLING:
        found.add(Deed.CANCEL)
    if queue.can_move(run.run_id, -1):
        found.add(Deed.UP)
    if queue.can_move(run.run_id, 1):
        found.add(Deed.DOWN)
    if run.state.is_over:
        found.add(Deed.REMOVE)
    if run.state.is_over and run.resumable:
        found.add(Deed.RESUME)
    if run.model_id:
        found.add(Deed.CARD)
    if run.tradable:
        found.add(Deed.USE)
    return frozenset(found)


class RunTools(ToolRow):
    """One button per deed that the selected runs allow; the same deeds stand in the list's menu.

    Signals:
        asked(str): a `Deed`.
    """

    asked = Signal(str)

    def __init__(self, theme: ThemeManager, served: QWidget, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self.serve(served)
        self._buttons: dict[Deed, QPushButton] = {}
        self._actions: dict[Deed, QAction] = {}
        for deed in (Deed.PAUSE, Deed.CONTINUE, Deed.CANCEL, Deed.RESUME, Deed.CARD, Deed.USE):
            self._buttons[deed] = self.button(f"training_{deed.value}", variant="")
        self.add_stretch()
        for deed in _WORDLESS:
            self._buttons[deed] = self.button(f"training_{deed.value}")
        for deed in Deed:
            action = self._actions[deed] = QAction(self)
            action.setData(deed.value)
            action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
            if deed in _KEYS:
                action.setShortcut(QKeySequence(_KEYS[deed]))
            action.triggered.connect(self._on_action)
            served.addAction(action)
        for deed, button in self._buttons.items():
            button.setProperty("deed", deed.value)
            button.clicked.connect(self._on_button)

    def show_deeds(self, runs: Iterable[TrainingRun], queue: TrainingQueue) -> None:
        """Offer what the selected runs allow."""
        chosen = tuple(runs)
        found: set[Deed] = set().union(*(deeds_for(run, queue) for run in chosen))
        if len(chosen) != 1:
            found.difference_update(_OF_ONE)
        stopping = any(run.state is RunState.CANCELLING for run in chosen)
        in_queue = any(run.state.waits for run in chosen) and len(queue.waiting) > 1
        for deed, action in self._actions.items():
            action.setVisible(deed in found)
        for deed, button in self._buttons.items():
            stays = (deed is Deed.CANCEL and stopping) or (deed in (Deed.UP, Deed.DOWN) and in_queue)
            self._offer(button, deed in found, stays)

    def _offer(self, button: QPushButton, possible: bool, stays: bool) -> None:
        """Show a button; one that only cannot be pressed right now keeps its place."""
        if button.hasFocus() and not possible:
            self.hand_over_focus()
        button.setEnabled(possible)
        button.setVisible(possible or stays)

    def retranslate(self) -> None:
        """Write every text in the present language."""
        words = {
            Deed.PAUSE: (tr("Pause"), tr("Let the run stand still where it is; it keeps its memory")),
            Deed.CONTINUE: (tr("Continue"), tr("Let the run go on where it stands still")),
            Deed.CANCEL: (tr("Cancel"), tr("Stop this run; it can go on later from its last checkpoint")),
            Deed.RESUME: (tr("Go on"), tr("Let this run go on from its last checkpoint")),
            Deed.UP: (tr("Earlier in the queue"), ""),
            Deed.DOWN: (tr("Later in the queue"), ""),
            Deed.AFTER: (tr("Train a model after this run…"), ""),
            Deed.REMOVE: (tr("Delete this run…"), ""),
            Deed.USE: (tr("Make a strategy…"), ""),
            Deed.CARD: (tr("Model card…"), tr("Everything about the model: accuracy, calibration, costs, luck")),
        }
        for deed, (word, hint) in words.items():
            self._actions[deed].setText(word)
            if deed not in self._buttons:
                continue
            button = self._buttons[deed]
            button.setText("" if deed in _WORDLESS else word)
            button.setAccessibleName(word)
            button.setToolTip(hint or word)

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        for deed, name in _ICONS.items():
            self._actions[deed].setIcon(self._theme.icon(name))
            if deed in _WORDLESS or deed in (Deed.PAUSE, Deed.CONTINUE):
                self._buttons[deed].setIcon(self._theme.icon(name))

    @Slot()
    def _on_button(self) -> None:
        self.asked.emit(self.sender().property("deed"))

    @Slot()
    def _on_action(self) -> None:
        action = self.sender()
        assert isinstance(action, QAction)
        self.asked.emit(action.data())
