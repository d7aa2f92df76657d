"""Which market the training wizard opens with, and which it takes where the wished one is not there. Qt-free, pure.

Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.flows.datasets import Dataset, date_text
from app.flows.training_draft import TrainingDraft
from core.domain.candles import Timeframe
from core.domain.data_origin import is_practice

WORTHWHILE_BARS = 5_000  # fewer stored bars are not offered first


def first_draft(stored: Sequence[Dataset], practice: Sequence[Dataset]) -> TrainingDraft:
    """Return what to start with: the longest stored history worth learning from, else practice, else any stored one."""
    # The few live bars of the last sessions are a history, too, but not one to learn from; and of the practice market
    # the exchange has more than was stored.
    worthwhile = [item for item in stored if item.bars >= WORTHWHILE_BARS and not is_practice(item.origin)]
    if worthwhile or (stored and not practice):
        best = max(worthwhile or stored, key=lambda item: item.bars)
    elif practice:
        best = _usual(practice)
    else:
        return TrainingDraft()
    draft = TrainingDraft(source=best.kind, symbol=best.symbol, timeframe=best.timeframe.value, origin=best.origin)
    return with_range_of(draft, best)


def with_existing_market(draft: TrainingDraft, found: Sequence[Dataset]) -> TrainingDraft:
    """Keep symbol, origin and bar length where the source has them among `found`, else take the nearest there is."""
    if not found:
        return draft
    if draft.symbol not in {item.symbol for item in found}:
        draft = replace(draft, symbol=_usual(found).symbol)
    same = [item for item in found if item.symbol == draft.symbol]
    if draft.origin not in {item.origin for item in same}:
        real = [item for item in same if not is_practice(item.origin)]
        draft = replace(draft, origin=_usual(real or same).origin)
    same = [item for item in same if item.origin == draft.origin]
    if draft.timeframe not in {item.timeframe.value for item in same}:
        draft = replace(draft, timeframe=_usual(same).timeframe.value)
    return draft


def with_range_of(draft: TrainingDraft, dataset: Dataset) -> TrainingDraft:
    """Return the draft over all days of a history."""
    return replace(draft, start_date=date_text(dataset.first_ns), end_date=date_text(dataset.last_ns))


def _usual(found: Sequence[Dataset]) -> Dataset:
    """Return the hourly history where there is one: long enough to learn from, quick to train on."""
    return next((item for item in found if item.timeframe is Timeframe.H1), found[0])
