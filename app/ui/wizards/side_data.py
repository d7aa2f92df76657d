"""What feature columns may look at beside the own bars: other markets and series from files. GUI thread only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QWidget,
)

from app.flows.amount import AmountError, parse_amount
from app.flows.datasets import SeriesExtent, date_text
from app.flows.feature_catalogue import SERIES_NAMES
from app.flows.sentence_text import local_text
from app.flows.typed_numbers import plain_text
from app.i18n import tr
from app.theme import CONTROL_HEIGHT, GRID, ROW_HEIGHT, SPACE_S, SPACE_XS, number_font
from app.ui.dialogs.file_picker import DATA_FILES, existing_file_picker
from app.ui.wizards.fields import FIELD_WIDTH, EntryLine, wrapped_label
from core.errors import UserError
from ml.api import SeriesSource

_SHOWN_ROWS = 4


class ShortList(QListWidget):
    """A list as high as its rows, up to a few.

    Signals:
        removed(int): the person pressed Delete on a row.
    """

    removed = Signal(int)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setFont(number_font())
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)

    def fit(self) -> None:
        """Take the height the rows need."""
        rows = min(_SHOWN_ROWS, max(1, self.count()))
        height = max(ROW_HEIGHT, self.sizeHintForRow(0)) if self.count() else ROW_HEIGHT
        self.setFixedHeight(rows * height + 2 * self.frameWidth() + 2 * GRID)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and self.currentRow() >= 0:
            self.removed.emit(self.currentRow())
        else:
            super().keyPressEvent(event)


class ChosenList(ShortList):
    """Rows a person can take away: by key, or by a button that is there while there are any."""

    def __init__(self, name: str, button: QPushButton) -> None:
        super().__init__(name)
        self._button = button
        button.clicked.connect(self._on_button)
        self.currentRowChanged.connect(self._show_button)

    def rows_changed(self) -> None:
        """Follow other rows in height; without any, list and button are hidden."""
        self.fit()
        self.setVisible(self.count() > 0)
        self._show_button()

    @Slot()
    def _show_button(self) -> None:
        self._button.setVisible(self.count() > 0)
        self._button.setEnabled(self.currentRow() >= 0)

    @Slot()
    def _on_button(self) -> None:
        if self.currentRow() >= 0:
            self.removed.emit(self.currentRow())


class MarketsField(ShortList):
    """Markets to tick."""

    edited = Signal(str, object)

    def __init__(self, entry: str) -> None:
        super().__init__(f"{entry}_list")
        self._entry = entry
        self.itemChanged.connect(self._on_item_changed)

    def set_offered(self, markets: tuple[str, ...]) -> None:
        """Offer these markets."""
        if tuple(self.item(row).text() for row in range(self.count())) == markets:
            return
        self.blockSignals(True)
        self.clear()
        for market in markets:
            item = QListWidgetItem(market)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked)
            self.addItem(item)
        self.blockSignals(False)
        self.fit()

    def show_value(self, value: Any) -> None:
        self.blockSignals(True)
        for row in range(self.count()):
            item = self.item(row)
            item.setCheckState(Qt.CheckState.Checked if item.text() in value else Qt.CheckState.Unchecked)
        self.blockSignals(False)

    @Slot(QListWidgetItem)
    def _on_item_changed(self, _item: QListWidgetItem) -> None:
        items = [self.item(row) for row in range(self.count())]
        ticked = tuple(item.text() for item in items if item.checkState() is Qt.CheckState.Checked)
        self.edited.emit(self._entry, ticked)


class SeriesField(QWidget):
    """Series from files: those chosen, and a line to add another one."""

    edited = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("series_field")
        self._series: tuple[SeriesSource, ...] = ()
        self._spans: dict[str, str] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(SPACE_S)
        grid.setVerticalSpacing(SPACE_XS)
        self._name = QComboBox()
        self._name.setObjectName("series_name_box")
        self._name.setEditable(True)
        self._name.addItems([*SERIES_NAMES, "onchain:"])
        self._path, self._column, self._delay = EntryLine(), EntryLine("value"), EntryLine()
        self._browse, self._add, self._remove = QPushButton(), QPushButton(), QPushButton()
        for widget, name in (
            (self._path, "series_file_edit"),
            (self._column, "series_column_edit"),
            (self._delay, "series_delay_edit"),
            (self._browse, "series_browse_button"),
            (self._add, "series_add_button"),
            (self._remove, "series_remove_button"),
        ):
            widget.setObjectName(name)
        self._captions = [QLabel() for _ in range(4)]
        cells = (self._name, self._path, self._column, self._delay)
        for column, (caption, cell) in enumerate(zip(self._captions, cells, strict=True)):
            caption.setBuddy(cell)
            cell.setFixedHeight(CONTROL_HEIGHT)
            grid.addWidget(caption, 0, column)
            grid.addWidget(cell, 1, column)
        self._name.setMinimumWidth(FIELD_WIDTH * 3 // 4)
        for edit in (self._column, self._delay):
            edit.setFixedWidth(22 * GRID)
        grid.setColumnStretch(1, 1)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addWidget(self._browse)
        buttons.addWidget(self._add)
        buttons.addStretch(1)
        buttons.addWidget(self._remove)
        grid.addLayout(buttons, 2, 0, 1, 4)
        self._refusal = wrapped_label("warning")
        self._refusal.setObjectName("series_refusal")
        self._refusal.hide()
        grid.addWidget(self._refusal, 3, 0, 1, 4)
        self._list = ChosenList("series_list", self._remove)
        grid.addWidget(self._list, 4, 0, 1, 4)
        self.setFocusProxy(self._path)
        self._browse.clicked.connect(self._on_browse)
        self._add.clicked.connect(self._on_add)
        for line in (self._path, self._column, self._delay):
            line.returnPressed.connect(self._on_add)
            line.textEdited.connect(self._on_typed)
        self._list.removed.connect(self._remove_row)

    def retranslate(self) -> None:
        """Set every visible text again."""
        titles = (tr("Name"), tr("File"), tr("Column"), tr("Known after (s)"))
        for caption, title, cell in zip(
            self._captions, titles, (self._name, self._path, self._column, self._delay), strict=True
        ):
            caption.setText(title)
            cell.setAccessibleName(title)
        self._browse.setText(tr("Choose a file…"))
        self._add.setText(tr("Add"))
        self._remove.setText(tr("Remove"))
        self._list.setAccessibleName(tr("Series from files"))
        self._show_list()

    def show_value(self, value: Any) -> None:
        if value != self._series or self._list.count() != len(value):
            self._series = value
            self._show_list()

    def set_extents(self, extents: Mapping[str, SeriesExtent]) -> None:
        """Say of each series when its values are known, where its file was read."""
        spans = {
            name: tr("{first} to {last}", first=date_text(extent.first_ns), last=date_text(extent.last_ns))
            for name, extent in extents.items()
        }
        if spans != self._spans:
            self._spans = spans
            self._show_list()

    def refuse_unfinished(self) -> bool:
        """Return whether a series is filled in and not added, and say so: leaving would lose it."""
        if not self._path.text().strip():
            return False
        self._refuse(self._refusal.text() or tr("This series is not added yet: press Add, or empty the field File."))
        self._path.setFocus()
        return True

    def _show_list(self) -> None:
        row = self._list.currentRow()
        self._list.clear()
        for source in self._series:
            span = self._spans.get(source.name, "")
            text = _row_text(source) + (f" · {span}" if span else "")
            self._list.addItem(text)
            self._list.item(self._list.count() - 1).setToolTip(f"{text}\n{source.path}")
        self._list.setCurrentRow(min(row, self._list.count() - 1))
        self._list.rows_changed()

    def _refuse(self, text: str) -> None:
        self._refusal.setText(text)
        self._refusal.setVisible(bool(text))

    @Slot()
    def _on_typed(self) -> None:
        self._refuse("")

    @Slot()
    def _on_browse(self) -> None:
        files = tr("Series ({patterns})", patterns=DATA_FILES)
        dialog = existing_file_picker(self, "series_file_dialog", tr("Choose a file with a series"), files)
        dialog.fileSelected.connect(self._path.setText)
        dialog.open()

    @Slot()
    def _on_add(self) -> None:
        """Take the line as a series; a name that is there already gets the new file."""
        try:
            amount = parse_amount(self._delay.text())
        except AmountError as exc:
            before = self._delay.text().strip().startswith("-")
            early = tr("A value cannot be known before its own time: write 0 or more seconds.")
            self._refuse(early if before else exc.sentence.text())
            self._delay.setFocus()
            return
        source = SeriesSource(
            self._name.currentText().strip(),
            self._path.text().strip(),
            self._column.text().strip() or "value",
            None if amount is None else float(amount),
        )
        try:
            source.validate()
        except UserError as exc:
            self._refuse(local_text(str(exc)))
            (self._path if source.name else self._name).setFocus()
            return
        self._refuse("")
        self._path.clear()
        kept = tuple(each for each in self._series if each.name != source.name)
        self.edited.emit("series", (*kept, source))

    @Slot(int)
    def _remove_row(self, row: int) -> None:
        if 0 <= row < len(self._series):
            self.edited.emit("series", self._series[:row] + self._series[row + 1 :])


def _row_text(source: SeriesSource) -> str:
    file = Path(source.path).name
    if source.delay_s is None:
        return tr("{name}: {file}, column {column}", name=source.name, file=file, column=source.column)
    return tr(
        "{name}: {file}, column {column}, known after {delay} s",
        name=source.name,
        file=file,
        column=source.column,
        delay=plain_text(source.delay_s),
    )
