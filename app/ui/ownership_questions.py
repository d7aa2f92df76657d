"""Asks before a market changes hands and passes the answer on. GUI thread only."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QCheckBox, QWidget

from app.i18n import format_exact, tr
from app.models.hub import WindowModels
from app.services import TradingCommands
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from core.domain.orders import MANUAL_OWNER
from core.domain.positions import Ownership


class OwnershipQuestions(QObject):
    """Opens the dialogs of taking over, handing back, leaving and sharing a market; one is open at a time."""

    def __init__(self, window: QWidget, trading: TradingCommands, models: WindowModels) -> None:
        super().__init__(window)
        self._window = window
        self._trading = trading
        self._models = models
        self._open: ConfirmDialog | None = None

    @Slot(str)
    def ask_take_over(self, symbol: str) -> None:
        """Ask whether the person takes a market over, and the strategies' positions with it."""
        titles = tuple(status.title for status in self._models.strategies.active(symbol))
        text = tr(
            "Its strategies stop and their working orders are cancelled; until you hand it back only you trade "
            "{symbol}. Their positions stay in their books unless you move them.",
            symbol=symbol,
        )
        held = [
            f"{self._models.names.title(p.owner)}: {format_exact(p.quantity)} {symbol.partition('/')[0]}"
            for p in self._models.positions.held()
            if p.symbol == symbol and p.owner != MANUAL_OWNER
        ]
        dialog = self._ask("take_over_dialog", tr("Take {symbol} over?", symbol=symbol), text, titles)
        if dialog is None:
            return
        move = (
            self._box(dialog, tr("Move to me at what it cost: {positions}", positions=", ".join(held)))
            if held
            else None
        )
        self._finish(dialog, tr("Cancel"), tr("Take over"))
        dialog.answered.connect(partial(self._on_take_over, symbol, move))

    @Slot(str)
    def ask_hand_back(self, symbol: str) -> None:
        """Ask whether the strategies of a market go on, and with whose position."""
        paused = self._models.positions.ownerships.paused(symbol)
        if paused:
            text = tr("These strategies start again and manage the market from its present position:")
        else:
            text = tr("Strategies may trade this market again. None starts by itself.")
        titles = tuple(self._models.names.title(strategy_id) for strategy_id in paused)
        dialog = self._ask("handback_dialog", tr("Hand back to the strategies?"), text, titles)
        if dialog is None:
            return
        owned = self._models.positions.owned(symbol)
        mine, receiver = owned.get(MANUAL_OWNER), paused[0] if len(paused) == 1 else ""
        move = None
        if mine and receiver:
            text = tr("Move my position of {quantity} to it at what it cost", quantity=format_exact(mine))
            move = self._box(dialog, text)
            # A strategy that finds nothing of its own buys anew, beside what it was taken from.
            move.setChecked(not owned.get(receiver))
        self._finish(dialog, tr("Stay manual"), tr("Hand back"))
        dialog.answered.connect(partial(self._on_hand_back, symbol, receiver, move))

    @Slot(str)
    def ask_leave(self, symbol: str) -> None:
        """Ask whether a market is left to its strategies alone."""
        text = tr(
            "Only strategies open positions in this market then. You can still reduce positions and take it over."
        )
        self._ask_change("leave_dialog", symbol, tr("Leave {symbol} to its strategies?", symbol=symbol), text)

    @Slot(str)
    def ask_share(self, symbol: str) -> None:
        """Ask whether a market left to its strategies is shared again."""
        text = tr("You and the strategies trade this market side by side, each with a position of its own.")
        self._ask_change("share_dialog", symbol, tr("Share {symbol} with its strategies?", symbol=symbol), text)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _ask_change(self, name: str, symbol: str, title: str, text: str) -> None:
        dialog = self._ask(name, title, text, ())
        if dialog is not None:
            to = Ownership.BOT if name == "leave_dialog" else Ownership.SHARED
            self._finish(dialog, tr("Cancel"), tr("Leave") if to is Ownership.BOT else tr("Share"))
            dialog.answered.connect(partial(self._on_change, symbol, to))

    def _ask(self, name: str, title: str, text: str, stakes: tuple[str, ...]) -> ConfirmDialog | None:
        if self._open is not None:
            self._open.activateWindow()
            return None
        self._open = ConfirmDialog(self._window, name=name, title=title, text=text, stakes=stakes)
        return self._open

    def _box(self, dialog: ConfirmDialog, text: str) -> QCheckBox:
        box = QCheckBox(text, dialog)
        box.setObjectName("move")
        dialog.insert_widget(box)
        return box

    def _finish(self, dialog: ConfirmDialog, safe: str, deed: str) -> None:
        """Add the buttons; the safe one comes first: Enter and Esc choose it."""
        dialog.add_button("cancel", safe, default=True)
        dialog.add_button("yes", deed, variant="primary")
        dialog.show()

    def _on_take_over(self, symbol: str, move: QCheckBox | None, answer: str) -> None:
        self._open = None
        if answer == "yes":
            self._trading.take_over(symbol, move is not None and move.isChecked())

    def _on_hand_back(self, symbol: str, receiver: str, move: QCheckBox | None, answer: str) -> None:
        self._open = None
        if answer == "yes":
            moved = move is not None and move.isChecked()
            self._trading.hand_back(symbol, Ownership.SHARED, receiver if moved else "")

    def _on_change(self, symbol: str, to: Ownership, answer: str) -> None:
        self._open = None
        if answer == "yes":
            self._trading.hand_back(symbol, to, "")
