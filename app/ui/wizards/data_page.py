"""First page of the training wizard: which bars to learn from. GUI thread only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from shiboken6 import isValid

from app.flows.agent_review import SUBJECT_NOTES, SUBJECT_TITLES, forecaster_title, out_of_use
from app.flows.datasets import Dataset, SeriesExtent, SourceKind, TrainingSources, date_text
from app.flows.origin_text import market_title
from app.flows.sentence_text import local_text
from app.flows.training_flow import Step, TrainingFlow
from app.flows.training_review import SOURCE_TITLES
from app.i18n import MISSING, format_number, mark, tr
from app.theme import SPACE_S, SPACE_XL, Palette
from app.ui.dialogs.file_picker import DATA_FILES, existing_file_picker
from app.ui.wizards.draft_fields import ChoiceField, DayField, SwitchField
from app.ui.wizards.fields import FIELD_WIDTH, EntryLine, Figure, Form, HistoryLine, WheelGuard, card, wrapped_label
from app.ui.wizards.side_data import MarketsField, SeriesField
from app.ui.wizards.step_page import StepPage
from core.domain.data_origin import caution
from core.errors import UserError
from ml.api import SeriesSource

_SOURCE_NOTES: dict[SourceKind, str] = {
    SourceKind.STORE: mark("History in the data folder, fetched or imported."),
    SourceKind.PRACTICE: mark("The invented market you practise on; fetched before training starts."),
    SourceKind.FILE: mark("CSV, Feather or Parquet with time, open, high, low, close and volume."),
}


_WIDE_FIELD = FIELD_WIDTH + FIELD_WIDTH // 2


class DataPage(StepPage):
    """Source, market, bar length and range, with a preview."""

    def __init__(self, flow: TrainingFlow, sources: TrainingSources, palette: Palette, guard: WheelGuard) -> None:
        super().__init__(Step.DATA, flow, guard)
        self._sources = sources
        self._dialog: QFileDialog | None = None
        self._asked: set[object] = set()  # files somebody looks into already
        self.body.addWidget(self._build_subject())
        self.body.addWidget(self._build_sources())
        self.body.addWidget(self._build_form())
        self._preview = self._build_preview(palette)
        self.body.addWidget(self._preview, 1)
        self._build_advanced()
        self.body.addStretch()

    # ------------------------------------------------------------------------------------------------- building

    def _build_subject(self) -> Form:
        form, self._subject = Form(), ChoiceField("subject")
        self._subject.setFixedWidth(_WIDE_FIELD)
        self.add_field(form, "subject", self._subject)
        return form

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
        self._symbol.currentIndexChanged.connect(self._on_market_changed)
        self._timeframe.currentTextChanged.connect(self._on_timeframe_changed)

        self._path, self._browse = EntryLine(), QPushButton()
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

        self._whole = SwitchField("whole_range")
        self._symbol_row = self.add_field(form, "symbol", self._symbol)
        self._timeframe_row = self.add_field(form, "timeframe", self._timeframe)
        self._path_row = self.add_field(form, "file_path", file_field, wide=True)
        self._path_row.label.setBuddy(self._path)
        self._forecaster = ChoiceField("encoder_model")
        self._forecaster.setFixedWidth(2 * FIELD_WIDTH)
        self.add_field(form, "encoder_model", self._forecaster, wide=True)
        self.add_field(form, "whole_range", self._whole)
        self._start_row = self.add_field(form, "start_date", DayField("start_date", "start_edit"))
        self._end_row = self.add_field(form, "end_date", DayField("end_date", "end_edit"))
        return form

    def _build_advanced(self) -> None:
        form = self.add_advanced().form
        self._markets, self._further, self._series = (
            MarketsField("markets"),
            MarketsField("further_markets"),
            SeriesField(),
        )
        self._markets_row = self.add_field(form, "markets", self._markets, wide=True, tall=True)
        self.add_field(form, "further_markets", self._further, wide=True, tall=True)
        self.add_field(form, "series", self._series, wide=True, tall=True)

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
        self._subject.set_choices([(subject, tr(title)) for subject, title in SUBJECT_TITLES.items()])
        self._path.setAccessibleName(tr("File"))
        self._browse.setText(tr("Choose a file…"))
        self._browse.setAccessibleName(tr("Choose a file…"))
        self._whole.setText(tr("Use every bar"))
        self._series.retranslate()

    def row_texts(self) -> dict[str, tuple[str, str]]:
        draft = self._flow.draft
        return {
            "subject": (tr("Tra&in"), tr(SUBJECT_NOTES[self._flow.subject])),
            "encoder_model": (
                tr("Fore&caster"),
                tr("A stored one of this market and bar length. It must not know the bars the agent is judged on."),
            ),
            "symbol": (
                tr("&Market"),
                tr("What the agent learns on and is judged on.")
                if self._flow.subject.trains_agent
                else tr("One model forecasts one market."),
            ),
            "timeframe": (
                tr("Bar &length"),
                tr("Short bars give more examples but more noise and higher costs per move."),
            ),
            "file_path": (tr("&File"), tr("Market and bar length are read from its name and rows.")),
            "whole_range": (tr("&Range"), tr("More history is usually better than a larger network.")),
            "start_date": (tr("Fr&om"), _day_note(draft.start_date, tr("First day, UTC."))),
            "end_date": (tr("&To"), _day_note(draft.end_date, tr("Last day, UTC, included."))),
            "markets": (
                tr("Ot&her markets"),
                tr(
                    "Feature columns may look at these as well, for example at bitcoin when ether is forecast. "
                    "Strategies do not take such a model yet: it can be judged, not traded."
                )
                if self._flow.other_markets()
                else tr("No other market of this bar length is stored beside the chosen one."),
            ),
            "further_markets": (
                tr("&Also learn on"),
                tr(
                    "The agent learns on these beside its own, with the same costs, and is judged on each: what holds "
                    "on several markets is less often luck."
                )
                if self._flow.other_markets()
                else tr("No other market of this bar length is stored beside the chosen one."),
            ),
            "series": (
                tr("&Series from files"),
                tr(
                    "Funding, order book or on-chain figures by the time they became known. Only for feature columns "
                    "that name them; strategies do not take such a model yet."
                ),
            ),
        }

    def unused(self) -> frozenset[str]:
        return out_of_use(self._flow.draft.agent)

    def fill(self) -> None:
        draft = self._flow.draft
        self._forecaster.set_choices([(item.model_id, forecaster_title(item)) for item in self._flow.forecasters()])
        for kind, radio in self._radios.items():
            radio.setChecked(kind is draft.source)
        markets = self._flow.markets()
        chosen = (draft.symbol, draft.origin)
        _fill_box(self._symbol, self._market_names(), markets.index(chosen) if chosen in markets else -1)
        lengths = self._flow.timeframes()
        _fill_box(self._timeframe, lengths, lengths.index(draft.timeframe) if draft.timeframe in lengths else -1)
        if self._path.text() != draft.file_path:
            self._path.setText(draft.file_path)
        super().fill()
        for field, ticked in ((self._markets, draft.markets), (self._further, draft.agent.further_markets)):
            field.set_offered(tuple(dict.fromkeys((*self._flow.other_markets(), *ticked))))
            field.show_value(ticked)
        self._series.set_extents(self._flow.extents())
        is_file = draft.source is SourceKind.FILE
        for row in (self._symbol_row, self._timeframe_row):
            row.set_visible(not is_file)
        self._path_row.set_visible(is_file)
        for row in (self._start_row, self._end_row):
            row.set_visible(not draft.whole_range)
        self._markets.setVisible(self._markets.count() > 0)
        self._further.setVisible(self._further.count() > 0 and "further_markets" not in self.unused())

    def refresh(self) -> None:
        super().refresh()
        self._look_into_files()

    def validatePage(self) -> bool:
        if self._series.refuse_unfinished():
            if self._advanced is not None:
                self._advanced.set_open(True)
            return False
        return super().validatePage()

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
        self.body.setStretch(self.body.indexOf(self._preview), int(drawn))
        self.body.setStretch(self.body.count() - 1, int(not drawn))  # the empty rest
        if dataset is None:
            self._line.set_values(())
            return
        days = (date_text(dataset.first_ns), date_text(dataset.last_ns))
        if summary is None or summary.first_ns is None or summary.last_ns is None:
            self._line.set_values(dataset.closes, 0.0, 0.0, days)
            return
        span = max(1, dataset.last_ns - dataset.first_ns)
        self._line.set_values(
            dataset.closes,
            (summary.first_ns - dataset.first_ns) / span,
            (summary.last_ns - dataset.first_ns) / span,
            days,
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

    @Slot()
    def _on_path_edited(self) -> None:
        path = self._path.text().strip()
        if path and path != self._flow.draft.file_path:
            self.choose_file(path)

    @Slot()
    def _on_browse_clicked(self) -> None:
        files = tr("Candles ({patterns})", patterns=DATA_FILES)
        dialog = existing_file_picker(self, "candle_file_dialog", tr("Choose a file with candles"), files)
        dialog.fileSelected.connect(self.choose_file)
        dialog.open()

    @Slot(str)
    def choose_file(self, path: str) -> None:
        """Take a file and have it looked into in the background."""
        self._asked.discard(path)  # it may have been repaired
        self.take(source=SourceKind.FILE, file_path=path)

    def _look_into_files(self) -> None:
        """Have files that nobody knows yet read in the background, those of a loaded configuration as well."""
        draft = self._flow.draft
        if draft.source is SourceKind.FILE and draft.file_path and draft.file_path not in self._asked:
            self._asked.add(draft.file_path)
            self._sources.inspect_file(Path(draft.file_path), partial(self.take_file, draft.file_path))
        for source in self._flow.unchecked_series():
            if source not in self._asked:
                self._asked.add(source)
                self._sources.inspect_series(source, partial(self._take_series, source))

    def forget_files(self) -> None:
        """Have every file looked into again, after a configuration was loaded."""
        self._asked.clear()

    def take_file(self, path: str, content: Dataset | UserError) -> None:
        """Show what a file holds; on the GUI thread."""
        if isValid(self):  # the answer may come after the wizard was closed
            self._flow.set_file(path, content)
            self.refresh()
            self.edited.emit()

    def _take_series(self, source: SeriesSource, content: SeriesExtent | UserError) -> None:
        if isValid(self):
            self._flow.set_series(source, content)
            self.refresh()
            self.edited.emit()


def _day_note(text: str, usual: str) -> str:
    """Return the explanation of a day; of an instant within a day it names the time."""
    return tr("Loaded as {time} UTC; another day replaces it.", time=text.replace("T", " ")) if "T" in text else usual


def _fill_box(box: QComboBox, items: Sequence[str], chosen: int) -> None:
    if [box.itemText(index) for index in range(box.count())] != list(items):
        box.clear()
        box.addItems(list(items))
    box.setCurrentIndex(chosen)
