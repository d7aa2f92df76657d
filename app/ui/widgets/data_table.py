"""The table view behind every dock: sorting, copy as TSV, context menu, an empty state. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakMethod

from PySide6.QtCore import QByteArray, QModelIndex, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QAction, QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QMenu, QStackedLayout, QTableView, QWidget

from app.i18n import tr
from app.models.format import machine
from app.models.record_model import KEY_ROLE, RecordModel, RecordProxy
from app.theme import FONT_SIZE_M, ROW_HEIGHT, SPACE_S, ThemeManager, number_font
from app.ui.widgets.empty_state import EmptyState

R = TypeVar("R")


class _View(QTableView):
    """The bare view; Enter activates as a double click does.

    Signals:
        copy_requested: the standard copy key was pressed.
        enter_pressed: Enter on this index.
    """

    copy_requested = Signal()
    enter_pressed = Signal(QModelIndex)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_requested.emit()
            return
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.enter_pressed.emit(self.currentIndex())
            return
        super().keyPressEvent(event)


class DataTable(QWidget, Generic[R]):
    """A sortable table over a `RecordModel` that shows an empty state while nothing passes the filter.

    Attributes:
        view: the table view.
        proxy: sorting and filtering.
        empty: the empty state; the owner sets its text.

    Signals:
        selection_changed: other rows are selected.
        row_activated: double click or Enter on the row with this record (object).
    """

    selection_changed = Signal()
    row_activated = Signal(object)

    def __init__(
        self, model: RecordModel[R], theme: ThemeManager, *, name: str, empty_icon: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._model = model
        self._menu_actions: WeakMethod[Callable[[], list[QAction]]] | None = None
        self.proxy: RecordProxy[R] = RecordProxy(model, self)
        self.view = _View(self)
        self.view.setObjectName(name)
        self.view.horizontalHeader().setObjectName(f"{name}_header")
        self.empty = EmptyState(theme, empty_icon, self)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(self.view)
        self._set_up_view()
        for signal in (
            self.proxy.rowsInserted,
            self.proxy.rowsRemoved,
            self.proxy.modelReset,
            self.proxy.layoutChanged,
        ):
            signal.connect(self.refresh_page)
        self.refresh_page()

    def _set_up_view(self) -> None:
        view = self.view
        view.setModel(self.proxy)
        view.setFont(number_font(FONT_SIZE_M))
        view.setSortingEnabled(True)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setTabKeyNavigation(False)
        view.verticalHeader().hide()
        view.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        header = view.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        header.setSectionsMovable(True)
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.customContextMenuRequested.connect(self._on_header_menu)
        digit = view.fontMetrics().horizontalAdvance("0")
        for position, column in enumerate(self._model.columns):
            header.resizeSection(position, column.width * digit + 2 * SPACE_S)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(self._on_menu)
        view.copy_requested.connect(self.copy_selection)
        # Not `activated`: on some desktops it fires at a single click.
        view.doubleClicked.connect(self._on_activated)
        view.enter_pressed.connect(self._on_activated)
        view.selectionModel().selectionChanged.connect(self._on_selection_changed)

    # -- use -------------------------------------------------------------------------------------------------------

    def set_menu(self, actions: Callable[[], list[QAction]]) -> None:
        """Set what fills the context menu; called each time it opens. Copy is added below.

        Args:
            actions: a method of the widget that holds this table. It is held weakly: a circle of the two would leave a
                closed dialog to the garbage collector after Qt has deleted it, which ends the process.
        """
        self._menu_actions = WeakMethod(actions)

    def sort_by(self, column: str, order: Qt.SortOrder) -> None:
        """Sort by a column's constant name."""
        self.view.sortByColumn(self._model.column_index(column), order)

    def selected(self) -> list[R]:
        """Return the selected records, top to bottom."""
        rows = sorted(index.row() for index in self.view.selectionModel().selectedRows())
        return [self.proxy.record_at(row) for row in rows]

    def select_key(self, key: str) -> bool:
        """Select and show the record with this key; False where it is not visible."""
        for row in range(self.proxy.rowCount()):
            index = self.proxy.index(row, 0)
            if index.data(KEY_ROLE) == key:
                self.view.selectRow(row)
                self.view.scrollTo(index)
                return True
        return False

    def tsv(self) -> str:
        """Return the selected rows (all where none is selected) as tab-separated text with headers."""
        columns = [c for c in range(self.proxy.columnCount()) if not self.view.isColumnHidden(c)]
        chosen = [index.row() for index in self.view.selectionModel().selectedRows()]
        rows = sorted(chosen) if chosen else range(self.proxy.rowCount())
        header = [str(self.proxy.headerData(c, Qt.Orientation.Horizontal)) for c in columns]
        lines = [header]
        for row in rows:
            lines.append([self._cell(row, c) for c in columns])
        return "\n".join("\t".join(line) for line in lines)

    def _cell(self, row: int, column: int) -> str:
        text = str(self.proxy.index(row, column).data())
        return machine(text) if self._model.columns[column].numeric else text

    def save_header(self) -> bytes:
        """Return widths, order, visibility and sorting of the columns."""
        return self._columns_mark() + bytes(self.view.horizontalHeader().saveState().data())

    def restore_header(self, state: bytes) -> bool:
        """Take over what `save_header` returned; False where it does not fit."""
        mark = self._columns_mark()
        if not state.startswith(mark):
            return False  # of a version with other columns: the widths would be those of their neighbours
        return bool(self.view.horizontalHeader().restoreState(QByteArray(state[len(mark) :])))

    def _columns_mark(self) -> bytes:
        return ",".join(column.key for column in self._model.columns).encode() + b"\n"

    def refresh_look(self) -> None:
        """Draw the empty state in the present theme."""
        self.empty.refresh_look()

    @Slot()
    def copy_selection(self) -> None:
        """Put the selected rows on the clipboard."""
        QGuiApplication.clipboard().setText(self.tsv())

    # -- slots -----------------------------------------------------------------------------------------------------

    @Slot()
    def refresh_page(self) -> None:
        """Show the rows, or the empty state where none passes the filter."""
        rows, focused = self.proxy.rowCount() > 0, self.hasFocus()
        page: QWidget = self.view if rows else self.empty
        self.setFocusProxy(page)
        self._stack.setCurrentWidget(page)
        if focused:  # Qt would hand the focus of the hidden page to the button of the other, or of another panel
            self.setFocus(Qt.FocusReason.OtherFocusReason)

    @Slot()
    def _on_selection_changed(self) -> None:
        self.selection_changed.emit()

    @Slot(QModelIndex)
    def _on_activated(self, index: QModelIndex) -> None:
        self.row_activated.emit(self.proxy.record_at(index.row()))

    @Slot(QPoint)
    def _on_menu(self, position: QPoint) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        actions = self._menu_actions() if self._menu_actions is not None else None
        for action in actions() if actions is not None else []:
            menu.addAction(action)
        menu.addSeparator()
        menu.addAction(tr("Copy rows"), self.copy_selection)
        menu.popup(self.view.viewport().mapToGlobal(position))

    @Slot(QPoint)
    def _on_header_menu(self, position: QPoint) -> None:
        header = self.view.horizontalHeader()
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for section, column in enumerate(self._model.columns):
            action = menu.addAction(tr(column.title))
            action.setCheckable(True)
            action.setChecked(not header.isSectionHidden(section))
            action.setData(section)
        menu.triggered.connect(self._on_column_toggled)
        menu.popup(header.mapToGlobal(position))

    @Slot(QAction)
    def _on_column_toggled(self, action: QAction) -> None:
        header = self.view.horizontalHeader()
        if action.isChecked() or header.hiddenSectionCount() < header.count() - 1:
            header.setSectionHidden(int(action.data()), not action.isChecked())
