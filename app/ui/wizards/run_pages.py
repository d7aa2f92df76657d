"""Pages of the training wizard about how a model is judged and what the run may use. GUI thread only."""

from __future__ import annotations

from PySide6.QtWidgets import QLabel

from app.flows.agent_checks import MAX_RESAMPLES, MIN_DRAWS, MIN_RESAMPLES
from app.flows.agent_review import decisions_text, memory_text
from app.flows.training_checks import MAX_PURGE, MAX_REPEATS, MAX_THREADS, left_for_test
from app.flows.training_flow import Step, TrainingFlow
from app.flows.training_review import (
    PRECISION_TITLES,
    bars_as_time,
    chosen_timeframe,
    duration_text,
    part_caption,
    part_title,
    targets_text,
)
from app.i18n import MISSING, format_number, tr, tr_count
from app.theme import Palette, number_font, set_look
from app.ui.wizards.draft_fields import ChoiceField, DayField, NumberField, SwitchField, TextField
from app.ui.wizards.fields import FIELD_WIDTH, Figure, Form, SplitBar, WheelGuard, card
from app.ui.wizards.step_page import StepPage
from ml.api import MAX_SEEDS

_OF_FORECASTERS = frozenset({"seeds", "cost_percent", "boosting", "permutation_repeats"})
_OF_AGENTS = frozenset({"resamples", "draws"})
_PRECISIONS = ("auto", "float32", "tf32", "bf16")


class EvaluationPage(StepPage):
    """How the bars are divided in time and the result is judged."""

    def __init__(self, flow: TrainingFlow, palette: Palette, guard: WheelGuard) -> None:
        super().__init__(Step.EVALUATION, flow, guard)
        frame, layout = card()
        self._bar = SplitBar(palette)
        self._bar.setObjectName("split_bar")
        layout.addWidget(self._bar)
        self._dates = QLabel()
        self._dates.setObjectName("split_dates")
        set_look(self._dates, "role", "small")
        self._dates.setFont(number_font())
        layout.addWidget(self._dates)
        self.body.addWidget(frame)
        form = Form()
        self.body.addWidget(form)
        self._by_date, self._boosting = ChoiceField("by_date"), SwitchField("boosting")
        self._test = QLabel()
        self._test.setObjectName("test_label")
        self._test.setFont(number_font())
        self._test.setFixedWidth(FIELD_WIDTH)
        self.add_field(form, "by_date", self._by_date)
        self._by_shares = (
            self.add_field(form, "train_percent", TextField("train_percent")),
            self.add_field(form, "valid_percent", TextField("valid_percent")),
            self.add_field(form, "test_share", self._test),
        )
        self._by_dates = (
            self.add_field(form, "valid_from", DayField("valid_from", "valid_from_edit")),
            self.add_field(form, "test_from", DayField("test_from", "test_from_edit")),
        )
        self.add_field(form, "seeds", NumberField("seeds", 1, MAX_SEEDS))
        self.add_field(form, "cost_percent", TextField("cost_percent"))
        form = self.add_advanced().form
        self.add_field(form, "purge_bars", NumberField("purge_bars", 0, MAX_PURGE, step=8))
        self.add_field(form, "boosting", self._boosting)
        self.add_field(form, "permutation_repeats", NumberField("permutation_repeats", 0, MAX_REPEATS))
        self.add_field(form, "resamples", NumberField("resamples", MIN_RESAMPLES, MAX_RESAMPLES, step=100))
        self.add_field(form, "draws", NumberField("draws", MIN_DRAWS, MAX_RESAMPLES, step=100))
        self.body.addStretch(1)

    def set_palette(self, palette: Palette) -> None:
        self._bar.set_palette(palette)

    def retranslate(self) -> None:
        self.set_heading(
            tr("Evaluation"),
            tr("The bars are divided in time, never shuffled: the model is judged on what came later."),
        )
        self._by_date.set_choices([(False, tr("By shares")), (True, tr("By dates"))])
        self._boosting.setText(tr("Gradient boosting"))

    def unused(self) -> frozenset[str]:
        return _OF_FORECASTERS if self._flow.subject.trains_agent else _OF_AGENTS

    def row_texts(self) -> dict[str, tuple[str, str]]:
        draft = self._flow.draft
        return {
            "by_date": (
                tr("&Divide"),
                tr("By dates keeps the parts where they are while history grows, so that results stay comparable."),
            ),
            "train_percent": (tr("&Training share (%)"), tr("The oldest bars; the weights are fitted here.")),
            "valid_percent": (tr("&Validation share (%)"), tr("Decides when to stop and which weights are kept.")),
            "test_share": (tr("Test share"), tr("The newest bars; looked at once, after everything is decided.")),
            "valid_from": (
                tr("&Validation from"),
                tr("Everything before is for training. First day, UTC."),
            ),
            "test_from": (tr("T&est from"), tr("Looked at once, after everything is decided. First day, UTC.")),
            "seeds": (
                tr("Net&works"),
                tr(
                    "Trained from different seeds: their mean is stored, their spread shows how much was luck. Each "
                    "one costs the whole time."
                ),
            ),
            "cost_percent": (
                tr("&Cost (%)"),
                tr("Fee and spread of changing the whole position once, for the figures after costs."),
            ),
            "purge_bars": (
                tr("&Purge (bars)"),
                tr(
                    "Left out at each border besides the horizon, so that no part knows its neighbour: {time}.",
                    time=bars_as_time(draft.purge_bars, chosen_timeframe(self._flow)),
                ),
            ),
            "boosting": (
                tr("C&ompare with"),
                tr(
                    "A strong model without memory, on the same bars. A network that loses to it is not worth its time."
                ),
            ),
            "permutation_repeats": (
                tr("S&huffles"),
                tr(
                    "Shuffles each feature so many times to see what the model relies on; 0 leaves this out. Costs "
                    "time after training."
                ),
            ),
            "resamples": (
                tr("&Resamples"),
                tr("How often the test part is drawn anew to say how sure its figures are."),
            ),
            "draws": (
                tr("Random timin&gs"),
                tr("The agent's positions at so many random times: doing better than those is what must be shown."),
            ),
        }

    def show_derived(self) -> None:
        draft, parts = self._flow.draft, self._flow.split()
        self._test.setText(f"{format_number(left_for_test(draft))}\u00a0%")
        self._bar.set_parts([(part_title(part), part.share) for part in parts])
        self._dates.setText("  ·  ".join(part_caption(part) for part in parts))
        for row in self._by_shares:
            row.set_visible(not draft.by_date)
        for row in self._by_dates:
            row.set_visible(draft.by_date)


class ResourcesPage(StepPage):
    """What the run may use of this machine."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.RESOURCES, flow, guard)
        form = Form()
        self.body.addWidget(form)
        self._device, self._precision = ChoiceField("device"), ChoiceField("precision")
        self._threads = NumberField("threads", 0, MAX_THREADS)
        self.add_field(form, "device", self._device)
        frame, layout = card()
        self._duration, self._targets, self._decisions, self._memory = Figure(), Figure(), Figure(), Figure()
        for figure in (self._duration, self._decisions, self._memory, self._targets):
            layout.addWidget(figure)
        self.body.addWidget(frame)
        form = self.add_advanced().form
        self.add_field(form, "threads", self._threads)
        self.add_field(form, "precision", self._precision)
        self.add_field(form, "memory_percent", TextField("memory_percent"))
        self.body.addStretch(1)

    def retranslate(self) -> None:
        self.set_heading(
            tr("Resources"), tr("Training runs in a process of its own; the window and trading go on meanwhile.")
        )
        self._threads.setSpecialValueText(tr("automatic"))
        self._precision.set_choices([(each, tr(PRECISION_TITLES[each])) for each in _PRECISIONS])

    def row_texts(self) -> dict[str, tuple[str, str]]:
        device = self._flow.device
        return {
            "device": (tr("De&vice"), "" if device is None else device.reason.text()),
            "threads": (
                tr("CPU &threads"),
                tr("Automatic takes one for a small network, which is fastest, and leaves the others to the program."),
            ),
            "precision": (
                tr("&Precision"),
                tr("Of an NVIDIA GPU; a CPU always computes with 32 bits. Fewer bits are faster for large networks."),
            ),
            "memory_percent": (
                tr("GPU &memory (%)"),
                tr("Largest share of the GPU's memory the run may take; the batch is made smaller to keep to it."),
            ),
        }

    def fill(self) -> None:
        self._device.set_choices([(option.device, option.title.text()) for option in self._flow.devices])
        super().fill()

    def show_derived(self) -> None:
        flow = self._flow
        effort, agent = flow.estimate(), flow.subject.trains_agent
        targets = MISSING if effort is None else targets_text(effort)
        counted = tr("Training / validation / test bars") if agent else tr("Training / validation / test targets")
        if further := flow.further_bars():
            more = tr_count("{n} bar of further markets", "{n} bars of further markets", further)
            counted += f" · {more}"
        self._targets.set_texts(counted, targets)
        fitted = tr("Estimated duration of the forecaster if every epoch is used")
        usual = tr("Estimated duration if every epoch is used")
        self._duration.setVisible(flow.subject.trains_forecaster)
        self._duration.set_texts(fitted if agent else usual, duration_text(flow))
        for figure in (self._decisions, self._memory):
            figure.setVisible(agent)
        if agent:
            self._decisions.set_texts(
                tr("Decisions to learn from; how fast they are made shows when it runs"), decisions_text(flow)
            )
            self._memory.set_texts(tr("Memory for bars and decisions"), memory_text(flow))
