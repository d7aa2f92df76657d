"""Everything that was chosen in the training wizard, for its last page. Qt-free, any thread."""

from __future__ import annotations

from app.flows.agent_draft import Subject
from app.flows.agent_review import (
    algorithm_group,
    environment_group,
    judgement_group,
    memory_text,
)
from app.flows.training_flow import TrainingFlow
from app.flows.training_review import (
    ReviewGroup,
    data_group,
    duration_text,
    evaluation_group,
    features_group,
    model_group,
    resources_group,
    training_group,
)
from app.i18n import format_number, tr


def review(flow: TrainingFlow) -> tuple[ReviewGroup, ...]:
    """Return everything that was chosen, in the order of the steps."""
    if flow.subject is Subject.FORECASTER:
        return (
            data_group(flow),
            features_group(flow),
            model_group(flow),
            training_group(flow),
            evaluation_group(flow),
            resources_group(flow, (tr("Duration"), duration_text(flow))),
        )
    groups = [data_group(flow), features_group(flow)]
    effort = [(tr("Data in memory"), memory_text(flow))]
    if flow.subject is Subject.BOTH:
        networks = (tr("Networks"), format_number(flow.draft.agent.encoder_seeds))
        fitting = training_group(flow)
        groups += [model_group(flow), ReviewGroup(fitting.title, (*fitting.lines, networks))]
        effort.append((tr("The forecaster takes"), duration_text(flow)))
    resources = resources_group(flow, *effort)
    return (*groups, environment_group(flow), algorithm_group(flow), judgement_group(flow), resources)
