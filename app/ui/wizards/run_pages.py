"""Pages of the training wizard about validation, resources and the final review. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QComboBox, QGridLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from app.flows.sentence_text import local_text
from app.flows.training_flow import (
    MAX_EPOCHS,
    MAX_PURGE,
    MAX_TRAIN,
    MAX_VALID,
    MIN_TRAIN,
    MIN_VALID,
    Step,
    TrainingFlow,
)
from app.flows.training_review import (
    ReviewGroup,
    bars_as_time,
    duration_text,
    part_caption,
    part_title,
    review,
)
from app.i18n import MISSING, format_number, tr
from app.theme import SPACE_M, SPACE_S, SPACE_XL, SPACE_XS, Palette, number_font, set_look
from app.ui.wizards.fields import (
    FIELD_WIDTH,
    LABEL_WIDTH,
    Figure,
    Form,
    SplitBar,
    WheelGuard,
    card,
    spin_box,
    wrapped_label,
)
from app.ui.wizards.model_pages import number_edit
from app.ui.wizards.step_page import StepPage
from core.domain.data_origin import caution


class ValidationPage(StepPage):
    """How the bars are divided in time."""

    def __init__(self, flow: TrainingFlow, palette: Palette, guard: WheelGuard) -> None:
        super().__init__(Step.VALIDATION, flow, guard)
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
        self._train = spin_box("train_box", MIN_TRAIN, MAX_TRAIN, guard)
        self._valid = spin_box("valid_box", MIN_VALID, MAX_VALID, guard)
        self._test = QLabel()
        self._test.setObjectName("test_label")
        self._test.setFont(number_font())
        self._test.setFixedWidth(FIELD_WIDTH)
        self._purge = spin_box("purge_box", 0, MAX_PURGE, guard, step=8)
        for box in (self._train, self._valid):
            box.setSuffix("\u00a0%")
        self._train.valueChanged.connect(self._on_train_changed)
        self._valid.valueChanged.connect(self._on_valid_changed)
        self._purge.valueChanged.connect(self._on_purge_changed)
        self._train_row, self._valid_row = form.add_row(self._train), form.add_row(self._valid)
        self._test_row, self._purge_row = form.add_row(self._test), form.add_row(self._purge)
        self.body.addWidget(form)
        self.body.addStretch(1)

    def set_palette(self, palette: Palette) -> None:
        self._bar.set_palette(palette)

    def retranslate(self) -> None:
        self.set_heading(
            tr("Validation"),
            tr("The bars are divided in time, never shuffled: the model is judged on what came later."),
        )
        self._train_row.set_texts(tr("&Training share"), tr("The oldest bars; the weights are fitted here."))
        self._valid_row.set_texts(tr("&Validation share"), tr("Decides when to stop and which weights are kept."))
        self._test_row.set_texts(tr("Test share"), tr("The newest bars; looked at once, after everything is decided."))
        self.show_derived()

    def fill(self) -> None:
        draft = self._flow.draft
        self._train.setValue(draft.train_percent)
        self._valid.setValue(draft.valid_percent)
        self._purge.setValue(draft.purge_bars)

    def show_derived(self) -> None:
        draft, parts = self._flow.draft, self._flow.split()
        self._test.setText(f"{format_number(draft.test_percent)}\u00a0%")
        self._bar.set_parts([(part_title(part), part.share) for part in parts])
        self._dates.setText("  ·  ".join(part_caption(part) for part in parts))
        timeframe = "" if self._flow.dataset is None else self._flow.dataset.timeframe.value
        self._purge_row.set_texts(
            tr("&Purge (bars)"),
            tr(
                "Left out at each border besides the horizon, so that no part knows its neighbour: {time}.",
                time=bars_as_time(draft.purge_bars, timeframe),
            ),
        )

    @Slot(int)
    def _on_train_changed(self, value: int) -> None:
        self.take(train_percent=value)

    @Slot(int)
    def _on_valid_changed(self, value: int) -> None:
        self.take(valid_percent=value)

    @Slot(int)
    def _on_purge_changed(self, value: int) -> None:
        self.take(purge_bars=value)


class ResourcesPage(StepPage):
    """Where and how long to train."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.RESOURCES, flow, guard)
        form = Form()
        self._device = QComboBox()
        self._device.setObjectName("device_box")
        self._device.setFixedWidth(FIELD_WIDTH)
        guard.watch(self._device)
        self._threads = spin_box("threads_box", 0, 256, guard)
        self._epochs = spin_box("epochs_box", 1, MAX_EPOCHS, guard)
        self._rate = number_edit("learning_rate_edit")
        self._seed = spin_box("seed_box", 0, 2**31 - 1, guard)
        self._device.currentIndexChanged.connect(self._on_device_changed)
        self._threads.valueChanged.connect(self._on_threads_changed)
        self._epochs.valueChanged.connect(self._on_epochs_changed)
        self._rate.textEdited.connect(self._on_rate_edited)
        self._seed.valueChanged.connect(self._on_seed_changed)
        self._device_row, self._threads_row = form.add_row(self._device), form.add_row(self._threads)
        self._epochs_row, self._rate_row = form.add_row(self._epochs), form.add_row(self._rate)
        self._seed_row = form.add_row(self._seed)
        self.body.addWidget(form)
        frame, layout = card()
        self._duration, self._targets = Figure(), Figure()
        layout.addWidget(self._duration)
        layout.addWidget(self._targets)
        self.body.addWidget(frame)
        self.body.addStretch(1)

    def retranslate(self) -> None:
        self.set_heading(
            tr("Resources"), tr("Training runs in a process of its own; the window and trading go on meanwhile.")
        )
        self._threads.setSpecialValueText(tr("automatic"))
        self._threads_row.set_texts(tr("CPU &threads"), tr("Automatic leaves one core to the rest of the program."))
        self._epochs_row.set_texts(
            tr("&Epochs"), tr("Passes over the training part at most; stops earlier when validation gets no better.")
        )
        self._rate_row.set_texts(
            tr("&Learning rate"), tr("Largest step size; 0.003 suits this network. Too large and the loss jumps.")
        )
        self._seed_row.set_texts(
            tr("&Seed"), tr("The same seed and data give the same model; try several before trusting a result.")
        )
        self._filling = True
        self._fill_devices()
        self._filling = False
        self.show_derived()

    def fill(self) -> None:
        draft = self._flow.draft
        self._fill_devices()
        self._threads.setValue(draft.threads)
        self._epochs.setValue(draft.epochs)
        if self._rate.text() != draft.learning_rate:
            self._rate.setText(draft.learning_rate)
        self._seed.setValue(draft.seed)

    def _fill_devices(self) -> None:
        titles = [option.title.text() for option in self._flow.devices]
        if [self._device.itemText(index) for index in range(self._device.count())] != titles:
            self._device.clear()
            self._device.addItems(titles)
        names = [option.device for option in self._flow.devices]
        chosen = self._flow.draft.device
        self._device.setCurrentIndex(names.index(chosen) if chosen in names else -1)

    def show_derived(self) -> None:
        device, effort = self._flow.device, self._flow.estimate()
        self._device_row.set_texts(tr("De&vice"), "" if device is None else device.reason.text())
        self._duration.set_texts(tr("Estimated duration if every epoch is used"), duration_text(self._flow))
        targets = MISSING
        if effort is not None:
            targets = tr(
                "{train} / {valid} / {test}",
                train=format_number(effort.train_targets),
                valid=format_number(effort.valid_targets),
                test=format_number(effort.test_targets),
            )
        self._targets.set_texts(tr("Training / validation / test targets"), targets)
        set_look(self._rate, "invalid", not self.isComplete())

    @Slot(int)
    def _on_device_changed(self, index: int) -> None:
        if index >= 0:
            self.take(device=self._flow.devices[index].device)

    @Slot(int)
    def _on_threads_changed(self, value: int) -> None:
        self.take(threads=value)

    @Slot(int)
    def _on_epochs_changed(self, value: int) -> None:
        self.take(epochs=value)

    @Slot(str)
    def _on_rate_edited(self, text: str) -> None:
        self.take(learning_rate=text)

    @Slot(int)
    def _on_seed_changed(self, value: int) -> None:
        self.take(seed=value)


class ReviewPage(StepPage):
    """Everything that was chosen, and what to expect of the result."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.REVIEW, flow, guard)
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(0, 0, SPACE_S, 0)
        self._grid = QGridLayout()
        self._grid.setSpacing(SPACE_XL)
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, 1)
        layout.addLayout(self._grid)
        layout.addStretch(1)
        self._headings: list[QLabel] = []
        self._values: list[tuple[QLabel, QLabel]] = []
        scroll = QScrollArea()
        scroll.setObjectName("review_area")
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        self.body.addWidget(scroll, 1)
        frame, note_layout = card()
        self._note_title, self._note = QLabel(), wrapped_label("muted")
        note_layout.addWidget(self._note_title)
        note_layout.addWidget(self._note)
        self._caution = wrapped_label("warning")
        self._caution.setObjectName("review_caution")
        note_layout.addWidget(self._caution)
        self.body.addWidget(frame)
        self._lines: tuple[tuple[str, str], ...] = ()

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The (label, value) pairs shown."""
        return self._lines

    def retranslate(self) -> None:
        self.set_heading(tr("Review"), tr("Nothing has been started yet. Going back keeps every entry."))
        self._note_title.setText(tr("What the result will say"))
        self._note.setText(
            tr(
                "The test part is looked at once. The model is compared with simple forecasts on the same bars, "
                "first of all with “the price stays where it is”. “No advantage can be shown” is a normal result, "
                "and an advantage in the past does not promise one later."
            )
        )
        self.show_derived()

    def fill(self) -> None:
        """There is nothing to enter here."""

    def show_derived(self) -> None:
        dataset = self._flow.dataset
        words = "" if dataset is None else local_text(caution(dataset.origin))
        self._caution.setText(words)
        self._caution.setVisible(bool(words))
        groups = review(self._flow)
        if not self._values:
            self._build_lines(groups)
        for heading, group in zip(self._headings, groups, strict=True):
            heading.setText(group.title)
        self._lines = tuple(line for group in groups for line in group.lines)
        for (name, shown), (label, value) in zip(self._values, self._lines, strict=True):
            name.setText(label)
            shown.setText(value)

    def _build_lines(self, groups: tuple[ReviewGroup, ...]) -> None:
        """Make the labels once, two groups side by side: the groups always have the same lines."""
        top = Qt.AlignmentFlag.AlignTop
        for index, group in enumerate(groups):
            block = QGridLayout()
            block.setHorizontalSpacing(SPACE_M)
            block.setVerticalSpacing(SPACE_XS)
            block.setColumnMinimumWidth(0, LABEL_WIDTH * 2 // 3)
            block.setColumnStretch(1, 1)
            heading = QLabel()
            set_look(heading, "role", "heading")
            self._headings.append(heading)
            block.addWidget(heading, 0, 0, 1, 2)
            for row in range(1, len(group.lines) + 1):
                name, shown = QLabel(), wrapped_label()
                set_look(name, "role", "muted")
                shown.setFont(number_font())
                block.addWidget(name, row, 0, top)
                block.addWidget(shown, row, 1, top)
                self._values.append((name, shown))
            block.setRowStretch(len(group.lines) + 1, 1)
            self._grid.addLayout(block, index // 2, index % 2)
