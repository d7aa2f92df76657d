"""Pictures of the training wizard: every page, plain and with its advanced settings. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType

from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QLineEdit, QWizard

from app.flows.agent_draft import Direction, Subject
from app.flows.datasets import SourceKind
from app.flows.training_flow import STEPS, Step
from app.screenshots.studio import Studio, settle
from app.theme import GRID
from app.ui.wizards.data_page import DataPage
from app.ui.wizards.fields import Expander
from app.ui.wizards.training_wizard import FIRST_SIZE, TrainingWizard
from ml.api import SeriesSource

Take = Callable[[Studio], QPixmap]

_SERIES = SeriesSource("funding", "BTC_USDT-funding.csv", "rate", 60.0)
_COLUMNS = ("RSI(timeperiod=14)@4h", "BBANDS(timeperiod=20).upperband", "log_return@ETH/USDT", "funding.zscore")
_TALL = 260 * GRID
_SEVERAL = MappingProxyType({"further_markets": ("ETH/USDT",)})
_UNUSUAL = MappingProxyType({"direction": Direction.BOTH, "highest": "2", "algorithm": "sac", "reward": "drawdown"})


def wizard_scenes() -> dict[str, Take]:
    """Return the pictures by name."""
    pages = {
        f"training_wizard_{number}_{step.value}": partial(_page, step=step)
        for number, step in enumerate(STEPS, start=1)
    }
    advanced = {f"{name}_advanced": partial(_advanced, step=take.keywords["step"]) for name, take in pages.items()}
    del advanced[f"training_wizard_{len(STEPS)}_{Step.REVIEW.value}_advanced"]
    return {
        **pages,
        **advanced,
        "training_wizard_5_evaluation_dates": _dates,
        "training_wizard_file": _file,
        "training_wizard_practice": _practice,
        "training_wizard_problem": _problem,
        **_agent_scenes(),
    }


def _agent_scenes() -> dict[str, Take]:
    """Return the pictures of what is asked about an agent."""
    pages = (Step.DATA, Step.ENVIRONMENT, Step.ALGORITHM, Step.EVALUATION, Step.RESOURCES, Step.REVIEW)
    scenes: dict[str, Take] = {f"agent_wizard_{step.value}": partial(_agent, step=step) for step in pages}
    for step in (Step.ENVIRONMENT, Step.ALGORITHM, Step.EVALUATION):
        scenes[f"agent_wizard_{step.value}_advanced"] = partial(_agent, step=step, height=_TALL, changes=_UNUSUAL)
    return {
        **scenes,
        "agent_wizard_data_advanced": partial(_agent, step=Step.DATA, height=_TALL, changes=_SEVERAL),
        "agent_wizard_problem": partial(_agent, step=Step.ALGORITHM, changes={"steps": "3,000,000"}),
        "agent_wizard_both_training": partial(_agent, step=Step.TRAINING, subject=Subject.BOTH),
        "agent_wizard_both_environment": partial(_agent, step=Step.ENVIRONMENT, subject=Subject.BOTH),
        "agent_wizard_both_review": partial(_agent, step=Step.REVIEW, subject=Subject.BOTH, changes=_UNUSUAL),
        "agent_wizard_stored_data": partial(_agent, step=Step.DATA, subject=Subject.ON_STORED),
        "agent_wizard_stored_review": partial(_agent, step=Step.REVIEW, subject=Subject.ON_STORED),
    }


@contextmanager
def _wizard(studio: Studio, step: Step = Step.DATA, height: int = FIRST_SIZE.height()) -> Iterator[TrainingWizard]:
    wizard = TrainingWizard(studio.materials.sources, studio.theme, studio.language, studio.window)
    wizard.resize(FIRST_SIZE.width(), height)
    wizard.show()
    settle()
    for _ in range(STEPS.index(step)):
        wizard.button(QWizard.WizardButton.NextButton).click()
    yield wizard
    wizard.reject()
    wizard.deleteLater()
    settle()


def _page(studio: Studio, *, step: Step) -> QPixmap:
    with _wizard(studio, step) as wizard:
        return studio.shoot(wizard)


def _advanced(studio: Studio, *, step: Step) -> QPixmap:
    """Take a page with everything on it, in a window high enough to show it."""
    with _wizard(studio, step, _TALL) as wizard:
        wizard.flow.update(
            markets=("ETH/USDT",), series=(_SERIES,), columns=_COLUMNS, head="classes", horizons="1, 4, 24"
        )
        wizard.retranslate()
        page = wizard.currentPage()
        for expander in page.findChildren(Expander):
            expander.set_open(True)
        search = page.findChild(QLineEdit, "column_search_edit")
        if search is not None:
            search.setText("bollinger")
        return studio.shoot(wizard)


def _agent(
    studio: Studio,
    *,
    step: Step,
    subject: Subject = Subject.AGENT,
    height: int = FIRST_SIZE.height(),
    changes: Mapping[str, object] = MappingProxyType({}),
) -> QPixmap:
    """Take a page on the way to an agent; a high window shows the advanced settings too."""
    with _wizard(studio, height=height) as wizard:
        wizard.flow.update(subject=subject)
        wizard.flow.update(**changes)
        for _ in range(wizard.flow.steps.index(step)):
            wizard.button(QWizard.WizardButton.NextButton).click()
        for expander in wizard.currentPage().findChildren(Expander):
            expander.set_open(height == _TALL)
        wizard.retranslate()
        return studio.shoot(wizard)


def _dates(studio: Studio) -> QPixmap:
    with _wizard(studio, Step.EVALUATION) as wizard:
        wizard.flow.update(by_date=True)
        wizard.retranslate()
        return studio.shoot(wizard)


def _file(studio: Studio) -> QPixmap:
    with _wizard(studio) as wizard:
        page = wizard.currentPage()
        assert isinstance(page, DataPage)
        page.choose_file("BTC_USDT-1h.csv")
        return studio.shoot(wizard)


def _practice(studio: Studio) -> QPixmap:
    with _wizard(studio) as wizard:
        wizard.flow.update(source=SourceKind.PRACTICE, whole_range=False)
        wizard.retranslate()
        return studio.shoot(wizard)


def _problem(studio: Studio) -> QPixmap:
    with _wizard(studio, Step.MODEL) as wizard:
        wizard.flow.update(dropout="0,3")
        wizard.retranslate()
        wizard.button(QWizard.WizardButton.NextButton).click()
        return studio.shoot(wizard)
