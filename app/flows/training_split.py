"""How the training wizard divides the bars in time: by shares or by dates. Qt-free, pure, any thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from app.flows.amount import AmountError
from app.flows.datasets import RangeSummary, date_text
from app.flows.training_checks import left_for_test, shares_problem, split_problem
from app.flows.training_draft import DEFAULT_DRAFT, TrainingDraft, instant_of
from app.flows.typed_numbers import share_of
from ml.api import ForecastSpec, SplitSpec

_SMALLEST = 0.005  # of the bars; what the estimates of a run divide by


class PartName(StrEnum):
    """The parts the bars are divided into, in order of time."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class SplitPart:
    """One part of the split.

    Attributes:
        share: of all bars, 0 to 1.
        start_ns / end_ns: about when it begins and ends, ns UTC; None without bars or with shares that make no split.
    """

    name: PartName
    share: float
    start_ns: int | None
    end_ns: int | None


def split_parts(draft: TrainingDraft, summary: RangeSummary | None) -> tuple[SplitPart, ...]:
    """Return the three parts with the dates at which they begin and end, borders without purge.

    Args:
        draft: the entries.
        summary: of the chosen bars, None where there are none (yet).
    """
    parts: list[SplitPart] = []
    position = 0.0
    for name, share in zip(PartName, _shares(draft, summary), strict=True):
        start = end = None
        if share and summary is not None and summary.first_ns is not None and summary.last_ns is not None:
            span = summary.last_ns - summary.first_ns
            start = summary.first_ns + int(span * position)
            end = summary.first_ns + int(span * min(1.0, position + share))
        parts.append(SplitPart(name, share, start, end))
        position += share
    return tuple(parts)


def with_borders(draft: TrainingDraft, summary: RangeSummary | None) -> TrainingDraft:
    """Suggest the borders that the shares give, where none were entered yet."""
    shared = replace(draft, by_date=False)
    if split_problem(shared, None, None) is not None:  # shares that cannot be read suggest nothing
        shared = DEFAULT_DRAFT
    parts = split_parts(shared, summary)
    _, valid, test = ("" if part.start_ns is None else date_text(part.start_ns) for part in parts)
    return replace(draft, valid_from=draft.valid_from or valid, test_from=draft.test_from or test)


def by_shares(spec: ForecastSpec, draft: TrainingDraft, summary: RangeSummary | None, warm_up: int = 0) -> ForecastSpec:
    """Return a specification that divides by shares as the dates of the draft do; the estimates know shares only.

    Args:
        spec: the specification.
        draft: the entries.
        summary: of the usable bars, None where there are none (yet).
        warm_up: bars before the first target, which shares do not divide and dates do.
    """
    if spec.split.borders_ns is None:
        return spec
    train, valid, _ = _shares(draft, summary)
    bars = 0 if summary is None else summary.bars
    targets = bars - warm_up - spec.model.reach
    if targets > 0:
        train, valid = (train * bars - warm_up) / targets, valid * bars / targets
    train = min(1.0 - 2 * _SMALLEST, max(_SMALLEST, train))
    valid = min(1.0 - _SMALLEST - train, max(_SMALLEST, valid))
    return replace(spec, split=SplitSpec(train, valid, spec.split.purge_bars))


def _shares(draft: TrainingDraft, summary: RangeSummary | None) -> tuple[float, float, float]:
    """Return how large the parts are; 0 where it cannot be said."""
    if not draft.by_date:
        try:
            train, valid = share_of(draft.train_percent), share_of(draft.valid_percent)
        except AmountError:
            return (0.0, 0.0, 0.0)
        if shares_problem(draft) is not None:
            return (0.0, 0.0, 0.0)
        return (train, valid, float(left_for_test(draft)) / 100)
    if summary is None or summary.first_ns is None or summary.last_ns is None:
        return (0.0, 0.0, 0.0)
    if split_problem(draft, summary.first_ns, summary.last_ns) is not None:
        return (0.0, 0.0, 0.0)
    span = summary.last_ns - summary.first_ns
    first, second = ((instant_of(text) - summary.first_ns) / span for text in (draft.valid_from, draft.test_from))
    return (first, second - first, 1.0 - second)
