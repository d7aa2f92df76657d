"""From the entries of the training wizard to the run they describe, and back. Qt-free, pure, any thread."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from app.flows.agent_draft import (
    Subject,
    agent_draft_of,
    algorithm_spec,
    encoder_spec,
    environment_spec,
    judgement_spec,
    universe_spec,
)
from app.flows.datasets import Dataset, SourceKind
from app.flows.training_draft import (
    TrainingDraft,
    draft_of,
    evaluation_spec,
    feature_spec,
    model_spec,
    resource_spec,
    split_spec,
    training_spec,
)
from ml.agents.run_spec import AgentSpec
from ml.api import STORE_SOURCE, DataRange, EvaluationSpec, ForecastSpec, ModelSpec, TrainingSpec

Run: TypeAlias = ForecastSpec | AgentSpec


def data_range(draft: TrainingDraft, dataset: Dataset | None, limits: tuple[int | None, int | None]) -> DataRange:
    """Return which bars a run learns from.

    Args:
        draft: the entries.
        dataset: the chosen history, None where there is none (yet).
        limits: of the range as [start, end) in ns UTC, None where it is unbounded.
    """
    start_ns, end_ns = limits
    if dataset is None:
        return DataRange(start_ns=start_ns, end_ns=end_ns)
    if dataset.kind is SourceKind.PRACTICE:
        # Named exactly: the store may hold other stretches of the same market from earlier downloads.
        start_ns = dataset.first_ns if start_ns is None else start_ns
        end_ns = dataset.last_ns + dataset.timeframe.ns if end_ns is None else end_ns
    is_file = dataset.kind is SourceKind.FILE
    return DataRange(
        venue=(draft.origin or dataset.origin) if is_file else dataset.origin,
        symbol=dataset.symbol,
        timeframe=dataset.timeframe.value,
        start_ns=start_ns,
        end_ns=end_ns,
        source=dataset.path if is_file else STORE_SOURCE,
        markets=draft.markets,
        series=draft.series,
    )


def used_markets(draft: TrainingDraft) -> tuple[str, ...]:
    """Return the markets an agent learns on beside its own: stored ones, and none where a forecaster knows only one."""
    usable = draft.source is SourceKind.STORE and draft.agent.subject is Subject.AGENT
    return draft.agent.further_markets if usable else ()


def bars_run(draft: TrainingDraft, data: DataRange) -> ForecastSpec:
    """Return the forecast whose bars a run needs: its own, that of its encoder, or that of the next bar.

    Only texts of the steps that lead to such a forecast matter, and they were found right.
    """
    fits, seeds = draft.agent.subject.trains_forecaster, draft.agent.encoder_seeds
    alone = draft.agent.subject is Subject.FORECASTER
    return ForecastSpec(
        data=data,
        features=feature_spec(draft),
        model=model_spec(draft) if fits else ModelSpec(horizons=(1,)),
        split=split_spec(draft),
        training=training_spec(draft) if fits else TrainingSpec(burn_in=0),
        evaluation=evaluation_spec(draft) if alone else EvaluationSpec(seeds=seeds, permutation_repeats=0),
        resources=resource_spec(draft),
    ).with_used_data()


def run_of(draft: TrainingDraft, data: DataRange) -> Run:
    """Return the run of a draft whose texts were found right."""
    bars, agent = bars_run(draft, data), draft.agent
    if agent.subject is Subject.FORECASTER:
        return bars
    fits = agent.subject is Subject.BOTH
    return AgentSpec(
        data=bars.data,
        universe=universe_spec(agent, bars.data.symbol, used_markets(draft)),
        features=bars.features,
        split=bars.split,
        encoder=encoder_spec(agent),
        forecaster=bars.model if fits else agent.spare.forecaster,
        fitting=bars.training if fits else agent.spare.fitting,
        environment=environment_spec(agent),
        algorithm=algorithm_spec(agent),
        evaluation=judgement_spec(agent),
        resources=bars.resources,
    )


def draft_of_run(run: Run, source: SourceKind, before: TrainingDraft, *, whole_range: bool) -> TrainingDraft:
    """Return the draft that builds a run.

    Args:
        run: the run.
        source: where its bars come from.
        before: holds the entries that the run says nothing of.
        whole_range: its range is all there is, whatever bounds it names.
    """
    if isinstance(run, ForecastSpec):
        draft = draft_of(run, source, whole_range=whole_range)
        return replace(draft, agent=replace(before.agent, subject=Subject.FORECASTER))
    return replace(
        draft_of(run.encoder_run, source, whole_range=whole_range),
        seeds=before.seeds,
        boosting=before.boosting,
        permutation_repeats=before.permutation_repeats,
        cost_percent=before.cost_percent,
        agent=agent_draft_of(run, before.agent),
    )
