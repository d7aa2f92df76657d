"""What an agent saw, wanted, held and paid at the present bar of a replay. GUI thread."""

from __future__ import annotations

from datetime import UTC

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QGridLayout,
    QHeaderView,
    QLabel,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from app.i18n import MISSING, format_moment, format_number, format_percent, mark, tr
from app.models.replay import AgentReplay
from app.theme import GRID, ROW_HEIGHT, SPACE_M, SPACE_S, SPACE_XS, ThemeManager, set_look
from app.ui.replay.seen_model import NAME, UNUSUAL, VALUE, SeenModel
from app.ui.replay.weight_dots import WeightDots

_ROWS = (
    ("bar", mark("Bar")),
    ("target", mark("Target at its close")),
    ("held", mark("Held until then")),
    ("traded", mark("Traded in the bar")),
    ("cost", mark("Costs of the bar")),
    ("costs", mark("Costs so far")),
    ("equity", mark("Equity")),
    ("hold", mark("Buy and hold")),
)
_WIDTH = 88 * GRID
REPLAY_KEYS = (Qt.Key.Key_Space, Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Home, Qt.Key.Key_End)


class SeenPanel(QWidget):
    """Figures of one bar, the networks, and every observed number."""

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._replay: AgentReplay | None = None
        self._row = 0
        self.setObjectName("replay_seen")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.captions: dict[str, QLabel] = {}
        self.figures: dict[str, QLabel] = {}
        self.dots = WeightDots(theme.palette, self)
        self.networks = QLabel(self)
        self.networks.setObjectName("replay_networks")
        self.networks.setWordWrap(True)
        set_look(self.networks, "role", "figures")
        self.why = QLabel(self)
        self.why.setObjectName("replay_why")
        self.why.setWordWrap(True)
        set_look(self.why, "role", "muted")
        self.unusual_first = QCheckBox(self)
        self.unusual_first.setObjectName("replay_unusual_first")
        self.unusual_first.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.model = SeenModel(theme, self)
        self.table = _SeenView(self)
        self.table.setModel(self.model)
        self._lay_out()
        self.unusual_first.toggled.connect(self.model.set_most_unusual_first)
        self.setMinimumWidth(64 * GRID)
        self.retranslate()

    def set_replay(self, replay: AgentReplay) -> None:
        """Show bars of another episode."""
        self._replay = replay
        self._costs = replay.episode.cost.cumsum()
        self.model.set_names(replay.episode.names)

    def show_row(self, row: int) -> None:
        """Show a bar."""
        replay, self._row = self._replay, row
        if replay is None:
            return
        episode = replay.episode
        decided = bool(episode.decided[row])
        target = float(episode.target[row]) if decided else None
        held = float(episode.held[row])
        texts = {
            "bar": f"{format_moment(int(episode.time_ns[row]), '%Y-%m-%d %H:%M', UTC)} UTC",
            "target": format_number(target, 4, sign=True),
            "held": format_number(held, 4, sign=True),
            "traded": _traded(float(episode.traded[row])),
            "cost": format_percent(float(episode.cost[row]), 4),
            "costs": format_percent(float(self._costs[row]), 2),
            "equity": format_number(float(episode.equity[row]), 4),
            "hold": MISSING if replay.hold is None else format_number(float(replay.hold[row]), 4),
        }
        for name, text in texts.items():
            self.figures[name].setText(text)
        self._show_networks(replay, row, target, held)
        seen = episode.seen_at(row)
        self.model.show_values(seen, replay.centre if seen is None else replay.unusual(seen))
        for widget in (self.table, self.unusual_first):
            widget.setVisible(seen is not None)
        self.why.setVisible(seen is None)
        if seen is None:
            self.why.setText(self._why_nothing(replay, decided))

    def retranslate(self) -> None:
        """Write every text in the present language."""
        for name, caption in _ROWS:
            self.captions[name].setText(tr(caption))
        self.figures["traded"].setToolTip(tr("Share of the equity at the close before"))
        self.figures["costs"].setToolTip(tr("Sum of the costs of all bars, each as a share of the equity then"))
        self.unusual_first.setText(tr("Most unusual first"))
        self.model.retranslate()
        self.show_row(self._row)

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        self.dots.set_palette(self._theme.palette)
        self.table.viewport().update()

    def _show_networks(self, replay: AgentReplay, row: int, target: float | None, held: float) -> None:
        weights = [] if target is None else replay.episode.seeds[row].tolist()
        self.dots.show_weights(weights, target, held)
        each = " · ".join(format_number(weight, 2, sign=True) for weight in weights)
        self.networks.setText(tr("Networks: {weights}", weights=each or MISSING))

    def _why_nothing(self, replay: AgentReplay, decided: bool) -> str:
        if not decided:
            return tr("Nothing is decided here: at the end of the bars without a gap all that is held is sold.")
        kept = len(replay.episode.observed)
        if not kept:
            return tr("What this agent saw takes too much room to be kept.")
        return tr("What it saw is kept for the last {n} bars only.", n=format_number(kept, 0))

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE_M)
        grid.setVerticalSpacing(SPACE_XS)
        for place, (name, _) in enumerate(_ROWS):
            caption, figure = QLabel(self), QLabel(self)
            set_look(caption, "role", "small")
            set_look(figure, "role", "figures")
            figure.setObjectName(f"replay_{name}")
            figure.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.captions[name], self.figures[name] = caption, figure
            caption.setBuddy(figure)
            grid.addWidget(caption, place, 0)
            grid.addWidget(figure, place, 1)
        grid.setColumnStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_S, SPACE_S, SPACE_S, SPACE_S)
        layout.setSpacing(SPACE_S)
        layout.addLayout(grid)
        for widget in (self.dots, self.networks, self.unusual_first):
            layout.addWidget(widget)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.why, 1, Qt.AlignmentFlag.AlignTop)
        self.why.hide()
        self.resize(_WIDTH, self.height())


class _SeenView(QTableView):
    """A table without a selection; what moves the replay is not for it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("replay_table")
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setShowGrid(False)
        self.setAlternatingRowColors(True)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.horizontalHeader().setHighlightSections(False)

    def setModel(self, model) -> None:  # type: ignore[no-untyped-def]
        super().setModel(model)
        header = self.horizontalHeader()
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column in (VALUE, UNUSUAL):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(column, 20 * GRID)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in REPLAY_KEYS:
            event.ignore()
        else:
            super().keyPressEvent(event)


def _traded(share: float) -> str:
    if share == 0.0:
        return tr("nothing")
    text = format_percent(abs(share), 2)
    return f"▲ {tr('bought {share}', share=text)}" if share > 0 else f"▼ {tr('sold {share}', share=text)}"
