"""The training wizard's steps without a window: checks, ranges, and the specification they end in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from app.flows.datasets import Dataset, DatasetGap, SourceKind, dataset_from_frame, date_text, device_options
from app.flows.training_flow import (
    QUANTILE_PRESETS,
    STEPS,
    PartName,
    Step,
    TrainingDraft,
    TrainingFlow,
    parse_horizons,
)
from app.i18n import Language, set_language
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, DataOrigin, practice_origin
from core.errors import UserError
from ml.api import ForecastSpec, minimum_bars

HOUR = Timeframe.H1.ns
PRACTICE = practice_origin("synthetic-1")
START = 1_704_067_200_000_000_000  # 2024-01-01 00:00 UTC


def dataset(
    symbol: str = "BTC/USDT",
    timeframe: Timeframe = Timeframe.H1,
    bars: int = 8_000,
    kind: SourceKind = SourceKind.STORE,
    origin: DataOrigin = BINANCE,
    path: str = "",
) -> Dataset:
    return Dataset(kind, origin, symbol, timeframe, START, START + (bars - 1) * timeframe.ns, bars, path=path)


def flow(*datasets: Dataset, **changes: object) -> TrainingFlow:
    built = TrainingFlow(datasets or (dataset(),), device_options([]))
    built.update(**changes)
    return built


def sentence(built: TrainingFlow, step: Step) -> str:
    problem = built.problem(step)
    return "" if problem is None else problem.text()


def test_defaults_are_complete_and_equal_the_default_specification() -> None:
    built = flow()
    assert [sentence(built, step) for step in STEPS] == [""] * 6
    spec = built.spec()
    default = ForecastSpec()
    assert spec.data.source == "store"
    assert (spec.data.start_ns, spec.data.end_ns) == (None, None)
    assert dataclasses.replace(spec, data=default.data) == default
    assert ForecastSpec.from_json(spec.to_json()) == spec


def test_walks_forward_and_back_without_losing_anything() -> None:
    built = flow()
    built.update(hidden_size=48, dropout="0,2", epochs=7)
    assert built.next() is None
    assert built.next() is None
    assert built.step is Step.MODEL
    problem = built.next()
    assert problem is not None
    assert "ambiguous" in problem.text()
    assert built.step is Step.MODEL
    built.back()
    built.back()
    built.back()
    assert built.step is Step.DATA
    assert (built.draft.dropout, built.draft.hidden_size) == ("0,2", 48)
    built.update(dropout="0.2")
    for _ in range(9):
        assert built.next() is None
    assert built.step is Step.REVIEW
    spec = built.spec()
    assert (spec.model.dropout, spec.model.hidden_size, spec.training.epochs) == (0.2, 48, 7)


@pytest.mark.parametrize(
    ("step", "changes", "words"),
    [
        (Step.DATA, {"whole_range": False, "start_date": "2024-02-01", "end_date": "2024-01-01"}, "ends before"),
        (Step.DATA, {"whole_range": False, "start_date": "2030-01-01", "end_date": "2030-02-01"}, "no bars"),
        (Step.DATA, {"whole_range": False, "start_date": "2024-01-01", "end_date": "2024-01-09"}, "at least"),
        (Step.DATA, {"source": SourceKind.FILE}, "Choose a CSV"),
        (Step.DATA, {"source": SourceKind.FILE, "file_path": "a.csv"}, "being read"),
        (Step.DATA, {"source": SourceKind.PRACTICE}, "not running"),
        (Step.FEATURES, {"feature_set": "magic"}, "Choose a feature set"),
        (Step.FEATURES, {"horizons": "4, 2"}, "ascending"),
        (Step.FEATURES, {"horizons": "1,,2"}, "ascending"),
        (Step.FEATURES, {"window": 3}, "8 to 2,000"),
        (Step.MODEL, {"hidden_size": 1}, "2 to 1,024"),
        (Step.MODEL, {"layers": 9}, "1 to 8"),
        (Step.MODEL, {"dropout": "x"}, "not part of a number"),
        (Step.MODEL, {"dropout": ""}, "0 to 0.9"),
        (Step.MODEL, {"dropout": "0.95"}, "0 to 0.9"),
        (Step.MODEL, {"horizon_bars": 0}, "1 to 500"),
        (Step.VALIDATION, {"train_percent": 10}, "20 to 90"),
        (Step.VALIDATION, {"valid_percent": 2}, "5 to 50"),
        (Step.VALIDATION, {"train_percent": 80, "valid_percent": 20}, "at least 4 %"),
        (Step.VALIDATION, {"purge_bars": -1}, "0 to 10,000"),
        (Step.VALIDATION, {"purge_bars": 5_000}, "at least"),
        (Step.RESOURCES, {"device": "abacus"}, "Choose a device"),
        (Step.RESOURCES, {"device": "cuda"}, "No NVIDIA GPU"),
        (Step.RESOURCES, {"epochs": 0}, "1 to 10,000"),
        (Step.RESOURCES, {"learning_rate": "0"}, "0.000001 to 1"),
        (Step.RESOURCES, {"learning_rate": "1e-3"}, "exponent"),
    ],
)
def test_each_step_names_its_problem_in_one_sentence(step: Step, changes: dict[str, object], words: str) -> None:
    built = flow(**changes)
    text = sentence(built, step)
    assert words in text
    assert text.endswith(".")
    assert sentence(built, Step.REVIEW)
    with pytest.raises(UserError):
        built.spec()


def test_without_any_history_the_practice_exchange_is_chosen() -> None:
    practice = dataset(kind=SourceKind.PRACTICE, origin=PRACTICE)
    built = flow(practice)
    assert built.draft.source is SourceKind.PRACTICE
    data = built.spec().data
    assert (data.origin, data.start_ns, data.end_ns) == (PRACTICE, START, START + 8_000 * HOUR)
    empty = TrainingFlow((), device_options([]))
    assert "No candles are stored" in sentence(empty, Step.DATA)
    empty.set_datasets([dataset()])
    assert sentence(empty, Step.DATA) == ""


def test_changing_the_market_keeps_what_exists_and_resets_the_range() -> None:
    built = flow(
        dataset(), dataset(timeframe=Timeframe.M15, bars=20_000), dataset("ETH/USDT", Timeframe.H4, bars=3_000)
    )
    assert (built.draft.symbol, built.draft.timeframe) == ("BTC/USDT", "15m")  # the longest
    assert built.markets() == (("BTC/USDT", BINANCE), ("ETH/USDT", BINANCE))
    assert built.timeframes() == ("15m", "1h")
    built.update(whole_range=False, start_date="2024-03-01")
    built.update(symbol="ETH/USDT")
    assert built.draft.timeframe == "4h"
    assert built.draft.start_date == "2024-01-01"
    built.update(source=SourceKind.PRACTICE)
    built.update(source=SourceKind.STORE)
    assert built.draft.symbol == "ETH/USDT"
    assert sentence(built, Step.DATA) == ""


def test_date_range_includes_both_days() -> None:
    built = flow(whole_range=False, start_date="2024-01-02", end_date="2024-06-30")
    spec = built.spec()
    assert spec.data.start_ns == START + 24 * HOUR
    assert spec.data.end_ns is not None
    assert date_text(spec.data.end_ns) == "2024-07-01"
    summary = built.summary()
    assert summary is not None
    assert summary.bars == 181 * 24
    assert summary.last_ns == spec.data.end_ns - HOUR


def test_gaps_are_counted_inside_the_range_only() -> None:
    gap = DatasetGap(START + 10 * HOUR, START + 20 * HOUR, 10)
    data = dataclasses.replace(dataset(bars=100), gaps=(gap,), bars=90)
    assert data.between(None, None).missing == 10
    assert data.between(None, None).bars == 90
    part = data.between(START + 15 * HOUR, START + 30 * HOUR)
    assert (part.bars, part.gaps, part.missing) == (10, 1, 5)
    assert data.between(START + 20 * HOUR, None).gaps == 0
    odd = data.between(START + HOUR // 2, START + 2 * HOUR + 1)
    assert (odd.bars, odd.first_ns, odd.last_ns) == (2, START + HOUR, START + 2 * HOUR)


def test_file_is_described_from_its_bars(tmp_path: Path) -> None:
    times = START + np.arange(6_000, dtype=np.int64) * HOUR
    price = np.linspace(1.0, 2.0, 6_000)
    keep = np.ones(6_000, np.bool_)
    keep[100:110] = False
    frame = CandleFrame(
        times, price, price, price, price, np.ones(6_000), np.ones(6_000, np.bool_), "ETH/USDT", Timeframe.H1
    ).select(keep)
    described = dataset_from_frame(frame, SourceKind.FILE, "binance", "x.feather")
    assert (described.bars, described.gaps[0].missing, len(described.closes)) == (5_990, 10, 240)
    with pytest.raises(UserError):
        dataset_from_frame(frame.slice(0, 0), SourceKind.FILE, "binance")
    built = flow(source=SourceKind.FILE, file_path="x.feather")
    built.set_file("other.feather", described)
    assert "being read" in sentence(built, Step.DATA)
    built.set_file("x.feather", described)
    spec = built.spec()
    assert (spec.data.source, spec.data.symbol) == ("x.feather", "ETH/USDT")
    built.update(file_path="y.csv")
    built.set_file("y.csv", UserError("y.csv is damaged.", "Get the file again."))
    assert sentence(built, Step.DATA) == "y.csv is damaged. Get the file again."


def test_split_dates_follow_the_range() -> None:
    parts = flow(train_percent=60, valid_percent=20).split()
    assert [part.name for part in parts] == [PartName.TRAIN, PartName.VALID, PartName.TEST]
    assert sum(part.share for part in parts) == pytest.approx(1.0)
    assert parts[0].start_ns == START
    assert parts[0].end_ns == parts[1].start_ns
    assert parts[2].end_ns == START + 7_999 * HOUR
    assert all(part.start_ns is None for part in TrainingFlow((), ()).split())


def test_estimate_grows_with_the_work_and_is_absent_while_something_is_wrong() -> None:
    small, large = flow().estimate(), flow(epochs=200).estimate()
    assert small is not None
    assert large is not None
    assert large.seconds > small.seconds > 0
    assert flow(learning_rate="").estimate() is None


def test_bars_needed_follow_later_settings() -> None:
    data = dataset(bars=2_000)
    assert sentence(flow(data), Step.DATA) == ""
    assert minimum_bars(flow(data).spec()) <= 2_000
    tight = flow(data, purge_bars=900)
    assert "at least" in sentence(tight, Step.VALIDATION)


def test_presets_and_horizons_are_valid() -> None:
    for index in range(len(QUANTILE_PRESETS)):
        assert flow(quantiles=index).spec().model.quantile_levels == QUANTILE_PRESETS[index]
    assert parse_horizons("1, 2,4") == (1, 2, 4)
    assert parse_horizons("") is None
    assert parse_horizons("0, 1") is None
    assert parse_horizons("1, 3000") is None
    assert parse_horizons("٣") is None


def test_devices_with_and_without_gpu() -> None:
    without, with_gpu = device_options([]), device_options(["GPU A, 8 GiB, driver 1"])
    assert [item.available for item in without] == [True, True, False]
    assert all(item.available for item in with_gpu)
    assert "GPU A" in with_gpu[0].reason.text()
    built = TrainingFlow((dataset(),), with_gpu, TrainingDraft(symbol="BTC/USDT", timeframe="1h", device="cuda"))
    assert built.spec().resources.device == "cuda"


def test_sentences_are_translated() -> None:
    built = flow(source=SourceKind.FILE)
    set_language(Language.KOREAN)
    assert sentence(built, Step.DATA) != "Choose a CSV, Feather or Parquet file with candles."


def test_one_market_of_several_origins_is_offered_once_for_each() -> None:
    other = practice_origin("synthetic-9")
    stored = (
        dataset(bars=6_000),
        dataset(bars=30_000, origin=PRACTICE),
        dataset(timeframe=Timeframe.M5, bars=500, origin=PRACTICE),
        dataset(bars=7_000, origin=other),
    )
    built = flow(*stored, dataset(kind=SourceKind.PRACTICE, origin=PRACTICE))
    assert (built.draft.source, built.draft.origin) == (SourceKind.STORE, BINANCE)  # though another one is longer
    assert built.markets() == (("BTC/USDT", BINANCE), ("BTC/USDT", PRACTICE), ("BTC/USDT", other))
    assert built.timeframes() == ("1h",)
    assert built.spec().data.origin == BINANCE
    built.update(symbol="BTC/USDT", origin=PRACTICE)
    assert built.timeframes() == ("5m", "1h")
    assert (built.spec().data.origin, built.dataset) == (PRACTICE, stored[1])
    built.update(source=SourceKind.PRACTICE)
    assert built.spec().data.origin == PRACTICE
    built.update(source=SourceKind.STORE)
    assert built.spec().data.origin == BINANCE  # the invented bars chosen there are no wish for here


def test_without_real_bars_the_practice_exchange_comes_before_what_was_stored_of_it() -> None:
    built = flow(dataset(bars=30_000, origin=PRACTICE), dataset(kind=SourceKind.PRACTICE, origin=PRACTICE))
    assert built.draft.source is SourceKind.PRACTICE
    built.set_datasets([dataset(kind=SourceKind.PRACTICE, origin=practice_origin("synthetic-9"))])
    assert built.spec().data.venue == "practice-synthetic-9"  # the exchange was started with another market
