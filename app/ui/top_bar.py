"""The tool bar: account, mode and the kill switch. GUI thread only."""

from __future__ import annotations

from decimal import Decimal

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QToolBar, QWidget

from app.i18n import MISSING, format_number, tr
from app.models.format import signed
from app.theme import FONT_SIZE_M, SPACE_L, SPACE_M, SPACE_XS, ThemeManager, number_font, set_look
from app.ui.widgets.kill_button import KillSwitch
from app.ui.widgets.mode_badge import ModeBadge


class TopBar(QToolBar):
    """Always visible; cannot be moved away or closed.

    Attributes:
        kill_switch: the red button.
        badge: the mode.
    """

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._equity: Decimal | None = None
        self._profit: Decimal | None = None
        self._currency = ""
        self.setObjectName("top_bar")
        self.setMovable(False)
        self.setFloatable(False)
        # The kill switch lives here: the bar has no menu that could hide it.
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        # One widget for all: a bar that is too narrow would move single ones, the kill switch first, into a menu.
        content = QWidget(self)
        row = QHBoxLayout(content)
        row.setContentsMargins(SPACE_XS, 0, 0, 0)
        row.setSpacing(SPACE_M)
        self._captions = {name: QLabel(content) for name in ("equity", "profit")}
        self._figures = {name: QLabel(MISSING, content) for name in ("equity", "profit")}
        for name, figure in self._figures.items():
            set_look(self._captions[name], "role", "muted")
            figure.setObjectName(f"account_{name}")
            figure.setFont(number_font(FONT_SIZE_M, bold=True))
            row.addWidget(self._captions[name])
            row.addWidget(figure)
            row.addSpacing(SPACE_L)
        row.addStretch(1)
        self.badge = ModeBadge(content)
        self.kill_switch = KillSwitch(theme, content)
        row.addWidget(self.badge)
        row.addWidget(self.kill_switch)
        self.addWidget(content)
        theme.changed.connect(self._on_theme_changed)
        self.retranslate()

    def set_account(self, equity: Decimal | None, profit: Decimal | None, currency: str) -> None:
        """Show the account's worth and the profit of all positions, both in `currency`; None while unknown."""
        if (equity, profit, currency) != (self._equity, self._profit, self._currency):
            self._equity, self._profit, self._currency = equity, profit, currency
            self._write_figures()

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.setWindowTitle(tr("Main bar"))
        self._captions["equity"].setText(tr("Equity"))
        self._captions["profit"].setText(tr("PnL"))
        self._figures["equity"].setToolTip(tr("Everything the account holds, at the last prices"))
        self._figures["profit"].setToolTip(tr("Realised and open profit of all positions, after fees"))
        self.badge.retranslate()
        self.kill_switch.retranslate()
        self._write_figures()

    def _write_figures(self) -> None:
        equity = MISSING if self._equity is None else f"{format_number(self._equity, 2)} {self._currency}"
        self._figures["equity"].setText(equity)
        self._figures["profit"].setText(MISSING if self._profit is None else signed(self._profit))
        profit = self._profit or Decimal(0)
        set_look(self._figures["profit"], "role", "up" if profit > 0 else "down" if profit < 0 else "muted")

    @Slot()
    def _on_theme_changed(self) -> None:
        self._write_figures()
