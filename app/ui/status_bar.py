"""The status bar: links, delays and the mode, each as icon and word. GUI thread only."""

from __future__ import annotations

from collections import deque

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QStatusBar, QWidget

from app.flows.sentence_text import local_text
from app.i18n import MISSING, mark, tr
from app.models.format import age, milliseconds
from app.theme import FONT_SIZE_S, ICON_SIZE_S, SPACE_M, SPACE_S, SPACE_XS, ThemeManager, number_font, set_look
from app.ui.widgets.mode_badge import mode_word
from core.clock import NS_PER_S
from core.domain.orders import TradingMode
from core.events import ConnectionState, ConnectionStatus

STALE_NS = 10 * NS_PER_S
CLOCK_LIMIT_MS = 1_000.0
STALL_LIMIT_MS = 100.0
QUEUE_LIMIT = 100
STALL_SECONDS = 60

_LINK_TEXT = {"market": mark("Market data"), "orders": mark("Orders")}
_STATE_TEXT = {
    ConnectionState.OFFLINE: mark("offline"),
    ConnectionState.CONNECTING: mark("connecting"),
    ConnectionState.ONLINE: mark("online"),
    ConnectionState.DEGRADED: mark("slow (REST)"),
}
_STATE_LOOK = {
    ConnectionState.OFFLINE: ("wifi-off", "danger"),
    ConnectionState.CONNECTING: ("loader-circle", "warning"),
    ConnectionState.ONLINE: ("wifi", "success"),
    ConnectionState.DEGRADED: ("wifi", "warning"),
}


class Indicator(QWidget):
    """An icon and a short text; the tool tip says it in full."""

    def __init__(self, name: str, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setObjectName(name)
        self._picture = QLabel(self)
        self._label = QLabel(self)
        self._label.setFont(number_font(FONT_SIZE_S))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(SPACE_S, 0, SPACE_S, 0)
        layout.setSpacing(SPACE_XS)
        layout.addWidget(self._picture)
        layout.addWidget(self._label)

    def text(self) -> str:
        """Return the text shown."""
        return self._label.text()

    def set_content(self, icon: str, text: str, tip: str, role: str = "muted") -> None:
        """Show an icon in the colour of a role, a text, and what it means."""
        colour = getattr(self._theme.palette, role)
        self._picture.setPixmap(self._theme.icon(icon, colour).pixmap(ICON_SIZE_S, ICON_SIZE_S))
        self._label.setText(text)
        set_look(self._label, "role", role)
        self.setToolTip(tip)
        self.setAccessibleName(f"{tip}: {text}")


class StatusBar(QStatusBar):
    """Shows what the executor and the feed report; holds no opinion of its own."""

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setObjectName("status_bar")
        self.setSizeGripEnabled(False)
        self.setContentsMargins(SPACE_M, 0, SPACE_M, 0)
        self._links: dict[str, ConnectionStatus] = {}
        self._mode: TradingMode | None = None
        self._tick_ns = 0
        self._now_ns = 0
        self._queue = 0
        self._stalls_ms: deque[float] = deque(maxlen=STALL_SECONDS)
        names = ("market", "orders", "latency", "clock", "tick", "queue", "stall", "mode")
        self.indicators = {name: Indicator(f"status_{name}", theme, self) for name in names}
        for name in ("market", "orders", "latency", "clock", "tick"):
            self.addWidget(self.indicators[name])
        for name in ("queue", "stall", "mode"):
            self.addPermanentWidget(self.indicators[name])
        theme.changed.connect(self.refresh)
        self.refresh()

    def set_connection(self, status: ConnectionStatus) -> None:
        """Take over the health of one link."""
        self._links[status.link] = status
        self._mode = status.mode
        self.refresh()

    def set_tick(self, received_ns: int) -> None:
        """Remember when the last market message came, wall time in ns UTC."""
        self._tick_ns = received_ns

    def set_queue_depth(self, depth: int) -> None:
        """Take over how many events wait to be shown."""
        self._queue = depth

    def add_stall(self, worst_ms: float) -> None:
        """Take over the longest stall of the window in the last second; called once a second."""
        self._stalls_ms.append(worst_ms)

    def tick(self, now_ns: int) -> None:
        """Redraw what depends on the time; called about once a second."""
        self._now_ns = now_ns
        self._show_delays()

    @Slot()
    def refresh(self) -> None:
        """Draw everything anew, in the present language and theme."""
        for link, caption in _LINK_TEXT.items():
            status = self._links.get(link)
            state = ConnectionState.CONNECTING if status is None else status.state  # nobody has reported yet
            icon, role = _STATE_LOOK[state]
            venue = "" if status is None else f" · {status.venue}"
            detail = "" if status is None or not status.detail else f" · {local_text(status.detail)}"
            tip = tr(caption) + venue + detail
            self.indicators[link].set_content(icon, f"{tr(caption)}: {tr(_STATE_TEXT[state])}", tip, role)
        self._show_delays()

    def _show_delays(self) -> None:
        orders = self._links.get("orders") or self._links.get("market")
        latency = None if orders is None else orders.latency_ms
        offset = None if orders is None else orders.clock_offset_ms
        put = self.indicators
        put["latency"].set_content("activity", milliseconds(latency), tr("Answer time of the exchange"))
        skewed = offset is not None and abs(offset) > CLOCK_LIMIT_MS
        put["clock"].set_content(
            "clock", milliseconds(offset), tr("Clock difference to the exchange"), "warning" if skewed else "muted"
        )
        waited = max(0, self._now_ns - self._tick_ns) if self._tick_ns else 0
        stale = not self._tick_ns or waited > STALE_NS
        put["tick"].set_content(
            "chart-line",
            age(waited) if self._tick_ns else MISSING,
            tr("Age of the last market message"),
            "warning" if stale else "muted",
        )
        put["queue"].set_content(
            "layers",
            tr("queue {n}", n=self._queue),
            tr("Events waiting to be shown"),
            "warning" if self._queue > QUEUE_LIMIT else "muted",
        )
        stall_ms = max(self._stalls_ms, default=0.0)
        put["stall"].set_content(
            "cpu",
            milliseconds(stall_ms),
            tr("Longest pause of the window in the last minute"),
            "warning" if stall_ms > STALL_LIMIT_MS else "muted",
        )
        mode = self._mode
        word = tr("no mode yet") if mode is None else mode_word(mode)
        put["mode"].set_content("shield-alert", word, tr("Trading mode"), "muted" if mode is None else mode.value)
