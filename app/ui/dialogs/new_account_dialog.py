"""Beginning a new account of play money: what it means, and what it begins with. GUI thread only."""

from __future__ import annotations

from decimal import Decimal

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QWidget

from app.i18n import tr
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.widgets.decimal_edit import DecimalField

OPENING = Decimal(10_000)
CENT = Decimal("0.01")
MOST = Decimal(10**9)  # what the practice exchange allows
QUOTE = "USDT"


class NewAccountDialog(ConfirmDialog):
    """Asks for the opening balance; the safe button is the first.

    Signals:
        confirmed: the opening balance (`Decimal`); begin anew.
    """

    confirmed = Signal(object)

    def __init__(self, parent: QWidget | None) -> None:
        super().__init__(
            parent,
            name="new_account_dialog",
            title=tr("Begin a new account?"),
            text=tr("It begins with this amount and without orders, fills or positions:"),
            stakes=(
                tr("Open orders end with the old account."),
                tr("Strategies stop and come along, stopped."),
                tr("The old books are kept in the data folder; nothing is deleted."),
            ),
        )
        self.balance = DecimalField(parent=self, round_down=True)
        self.balance.edit.setObjectName("opening_balance")
        self.balance.edit.setAccessibleName(tr("Opening balance"))
        self.balance.edit.set_step(CENT)
        self.balance.edit.set_value(OPENING)
        self.balance.set_unit(QUOTE)
        self.insert_widget(self.balance)
        self.add_button("cancel", tr("Keep the present one"), default=True)
        self._begin = self.add_button("begin", tr("Begin anew"), variant="danger")
        self.balance.edit.value_changed.connect(self._on_changed)
        self.answered.connect(self._on_answered)

    @Slot()
    def _on_changed(self) -> None:
        amount = self.balance.edit.value()
        self._begin.setEnabled(amount is not None and 0 < amount <= MOST)

    @Slot(str)
    def _on_answered(self, answer: str) -> None:
        amount = self.balance.edit.value()
        if answer == "begin" and amount is not None:
            self.confirmed.emit(amount)
