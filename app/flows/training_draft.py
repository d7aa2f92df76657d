"""What a person typed into the training wizard, and the way from it to a `ForecastSpec` and back. Qt-free, any thread.

A `TrainingDraft` keeps texts as typed, right or wrong, so that going back never loses anything. Numbers that a file may
hold in any precision are texts too: read from a specification and built again they give the very same number.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

from app.flows.agent_draft import DEFAULT_AGENT, AgentDraft
from app.flows.amount import AmountError
from app.flows.datasets import SourceKind
from app.flows.typed_numbers import list_text, number_of, parse_bars, percent_text, plain_text, share_of
from core.clock import NS_PER_S
from core.domain.data_origin import DataOrigin
from core.errors import UserError
from ml.api import (
    FEATURE_SETS,
    EvaluationSpec,
    FeatureColumn,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    SeriesSource,
    SplitSpec,
    TrainingSpec,
    parse_column,
)

DAY_NS = 86_400 * NS_PER_S
CUSTOM_SET = "custom"

QUANTILE_PRESETS: tuple[tuple[float, ...], ...] = (
    (0.1, 0.5, 0.9),
    (0.05, 0.25, 0.5, 0.75, 0.95),
    (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975),
)

_DEFAULT = ForecastSpec()
_ANY_ORIGIN = DataOrigin("")


@dataclass(frozen=True, slots=True)
class TrainingDraft:
    """What the person entered so far.

    Attributes:
        source: where the bars come from.
        symbol / timeframe: the chosen market, for stored and practice history.
        origin: whose market of that name; "" is the first there is.
        file_path: the chosen file.
        whole_range: use every bar; otherwise `start_date` to `end_date`.
        start_date / end_date: ISO dates in UTC, both days included; with a time of day the very instants, the second
            one excluded.
        markets / series: as in `ml.api.DataRange`.
        look_backs: of the return features, comma separated.
        columns: further feature columns in their text form.
        horizons: how far ahead is forecast, comma separated.
        train_percent / valid_percent: of the bars; the rest is the test part.
        by_date: `valid_from` and `test_from` are the borders instead of the shares.
        threads / batch_segments: 0 is automatic.
        agent: what is trained, and the entries about an agent.

    The others are those of `ml.api.ForecastSpec`, percentages and decimals as text.
    """

    source: SourceKind = SourceKind.STORE
    symbol: str = ""
    timeframe: str = ""
    origin: DataOrigin = _ANY_ORIGIN
    file_path: str = ""
    whole_range: bool = True
    start_date: str = ""
    end_date: str = ""
    markets: tuple[str, ...] = ()
    series: tuple[SeriesSource, ...] = ()
    feature_set: str = _DEFAULT.features.name
    look_backs: str = list_text(_DEFAULT.features.horizons)
    window: int = _DEFAULT.features.window
    columns: tuple[str, ...] = ()
    kind: str = _DEFAULT.model.kind
    head: str = _DEFAULT.model.head
    horizons: str = list_text(_DEFAULT.model.horizons)
    hidden_size: int = _DEFAULT.model.hidden_size
    layers: int = _DEFAULT.model.layers
    dropout: str = plain_text(_DEFAULT.model.dropout)
    layer_norm: bool = _DEFAULT.model.layer_norm
    quantile_levels: tuple[float, ...] = _DEFAULT.model.quantile_levels
    flat_band: str = plain_text(_DEFAULT.model.flat_band)
    epochs: int = _DEFAULT.training.epochs
    patience: int = _DEFAULT.training.patience
    seed: int = _DEFAULT.training.seed
    learning_rate: str = plain_text(_DEFAULT.training.learning_rate)
    schedule: str = _DEFAULT.training.schedule
    clip_norm: str = plain_text(_DEFAULT.training.clip_norm)
    weight_decay: str = plain_text(_DEFAULT.training.weight_decay)
    batch_segments: int = _DEFAULT.training.batch_segments
    segment_length: int = _DEFAULT.training.segment_length
    burn_in: int = _DEFAULT.training.burn_in
    by_date: bool = False
    train_percent: str = percent_text(_DEFAULT.split.train_fraction)
    valid_percent: str = percent_text(_DEFAULT.split.valid_fraction)
    valid_from: str = ""
    test_from: str = ""
    purge_bars: int = _DEFAULT.split.purge_bars
    seeds: int = _DEFAULT.evaluation.seeds
    boosting: bool = _DEFAULT.evaluation.boosting
    permutation_repeats: int = _DEFAULT.evaluation.permutation_repeats
    cost_percent: str = percent_text(_DEFAULT.evaluation.cost)
    device: str = _DEFAULT.resources.device
    precision: str = _DEFAULT.resources.precision
    threads: int = _DEFAULT.resources.threads
    memory_percent: str = percent_text(_DEFAULT.resources.memory_share)
    agent: AgentDraft = DEFAULT_AGENT


DEFAULT_DRAFT = TrainingDraft()


def without_unused_markets(draft: TrainingDraft, before: tuple[str, ...]) -> TrainingDraft:
    """Untick the markets that columns of `before` looked at and none does any more."""
    gone = _symbols(before) - _symbols(draft.columns)
    return replace(draft, markets=tuple(market for market in draft.markets if market not in gone))


def unused_inputs(draft: TrainingDraft) -> frozenset[str]:
    """Return the other markets and the series that no column looks at: a run leaves them out."""
    given = {*draft.markets, *(source.name for source in draft.series)}
    columns = _parsed(draft.columns)
    return frozenset(given - {column.symbol for column in columns} - {column.name for column in columns})


def _symbols(columns: tuple[str, ...]) -> set[str]:
    return {column.symbol for column in _parsed(columns)} - {""}


def _parsed(columns: tuple[str, ...]) -> list[FeatureColumn]:
    found = []
    for text in columns:
        try:
            found.append(parse_column(text))
        except UserError:
            continue  # of a column that cannot be read nobody knows what it looks at
    return found


def feature_spec(draft: TrainingDraft) -> FeatureSpec:
    """Return the features of a draft whose texts were found right.

    Raises:
        UserError: a column cannot be read.
    """
    version = next((info.version for info in FEATURE_SETS if info.name == draft.feature_set), 1)
    look_backs = parse_bars(draft.look_backs, 2_000) or ()
    columns = tuple(parse_column(text) for text in draft.columns)
    return FeatureSpec(draft.feature_set, version, look_backs, draft.window, columns)


def model_spec(draft: TrainingDraft) -> ModelSpec:
    """Return the network of a draft whose texts were found right."""
    return ModelSpec(
        kind=draft.kind,
        head=draft.head,
        hidden_size=draft.hidden_size,
        layers=draft.layers,
        dropout=number_of(draft.dropout),
        layer_norm=draft.layer_norm,
        quantile_levels=draft.quantile_levels,
        horizons=parse_bars(draft.horizons, 500) or (),
        flat_band=number_of(draft.flat_band),
    )


def split_spec(draft: TrainingDraft) -> SplitSpec:
    """Return the split of a draft whose texts were found right; shares do not matter where dates divide."""
    if not draft.by_date:
        return SplitSpec(share_of(draft.train_percent), share_of(draft.valid_percent), draft.purge_bars)
    shares = (_DEFAULT.split.train_fraction, _DEFAULT.split.valid_fraction)
    try:
        entered = (share_of(draft.train_percent), share_of(draft.valid_percent))
        SplitSpec(*entered).validate()
        shares = entered
    except (AmountError, UserError):
        pass  # out of use and out of sight
    return SplitSpec(*shares, draft.purge_bars, draft.valid_from, draft.test_from)


def training_spec(draft: TrainingDraft) -> TrainingSpec:
    """Return how a draft whose texts were found right is fitted."""
    return TrainingSpec(
        epochs=draft.epochs,
        learning_rate=number_of(draft.learning_rate),
        schedule=draft.schedule,
        clip_norm=number_of(draft.clip_norm),
        batch_segments=draft.batch_segments,
        segment_length=draft.segment_length,
        burn_in=draft.burn_in,
        patience=draft.patience,
        weight_decay=number_of(draft.weight_decay),
        seed=draft.seed,
    )


def evaluation_spec(draft: TrainingDraft) -> EvaluationSpec:
    """Return how the result of a draft whose texts were found right is judged."""
    return EvaluationSpec(draft.seeds, draft.boosting, draft.permutation_repeats, share_of(draft.cost_percent))


def resource_spec(draft: TrainingDraft) -> ResourceSpec:
    """Return what a run of a draft whose texts were found right may use."""
    return ResourceSpec(draft.device, draft.threads, draft.precision, share_of(draft.memory_percent))


def draft_of(spec: ForecastSpec, source: SourceKind, *, whole_range: bool) -> TrainingDraft:
    """Return the draft that builds a specification.

    Args:
        spec: the specification.
        source: where its bars come from.
        whole_range: its range is all there is, whatever bounds it names.
    """
    data, model, split, training = spec.data, spec.model, spec.split, spec.training
    bounded = not whole_range and (data.start_ns, data.end_ns) != (None, None)
    return TrainingDraft(
        source=source,
        symbol=data.symbol,
        timeframe=data.timeframe,
        origin=data.origin,
        file_path=data.source if source is SourceKind.FILE else "",
        whole_range=not bounded,
        start_date=start_text(data.start_ns) if bounded else "",
        end_date=end_text(data.end_ns) if bounded else "",
        markets=data.markets,
        series=data.series,
        feature_set=spec.features.name,
        look_backs=list_text(spec.features.horizons),
        window=spec.features.window,
        columns=tuple(str(column) for column in spec.features.columns),
        kind=model.kind,
        head=model.head,
        horizons=list_text(model.horizons),
        hidden_size=model.hidden_size,
        layers=model.layers,
        dropout=plain_text(model.dropout),
        layer_norm=model.layer_norm,
        quantile_levels=model.quantile_levels,
        flat_band=plain_text(model.flat_band),
        epochs=training.epochs,
        patience=training.patience,
        seed=training.seed,
        learning_rate=plain_text(training.learning_rate),
        schedule=training.schedule,
        clip_norm=plain_text(training.clip_norm),
        weight_decay=plain_text(training.weight_decay),
        batch_segments=training.batch_segments,
        segment_length=training.segment_length,
        burn_in=training.burn_in,
        by_date=split.borders_ns is not None,
        train_percent=percent_text(split.train_fraction),
        valid_percent=percent_text(split.valid_fraction),
        valid_from=split.valid_from,
        test_from=split.test_from,
        purge_bars=split.purge_bars,
        seeds=spec.evaluation.seeds,
        boosting=spec.evaluation.boosting,
        permutation_repeats=spec.evaluation.permutation_repeats,
        cost_percent=percent_text(spec.evaluation.cost),
        device=spec.resources.device,
        precision=spec.resources.precision,
        threads=spec.resources.threads,
        memory_percent=percent_text(spec.resources.memory_share),
    )


# --- times --------------------------------------------------------------------------------------------------------


def start_text(time_ns: int | None) -> str:
    """Return the first instant of a range: a date where it is midnight, "" where it has none."""
    if time_ns is None:
        return ""
    moment = _moment(time_ns)
    return moment.date().isoformat() if time_ns % DAY_NS == 0 else moment.isoformat()


def end_text(time_ns: int | None) -> str:
    """Return the end of a range: its last day where it ends with one, "" where it has none."""
    if time_ns is None:
        return ""
    return start_text(time_ns - DAY_NS if time_ns % DAY_NS == 0 else time_ns)


def start_of(text: str) -> int | None:
    """Return the instant of `start_text`, ns UTC; None is unbounded.

    Raises:
        ValueError: the text is no date.
    """
    return instant_of(text) if text else None


def end_of(text: str) -> int | None:
    """Return the instant of `end_text`, ns UTC; None is unbounded.

    Raises:
        ValueError: the text is no date.
    """
    if not text:
        return None
    return instant_of(text) + (0 if "T" in text else DAY_NS)


def range_of(draft: TrainingDraft) -> tuple[int | None, int | None] | None:
    """Return the range as [start, end) in ns UTC, None where it is impossible."""
    if draft.whole_range:
        return (None, None)
    try:
        start, end = start_of(draft.start_date), end_of(draft.end_date)
    except ValueError:
        return None
    return None if start is not None and end is not None and start >= end else (start, end)


def instant_of(text: str) -> int:
    """Return the instant of an ISO date or time in UTC, ns.

    Raises:
        ValueError: the text is none.
    """
    moment = dt.datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1_000


def _moment(time_ns: int) -> dt.datetime:
    """Bars open at whole seconds: rounding up to the next microsecond leaves no bar out and lets none in."""
    return dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=-(-time_ns // 1_000))
