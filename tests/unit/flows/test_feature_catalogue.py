"""The catalogue of feature columns: complete, searchable, and everything it offers is accepted."""

from __future__ import annotations

import pytest

from app.flows.feature_catalogue import NATIVE_TITLES, SERIES_NAMES, FeatureCatalogue, column_text, load_catalogue
from app.flows.indicator_titles import INDICATOR_TITLES
from app.i18n import Language, set_language
from core.indicators.catalogue import catalogue
from ml.api import parse_column
from ml.column_kinds import bind, native_kinds


@pytest.fixture(scope="module")
def every() -> FeatureCatalogue:
    return load_catalogue()


def test_holds_every_kind_once(every: FeatureCatalogue) -> None:
    names = [entry.name for entry in every.entries]
    assert len(names) == len(set(names))
    assert set(names) == {*native_kinds(), *(info.name for info in catalogue() if not info.chart_only)}
    assert set(native_kinds()) == set(NATIVE_TITLES)
    assert set(SERIES_NAMES) | {"onchain"} == {entry.name for entry in every.entries[4:] if entry.name in NATIVE_TITLES}


def test_translated_titles_are_those_of_the_catalogue(every: FeatureCatalogue) -> None:
    titles = {entry.name: entry.title for entry in every.entries}
    assert {name: titles.get(name) for name in INDICATOR_TITLES} == INDICATOR_TITLES


@pytest.mark.parametrize(
    ("typed", "name"), [("볼린저", "BBANDS"), ("지수 이동 평균", "EMA"), ("이동평균", "SMA"), ("펀딩", "funding")]
)
def test_search_in_korean(every: FeatureCatalogue, typed: str, name: str) -> None:
    set_language(Language.KOREAN)
    assert name in {entry.name for entry in every.search(typed)}
    assert "BBANDS" in {entry.name for entry in every.search("bollinger")}


def test_search_by_name_and_by_words(every: FeatureCatalogue) -> None:
    assert every.search("rsi")[0].name == "RSI"
    assert "RSI" in {entry.name for entry in every.search("relative  STRENGTH")}
    assert {entry.name for entry in every.search("")} == {entry.name for entry in every.entries}
    assert every.search("no such thing") == ()
    assert every.find("RSX") is None


def test_every_entry_can_be_written_and_is_understood(every: FeatureCatalogue) -> None:
    for entry in every.entries:
        name = "onchain:fees" if entry.name == "onchain" else entry.name
        changed = {each.name: each.low for each in entry.parameters}
        for output in entry.outputs:
            bind(parse_column(f"{name}.{output}" if output else name))
        if entry.name == "onchain":
            continue
        text = column_text(entry, {each.name: each.default for each in entry.parameters})
        assert text == entry.name  # defaults are left out
        column = parse_column(column_text(entry, changed))
        assert {**{each.name: each.default for each in entry.parameters}, **column.values} == changed
        if not entry.own_bars_only:
            bind(parse_column(column_text(entry, {}, "", "ETH/USDT", "4h")))
