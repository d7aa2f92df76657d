"""The kill switch: one press halts and cancels, a menu also sells, HALTED stays until re-armed. GUI thread only.

The button keeps no state of its own that could stop it: a press always emits, whatever the models show.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QPushButton, QWidget

from app.flows.sentence_text import local_text
from app.i18n import tr
from app.theme import SPACE_XS, ThemeManager, set_look
from core.domain.orders import TradingState


class KillSwitch(QWidget):
    """The red button, its menu and the HALTED badge with the way back.

    Signals:
        kill_requested: halt and cancel all orders, now.
        flatten_requested: the same and sell everything; the receiver asks first.
        rearm_requested: allow trading again; the receiver asks first.
    """

    kill_requested = Signal()
    flatten_requested = Signal()
    rearm_requested = Signal()

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._state = TradingState.ACTIVE
        self._reason = ""
        self.setObjectName("kill_switch")
        self.halted = QLabel(self)
        self.halted.setObjectName("halted_badge")
        set_look(self.halted, "role", "halted")
        self.rearm = QPushButton(self)
        self.rearm.setObjectName("rearm_button")
        self.kill = QPushButton(self)
        self.kill.setObjectName("kill_button")
        set_look(self.kill, "variant", "danger")
        self.more = QPushButton(self)
        self.more.setObjectName("kill_menu_button")
        set_look(self.more, "variant", "danger")
        for button in (self.kill, self.more, self.rearm):
            # The first widget of a window gets the focus: a stray space bar must not halt trading. Ctrl+Shift+K and the
            # menu are there for those who use no mouse.
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._menu = QMenu(self)
        self._only = self._menu.addAction("")
        self._flatten = self._menu.addAction("")
        self._menu.setToolTipsVisible(True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE_XS)
        for widget in (self.halted, self.rearm, self.kill, self.more):
            layout.addWidget(widget)
        self.kill.clicked.connect(self._on_kill)
        self.more.clicked.connect(self._on_more)
        self._only.triggered.connect(self._on_kill)
        self._flatten.triggered.connect(self.flatten_requested)
        self.rearm.clicked.connect(self.rearm_requested)
        theme.changed.connect(self.refresh_look)
        self.refresh_look()
        self.set_state(TradingState.ACTIVE, "")

    @property
    def menu(self) -> QMenu:
        """The menu of the arrow button."""
        return self._menu

    def set_state(self, state: TradingState, reason: str) -> None:
        """Show what the executor says it may do."""
        self._state, self._reason = state, reason
        stopped = state is not TradingState.ACTIVE
        self.halted.setVisible(stopped)
        self.rearm.setVisible(stopped)
        self.retranslate()

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.kill.setText(tr("STOP"))
        self.kill.setToolTip(tr("Kill switch: halts trading and cancels every order, at once (Ctrl+Shift+K)"))
        self.kill.setAccessibleName(tr("STOP: halt trading and cancel every order"))
        self.more.setAccessibleName(tr("More ways to stop trading"))
        self.more.setToolTip(tr("More ways to stop trading"))
        self._only.setText(tr("Stop trading"))
        self._only.setToolTip(tr("Halt and cancel every order, at once"))
        self._flatten.setText(tr("Stop and sell everything…"))
        self._flatten.setToolTip(tr("Halt, cancel and sell every position"))
        self.rearm.setText(tr("Re-arm…"))
        self.rearm.setToolTip(tr("Allow trading again"))
        word = tr("HALTED") if self._state is TradingState.HALTED else tr("REDUCING ONLY")
        self.halted.setText(word)
        self.halted.setToolTip(local_text(self._reason))

    @Slot()
    def refresh_look(self) -> None:
        """Draw the icons on the red of the present theme."""
        self.kill.setIcon(self._theme.icon("octagon-x", self._theme.palette.background))
        self.more.setIcon(self._theme.icon("chevron-down", self._theme.palette.background))
        self.halted.ensurePolished()

    @Slot()
    def _on_kill(self) -> None:
        self.kill_requested.emit()

    @Slot()
    def _on_more(self) -> None:
        self._menu.popup(self.more.mapToGlobal(self.more.rect().bottomLeft()))
