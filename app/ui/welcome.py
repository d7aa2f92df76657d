"""The first words: what this is, that no real money moves, and three ways to begin. GUI thread only."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, Qt, Signal, Slot
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QMainWindow, QPushButton, QToolBar, QVBoxLayout

from app.i18n import mark, tr
from app.language import LanguageManager
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, ThemeManager, set_look
from app.ui.widgets.fit import fit_height

CARD_WIDTH = 136 * GRID


@dataclass(frozen=True, slots=True)
class FirstStep:
    """One way to begin.

    Attributes:
        name: constant; what `WelcomeCard.chosen` carries and the button is called.
        text / tip: English sources.
    """

    name: str
    icon: str
    text: str
    tip: str


MARKET, TRAIN, ORDER, GUIDE = "welcome_market", "welcome_train", "welcome_order", "welcome_guide"
FIRST_STEPS = (
    FirstStep(MARKET, "chart-candlestick", mark("Look at the market"), mark("Chart, order book and trades.")),
    FirstStep(
        TRAIN,
        "brain",
        mark("Train a model…"),
        mark("A wizard leads from price history to a tested model in a few minutes."),
    ),
    FirstStep(
        ORDER,
        "wallet",
        mark("Send a practice order"),
        mark("With practice money; you review the order before it is sent."),
    ),
)


class WelcomeCard(QFrame):
    """A card over the panels, below the bar with STOP; part of the window, so it never takes the focus from a field.

    Signals:
        chosen: name of the step or of the guide's button. The steps close the card; the guide stands beside it.
    """

    chosen = Signal(str)

    def __init__(self, theme: ThemeManager, language: LanguageManager, window: QMainWindow) -> None:
        super().__init__(window)
        self._theme = theme
        self.setObjectName("welcome_card")
        self.setProperty("card", "true")
        self._title, self._text, self._begin = (QLabel(self) for _ in range(3))
        set_look(self._title, "role", "title")
        set_look(self._begin, "role", "strong")
        self._text.setWordWrap(True)
        self._steps = [(step, QPushButton(self), QLabel(self)) for step in FIRST_STEPS]
        self._guide, self._close = QPushButton(self), QPushButton(self)
        self._guide.setObjectName(GUIDE)
        self._close.setObjectName("welcome_close")
        set_look(self._guide, "variant", "quiet")
        self._lay_out()
        self._guide.clicked.connect(self._on_pressed)
        self._close.clicked.connect(self.hide)
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self)
        escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(self.hide)
        theme.changed.connect(self.refresh_look)
        language.changed.connect(self.retranslate)
        window.installEventFilter(self)
        self.refresh_look()
        self.retranslate()

    def _lay_out(self) -> None:
        steps = QGridLayout()
        steps.setHorizontalSpacing(SPACE_M)
        steps.setVerticalSpacing(SPACE_S)
        steps.setColumnStretch(1, 1)
        for row, (step, button, tip) in enumerate(self._steps):
            button.setObjectName(step.name)
            button.clicked.connect(self._on_pressed)
            set_look(tip, "role", "muted")
            tip.setWordWrap(True)
            steps.addWidget(button, row, 0)
            steps.addWidget(tip, row, 1)
        buttons = QHBoxLayout()
        buttons.addWidget(self._guide)
        buttons.addStretch(1)
        buttons.addWidget(self._close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        for label in (self._title, self._text, self._begin):
            layout.addWidget(label)
        layout.addLayout(steps)
        layout.addLayout(buttons)

    @Slot()
    def retranslate(self) -> None:
        """Write every text in the present language."""
        self._title.setText(tr("Welcome to Maru"))
        self._text.setText(
            tr(
                "Maru learns to trade crypto and trades under your eyes. This is practice: the exchange runs on this "
                "computer, its prices are invented, and no real money moves. STOP at the top right ends trading at any "
                "time."
            )
        )
        self._begin.setText(tr("Three ways to begin:"))
        for step, button, tip in self._steps:
            button.setText(tr(step.text))
            tip.setText(tr(step.tip))
        self._guide.setText(tr("User guide"))
        self._close.setText(tr("Close"))
        self._close.setToolTip(tr("The menu Help shows this again"))
        self._arrange()

    @Slot()
    def refresh_look(self) -> None:
        """Draw the icons in the present theme."""
        for step, button, _tip in self._steps:
            button.setIcon(self._theme.icon(step.icon))
        self._guide.setIcon(self._theme.icon("book-open"))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._arrange()
        return False

    def _arrange(self) -> None:
        """Stand in the middle of what lies between the top bar and the status bar."""
        window = self.window()
        assert isinstance(window, QMainWindow)
        fit_height(self, CARD_WIDTH)
        bars = [bar.geometry().bottom() for bar in (window.menuBar(), *window.findChildren(QToolBar))]
        top, bottom = max(bars) + 1, window.statusBar().geometry().top()
        self.move((window.width() - self.width()) // 2, top + max(0, (bottom - top - self.height()) // 2))

    @Slot()
    def _on_pressed(self) -> None:
        button = self.sender()
        name = button.objectName() if button is not None else ""
        if name != GUIDE:
            self.hide()
        self.chosen.emit(name)
