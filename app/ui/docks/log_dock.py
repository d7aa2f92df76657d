"""The log: filter, search, pause, follow. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QComboBox, QLineEdit

from app.i18n import mark, tr
from app.models.log_model import LEVEL_TEXT, LogLevel, LogLine, LogModel
from app.theme import GRID, ThemeManager
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.panel import Panel, ToolRow, column


class LogDock(Panel):
    """The last lines of the log."""

    TITLE = mark("Log")
    NAME = "log_dock"

    def __init__(self, model: LogModel, theme: ThemeManager) -> None:
        super().__init__(theme)
        self._model = model
        self._lowest = LogLevel.INFO
        tools = ToolRow(self)
        self.level = QComboBox(self)
        self.level.setObjectName("log_level")
        tools.add(self.level)
        self.search = QLineEdit(self)
        self.search.setObjectName("log_search")
        self.search.setClearButtonEnabled(True)
        self.search.setMinimumWidth(10 * GRID)  # the row must not keep the window from becoming narrow
        tools.add(self.search, 1)
        self.pause = tools.button("log_pause", checkable=True)
        self.follow = tools.button("log_follow", checkable=True)
        self.follow.setChecked(True)
        self.copy = tools.button("log_copy")
        self.wipe = tools.button("log_clear")
        self.table: DataTable[LogLine] = DataTable(model, theme, name="log_table", empty_icon="scroll-text")
        tools.serve(self.table)
        column(self, tools, self.table)
        self.table.sort_by("time", Qt.SortOrder.AscendingOrder)
        for level in LogLevel:
            self.level.addItem("", int(level))
        self.level.setCurrentIndex(list(LogLevel).index(LogLevel.INFO))
        self.level.currentIndexChanged.connect(self._on_level)
        self.search.textChanged.connect(self._on_search)
        self.pause.toggled.connect(self._on_pause)
        self.follow.toggled.connect(self._on_follow)
        self.copy.clicked.connect(self.table.copy_selection)
        self.wipe.clicked.connect(self._on_wipe)
        self.table.proxy.rowsInserted.connect(self._on_rows)
        self._apply_level()
        self.retranslate()

    def retranslate(self) -> None:
        for position, level in enumerate(LogLevel):
            self.level.setItemText(position, tr(LEVEL_TEXT[level]))
        self.level.setAccessibleName(tr("Lowest level shown"))
        self.level.setToolTip(tr("Lowest level shown"))
        self.search.setPlaceholderText(tr("Search the log"))
        self.pause.setText(tr("Pause"))
        self.pause.setToolTip(tr("Hold new lines back; none is lost"))
        self.follow.setText(tr("Follow"))
        self.follow.setToolTip(tr("Keep the newest line in view"))
        self.copy.setText(tr("Copy"))
        self.wipe.setText(tr("Clear"))
        self.table.empty.set_text(tr("Nothing to show at this level."))

    def refresh_look(self) -> None:
        self._model.set_palette(self.theme.palette)
        self.table.refresh_look()

    def _apply_level(self) -> None:
        self.table.proxy.set_filter(self._shows)
        self.table.refresh_page()

    def _shows(self, line: LogLine) -> bool:
        return line.level >= self._lowest

    @Slot(int)
    def _on_level(self, _position: int) -> None:
        self._lowest = LogLevel(int(self.level.currentData()))
        self._apply_level()

    @Slot(str)
    def _on_search(self, text: str) -> None:
        self.table.proxy.set_search(text)
        self.table.refresh_page()

    @Slot(bool)
    def _on_pause(self, paused: bool) -> None:
        self._model.paused = paused

    @Slot(bool)
    def _on_follow(self, follow: bool) -> None:
        if follow:
            self.table.view.scrollToBottom()

    @Slot()
    def _on_wipe(self) -> None:
        self._model.clear()

    @Slot()
    def _on_rows(self) -> None:
        if self.follow.isChecked():
            self.table.view.scrollToBottom()
