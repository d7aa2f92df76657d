"""Which bars a stored model may be judged on: newer ones, another range, another market. Any thread; no torch.

What the model was trained on is known from its package. Those bars, a horizon and a purge around them, and whatever
came before, are left out, whichever market the bars are of: markets move together, so the same weeks of another one are
no news either, and who learnt from what came later knows how earlier weeks went on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from core.clock import to_datetime
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.api import DataRange, ForecastSpec
from ml.arrays import BoolArray, IntArray
from ml.dataset import Part, PreparedBars, contiguous_stretches
from ml.evaluation_plan import FEWEST_JUDGED, AgentEvaluation, ModelResult
from ml.jsonvalues import Json
from ml.model_storage import data_lineage
from ml.trial_ledger import EVALUATION, FINISHED, TrialRecord

_FEWEST_FOR_YARDSTICKS = 300
_SET_ASIDE = 0.3  # of the judged bars, where no others can tell the yardsticks what they need to know


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """How a stored model came to be.

    Attributes:
        spec: how its bars were prepared and divided.
        manifest: of its package.
        may_include: whether bars of its training, and before, can be judged all the same.
    """

    spec: ForecastSpec
    manifest: Json
    may_include: bool = True


@dataclass(frozen=True, slots=True)
class _Span:
    """Open times of the first and last bar of a part, ns UTC."""

    first_ns: int
    last_ns: int

    def mask(self, time_ns: IntArray, around_ns: int = 0) -> BoolArray:
        inside: BoolArray = (time_ns >= self.first_ns - around_ns) & (time_ns <= self.last_ns + around_ns)
        return inside


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Which bars may be judged.

    Attributes:
        allowed: these, shape (n,).
        trained_on: how many of the range with an outcome are from the time of the training, with what lies around it.
        earlier: how many are from before that.
        with_training / with_earlier: whether these are allowed.
    """

    allowed: BoolArray
    trained_on: int
    earlier: int
    with_training: bool
    with_earlier: bool


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What fits the yardsticks and what is judged.

    Attributes:
        train / valid: rows the yardsticks are fitted and tuned on.
        judged: stretches of rows.
        own: whether `train` and `valid` are those of the model.
        note: a sentence about them; empty where they are.
    """

    train: Part
    valid: Part
    judged: tuple[Part, ...]
    own: bool
    note: str


def require_bar_length(spec: ForecastSpec, frame: CandleFrame) -> None:
    """Raise `UserError` for bars of another length than the model knows."""
    if frame.timeframe.value != spec.data.timeframe:
        raise UserError(
            f"The model knows bars of {spec.data.timeframe}, not of {frame.timeframe.value}.",
            "Choose bars of that length.",
        )


def spans_of(origin: Origin) -> tuple[_Span, _Span, int]:
    """Return when the model was trained and validated, when it was tested, and how far around the former to stay."""
    spec, split = origin.spec, origin.manifest["split"]
    trained = _Span(int(split["train"]["first_open_ns"]), int(split["valid"]["last_open_ns"]))
    tested = _Span(int(split["test"]["first_open_ns"]), int(split["test"]["last_open_ns"]))
    return trained, tested, (spec.model.reach + spec.split.purge_bars) * Timeframe(spec.data.timeframe).ns


def _within(frame: CandleFrame, data: DataRange) -> BoolArray:
    """Return which bars the range asks for."""
    inside = np.ones(len(frame), np.bool_)
    if data.start_ns is not None:
        inside &= frame.time_ns >= data.start_ns
    if data.end_ns is not None:
        inside &= frame.time_ns < data.end_ns
    return inside


def choose_bars(
    origin: Origin, prepared: PreparedBars, data: DataRange, *, with_training: bool, with_earlier: bool
) -> Choice:
    """Decide by time which bars of the range may be judged."""
    time_ns = prepared.frame.time_ns
    trained, _, around = spans_of(origin)
    wanted, near, past = (
        _within(prepared.frame, data),
        trained.mask(time_ns, around),
        time_ns < trained.first_ns - around,
    )
    allowed = wanted.copy()
    if not with_training:
        allowed &= ~near
    if not with_earlier:
        allowed &= ~past
    counted = wanted & prepared.has_target
    return Choice(allowed, int((counted & near).sum()), int((counted & past).sum()), with_training, with_earlier)


def _too_few(usable: int, origin: Origin, choice: Choice) -> UserError:
    """Return why hardly anything can be judged, and what would help."""
    trained_on = 0 if choice.with_training else choice.trained_on
    earlier = 0 if choice.with_earlier else choice.earlier
    if trained_on and earlier:
        message = (
            f"{trained_on:,} bars of that range were trained on and {earlier:,} lie before its training, which leaves "
            f"{usable:,} to judge."
        )
        remedy = "Choose newer bars, or add --include-training and --include-earlier to judge them all the same."
    elif trained_on:
        message = f"{trained_on:,} bars of that range were trained on, which leaves {usable:,} to judge."
        remedy = "Choose newer bars, or add --include-training to judge them all the same."
    elif earlier:
        message = f"{earlier:,} bars of that range lie before its training, which leaves {usable:,} to judge."
        remedy = "Choose newer bars, or add --include-earlier to judge them all the same."
    else:
        return too_few_bars(usable)
    return UserError(message, remedy if origin.may_include else "Choose newer bars.")


def too_few_bars(bars: int) -> UserError:
    """Return what to raise where so few bars can be judged."""
    return UserError(f"Only {bars:,} bars can be judged.", "Choose a longer range or data with fewer gaps.")


def lay_out(origin: Origin, prepared: PreparedBars, choice: Choice, *, same: bool) -> Layout:
    """Decide which rows the yardsticks learn from, and cut the others into stretches."""
    allowed = choice.allowed
    usable = np.flatnonzero(allowed & prepared.has_target)
    if len(usable) < FEWEST_JUDGED:
        raise _too_few(len(usable), origin, choice)
    stretches = _stretches(allowed, prepared)
    if same and _has_training_bars(origin, prepared.frame):
        split, time_ns = origin.manifest["split"], prepared.frame.time_ns
        train, valid = (
            _rows_at(time_ns, int(split[name]["first_open_ns"]), int(split[name]["last_open_ns"]))
            for name in ("train", "valid")
        )
        return Layout(train, valid, stretches, True, "")
    reach = origin.spec.model.reach + origin.spec.split.purge_bars
    stop = max(0, int(usable[0]) - reach)
    before = int(prepared.has_target[:stop].sum())
    if before >= _FEWEST_FOR_YARDSTICKS:
        note = f"The bars it was trained on are not at hand: its yardsticks come from {before:,} earlier bars."
        return Layout(Part(0, stop), Part(0, stop), stretches, False, note)
    cut = int(usable[int(len(usable) * _SET_ASIDE)])
    kept = allowed.copy()
    kept[: cut + reach] = False
    stretches = _stretches(kept, prepared)
    aside = Part(int(usable[0]), cut)
    if not stretches or int(prepared.has_target[aside.start : aside.stop].sum()) < FEWEST_JUDGED:
        raise UserError("There are too few bars to judge and to compare with.", "Choose a longer range.")
    note = (
        f"The bars it was trained on are not at hand: its yardsticks come from the first {_SET_ASIDE:.0%} of the range."
    )
    return Layout(aside, aside, stretches, False, note)


def _stretches(allowed: BoolArray, prepared: PreparedBars) -> tuple[Part, ...]:
    """Return the stretches in which something can be judged."""
    parts = (Part(start, stop) for start, stop in contiguous_stretches(allowed))
    return tuple(part for part in parts if prepared.has_target[part.start : part.stop].any())


def _has_training_bars(origin: Origin, frame: CandleFrame) -> bool:
    """Whether the very bars the model was made from are among these."""
    data = origin.manifest["data"]
    part = frame.between(int(data["first_open_ns"]), int(data["last_open_ns"]) + 1)
    return len(part) > 0 and data_lineage(part)["sha256"] == data["sha256"]


def _rows_at(time_ns: IntArray, first_ns: int, last_ns: int) -> Part:
    return Part(int(np.searchsorted(time_ns, first_ns)), int(np.searchsorted(time_ns, last_ns, side="right")))


def range_notes(
    origin: Origin, data: DataRange, layout: Layout, choice: Choice, times: IntArray, own: int, *, same: bool
) -> tuple[str, ...]:
    """Return what a reader of the figures must know of the judged bars, one sentence each.

    Args:
        times: open times of the judged bars, ns UTC.
        own: how many of them were its own test.
        same: whether it learned on this market.
    """
    spec, notes = origin.spec, []
    if not same:
        notes.append(
            f"ANOTHER MARKET: the model was trained on {spec.data.venue} {spec.data.symbol} and is judged on "
            f"{data.venue} {data.symbol}."
        )
    trained, _, _ = spans_of(origin)
    when = f"{to_datetime(trained.first_ns):%Y-%m-%d} – {to_datetime(trained.last_ns):%Y-%m-%d}"
    judged_earlier = int((times < trained.first_ns).sum())
    if judged_earlier and choice.with_earlier:
        notes.append(
            f"EARLIER BARS: {judged_earlier:,} of the judged bars lie before its training ({when}); the model was "
            f"trained on what came after these bars, so that nobody could have had it then."
        )
    elif choice.earlier and not choice.with_earlier:
        notes.append(
            f"{choice.earlier:,} bars before its training are left out: it was trained on what came after them."
        )
    if choice.trained_on and choice.with_training:
        notes.append(
            f"{choice.trained_on:,} of these bars are from the time it was trained on ({when}): the figures flatter it."
        )
    elif choice.trained_on:
        notes.append(f"{choice.trained_on:,} bars from the time it was trained on ({when}) are left out.")
    if own:
        notes.append(f"{own:,} of these bars were its own test, which it was judged on before.")
    if layout.note:
        notes.append(layout.note)
    return tuple(notes)


def evaluation_record(result: ModelResult | AgentEvaluation, spec_hash: str, seed: int, now_ns: int) -> TrialRecord:
    """Return the record of an evaluation, without a score; it is the same however often that is repeated."""
    market = [result.venue, result.symbol, result.timeframe]  # two may have the very same bars, under another name
    what = [*market, result.data_sha256, result.first_ns, result.last_ns, result.judged]
    identity = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    return TrialRecord(
        trial_id=f"evaluation/{result.model_id}/{identity}",
        created_ns=now_ns,
        kind=EVALUATION,
        venue=result.venue,
        symbol=result.symbol,
        timeframe=result.timeframe,
        data_hash=result.data_sha256,
        spec_hash=spec_hash,
        seed=seed,
        status=FINISHED,
        run_id=result.model_id,
        test_sharpe=None if result.metrics.sharpe is None else result.metrics.sharpe.sharpe,
    )
