"""The steps of the training wizard, and which of them a choice of what is trained needs. Qt-free, pure, any thread."""

from __future__ import annotations

from enum import StrEnum

from app.flows.agent_draft import Subject


class Step(StrEnum):
    """The steps in their order."""

    DATA = "data"
    FEATURES = "features"
    MODEL = "model"
    TRAINING = "training"
    ENVIRONMENT = "environment"
    ALGORITHM = "algorithm"
    EVALUATION = "evaluation"
    RESOURCES = "resources"
    REVIEW = "review"


ALL_STEPS: tuple[Step, ...] = tuple(Step)
_OF_FORECASTERS = (Step.MODEL, Step.TRAINING)
_OF_AGENTS = (Step.ENVIRONMENT, Step.ALGORITHM)


def steps_of(subject: Subject) -> tuple[Step, ...]:
    """Return the steps that lead to what is trained."""
    left_out: tuple[Step, ...] = ()
    if not subject.trains_forecaster:
        left_out += _OF_FORECASTERS
    if not subject.trains_agent:
        left_out += _OF_AGENTS
    return tuple(step for step in ALL_STEPS if step not in left_out)


STEPS = steps_of(Subject.FORECASTER)
