"""Chooses feature columns: search in the catalogue, parameters with their ranges, the text form. GUI thread only."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.flows.amount import AmountError, parse_amount
from app.flows.feature_catalogue import CatalogueEntry, FeatureCatalogue, column_text
from app.flows.typed_numbers import plain_text
from app.i18n import format_number, tr
from app.theme import CONTROL_HEIGHT, GRID, SPACE_M, SPACE_S, SPACE_XS, number_font, set_look
from app.ui.wizards.fields import EntryLine, WheelGuard, keep_return, wrapped_label
from app.ui.wizards.side_data import ChosenList
from core.domain.candles import Timeframe
from core.indicators.parameters import ParameterInfo

_LIST_HEIGHT = 52 * GRID
_LIST_WIDTH = 64 * GRID


class ColumnEditor(QWidget):
    """A catalogue to search, the column being made, and the columns chosen.

    Signals:
        edited(str, object): columns were removed: "columns" and those left.
        added(str): a column in its text form is wanted; answered with `show_answer`.
    """

    edited = Signal(str, object)
    added = Signal(str)

    def __init__(self, guard: WheelGuard) -> None:
        super().__init__()
        self.setObjectName("column_editor")
        self._guard = guard
        self._catalogue: FeatureCatalogue | None = None
        self._found: tuple[CatalogueEntry, ...] = ()
        self._chosen: tuple[str, ...] = ()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE_S)
        layout.addLayout(self._build_catalogue())
        line = QHBoxLayout()
        line.setSpacing(SPACE_S)
        self._text, self._add = EntryLine(), QPushButton()
        self._text.setObjectName("column_text_edit")
        self._text.setFont(number_font())
        self._text.setFixedHeight(CONTROL_HEIGHT)
        self._add.setObjectName("column_add_button")
        line.addWidget(self._text, 1)
        line.addWidget(self._add)
        layout.addLayout(line)
        self._answer = wrapped_label("warning")
        self._answer.setObjectName("column_answer")
        layout.addWidget(self._answer)
        self._remove = QPushButton()
        self._remove.setObjectName("column_remove_button")
        self._list = ChosenList("columns_list", self._remove)
        layout.addWidget(self._list)
        layout.addWidget(self._remove, 0, Qt.AlignmentFlag.AlignRight)
        self.setFocusProxy(self._text)
        self._text.returnPressed.connect(self._on_add)
        self._text.textEdited.connect(self._on_text_edited)
        self._add.clicked.connect(self._on_add)
        self._list.removed.connect(self._remove_row)
        self.show_answer("")

    def _build_catalogue(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(SPACE_M)
        left = QVBoxLayout()
        left.setSpacing(SPACE_XS)
        self._search, self._results = EntryLine(), ResultList()
        self._search.setObjectName("column_search_edit")
        self._search.setFixedHeight(CONTROL_HEIGHT)
        self._search.setClearButtonEnabled(True)
        self._search.textChanged.connect(self._on_search)
        self._results.setObjectName("column_results")
        self._results.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._results.currentRowChanged.connect(self._on_picked)
        self._results.itemActivated.connect(self._on_add)
        for widget in (self._search, self._results):
            widget.setFixedWidth(_LIST_WIDTH)
            left.addWidget(widget)
        self._results.setFixedHeight(_LIST_HEIGHT)
        self._nothing = wrapped_label("small")
        self._nothing.setObjectName("column_nothing_label")
        within = QVBoxLayout(self._results)
        within.addWidget(self._nothing, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(left)
        self._details = ColumnDetails(self._guard)
        self._details.changed.connect(self._on_details_changed)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFixedHeight(_LIST_HEIGHT + CONTROL_HEIGHT + SPACE_XS)
        scroll.setWidget(self._details)
        row.addWidget(scroll, 1)
        return row

    # ------------------------------------------------------------------------------------------------- contents

    def retranslate(self) -> None:
        """Set every visible text again."""
        self._search.setPlaceholderText(tr("Search the indicators"))
        self._search.setAccessibleName(tr("Search the indicators"))
        self._results.setAccessibleName(tr("Indicators found"))
        self._text.setPlaceholderText(tr("for example RSI(timeperiod=14)@4h"))
        self._text.setAccessibleName(tr("Column in writing"))
        self._add.setText(tr("Add"))
        self._remove.setText(tr("Remove"))
        self._list.setAccessibleName(tr("Further columns"))
        self._details.retranslate()
        self._show_results()

    def set_sources(self, catalogue: FeatureCatalogue | None, timeframe: str, markets: tuple[str, ...]) -> None:
        """Offer these columns of these markets.

        Args:
            catalogue: None until it was read.
            timeframe: of the own bars; longer ones that are its multiples are offered.
            markets: the others.
        """
        self._details.set_places(markets, _longer(timeframe))
        if catalogue is not self._catalogue:
            self._catalogue = catalogue
            self._show_results()

    def show_value(self, value: Any) -> None:
        if value != self._chosen or self._list.count() != len(value):
            self._chosen = value
            self._list.clear()
            self._list.addItems(list(value))
        self._list.rows_changed()

    def show_answer(self, refusal: str) -> None:
        """Say why the column was not added; "" where it was."""
        self._answer.setText(refusal)
        self._answer.setVisible(bool(refusal))
        set_look(self._text, "invalid", bool(refusal))

    def _show_results(self) -> None:
        self._found = () if self._catalogue is None else self._catalogue.search(self._search.text())
        self._results.blockSignals(True)
        self._results.clear()
        self._results.addItems([f"{entry.name}  ·  {entry.words}" for entry in self._found])
        for row, entry in enumerate(self._found):
            self._results.item(row).setToolTip(entry.words)
        self._results.blockSignals(False)
        nothing = self._catalogue is not None and not self._found
        self._nothing.setVisible(nothing)
        if nothing:
            self._nothing.setText(tr("No indicator of this name. Try a shorter word, or its usual abbreviation."))

    # ---------------------------------------------------------------------------------------------------- slots

    @Slot()
    def _on_search(self) -> None:
        self._show_results()
        if self._found and self._search.text():
            self._results.setCurrentRow(0)

    @Slot(int)
    def _on_picked(self, row: int) -> None:
        if 0 <= row < len(self._found):
            self._details.show_entry(self._found[row])

    @Slot(str)
    def _on_details_changed(self, text: str) -> None:
        self._text.setText(text)
        self.show_answer("")

    @Slot()
    def _on_text_edited(self) -> None:
        self.show_answer("")

    @Slot()
    def _on_add(self) -> None:
        if self._text.text().strip():
            self.added.emit(self._text.text().strip())

    @Slot(int)
    def _remove_row(self, row: int) -> None:
        if 0 <= row < len(self._chosen):
            self.edited.emit("columns", self._chosen[:row] + self._chosen[row + 1 :])


class ResultList(QListWidget):
    """A list whose return key takes the row and does not press the window's default button as well."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        super().keyPressEvent(event)
        keep_return(event)


class ColumnDetails(QWidget):
    """Parameters, output, market and bar length of one kind of column.

    Signals:
        changed(str): the text form of what is set.
    """

    changed = Signal(str)

    def __init__(self, guard: WheelGuard) -> None:
        super().__init__()
        self.setObjectName("column_details")
        self._guard = guard
        self._entry: CatalogueEntry | None = None
        self._parameters: dict[str, QWidget] = {}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, SPACE_S, 0)
        self._grid.setHorizontalSpacing(SPACE_M)
        self._grid.setVerticalSpacing(SPACE_S)
        self._grid.setColumnStretch(2, 1)
        self._title = wrapped_label("strong")
        self._grid.addWidget(self._title, 0, 0, 1, 3)
        self._labels = [QLabel(), QLabel(), QLabel()]
        self._output, self._market, self._timeframe = QComboBox(), QComboBox(), QComboBox()
        for box, name in (
            (self._output, "column_output_box"),
            (self._market, "column_market_box"),
            (self._timeframe, "column_timeframe_box"),
        ):
            box.setObjectName(name)
            box.setFixedHeight(CONTROL_HEIGHT)
            box.setMinimumWidth(36 * GRID)
            guard.watch(box)
            box.currentIndexChanged.connect(self._tell)
        self._markets: tuple[str, ...] = ()
        self._timeframes: tuple[str, ...] = ()
        self._rows: list[tuple[QWidget, ...]] = []
        self.retranslate()
        self._lay_out()

    def retranslate(self) -> None:
        """Set every visible text again."""
        titles = (tr("Output"), tr("Market"), tr("Bar length"))
        for label, title, box in zip(self._labels, titles, (self._output, self._market, self._timeframe), strict=True):
            label.setText(title)
            box.setAccessibleName(title)
        self._fill_boxes()
        if self._entry is None:
            self._title.setText(tr("Choose an indicator on the left, or write a column below."))

    def set_places(self, markets: tuple[str, ...], timeframes: tuple[str, ...]) -> None:
        """Offer other markets and longer bars."""
        if (markets, timeframes) != (self._markets, self._timeframes):
            self._markets, self._timeframes = markets, timeframes
            self._fill_boxes()

    def show_entry(self, entry: CatalogueEntry) -> None:
        """Show one kind of column with its defaults."""
        self._entry = entry
        self._title.setText(f"{entry.name}: {entry.words}")
        self._lay_out()
        self._fill_boxes()
        self._tell()

    def _fill_boxes(self) -> None:
        outputs = () if self._entry is None else self._entry.outputs
        several = len(outputs) > 1
        for box, values, first in (
            (self._output, outputs if several else (), tr("all of them")),
            (self._market, self._markets, tr("the chosen one")),
            (self._timeframe, self._timeframes, tr("the chosen one")),
        ):
            kept = box.currentData()
            box.blockSignals(True)
            box.clear()
            box.addItem(first, "")
            for value in values:
                box.addItem(value, value)
            box.setCurrentIndex(max(0, box.findData(kept)))
            box.blockSignals(False)
        placed = self._entry is not None and not self._entry.own_bars_only
        for label, box, shown in zip(
            self._labels,
            (self._output, self._market, self._timeframe),
            (several, placed and bool(self._markets), placed and bool(self._timeframes)),
            strict=True,
        ):
            label.setVisible(shown)
            box.setVisible(shown)

    def _lay_out(self) -> None:
        """Put the rows of the present kind in place; those of the one before go."""
        for row in self._rows:
            for widget in row:
                self._grid.removeWidget(widget)
                widget.setParent(None)  # gone at once, not when the event loop comes round
                widget.deleteLater()
        self._rows, self._parameters = [], {}
        number = 1
        for info in () if self._entry is None else self._entry.parameters:
            label, field, note = QLabel(info.name), self._field(info), QLabel(_range_text(info))
            set_look(note, "role", "small")
            label.setBuddy(field)
            for column, widget in enumerate((label, field, note)):
                self._grid.addWidget(widget, number, column)
            self._rows.append((label, field, note))
            self._parameters[info.name] = field
            number += 1
        for label, box in zip(self._labels, (self._output, self._market, self._timeframe), strict=True):
            self._grid.addWidget(label, number, 0)
            self._grid.addWidget(box, number, 1)
            number += 1
        for row_number in range(number + 8):
            self._grid.setRowStretch(row_number, 1 if row_number == number else 0)

    def _field(self, info: ParameterInfo) -> QWidget:
        field: QWidget
        if info.choices:
            field = box = QComboBox()
            for value, name in enumerate(info.choices):
                box.addItem(name, float(value))
            box.setCurrentIndex(max(0, box.findData(float(info.default))))
            box.currentIndexChanged.connect(self._tell)
            self._guard.watch(box)
        else:
            field = edit = QLineEdit(plain_text(info.default))
            edit.setFont(number_font())
            edit.textEdited.connect(self._tell)
        field.setObjectName(f"parameter_{info.name}")
        field.setAccessibleName(info.name)
        field.setAccessibleDescription(_range_text(info))
        field.setFixedHeight(CONTROL_HEIGHT)
        field.setMinimumWidth(36 * GRID)
        return field

    @Slot()
    def _tell(self) -> None:
        if self._entry is None:
            return
        values: dict[str, float] = {}
        for info in self._entry.parameters:
            field = self._parameters[info.name]
            if isinstance(field, QComboBox):
                values[info.name] = field.currentData()
            elif isinstance(field, QLineEdit):
                value = _number(field.text())
                set_look(field, "invalid", value is None or not info.allows(value))
                if value is not None:
                    values[info.name] = value
        self.changed.emit(
            column_text(
                self._entry,
                values,
                self._output.currentData() or "",
                "" if self._entry.own_bars_only else self._market.currentData() or "",
                "" if self._entry.own_bars_only else self._timeframe.currentData() or "",
            )
        )


def _number(text: str) -> float | None:
    """Return the number a person typed, with a minus where one stands before it."""
    body = text.strip()
    negative = body[:1] in ("-", "\u2212")
    try:
        value = parse_amount(body[1:] if negative else body)
    except AmountError:
        return None
    return None if value is None else float(-value if negative else value)


def _range_text(info: ParameterInfo) -> str:
    if info.choices:
        return ""
    low, high = format_number(float(info.low)), format_number(float(info.high))
    return tr("whole, {low} to {high}", low=low, high=high) if info.whole else tr("{low} to {high}", low=low, high=high)


def _longer(timeframe: str) -> tuple[str, ...]:
    """Return the bar lengths that bars of this one make up evenly."""
    if timeframe not in tuple(Timeframe):
        return ()
    own = Timeframe(timeframe).ns
    return tuple(each.value for each in Timeframe if each.ns > own and each.ns % own == 0)
