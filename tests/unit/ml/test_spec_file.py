from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.candles import Timeframe
from core.errors import UserError
from ml.agents.run_spec import AgentSpec
from ml.feature_columns import parse_column
from ml.feature_spec import bound_columns, needed_series
from ml.spec import (
    DEVICES,
    HEADS,
    MODEL_KINDS,
    PRECISIONS,
    SCHEDULES,
    DataRange,
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    SeriesSource,
    SplitSpec,
    TrainingSpec,
)
from ml.spec_comments import COMMENTS
from ml.spec_file import read_mapping, read_run_spec, read_spec, spec_from_toml, spec_to_toml, write_spec

NS = 1_000_000_000
COLUMNS = (
    "RSI(timeperiod=21)",
    "return(horizon=24)@4h",
    "log_return@ETH/USDT",
    "BBANDS(timeperiod=20, nbdevup=2.5).upperband@1d",
    "volatility(window=5)",
    "funding(window=9).zscore",
    "onchain:active_addresses.change",
)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
hidden = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
names = st.text(st.characters(codec="utf-8", exclude_categories=hidden), min_size=1, max_size=12)
times = st.none() | st.integers(0, 4_000_000_000).map(lambda s: s * NS) | st.integers(-(2**62), 2**62)
ascending = st.lists(st.integers(1, 400), min_size=1, max_size=8, unique=True).map(lambda values: tuple(sorted(values)))


def shares(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def datas(draw: st.DrawFn) -> DataRange:
    start, end = draw(times), draw(times)
    if start is not None and end is not None and start >= end:
        start = None
    return DataRange(
        venue=draw(names),
        symbol=draw(names),
        timeframe=str(Timeframe.H1.value),
        start_ns=start,
        end_ns=end,
        source="store",
        markets=("ETH/USDT",),
        series=(
            SeriesSource("funding", draw(texts), draw(texts), draw(st.none() | shares(0, 1e6))),
            SeriesSource("onchain:active_addresses", draw(texts)),
        ),
    )


@st.composite
def specs(draw: st.DrawFn) -> ForecastSpec:
    columns = draw(st.lists(st.sampled_from(COLUMNS), unique=True))
    levels = draw(st.sampled_from([(0.05, 0.25, 0.5, 0.75, 0.95), (0.1, 0.5, 0.9), (1e-05, 0.5, 1 - 1e-05)]))
    return ForecastSpec(
        data=draw(datas()),
        features=FeatureSpec(
            draw(st.sampled_from(["price", "market", "technical", "custom"])),
            1,
            draw(ascending),
            draw(st.integers(8, 2_000)),
            tuple(map(parse_column, columns)),
        ),
        model=ModelSpec(
            draw(st.sampled_from(MODEL_KINDS)),
            draw(st.sampled_from(HEADS)),
            draw(st.integers(2, 1_024)),
            draw(st.integers(1, 8)),
            draw(shares(0, 0.9)),
            draw(st.booleans()),
            levels,
            draw(ascending),
            draw(shares(0.05, 3)),
        ),
        split=draw(
            st.builds(SplitSpec, shares(0.2, 0.6), shares(0.05, 0.3), st.integers(0, 10_000))
            | st.just(SplitSpec(valid_from="2022-01-01", test_from="2023-01-01T12:00"))
        ),
        training=draw(
            st.builds(
                TrainingSpec,
                epochs=st.integers(1, 10_000),
                learning_rate=shares(1e-6, 1),
                schedule=st.sampled_from(SCHEDULES),
                clip_norm=shares(1e-3, 1e3),
                batch_segments=st.integers(0, 4_096),
                segment_length=st.integers(64, 8_192),
                burn_in=st.integers(0, 32),
                seed=st.integers(0, 2**30),
            )
        ),
        evaluation=draw(
            st.builds(EvaluationSpec, st.integers(1, 100), st.booleans(), st.integers(0, 100), shares(0, 0.1))
        ),
        resources=draw(
            st.builds(
                ResourceSpec,
                st.sampled_from([*DEVICES, "cuda:1"]),
                st.integers(0, 256),
                st.sampled_from(PRECISIONS),
                shares(0.05, 0.95),
            )
        ),
    ).validate()


@settings(max_examples=150, deadline=None)
@given(specs(), st.booleans())
def test_a_configuration_is_read_as_it_was_written(spec: ForecastSpec, full: bool) -> None:
    assert spec_from_toml(spec_to_toml(spec, full=full)) == spec


def test_only_the_market_and_what_differs_is_written() -> None:
    text = spec_to_toml(ForecastSpec(model=ModelSpec(kind="gru", layers=2)))
    keys = [line.partition(" = ")[0] for line in text.splitlines() if " = " in line]
    assert keys == ["venue", "symbol", "timeframe", "name", "kind", "layers"]
    assert "layers = 2  # recurrent layers" in text.splitlines()
    everything = spec_to_toml(ForecastSpec(), full=True)
    unset = {"start_ns", "end_ns"}
    written = {line.partition(" = ")[0] for line in everything.splitlines() if " = " in line}
    assert written == {key for section in COMMENTS.values() for key in section} - unset


def test_every_key_has_a_comment() -> None:
    for section in dataclasses.fields(ForecastSpec):
        keys = {field.name for field in dataclasses.fields(getattr(ForecastSpec(), section.name))}
        assert set(COMMENTS[section.name]) == keys


def test_long_lists_stand_over_several_lines_and_dates_are_dates() -> None:
    columns = tuple(map(parse_column, COLUMNS[:4]))
    spec = ForecastSpec(
        data=DataRange(start_ns=1_640_995_200 * NS, end_ns=1_640_995_200 * NS + 1, markets=("ETH/USDT",)),
        features=FeatureSpec(columns=columns),
    )
    lines = spec_to_toml(spec).splitlines()
    assert "start_ns = 2022-01-01T00:00:00Z  # open time of the first bar" in lines
    assert any(line.startswith("end_ns = 1640995200000000001 ") for line in lines)
    assert '  "RSI(timeperiod=21)",' in lines
    assert len(bound_columns(spec_from_toml("\n".join(lines)).features)) == 4


def test_dates_may_be_written_as_people_do() -> None:
    spec = spec_from_toml(
        "[data]\nstart_ns = 2022-01-01\nend_ns = 2022-01-02T00:00:00\n[split]\nvalid_from = 2022-01-01\n"
        'test_from = "2023-01-01"\n'
    )
    assert (spec.data.start_ns, spec.data.end_ns) == (1_640_995_200 * NS, 1_641_081_600 * NS)
    assert (spec.split.valid_from, spec.split.test_from) == ("2022-01-01", "2023-01-01")
    assert needed_series(spec.features) == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[model", "run.toml is no valid TOML"),
        ("[oracle]\nx = 1", "section 'oracle'"),
        ("model = 3", "section 'model'"),
        ("[model]\nsize = 3", "model.size is not known"),
        ("[model]\nlayers = 2022-01-01", "model.layers must be a whole number"),
        ('[features]\ncolumns = ["RSI 14"]', "no feature column"),
    ],
)
def test_a_wrong_file_is_refused_with_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(UserError, match=sentence.replace("[", r"\[")):
        read_spec(tmp_path / "run.toml")


def test_files_are_written_and_read(tmp_path: Path) -> None:
    spec = ForecastSpec(data=DataRange(source="bars/비트코인.csv"))
    write_spec(tmp_path / "run.toml", spec)
    assert read_spec(tmp_path / "run.toml") == spec
    with pytest.raises(UserError, match="cannot be read"):
        read_spec(tmp_path / "other.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="no valid TOML"):
        read_spec(tmp_path / "binary.toml")
    with pytest.raises(UserError, match="cannot hold a name"):
        write_spec(tmp_path / "run.toml", ForecastSpec(data=DataRange(source="\udcff.csv")))
    assert read_spec(tmp_path / "run.toml") == spec


def test_the_window_can_import_it() -> None:
    code = "import sys, ml.spec_file; print([m for m in ('numpy', 'torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lists_in_lists_without_end_are_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "deep.toml"
    file.write_text("a = " + "[" * 5_000, encoding="utf-8")
    with pytest.raises(UserError, match=r"deep\.toml is nested too deeply"):
        read_mapping(file)


@pytest.mark.parametrize(
    "text", ["[algorithm]\nkind = 'sac'\n", "[environment]\nlowest = 0.0\n", "[encoder]\nseeds = 2\n"]
)
def test_a_configuration_is_of_an_agent_where_a_section_is_that_only_those_have(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, "utf-8")
    assert isinstance(read_run_spec(path), AgentSpec)
    path.write_text("[data]\nsymbol = 'ETH/USDT'\n[evaluation]\nseeds = 2\n", "utf-8")
    assert isinstance(read_run_spec(path), ForecastSpec)
    for written in (ForecastSpec(), AgentSpec()):
        write_spec(path, written)
        assert read_run_spec(path) == written
