"""Whose market bars come from: real and invented bars never share a series, nor do two invented markets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.data.collector import fetch_history
from core.data.data_storage import CandleStore
from core.domain.candles import Timeframe
from core.domain.data_origin import (
    BINANCE,
    DEFAULT_SEED,
    DataOrigin,
    caution,
    invented_seed,
    is_invented,
    is_practice,
    practice_origin,
    venue_origin,
    with_caution,
)
from core.errors import UserError
from core.practice.synthetic import SyntheticMarket
from tests.unit.data.fake_gateway import STEP, FakeGateway, candle

BTC, M1 = "BTC/USDT", Timeframe.M1
FIRST, SECOND = practice_origin("synthetic-1"), practice_origin("synthetic-2")
REPLAY = practice_origin("replay-0123456789ab")


def closes(store: CandleStore, origin: DataOrigin) -> set[float]:
    return set(store.read(origin, BTC, M1).close.tolist())


async def test_same_symbol_length_and_times_of_three_markets_stay_three_series(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    for price, origin in ((1.0, FIRST), (2.0, SECOND), (3.0, BINANCE)):
        gateway = FakeGateway()  # says "binance" each time
        gateway.history = [candle(i, close=price) for i in range(100)]
        result = await fetch_history(gateway, store, origin, BTC, M1, 0, 100 * STEP)  # type: ignore[arg-type]
        assert result.received == 100  # nothing of another market counts as downloaded already
        store.append(origin, [candle(i, close=price) for i in range(90, 120)])
    store.flush()
    again = CandleStore(tmp_path)
    assert [closes(again, origin) for origin in (FIRST, SECOND, BINANCE)] == [{1.0}, {2.0}, {3.0}]
    listed = [(series.origin, series.rows) for series in again.list_series()]
    assert listed == [(BINANCE, 120), (FIRST, 120), (SECOND, 120)]


def test_what_an_earlier_version_stored_stays_where_it_is(tmp_path: Path) -> None:
    before = CandleStore(tmp_path)
    before.append(DataOrigin("binance"), [candle(i, close=7.0) for i in range(10)])
    before.flush()
    assert [path.name for path in tmp_path.iterdir()] == ["binance"]
    store = CandleStore(tmp_path)
    store.append(FIRST, [candle(i, close=1.0) for i in range(5, 15)])
    store.flush()
    assert len(store.read(BINANCE, BTC, M1)) == 10
    assert closes(store, BINANCE) == {7.0}


def test_every_market_id_names_a_short_folder() -> None:
    ids = [SyntheticMarket(seed).source_id for seed in (0, DEFAULT_SEED, 2**63 - 1)]
    for origin in (*map(practice_origin, ids), REPLAY):
        assert re.fullmatch(r"[a-z0-9-]{1,48}", origin)
    assert len(set(ids)) == 3
    assert practice_origin(SyntheticMarket().source_id) == FIRST


@pytest.mark.parametrize("told", ["", "..", "a/b", "A", "-x", "x-", "x" * 41, "a b"])
def test_an_exchange_that_names_no_usable_market_is_refused(told: str) -> None:
    with pytest.raises(UserError, match="which market"):
        practice_origin(told)


@pytest.mark.parametrize("name", ["practice-synthetic-1", "practice-x", "Practice-Synthetic-1"])
def test_nobody_can_import_under_the_name_of_a_practice_market(name: str) -> None:
    with pytest.raises(UserError, match="is kept for"):
        venue_origin(name)
    assert venue_origin("upbit") == "upbit"


def test_only_invented_bars_are_called_invented() -> None:
    assert [is_practice(origin) for origin in (FIRST, REPLAY, BINANCE)] == [True, True, False]
    assert [is_invented(origin) for origin in (FIRST, REPLAY, BINANCE)] == [True, False, False]
    assert with_caution("An edge.", BINANCE) == "An edge."
    assert with_caution("An edge.", SECOND) == (
        "An edge. Invented practice market: this says nothing about a real one."
    )
    assert caution(REPLAY) not in ("", caution(FIRST))


def test_invented_markets_are_told_apart_by_their_seed() -> None:
    assert invented_seed(practice_origin("synthetic-7")) == "7"
    assert invented_seed(practice_origin("replay-0123456789ab")) == ""
    assert invented_seed(BINANCE) == ""
