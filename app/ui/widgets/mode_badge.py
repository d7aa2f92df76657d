"""Which money is moved: a badge with the word, and a frame around the window while it is real. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QLabel, QWidget

from app.i18n import mark, tr
from app.theme import GRID, ThemeManager, set_look
from core.domain.orders import TradingMode

MODE_WORD = {
    TradingMode.PRACTICE: mark("PRACTICE"),
    TradingMode.PAPER: mark("PAPER"),
    TradingMode.LIVE: mark("LIVE"),
}
_MEANING = {
    TradingMode.PRACTICE: mark("Practice: orders go to the practice exchange on this computer. No real money."),
    TradingMode.PAPER: mark("Paper: live market data, simulated fills. No real money."),
    TradingMode.LIVE: mark("LIVE: orders move real money."),
}


def mode_word(mode: TradingMode) -> str:
    """Return the word of a mode in the present language."""
    return tr(MODE_WORD[mode])


class ModeBadge(QLabel):
    """The mode as the executor reports it; empty and hidden before it has."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._mode: TradingMode | None = None
        self.setObjectName("mode_badge")
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        # A label gets its padding only from a rule that holds when the style first looks at it.
        set_look(self, "mode", TradingMode.PRACTICE.value)
        self.hide()

    @property
    def mode(self) -> TradingMode | None:
        """The mode shown; None before the executor said one."""
        return self._mode

    def set_mode(self, mode: TradingMode) -> None:
        """Show a mode."""
        self._mode = mode
        set_look(self, "mode", mode.value)
        self.retranslate()
        self.show()

    def retranslate(self) -> None:
        """Write the word in the present language."""
        if self._mode is not None:
            self.setText(mode_word(self._mode))
            self.setToolTip(tr(_MEANING[self._mode]))
            self.setAccessibleName(tr(_MEANING[self._mode]))


class ModeFrame(QWidget):
    """A border over the whole window while it is LIVE; lets every click through."""

    WIDTH = GRID - 1

    def __init__(self, theme: ThemeManager, window: QWidget) -> None:
        super().__init__(window)
        self._theme = theme
        self._window = window
        self.setObjectName("mode_frame")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        window.installEventFilter(self)
        theme.changed.connect(self._on_theme_changed)
        self.hide()

    def set_mode(self, mode: TradingMode) -> None:
        """Frame the window for LIVE, else not; what is inside moves out of the frame's way."""
        live = mode is TradingMode.LIVE
        self.setVisible(live)
        inset = self.WIDTH if live else 0
        self._window.setContentsMargins(inset, inset, inset, inset)
        self._fit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show, QEvent.Type.ChildAdded):
            self._fit()
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        pen = QPen(QColor(self._theme.palette.live), self.WIDTH)
        pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
        painter.setPen(pen)
        half = self.WIDTH // 2
        painter.drawRect(self.rect().adjusted(half, half, -half - 1, -half - 1))
        painter.end()

    def _fit(self) -> None:
        window = self.parentWidget()
        if window is not None and self.isVisible():
            self.setGeometry(window.rect())
            self.raise_()

    @Slot()
    def _on_theme_changed(self) -> None:
        self.update()
