"""Judges a stored agent on bars it did not come with, see `ml.evaluation_range`. The job's child only (imports torch).

What is judged is the exported network, the very thing that trades. Rules choose their parameters on the agent's own
training bars where these are at hand, else on bars before the judged ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from core.errors import UserError
from ml.agents.bars import AgentBars, MarketBars, encode_bars, usable_stretches
from ml.agents.claims import settle_agent_claims
from ml.agents.market_tensor import from_dataset
from ml.agents.package import StoredAgent
from ml.agents.run_spec import AgentSpec, agent_hash
from ml.agents.trial import judge_again
from ml.api import DataRange
from ml.dataset import Part, prepare_bars
from ml.evaluation_plan import FEWEST_JUDGED, AgentEvaluation
from ml.evaluation_range import (
    Origin,
    choose_bars,
    evaluation_record,
    lay_out,
    range_notes,
    require_bar_length,
    spans_of,
    too_few_bars,
)
from ml.features import MarketHistory, pipeline_for
from ml.model_storage import StoredModel, data_lineage
from ml.trial_ledger import TrialLedger


def evaluate_agent(
    stored: StoredAgent,
    encoder: StoredModel | None,
    history: MarketHistory,
    data: DataRange,
    check_stop: Callable[[], None] = lambda: None,
) -> AgentEvaluation:
    """Judge a stored agent on what came after its training and validation.

    Args:
        stored: the agent.
        encoder: the forecaster it sees through; None where it uses none.
        history: bars of one market up to the end of the range, as early as there are any.
        data: whose bars these are, and the range to judge.
        check_stop: called now and then; raises to stop.

    Raises:
        UserError: another bar length, features computed differently, funding that is not known, or too few bars behind
            those of its training.
    """
    spec, frame = stored.spec, history.frame
    require_bar_length(spec.bars, frame)
    _require_no_funding(spec, data)
    pipeline_for(spec.features, stored.feature_digest, frame.timeframe)
    prepared, origin = prepare_bars(history, spec.bars), Origin(spec.bars, stored.manifest, may_include=False)
    choice = choose_bars(origin, prepared, data, with_training=False, with_earlier=False)
    same = data.venue == spec.data.venue and data.symbol in spec.universe.markets(spec.data)
    layout = lay_out(origin, prepared, choice, same=same)
    judged = Part.of([(part.start, part.stop) for part in layout.judged])
    dataset = prepared.divided(layout.train, layout.valid, judged, stored.scaling)
    encoded = None if encoder is None else encode_bars(history, encoder, spec.encoder, check_stop)
    market = from_dataset(
        dataset,
        frame,
        columns=None if encoded is None else encoded.columns,
        column_names=() if encoded is None else encoded.names,
        known=None if encoded is None else encoded.known,
        rules=spec.universe.rules_of(data.symbol),
    )
    window = spec.environment.window
    train, test = (
        usable_stretches(market, rows, name, window)
        for rows, name in ((layout.train, "training part"), (judged, "range"))
    )
    decisions = sum(len(stretch) - window for stretch in test)
    if decisions < FEWEST_JUDGED:
        raise too_few_bars(decisions)
    bars = AgentBars((MarketBars(dataset, frame, 0),), market, train, train, test, encoded)
    metrics = judge_again(bars, spec, stored.onnx, check_stop)
    inside = [frame.time_ns[stretch.start + window - 1 : stretch.stop - 1] for stretch in test]
    times = np.concatenate(inside)
    own = int(spans_of(origin)[1].mask(times).sum()) if same else 0
    return AgentEvaluation(
        model_id=stored.model_id,
        venue=data.venue,
        symbol=data.symbol,
        timeframe=data.timeframe,
        data_sha256=data_lineage(frame)["sha256"],
        first_ns=int(times.min()),
        last_ns=int(times.max()),
        judged=len(times),
        trained_on=choice.trained_on,
        included=False,
        earlier=choice.earlier,
        included_earlier=False,
        own_test=own,
        notes=range_notes(origin, data, layout, choice, times, own, same=same),
        metrics=metrics,
    )


def count_agent_evaluation(
    result: AgentEvaluation, spec: AgentSpec, ledger: TrialLedger, now_ns: int
) -> AgentEvaluation:
    """Write the evaluation into the ledger, once however often it is repeated, and claim no more than it allows."""
    record = evaluation_record(result, agent_hash(spec), spec.algorithm.seed, now_ns)
    ledger.append(replace(record, score=result.metrics.ensemble.log_return, score_name="log_return"))
    judged_on = replace(spec.data, venue=result.venue, symbol=result.symbol)
    return replace(result, metrics=settle_agent_claims(result.metrics, ledger, [judged_on]))


def _require_no_funding(spec: AgentSpec, data: DataRange) -> None:
    """Raise `UserError` where an agent paid funding: its rates are known for the bars of its run only."""
    if spec.universe.funding_of(data.symbol) is not None:
        raise UserError(
            f"The agent paid funding on {data.symbol}, and the rates of other bars than its own are not known.",
            "Train it again with a file of rates that reaches to the newest bar.",
        )
