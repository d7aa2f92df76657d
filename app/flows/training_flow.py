"""The training wizard without its window: seven steps from a price history to a `ForecastSpec`. Qt-free, GUI thread.

`TrainingFlow` holds the `TrainingDraft`, says in one sentence per step what is still wrong, and builds the
specification; it also takes a specification apart again, so that a saved one fills every page.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from app.flows.amount import Sentence
from app.flows.datasets import Dataset, DeviceOption, RangeSummary, SourceKind
from app.flows.feature_catalogue import FeatureCatalogue
from app.flows.sentence_text import CoreSentence
from app.flows.training_checks import (
    Problem,
    evaluation_problem,
    features_problem,
    model_problem,
    resources_problem,
    training_problem,
)
from app.flows.training_draft import (
    QUANTILE_PRESETS,
    TrainingDraft,
    draft_of,
    end_of,
    evaluation_spec,
    feature_spec,
    model_spec,
    resource_spec,
    split_spec,
    start_of,
    training_spec,
)
from app.flows.training_split import PartName, SplitPart, by_shares, split_parts, with_borders
from app.i18n import format_number, mark
from core.clock import NS_PER_S
from core.domain.candles import Timeframe
from core.domain.data_origin import DataOrigin, is_practice
from core.errors import UserError
from ml.api import (
    STORE_SOURCE,
    DataRange,
    ForecastSpec,
    SeriesSource,
    TrainingEstimate,
    estimate,
    minimum_bars,
    parse_column,
    warm_up_bars,
)
from ml.network_size import parameter_count

__all__ = [
    "QUANTILE_PRESETS",
    "STEPS",
    "PartName",
    "Problem",
    "SplitPart",
    "Step",
    "TrainingDraft",
    "TrainingFlow",
]

WORTHWHILE_BARS = 5_000  # fewer stored bars are not offered first


class Step(StrEnum):
    """The steps in their order."""

    DATA = "data"
    FEATURES = "features"
    MODEL = "model"
    TRAINING = "training"
    EVALUATION = "evaluation"
    RESOURCES = "resources"
    REVIEW = "review"


STEPS: tuple[Step, ...] = tuple(Step)

_DEFAULT = ForecastSpec()
_ANY_ORIGIN = DataOrigin("")


class TrainingFlow:
    """State of one run of the wizard."""

    def __init__(
        self,
        datasets: Sequence[Dataset],
        devices: Sequence[DeviceOption],
        draft: TrainingDraft | None = None,
        catalogue: FeatureCatalogue | None = None,
    ) -> None:
        """Start at the first step.

        Args:
            datasets: stored and practice histories.
            devices: what this machine can compute on.
            draft: what to start with; None chooses the longest stored history worth learning from, else the practice
                exchange, else the longest stored one.
            catalogue: of feature columns, where it was read already.
        """
        self._datasets = tuple(datasets)
        self._devices = tuple(devices)
        self._catalogue: FeatureCatalogue | None = catalogue
        self._catalogue_error: UserError | None = None
        self._file: Dataset | None = None
        self._file_problem: Sentence | None = None
        self._series: dict[SeriesSource, UserError | None] = {}
        self._loaded = False  # market and range stand in a configuration: nothing is put in their place
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
        """What this machine can compute on, and the device of a loaded configuration that it has not."""
        wanted = self._draft.device
        if any(option.device == wanted for option in self._devices):
            return self._devices
        absent = Sentence(mark("This machine has no device {device}."), {"device": wanted})
        return (*self._devices, DeviceOption(wanted, Sentence("{device}", {"device": wanted}), absent, available=False))

    @property
    def catalogue(self) -> FeatureCatalogue | None:
        """The kinds of feature columns, None until they were read."""
        return self._catalogue

    def update(self, **changes: Any) -> None:
        """Take changed entries by their name in `TrainingDraft`; another source or market resets the range."""
        before = self._draft
        self._draft = replace(before, **changes)
        if before.source is not self._draft.source and "origin" not in changes:
            self._draft = replace(self._draft, origin=_ANY_ORIGIN)  # invented bars chosen there are no wish for here
        moved = _place(before) != _place(self._draft)
        if moved:
            self._loaded = False
            if self._draft.source is not SourceKind.FILE:
                self._draft = self._with_existing_market(self._draft)
        if before.file_path != self._draft.file_path:
            self._file = self._file_problem = None
        if moved:
            self._draft = self._with_full_range(self._draft)
        if moved and self._draft.by_date and self._evaluation_problem() is not None:
            self._draft = replace(self._draft, valid_from="", test_from="")  # borders of another history
        if self._draft.by_date and (moved or not before.by_date):
            self._draft = with_borders(self._draft, self.summary())

    def add_column(self, text: str) -> Problem | None:
        """Add a feature column by its text form, and the market it looks at; return why not where it cannot be."""
        try:
            column = parse_column(text)
        except UserError as exc:
            return Problem(CoreSentence(str(exc)), "columns")
        markets = self._draft.markets
        if column.symbol and column.symbol in self.other_markets() and column.symbol not in markets:
            markets = (*markets, column.symbol)
        before = self._draft
        self._draft = replace(before, columns=(*before.columns, str(column)), markets=markets)
        problem = self._features_problem()
        if problem is not None and problem.field == "columns":
            self._draft = before
            return problem
        return None

    def load(self, spec: ForecastSpec) -> None:
        """Take every entry from a specification; its files are looked into again."""
        source, whole_range = self._source_of(spec.data)
        self._file = self._file_problem = None
        self._loaded = True
        self._draft = draft_of(spec, source, whole_range=whole_range)
        if self._draft.whole_range:
            self._draft = self._with_full_range(self._draft)

    def set_datasets(self, datasets: Sequence[Dataset]) -> None:
        """Replace the known histories, for example after a fetch; the entries stay."""
        self._datasets = tuple(datasets)
        if self._draft.source is not SourceKind.FILE and self.dataset is None and not self._loaded:
            self._draft = self._with_full_range(self._with_existing_market(self._draft))

    def set_file(self, path: str, content: Dataset | UserError) -> None:
        """Take what a file holds, or why it cannot be used; ignored where another file was chosen meanwhile."""
        if path != self._draft.file_path:
            return
        if isinstance(content, UserError):
            self._file, self._file_problem = None, CoreSentence(str(content))
            return
        self._file, self._file_problem = content, None
        if not self._loaded or self._draft.whole_range:
            self._draft = self._with_full_range(self._draft)

    def set_series(self, source: SeriesSource, problem: UserError | None) -> None:
        """Take whether the file of a side series can be used."""
        self._series[source] = problem

    def unchecked_series(self) -> tuple[SeriesSource, ...]:
        """Return the side series whose files nobody looked into yet."""
        return tuple(source for source in self._draft.series if source not in self._series)

    def set_catalogue(self, catalogue: FeatureCatalogue | UserError) -> None:
        """Take the kinds of feature columns, or why they cannot be read."""
        if isinstance(catalogue, UserError):
            self._catalogue_error = catalogue
        else:
            self._catalogue, self._catalogue_error = catalogue, None

    def next(self) -> Problem | None:
        """Go to the next step; stay and return what is wrong where something is."""
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

    def other_markets(self) -> tuple[str, ...]:
        """Stored markets of the same origin and bar length that feature columns may look at."""
        draft = self._draft
        if draft.source is not SourceKind.STORE:
            return ()
        wanted = (draft.origin, draft.timeframe)
        return tuple(
            item.symbol
            for item in self._of_source(SourceKind.STORE)
            if (item.origin, item.timeframe.value) == wanted and item.symbol != draft.symbol
        )

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
        return next((item for item in self.devices if item.device == self._draft.device), None)

    def summary(self) -> RangeSummary | None:
        """Return what the chosen range holds, None without history or with an impossible range."""
        dataset, limits = self.dataset, self._range_ns()
        if dataset is None or limits is None:
            return None
        return dataset.between(*limits)

    def split(self) -> tuple[SplitPart, ...]:
        """Return the three parts with the dates at which they begin and end, borders without purge."""
        return split_parts(self._draft, self.summary())

    def estimate(self) -> TrainingEstimate | None:
        """Return the effort of the run, None while something is wrong."""
        summary = self.summary()
        spec = self._spec_or_none()
        return None if summary is None or spec is None else estimate(self._by_shares(spec), summary.bars)

    def parameters(self) -> int | None:
        """Return how many numbers each network learns, None while something is wrong."""
        spec = self._spec_or_none()
        return None if spec is None else parameter_count(spec)

    def warm_up(self) -> int | None:
        """Return how many bars must precede the first feature row, None while something is wrong."""
        dataset = self.dataset
        if dataset is None or self._features_problem() is not None:
            return None
        return warm_up_bars(feature_spec(self._draft), dataset.timeframe)

    # -------------------------------------------------------------------------------------------------- checks

    def problem(self, step: Step) -> Problem | None:
        """Return what is wrong with a step in one sentence, None where it is complete."""
        draft = self._draft
        if step is Step.DATA:
            return self._data_problem()
        if step is Step.FEATURES:
            return self._features_problem()
        if step is Step.MODEL:
            return model_problem(draft)
        if step is Step.TRAINING:
            return training_problem(draft)
        if step is Step.EVALUATION:
            found = self._evaluation_problem()
            return found if found is not None or self.dataset is None else self._bars_problem()
        if step is Step.RESOURCES:
            return resources_problem(draft, self.device)
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

    def _data_problem(self) -> Problem | None:
        draft = self._draft
        if draft.source is SourceKind.FILE and self._file is None:
            if not draft.file_path:
                return Problem(Sentence(mark("Choose a CSV, Feather or Parquet file with candles.")), "file_path")
            return Problem(self._file_problem or Sentence(mark("The file is being read.")), "file_path")
        if not self.has_source(draft.source):
            if draft.source is SourceKind.STORE:
                return Problem(Sentence(mark("No candles are stored yet: use the practice exchange or a file.")))
            return Problem(Sentence(mark("The practice exchange is not running.")))
        if self.dataset is None:
            if not self._loaded:
                return Problem(Sentence(mark("Choose a market and a bar length.")), "symbol")
            wanted = {"market": draft.symbol, "timeframe": draft.timeframe}
            return Problem(
                Sentence(mark("There are no {timeframe} bars of {market} here: choose another market."), wanted),
                "symbol",
            )
        if self._range_ns() is None:
            return Problem(Sentence(mark("The range ends before it starts.")), "end_date")
        return self._bars_problem() or self._others_problem()

    def _bars_problem(self) -> Problem | None:
        """Say whether the range holds bars enough for the present settings."""
        summary = self.summary()
        field = "end_date" if self._step is Step.DATA and not self._draft.whole_range else ""
        if summary is None or summary.bars == 0:
            return Problem(Sentence(mark("There are no bars in this range.")), field)
        needed = minimum_bars(self._by_shares(self._spec_or_none() or self._default_spec()))
        if summary.bars < needed:
            return Problem(
                Sentence(
                    mark("These settings need at least {needed} bars; the range holds {bars}."),
                    {"needed": format_number(needed), "bars": format_number(summary.bars)},
                ),
                field,
            )
        return None

    def _others_problem(self) -> Problem | None:
        """Say whether the other markets and the side series are there."""
        draft, offered = self._draft, self.other_markets()
        for market in self._markets():
            if market not in offered:
                wanted = {"market": market, "timeframe": draft.timeframe}
                return Problem(
                    Sentence(mark("No {timeframe} bars of {market} are stored: untick it."), wanted), "markets"
                )
        for source in draft.series:
            if source not in self._series:
                return Problem(Sentence(mark("The file of “{name}” is being read."), {"name": source.name}), "series")
            error = self._series[source]
            if error is not None:
                return Problem(CoreSentence(str(error)), "series")
        try:
            self._data_range().validate()
        except UserError as exc:
            return Problem(CoreSentence(str(exc)), "series")
        return None

    def _features_problem(self) -> Problem | None:
        timeframe = None if self.dataset is None else self.dataset.timeframe
        draft = replace(self._draft, markets=self._markets())
        return features_problem(draft, timeframe, self._catalogue is not None, self._catalogue_error)

    def _evaluation_problem(self) -> Problem | None:
        summary = self.summary()
        limits = (None, None) if summary is None else (summary.first_ns, summary.last_ns)
        return evaluation_problem(self._draft, *limits)

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

    def _source_of(self, data: DataRange) -> tuple[SourceKind, bool]:
        """Return where the bars of a specification come from, and whether its range is all there is."""
        if data.source != STORE_SOURCE:
            return SourceKind.FILE, False
        wanted = (data.symbol, data.origin, data.timeframe)
        for item in self._of_source(SourceKind.PRACTICE):
            if (item.symbol, item.origin, item.timeframe.value) == wanted and not data.markets:
                whole = (item.first_ns, item.last_ns + item.timeframe.ns)
                return SourceKind.PRACTICE, (data.start_ns, data.end_ns) == whole
        return SourceKind.STORE, False

    def _markets(self) -> tuple[str, ...]:
        """Return the other markets; ticked ones mean nothing while the bars come from elsewhere."""
        return self._draft.markets if self._draft.source is SourceKind.STORE else ()

    def _range_ns(self) -> tuple[int | None, int | None] | None:
        """Return the range as [start, end) in ns UTC, None where it is impossible."""
        draft = self._draft
        if draft.whole_range:
            return (None, None)
        try:
            start, end = start_of(draft.start_date), end_of(draft.end_date)
        except ValueError:
            return None
        return None if start is not None and end is not None and start >= end else (start, end)

    def _by_shares(self, spec: ForecastSpec) -> ForecastSpec:
        return by_shares(spec, self._draft, self.summary())

    def _spec_or_none(self) -> ForecastSpec | None:
        """Return the specification without its data checks, None while something cannot be read."""
        steps = (Step.FEATURES, Step.MODEL, Step.TRAINING, Step.RESOURCES)
        wrong = any(self.problem(step) is not None for step in steps) or self._evaluation_problem() is not None
        return None if wrong or self._range_ns() is None else self._build()

    def _default_spec(self) -> ForecastSpec:
        return replace(_DEFAULT, data=self._data_range())

    def _data_range(self) -> DataRange:
        start_ns, end_ns = self._range_ns() or (None, None)
        draft, dataset = self._draft, self.dataset
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
            markets=self._markets(),
            series=draft.series,
        )

    def _build(self) -> ForecastSpec:
        draft = self._draft
        return ForecastSpec(
            data=self._data_range(),
            features=feature_spec(draft),
            model=model_spec(draft),
            split=split_spec(draft),
            training=training_spec(draft),
            evaluation=evaluation_spec(draft),
            resources=resource_spec(draft),
        )


def _place(draft: TrainingDraft) -> tuple[SourceKind, str, DataOrigin, str, str]:
    """Return what names the bars; where it changes, the range begins anew."""
    return draft.source, draft.symbol, draft.origin, draft.timeframe, draft.file_path


def _usual(found: Sequence[Dataset]) -> Dataset:
    """Return the hourly history where there is one: long enough to learn from, quick to train on."""
    return next((item for item in found if item.timeframe is Timeframe.H1), found[0])


def _date(time_ns: int) -> dt.date:
    return dt.datetime.fromtimestamp(time_ns // NS_PER_S, dt.UTC).date()
