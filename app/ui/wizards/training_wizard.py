"""The training wizard: a window over `app.flows.training_flow`. GUI thread only; opened with `open()` or `show()`."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QRadioButton, QSizePolicy, QWidget, QWizard
from shiboken6 import isValid

from app.flows.datasets import Dataset, StoredForecaster, TrainingSources
from app.flows.feature_catalogue import FeatureCatalogue
from app.flows.training_flow import ALL_STEPS, Step, TrainingDraft, TrainingFlow
from app.flows.training_runs import Run
from app.i18n import mark, tr
from app.language import LanguageManager
from app.theme import FONT_SIZE_M, GRID, SPACE_L, SPACE_M, SPACE_S, Palette, ThemeManager, number_font, set_look
from app.ui.wizards.agent_pages import AlgorithmPage, EnvironmentPage
from app.ui.wizards.config_files import ConfigFiles
from app.ui.wizards.data_page import DataPage
from app.ui.wizards.features_page import FeaturesPage
from app.ui.wizards.fields import WheelGuard
from app.ui.wizards.model_pages import ModelPage, TrainingPage
from app.ui.wizards.review_page import ReviewPage
from app.ui.wizards.run_pages import EvaluationPage, ResourcesPage
from app.ui.wizards.step_page import StepPage
from core.errors import UserError

STEP_TITLES: dict[Step, str] = {
    Step.DATA: mark("Data range"),
    Step.FEATURES: mark("Features"),
    Step.MODEL: mark("Model"),
    Step.TRAINING: mark("Training"),
    Step.ENVIRONMENT: mark("Environment"),
    Step.ALGORITHM: mark("Algorithm"),
    Step.EVALUATION: mark("Evaluation"),
    Step.RESOURCES: mark("Resources"),
    Step.REVIEW: mark("Review"),
}

MINIMUM_SIZE = QSize(232 * GRID, 160 * GRID)
FIRST_SIZE = QSize(270 * GRID, 180 * GRID)
_SAVE, _LOAD = QWizard.WizardButton.CustomButton1, QWizard.WizardButton.CustomButton2


class TrainingWizard(QWizard):
    """The pages that end in a request to train; which of them come depends on what is trained.

    Signals:
        training_requested(object): the `ml.api.ForecastSpec` or `ml.agents.run_spec.AgentSpec` to train; the wizard
            closes itself afterwards. For practice history (`flow.draft.source`) the receiver fetches the range into
            the candle store first.
    """

    training_requested = Signal(object)

    def __init__(
        self,
        sources: TrainingSources,
        theme: ThemeManager,
        language: LanguageManager,
        parent: QWidget | None = None,
        draft: TrainingDraft | None = None,
        spec: Run | None = None,
    ) -> None:
        """Build the pages.

        Args:
            sources: what there is to learn from and to compute on.
            theme / language: followed live.
            draft: entries to start with, for example of the wizard opened before.
            spec: a configuration to start with instead.
        """
        super().__init__(parent)
        self.setObjectName("training_wizard")
        self.setWizardStyle(QWizard.WizardStyle.ModernStyle)
        self.setOption(QWizard.WizardOption.NoBackButtonOnStartPage)
        self.setMinimumSize(MINIMUM_SIZE)
        self.resize(FIRST_SIZE)
        self._theme = theme
        self._guard = WheelGuard(self)
        self._flow = TrainingFlow(sources.datasets(), sources.devices(), draft)
        if spec is not None:
            self._flow.load(spec)
        self._data = DataPage(self._flow, sources, theme.palette, self._guard)
        self._pages: tuple[StepPage, ...] = (
            self._data,
            FeaturesPage(self._flow, self._guard),
            ModelPage(self._flow, self._guard),
            TrainingPage(self._flow, self._guard),
            EnvironmentPage(self._flow, self._guard),
            AlgorithmPage(self._flow, self._guard),
            EvaluationPage(self._flow, theme.palette, self._guard),
            ResourcesPage(self._flow, self._guard),
            ReviewPage(self._flow, self._guard),
        )
        self._steps = StepList(theme.palette)
        self.setSideWidget(self._steps)
        for index, page in enumerate(self._pages):
            self.setPage(index, page)
        self._data.edited.connect(self._show_steps)
        self.currentIdChanged.connect(self._on_page_changed)
        theme.changed.connect(self._on_theme_changed)
        language.changed.connect(self._on_language_changed)
        for which in (QWizard.WizardButton.NextButton, QWizard.WizardButton.FinishButton):
            set_look(self.button(which), "variant", "primary")
        self._files = ConfigFiles(self._flow.spec, self)
        self._files.loaded.connect(self.load)
        self._files.told.connect(self._on_told)
        self.customButtonClicked.connect(self._on_custom_button)
        self._lay_out_buttons()
        self.retranslate()
        sources.load_features(self._take_catalogue)
        sources.load_forecasters(self._take_forecasters)

    @property
    def flow(self) -> TrainingFlow:
        """The state behind the pages."""
        return self._flow

    @property
    def files(self) -> ConfigFiles:
        """Saves and loads the configuration."""
        return self._files

    @Slot(object)
    def load(self, spec: Run) -> None:
        """Fill every page from a specification; one of something else begins at the first page again."""
        before = self._flow.subject
        self._flow.load(spec)
        self._data.forget_files()
        if self._flow.subject is not before and self.currentId() > 0:
            self.restart()  # pages that were passed may not belong to it
        for page in self._pages:
            page.refresh()
        self._show_steps()

    def set_datasets(self, datasets: Sequence[Dataset]) -> None:
        """Offer other histories, for example after a fetch."""
        self._data.set_datasets(datasets)

    def retranslate(self) -> None:
        """Set every visible text again."""
        self.setWindowTitle(tr("Train a model"))
        texts = {
            QWizard.WizardButton.BackButton: tr("&Back"),
            QWizard.WizardButton.NextButton: tr("&Next"),
            QWizard.WizardButton.FinishButton: tr("Add to queue"),
            QWizard.WizardButton.CancelButton: tr("Cancel"),
            _SAVE: tr("Save configuration…"),
            _LOAD: tr("Load configuration…"),
        }
        for which, text in texts.items():
            self.setButtonText(which, text)
        for page in self._pages:
            page.retranslate()
            page.refresh()
        self._show_steps()

    def nextId(self) -> int:
        """Return the page after the present one, of those that what is trained needs."""
        steps, present = self._flow.steps, ALL_STEPS[max(0, self.currentId())]
        after = steps.index(present) + 1 if present in steps else 0
        return ALL_STEPS.index(steps[after]) if after < len(steps) else -1

    def accept(self) -> None:
        """Ask for the training and close; stays open where the specification is not valid."""
        try:
            spec = self._flow.spec()
        except UserError:
            self._pages[-1].refresh()  # shows the sentence
            return
        self.training_requested.emit(spec)
        super().accept()

    def _lay_out_buttons(self) -> None:
        which = QWizard.WizardButton
        self.setOption(QWizard.WizardOption.HaveCustomButton1)
        self.setOption(QWizard.WizardOption.HaveCustomButton2)
        self.setButtonLayout(
            [_LOAD, _SAVE, which.Stretch, which.BackButton, which.NextButton, which.FinishButton, which.CancelButton]
        )
        self.button(_SAVE).setObjectName("save_configuration_button")
        self.button(_LOAD).setObjectName("load_configuration_button")

    def _take_catalogue(self, catalogue: FeatureCatalogue | UserError) -> None:
        if isValid(self):  # the answer may come after the wizard was closed
            self._flow.set_catalogue(catalogue)
            for page in self._pages:
                page.refresh()

    def _take_forecasters(self, found: Sequence[StoredForecaster] | UserError) -> None:
        if isValid(self):
            self._flow.set_forecasters(found)
            self._data.refresh()

    @Slot()
    def _show_steps(self) -> None:
        steps = self._flow.steps
        self._steps.set_steps([tr(STEP_TITLES[step]) for step in steps])
        if self._flow.step in steps:
            self._steps.set_current(steps.index(self._flow.step))

    @Slot(int)
    def _on_custom_button(self, which: int) -> None:
        if which == _SAVE.value:
            self._files.ask_save()
        else:
            self._files.ask_load()

    @Slot(str, str)
    def _on_told(self, text: str, role: str) -> None:
        self._pages[ALL_STEPS.index(self._flow.step)].tell(text, role)

    @Slot(int)
    def _on_page_changed(self, index: int) -> None:
        if index < 0:  # the wizard is closing
            return
        self._flow.go_to(ALL_STEPS[index])
        self._show_steps()
        radios = self._pages[index].findChildren(QRadioButton)
        chosen = next((radio for radio in radios if radio.isChecked()), None)
        if chosen is not None:
            chosen.setFocus(Qt.FocusReason.OtherFocusReason)  # Qt takes the first, where Space would choose it

    @Slot()
    def _on_theme_changed(self) -> None:
        self._steps.set_palette(self._theme.palette)
        for page in self._pages:
            page.set_palette(self._theme.palette)

    @Slot()
    def _on_language_changed(self) -> None:
        self.retranslate()


class StepList(QWidget):
    """The steps on the left: done, present, still to come."""

    def __init__(self, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("step_list")
        self._palette = palette
        self._titles: tuple[str, ...] = ()
        self._current = 0
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)

    def sizeHint(self) -> QSize:
        return QSize(44 * GRID, 64 * GRID)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        self.update()

    def set_steps(self, titles: Sequence[str]) -> None:
        """Name the steps."""
        self._titles = tuple(titles)
        self._announce()

    def set_current(self, index: int) -> None:
        """Mark the present step."""
        self._current = index
        self._announce()

    def _announce(self) -> None:
        if self._current < len(self._titles):
            self.setAccessibleName(
                tr(
                    "Step {number} of {count}: {title}",
                    number=self._current + 1,
                    count=len(self._titles),
                    title=self._titles[self._current],
                )
            )
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        colours = self._palette
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor(colours.surface))
        pitch, radius, left, top = 10 * GRID, 2.5 * GRID, SPACE_L, SPACE_L + 3 * GRID
        for index, title in enumerate(self._titles):
            centre = QPointF(left + radius, top + index * pitch)
            done, present = index < self._current, index == self._current
            if index:
                painter.setPen(QPen(QColor(colours.accent if done or present else colours.line), 1))
                painter.drawLine(
                    QPointF(centre.x(), centre.y() - pitch + radius + GRID),
                    QPointF(centre.x(), centre.y() - radius - GRID),
                )
            painter.setPen(QPen(QColor(colours.accent if done or present else colours.line), 1))
            painter.setBrush(QColor(colours.accent if present else colours.surface))
            painter.drawEllipse(centre, radius, radius)
            painter.setFont(number_font(FONT_SIZE_M - 2, bold=present))
            painter.setPen(QColor(colours.on_accent if present else colours.accent if done else colours.muted))
            circle = QRectF(centre.x() - radius, centre.y() - radius, 2 * radius, 2 * radius)
            painter.drawText(circle, Qt.AlignmentFlag.AlignCenter, "✓" if done else str(index + 1))
            painter.setFont(number_font(FONT_SIZE_M, bold=present))
            painter.setPen(QColor(colours.text if present else colours.muted))
            box = QRectF(left + 2 * radius + SPACE_M, centre.y() - pitch / 2, self.width(), pitch)
            box.setRight(self.width() - SPACE_S)
            text = QFontMetrics(painter.font()).elidedText(title, Qt.TextElideMode.ElideRight, int(box.width()))
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, text)
        painter.end()
