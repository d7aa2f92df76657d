"""Pages of the training wizard about features and the network. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QButtonGroup, QComboBox, QLineEdit, QRadioButton, QVBoxLayout, QWidget

from app.flows.training_flow import (
    MAX_HIDDEN,
    MAX_HORIZON,
    MAX_LAYERS,
    MAX_WINDOW,
    MIN_WINDOW,
    QUANTILE_PRESETS,
    Step,
    TrainingFlow,
    parse_horizons,
)
from app.flows.training_review import bars_as_time, feature_texts, quantile_text
from app.i18n import tr
from app.theme import SPACE_S, SPACE_XL, number_font, set_look
from app.ui.wizards.fields import FIELD_WIDTH, Form, WheelGuard, card, spin_box, wrapped_label
from app.ui.wizards.step_page import StepPage
from ml.api import feature_sets


def _chosen_timeframe(flow: TrainingFlow) -> str:
    return "" if flow.dataset is None else flow.dataset.timeframe.value


def number_edit(name: str) -> QLineEdit:
    """Return a line for a decimal number; what is typed is judged by the flow, not changed by the field."""
    edit = QLineEdit()
    edit.setObjectName(name)
    edit.setFixedWidth(FIELD_WIDTH)
    edit.setFont(number_font())
    return edit


class FeaturesPage(StepPage):
    """Which inputs the model sees."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.FEATURES, flow, guard)
        self._sets = feature_sets()
        self._group = QButtonGroup(self)
        self._radios: list[QRadioButton] = []
        self._summaries = []
        for index, info in enumerate(self._sets):
            frame, layout = card()
            radio, summary = QRadioButton(), wrapped_label("muted")
            radio.setObjectName(f"features_{info.name}")
            summary.setIndent(SPACE_XL)
            layout.addWidget(radio)
            layout.addWidget(summary)
            self._group.addButton(radio, index)
            self._radios.append(radio)
            self._summaries.append(summary)
            self.body.addWidget(frame)
        self._group.idToggled.connect(self._on_set_toggled)
        form = Form()
        self._horizons = number_edit("horizons_edit")
        self._horizons.textEdited.connect(self._on_horizons_edited)
        self._window = spin_box("window_box", MIN_WINDOW, MAX_WINDOW, guard, step=8)
        self._window.valueChanged.connect(self._on_window_changed)
        self._horizons_row, self._window_row = form.add_row(self._horizons), form.add_row(self._window)
        self.body.addWidget(form)
        self._note = wrapped_label("small")
        self.body.addWidget(self._note)
        self.body.addStretch(1)

    def retranslate(self) -> None:
        self.set_heading(tr("Features"), tr("What the model sees of every bar."))
        for info, radio, summary in zip(self._sets, self._radios, self._summaries, strict=True):
            title, text = feature_texts(info)
            radio.setText(title)
            radio.setAccessibleDescription(text)
            summary.setText(text)
        self._note.setText(
            tr(
                "Every feature uses closed bars only and is free of the price level. "
                "Its scale is measured on the training part alone and stored with the model."
            )
        )
        self.show_derived()

    def fill(self) -> None:
        draft = self._flow.draft
        for info, radio in zip(self._sets, self._radios, strict=True):
            radio.setChecked(info.name == draft.feature_set)
        if self._horizons.text() != draft.horizons:
            self._horizons.setText(draft.horizons)
        self._window.setValue(draft.window)

    def show_derived(self) -> None:
        timeframe = _chosen_timeframe(self._flow)
        horizons = parse_horizons(self._flow.draft.horizons)
        set_look(self._horizons, "invalid", horizons is None)
        longest = bars_as_time(horizons[-1], timeframe) if horizons else "—"
        self._horizons_row.set_texts(
            tr("&Look-backs (bars)"), tr("Returns over so many bars, ascending; the longest is {time}.", time=longest)
        )
        self._window_row.set_texts(
            tr("&Window (bars)"),
            tr(
                "Look-back of volatility, range and volume: {time}.",
                time=bars_as_time(self._flow.draft.window, timeframe),
            ),
        )

    @Slot(int, bool)
    def _on_set_toggled(self, index: int, checked: bool) -> None:
        if checked:
            self.take(feature_set=self._sets[index].name)

    @Slot(str)
    def _on_horizons_edited(self, text: str) -> None:
        self.take(horizons=text)

    @Slot(int)
    def _on_window_changed(self, value: int) -> None:
        self.take(window=value)


class ModelPage(StepPage):
    """Shape of the network and of its forecast."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.MODEL, flow, guard)
        box = QWidget()
        layout = QVBoxLayout(box)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE_S)
        form = Form()
        self._hidden = spin_box("hidden_box", 2, MAX_HIDDEN, guard, step=8)
        self._layers = spin_box("layers_box", 1, MAX_LAYERS, guard)
        self._dropout = number_edit("dropout_edit")
        self._horizon = spin_box("horizon_box", 1, MAX_HORIZON, guard)
        self._quantiles = QComboBox()
        self._quantiles.setObjectName("quantiles_box")
        self._quantiles.setFixedWidth(FIELD_WIDTH)
        self._quantiles.addItems([quantile_text(levels) for levels in QUANTILE_PRESETS])
        guard.watch(self._quantiles)
        self._hidden.valueChanged.connect(self._on_hidden_changed)
        self._layers.valueChanged.connect(self._on_layers_changed)
        self._dropout.textEdited.connect(self._on_dropout_edited)
        self._horizon.valueChanged.connect(self._on_horizon_changed)
        self._quantiles.currentIndexChanged.connect(self._on_quantiles_changed)
        self._horizon_row, self._quantiles_row = form.add_row(self._horizon), form.add_row(self._quantiles)
        self._hidden_row, self._layers_row = form.add_row(self._hidden), form.add_row(self._layers)
        self._dropout_row = form.add_row(self._dropout)
        layout.addWidget(form)
        layout.addStretch(1)
        self.body.addWidget(box, 1)

    def retranslate(self) -> None:
        self.set_heading(tr("Model"), tr("An LSTM that forecasts the distribution of the next return."))
        self._quantiles_row.set_texts(
            tr("&Quantiles"),
            tr("The forecast is a fan: its middle says where, its width how sure. More levels describe the tails."),
        )
        self._hidden_row.set_texts(
            tr("Hidden &size"),
            tr("Memory cells per layer. Market data holds little signal: larger networks mostly learn noise."),
        )
        self._layers_row.set_texts(tr("&Layers"), tr("One is usually enough; each further one doubles the time."))
        self._dropout_row.set_texts(
            tr("&Dropout"),
            tr("Share of cells switched off while training, 0 to 0.9; hinders learning by heart."),
        )
        self.show_derived()

    def fill(self) -> None:
        draft = self._flow.draft
        self._hidden.setValue(draft.hidden_size)
        self._layers.setValue(draft.layers)
        self._horizon.setValue(draft.horizon_bars)
        self._quantiles.setCurrentIndex(draft.quantiles)
        if self._dropout.text() != draft.dropout:
            self._dropout.setText(draft.dropout)

    def show_derived(self) -> None:
        draft = self._flow.draft
        ahead = bars_as_time(draft.horizon_bars, _chosen_timeframe(self._flow))
        self._horizon_row.set_texts(
            tr("&Horizon (bars)"), tr("How far ahead the return is forecast: {time} after the bar's close.", time=ahead)
        )
        set_look(self._dropout, "invalid", not self.isComplete())

    @Slot(int)
    def _on_hidden_changed(self, value: int) -> None:
        self.take(hidden_size=value)

    @Slot(int)
    def _on_layers_changed(self, value: int) -> None:
        self.take(layers=value)

    @Slot(str)
    def _on_dropout_edited(self, text: str) -> None:
        self.take(dropout=text)

    @Slot(int)
    def _on_horizon_changed(self, value: int) -> None:
        self.take(horizon_bars=value)

    @Slot(int)
    def _on_quantiles_changed(self, index: int) -> None:
        self.take(quantiles=index)
