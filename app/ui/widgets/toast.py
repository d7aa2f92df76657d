"""Short messages in the corner of the window. They are children, not windows: they can never take the focus.

GUI thread only.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.models.notifications_model import SEVERITY_TONE, NoticeRow
from app.theme import GRID, ICON_SIZE_M, SPACE_L, SPACE_M, SPACE_S, SPACE_XS, ThemeManager, set_look
from app.ui.widgets.fit import fit_height
from core.events import Severity

TOAST_WIDTH = 72 * GRID  # not wider than the order ticket, below whose fields they appear
MAX_TOASTS = 3
_SHOWN_MS = {Severity.INFO: 4_000, Severity.SUCCESS: 4_000, Severity.WARNING: 7_000, Severity.ERROR: 10_000}
_READ_MS = 30  # for each character of the text: a whole verdict takes longer than a sentence
_ICON = {
    Severity.INFO: "info",
    Severity.SUCCESS: "circle-check",
    Severity.WARNING: "triangle-alert",
    Severity.ERROR: "circle-alert",
}


class Toast(QFrame):
    """One message; a click closes it.

    Signals:
        closed: time is up or it was clicked; carries the toast.
        clicked: it was clicked.
    """

    closed = Signal(object)
    clicked = Signal()

    def __init__(self, row: NoticeRow, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(parent)
        self.row = row
        self._theme = theme
        self.setObjectName("toast")
        self.setProperty("card", "true")
        self.setFixedWidth(TOAST_WIDTH)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._picture = QLabel(self)
        self._title = QLabel(self)
        self._title.setObjectName("toast_title")
        self._title.setWordWrap(True)
        set_look(self._title, "role", "strong")
        self._text = QLabel(self)
        self._text.setWordWrap(True)
        set_look(self._text, "role", "muted")
        texts = QVBoxLayout()
        texts.setSpacing(SPACE_XS)
        texts.addWidget(self._title)
        texts.addWidget(self._text)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(SPACE_M, SPACE_S, SPACE_M, SPACE_S)
        layout.setSpacing(SPACE_S)
        layout.addWidget(self._picture, 0, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(texts, 1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_timeout)
        self.show_row(row)

    def show_row(self, row: NoticeRow) -> None:
        """Show a notice and start its time anew."""
        self.row = row
        notice = row.notice
        colour = getattr(self._theme.palette, SEVERITY_TONE[notice.severity].value)
        icon = self._theme.icon(_ICON[notice.severity], colour)
        self._picture.setPixmap(icon.pixmap(ICON_SIZE_M, ICON_SIZE_M))
        self.retranslate()
        self._timer.start(_SHOWN_MS[notice.severity] + _READ_MS * len(notice.text))

    def retranslate(self) -> None:
        """Write the notice in the present language; its time goes on."""
        self._title.setText(self.row.title())
        text = self.row.text()
        self._text.setText(text)
        self._text.setVisible(bool(text))

    def dismiss(self) -> None:
        """Stop the clock and report it is gone."""
        self._timer.stop()
        self.closed.emit(self)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        event.accept()
        self.clicked.emit()
        self.dismiss()

    @Slot()
    def _on_timeout(self) -> None:
        self.closed.emit(self)


def _says_more(row: NoticeRow, than: NoticeRow) -> bool:
    new, old = row.notice, than.notice
    return (new.severity, new.title) == (old.severity, old.title) and new.text.startswith(old.text)


class ToastStack(QObject):
    """Keeps at most three toasts in the lower right corner of a widget: tables, book and kill switch stay in view.

    Args:
        keep_clear: part of the host that no toast may cover; where it stands in the corner, they stand above it.

    Signals:
        clicked: one of them was clicked.
    """

    clicked = Signal()

    def __init__(self, theme: ThemeManager, host: QWidget, keep_clear: QWidget | None = None) -> None:
        super().__init__(host)
        self._keep_clear = keep_clear
        self._theme = theme
        self._host = host
        self._toasts: list[Toast] = []
        host.installEventFilter(self)

    @property
    def toasts(self) -> list[Toast]:
        """Those on screen, oldest first."""
        return list(self._toasts)

    def show_notice(self, row: NoticeRow) -> None:
        """Show a notice; a repetition, or the same with more to say, changes the toast that is still there."""
        for toast in self._toasts:
            if toast.row.number == row.number or _says_more(row, toast.row):
                toast.show_row(row)
                self._arrange()
                return
        while len(self._toasts) >= MAX_TOASTS:
            self._toasts[0].dismiss()
        toast = Toast(row, self._theme, self._host)
        toast.closed.connect(self._on_closed)
        toast.clicked.connect(self.clicked)
        self._toasts.append(toast)
        self._arrange()
        toast.show()

    def retranslate(self) -> None:
        """Write those on screen in the present language."""
        for toast in self._toasts:
            toast.retranslate()
        self._arrange()

    def clear(self) -> None:
        """Remove every toast."""
        for toast in list(self._toasts):
            toast.dismiss()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._arrange()
        return False

    def _arrange(self) -> None:
        for toast in self._toasts:
            fit_height(toast, TOAST_WIDTH)
        bottom = self._bottom(sum(toast.height() + SPACE_S for toast in self._toasts))
        for toast in reversed(self._toasts):
            bottom -= toast.height()
            toast.move(self._host.width() - TOAST_WIDTH - SPACE_S, bottom)
            toast.raise_()
            bottom -= SPACE_S

    def _bottom(self, height: int) -> int:
        bottom = self._host.height() - SPACE_L - 2 * SPACE_L  # above the status bar
        clear = self._keep_clear
        if clear is None or not clear.isVisible() or clear.window() is not self._host:
            return bottom
        place = QRect(clear.mapTo(self._host, QPoint()), clear.size())
        stack = QRect(self._host.width() - TOAST_WIDTH - SPACE_S, bottom - height, TOAST_WIDTH, height)
        return place.top() - SPACE_S if place.intersects(stack) else bottom

    @Slot(object)
    def _on_closed(self, toast: Toast) -> None:
        if toast in self._toasts:
            self._toasts.remove(toast)
            toast.hide()
            toast.deleteLater()
            self._arrange()
