"""Page of the training wizard about what the model sees. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QButtonGroup, QRadioButton

from app.flows.training_checks import MAX_LOOK_BACK, MAX_WINDOW, MIN_WINDOW
from app.flows.training_draft import CUSTOM_SET
from app.flows.training_flow import Step, TrainingFlow
from app.flows.training_review import bars_as_time, bars_text, chosen_timeframe, feature_texts
from app.flows.typed_numbers import parse_bars
from app.i18n import MISSING, format_number, tr
from app.theme import SPACE_XL
from app.ui.wizards.column_editor import ColumnEditor
from app.ui.wizards.draft_fields import NumberField, TextField
from app.ui.wizards.fields import WheelGuard, card, wrapped_label
from app.ui.wizards.step_page import StepPage
from ml.api import FEATURE_SETS


class FeaturesPage(StepPage):
    """Which inputs the model sees."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.FEATURES, flow, guard)
        self._group = QButtonGroup(self)
        self._radios: list[QRadioButton] = []
        self._summaries = []
        for index, info in enumerate(FEATURE_SETS):
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
        self._note, self._warm_up = wrapped_label("small"), wrapped_label()
        self._warm_up.setObjectName("warm_up_label")
        self.body.addWidget(self._warm_up)
        self.body.addWidget(self._note)
        form = self.add_advanced().form
        self.add_field(form, "look_backs", TextField("look_backs"))
        self.add_field(form, "window", NumberField("window", MIN_WINDOW, MAX_WINDOW, step=8))
        self._editor = ColumnEditor(guard)
        self._editor.added.connect(self._on_column_added)
        self.add_field(form, "columns", self._editor, wide=True, tall=True)
        self.body.addStretch(1)

    def retranslate(self) -> None:
        self.set_heading(tr("Features"), tr("What the model sees of every bar."))
        for info, radio, summary in zip(FEATURE_SETS, self._radios, self._summaries, strict=True):
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
        self._editor.retranslate()

    def row_texts(self) -> dict[str, tuple[str, str]]:
        draft, timeframe = self._flow.draft, chosen_timeframe(self._flow)
        look_backs = parse_bars(draft.look_backs, MAX_LOOK_BACK)
        longest = bars_as_time(look_backs[-1], timeframe) if look_backs else MISSING
        return {
            "look_backs": (
                tr("&Look-backs (bars)"),
                tr("Returns over so many bars, ascending; the longest is {time}.", time=longest),
            ),
            "window": (
                tr("&Window (bars)"),
                tr(
                    "Look-back of volatility, range and volume: {time}. A longer one is calmer and slower.",
                    time=bars_as_time(draft.window, timeframe),
                ),
            ),
            "columns": (
                tr("Further &columns"),
                tr("Each further column slows training and gives the network one more thing to mistake for a signal."),
            ),
        }

    def fill(self) -> None:
        super().fill()
        draft = self._flow.draft
        for info, radio in zip(FEATURE_SETS, self._radios, strict=True):
            radio.setChecked(info.name == draft.feature_set)
        self._editor.set_sources(self._flow.catalogue, chosen_timeframe(self._flow), self._flow.other_markets())

    def show_derived(self) -> None:
        bars, found = self._flow.warm_up(), self._flow.lacking()
        self._warm_up.setVisible(bars is not None)
        if bars is None:
            return
        needed = bars_text(bars, chosen_timeframe(self._flow))
        text = tr("Needs {bars} before the first row is complete, and after each gap.", bars=needed)
        if found is not None:
            values = {"usable": format_number(found.usable), "bars": format_number(found.chosen.bars)}
            text += " " + tr("{usable} of {bars} bars have all that the columns look at.", **values)
        self._warm_up.setText(text)

    @Slot(int, bool)
    def _on_set_toggled(self, index: int, checked: bool) -> None:
        if checked:
            name = FEATURE_SETS[index].name
            if name == CUSTOM_SET and self._advanced is not None and not self._filling:
                self._advanced.set_open(True)  # this set is nothing without further columns
            self.take(feature_set=name)

    @Slot(str)
    def _on_column_added(self, text: str) -> None:
        problem = self._flow.add_column(text)
        self._editor.show_answer("" if problem is None else problem.text())
        if problem is None:
            self.refresh()
            self.edited.emit()
