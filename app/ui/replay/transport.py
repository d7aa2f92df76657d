"""The controls of a replay: play, step, speed, a slider and a date to jump to. GUI thread."""

from __future__ import annotations

from PySide6.QtCore import QDateTime, QSignalBlocker, Qt, QTimeZone, Signal, Slot
from PySide6.QtWidgets import QCheckBox, QComboBox, QDateTimeEdit, QLabel, QSlider, QWidget

from app.i18n import format_number, tr
from app.theme import GRID, ThemeManager, set_look
from app.ui.replay.player import SPEEDS, ReplayPlayer
from app.ui.widgets.panel import ToolRow
from core.clock import NS_PER_S

_NS_PER_MS = NS_PER_S // 1_000
_PAGE = 100  # bars that a click beside the slider's handle moves


class Transport(ToolRow):
    """Moves a player; all of it can be done by keys as well, which the window takes.

    Signals:
        moment_chosen(object): jump to this moment, ns UTC as an int.
        all_wanted(bool): show the bars after the present one too.
    """

    moment_chosen = Signal(object)
    all_wanted = Signal(bool)

    def __init__(self, player: ReplayPlayer, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._player, self._theme = player, theme
        self.back = self.button("replay_back")
        self.play = self.button("replay_play")
        self.forward = self.button("replay_forward")
        for button in (self.back, self.play, self.forward):
            button.setAutoDefault(False)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.speed = QComboBox(self)
        self.speed.setObjectName("replay_speed")
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setObjectName("replay_slider")
        self.slider.setPageStep(_PAGE)
        self.count = QLabel(self)
        set_look(self.count, "role", "figures")
        self.moment = QDateTimeEdit(self)
        self.moment.setObjectName("replay_moment")
        self.moment.setTimeZone(QTimeZone.utc())
        self.moment.setDisplayFormat("yyyy-MM-dd HH:mm")
        self.moment.setCalendarPopup(True)
        self.moment.setKeyboardTracking(False)
        self.utc = QLabel("UTC", self)
        set_look(self.utc, "role", "small")
        self.everything = QCheckBox(self)
        self.everything.setObjectName("replay_everything")
        self.everything.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.add(self.speed)
        self.add(self.slider, 1)
        for widget in (self.count, self.moment, self.utc, self.everything):
            self.add(widget)
        self._connect()
        self.retranslate()
        self.refresh_look()

    def set_range(self, first_ns: int, last_ns: int) -> None:
        """Allow moments from the first bar to the last."""
        with QSignalBlocker(self.moment), QSignalBlocker(self.slider):
            self.moment.setDateTimeRange(_moment(first_ns), _moment(last_ns))
            self.slider.setRange(0, max(0, self._player.bars - 1))

    def show_row(self, row: int, time_ns: int) -> None:
        """Show where the replay is."""
        with QSignalBlocker(self.slider), QSignalBlocker(self.moment):
            self.slider.setValue(row)
            if not self.moment.hasFocus():
                self.moment.setDateTime(_moment(time_ns))
        last = self._player.bars
        widest = len(format_number(last, 0))
        self.count.setText(f"{format_number(row + 1, 0):>{widest}} / {format_number(last, 0)}")
        self.back.setEnabled(row > 0)
        self.forward.setEnabled(row < last - 1)

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.back.setToolTip(tr("One bar back (←)"))
        self.forward.setToolTip(tr("One bar on (→)"))
        self.back.setAccessibleName(tr("One bar back"))
        self.forward.setAccessibleName(tr("One bar on"))
        self._show_playing()
        chosen = max(0, self.speed.currentIndex()) if self.speed.count() else SPEEDS.index(self._player.speed)
        with QSignalBlocker(self.speed):
            self.speed.clear()
            for speed in SPEEDS:
                self.speed.addItem(tr("1 bar/s") if speed == 1 else tr("{n} bars/s", n=speed), speed)
            self.speed.setCurrentIndex(chosen)
        self.speed.setAccessibleName(tr("Speed"))
        self.speed.setToolTip(tr("Speed"))
        self.slider.setAccessibleName(tr("Bar"))
        self.moment.setAccessibleName(tr("Jump to a moment"))
        self.moment.setToolTip(tr("Jump to a moment"))
        self.everything.setText(tr("Show all bars"))
        self.everything.setToolTip(tr("Otherwise the bars after the present one stay hidden"))

    def refresh_look(self) -> None:
        """Draw the icons in the colours of the present theme."""
        self.back.setIcon(self._theme.icon("chevron-left"))
        self.forward.setIcon(self._theme.icon("chevron-right"))
        self._show_playing()
        self.play.setMinimumWidth(22 * GRID)

    def _connect(self) -> None:
        self.back.clicked.connect(self._on_back)
        self.forward.clicked.connect(self._on_forward)
        self.play.clicked.connect(self._player.toggle)
        self.speed.currentIndexChanged.connect(self._on_speed)
        self.slider.valueChanged.connect(self._player.go_to)
        self.moment.dateTimeChanged.connect(self._on_moment)
        self.everything.toggled.connect(self.all_wanted)
        self._player.playing_changed.connect(self._show_playing)

    @Slot()
    def _show_playing(self) -> None:
        playing = self._player.playing
        self.play.setIcon(self._theme.icon("pause" if playing else "play"))
        self.play.setText(tr("Pause") if playing else tr("Play"))
        self.play.setToolTip(tr("Pause (Space)") if playing else tr("Play (Space)"))

    @Slot()
    def _on_back(self) -> None:
        self._player.pause()
        self._player.go_to(self._player.row - 1)

    @Slot()
    def _on_forward(self) -> None:
        self._player.pause()
        self._player.go_to(self._player.row + 1)

    @Slot(int)
    def _on_speed(self, index: int) -> None:
        self._player.set_speed(int(self.speed.itemData(index)))

    @Slot(QDateTime)
    def _on_moment(self, moment: QDateTime) -> None:
        self.moment_chosen.emit(moment.toMSecsSinceEpoch() * _NS_PER_MS)


def _moment(time_ns: int) -> QDateTime:
    return QDateTime.fromMSecsSinceEpoch(time_ns // _NS_PER_MS, QTimeZone.utc())
