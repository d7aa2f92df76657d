"""First page of the training wizard: which bars to learn from. GUI thread only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QDate, Qt, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QDateEdit,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.flows.datasets import Dataset, SourceKind, TrainingSources, date_text
from app.flows.origin_text import market_title
from app.flows.sentence_text import local_text
from app.flows.training_flow import Step, TrainingFlow
from app.flows.training_review import SOURCE_TITLES
from app.i18n import MISSING, format_number, mark, tr
from app.theme import SPACE_S, SPACE_XL, Palette
from app.ui.wizards.fields import FIELD_WIDTH, Figure, Form, HistoryLine, WheelGuard, card, indent_text, wrapped_label
from app.ui.wizards.step_page import StepPage
from core.domain.data_origin import caution
from core.errors import UserError

_SOURCE_NOTES: dict[SourceKind, str] = {
    SourceKind.STORE: mark("History in the data folder, fetched or imported."),
    SourceKind.PRACTICE: mark("The invented market you practise on; fetched before training starts."),
    SourceKind.FILE: mark("CSV, Feather or Parquet with time, open, high, low, close and volume."),
}


class DataPage(StepPage):
    """Source, market, bar length and range, with a preview."""

    def __init__(self, flow: TrainingFlow, sources: TrainingSources, palette: Palette, guard: WheelGuard) -> None:
        super().__init__(Step.DATA, flow, guard)
        self._sources = sources
        self._dialog: QFileDialog | None = None
        self.body.addWidget(self._build_sources())
        self.body.addWidget(self._build_form())
        self._preview = self._build_preview(palette)
        self.body.addWidget(self._preview, 1)
        self.body.addStretch()

    # ------------------------------------------------------------------------------------------------- building

    def _build_sources(self) -> QWidget:
        box = QWidget()
        layout = QVBoxLayout(box)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE_S)
        self._kinds = tuple(SourceKind)
        self._group = QButtonGroup(self)
        self._radios: dict[SourceKind, QRadioButton] = {}
        for index, kind in enumerate(self._kinds):
            radio = QRadioButton()
            radio.setObjectName(f"source_{kind.value}")
            self._group.addButton(radio, index)
            self._radios[kind] = radio
            layout.addWidget(radio)
        self._group.idToggled.connect(self._on_source_toggled)
        return box

    def _build_form(self) -> Form:
        form = Form()
        self._symbol, self._timeframe = QComboBox(), QComboBox()
        self._symbol.setObjectName("symbol_box")
        self._timeframe.setObjectName("timeframe_box")
        for box in (self._symbol, self._timeframe):
            box.setFixedWidth(FIELD_WIDTH)
            self._guard.watch(box)
        self._symbol.currentIndexChanged.connect(self._on_market_changed)
        self._timeframe.currentTextChanged.connect(self._on_timeframe_changed)

        self._path, self._browse = QLineEdit(), QPushButton()
        self._path.setObjectName("file_edit")
        self._browse.setObjectName("browse_button")
        self._path.editingFinished.connect(self._on_path_edited)
        self._browse.clicked.connect(self._on_browse_clicked)
        file_field = QWidget()
        file_layout = QHBoxLayout(file_field)
        file_layout.setContentsMargins(0, 0, 0, 0)
        file_layout.setSpacing(SPACE_S)
        file_layout.addWidget(self._path, 1)
        file_layout.addWidget(self._browse)
        file_field.setFocusProxy(self._path)

        self._whole = QCheckBox()
        self._whole.setObjectName("whole_range_box")
        self._whole.toggled.connect(self._on_whole_toggled)
        self._start, self._end = QDateEdit(), QDateEdit()
        for edit, name in ((self._start, "start_edit"), (self._end, "end_edit")):
            edit.setObjectName(name)
            edit.setDisplayFormat("yyyy-MM-dd")
            edit.setFixedWidth(FIELD_WIDTH)
            edit.setKeyboardTracking(False)  # a half-typed year is no date to act on
            edit.dateChanged.connect(self._on_dates_changed)
            indent_text(edit)
            self._guard.watch(edit)
        self._symbol_row, self._timeframe_row = form.add_row(self._symbol), form.add_row(self._timeframe)
        self._path_row = form.add_row(file_field, wide=True)
        self._path_row.label.setBuddy(self._path)
        self._whole_row = form.add_row(self._whole)
        self._start_row, self._end_row = form.add_row(self._start), form.add_row(self._end)
        return form

    def _build_preview(self, palette: Palette) -> QWidget:
        frame, layout = card()
        frame.setObjectName("preview_card")
        row = QHBoxLayout()
        row.setSpacing(SPACE_XL)
        self._bars, self._gaps, self._first, self._last = Figure(), Figure(), Figure(), Figure()
        for figure in (self._bars, self._gaps, self._first, self._last):
            row.addWidget(figure)
        row.addStretch(1)
        self._line = HistoryLine(palette)
        self._caution = wrapped_label("warning")
        self._caution.setObjectName("data_caution")
        layout.addLayout(row)
        layout.addWidget(self._caution)
        layout.addWidget(self._line, 1)
        return frame

    # ---------------------------------------------------------------------------------------------------- pages

    def set_palette(self, palette: Palette) -> None:
        self._line.set_palette(palette)

    def set_datasets(self, datasets: Sequence[Dataset]) -> None:
        """Offer other histories; the entries stay where they still exist."""
        self._flow.set_datasets(datasets)
        self.refresh()

    def retranslate(self) -> None:
        self.set_heading(tr("Data range"), tr("Which bars the model learns from and is tested on."))
        for kind, radio in self._radios.items():
            radio.setText(f"{tr(SOURCE_TITLES[kind])}  —  {tr(_SOURCE_NOTES[kind])}")
            radio.setAccessibleName(tr(SOURCE_TITLES[kind]))
            radio.setAccessibleDescription(tr(_SOURCE_NOTES[kind]))
        self._symbol_row.set_texts(tr("&Market"), tr("One model forecasts one market."))
        self._timeframe_row.set_texts(
            tr("Bar &length"), tr("Short bars give more examples but more noise and higher costs per move.")
        )
        self._path_row.set_texts(tr("&File"), tr("Market and bar length are read from its name and rows."))
        self._path.setAccessibleName(tr("File"))
        self._browse.setText(tr("Choose a file…"))
        self._browse.setAccessibleName(tr("Choose a file…"))
        self._whole_row.set_texts(tr("&Range"), tr("More history is usually better than a larger network."))
        self._whole.setText(tr("Use every bar"))
        self._start_row.set_texts(tr("Fr&om"), tr("First day, UTC."))
        self._end_row.set_texts(tr("&To"), tr("Last day, UTC, included."))

    def fill(self) -> None:
        draft = self._flow.draft
        for kind, radio in self._radios.items():
            radio.setChecked(kind is draft.source)
        markets = self._flow.markets()
        chosen = (draft.symbol, draft.origin)
        _fill_box(self._symbol, self._market_names(), markets.index(chosen) if chosen in markets else -1)
        lengths = self._flow.timeframes()
        _fill_box(self._timeframe, lengths, lengths.index(draft.timeframe) if draft.timeframe in lengths else -1)
        if self._path.text() != draft.file_path:
            self._path.setText(draft.file_path)
        self._whole.setChecked(draft.whole_range)
        self._start.setDate(QDate.fromString(draft.start_date, Qt.DateFormat.ISODate))
        self._end.setDate(QDate.fromString(draft.end_date, Qt.DateFormat.ISODate))
        is_file = draft.source is SourceKind.FILE
        for row in (self._symbol_row, self._timeframe_row):
            row.set_visible(not is_file)
        self._path_row.set_visible(is_file)
        for row in (self._start_row, self._end_row):
            row.set_visible(not draft.whole_range)

    def _market_names(self) -> list[str]:
        """Name the markets; of the practice source the heading of the choice says already whose they are."""
        if self._flow.draft.source is SourceKind.PRACTICE:
            return [symbol for symbol, _ in self._flow.markets()]
        return [market_title(symbol, "", origin) for symbol, origin in self._flow.markets()]

    def show_derived(self) -> None:
        dataset, summary = self._flow.dataset, self._flow.summary()
        bars = gaps = first = last = MISSING
        if summary is not None and summary.first_ns is not None and summary.last_ns is not None:
            bars, first, last = format_number(summary.bars), date_text(summary.first_ns), date_text(summary.last_ns)
            gaps = (
                tr("none")
                if not summary.gaps
                else tr("{gaps} ({bars} bars)", gaps=format_number(summary.gaps), bars=format_number(summary.missing))
            )
        self._bars.set_texts(tr("Bars"), bars)
        self._gaps.set_texts(tr("Gaps"), gaps)
        self._first.set_texts(tr("First bar (UTC)"), first)
        self._last.set_texts(tr("Last bar (UTC)"), last)
        words = "" if dataset is None else local_text(caution(dataset.origin))
        self._caution.setText(words)
        self._caution.setVisible(bool(words))
        self._show_line(dataset)

    def _show_line(self, dataset: Dataset | None) -> None:
        summary = self._flow.summary()
        drawn = dataset is not None and len(dataset.closes) > 1
        self._line.setVisible(drawn)
        policy = QSizePolicy.Policy
        self._preview.setSizePolicy(policy.Preferred, policy.Expanding if drawn else policy.Maximum)
        if dataset is None or summary is None or summary.first_ns is None or summary.last_ns is None:
            self._line.set_values(() if dataset is None else dataset.closes, 0.0, 0.0)
            return
        span = max(1, dataset.last_ns - dataset.first_ns)
        self._line.set_values(
            dataset.closes,
            (summary.first_ns - dataset.first_ns) / span,
            (summary.last_ns - dataset.first_ns) / span,
        )

    # ---------------------------------------------------------------------------------------------------- slots

    @Slot(int, bool)
    def _on_source_toggled(self, index: int, checked: bool) -> None:
        if checked:
            self.take(source=self._kinds[index])

    @Slot(int)
    def _on_market_changed(self, index: int) -> None:
        markets = self._flow.markets()
        if 0 <= index < len(markets):
            symbol, origin = markets[index]
            self.take(symbol=symbol, origin=origin)

    @Slot(str)
    def _on_timeframe_changed(self, timeframe: str) -> None:
        self.take(timeframe=timeframe)

    @Slot(bool)
    def _on_whole_toggled(self, checked: bool) -> None:
        self.take(whole_range=checked)

    @Slot(QDate)
    def _on_dates_changed(self, _date: QDate) -> None:
        self.take(
            start_date=self._start.date().toString(Qt.DateFormat.ISODate),
            end_date=self._end.date().toString(Qt.DateFormat.ISODate),
        )

    @Slot()
    def _on_path_edited(self) -> None:
        path = self._path.text().strip()
        if path and path != self._flow.draft.file_path:
            self.choose_file(path)

    @Slot()
    def _on_browse_clicked(self) -> None:
        dialog = QFileDialog(self, tr("Choose a file with candles"))
        dialog.setObjectName("candle_file_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilter(tr("Candles ({patterns})", patterns="*.csv *.csv.gz *.feather *.parquet"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.choose_file)
        dialog.open()

    @Slot(str)
    def choose_file(self, path: str) -> None:
        """Take a file and have it looked into in the background."""
        self.take(source=SourceKind.FILE, file_path=path)
        self._sources.inspect_file(Path(path), self._file_done(path))

    def _file_done(self, path: str) -> _FileAnswer:
        return _FileAnswer(self, path)

    def take_file(self, path: str, content: Dataset | UserError) -> None:
        """Show what a file holds; on the GUI thread."""
        self._flow.set_file(path, content)
        self.refresh()
        self.edited.emit()


class _FileAnswer:
    """Brings the answer about one file back to the page."""

    def __init__(self, page: DataPage, path: str) -> None:
        self._page, self._path = page, path

    def __call__(self, content: Dataset | UserError) -> None:
        self._page.take_file(self._path, content)


def _fill_box(box: QComboBox, items: Sequence[str], chosen: int) -> None:
    if [box.itemText(index) for index in range(box.count())] != list(items):
        box.clear()
        box.addItems(list(items))
    box.setCurrentIndex(chosen)
