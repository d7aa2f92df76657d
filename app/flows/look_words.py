"""A model that is looked at, in words: which one, who trades with it, what it says. Qt-free, pure."""

from __future__ import annotations

from app.flows.model_words import foreign_sentence, other_bars_sentence
from app.flows.origin_text import market_title
from app.flows.sentence_text import local_text
from app.i18n import format_number, format_percent, mark, tr, tr_count
from app.models.model_look import ModelLook
from ml.outlook import AgentWeights, Outcomes

_ID_LENGTH = 10
_NO_FORECAST = mark("No forecast yet: it needs {needed} closed bars without a gap, and there are {n}.")
_NO_DECISION = mark("No decision yet: it needs {needed} closed bars without a gap, and there are {n}.")


def look_title(look: ModelLook, traded: bool) -> str:
    """Say which model it is, and whether anything trades with it here."""
    model = look.model.model_id[:_ID_LENGTH]
    if traded:
        return tr("Model {model}: a running strategy trades with it", model=model)
    return tr("Only looking at model {model}: nothing trades with it", model=model)


def look_state(look: ModelLook) -> str:
    """Say how far it is, in one sentence."""
    model, outlook = look.model, look.outlook
    if not look.here:
        return tr("It waits: its market is {market}.", market=f"{model.symbol} {model.timeframe}")
    if look.problem is not None:
        return local_text(look.problem.message)
    if outlook is None:
        return tr("Waiting for the bars of the chart …")
    if not outlook.speaks and look.loading:
        return tr("Loading history: it needs {needed} closed bars …", needed=format_number(outlook.needed))
    if not outlook.speaks:
        return tr(
            _NO_DECISION if model.agent else _NO_FORECAST,
            needed=format_number(outlook.needed),
            n=format_number(outlook.bars),
        )
    if outlook.weights is not None:
        return _wanted(outlook.weights)
    if outlook.outcomes is None:
        return tr("A new forecast follows each closed bar.")
    return _outcomes(outlook.outcomes)


def look_cautions(look: ModelLook) -> list[str]:
    """Return what must be known before it is believed, most important first."""
    model, cautions = look.model, []
    if look.problem is not None and look.here:
        cautions.append(local_text(look.problem.remedy))
    if others := other_bars_sentence(model.origin, look.origin):
        cautions.append(others)
    if model.foreign:
        cautions.append(foreign_sentence())
    return cautions


def look_facts(look: ModelLook) -> list[str]:
    """Return what else there is to say: its market, and how to read what it says."""
    model, outlook = look.model, look.outlook
    facts = [tr("It knows {market}.", market=market_title(model.symbol, model.timeframe, model.origin))]
    if model.agent:
        facts.append(tr("The account is made up: nothing is bought or sold, and its costs are those it learned with."))
    if outlook is not None and outlook.outcomes is not None:
        facts.append(tr("Only bars that came after everything the model was made from are counted."))
    return facts


def _wanted(weights: AgentWeights) -> str:
    return tr_count(
        "It wants to hold {target} of its account and held {held}, beginning with nothing {n} bar ago.",
        "It wants to hold {target} of its account and held {held}, beginning with nothing {n} bars ago.",
        weights.age,
        target=format_number(weights.target[-1], 2, sign=True),
        held=format_number(weights.held[-1], 2, sign=True),
    )


def _outcomes(outcomes: Outcomes) -> str:
    return tr_count(
        "Of its last {count} forecasts of the next bar {held} ended in their range ({rate}; it promises {share}).",
        "Of its last {count} forecasts of {n} bars ahead {held} ended in their range ({rate}; it promises {share}).",
        outcomes.horizon_bars,
        count=format_number(outcomes.judged),
        held=format_number(outcomes.held),
        rate=format_percent(outcomes.held / outcomes.judged, 0),
        share=format_percent(outcomes.share, 0),
    )
