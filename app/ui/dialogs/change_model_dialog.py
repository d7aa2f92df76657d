"""Choosing another model for a strategy, also while it runs. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QComboBox, QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.flows.model_words import choice_title, offered_verdict
from app.i18n import tr
from app.models.model_choice import ModelChoice
from app.services import StrategyKind
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look
from core.events import StrategyStatus


def fitting_models(status: StrategyStatus, models: tuple[ModelChoice, ...]) -> tuple[ModelChoice, ...]:
    """Return the other models of a strategy's kind, market and bar length."""
    wanted = status.symbol, status.timeframe, status.kind is StrategyKind.AGENT
    others = (choice for choice in models if choice.model_id != status.model_id)
    return tuple(choice for choice in others if (choice.symbol, choice.timeframe, choice.agent) == wanted)


class ChangeModelDialog(QDialog):
    """A list of the models that fit, with what each of them showed.

    Args:
        status: of the strategy.
        models: from `fitting_models`, at least one.

    Signals:
        chosen: the strategy's and the new model's id.
    """

    chosen = Signal(str, str)

    def __init__(self, status: StrategyStatus, models: tuple[ModelChoice, ...], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._strategy_id, self._models = status.strategy_id, models
        self.setObjectName("change_model_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Change the model of {title}", title=status.title))
        self.setMinimumWidth(130 * GRID)
        self.model = QComboBox(self)
        self.model.setObjectName("new_model_choice")
        self.model.setAccessibleName(tr("Model"))
        for choice in models:
            self.model.addItem(choice_title(choice))
        self.verdict = QLabel(self)
        self.verdict.setWordWrap(True)
        hint = QLabel(
            tr(
                "A running strategy keeps its present model until the new one has seen the same bars; then the new one "
                "decides from the next bar on. Its position and orders stay."
            ),
            self,
        )
        hint.setWordWrap(True)
        set_look(hint, "role", "small")
        self.change = QPushButton(tr("Change"), self)
        self.change.setDefault(True)
        set_look(self.change, "variant", "primary")
        self.cancel = QPushButton(tr("Cancel"), self)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addStretch(1)
        buttons.addWidget(self.cancel)
        buttons.addWidget(self.change)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        for widget in (self.model, self.verdict, hint):
            layout.addWidget(widget)
        layout.addStretch(1)
        layout.addLayout(buttons)
        self.model.currentIndexChanged.connect(self._on_model)
        self.change.clicked.connect(self._on_change)
        self.cancel.clicked.connect(self.reject)
        self._on_model()

    @Slot()
    def _on_model(self) -> None:
        choice = self._models[self.model.currentIndex()]
        self.verdict.setText(offered_verdict(choice))
        set_look(self.verdict, "role", "success" if choice.proven else "warning")

    @Slot()
    def _on_change(self) -> None:
        self.chosen.emit(self._strategy_id, self._models[self.model.currentIndex()].model_id)
        self.accept()
