"""The questions the window asks before what cannot be undone. None of them blocks. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from app.i18n import tr
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from core.domain.orders import TradingMode

Buttons = tuple[tuple[str, str, str], ...]


class Questions(QObject):
    """Opens confirm dialogs; the same question is open once at a time.

    Signals:
        flatten_confirmed: halt, cancel and sell everything.
        rearm_confirmed: allow trading again.
        mode_confirmed: trade in this `TradingMode`.
        tray_confirmed: hide to the tray.
        quit_confirmed: end the program.
    """

    flatten_confirmed = Signal()
    rearm_confirmed = Signal()
    mode_confirmed = Signal(object)
    tray_confirmed = Signal()
    quit_confirmed = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._open: dict[str, ConfirmDialog] = {}
        self._mode = TradingMode.PRACTICE

    def ask_flatten(self, holdings: tuple[str, ...]) -> None:
        """Ask whether everything is to be sold."""
        text = tr("Trading halts, every order is cancelled and every position is sold at the market price.")
        buttons = (("cancel", tr("Cancel"), ""), ("flatten", tr("Sell everything"), "danger"))
        self._ask("flatten_dialog", tr("Sell everything?"), text, holdings, buttons)

    def ask_rearm(self) -> None:
        """Ask whether trading may go on."""
        text = tr("Orders may be sent again. Strategies that were paused stay paused until they are started.")
        buttons = (("cancel", tr("Stay halted"), ""), ("rearm", tr("Re-arm"), "primary"))
        stakes = (tr("Drawdown and today's loss are measured anew from then on."),)
        self._ask("rearm_dialog", tr("Allow trading again?"), text, stakes, buttons)

    def ask_mode(self, mode: TradingMode) -> None:
        """Ask whether to trade with the account of another mode."""
        self._mode = mode
        paper = mode is TradingMode.PAPER
        title = tr("Change to paper trading?") if paper else tr("Change to the practice exchange?")
        text = (
            tr("Orders are filled in a simulation against the live market. No keys are used and no real money moves.")
            if paper
            else tr("Orders go to the practice exchange on this computer. No real money moves.")
        )
        stakes = (
            tr("Strategies come along, stopped."),
            tr("Open orders of the present account stay open; it goes on when you come back."),
        )
        buttons = (("cancel", tr("Stay"), ""), ("mode", tr("Change"), "primary"))
        self._ask("mode_dialog", title, text, stakes, buttons)

    def ask_close(self, stakes: tuple[str, ...], *, tray: bool) -> None:
        """Ask whether to leave although something goes on; offers the tray where there is one."""
        hide = (("tray", tr("Minimise to tray"), ""),) if tray else ()
        buttons = (("stay", tr("Stay"), ""), *hide, ("quit", tr("Quit"), "danger"))
        self._ask("close_dialog", tr("Quit Maru?"), tr("Still going on:"), stakes, buttons)

    def close_all(self) -> None:
        """Close what is open, answering "cancel"."""
        for dialog in list(self._open.values()):
            dialog.close()

    def _ask(self, name: str, title: str, text: str, stakes: tuple[str, ...], buttons: Buttons) -> None:
        """The first button is the safe one: Enter and Esc choose it."""
        if name in self._open:
            self._open[name].activateWindow()
            return
        dialog = ConfirmDialog(self._window, name=name, title=title, text=text, stakes=stakes)
        for number, (answer, label, variant) in enumerate(buttons):
            dialog.add_button(answer, label, variant=variant, default=number == 0)
        dialog.answered.connect(self._on_answered)
        self._open[name] = dialog
        dialog.show()

    @Slot(str)
    def _on_answered(self, answer: str) -> None:
        dialog = self.sender()
        if dialog is not None:
            self._open.pop(dialog.objectName(), None)
        match answer:
            case "flatten":
                self.flatten_confirmed.emit()
            case "rearm":
                self.rearm_confirmed.emit()
            case "mode":
                self.mode_confirmed.emit(self._mode)
            case "tray":
                self.tray_confirmed.emit()
            case "quit":
                self.quit_confirmed.emit()
            case _:
                pass
