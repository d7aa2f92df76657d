"""What an agent saw at a bar, as a table. GUI thread."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Slot
from PySide6.QtGui import QColor

from app.i18n import format_number, mark, tr, tr_count
from app.theme import FONT_SIZE_M, ThemeManager, number_font
from ml.arrays import Float32Array, FloatArray

NAME, VALUE, UNUSUAL = range(3)
RARE = 3.0  # standard deviations from which on a number stands out
_HEADINGS = (mark("What it saw"), mark("As given"), mark("Unusual"))
_ACCOUNT = {  # what its account is called, and what that is
    "weight": (mark("Own position"), mark("Value of the position as a share of the equity")),
    "unrealised": (mark("Unrealised return"), mark("Since the entry, in volatilities of one bar")),
    "bars_since_change": (mark("Time since a trade"), mark("log(1 + bars since its last trade)")),
    "drawdown": (mark("Own drawdown"), mark("Below its highest equity, as a share of it")),
    "margin_left": (mark("Margin left"), mark("How far the price may move before the account is closed by force")),
    "time_left": (mark("Time left"), mark("Share of the episode that is left")),
}
_EARLIER = re.compile(r"(.+)\[-(\d+)\]")
_Index = QModelIndex | QPersistentModelIndex


def observed_title(name: str) -> str:
    """Return what a number is called on screen."""
    if name in _ACCOUNT:
        return tr(_ACCOUNT[name][0])
    earlier = _EARLIER.fullmatch(name)
    if not earlier:
        return name
    return tr_count("{name}, {n} bar earlier", "{name}, {n} bars earlier", int(earlier[2]), name=earlier[1])


def observed_hint(name: str) -> str:
    """Return what is said of a number under the mouse."""
    return f"{name}: {tr(_ACCOUNT[name][1])}" if name in _ACCOUNT else name


class SeenModel(QAbstractTableModel):
    """One row for each observed number; in the order of the network's input, or the most unusual first."""

    def __init__(self, theme: ThemeManager, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._names: tuple[str, ...] = ()
        self._titles: list[str] = []
        self._values: Float32Array | None = None
        self._unusual = np.empty(0)
        self._order = np.empty(0, np.int64)
        self._by_unusual = False
        self._font = number_font(FONT_SIZE_M)

    def set_names(self, names: tuple[str, ...]) -> None:
        """Show other numbers; they have no values yet."""
        self.beginResetModel()
        self._names, self._values = names, None
        self._titles = [observed_title(name) for name in names]
        self._order = np.arange(len(names))
        self.endResetModel()

    def show_values(self, values: Float32Array | None, unusual: FloatArray) -> None:
        """Show the numbers of a bar; None shows none."""
        if (values is None) != (self._values is None):
            self.beginResetModel()
            self._take(values, unusual)
            self.endResetModel()
        elif values is not None:
            self._take(values, unusual)
            self._tell()

    @Slot(bool)
    def set_most_unusual_first(self, wanted: bool) -> None:
        """Order the rows."""
        self._by_unusual = wanted
        self._take(self._values, self._unusual)
        self._tell()

    def retranslate(self) -> None:
        """Write every name in the present language."""
        self._titles = [observed_title(name) for name in self._names]
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, NAME, UNUSUAL)
        self._tell()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() or self._values is None else len(self._names)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(_HEADINGS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = int(Qt.ItemDataRole.DisplayRole)
    ) -> Any:
        if orientation is Qt.Orientation.Vertical:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return tr(_HEADINGS[section])
        if role == Qt.ItemDataRole.ToolTipRole and section == UNUSUAL:
            return tr("Standard deviations from the mean of this number over the whole episode")
        if role == Qt.ItemDataRole.ToolTipRole and section == VALUE:
            return tr("As the network is given it: features are scaled")
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(section)
        return None

    def data(self, index: _Index, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        if self._values is None or not index.isValid():
            return None
        place, column = int(self._order[index.row()]), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(place, column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.ToolTipRole and column == NAME:
            return observed_hint(self._names[place])
        if role == Qt.ItemDataRole.FontRole and column != NAME:
            return self._font
        if role == Qt.ItemDataRole.ForegroundRole and column == UNUSUAL and abs(self._unusual[place]) >= RARE:
            return QColor(self._theme.palette.warning)
        return None

    def _text(self, place: int, column: int) -> str:
        assert self._values is not None
        if column == NAME:
            return self._titles[place]
        if column == VALUE:
            return format_number(float(self._values[place]), 4, sign=True)
        away = float(self._unusual[place])
        star = "! " if abs(away) >= RARE else ""
        return f"{star}{format_number(away, 1, sign=True)} σ"

    def _take(self, values: Float32Array | None, unusual: FloatArray) -> None:
        self._values, self._unusual = values, unusual
        if self._by_unusual and values is not None:
            self._order = np.argsort(-np.abs(unusual), kind="stable")
        else:
            self._order = np.arange(len(self._names))

    def _tell(self) -> None:
        if rows := self.rowCount():
            self.dataChanged.emit(self.index(0, 0), self.index(rows - 1, UNUSUAL))


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignLeft if column == NAME else Qt.AlignmentFlag.AlignRight
    return side | Qt.AlignmentFlag.AlignVCenter
