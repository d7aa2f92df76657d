from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.candles import Timeframe
from core.errors import UserError
from ml.api import DataRange, FeatureColumn, FeatureSpec, ForecastSpec, Parameter, parse_column, spec_from_mapping
from ml.column_kinds import bind, native_kinds
from ml.features import FeaturePipeline

identifiers = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
columns = st.builds(
    FeatureColumn,
    name=st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}(:[A-Za-z0-9_-]{1,8})?", fullmatch=True),
    parameters=st.lists(
        st.builds(Parameter, identifiers, st.floats(allow_nan=False, allow_infinity=False)),
        max_size=3,
        unique_by=lambda parameter: parameter.name,
    ).map(tuple),
    output=st.just("") | identifiers,
    symbol=st.just("") | st.from_regex(r"[0-9A-Z.-]{1,6}/[0-9A-Z.-]{1,6}(:[0-9A-Z.-]{1,6})?", fullmatch=True),
    timeframe=st.sampled_from(["", *Timeframe]).map(str),
)


@given(columns)
def test_a_column_is_what_its_text_says(column: FeatureColumn) -> None:
    assert parse_column(str(column)) == column
    assert FeatureColumn.from_json(column.to_json()) == column


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("RSI(timeperiod=14)", FeatureColumn("RSI", (Parameter("timeperiod", 14.0),))),
        ("return(horizon=24)@4h", FeatureColumn("return", (Parameter("horizon", 24.0),), timeframe="4h")),
        ("log_return@ETH/USDT", FeatureColumn("log_return", symbol="ETH/USDT")),
        (
            "BBANDS(timeperiod=20, nbdevup=2.5).upperband@1d@ETH/USDT:USDT",
            FeatureColumn(
                "BBANDS",
                (Parameter("timeperiod", 20.0), Parameter("nbdevup", 2.5)),
                "upperband",
                "ETH/USDT:USDT",
                "1d",
            ),
        ),
        ("onchain:active_addresses.change", FeatureColumn("onchain:active_addresses", output="change")),
    ],
)
def test_texts_people_write(text: str, column: FeatureColumn) -> None:
    assert parse_column(text) == column


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RSI(",
        "RSI(14)",
        "RSI(timeperiod=)",
        "RSI(timeperiod=nan)",
        "RSI(timeperiod=1, timeperiod=2)",
        "RSI@4h@1d",
        "RSI@ETH/USDT@BTC/USDT",
        "RSI@7h",
        "RSI.upper.lower",
        "RSI 14",
        "@4h",
    ],
)
def test_other_texts_are_refused_with_one_sentence(text: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_column(text)
    assert refused.value.remedy.startswith("Write it like")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("NO_SUCH_THING", "not known"),
        ("no_such_thing", "'no_such_thing' is not known"),
        ("rsi", "'rsi' is not known"),
        ("return(horizons=3)", "no parameter 'horizons'"),
        ("return(horizon=0)", "horizon cannot be 0"),
        ("return(horizon=2.5)", "horizon cannot be 2.5"),
        ("RSI(timeperiod=14.5)", "timeperiod cannot be 14.5"),
        ("funding(max_age_hours=-1)", "max_age_hours cannot be -1"),
        ("BODY.upper", "no output 'upper'"),
        ("BBANDS.middle", "no output 'middle'"),
        ("TIME_OF_DAY@4h", "neither a market nor a timeframe"),
        ("TIME_OF_DAY@ETH/USDT", "neither a market nor a timeframe"),
        ("funding@ETH/USDT", "neither a market nor a timeframe"),
        ("onchain", "name a metric"),
        ("BODY:x", "'BODY:x' is not known"),
    ],
)
def test_columns_that_mean_nothing_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        FeatureSpec("price", columns=(parse_column(text),)).validate()


def test_a_column_built_by_hand_cannot_hide_behind_its_text() -> None:
    for column in (
        FeatureColumn("BODY@4h"),
        FeatureColumn("BODY", output="a b"),
        FeatureColumn("BODY", symbol="4h"),
    ):
        with pytest.raises(UserError, match="BODY"):
            bind(column)


def test_a_name_is_given_once() -> None:
    for columns in (("BODY", "BODY"), ("volatility",), ("MACD.macd", "MACD"), ("RSI", "RSI.real")):
        with pytest.raises(UserError, match="twice"):
            FeatureSpec("custom", columns=tuple(map(parse_column, columns))).validate()


def test_every_native_kind_has_a_name_people_can_use() -> None:
    for name in native_kinds():
        metric = ":fees" if name == "onchain" else ""
        bound = bind(parse_column(name + metric))
        assert bound.names
        assert all(bind(parse_column(text)).names == (text,) for text in bound.names)


def test_a_configuration_file_names_columns_as_text() -> None:
    spec = spec_from_mapping(
        {
            "features": {
                "name": "custom",
                "columns": ["RSI(timeperiod=14)@4h", "log_return@ETH/USDT", "funding.level"],
            },
            "data": {"markets": ["ETH/USDT"], "series": [{"name": "funding", "path": "funding.csv"}]},
        }
    ).validate()
    assert [str(column) for column in spec.features.columns] == [
        "RSI(timeperiod=14)@4h",
        "log_return@ETH/USDT",
        "funding.level",
    ]
    assert ForecastSpec.from_json(spec.to_json()) == spec
    with pytest.raises(UserError, match="no feature column"):
        spec_from_mapping({"features": {"columns": ["RSI("]}})
    with pytest.raises(UserError, match=r"features\.columns"):
        spec_from_mapping({"features": {"columns": "BODY"}})


@pytest.mark.parametrize(
    ("data", "column", "sentence"),
    [
        ({}, "log_return@ETH/USDT", "ETH/USDT, which the data does not name"),
        ({}, "funding", "series 'funding'"),
        ({}, "RSI@1h", "1h cannot be made of bars of 1h"),
        ({"timeframe": "8h"}, "RSI@12h", "12h cannot be made of bars of 8h"),
        ({"timeframe": "1d"}, "RSI@4h@ETH/USDT", "4h cannot be made of bars of 1d"),
        ({"markets": ["BTC/USDT"]}, "BODY", "something twice"),
        ({"markets": ["ETH/USDT"], "source": "a.csv"}, "BODY", "candle store only"),
        ({"series": [{"name": "", "path": "x"}]}, "BODY", "name and a file"),
    ],
)
def test_a_run_names_all_that_its_columns_look_at(data: dict[str, object], column: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        spec_from_mapping({"data": data, "features": {"name": "custom", "columns": [column]}}).validate()


def test_the_digest_covers_columns_and_bar_length() -> None:
    def digest(*texts: str, timeframe: Timeframe = Timeframe.H1) -> str:
        spec = FeatureSpec("custom", columns=tuple(map(parse_column, texts)))
        return FeaturePipeline(spec, timeframe).digest

    assert len({digest(), digest("BODY"), digest("RSI"), digest("RSI(timeperiod=14)"), digest("RSI@4h")}) == 5
    assert digest("BODY") == digest("BODY", timeframe=Timeframe.M5)
    assert digest("RSI@4h") != digest("RSI@4h", timeframe=Timeframe.M5)  # another number of own bars in each
    assert DataRange().markets == ()
