"""The training wizard without its window: the steps from a price history to a run's specification. Qt-free, GUI thread.

`TrainingFlow` holds the `TrainingDraft`, says in one sentence per step what is still wrong, and builds the
`ForecastSpec` or `AgentSpec`; it also takes one apart again, so that a saved one fills every page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.flows.agent_checks import (
    algorithm_problem,
    encoder_borders_problem,
    encoder_problem,
    environment_problem,
    universe_problem,
)
from app.flows.agent_checks import judgement_problem as agent_judgement_problem
from app.flows.agent_draft import AGENT_ENTRIES, Subject, default_of, with_changes
from app.flows.amount import Sentence
from app.flows.datasets import Dataset, DeviceOption, RangeSummary, SeriesExtent, SourceKind, StoredForecaster
from app.flows.feature_catalogue import FeatureCatalogue
from app.flows.sentence_text import CoreSentence
from app.flows.training_checks import (
    Places,
    Problem,
    features_problem,
    judgement_problem,
    model_problem,
    resources_problem,
    split_problem,
    training_problem,
)
from app.flows.training_coverage import Coverage, apart_sentence, coverage, reach_problem, side_columns
from app.flows.training_draft import (
    DEFAULT_DRAFT,
    QUANTILE_PRESETS,
    TrainingDraft,
    feature_spec,
    instant_of,
    range_of,
    without_unused_markets,
)
from app.flows.training_place import first_draft, with_existing_market, with_range_of
from app.flows.training_runs import Run, bars_run, data_range, draft_of_run, run_of, used_markets
from app.flows.training_split import PartName, SplitPart, by_shares, split_parts, with_borders
from app.flows.training_steps import ALL_STEPS, STEPS, Step, steps_of
from app.i18n import format_number, mark
from core.domain.candles import Timeframe
from core.domain.data_origin import DataOrigin
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
from ml.feature_spec import bound_columns
from ml.network_size import parameter_count

if TYPE_CHECKING:
    from ml.column_kinds import BoundColumn

__all__ = [
    "ALL_STEPS",
    "QUANTILE_PRESETS",
    "STEPS",
    "PartName",
    "Problem",
    "SplitPart",
    "Step",
    "TrainingDraft",
    "TrainingFlow",
]


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
        self._series: dict[SeriesSource, UserError | SeriesExtent] = {}
        self._forecasters: Sequence[StoredForecaster] | UserError | None = None
        self._covered: tuple[tuple[object, ...], Coverage] | None = None  # of the entries it was counted for
        self._loaded = False  # market and range stand in a configuration: nothing is put in their place
        self._step = Step.DATA
        self._draft = draft or first_draft(self._of_source(SourceKind.STORE), self._of_source(SourceKind.PRACTICE))
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
    def subject(self) -> Subject:
        """What is trained."""
        return self._draft.agent.subject

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that lead to what is trained."""
        return steps_of(self.subject)

    def entry(self, name: str) -> Any:
        """Return an entry of the draft or of its agent by its name."""
        return getattr(self._draft.agent if name in AGENT_ENTRIES else self._draft, name)

    def usual(self, name: str) -> Any:
        """Return what an entry is where nobody changed it."""
        return default_of(name, self._draft.agent) if name in AGENT_ENTRIES else getattr(DEFAULT_DRAFT, name)

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
        """Take changed entries by their name; another source or market resets the range."""
        before = self._draft
        of_agent = {name: changes.pop(name) for name in AGENT_ENTRIES & set(changes)}
        self._draft = replace(before, **changes, agent=with_changes(before.agent, **of_agent))
        if before.source is not self._draft.source and "origin" not in changes:
            self._draft = replace(self._draft, origin=_ANY_ORIGIN)  # invented bars chosen there are no wish for here
        if before.columns != self._draft.columns:
            self._draft = without_unused_markets(self._draft, before.columns)
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
            self._draft = with_borders(self._draft, self.usable())
        if moved or before.agent.subject is not self.subject:
            self._choose_forecaster()

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
        problem = self._features_problem() or self._reach_problem("columns")
        if problem is not None and problem.field == "columns" and not problem.elsewhere:
            self._draft = before
            return problem
        return None

    def load(self, spec: Run) -> None:
        """Take every entry from a specification; its files are looked into again."""
        spec = spec.with_used_data()
        source, whole_range = self._source_of(spec.data)
        self._file = self._file_problem = None
        self._loaded = True
        self._draft = draft_of_run(spec, source, self._draft, whole_range=whole_range)
        if self._draft.whole_range:
            self._draft = self._with_full_range(self._draft)

    def set_datasets(self, datasets: Sequence[Dataset]) -> None:
        """Replace the known histories, for example after a fetch; the entries stay."""
        self._datasets, self._covered = tuple(datasets), None
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

    def set_series(self, source: SeriesSource, content: SeriesExtent | UserError) -> None:
        """Take when the values of a side series were known, or why its file cannot be used."""
        self._series[source] = content

    def set_forecasters(self, found: Sequence[StoredForecaster] | UserError) -> None:
        """Take which stored forecasters there are, or why they cannot be read."""
        self._forecasters = found
        if not self._draft.agent.encoder_model:
            self._choose_forecaster()

    def forecasters(self) -> tuple[StoredForecaster, ...]:
        """Return the stored forecasters of the chosen market and bar length, newest first."""
        dataset, known = self.dataset, self._forecasters
        if dataset is None or known is None or isinstance(known, UserError):
            return ()
        wanted = (dataset.origin, dataset.symbol, dataset.timeframe.value)
        return tuple(item for item in known if (item.origin, item.symbol, item.timeframe) == wanted)

    def extents(self) -> dict[str, SeriesExtent]:
        """Return when the values of the side series were known, of those whose files were read."""
        found = {source.name: self._series.get(source) for source in self._draft.series}
        return {name: extent for name, extent in found.items() if isinstance(extent, SeriesExtent)}

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
            self._step = self.steps[self.steps.index(self._step) + 1]
        return problem

    def back(self) -> None:
        """Go to the step before; nothing entered is lost."""
        self._step = self.steps[max(0, self.steps.index(self._step) - 1)]

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
        return tuple(item.symbol for item in self._beside() if item.symbol != draft.symbol)

    def further_bars(self) -> int:
        """Return how many bars the chosen range holds of the further markets that an agent learns on."""
        limits, chosen = self._range_ns() or (None, None), used_markets(self._draft)
        return sum(item.between(*limits).bars for item in self._beside() if item.symbol in chosen)

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

    def coverage(self) -> Coverage | None:
        """Return how much of the chosen range has all that the columns look at, None without history or range."""
        dataset, limits = self.dataset, self._range_ns()
        if dataset is None or limits is None:
            return None
        columns = () if self._features_problem() is not None else self._side_columns()
        extents = self.extents()
        key = (dataset, limits, columns and self._draft.columns, tuple(extents.values()))
        if self._covered is None or self._covered[0] != key:  # pages ask again and again while somebody types
            others = {item.symbol: item for item in self._beside()} if columns else {}
            self._covered = key, coverage(dataset, limits, columns, extents, others)
        return self._covered[1]

    def usable(self) -> RangeSummary | None:
        """Return what the bars span that have all the columns look at, None without history or range."""
        found = self.coverage()
        return None if found is None else found.summary()

    def lacking(self) -> Coverage | None:
        """Return how much of the range can be used where its columns lack more than the warm-up hides, else None."""
        found, warm_up = self.coverage(), self.warm_up()
        if found is None or warm_up is None or bool(found.covered[warm_up:].all()):
            return None
        return found

    def split(self) -> tuple[SplitPart, ...]:
        """Return the three parts with the dates at which they begin and end, borders without purge."""
        return split_parts(self._draft, self.usable())

    def estimate(self) -> TrainingEstimate | None:
        """Return the effort of the run, None while something is wrong."""
        found, spec = self.coverage(), self.bars_spec()
        if found is None or spec is None:
            return None
        warm_up = warm_up_bars(spec.features, Timeframe(spec.data.timeframe))
        return estimate(self._by_shares(spec), found.chosen.bars, found.targets(warm_up, spec.model.reach))

    def bars_spec(self) -> ForecastSpec | None:
        """Return the forecast whose bars the run needs, unchecked data and all, None while something cannot be read."""
        steps = {Step.MODEL, Step.TRAINING, Step.RESOURCES} & set(self.steps)
        found = (self._features_problem(), *(self.problem(step) for step in steps), self._evaluation_problem())
        wrong = any(problem is not None for problem in found)
        return None if wrong or self._range_ns() is None else bars_run(self._draft, self._data_range())

    def parameters(self) -> int | None:
        """Return how many numbers each network learns, None while something is wrong."""
        spec = self.bars_spec()
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
            return self._features_problem() or self._reach_problem("columns")
        if step is Step.MODEL:
            return model_problem(draft)
        if step is Step.TRAINING:
            return training_problem(draft)
        if step is Step.ENVIRONMENT:
            return environment_problem(draft.agent)
        if step is Step.ALGORITHM:
            return algorithm_problem(draft.agent)
        if step is Step.EVALUATION:
            found = self._evaluation_problem() or self._encoder_borders_problem()
            if found is not None or self.dataset is None:
                return found
            return self._reach_problem("") or self._bars_problem(self._present_spec())
        if step is Step.RESOURCES:
            return resources_problem(draft, self.device)
        return next((found for earlier in self.steps[:-1] if (found := self.problem(earlier)) is not None), None)

    def spec(self) -> Run:
        """Return the specification of the run.

        Raises:
            UserError: a step is not complete; the sentence is the step's own.
        """
        problem = self.problem(Step.REVIEW)
        if problem is not None:
            raise UserError(problem.text())
        return run_of(self._draft, self._data_range()).validate()

    def _data_problem(self) -> Problem | None:
        draft = self._draft
        if draft.source is SourceKind.FILE and self._file is None:
            if not draft.file_path:
                return Problem(Sentence(mark("Choose a CSV, Feather or Parquet file with candles.")), "file_path")
            if self._file_problem is not None:
                return Problem(self._file_problem, "file_path")
            return Problem(Sentence(mark("The file is being read.")), "file_path", passing=True)
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
        # What only the columns need more is said where they are chosen: from here nobody could take them back.
        spec = self._present_spec()
        plain = replace(spec, features=replace(spec.features, columns=()))
        return self._bars_problem(plain) or self._others_problem() or self._encoder_problem()

    def _bars_problem(self, spec: ForecastSpec) -> Problem | None:
        """Say whether the range holds bars enough for a specification."""
        summary = self.summary()
        field = "end_date" if self._step is Step.DATA and not self._draft.whole_range else ""
        if summary is None or summary.bars == 0:
            return Problem(Sentence(mark("There are no bars in this range.")), field)
        needed = minimum_bars(self._by_shares(spec))
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
        for field, markets in (("markets", self._markets()), ("further_markets", used_markets(draft))):
            for market in markets:
                if market not in offered:
                    wanted = {"market": market, "timeframe": draft.timeframe}
                    return Problem(
                        Sentence(mark("No {timeframe} bars of {market} are stored: untick it."), wanted), field
                    )
        for source in draft.series:
            if source not in self._series:
                reading = Sentence(mark("The file of “{name}” is being read."), {"name": source.name})
                return Problem(reading, "series", passing=True)
            content = self._series[source]
            if isinstance(content, UserError):
                return Problem(CoreSentence(str(content)), "series")
            sentence = apart_sentence(source.name, content, self.summary())
            if sentence is not None:
                return Problem(sentence, "series")
        try:
            self._data_range().validate()
        except UserError as exc:
            return Problem(CoreSentence(str(exc)), "series")
        if self.subject.trains_agent:
            return universe_problem(draft.agent, self._data_range(), used_markets(draft))
        return None

    def _features_problem(self) -> Problem | None:
        dataset = self.dataset
        places = Places() if dataset is None else Places(dataset.timeframe, dataset.symbol, self.other_markets())
        draft = replace(self._draft, markets=self._markets())
        return features_problem(draft, places, self._catalogue is not None, self._catalogue_error)

    def _reach_problem(self, field: str) -> Problem | None:
        """Say which column, series or market leaves too few bars; the problem is told at `field`."""
        found = self.coverage()
        if found is None or found.chosen.bars == 0 or self._features_problem() is not None:
            return None
        sentence = reach_problem(self._by_shares(self._present_spec()), found)
        return None if sentence is None else Problem(sentence, field)

    def _encoder_problem(self) -> Problem | None:
        if isinstance(self._forecasters, UserError) and self.subject is Subject.ON_STORED:
            return Problem(CoreSentence(str(self._forecasters)), "encoder_model")
        return encoder_problem(self._draft.agent, self.forecasters(), read=self._forecasters is not None)

    def _evaluation_problem(self) -> Problem | None:
        draft, summary = self._draft, self.usable()
        limits = (None, None) if summary is None else (summary.first_ns, summary.last_ns)
        found = split_problem(draft, *limits)
        if found is not None:
            return found
        return agent_judgement_problem(draft.agent) if self.subject.trains_agent else judgement_problem(draft)

    def _encoder_borders_problem(self) -> Problem | None:
        """Say where a stored forecaster knows bars that an agent is judged on; shares are divided by the run alone."""
        draft = self._draft
        known = next((item for item in self.forecasters() if item.model_id == draft.agent.encoder_model), None)
        if self.subject is not Subject.ON_STORED or known is None or not draft.by_date:
            return None
        return encoder_borders_problem(known, instant_of(draft.valid_from), instant_of(draft.test_from))

    # --------------------------------------------------------------------------------------------- construction

    def _choose_forecaster(self) -> None:
        """Choose the newest stored forecaster for an agent where the present choice does not fit."""
        offered, agent = self.forecasters(), self._draft.agent
        if self.subject is Subject.ON_STORED and offered and agent.encoder_model not in {m.model_id for m in offered}:
            self._draft = replace(self._draft, agent=replace(agent, encoder_model=offered[0].model_id))

    def _beside(self) -> tuple[Dataset, ...]:
        """Return the stored histories of the same origin and bar length, the chosen one among them."""
        wanted = (self._draft.origin, self._draft.timeframe)
        stored = self._of_source(SourceKind.STORE)
        return tuple(item for item in stored if (item.origin, item.timeframe.value) == wanted)

    def _side_columns(self) -> tuple[BoundColumn, ...]:
        """Return the columns that look at a series or another market; the features were found right."""
        return side_columns(bound_columns(feature_spec(self._draft))) if self._draft.columns else ()

    def _of_source(self, kind: SourceKind) -> tuple[Dataset, ...]:
        return tuple(item for item in self._datasets if item.kind is kind)

    def _with_existing_market(self, draft: TrainingDraft) -> TrainingDraft:
        return with_existing_market(draft, self._of_source(draft.source))

    def _with_full_range(self, draft: TrainingDraft) -> TrainingDraft:
        dataset = self.dataset
        return draft if dataset is None else with_range_of(draft, dataset)

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
        return range_of(self._draft)

    def _by_shares(self, spec: ForecastSpec) -> ForecastSpec:
        warm_up = warm_up_bars(spec.features, Timeframe(spec.data.timeframe)) if self._draft.by_date else 0
        return by_shares(spec, self._draft, self.usable(), warm_up)

    def _present_spec(self) -> ForecastSpec:
        """Return the specification, or the usual one with the present features while something of it is wrong."""
        spec = self.bars_spec() or replace(_DEFAULT, data=self._data_range())
        return spec if self._features_problem() is not None else replace(spec, features=feature_spec(self._draft))

    def _data_range(self) -> DataRange:
        limits = self._range_ns() or (None, None)
        return data_range(replace(self._draft, markets=self._markets()), self.dataset, limits)


def _place(draft: TrainingDraft) -> tuple[SourceKind, str, DataOrigin, str, str]:
    """Return what names the bars; where it changes, the range begins anew."""
    return draft.source, draft.symbol, draft.origin, draft.timeframe, draft.file_path
