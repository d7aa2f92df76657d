"""The training wizard's steps without a window: checks, ranges, and the specification they end in."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.flows.datasets import (
    DatasetGap,
    SourceKind,
    dataset_from_frame,
    date_text,
    device_options,
)
from app.flows.training_draft import QUANTILE_PRESETS, TrainingDraft, instant_of
from app.flows.training_flow import STEPS, Step, TrainingFlow
from app.flows.training_split import PartName
from app.flows.typed_numbers import plain_text
from app.i18n import Language, set_language
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, practice_origin
from core.errors import UserError
from ml.api import DataRange, ForecastSpec, SeriesSource, minimum_bars
from ml.spec_file import spec_from_toml, spec_to_toml
from tests.unit.flows.training_kit import HOUR, PRACTICE, START, catalogue, dataset, extent, flow, sentence


def test_defaults_are_complete_and_equal_the_default_specification() -> None:
    built = flow()
    assert [sentence(built, step) for step in STEPS] == [""] * 7
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
        (Step.FEATURES, {"look_backs": "4, 2"}, "ascending"),
        (Step.FEATURES, {"look_backs": "1,,2"}, "ascending"),
        (Step.FEATURES, {"columns": ("RSI(",)}, "no feature column"),
        (Step.FEATURES, {"columns": ("RSX",)}, "is not known"),
        (Step.FEATURES, {"columns": ("RSI(timeperiod=1)",)}, "timeperiod cannot be 1"),
        (Step.FEATURES, {"columns": ("RSI", "RSI")}, "is there twice"),
        (Step.FEATURES, {"columns": ("RSI@5m",)}, "cannot be made of bars of 1h"),
        (
            Step.FEATURES,
            {"columns": ("RSI@SOL/USDT",)},
            "looks at SOL/USDT, of which no 1h bars are stored",
        ),
        (Step.FEATURES, {"columns": ("RSI@BTC/USDT",)}, "write the column without @BTC/USDT"),
        (Step.FEATURES, {"columns": ("RSI(timeperiod=14)@1d",)}, "with it these settings need 8,508 bars"),
        (Step.FEATURES, {"columns": ("funding",)}, "needs the series “funding”"),
        (Step.DATA, {"markets": ("SOL/USDT",)}, "No 1h bars of SOL/USDT are stored"),
        (Step.DATA, {"series": (SeriesSource("funding", "f.csv"),)}, "“funding” is being read"),
        (Step.FEATURES, {"window": 3}, "8 to 2,000"),
        (Step.MODEL, {"hidden_size": 1}, "2 to 1,024"),
        (Step.MODEL, {"layers": 9}, "1 to 8"),
        (Step.MODEL, {"dropout": "x"}, "not part of a number"),
        (Step.MODEL, {"dropout": ""}, "0 to 0.9"),
        (Step.MODEL, {"dropout": "0.95"}, "0 to 0.9"),
        (Step.MODEL, {"horizons": "0"}, "1 to 500"),
        (Step.MODEL, {"horizons": "4, 1"}, "ascending"),
        (Step.MODEL, {"horizons": "501"}, "1 to 500"),
        (Step.MODEL, {"horizons": ",".join(str(bars) for bars in range(1, 18))}, "up to 16"),
        (Step.MODEL, {"flat_band": "4"}, "0.05 to 3"),
        (Step.MODEL, {"quantile_levels": (0.1, 0.5)}, "quantile levels"),
        (Step.MODEL, {"head": "crystal"}, "head"),
        (Step.EVALUATION, {"train_percent": "10"}, "20 to 90"),
        (Step.EVALUATION, {"valid_percent": "2"}, "5 to 50"),
        (Step.EVALUATION, {"train_percent": "80", "valid_percent": "20"}, "at least 4 %"),
        (Step.EVALUATION, {"purge_bars": -1}, "0 to 10,000"),
        (Step.EVALUATION, {"purge_bars": 5_000}, "at least"),
        (Step.RESOURCES, {"device": "abacus"}, "no device abacus"),
        (Step.RESOURCES, {"device": "cuda"}, "No NVIDIA GPU"),
        (Step.EVALUATION, {"train_percent": "7o"}, "not part of a number"),
        (Step.EVALUATION, {"by_date": True, "valid_from": "soon"}, "Choose the day"),
        (
            Step.EVALUATION,
            {"by_date": True, "valid_from": "2024-09-01", "test_from": "2024-08-01"},
            "after the validation",
        ),
        (
            Step.EVALUATION,
            {"by_date": True, "valid_from": "2023-09-01", "test_from": "2024-08-01"},
            "after the first bar",
        ),
        (
            Step.EVALUATION,
            {"by_date": True, "valid_from": "2024-08-01", "test_from": "2026-08-01"},
            "before the last bar",
        ),
        (Step.EVALUATION, {"by_date": True, "valid_from": "2024-01-02", "test_from": "2024-08-01"}, "at least"),
        (Step.EVALUATION, {"seeds": 0}, "1 to 100"),
        (Step.EVALUATION, {"cost_percent": "11"}, "0 to 10"),
        (Step.EVALUATION, {"permutation_repeats": 101}, "0 to 100"),
        (Step.RESOURCES, {"threads": 257}, "0 to 256"),
        (Step.RESOURCES, {"memory_percent": "99"}, "5 to 95"),
        (Step.RESOURCES, {"device": "cuda:3"}, "no device cuda:3"),
        (Step.TRAINING, {"epochs": 0}, "1 to 10,000"),
        (Step.TRAINING, {"patience": 0}, "1 to 10,000"),
        (Step.TRAINING, {"seed": -1}, "The seed must be"),
        (Step.TRAINING, {"learning_rate": "0"}, "0.000001 to 1"),
        (Step.TRAINING, {"learning_rate": "1e-9"}, "0.000001 to 1"),
        (Step.TRAINING, {"learning_rate": "1e-"}, "exponent"),
        (Step.TRAINING, {"clip_norm": "0"}, "0.001 to 1000"),
        (Step.TRAINING, {"weight_decay": "11"}, "0 to 10"),
        (Step.TRAINING, {"batch_segments": 5_000}, "0 to 4,096"),
        (Step.TRAINING, {"segment_length": 8}, "16 to 8,192"),
        (Step.TRAINING, {"burn_in": 5_000}, "0 to 4,096"),
        (Step.TRAINING, {"burn_in": 200}, "more than half"),
    ],
)
def test_each_step_names_its_problem_in_one_sentence(step: Step, changes: dict[str, object], words: str) -> None:
    built = flow(**changes)
    text = sentence(built, step)
    assert words in text
    assert text.endswith((".", "?"))
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
    parts = flow(train_percent="60", valid_percent="20").split()
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
    assert "at least" in sentence(tight, Step.EVALUATION)


def test_presets_and_horizons_reach_the_specification() -> None:
    for levels in QUANTILE_PRESETS:
        assert flow(quantile_levels=levels).spec().model.quantile_levels == levels
    assert flow(horizons="1, 4,24").spec().model.horizons == (1, 4, 24)


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


# --- every entry of a specification -------------------------------------------------------------------------------


def test_several_devices() -> None:
    options = {item.device: item for item in device_options(["GPU A", "GPU B"], apple=False)}
    assert list(options) == ["auto", "cpu", "cuda", "cuda:0", "cuda:1"]
    assert "GPU B" in options["cuda:1"].reason.text()
    assert "most free memory" in options["auto"].reason.text()
    assert [item.device for item in device_options([], apple=True)][-1] == "mps"


def test_problem_names_the_field_it_is_about() -> None:
    for step, changes, field in (
        (Step.MODEL, {"dropout": "0,2"}, "dropout"),
        (Step.TRAINING, {"burn_in": 200}, "burn_in"),
        (Step.FEATURES, {"columns": ("RSX",)}, "columns"),
        (Step.DATA, {"whole_range": False, "start_date": "2024-02-01", "end_date": "2024-01-01"}, "end_date"),
    ):
        problem = flow(**changes).problem(step)
        assert problem is not None
        assert problem.field == field
        assert hasattr(TrainingDraft(), problem.field)


def test_columns_wait_for_the_catalogue_and_other_features_do_not() -> None:
    built = TrainingFlow((dataset(),), device_options([]))
    assert built.problem(Step.FEATURES) is None
    built.update(feature_set="technical")
    assert "being read" in sentence(built, Step.FEATURES)
    assert built.estimate() is None
    built.set_catalogue(UserError("TA-Lib is damaged.", "Install it again."))
    assert sentence(built, Step.FEATURES) == "TA-Lib is damaged. Install it again."
    built.set_catalogue(catalogue())
    assert sentence(built, Step.FEATURES) == ""
    assert built.estimate() is not None


def test_warm_up_and_size_follow_the_columns() -> None:
    plain, more = flow(), flow(columns=("RSI(timeperiod=14)@4h",))
    assert plain.warm_up() == 48
    assert (more.warm_up() or 0) > 48
    assert (more.parameters() or 0) > (plain.parameters() or 0) > 0
    assert flow(columns=("RSX",)).warm_up() is None
    assert flow(dropout="").parameters() is None


def test_other_markets_are_those_stored_beside_the_own_one() -> None:
    stored = (dataset(), dataset("ETH/USDT"), dataset("SOL/USDT", Timeframe.H4), dataset("XRP/USDT", origin=PRACTICE))
    built = flow(*stored, dataset(kind=SourceKind.PRACTICE, origin=PRACTICE))
    assert built.other_markets() == ("ETH/USDT",)
    built.update(markets=("ETH/USDT",), columns=("log_return@ETH/USDT",))
    assert built.spec().data.markets == ("ETH/USDT",)
    built.update(markets=())
    assert "log_return@ETH/USDT looks at ETH/USDT: tick it" in sentence(built, Step.FEATURES)
    built.update(source=SourceKind.PRACTICE)
    assert built.other_markets() == ()
    assert "stored candles" in sentence(built, Step.FEATURES)
    built.update(columns=())
    assert built.spec().data.markets == ()


def test_series_are_checked_once_and_named_once() -> None:
    funding = SeriesSource("funding", "f.csv", "rate", 60.0)
    built = flow(series=(funding,), columns=("funding.level",))
    assert built.unchecked_series() == (funding,)
    built.set_series(funding, UserError("f.csv is damaged.", "Get it again."))
    assert sentence(built, Step.DATA) == "f.csv is damaged. Get it again."
    built.set_series(funding, extent())
    assert built.unchecked_series() == ()
    assert built.spec().data.series == (funding,)
    twice = dataclasses.replace(funding, path="g.csv")
    built.set_series(twice, extent())
    built.update(series=(funding, twice))
    assert "twice" in sentence(built, Step.DATA)


def test_dates_are_suggested_by_the_shares_and_kept() -> None:
    built = flow(by_date=True)
    draft = built.draft
    assert (draft.valid_from, draft.test_from) == ("2024-08-21", "2024-10-10")
    assert built.spec().split.borders_ns is not None
    shares = [part.share for part in built.split()]
    assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.01)
    by_shares, by_dates = flow().estimate(), built.estimate()
    assert by_shares is not None
    assert by_dates is not None
    assert by_dates.train_targets == pytest.approx(by_shares.train_targets, rel=0.01)
    built.update(valid_from="2024-06-01")
    built.update(by_date=False)
    assert built.spec().split.borders_ns is None
    built.update(by_date=True)
    assert built.draft.valid_from == "2024-06-01"


def test_borders_follow_to_a_history_they_do_not_lie_in() -> None:
    built = flow(dataset(), dataset("ETH/USDT", bars=7_000), dataset("XRP/USDT", bars=7_990))
    built.update(by_date=True, valid_from="2024-07-01", test_from="2024-11-01")
    built.update(symbol="XRP/USDT")
    assert (built.draft.valid_from, built.draft.test_from) == ("2024-07-01", "2024-11-01")
    built.update(symbol="ETH/USDT")
    assert sentence(built, Step.EVALUATION) == ""
    assert built.draft.test_from < "2024-10-01"


FUNDING = SeriesSource("funding", "funding.csv", "rate", 30.0)
STORED = (dataset(bars=9_000), dataset("ETH/USDT", bars=8_500), dataset(timeframe=Timeframe.M15, bars=36_000))
FILE = dataset("SOL/USDT", kind=SourceKind.FILE, path="/data/sol.feather")
PRACTISED = dataset(kind=SourceKind.PRACTICE, origin=PRACTICE, bars=9_000)


def _decimals(low: float, high: float, places: int = 4) -> st.SearchStrategy[str]:
    return st.decimals(str(low), str(high), places=places).map(float).map(plain_text)


VALID: dict[str, st.SearchStrategy[object]] = {
    "source": st.sampled_from([SourceKind.STORE, SourceKind.PRACTICE]),
    "symbol": st.sampled_from(["BTC/USDT", "ETH/USDT"]),
    "timeframe": st.sampled_from(["15m", "1h"]),
    "whole_range": st.booleans(),
    "start_date": st.dates(date(2024, 1, 1), date(2024, 1, 31)).map(str),
    "end_date": st.dates(date(2024, 12, 10), date(2024, 12, 31)).map(str),
    "series": st.sampled_from([(), (FUNDING,)]),
    "feature_set": st.sampled_from(["price", "market", "technical", "custom"]),
    "look_backs": st.lists(st.integers(1, 60), min_size=1, max_size=6, unique=True).map(
        lambda bars: ", ".join(str(bar) for bar in sorted(bars))
    ),
    "window": st.integers(8, 100),
    "columns": st.sampled_from(
        [
            (),
            ("SMA(timeperiod=30)",),
            ("log_return@4h", "BBANDS(timeperiod=10).upperband"),
            ("funding(window=3).zscore",),
        ]
    ),
    "kind": st.sampled_from(["lstm", "gru"]),
    "head": st.sampled_from(["quantile", "student_t", "classes"]),
    "horizons": st.sampled_from(["1", "1, 4, 24", "12"]),
    "hidden_size": st.integers(2, 1_024),
    "layers": st.integers(1, 8),
    "dropout": _decimals(0, 0.9),
    "layer_norm": st.booleans(),
    "quantile_levels": st.sampled_from([*QUANTILE_PRESETS, (0.01, 0.5, 0.99)]),
    "flat_band": _decimals(0.05, 3),
    "epochs": st.integers(1, 10_000),
    "patience": st.integers(1, 10_000),
    "seed": st.integers(0, 2**31 - 101),
    "learning_rate": _decimals(0.000001, 1, 6),
    "schedule": st.sampled_from(["one_cycle", "cosine", "constant"]),
    "clip_norm": _decimals(0.001, 1_000, 3),
    "weight_decay": _decimals(0, 10),
    "batch_segments": st.integers(0, 4_096),
    "segment_length": st.integers(64, 512),
    "burn_in": st.integers(0, 32),
    "by_date": st.booleans(),
    "train_percent": _decimals(50, 70, 3),
    "valid_percent": _decimals(10, 20, 3),
    "valid_from": st.sampled_from(["2024-06-01", "2024-07-01T12:00"]),
    "test_from": st.sampled_from(["2024-09-01", "2024-10-01"]),
    "purge_bars": st.integers(0, 48),
    "seeds": st.integers(1, 100),
    "boosting": st.booleans(),
    "permutation_repeats": st.integers(0, 100),
    "cost_percent": _decimals(0, 10),
    "device": st.sampled_from(["auto", "cpu"]),
    "precision": st.sampled_from(["auto", "float32", "tf32", "bf16"]),
    "threads": st.integers(0, 256),
    "memory_percent": _decimals(5, 95, 3),
}


def _everything(draft: TrainingDraft | None = None) -> TrainingFlow:
    built = TrainingFlow((*STORED, PRACTISED), device_options([]), draft, catalogue())
    built.set_series(FUNDING, extent())
    return built


def _meant(draft: TrainingDraft) -> TrainingDraft:
    """Leave out what a specification does not hold: entries that a switch puts out of use."""
    if draft.whole_range or draft.source is SourceKind.PRACTICE:  # there both ways name the same instants
        draft = dataclasses.replace(draft, whole_range=True, start_date="", end_date="")
    if not draft.by_date:
        draft = dataclasses.replace(draft, valid_from="", test_from="")
    return draft if "funding" in str(draft.columns) else dataclasses.replace(draft, series=())


def test_every_entry_of_a_draft_is_tried() -> None:
    untried = {field.name for field in dataclasses.fields(TrainingDraft)} - set(VALID)
    # Chosen with the market, and below, and in the tests of agents.
    assert untried == {"origin", "file_path", "markets", "agent"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(sorted(VALID)).flatmap(lambda name: st.tuples(st.just(name), VALID[name])), max_size=40)
)
def test_any_valid_entries_make_a_specification_that_reloads_into_the_same_entries(
    changes: list[tuple[str, object]],
) -> None:
    built = _everything()
    for name, value in changes:
        built.update(**{name: value})
    # Of two dates one may stand before the other's proposal; that is told, and no specification.
    assume(not built.draft.by_date or instant_of(built.draft.valid_from) < instant_of(built.draft.test_from))
    assume(built.draft.series or "funding" not in str(built.draft.columns))
    assert sentence(built, Step.REVIEW) == ""
    spec = built.spec()
    assert spec.validate() == spec
    assert spec.unused_data() == ()
    for full in (False, True):
        assert spec_from_toml(spec_to_toml(spec, full=full)) == spec
    again = _everything()
    again.load(spec_from_toml(spec_to_toml(spec)))
    assert _meant(again.draft) == _meant(built.draft)
    assert sentence(again, Step.REVIEW) == ""
    assert again.spec() == spec


def test_a_loaded_market_that_is_not_there_is_named_and_kept() -> None:
    built = _everything()
    built.load(ForecastSpec(data=DataRange(symbol="DOGE/USDT", timeframe="4h")))
    assert sentence(built, Step.DATA) == "There are no 4h bars of DOGE/USDT here: choose another market."
    built.set_datasets((*STORED, PRACTISED))
    assert built.draft.symbol == "DOGE/USDT"
    built.set_datasets((*STORED, dataset("DOGE/USDT", Timeframe.H4)))
    assert built.spec().data.symbol == "DOGE/USDT"


def test_a_loaded_file_keeps_its_range_and_is_looked_into_again() -> None:
    chosen = DataRange(
        "bybit", "SOL/USDT", "1h", START + 5 * HOUR, START + 7_000 * HOUR + HOUR // 2, "/data/sol.feather"
    )
    built = _everything()
    built.load(ForecastSpec(data=chosen))
    assert (built.draft.source, built.draft.file_path) == (SourceKind.FILE, "/data/sol.feather")
    assert "being read" in sentence(built, Step.DATA)
    built.set_file("/data/sol.feather", FILE)
    assert built.spec().data == chosen
    built.update(file_path="/data/other.feather")
    built.set_file("/data/other.feather", dataclasses.replace(FILE, path="/data/other.feather"))
    assert built.draft.start_date == "2024-01-01"


def test_a_loaded_practice_market_is_fetched_again_only_where_the_exchange_runs() -> None:
    built = _everything()
    built.update(source=SourceKind.PRACTICE)
    spec = built.spec()
    again = _everything()
    again.load(spec)
    assert (again.draft.source, again.draft.whole_range) == (SourceKind.PRACTICE, True)
    without = TrainingFlow(STORED, device_options([]), catalogue=catalogue())
    without.load(spec)
    assert without.draft.source is SourceKind.STORE
    assert "There are no 1h bars" in sentence(without, Step.DATA)
