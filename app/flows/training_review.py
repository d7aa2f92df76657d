"""Words for the training wizard: what the choices mean and what was chosen, for people. Qt-free, any thread."""

from __future__ import annotations

from dataclasses import dataclass

from app.flows.datasets import SourceKind, date_text
from app.flows.origin_text import origin_title
from app.flows.sentence_text import local_text
from app.flows.training_checks import MAX_HORIZON, MAX_HORIZONS
from app.flows.training_draft import unused_inputs
from app.flows.training_flow import PartName, SplitPart, TrainingFlow
from app.flows.typed_numbers import parse_bars
from app.i18n import MISSING, format_duration, format_number, mark, tr, tr_count
from core.domain.candles import Timeframe
from ml.api import FeatureSetInfo, TrainingEstimate

# The titles of ml.api in translatable form.
FEATURE_TEXTS: dict[tuple[str, int], tuple[str, str]] = {
    ("price", 1): (
        mark("Price only"),
        mark("Log returns over several look-backs in units of recent volatility, and volatility itself."),
    ),
    ("market", 1): (
        mark("Price, volume and time"),
        mark(
            "Price only, and RSI, ATR, MACD, the position in the recent range, unusual volume, and the time of day "
            "and week."
        ),
    ),
    ("technical", 1): (
        mark("Technical indicators"),
        mark("Price only, and some twenty classic indicators. Needs more history after a missing bar."),
    ),
    ("custom", 1): (
        mark("Own choice"),
        mark("The last return and volatility only; everything else is what you add under the advanced settings."),
    ),
}

HEAD_TITLES: dict[str, str] = {
    "quantile": mark("Quantiles"),
    "student_t": mark("Student distribution"),
    "classes": mark("Down, flat or up"),
}

SCHEDULE_TITLES: dict[str, str] = {
    "one_cycle": mark("One cycle"),
    "cosine": mark("Cosine"),
    "constant": mark("Constant"),
}

PRECISION_TITLES: dict[str, str] = {
    "auto": mark("Automatic"),
    "float32": mark("32 bits"),
    "tf32": mark("TensorFloat-32"),
    "bf16": mark("16 bits (bf16)"),
}

SOURCE_TITLES: dict[SourceKind, str] = {
    SourceKind.STORE: mark("Stored candles"),
    SourceKind.PRACTICE: mark("Practice exchange history"),
    SourceKind.FILE: mark("A file"),
}

PART_TITLES: dict[PartName, str] = {
    PartName.TRAIN: mark("Training"),
    PartName.VALID: mark("Validation"),
    PartName.TEST: mark("Test"),
}


@dataclass(frozen=True, slots=True)
class ReviewGroup:
    """Chosen values under a heading: (label, value) pairs for the screen."""

    title: str
    lines: tuple[tuple[str, str], ...]


def feature_texts(info: FeatureSetInfo) -> tuple[str, str]:
    """Return title and summary of a feature set in the present language."""
    texts = FEATURE_TEXTS.get((info.name, info.version))
    if texts is None:
        return local_text(info.title), local_text(info.summary)
    return tr(texts[0]), tr(texts[1])


def bars_as_time(bars: int, timeframe: str) -> str:
    """Return how long so many bars take ("2 h", "1 d 6 h"), "—" for an unknown bar length."""
    if timeframe not in tuple(Timeframe):
        return MISSING
    minutes = bars * Timeframe(timeframe).seconds // 60
    parts = (
        (tr("{n} d", n=format_number(minutes // 1_440)), minutes // 1_440),
        (tr("{n} h", n=minutes % 1_440 // 60), minutes % 1_440 // 60),
        (tr("{n} min", n=minutes % 60), minutes % 60),
    )
    return " ".join(text for text, count in parts if count) or tr("{n} min", n=0)


def bars_text(bars: int, timeframe: str) -> str:
    """Return a number of bars with the time they take ("24 bars (1 d)")."""
    return tr_count("{n} bar ({time})", "{n} bars ({time})", bars, time=bars_as_time(bars, timeframe))


def listed(words: tuple[str, ...]) -> str:
    """Return words with commas between them, "none" where there are none."""
    return ", ".join(words) if words else tr("none")


def chosen_timeframe(flow: TrainingFlow) -> str:
    """Return the length of the model's bars, "" while nothing is chosen."""
    return "" if flow.dataset is None else flow.dataset.timeframe.value


def quantile_text(levels: tuple[float, ...]) -> str:
    """Return forecast quantiles as percentages ("5, 25, 50, 75, 95 %")."""
    return ", ".join(format_number(round(level * 100, 4)) for level in levels) + "\u00a0%"


def quantile_range_text(levels: tuple[float, ...]) -> str:
    """Return how many quantiles there are and how far out they reach ("5 levels, 5–95 %")."""
    low, high = (format_number(round(level * 100, 4)) for level in (levels[0], levels[-1]))
    return tr("{n} levels, {low}–{high}\u00a0%", n=len(levels), low=low, high=high)


def part_caption(part: SplitPart) -> str:
    """Return name and dates of a part ("Test: 2024-01-01 to 2024-06-30")."""
    name = tr(PART_TITLES[part.name])
    if part.start_ns is None or part.end_ns is None:
        return f"{name}: {MISSING}"
    return f"{name}: " + tr("{first} to {last}", first=date_text(part.start_ns), last=date_text(part.end_ns))


def part_title(part: SplitPart) -> str:
    """Return name and share of a part ("Training 70 %")."""
    return f"{tr(PART_TITLES[part.name])} {format_number(round(part.share * 100))}\u00a0%"


def duration_text(flow: TrainingFlow) -> str:
    """Return how long the run takes at most, "—" while something is wrong."""
    effort = flow.estimate()
    return MISSING if effort is None else tr("up to {duration}", duration=format_duration(effort.seconds))


def targets_text(effort: TrainingEstimate) -> str:
    """Return how many targets the three parts have; gaps within a part can make it a few less."""
    return tr(
        "about {train} / {valid} / {test}",
        train=format_number(effort.train_targets),
        valid=format_number(effort.valid_targets),
        test=format_number(effort.test_targets),
    )


def data_group(flow: TrainingFlow) -> ReviewGroup:
    """Return which bars are learned from."""
    draft, dataset, summary = flow.draft, flow.dataset, flow.summary()
    source = tr(SOURCE_TITLES[draft.source])
    if draft.source is SourceKind.FILE and draft.file_path:
        source = draft.file_path
    market = (
        MISSING if dataset is None else f"{dataset.symbol} · {dataset.timeframe.value} · {origin_title(dataset.origin)}"
    )
    first = last = bars = MISSING
    found = flow.lacking()
    if summary is not None and summary.first_ns is not None and summary.last_ns is not None:
        first, last = date_text(summary.first_ns), date_text(summary.last_ns)
        bars = format_number(summary.bars)
        if found is not None:
            usable = format_number(found.usable)
            bars = tr("{bars}, of which {usable} have all that the columns look at", bars=bars, usable=usable)
    markets = draft.markets if draft.source is SourceKind.STORE else ()
    series = tuple(source.name for source in draft.series)
    unused = unused_inputs(draft)
    return ReviewGroup(
        tr("Data"),
        (
            (tr("Source"), source),
            (tr("Market"), market),
            (tr("Range (UTC)"), tr("{first} to {last}", first=first, last=last)),
            (tr("Bars"), bars),
            (tr("Other markets"), _inputs(markets, unused)),
            (tr("Series"), _inputs(series, unused)),
        ),
    )


def _inputs(names: tuple[str, ...], unused: frozenset[str]) -> str:
    """Return other markets or series with what becomes of those that no column looks at."""
    left_out = tr("left out, no column looks at it")
    return listed(tuple(f"{name} ({left_out})" if name in unused else name for name in names))


def features_group(flow: TrainingFlow) -> ReviewGroup:
    """Return what the model sees."""
    draft, warm_up = flow.draft, flow.warm_up()
    timeframe = chosen_timeframe(flow)
    title = next((texts[0] for (name, _), texts in FEATURE_TEXTS.items() if name == draft.feature_set), MISSING)
    return ReviewGroup(
        tr("Features"),
        (
            (tr("Feature set"), tr(title)),
            (tr("Look-backs"), draft.look_backs),
            (tr("Window"), bars_text(draft.window, timeframe)),
            (tr("Further columns"), listed(draft.columns)),
            (tr("Warm-up"), MISSING if warm_up is None else bars_text(warm_up, timeframe)),
        ),
    )


def model_group(flow: TrainingFlow) -> ReviewGroup:
    """Return the forecaster's network."""
    draft, size = flow.draft, flow.parameters()
    horizons = parse_bars(draft.horizons, MAX_HORIZON, MAX_HORIZONS) or ()
    network = tr(
        "{kind}, {layers} × {hidden} units, dropout {dropout}",
        kind=draft.kind.upper(),
        layers=draft.layers,
        hidden=draft.hidden_size,
        dropout=draft.dropout,
    )
    if draft.layer_norm:
        network += ", " + tr("with layer norm")
    timeframe = chosen_timeframe(flow)
    ahead = ", ".join(bars_text(bars, timeframe) for bars in horizons)
    return ReviewGroup(
        tr("Model"),
        (
            (tr("Network"), network),
            (tr("Learned numbers"), MISSING if size is None else format_number(size)),
            (tr("Forecast"), tr(HEAD_TITLES[draft.head])),
            (tr("Horizons"), ahead or MISSING),
            (tr("Quantiles"), quantile_text(draft.quantile_levels)),
        ),
    )


def training_group(flow: TrainingFlow) -> ReviewGroup:
    """Return how the forecaster is fitted."""
    draft = flow.draft
    batch = tr("automatic") if draft.batch_segments == 0 else tr("{n} segments", n=format_number(draft.batch_segments))
    return ReviewGroup(
        tr("Training"),
        (
            (
                tr("Epochs"),
                tr(
                    "at most {epochs}, patience {patience}",
                    epochs=format_number(draft.epochs),
                    patience=format_number(draft.patience),
                ),
            ),
            (tr("Learning rate"), f"{draft.learning_rate}, {tr(SCHEDULE_TITLES[draft.schedule])}"),
            (
                tr("Regularisation"),
                tr("weight decay {decay}, gradient at most {norm}", decay=draft.weight_decay, norm=draft.clip_norm),
            ),
            (
                tr("Segments"),
                tr(
                    "{length} bars, burn-in {burn_in}, batch {batch}",
                    length=format_number(draft.segment_length),
                    burn_in=format_number(draft.burn_in),
                    batch=batch,
                ),
            ),
            (tr("First seed"), str(draft.seed)),
        ),
    )


def evaluation_group(flow: TrainingFlow) -> ReviewGroup:
    """Return how the forecaster is judged."""
    draft, effort = flow.draft, flow.estimate()
    counts = MISSING
    if effort is not None:
        counts = targets_text(effort)
    compared = [tr("simple forecasts")] + ([tr("gradient boosting")] if draft.boosting else [])
    shuffles = (
        tr("left out")
        if draft.permutation_repeats == 0
        else tr_count("{n} shuffle per feature", "{n} shuffles per feature", draft.permutation_repeats)
    )
    return ReviewGroup(
        tr("Evaluation"),
        (
            (tr("Split in time"), ", ".join(part_title(part) for part in flow.split())),
            (tr("Targets"), counts),
            (tr("Purge"), tr("{bars} bars at each border", bars=format_number(draft.purge_bars))),
            (tr("Networks"), format_number(draft.seeds)),
            (tr("Compared with"), ", ".join(compared)),
            (tr("Importance"), shuffles),
            (tr("Cost"), tr("{percent} % per change", percent=draft.cost_percent)),
        ),
    )


def resources_group(flow: TrainingFlow, *effort: tuple[str, str]) -> ReviewGroup:
    """Return what the run may use, and what it takes."""
    draft, device = flow.draft, flow.device
    threads = tr("automatic") if draft.threads == 0 else format_number(draft.threads)
    return ReviewGroup(
        tr("Resources"),
        (
            (tr("Device"), MISSING if device is None else device.title.text()),
            (tr("Precision"), tr(PRECISION_TITLES[draft.precision])),
            (tr("CPU threads"), threads),
            (tr("GPU memory"), tr("at most {percent} %", percent=draft.memory_percent)),
            *effort,
        ),
    )
