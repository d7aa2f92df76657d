"""What is wrong with the entries of the training wizard: one sentence and the field it is about. Qt-free, any thread.

The window's number boxes keep their limits by themselves; a configuration that was loaded, or entries of an earlier
version, need not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from app.flows.amount import AmountError, Sentence
from app.flows.datasets import DeviceOption, SourceKind
from app.flows.sentence_text import CoreSentence
from app.flows.training_draft import TrainingDraft, feature_spec, instant_of, model_spec
from app.flows.typed_numbers import parse_bars, parse_number
from app.i18n import format_number, mark
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.api import FEATURE_SETS, MAX_SEEDS

MAX_HIDDEN, MAX_LAYERS, MAX_HORIZON, MAX_HORIZONS, MAX_LOOK_BACK = 1_024, 8, 500, 16, 2_000
MAX_EPOCHS, MAX_BATCH, MIN_SEGMENT, MAX_SEGMENT, MAX_BURN_IN = 10_000, 4_096, 16, 8_192, 4_096
MAX_SEED = 2**31 - 1 - MAX_SEEDS
MIN_WINDOW, MAX_WINDOW, MAX_PURGE, MAX_REPEATS, MAX_THREADS = 8, 2_000, 10_000, 100, 256

_HORIZONS = mark("Horizons are up to 16 ascending whole numbers from 1 to 500, for example 1, 4, 24.")
_LOOK_BACKS = mark("Look-backs are ascending whole numbers from 1 to 2,000, for example 1, 2, 4, 8, 16, 24.")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong.

    Attributes:
        sentence: for the person.
        field: the entry of `TrainingDraft` it is about; "" for what no field can mend.
        elsewhere: the entry is right; what it lacks has to be given on another page.
        passing: something is still being read; nothing has to be mended.
    """

    sentence: Sentence
    field: str = ""
    elsewhere: bool = False
    passing: bool = False

    def text(self) -> str:
        """Return the sentence in the present language."""
        return self.sentence.text()


@dataclass(frozen=True, slots=True)
class Places:
    """Whose bars feature columns can look at.

    Attributes:
        timeframe: of the model's own bars, None where nothing is chosen yet.
        own: the market that is forecast.
        others: the markets stored beside it.
    """

    timeframe: Timeframe | None = None
    own: str = ""
    others: tuple[str, ...] = ()


def features_problem(
    draft: TrainingDraft, places: Places, catalogue_read: bool, catalogue_error: UserError | None = None
) -> Problem | None:
    """Return what is wrong with the features.

    Args:
        draft: the entries.
        places: whose bars there are.
        catalogue_read: whether columns can be looked up without holding the window up.
        catalogue_error: why they cannot.
    """
    if draft.feature_set not in {info.name for info in FEATURE_SETS}:
        return Problem(Sentence(mark("Choose a feature set.")), "feature_set")
    if parse_bars(draft.look_backs, MAX_LOOK_BACK) is None:
        return Problem(Sentence(_LOOK_BACKS), "look_backs")
    window = whole(
        draft.window, MIN_WINDOW, MAX_WINDOW, mark("The window must be {low} to {high} bars."), field="window"
    )
    if window is not None or not needs_catalogue(draft):
        return window
    if catalogue_error is not None:
        return Problem(CoreSentence(str(catalogue_error)), "columns")
    if not catalogue_read:
        return Problem(Sentence(mark("The list of indicators is being read.")), "columns", passing=True)
    return _columns_problem(draft, places)


def needs_catalogue(draft: TrainingDraft) -> bool:
    """Whether the features cannot be understood without the catalogue of indicators."""
    return bool(draft.columns) or draft.feature_set == "technical"


def _columns_problem(draft: TrainingDraft, places: Places) -> Problem | None:
    from ml.feature_spec import bars_per_longer, bound_columns

    try:
        spec = feature_spec(draft)
        spec.validate()
        bound = bound_columns(spec)
        for each in bound:
            if each.column.timeframe and places.timeframe is not None:
                bars_per_longer(places.timeframe, Timeframe(each.column.timeframe))
    except UserError as exc:
        return Problem(CoreSentence(str(exc)), "columns")
    given = {source.name for source in draft.series}
    for each in bound:
        market = each.column.symbol
        if market and (market not in draft.markets or market == places.own):
            return Problem(_market_sentence(draft, places, str(each.column), market), "columns")
        if each.is_series and each.column.name not in given:
            values = {"column": str(each.column), "series": each.column.name}
            return Problem(
                Sentence(mark("{column} needs the series “{series}”: add its file on the page Data range."), values),
                "columns",
                elsewhere=True,
            )
    return None


def _market_sentence(draft: TrainingDraft, places: Places, column: str, market: str) -> Sentence:
    """Say why a column cannot look at a market, and what to do about it."""
    values = {"column": column, "market": market}
    if market == places.own:
        return Sentence(mark("{market} is the market the model forecasts: write the column without @{market}."), values)
    if draft.source is not SourceKind.STORE:
        return Sentence(
            mark("{column} looks at {market}: that is possible only where the page Data range takes stored candles."),
            values,
        )
    if market in places.others:
        return Sentence(mark("{column} looks at {market}: tick it on the page Data range."), values)
    length = "" if places.timeframe is None else places.timeframe.value
    return Sentence(
        mark(
            "{column} looks at {market}, of which no {timeframe} bars are stored from the same exchange: fetch or "
            "import them first."
        ),
        {**values, "timeframe": length},
    )


def model_problem(draft: TrainingDraft) -> Problem | None:
    """Return what is wrong with the network."""
    if parse_bars(draft.horizons, MAX_HORIZON, MAX_HORIZONS) is None:
        return Problem(Sentence(_HORIZONS), "horizons")
    found = first(
        whole(
            draft.hidden_size,
            2,
            MAX_HIDDEN,
            mark("The hidden size must be {low} to {high} units."),
            field="hidden_size",
        ),
        whole(draft.layers, 1, MAX_LAYERS, mark("The network must have {low} to {high} layers."), field="layers"),
        number(draft.dropout, "0", "0.9", mark("Dropout must be a number from {low} to {high}."), field="dropout"),
        number(
            draft.flat_band,
            "0.05",
            "3",
            mark("The flat band must be a number from {low} to {high}."),
            field="flat_band",
        ),
    )
    if found is not None:
        return found
    try:
        model_spec(draft).validate()
    except UserError as exc:
        return Problem(CoreSentence(str(exc)), "quantile_levels")
    return None


def training_problem(draft: TrainingDraft) -> Problem | None:
    """Return what is wrong with the fitting."""
    found = first(
        whole(draft.epochs, 1, MAX_EPOCHS, mark("Train {low} to {high} epochs."), field="epochs"),
        whole(draft.patience, 1, MAX_EPOCHS, mark("The patience must be {low} to {high} epochs."), field="patience"),
        whole(draft.seed, 0, MAX_SEED, mark("The seed must be {low} to {high}."), field="seed"),
        number(
            draft.learning_rate,
            "0.000001",
            "1",
            mark("The learning rate must be a number from {low} to {high}."),
            field="learning_rate",
        ),
        number(
            draft.clip_norm,
            "0.001",
            "1000",
            mark("The largest gradient must be a number from {low} to {high}."),
            field="clip_norm",
        ),
        number(
            draft.weight_decay,
            "0",
            "10",
            mark("The weight decay must be a number from {low} to {high}."),
            field="weight_decay",
        ),
        whole(
            draft.batch_segments,
            0,
            MAX_BATCH,
            mark("The batch must be {low} to {high} segments."),
            field="batch_segments",
        ),
        whole(
            draft.segment_length,
            MIN_SEGMENT,
            MAX_SEGMENT,
            mark("A segment must be {low} to {high} bars."),
            field="segment_length",
        ),
        whole(draft.burn_in, 0, MAX_BURN_IN, mark("The burn-in must be {low} to {high} bars."), field="burn_in"),
    )
    if found is None and draft.burn_in * 2 > draft.segment_length:
        return Problem(Sentence(mark("The burn-in takes more than half of each segment: make it shorter.")), "burn_in")
    return found


def split_problem(draft: TrainingDraft, first_ns: int | None, last_ns: int | None) -> Problem | None:
    """Return what is wrong with the split.

    Args:
        draft: the entries.
        first_ns / last_ns: of the chosen bars, None where there are none (yet).
    """
    return first(
        _borders_problem(draft, first_ns, last_ns) if draft.by_date else shares_problem(draft),
        whole(draft.purge_bars, 0, MAX_PURGE, mark("The purge must be {low} to {high} bars."), field="purge_bars"),
    )


def judgement_problem(draft: TrainingDraft) -> Problem | None:
    """Return what is wrong with how a forecaster is judged."""
    return first(
        whole(draft.seeds, 1, MAX_SEEDS, mark("Train {low} to {high} networks."), field="seeds"),
        number(
            draft.cost_percent,
            "0",
            "10",
            mark("The cost must be a percentage from {low} to {high}."),
            field="cost_percent",
        ),
        whole(
            draft.permutation_repeats,
            0,
            MAX_REPEATS,
            mark("Shuffle {low} to {high} times."),
            field="permutation_repeats",
        ),
    )


def shares_problem(draft: TrainingDraft) -> Problem | None:
    """Return what is wrong with the shares of the parts."""
    found = first(
        number(
            draft.train_percent,
            "20",
            "90",
            mark("Training takes {low} to {high} % of the bars."),
            field="train_percent",
        ),
        number(
            draft.valid_percent,
            "5",
            "50",
            mark("Validation takes {low} to {high} % of the bars."),
            field="valid_percent",
        ),
    )
    if found is None and left_for_test(draft) < 4:
        return Problem(
            Sentence(mark("Leave at least {low} % of the bars for the test part."), {"low": "4"}), "valid_percent"
        )
    return found


def _borders_problem(draft: TrainingDraft, first_ns: int | None, last_ns: int | None) -> Problem | None:
    borders: list[int] = []
    for field in ("valid_from", "test_from"):
        try:
            borders.append(instant_of(getattr(draft, field)))
        except ValueError:
            return Problem(Sentence(mark("Choose the day on which this part begins.")), field)
    if borders[0] >= borders[1]:
        return Problem(Sentence(mark("The test part must begin after the validation part.")), "test_from")
    if first_ns is not None and borders[0] <= first_ns:
        return Problem(Sentence(mark("The validation part must begin after the first bar.")), "valid_from")
    if last_ns is not None and borders[1] > last_ns:
        return Problem(Sentence(mark("The test part must begin before the last bar.")), "test_from")
    return None


def resources_problem(draft: TrainingDraft, device: DeviceOption | None) -> Problem | None:
    """Return what is wrong with the device and what may be used of it."""
    if device is None:
        return Problem(Sentence(mark("Choose a device.")), "device")
    if not device.available:
        return Problem(device.reason, "device")
    agent = draft.agent
    return first(
        whole(
            agent.seeds_at_once,
            0,
            MAX_SEEDS,
            mark("{low} to {high} networks can learn at the same time."),
            field="seeds_at_once",
        )
        if agent.subject.trains_agent
        else None,
        whole(draft.threads, 0, MAX_THREADS, mark("Use {low} to {high} threads."), field="threads"),
        number(
            draft.memory_percent,
            "5",
            "95",
            mark("The share of the memory must be {low} to {high} %."),
            field="memory_percent",
        ),
    )


def left_for_test(draft: TrainingDraft) -> Decimal:
    """Return what is left for the test part, 0 while a share cannot be read."""
    try:
        shares = [parse_number(text) for text in (draft.train_percent, draft.valid_percent)]
    except AmountError:
        return Decimal(0)
    return max(Decimal(0), Decimal(100) - sum((share or Decimal(0) for share in shares), Decimal(0)))


def first(*found: Problem | None) -> Problem | None:
    """Return the first problem there is."""
    return next((problem for problem in found if problem is not None), None)


def whole(value: int, low: int, high: int, template: str, *, field: str) -> Problem | None:
    """Return the sentence where a whole number is out of its limits."""
    if low <= value <= high:
        return None
    return Problem(Sentence(template, {"low": format_number(low), "high": format_number(high)}), field)


def number(
    text: str,
    low: str,
    high: str,
    template: str,
    *,
    field: str,
    parse: Callable[[str], Decimal | None] = parse_number,
) -> Problem | None:
    """Return the sentence where a text is no number or out of its limits."""
    try:
        value = parse(text)
    except AmountError as exc:
        return Problem(exc.sentence, field)
    if value is None or not Decimal(low) <= value <= Decimal(high):
        return Problem(Sentence(template, {"low": low, "high": high}), field)
    return None
