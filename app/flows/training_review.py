"""Words for the training wizard: what the choices mean and what was chosen, for people. Qt-free, any thread."""

from __future__ import annotations

from dataclasses import dataclass

from app.flows.datasets import SourceKind, date_text
from app.flows.origin_text import origin_title
from app.flows.sentence_text import local_text
from app.flows.training_flow import QUANTILE_PRESETS, PartName, SplitPart, TrainingFlow
from app.i18n import MISSING, format_duration, format_number, mark, tr, tr_count
from core.domain.candles import Timeframe
from ml.api import FeatureSetInfo

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


def quantile_text(levels: tuple[float, ...]) -> str:
    """Return forecast quantiles as percentages ("5, 25, 50, 75, 95 %")."""
    return ", ".join(format_number(round(level * 100, 4)) for level in levels) + "\u00a0%"


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


def review(flow: TrainingFlow) -> tuple[ReviewGroup, ...]:
    """Return everything that was chosen, in the order of the steps."""
    return (_data_group(flow), _model_group(flow), _split_group(flow), _run_group(flow))


def _data_group(flow: TrainingFlow) -> ReviewGroup:
    draft, dataset, summary = flow.draft, flow.dataset, flow.summary()
    source = tr(SOURCE_TITLES[draft.source])
    if draft.source is SourceKind.FILE and draft.file_path:
        source = draft.file_path
    market = (
        MISSING if dataset is None else f"{dataset.symbol} · {dataset.timeframe.value} · {origin_title(dataset.origin)}"
    )
    first = last = bars = MISSING
    if summary is not None and summary.first_ns is not None and summary.last_ns is not None:
        first, last = date_text(summary.first_ns), date_text(summary.last_ns)
        bars = format_number(summary.bars)
    return ReviewGroup(
        tr("Data"),
        (
            (tr("Source"), source),
            (tr("Market"), market),
            (tr("Range (UTC)"), tr("{first} to {last}", first=first, last=last)),
            (tr("Bars"), bars),
        ),
    )


def _model_group(flow: TrainingFlow) -> ReviewGroup:
    draft = flow.draft
    timeframe = "" if flow.dataset is None else flow.dataset.timeframe.value
    chosen = next((texts for (name, _), texts in FEATURE_TEXTS.items() if name == draft.feature_set), (MISSING, ""))
    return ReviewGroup(
        tr("Model"),
        (
            (tr("Features"), tr(chosen[0])),
            (
                tr("Network"),
                tr(
                    "LSTM, {layers} × {hidden} units, dropout {dropout}",
                    layers=draft.layers,
                    hidden=draft.hidden_size,
                    dropout=draft.dropout,
                ),
            ),
            (
                tr("Forecast"),
                tr_count(
                    "{n} bar ahead ({time}), quantiles {quantiles}",
                    "{n} bars ahead ({time}), quantiles {quantiles}",
                    draft.horizon_bars,
                    time=bars_as_time(draft.horizon_bars, timeframe),
                    quantiles=quantile_text(QUANTILE_PRESETS[draft.quantiles]),
                ),
            ),
        ),
    )


def _split_group(flow: TrainingFlow) -> ReviewGroup:
    parts = ", ".join(part_title(part) for part in flow.split())
    effort = flow.estimate()
    counts = MISSING
    if effort is not None:
        counts = " / ".join(
            format_number(value) for value in (effort.train_targets, effort.valid_targets, effort.test_targets)
        )
    return ReviewGroup(
        tr("Validation"),
        (
            (tr("Split in time"), parts),
            (tr("Targets"), counts),
            (tr("Purge"), tr("{bars} bars at each border", bars=format_number(flow.draft.purge_bars))),
        ),
    )


def _run_group(flow: TrainingFlow) -> ReviewGroup:
    draft, device = flow.draft, flow.device
    threads = tr("automatic") if draft.threads == 0 else format_number(draft.threads)
    return ReviewGroup(
        tr("Run"),
        (
            (tr("Device"), MISSING if device is None else device.title.text()),
            (tr("CPU threads"), threads),
            (tr("Epochs"), tr("at most {epochs}", epochs=format_number(draft.epochs))),
            (tr("Learning rate"), draft.learning_rate),
            (tr("Seed"), format_number(draft.seed)),
            (tr("Duration"), duration_text(flow)),
        ),
    )
