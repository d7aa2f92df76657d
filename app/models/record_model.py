"""The one table model behind every table: records by key, display strings cached, at most ten repaints a second.

GUI thread only. `put` and `discard` only stage; `flush` (driven by the window's table timer) applies everything at
once, so that a thousand updates between two frames cost one `dataChanged`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Generic, TypeVar

from PySide6.QtCore import (
    QAbstractItemModel,
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)
from PySide6.QtGui import QColor

from app.i18n import tr
from app.theme import Palette

R = TypeVar("R")
AnyIndex = QModelIndex | QPersistentModelIndex

SORT_ROLE = int(Qt.ItemDataRole.UserRole) + 1
KEY_ROLE = int(Qt.ItemDataRole.UserRole) + 2

FLUSH_ROWS = 200
RANGE_GAP = 32

_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
_ROOT = QModelIndex()


class Tone(StrEnum):
    """Meaning of a cell's colour; the palette turns it into one. The values are field names of `Palette`."""

    UP = "up"
    DOWN = "down"
    MUTED = "muted"
    WARNING = "warning"
    DANGER = "danger"
    SUCCESS = "success"
    ACCENT = "accent"


@dataclass(frozen=True)  # no slots: calling a generic alias of a frozen class with slots fails on Python 3.11
class Column(Generic[R]):
    """One column.

    Attributes:
        key: constant name, used in tests and saved header states.
        title: English source of the header.
        text: what the cell shows.
        sort: raw number or string to sort by; never the display text.
        numeric: right-aligned with tabular digits.
        tone: meaning of the colour, or None for ordinary text.
        width: default width in characters of the table's font.
    """

    key: str
    title: str
    text: Callable[[R], str]
    sort: Callable[[R], float | int | str]
    numeric: bool = False
    tone: Callable[[R], Tone | None] | None = None
    width: int = 10


class RecordModel(QAbstractTableModel, Generic[R]):
    """Rows are frozen records, found again by key.

    Args:
        columns: what is shown.
        key: stable identity of a record.
        limit: most rows kept; the oldest go first. None keeps all.
        row_tone: meaning of the colour of a row, for the cells that have none of their own.
    """

    def __init__(
        self,
        columns: Iterable[Column[R]],
        key: Callable[[R], str],
        *,
        limit: int | None = None,
        row_tone: Callable[[R], Tone | None] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._row_tone = row_tone
        self.columns: tuple[Column[R], ...] = tuple(columns)
        self._key = key
        self._limit = limit
        self._records: list[R] = []
        self._texts: list[tuple[str, ...]] = []
        self._rows: dict[str, int] = {}
        self._staged: dict[str, R | None] = {}
        self._colours: dict[str, QColor] = {}

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, record: R) -> None:
        """Stage a new or changed record."""
        self._staged[self._key(record)] = record

    def discard(self, key: str) -> None:
        """Stage the removal of a record; unknown keys are ignored."""
        self._staged[key] = None

    def clear(self) -> None:
        """Remove everything at once."""
        self.beginResetModel()
        self._records.clear()
        self._texts.clear()
        self._rows.clear()
        self._staged.clear()
        self.endResetModel()

    def flush(self) -> bool:
        """Apply what is staged, at most `FLUSH_ROWS` records so that the window never stands still; the rest waits.

        Returns:
            Whether anything changed on screen.
        """
        if not self._staged:
            return False
        staged = dict(islice(self._staged.items(), FLUSH_ROWS))
        self._staged = dict(islice(self._staged.items(), FLUSH_ROWS, None))
        gone = sorted(
            (self._rows[key] for key, rec in staged.items() if rec is None and key in self._rows), reverse=True
        )
        changed = {self._rows[key]: rec for key, rec in staged.items() if rec is not None and key in self._rows}
        fresh = [rec for key, rec in staged.items() if rec is not None and key not in self._rows]
        self._change(changed)
        self._remove(gone)
        self._append(fresh)
        self._enforce_limit()
        return bool(gone or changed or fresh)

    def _change(self, changed: dict[int, R]) -> None:
        if not changed:
            return
        for row, record in changed.items():
            self._records[row] = record
            self._texts[row] = self._describe(record)
        for top, bottom in _ranges(sorted(changed)):
            self.dataChanged.emit(self.index(top, 0), self.index(bottom, len(self.columns) - 1))

    def _remove(self, rows_descending: list[int]) -> None:
        for row in rows_descending:
            self.beginRemoveRows(_ROOT, row, row)
            del self._records[row], self._texts[row]
            self.endRemoveRows()
        if rows_descending:
            self._reindex()

    def _append(self, fresh: list[R]) -> None:
        if self._limit is not None:
            fresh = fresh[-self._limit :]
        if not fresh:
            return
        first = len(self._records)
        self.beginInsertRows(_ROOT, first, first + len(fresh) - 1)
        for record in fresh:
            self._rows[self._key(record)] = len(self._records)
            self._records.append(record)
            self._texts.append(self._describe(record))
        self.endInsertRows()

    def _enforce_limit(self) -> None:
        surplus = 0 if self._limit is None else len(self._records) - self._limit
        if surplus > 0:
            self.beginRemoveRows(_ROOT, 0, surplus - 1)
            del self._records[:surplus], self._texts[:surplus]
            self.endRemoveRows()
            self._reindex()

    def _reindex(self) -> None:
        self._rows = {self._key(record): row for row, record in enumerate(self._records)}

    def _describe(self, record: R) -> tuple[str, ...]:
        return tuple(column.text(record) for column in self.columns)

    # -- reading ---------------------------------------------------------------------------------------------------

    def record(self, key: str) -> R | None:
        """Return the record with this key as last put, flushed or not."""
        if key in self._staged:
            return self._staged[key]
        row = self._rows.get(key)
        return None if row is None else self._records[row]

    def record_at(self, row: int) -> R:
        """Return the record shown in a row."""
        return self._records[row]

    def records(self) -> list[R]:
        """Return every record, staged changes included, in row order."""
        current = {self._key(record): record for record in self._records}
        for key, record in self._staged.items():
            if record is None:
                current.pop(key, None)
            else:
                current[key] = record
        return list(current.values())

    def column_index(self, key: str) -> int:
        """Return the position of a column by its constant name."""
        return next(i for i, column in enumerate(self.columns) if column.key == key)

    # -- look ------------------------------------------------------------------------------------------------------

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of a theme."""
        self._colours = {tone.value: QColor(getattr(palette, tone.value)) for tone in Tone}
        self._repaint()

    def retranslate(self) -> None:
        """Write headers and cells in the present language."""
        self._texts = [self._describe(record) for record in self._records]
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(self.columns) - 1)
        self._repaint()

    def _repaint(self) -> None:
        if self._records:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._records) - 1, len(self.columns) - 1))

    # -- QAbstractTableModel ---------------------------------------------------------------------------------------

    def rowCount(self, parent: AnyIndex = _ROOT) -> int:
        return 0 if parent.isValid() else len(self._records)

    def columnCount(self, parent: AnyIndex = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.columns)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        # Called some thousand times per repaint: DisplayRole first, everything else by plain comparison.
        if not index.isValid():
            return None
        row, col = index.row(), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._texts[row][col]
        column = self.columns[col]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT if column.numeric else _LEFT
        if role == Qt.ItemDataRole.ForegroundRole:
            tone = None if column.tone is None else column.tone(self._records[row])
            if tone is None and self._row_tone is not None:
                tone = self._row_tone(self._records[row])
            return None if tone is None else self._colours.get(tone.value)
        if role == SORT_ROLE:
            return column.sort(self._records[row])
        if role == KEY_ROLE:
            return self._key(self._records[row])
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._texts[row][col] or None
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(self.columns):
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return tr(column.title)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT if column.numeric else _LEFT
        return None


def _ranges(rows: list[int]) -> list[tuple[int, int]]:
    """Cover ascending rows by ranges; a proxy looks at every row of a range, so wide gaps are left out."""
    ranges = [(rows[0], rows[0])]
    for row in rows[1:]:
        first, last = ranges[-1]
        if row - last <= RANGE_GAP:
            ranges[-1] = (first, row)
        else:
            ranges.append((row, row))
    return ranges


class RecordProxy(QSortFilterProxyModel, Generic[R]):
    """Sorts by the raw values and filters by a predicate and a search text over all columns."""

    def __init__(self, model: RecordModel[R], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._records: RecordModel[R] = model
        self._accepts: Callable[[R], bool] | None = None
        self._needle = ""
        self.setSortRole(SORT_ROLE)
        self.setSourceModel(model)

    def set_filter(self, accepts: Callable[[R], bool] | None) -> None:
        """Show only records for which `accepts` is true; None shows all."""
        self.beginFilterChange()
        self._accepts = accepts
        self.endFilterChange(QSortFilterProxyModel.Direction.Rows)

    def set_search(self, text: str) -> None:
        """Show only rows with `text` in one of their cells, ignoring case."""
        self.beginFilterChange()
        self._needle = text.strip().casefold()
        self.endFilterChange(QSortFilterProxyModel.Direction.Rows)

    def record_at(self, proxy_row: int) -> R:
        """Return the record shown in a row of the view."""
        return self._records.record_at(self.mapToSource(self.index(proxy_row, 0)).row())

    def filterAcceptsRow(self, source_row: int, source_parent: AnyIndex) -> bool:
        if self._accepts is not None and not self._accepts(self._records.record_at(source_row)):
            return False
        if not self._needle:
            return True
        model: QAbstractItemModel = self._records
        return any(
            self._needle in str(model.index(source_row, col).data()).casefold() for col in range(model.columnCount())
        )
