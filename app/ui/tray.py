"""The icon in the system tray: mode at a glance, kill switch at hand, messages. GUI thread only.

Many desktops have no tray; then nothing here shows and the window must never hide. `available` asks the system each
time, for a tray may vanish while the program runs.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, QRectF, QSize, Qt, QTimer, Signal, SignalInstance, Slot
from PySide6.QtGui import QAction, QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from app.flows.notice_text import notice_text
from app.i18n import mark, tr
from app.language import LanguageManager
from app.notifications import FILL_BATCH_NS, FillBatch, Notification
from app.theme import ThemeManager, pixmap, readable_on
from core.clock import NS_PER_MS, Clock
from core.domain.fills import Fill
from core.domain.orders import TradingMode
from core.events import Notice, Severity

MODE_TEXT = {
    TradingMode.PRACTICE: mark("PRACTICE"),
    TradingMode.PAPER: mark("PAPER"),
    TradingMode.LIVE: mark("LIVE"),
}
_ICON_SIZES = (16, 24, 32, 48, 64)  # px, as trays ask for
_MESSAGE_MS = 8_000
_MESSAGE_ICON = {
    Severity.INFO: QSystemTrayIcon.MessageIcon.Information,
    Severity.SUCCESS: QSystemTrayIcon.MessageIcon.Information,
    Severity.WARNING: QSystemTrayIcon.MessageIcon.Warning,
    Severity.ERROR: QSystemTrayIcon.MessageIcon.Critical,
}


def mode_icon(theme: ThemeManager, mode: TradingMode) -> QIcon:
    """Return the program's icon in the colour of a mode; also the window's icon."""
    colour = getattr(theme.palette, mode.value)
    result = QIcon()
    for size in _ICON_SIZES:
        picture = QPixmap(QSize(size, size))
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colour))
        painter.drawRoundedRect(QRectF(0, 0, size, size), size / 4, size / 4)
        inner = round(size * 0.75)
        painter.drawPixmap(
            (size - inner) // 2, (size - inner) // 2, pixmap("maru", readable_on(colour, theme.palette), inner)
        )
        painter.end()
        result.addPixmap(picture)
    return result


class Tray(QObject):
    """The tray icon with its menu.

    Signals:
        show_requested: the window is wanted.
        kill_requested: halt and cancel everything; positions stay.
        quit_requested: end the program.
    """

    show_requested = Signal()
    kill_requested = Signal()
    quit_requested = Signal()

    def __init__(
        self, theme: ThemeManager, language: LanguageManager, clock: Clock, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._theme = theme
        self._mode = TradingMode.PRACTICE
        self._halted = False
        self._fills = FillBatch(clock)
        self._menu = QMenu()
        self._menu.setObjectName("tray-menu")
        self._show = self._action("tray-show", self.show_requested)
        self._kill = self._action("tray-kill", self.kill_requested)
        self._menu.addSeparator()
        self._quit = self._action("tray-quit", self.quit_requested)
        self._icon = QSystemTrayIcon(self)
        self._icon.setObjectName("tray-icon")
        self._icon.setContextMenu(self._menu)
        self._icon.activated.connect(self._on_activated)
        self._icon.messageClicked.connect(self.show_requested)
        self._batch_timer = QTimer(self)
        self._batch_timer.setSingleShot(True)
        self._batch_timer.setInterval(FILL_BATCH_NS // NS_PER_MS)
        self._batch_timer.timeout.connect(self._send_fills)
        theme.changed.connect(self.redraw)
        language.changed.connect(self.retranslate)
        self.redraw()
        self.retranslate()

    @staticmethod
    def available() -> bool:
        """Whether there is a tray right now; `QSystemTrayIcon.isVisible` says yes even where there is none."""
        return QSystemTrayIcon.isSystemTrayAvailable()

    def start(self) -> None:
        """Show the icon where there is a tray."""
        if self.available():
            self._icon.show()

    def close(self) -> None:
        """Remove the icon and its menu; idempotent."""
        self._batch_timer.stop()
        self._icon.hide()
        self._menu.close()
        self._menu.deleteLater()

    @Slot(object)
    def set_mode(self, mode: TradingMode) -> None:
        """Show the trading mode, as the executor reports it."""
        if mode is not self._mode:
            self._mode = mode
            self.redraw()
            self.retranslate()

    @Slot(bool)
    def set_halted(self, halted: bool) -> None:
        """Show that trading is halted: the kill switch has done its work."""
        self._halted = halted
        self._kill.setEnabled(not halted)
        self.retranslate()

    @Slot(object)
    def add_fill(self, fill: Fill) -> None:
        """Announce a fill, together with those of the next seconds."""
        self._fills.add(fill)
        if not self._batch_timer.isActive():
            self._batch_timer.start()

    def notify(self, notification: Notification) -> None:
        """Pop up a notice that may interrupt; a sink of `NotificationManager`."""
        if notification.loud:
            self.show_message(notification.notice)

    def show_message(self, notice: Notice) -> None:
        """Pop up a message where there is a tray; the notification list has it in any case."""
        if self.available() and QSystemTrayIcon.supportsMessages():
            title, text = notice_text(notice.title), notice_text(notice.text)
            self._icon.showMessage(title, text, _MESSAGE_ICON[notice.severity], _MESSAGE_MS)

    @Slot()
    def redraw(self) -> None:
        """Draw the icon in the colours of mode and theme."""
        self._icon.setIcon(mode_icon(self._theme, self._mode))
        self._show.setIcon(self._theme.icon("layout-dashboard"))
        self._kill.setIcon(self._theme.icon("octagon-x", self._theme.palette.danger))
        self._quit.setIcon(self._theme.icon("power"))

    @Slot()
    def retranslate(self) -> None:
        """Set every text again."""
        self._show.setText(tr("Show window"))
        self._kill.setText(tr("Trading is halted") if self._halted else tr("Stop trading"))
        self._quit.setText(tr("Quit"))
        state = tr("{mode}, halted", mode=tr(MODE_TEXT[self._mode])) if self._halted else tr(MODE_TEXT[self._mode])
        self._icon.setToolTip(f"Maru · {state}")

    def _action(self, name: str, signal: SignalInstance) -> QAction:
        action = self._menu.addAction("")
        action.setObjectName(name)
        action.triggered.connect(signal)
        return action

    @Slot(QSystemTrayIcon.ActivationReason)
    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in (QSystemTrayIcon.ActivationReason.Trigger, QSystemTrayIcon.ActivationReason.DoubleClick):
            self.show_requested.emit()

    @Slot()
    def _send_fills(self) -> None:
        notice = self._fills.take()
        if notice is not None:
            self.show_message(notice)
