"""Pages of the training wizard about the network and how it is fitted. GUI thread only."""

from __future__ import annotations

from app.flows.agent_review import out_of_use
from app.flows.training_checks import (
    MAX_BATCH,
    MAX_BURN_IN,
    MAX_EPOCHS,
    MAX_HIDDEN,
    MAX_HORIZON,
    MAX_HORIZONS,
    MAX_LAYERS,
    MAX_SEED,
    MAX_SEGMENT,
    MIN_SEGMENT,
)
from app.flows.training_draft import QUANTILE_PRESETS
from app.flows.training_flow import Step, TrainingFlow
from app.flows.training_review import (
    HEAD_TITLES,
    SCHEDULE_TITLES,
    bars_as_time,
    chosen_timeframe,
    quantile_range_text,
    quantile_text,
)
from app.flows.typed_numbers import parse_bars
from app.i18n import MISSING, format_number, mark, tr
from app.ui.wizards.draft_fields import ChoiceField, NumberField, SwitchField, TextField
from app.ui.wizards.fields import Figure, Form, WheelGuard, card
from app.ui.wizards.step_page import StepPage
from ml.api import HEADS, MAX_SEEDS, MODEL_KINDS, SCHEDULES

_HEAD_NOTES: dict[str, str] = {
    "quantile": mark("A fan of quantiles, fitted directly: robust, and right for any shape. The usual choice."),
    "student_t": mark("Middle and width of a bell with heavy tails: smoother where there are few bars."),
    "classes": mark("The chances of down, flat and up: for people who want a direction rather than a price."),
}


class ModelPage(StepPage):
    """Shape of the network and of its forecast."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.MODEL, flow, guard)
        form = Form()
        self.body.addWidget(form)
        self._kind, self._head = ChoiceField("kind"), ChoiceField("head")
        self._quantiles = ChoiceField("quantile_levels")
        self._norm = SwitchField("layer_norm")
        self.add_field(form, "horizons", TextField("horizons"))
        self.add_field(form, "head", self._head)
        self.add_field(form, "kind", self._kind)
        self.add_field(form, "hidden_size", NumberField("hidden_size", 2, MAX_HIDDEN, step=8))
        frame, layout = card()
        self._size = Figure()
        layout.addWidget(self._size)
        self.body.addWidget(frame)
        form = self.add_advanced().form
        self.add_field(form, "layers", NumberField("layers", 1, MAX_LAYERS))
        self.add_field(form, "dropout", TextField("dropout"))
        self.add_field(form, "layer_norm", self._norm)
        self.add_field(form, "quantile_levels", self._quantiles)
        self._band_row = self.add_field(form, "flat_band", TextField("flat_band"))
        self.body.addStretch(1)

    def retranslate(self) -> None:
        self.set_heading(tr("Model"), tr("A recurrent network that forecasts the distribution of the next return."))
        self._kind.set_choices([(kind, kind.upper()) for kind in MODEL_KINDS])
        self._head.set_choices([(head, tr(HEAD_TITLES[head])) for head in HEADS])
        self._norm.setText(tr("Normalise"))

    def row_texts(self) -> dict[str, tuple[str, str]]:
        draft, timeframe = self._flow.draft, chosen_timeframe(self._flow)
        horizons = parse_bars(draft.horizons, MAX_HORIZON, MAX_HORIZONS)
        first = bars_as_time(horizons[0], timeframe) if horizons else MISSING
        ahead = tr(
            "How far ahead the return is forecast, for example 1, 4, 24. The first one trades: {time} after "
            "the bar's close. More of them cost little.",
            time=first,
        )
        if draft.agent.subject.trains_agent:  # nothing trades by the forecast itself
            ahead = tr(
                "How far ahead the return is forecast, for example 1, 4, 24; the first one is {time} after the bar's "
                "close. More of them cost little.",
                time=first,
            )
        return {
            "horizons": (
                tr("&Horizons (bars)"),
                ahead,
            ),
            "head": (tr("&Forecast"), tr(_HEAD_NOTES[draft.head])),
            "kind": (
                tr("Net&work"),
                tr("Both remember what came before. GRU has a quarter fewer weights, but takes longer on a CPU."),
            ),
            "hidden_size": (
                tr("Hidden &size"),
                tr("Memory cells per layer. Market data holds little signal: larger networks mostly learn noise."),
            ),
            "layers": (tr("&Layers"), tr("One is usually enough; each further one doubles the time.")),
            "dropout": (
                tr("&Dropout"),
                tr("Share of cells switched off while training, 0 to 0.9; hinders learning by heart."),
            ),
            "layer_norm": (
                tr("Layer n&orm"),
                tr("Keeps the numbers inside the network at one scale. Try it with several layers; costs some time."),
            ),
            "quantile_levels": (
                tr("&Quantiles"),
                tr(
                    "What the fan shows: {levels}. Its middle says where, its width how sure; more levels describe the "
                    "tails.",
                    levels=quantile_text(draft.quantile_levels),
                ),
            ),
            "flat_band": (
                tr("Fl&at band"),
                tr(
                    "For down, flat or up: moves up to this many standard deviations count as flat. 0.43 makes the "
                    "three about equally frequent."
                ),
            ),
        }

    def fill(self) -> None:
        levels = self._flow.draft.quantile_levels
        presets = (*QUANTILE_PRESETS, *(() if levels in QUANTILE_PRESETS else (levels,)))
        self._quantiles.set_choices([(each, quantile_range_text(each)) for each in presets])
        super().fill()

    def show_derived(self) -> None:
        problem = self._flow.problem(Step.MODEL)
        wrong = problem is not None and problem.field == "flat_band"  # an entry that cannot be read is never hidden
        self._band_row.set_visible(wrong or self._flow.draft.head == "classes")
        size = self._flow.parameters()
        self._size.set_texts(tr("Numbers the network learns"), MISSING if size is None else format_number(size))


class TrainingPage(StepPage):
    """How the network is fitted."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.TRAINING, flow, guard)
        form = Form()
        self.body.addWidget(form)
        self._schedule, self._batch = ChoiceField("schedule"), NumberField("batch_segments", 0, MAX_BATCH, step=8)
        self.add_field(form, "epochs", NumberField("epochs", 1, MAX_EPOCHS))
        self.add_field(form, "patience", NumberField("patience", 1, MAX_EPOCHS))
        self.add_field(form, "seed", NumberField("seed", 0, MAX_SEED))
        self.add_field(form, "encoder_seeds", NumberField("encoder_seeds", 1, MAX_SEEDS))
        form = self.add_advanced().form
        self.add_field(form, "learning_rate", TextField("learning_rate"))
        self.add_field(form, "schedule", self._schedule)
        self.add_field(form, "weight_decay", TextField("weight_decay"))
        self.add_field(form, "clip_norm", TextField("clip_norm"))
        self.add_field(form, "batch_segments", self._batch)
        self.add_field(form, "segment_length", NumberField("segment_length", MIN_SEGMENT, MAX_SEGMENT, step=16))
        self.add_field(form, "burn_in", NumberField("burn_in", 0, MAX_BURN_IN, step=8))
        self.body.addStretch(1)

    def retranslate(self) -> None:
        self.set_heading(
            tr("Training"), tr("How the network is fitted. The usual values suit most markets: change one at a time.")
        )
        self._schedule.set_choices([(each, tr(SCHEDULE_TITLES[each])) for each in SCHEDULES])
        self._batch.setSpecialValueText(tr("automatic"))

    def unused(self) -> frozenset[str]:
        return out_of_use(self._flow.draft.agent)

    def row_texts(self) -> dict[str, tuple[str, str]]:
        draft, timeframe = self._flow.draft, chosen_timeframe(self._flow)
        return {
            "epochs": (
                tr("&Epochs"),
                tr("Passes over the training part at most; stops earlier when validation gets no better."),
            ),
            "patience": (
                tr("&Patience (epochs)"),
                tr("Stops after so many epochs without a better validation loss; the best weights are kept."),
            ),
            "seed": (
                tr("&Seed"),
                tr("The same seed and data give the same model. Further networks count up from it."),
            ),
            "encoder_seeds": (
                tr("Netw&orks"),
                tr("From different seeds: the agent sees what each of them says. Each one costs the whole time."),
            ),
            "learning_rate": (
                tr("&Learning rate"),
                tr("Largest step size; 0.003 suits most networks. Too large: the loss jumps. Too small: it crawls."),
            ),
            "schedule": (
                tr("S&chedule"),
                tr(
                    "How the step size changes: one cycle rises briefly, then falls; cosine only falls; constant stays."
                ),
            ),
            "weight_decay": (
                tr("&Weight decay"),
                tr("Pulls weights towards zero. Raise it tenfold where training improves and validation does not."),
            ),
            "clip_norm": (
                tr("&Gradient limit"),
                tr("Longer gradients are shortened to this norm, so that one wild day does not spoil the weights."),
            ),
            "batch_segments": (
                tr("B&atch (segments)"),
                tr("Segments per step. More are faster on a GPU but take more memory; automatic chooses by device."),
            ),
            "segment_length": (
                tr("Seg&ment (bars)"),
                tr(
                    "Length of the stretches the network reads at a time: {time}. Longer ones teach longer memory and "
                    "cost memory.",
                    time=bars_as_time(draft.segment_length, timeframe),
                ),
            ),
            "burn_in": (
                tr("B&urn-in (bars)"),
                tr(
                    "The first bars of each segment only warm the memory up and do not count: {time}.",
                    time=bars_as_time(draft.burn_in, timeframe),
                ),
            ),
        }
