"""The history of notices. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot

from app.i18n import mark, tr
from app.models.notifications_model import SEVERITY_RANK, NoticeRow, NotificationsModel
from app.theme import ThemeManager
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.panel import Panel, ToolRow, column
from core.events import Severity


class NotificationsDock(Panel):
    """Every notice of this session, newest first: what a toast said can be read again."""

    TITLE = mark("Notifications")
    NAME = "notifications_dock"

    def __init__(self, model: NotificationsModel, theme: ThemeManager) -> None:
        super().__init__(theme)
        self._model = model
        tools = ToolRow(self)
        self.problems_only = tools.button("notifications_problems", checkable=True)
        tools.add_stretch()
        self.wipe = tools.button("notifications_clear")
        self.table: DataTable[NoticeRow] = DataTable(model, theme, name="notifications_table", empty_icon="bell")
        tools.serve(self.table)
        column(self, tools, self.table)
        self.table.sort_by("time", Qt.SortOrder.DescendingOrder)
        self.problems_only.toggled.connect(self._on_problems_only)
        self.wipe.clicked.connect(self._on_wipe)
        self.retranslate()

    def retranslate(self) -> None:
        self.problems_only.setText(tr("Problems only"))
        self.wipe.setText(tr("Clear"))
        self.table.empty.set_text(tr("No notifications. Fills, errors and finished training appear here."))

    def refresh_look(self) -> None:
        self._model.set_palette(self.theme.palette)
        self.table.refresh_look()

    @Slot(bool)
    def _on_problems_only(self, only: bool) -> None:
        self.table.proxy.set_filter(_is_problem if only else None)
        self.table.refresh_page()

    @Slot()
    def _on_wipe(self) -> None:
        self._model.clear()


def _is_problem(row: NoticeRow) -> bool:
    return SEVERITY_RANK[row.notice.severity] >= SEVERITY_RANK[Severity.WARNING]
