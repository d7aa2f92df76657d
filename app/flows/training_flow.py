"""The training wizard without its window: six steps from a price history to a `ForecastSpec`. Qt-free, GUI thread.

`TrainingDraft` keeps what the person typed, right or wrong, so that going back never loses anything; `TrainingFlow`
says in one sentence per step what is still wrong and builds the specification.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from app.flows.amount import AmountError, Sentence, parse_amount
from app.flows.datasets import Dataset, DeviceOption, RangeSummary, SourceKind
from app.flows.sentence_text import CoreSentence
from app.i18n import format_number, mark
from core.clock import NS_PER_S
from core.domain.candles import Timeframe
from core.domain.data_origin import DataOrigin, is_practice
from core.errors import UserError
from ml.api import (
    FEATURE_SETS,
    STORE_SOURCE,
    DataRange,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    SplitSpec,
    TrainingEstimate,
    TrainingSpec,
    estimate,
    minimum_bars,
)

DAY_NS = 86_400 * NS_PER_S

QUANTILE_PRESETS: tuple[tuple[float, ...], ...] = (
    (0.1, 0.5, 0.9),
    (0.05, 0.25, 0.5, 0.75, 0.95),
    (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975),
)

MAX_HIDDEN, MAX_LAYERS, MAX_HORIZON, MAX_EPOCHS, MAX_PURGE = 1_024, 8, 500, 10_000, 10_000
MIN_WINDOW, MAX_WINDOW = 8, 2_000
MIN_TRAIN, MAX_TRAIN, MIN_VALID, MAX_VALID, MIN_TEST = 20, 90, 5, 50, 4  # percent

WORTHWHILE_BARS = 5_000  # fewer stored bars are not offered first


class Step(StrEnum):
    """The steps in their order."""

    DATA = "data"
    FEATURES = "features"
    MODEL = "model"
    VALIDATION = "validation"
    RESOURCES = "resources"
    REVIEW = "review"


STEPS: tuple[Step, ...] = tuple(Step)

_DEFAULT = ForecastSpec()
_ANY_ORIGIN = DataOrigin("")


@dataclass(frozen=True, slots=True)
class TrainingDraft:
    """What the person entered so far; texts are kept as typed.

    Attributes:
        source: where the bars come from.
        symbol / timeframe: the chosen market, for stored and practice history.
        origin: whose market of that name; "" is the first there is.
        file_path: the chosen file.
        whole_range: use every bar; otherwise `start_date` to `end_date`.
        start_date / end_date: ISO dates in UTC, both days included.
        horizons: look-backs of the return features, comma separated.
        quantiles: index into `QUANTILE_PRESETS`.
        train_percent / valid_percent: of the bars; the rest is the test part.
        threads: 0 is automatic.
    """

    source: SourceKind = SourceKind.STORE
    symbol: str = ""
    timeframe: str = ""
    origin: DataOrigin = _ANY_ORIGIN
    file_path: str = ""
    whole_range: bool = True
    start_date: str = ""
    end_date: str = ""
    feature_set: str = _DEFAULT.features.name
    horizons: str = ", ".join(str(value) for value in _DEFAULT.features.horizons)
    window: int = _DEFAULT.features.window
    hidden_size: int = _DEFAULT.model.hidden_size
    layers: int = _DEFAULT.model.layers
    dropout: str = f"{_DEFAULT.model.dropout:g}"
    horizon_bars: int = _DEFAULT.model.horizon_bars
    quantiles: int = 1
    train_percent: int = round(_DEFAULT.split.train_fraction * 100)
    valid_percent: int = round(_DEFAULT.split.valid_fraction * 100)
    purge_bars: int = _DEFAULT.split.purge_bars
    device: str = _DEFAULT.resources.device
    threads: int = _DEFAULT.resources.threads
    epochs: int = _DEFAULT.training.epochs
    learning_rate: str = f"{_DEFAULT.training.learning_rate:g}"
    seed: int = _DEFAULT.training.seed

    @property
    def test_percent(self) -> int:
        """What is left for the test part."""
        return 100 - self.train_percent - self.valid_percent


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
        start_ns / end_ns: about when it begins and ends, ns UTC; None without bars.
    """

    name: PartName
    share: float
    start_ns: int | None
    end_ns: int | None


class TrainingFlow:
    """State of one run of the wizard."""

    def __init__(
        self,
        datasets: Sequence[Dataset],
        devices: Sequence[DeviceOption],
        draft: TrainingDraft | None = None,
    ) -> None:
        """Start at the first step.

        Args:
            datasets: stored and practice histories.
            devices: what this machine can compute on.
            draft: what to start with; None chooses the longest stored history worth learning from, else the practice
                exchange, else the longest stored one.
        """
        self._datasets = tuple(datasets)
        self._devices = tuple(devices)
        self._file: Dataset | None = None
        self._file_problem: Sentence | None = None
        self._step = Step.DATA
        self._draft = draft or self._first_draft()
        if self._draft.source is not SourceKind.FILE and self.dataset is None:
            self._draft = self._with_existing_market(self._draft)

    # ---------------------------------------------------------------------------------------------------- state

    @property
    def step(self) -> Step:
        """The present step."""
        return self._step

    @property
    def draft(self) -> TrainingDraft:
        """What was entered so far."""
        return self._draft

    @property
    def devices(self) -> tuple[DeviceOption, ...]:
        """What this machine can compute on."""
        return self._devices

    def update(self, **changes: Any) -> None:
        """Take changed entries by their name in `TrainingDraft`; another source or market resets the range."""
        before = self._draft
        self._draft = replace(before, **changes)
        if before.source is not self._draft.source and "origin" not in changes:
            self._draft = replace(self._draft, origin=_ANY_ORIGIN)  # invented bars chosen there are no wish for here
        moved = _place(before) != _place(self._draft)
        if moved and self._draft.source is not SourceKind.FILE:
            self._draft = self._with_existing_market(self._draft)
        if before.file_path != self._draft.file_path:
            self._file = self._file_problem = None
        if moved:
            self._draft = self._with_full_range(self._draft)

    def set_datasets(self, datasets: Sequence[Dataset]) -> None:
        """Replace the known histories, for example after a fetch; the entries stay."""
        self._datasets = tuple(datasets)
        if self._draft.source is not SourceKind.FILE and self.dataset is None:
            self._draft = self._with_full_range(self._with_existing_market(self._draft))

    def set_file(self, path: str, content: Dataset | UserError) -> None:
        """Take what a file holds, or why it cannot be used; ignored where another file was chosen meanwhile."""
        if path != self._draft.file_path:
            return
        if isinstance(content, UserError):
            self._file, self._file_problem = None, CoreSentence(str(content))
            return
        self._file, self._file_problem = content, None
        self._draft = self._with_full_range(self._draft)

    def next(self) -> Sentence | None:
        """Go to the next step; stay and return the sentence where something is wrong."""
        problem = self.problem(self._step)
        if problem is None and self._step is not Step.REVIEW:
            self._step = STEPS[STEPS.index(self._step) + 1]
        return problem

    def back(self) -> None:
        """Go to the step before; nothing entered is lost."""
        self._step = STEPS[max(0, STEPS.index(self._step) - 1)]

    def go_to(self, step: Step) -> None:
        """Follow a window that moves by itself."""
        self._step = step

    # ------------------------------------------------------------------------------------------------- choices

    def markets(self) -> tuple[tuple[str, DataOrigin], ...]:
        """Markets of the present source: one symbol may be there of several origins."""
        return tuple(dict.fromkeys((item.symbol, item.origin) for item in self._of_source(self._draft.source)))

    def timeframes(self) -> tuple[str, ...]:
        """Bar lengths of the chosen market, shortest first."""
        market = (self._draft.symbol, self._draft.origin)
        offered = self._of_source(self._draft.source)
        found = {item.timeframe for item in offered if (item.symbol, item.origin) == market}
        return tuple(item.value for item in Timeframe if item in found)

    def has_source(self, kind: SourceKind) -> bool:
        """Return whether a source offers anything."""
        return kind is SourceKind.FILE or bool(self._of_source(kind))

    @property
    def dataset(self) -> Dataset | None:
        """The chosen history, None where there is none (yet)."""
        if self._draft.source is SourceKind.FILE:
            return self._file
        wanted = (self._draft.symbol, self._draft.origin, self._draft.timeframe)
        for item in self._of_source(self._draft.source):
            if (item.symbol, item.origin, item.timeframe.value) == wanted:
                return item
        return None

    @property
    def device(self) -> DeviceOption | None:
        """The chosen device."""
        return next((item for item in self._devices if item.device == self._draft.device), None)

    def summary(self) -> RangeSummary | None:
        """Return what the chosen range holds, None without history or with an impossible range."""
        dataset, limits = self.dataset, self._range_ns()
        if dataset is None or limits is None:
            return None
        return dataset.between(*limits)

    def split(self) -> tuple[SplitPart, ...]:
        """Return the three parts with the dates at which they begin and end, borders without purge."""
        draft = self._draft
        shares = (
            (PartName.TRAIN, draft.train_percent / 100),
            (PartName.VALID, draft.valid_percent / 100),
            (PartName.TEST, max(0, draft.test_percent) / 100),
        )
        summary = self.summary()
        parts: list[SplitPart] = []
        position = 0.0
        for name, share in shares:
            start = end = None
            if summary is not None and summary.first_ns is not None and summary.last_ns is not None:
                span = summary.last_ns - summary.first_ns
                start = summary.first_ns + int(span * position)
                end = summary.first_ns + int(span * min(1.0, position + share))
            parts.append(SplitPart(name, share, start, end))
            position += share
        return tuple(parts)

    def estimate(self) -> TrainingEstimate | None:
        """Return the effort of the run, None while something is wrong."""
        summary = self.summary()
        spec = self._spec_or_none()
        return None if summary is None or spec is None else estimate(spec, summary.bars)

    # -------------------------------------------------------------------------------------------------- checks

    def problem(self, step: Step) -> Sentence | None:
        """Return what is wrong with a step in one sentence, None where it is complete."""
        if step is Step.DATA:
            return self._data_problem()
        if step is Step.FEATURES:
            return self._features_problem()
        if step is Step.MODEL:
            return self._model_problem()
        if step is Step.VALIDATION:
            return self._validation_problem()
        if step is Step.RESOURCES:
            return self._resources_problem()
        return next((found for earlier in STEPS[:-1] if (found := self.problem(earlier)) is not None), None)

    def spec(self) -> ForecastSpec:
        """Return the specification of the run.

        Raises:
            UserError: a step is not complete; the sentence is the step's own.
        """
        problem = self.problem(Step.REVIEW)
        if problem is not None:
            raise UserError(problem.text())
        return self._build().validate()

    def _data_problem(self) -> Sentence | None:
        draft = self._draft
        if draft.source is SourceKind.FILE and self._file is None:
            if not draft.file_path:
                return Sentence(mark("Choose a CSV, Feather or Parquet file with candles."))
            return self._file_problem or Sentence(mark("The file is being read."))
        if not self.has_source(draft.source):
            if draft.source is SourceKind.STORE:
                return Sentence(mark("No candles are stored yet: use the practice exchange or a file."))
            return Sentence(mark("The practice exchange is not running."))
        if self.dataset is None:
            return Sentence(mark("Choose a market and a bar length."))
        if self._range_ns() is None:
            return Sentence(mark("The range ends before it starts."))
        return self._bars_problem()

    def _bars_problem(self) -> Sentence | None:
        """Say whether the range holds bars enough for the present settings."""
        summary = self.summary()
        if summary is None or summary.bars == 0:
            return Sentence(mark("There are no bars in this range."))
        needed = minimum_bars(self._spec_or_none() or self._default_spec())
        if summary.bars < needed:
            return Sentence(
                mark("These settings need at least {needed} bars; the range holds {bars}."),
                {"needed": format_number(needed), "bars": format_number(summary.bars)},
            )
        return None

    def _features_problem(self) -> Sentence | None:
        if self._draft.feature_set not in {info.name for info in FEATURE_SETS}:
            return Sentence(mark("Choose a feature set."))
        if parse_horizons(self._draft.horizons) is None:
            return Sentence(
                mark("Look-backs are ascending whole numbers from 1 to 2,000, for example 1, 2, 4, 8, 16, 24.")
            )
        return _between(self._draft.window, MIN_WINDOW, MAX_WINDOW, mark("The window must be {low} to {high} bars."))

    def _model_problem(self) -> Sentence | None:
        draft = self._draft
        return (
            _between(draft.hidden_size, 2, MAX_HIDDEN, mark("The hidden size must be {low} to {high} units."))
            or _between(draft.layers, 1, MAX_LAYERS, mark("The network must have {low} to {high} layers."))
            or _number_problem(draft.dropout, "0", "0.9", mark("Dropout must be a number from {low} to {high}."))
            or _between(draft.horizon_bars, 1, MAX_HORIZON, mark("The horizon must be {low} to {high} bars."))
        )

    def _validation_problem(self) -> Sentence | None:
        draft = self._draft
        return (
            _between(draft.train_percent, MIN_TRAIN, MAX_TRAIN, mark("Training takes {low} to {high} % of the bars."))
            or _between(
                draft.valid_percent, MIN_VALID, MAX_VALID, mark("Validation takes {low} to {high} % of the bars.")
            )
            or _between(
                draft.test_percent, MIN_TEST, 100, mark("Leave at least {low} % of the bars for the test part.")
            )
            or _between(draft.purge_bars, 0, MAX_PURGE, mark("The purge must be {low} to {high} bars."))
            or (None if self.dataset is None else self._bars_problem())
        )

    def _resources_problem(self) -> Sentence | None:
        draft, device = self._draft, self.device
        if device is None:
            return Sentence(mark("Choose a device."))
        if not device.available:
            return device.reason
        return _between(draft.epochs, 1, MAX_EPOCHS, mark("Train {low} to {high} epochs.")) or _number_problem(
            draft.learning_rate, "0.000001", "1", mark("The learning rate must be a number from {low} to {high}.")
        )

    # --------------------------------------------------------------------------------------------- construction

    def _of_source(self, kind: SourceKind) -> tuple[Dataset, ...]:
        return tuple(item for item in self._datasets if item.kind is kind)

    def _first_draft(self) -> TrainingDraft:
        stored, practice = self._of_source(SourceKind.STORE), self._of_source(SourceKind.PRACTICE)
        # The few live bars of the last sessions are a history, too, but not one to learn from; and of the practice
        # market the exchange has more than was stored.
        worthwhile = [item for item in stored if item.bars >= WORTHWHILE_BARS and not is_practice(item.origin)]
        if worthwhile or (stored and not practice):
            best = max(worthwhile or stored, key=lambda item: item.bars)
        elif practice:
            best = _usual(practice)
        else:
            return TrainingDraft()
        draft = TrainingDraft(source=best.kind, symbol=best.symbol, timeframe=best.timeframe.value, origin=best.origin)
        return self._range_of(draft, best)

    def _with_existing_market(self, draft: TrainingDraft) -> TrainingDraft:
        """Keep symbol, origin and bar length where the source has them, else take the nearest there is."""
        found = self._of_source(draft.source)
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

    def _with_full_range(self, draft: TrainingDraft) -> TrainingDraft:
        dataset = self.dataset
        return draft if dataset is None else self._range_of(draft, dataset)

    @staticmethod
    def _range_of(draft: TrainingDraft, dataset: Dataset) -> TrainingDraft:
        return replace(
            draft,
            start_date=_date(dataset.first_ns).isoformat(),
            end_date=_date(dataset.last_ns).isoformat(),
        )

    def _range_ns(self) -> tuple[int | None, int | None] | None:
        """Return the range as [start, end) in ns UTC, None where it is impossible."""
        draft = self._draft
        if draft.whole_range:
            return (None, None)
        try:
            start = _midnight_ns(dt.date.fromisoformat(draft.start_date))
            end = _midnight_ns(dt.date.fromisoformat(draft.end_date)) + DAY_NS
        except ValueError:
            return None
        return (start, end) if start < end else None

    def _spec_or_none(self) -> ForecastSpec | None:
        """Return the specification without its data checks, None while a number cannot be read."""
        steps = (self._features_problem(), self._model_problem(), self._resources_problem())
        draft = self._draft
        usable_split = draft.test_percent > 0 and draft.valid_percent > 0 and draft.train_percent > 0
        if any(problem is not None for problem in steps) or not usable_split or self._range_ns() is None:
            return None
        return self._build()

    def _default_spec(self) -> ForecastSpec:
        return replace(_DEFAULT, data=self._data_range())

    def _data_range(self) -> DataRange:
        start_ns, end_ns = self._range_ns() or (None, None)
        dataset = self.dataset
        if dataset is None:
            return DataRange(start_ns=start_ns, end_ns=end_ns)
        if dataset.kind is SourceKind.PRACTICE:
            # Named exactly: the store may hold other stretches of the same market from earlier downloads.
            start_ns = dataset.first_ns if start_ns is None else start_ns
            end_ns = dataset.last_ns + dataset.timeframe.ns if end_ns is None else end_ns
        source = dataset.path if dataset.kind is SourceKind.FILE else STORE_SOURCE
        return DataRange(dataset.origin, dataset.symbol, dataset.timeframe.value, start_ns, end_ns, source)

    def _build(self) -> ForecastSpec:
        draft = self._draft
        version = next((info.version for info in FEATURE_SETS if info.name == draft.feature_set), 1)
        horizons = parse_horizons(draft.horizons)
        assert horizons is not None  # the features step is complete
        return ForecastSpec(
            data=self._data_range(),
            features=FeatureSpec(draft.feature_set, version, horizons, draft.window),
            model=ModelSpec(
                hidden_size=draft.hidden_size,
                layers=draft.layers,
                dropout=float(parse_amount(draft.dropout) or 0),
                quantile_levels=QUANTILE_PRESETS[draft.quantiles],
                horizons=(draft.horizon_bars,),
            ),
            split=SplitSpec(draft.train_percent / 100, draft.valid_percent / 100, draft.purge_bars),
            training=TrainingSpec(
                epochs=draft.epochs, learning_rate=float(parse_amount(draft.learning_rate) or 0), seed=draft.seed
            ),
            resources=ResourceSpec(draft.device, draft.threads),
        )


def parse_horizons(text: str) -> tuple[int, ...] | None:
    """Read comma-separated ascending look-backs, None where the text is anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        return None
    values = tuple(int(word) for word in words)
    ascending = all(a < b for a, b in itertools.pairwise(values))
    return values if ascending and values[0] >= 1 and values[-1] <= 2_000 else None


def _place(draft: TrainingDraft) -> tuple[SourceKind, str, DataOrigin, str, str]:
    """Return what names the bars; where it changes, the range begins anew."""
    return draft.source, draft.symbol, draft.origin, draft.timeframe, draft.file_path


def _usual(found: Sequence[Dataset]) -> Dataset:
    """Return the hourly history where there is one: long enough to learn from, quick to train on."""
    return next((item for item in found if item.timeframe is Timeframe.H1), found[0])


def _date(time_ns: int) -> dt.date:
    return dt.datetime.fromtimestamp(time_ns // NS_PER_S, dt.UTC).date()


def _midnight_ns(day: dt.date) -> int:
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp()) * NS_PER_S


def _between(value: int, low: int, high: int, template: str) -> Sentence | None:
    if low <= value <= high:
        return None
    return Sentence(template, {"low": format_number(low), "high": format_number(high)})


def _number_problem(text: str, low: str, high: str, template: str) -> Sentence | None:
    try:
        value = parse_amount(text)
    except AmountError as exc:
        return exc.sentence
    if value is None or not Decimal(low) <= value <= Decimal(high):
        return Sentence(template, {"low": low, "high": high})
    return None
