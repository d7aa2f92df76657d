"""Choosing a model, a capital and thresholds for a new strategy. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.flows.model_words import choice_title, offered_verdict
from app.flows.origin_text import market_title
from app.i18n import format_number, tr
from app.models.model_choice import ModelChoice
from app.services import StrategyKind, StrategySpec
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look
from app.ui.widgets.decimal_edit import DecimalField

DEFAULT_CAPITAL = Decimal(1000)
DEFAULT_ENTRY_Z, DEFAULT_EXIT_Z = Decimal("0.5"), Decimal("0.0")
THRESHOLD_STEP = Decimal("0.1")


def strategy_id_for(choice: ModelChoice, taken: Collection[str]) -> str:
    """Return a stable, readable id that is not yet taken."""
    stem = f"{choice.symbol.replace('/', '').lower()}-{choice.timeframe}-{choice.model_id[:8]}"
    number = 1
    while (candidate := stem if number == 1 else f"{stem}-{number}") in taken:
        number += 1
    return candidate


def _hint(choice: ModelChoice) -> str:
    if choice.agent:
        return tr("An agent decides how much of its own account it holds; that account begins with the capital.")
    return tr("Strength is the forecast divided by its usual spread: 0.5 is a mild view, 2 a strong one.")


class AddStrategyDialog(QDialog):
    """A form for a `StrategySpec`; the button works once everything is readable and possible.

    Args:
        models: what can be chosen; the form begins with the first.
        taken: titles of the strategies there are, by id.
        equity: what the account holds in a currency, None where nobody knows; asked again with every change.

    Signals:
        accepted_spec: the `StrategySpec` entered.
    """

    accepted_spec = Signal(object)

    def __init__(
        self,
        models: tuple[ModelChoice, ...],
        taken: Mapping[str, str],
        equity: Callable[[str], Decimal | None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._models = models
        self._taken = dict(taken)
        self._equity = equity
        self.setObjectName("add_strategy_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Add strategy"))
        self.setMinimumWidth(146 * GRID)
        self._form = QFormLayout()
        self.model = QComboBox(self)
        self.model.setObjectName("model_choice")
        for choice in models:
            market = market_title(choice.symbol, choice.timeframe, choice.origin)
            self.model.addItem(f"{market} · {choice_title(choice)}")
        self.verdict = QLabel(self)
        self.verdict.setWordWrap(True)
        self.name = QLineEdit(self)
        self.name.setObjectName("strategy_title")
        self.capital = DecimalField(parent=self, free=True)
        self.capital.edit.setObjectName("strategy_capital")
        self.entry = self._threshold("strategy_entry_z", DEFAULT_ENTRY_Z)
        self.exit = self._threshold("strategy_exit_z", DEFAULT_EXIT_Z)
        self.hint = QLabel(self)
        self.problem = QLabel(self)
        self.problem.setWordWrap(True)
        set_look(self.problem, "role", "warning")
        self.add = QPushButton(tr("Add strategy"), self)
        self.add.setObjectName("strategy_add")
        self.add.setDefault(True)
        set_look(self.add, "variant", "primary")
        self.cancel = QPushButton(tr("Cancel"), self)
        self._lay_out()
        self.capital.edit.set_step(Decimal(10))
        self.capital.edit.set_value(DEFAULT_CAPITAL)
        self.model.currentIndexChanged.connect(self._on_model)
        self.name.textChanged.connect(self._on_changed)
        for field in (self.capital, self.entry, self.exit):
            field.edit.value_changed.connect(self._on_changed)
        self.add.clicked.connect(self._on_add)
        self.cancel.clicked.connect(self.reject)
        self._on_model()

    def _threshold(self, name: str, value: Decimal) -> DecimalField:
        field = DecimalField(parent=self, free=True)
        field.edit.setObjectName(name)
        field.edit.set_step(THRESHOLD_STEP)
        field.edit.set_value(value)
        return field

    def _lay_out(self) -> None:
        form = self._form
        form.setHorizontalSpacing(SPACE_M)
        form.setVerticalSpacing(SPACE_S)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        form.addRow(tr("Model"), self.model)
        form.addRow("", self.verdict)
        form.addRow(tr("Name"), self.name)
        form.addRow(tr("Capital"), self.capital)
        form.addRow(tr("Enter at strength"), self.entry)
        form.addRow(tr("Leave at strength"), self.exit)
        self.hint.setWordWrap(True)
        set_look(self.hint, "role", "small")
        form.addRow("", self.hint)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addWidget(self.problem, 1)
        buttons.addWidget(self.cancel)
        buttons.addWidget(self.add)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        layout.addLayout(form)
        layout.addStretch(1)
        layout.addLayout(buttons)

    def spec(self) -> StrategySpec | None:
        """Return what is entered, None while something is missing or wrong."""
        choice = self._choice()
        if choice is None or self._complaint():
            return None
        capital, (entry, leave) = self.capital.edit.value(), self._thresholds(choice)
        if capital is None or entry is None or leave is None:
            return None
        return StrategySpec(
            strategy_id=strategy_id_for(choice, self._taken),
            title=self.name.text().strip(),
            symbol=choice.symbol,
            timeframe=choice.timeframe,
            model_id=choice.model_id,
            capital=capital,
            entry_z=float(entry),
            exit_z=float(leave),
            kind=StrategyKind.AGENT if choice.agent else StrategyKind.MODEL,
        )

    def _choice(self) -> ModelChoice | None:
        position = self.model.currentIndex()
        return self._models[position] if 0 <= position < len(self._models) else None

    def _thresholds(self, choice: ModelChoice | None) -> tuple[Decimal | None, Decimal | None]:
        """Return where a forecaster enters and leaves; an agent has none, whatever stands in the hidden fields."""
        if choice is not None and choice.agent:
            return DEFAULT_ENTRY_Z, DEFAULT_EXIT_Z
        return self.entry.edit.value(), self.exit.edit.value()

    def _complaint(self) -> str:
        (entry, leave), name = self._thresholds(self._choice()), self.name.text().strip()
        if not name:
            return tr("Give it a name.")
        if self._is_taken(name):
            return tr("There is a strategy with this name already. Give it another one.")
        if not self.capital.edit.value():
            return tr("Enter a capital above zero.")
        if too_much := self._more_than_there_is():
            return too_much
        if entry is None or leave is None:
            return tr("Enter both strengths.")
        if leave > entry:
            return tr("The strength to leave must not be above the one to enter.")
        return ""

    def _more_than_there_is(self) -> str:
        """Every order of a strategy with more capital than the account holds would be denied, one by one."""
        choice, capital = self._choice(), self.capital.edit.value()
        quote = "" if choice is None else choice.symbol.partition("/")[2]
        equity = self._equity(quote)
        if capital is None or equity is None or capital <= equity:
            return ""
        values = {"equity": format_number(equity, 2), "quote": quote}
        return tr("The whole account is worth {equity} {quote}; a strategy cannot commit more.", **values)

    def _is_taken(self, name: str) -> bool:
        return name.casefold() in {title.strip().casefold() for title in self._taken.values()}

    def _free_name(self, stem: str) -> str:
        number = 1
        while self._is_taken(name := stem if number == 1 else f"{stem} ({number})"):
            number += 1
        return name

    @Slot()
    def _on_model(self) -> None:
        choice = self._choice()
        if choice is not None:
            self.verdict.setText(offered_verdict(choice))
            set_look(self.verdict, "role", "success" if choice.proven else "warning")
            self.capital.set_unit(choice.symbol.partition("/")[2])
            self.name.setText(self._free_name(f"{choice.symbol} {choice.timeframe}"))
            for threshold in (self.entry, self.exit):
                self._form.setRowVisible(threshold, not choice.agent)
            self.hint.setText(_hint(choice))
        self._on_changed()

    @Slot()
    def _on_changed(self) -> None:
        complaint = self._complaint()
        self.problem.setText(complaint)
        self.add.setEnabled(not complaint)

    @Slot()
    def _on_add(self) -> None:
        spec = self.spec()
        if spec is not None:
            self.accepted_spec.emit(spec)
            self.accept()
