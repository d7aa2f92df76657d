"""The window that replays the judged pass of an agent, bar by bar. GUI thread only.

It has a chart of its own with the bars of the package: nothing in it comes from the market or goes to it.
"""

from __future__ import annotations

from datetime import UTC

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QCloseEvent, QKeyEvent
from PySide6.QtWidgets import QCheckBox, QDialog, QHBoxLayout, QLabel, QSplitter, QVBoxLayout, QWidget

from app.i18n import format_moment, format_number, tr
from app.language import LanguageManager
from app.models.replay import AgentReplay
from app.theme import GRID, SPACE_M, SPACE_S, ThemeManager, set_look
from app.ui.charts.heat import WeightTrack
from app.ui.charts.view import ChartView
from app.ui.replay.equity_strip import EquityStrip
from app.ui.replay.player import ReplayPlayer
from app.ui.replay.seen_panel import REPLAY_KEYS, SeenPanel
from app.ui.replay.transport import Transport
from app.ui.widgets.heat_legend import HeatLegend
from app.ui.widgets.panel import ToolRow, column

SIZE = (320 * GRID, 190 * GRID)
_SIDE_WIDTH = 90 * GRID
_DECIMALS = 8  # of a price at most
_MOST_DIGITS = 7  # of a price that are told apart
_SKIP = 24  # bars that Shift with an arrow moves


class ReplayWindow(QDialog):
    """Chart with weights and trades, equity below, what the agent saw beside it, and the controls.

    Keys: Space plays and stops, ←/→ move by one bar and with Shift by a day of hours, Home/End go to the ends.
    """

    def __init__(self, theme: ThemeManager, language: LanguageManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._replay: AgentReplay | None = None
        self._shown = 0  # bars on the chart
        self.setObjectName("replay_window")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowFlag(Qt.WindowType.WindowMaximizeButtonHint)
        self.resize(*SIZE)
        self.player = ReplayPlayer(parent=self)
        self.chart = _ReplayChart(theme.palette, UTC, self)
        self.equity = EquityStrip(self.chart, theme.palette, self)
        self.seen = SeenPanel(theme, self)
        self.transport = Transport(self.player, theme, self)
        self.legend = HeatLegend(theme.palette, self)
        self._build()
        self.player.moved.connect(self._on_moved)
        self.transport.moment_chosen.connect(self._on_moment)
        self.transport.all_wanted.connect(self._on_all_wanted)
        self.heat.toggled.connect(self.chart.set_weights_shown)
        theme.changed.connect(self.refresh_look)
        language.changed.connect(self.retranslate)
        self.retranslate()
        self.chart.setFocus(Qt.FocusReason.OtherFocusReason)

    @property
    def replay(self) -> AgentReplay | None:
        """What is replayed."""
        return self._replay

    def show_replay(self, replay: AgentReplay, row: int = 0) -> None:
        """Replay an episode from a bar on."""
        episode = replay.episode
        self._replay = replay
        track = WeightTrack.of(replay.target, episode.held)
        self.chart.set_instrument(episode.symbol, episode.timeframe, _decimals(float(episode.close[0])))
        self.chart.set_weights(track)
        self.chart.set_trades(*replay.trades())
        self.legend.set_most(track.most)
        self.seen.dots.set_most(track.most)
        self.equity.set_lines(episode.equity, replay.hold)
        self.seen.set_replay(replay)
        columns = (episode.open, episode.high, episode.low, episode.close, episode.volume)
        self.chart.set_history(episode.time_ns, *columns)  # all, so that the view has its usual width
        self._shown = len(replay)
        self.player.begin(len(replay), row)
        self.transport.set_range(int(episode.time_ns[0]), int(episode.time_ns[-1]))
        self.transport.show_row(row, int(episode.time_ns[row]))
        self.retranslate()

    def closeEvent(self, event: QCloseEvent) -> None:
        self.player.pause()
        super().closeEvent(event)

    def done(self, result: int) -> None:
        self.player.pause()
        self.chart.shutdown()
        super().done(result)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = _SKIP if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
        match event.key():
            case Qt.Key.Key_Space:
                self.player.toggle()
            case Qt.Key.Key_Left:
                self._step(-step)
            case Qt.Key.Key_Right:
                self._step(step)
            case Qt.Key.Key_Home:
                self._step(-len(self._replay or ()))
            case Qt.Key.Key_End:
                self._step(len(self._replay or ()))
            case _:
                super().keyPressEvent(event)
                return
        event.accept()

    @Slot()
    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.badge.setText(tr("REPLAY"))
        self.heat.setText(tr("Target weights"))
        self.heat.setToolTip(tr("Colour the bars by the weight that the agent wanted to hold"))
        replay = self._replay
        self.setWindowTitle(tr("Replay") if replay is None else tr("Replay of {title}", title=replay.title))
        if replay is not None:
            self.heading.setText(f"{replay.title} · {replay.algorithm.upper()} · {replay.model_id[:10]}")
            self.what.setText(self._what(replay))
        for part in (self.chart, self.seen, self.transport, self.legend):
            part.retranslate()
        self.equity.update()

    @Slot()
    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        palette = self._theme.palette
        for part in (self.chart, self.equity, self.legend):
            part.set_palette(palette)
        self.seen.refresh_look()
        self.transport.refresh_look()

    @staticmethod
    def _what(replay: AgentReplay) -> str:
        times, left = replay.episode.time_ns, replay.episode.left_out
        first, last = (format_moment(int(at), "%Y-%m-%d", UTC) for at in (times[0], times[-1]))
        words = [tr("Judged on {first} … {last}: past bars, not trading", first=first, last=last)]
        if left:
            words.append(tr("{n} earlier bars were not kept.", n=format_number(left, 0)))
        if replay.markets > 1:
            words.append(tr("One of {n} markets, with an account of its own.", n=replay.markets))
        return ". ".join((words[0], " ".join(words[1:]))) if words[1:] else words[0]

    # -- moving -----------------------------------------------------------------------------------------------------

    def _step(self, bars: int) -> None:
        self.player.pause()
        self.player.go_to(self.player.row + bars)

    @Slot(int)
    def _on_moved(self, row: int) -> None:
        replay = self._replay
        if replay is None:
            return
        self._show_bars(replay, row)
        done = self._shown
        self.chart.set_done(done, row)
        self.chart.reveal(row)
        self.equity.set_done(done, row)
        self.seen.show_row(row)
        self.transport.show_row(row, int(replay.episode.time_ns[row]))

    def _show_bars(self, replay: AgentReplay, row: int) -> None:
        """Have the chart hold the bars up to the present one, or all of them; those that follow are added."""
        episode = replay.episode
        wanted = len(replay) if self.transport.everything.isChecked() else row + 1
        follows = self._shown < wanted <= self._shown + _SKIP
        part = slice(self._shown if follows else 0, wanted)
        times, prices = episode.time_ns[part], (episode.open, episode.high, episode.low, episode.close, episode.volume)
        open_, high, low, close, volume = (values[part] for values in prices)
        if follows:
            self.chart.append_bars(times, open_, high, low, close, volume)
        elif wanted != self._shown:
            self.chart.set_history(times, open_, high, low, close, volume, keep_view=True)
        self._shown = wanted

    @Slot(object)
    def _on_moment(self, time_ns: int) -> None:
        if self._replay is not None:
            self.player.pause()
            self.player.go_to(self._replay.row_at(time_ns))

    @Slot(bool)
    def _on_all_wanted(self, wanted: bool) -> None:
        self._on_moved(self.player.row)

    # -- building ---------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.badge, self.heading, self.what = QLabel(self), QLabel(self), QLabel(self)
        self.badge.setObjectName("replay_badge")
        set_look(self.badge, "mode", "replay")
        set_look(self.heading, "role", "heading")
        self.what.setObjectName("replay_what")
        set_look(self.what, "role", "warning")
        self.heat = QCheckBox(self)
        self.heat.setObjectName("replay_heat")
        self.heat.setChecked(True)
        self.heat.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        tools, head = ToolRow(self), QHBoxLayout()
        head.setSpacing(SPACE_M)
        for widget in (self.badge, self.heading, self.what):
            head.addWidget(widget)
        head.addStretch(1)
        tools.add(self.heat)
        tools.add(self.legend)
        tools.add_stretch()
        left = QWidget(self)
        pictures = QSplitter(Qt.Orientation.Vertical, left)
        pictures.addWidget(self.chart)
        pictures.addWidget(self.equity)
        pictures.setStretchFactor(0, 1)
        pictures.setCollapsible(0, False)
        column(left, tools, pictures)
        both = QSplitter(Qt.Orientation.Horizontal, self)
        both.addWidget(left)
        both.addWidget(self.seen)
        both.setStretchFactor(0, 1)
        both.setChildrenCollapsible(False)
        both.setSizes([SIZE[0] - _SIDE_WIDTH, _SIDE_WIDTH])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_M, SPACE_S, SPACE_M, SPACE_S)
        layout.setSpacing(SPACE_S)
        layout.addLayout(head)
        layout.addWidget(both, 1)
        layout.addWidget(self.transport)


class _ReplayChart(ChartView):
    """A chart that leaves the keys which move the replay to the window."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in REPLAY_KEYS:
            event.ignore()
        else:
            super().keyPressEvent(event)


def _decimals(price: float) -> int:
    """Return how many decimals tell prices of this size apart; no instrument says it."""
    whole = len(str(int(price))) if price >= 1.0 else 0
    return min(_DECIMALS, max(2, _MOST_DIGITS - whole)) if price < 1_000 else 2
