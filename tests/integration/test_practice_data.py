"""Bars of practice exchanges that run, beside real ones: they never share a series, whichever way they are stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.runtime import open_market_link
from app.workers.history import HistoryRequest, HistoryWorker
from app.workers.market import MarketWorker
from app.workers.store import StoreBackend, StoreWorker
from core.clock import SystemClock
from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, DataOrigin, practice_origin
from core.domain.orders import TradingMode
from core.persistence.schema import ensure_migrated
from core.persistence.store import Store
from core.practice.control import PracticeControl, PracticeEndpoints, ask_market
from core.practice.process import PracticeProcess
from tests.integration.test_data_commands import run, write_csv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BTC, H1, M1 = "BTC/USDT", Timeframe.H1, Timeframe.M1
FIRST, SECOND = practice_origin("synthetic-1"), practice_origin("synthetic-2")
SEVENTH = practice_origin("synthetic-7")
PERIOD = ("--symbol", BTC, "--timeframe", "1h", "--start", "2024-01-01", "--end", "2024-01-05")
LIMIT = 30_000


@contextlib.contextmanager
def exchange(folder: Path, **options: Any) -> Iterator[PracticeEndpoints]:
    process = PracticeProcess(data_dir=folder, **options)
    try:
        yield process.start()
    finally:
        process.stop()


def bars(folder: Path, origin: DataOrigin) -> CandleFrame:
    return CandleStore(DataPaths(folder).candles).read(origin, BTC, H1)


def test_imported_bars_and_those_of_two_seeds_are_three_series(tmp_path: Path) -> None:
    """The same symbol, bar length and hours three times: one imported history, and two invented ones downloaded."""
    data = tmp_path / "data"
    code, imported, _ = run(data, "import", str(write_csv(tmp_path / "BTC_USDT-1h.csv", 97)))
    assert (code, imported["venue"], imported["rows"]) == (0, "binance", 96)
    before = bars(data, BINANCE)
    for seed, origin in ((1, FIRST), (2, SECOND)):
        code, fetched, _ = run(data, "fetch", *PERIOD, "--seed", str(seed))
        assert (code, fetched["venue"], fetched["received"]) == (0, origin, 96)
    code, again, _ = run(data, "fetch", *PERIOD, "--seed", "1")
    assert (code, again["received"]) == (0, 0)  # it goes on where the download of this market stopped
    _, listed, _ = run(data, "list")
    assert [(s["venue"], s["rows"]) for s in listed["series"]] == [(BINANCE, 96), (FIRST, 96), (SECOND, 96)]
    real, one, two = (bars(data, origin) for origin in (BINANCE, FIRST, SECOND))
    assert set(real.close) == set(before.close) == {2.0}
    assert set(one.time_ns) == set(two.time_ns)
    assert set(one.time_ns) & set(real.time_ns)
    assert not set(one.close) & set(two.close)
    assert not {2.0} & (set(one.close) | set(two.close))
    out = tmp_path / "out.csv"
    _, exported, _ = run(data, "export", str(out), *PERIOD[:4], "--venue", SECOND)
    assert exported["rows"] == 96
    code, refused, _ = run(data, "import", str(out), *PERIOD[:4], "--venue", FIRST)
    assert (code, "is kept for bars of the practice exchange" in refused["error"]) == (2, True)


def test_a_replay_of_real_bars_is_stored_beside_them(tmp_path: Path) -> None:
    """Own orders move a replay: what it shows is no longer what was imported, though it began as the same bars."""
    data, file = tmp_path / "data", write_csv(tmp_path / "BTC_USDT-1h.csv", 97)
    run(data, "import", str(file))
    before = bars(data, BINANCE)
    with exchange(tmp_path / "exchange", replay=file, speed="max", start_bar=90) as endpoints:
        code, fetched, _ = run(data, "fetch", *PERIOD, "--rest", endpoints.rest)
    assert code == 0
    origin = DataOrigin(fetched["venue"])
    assert origin.startswith("practice-replay-")
    assert len(bars(data, origin)) == fetched["received"] > 80
    after = bars(data, BINANCE)
    assert (after.time_ns.tolist(), after.close.tolist()) == (before.time_ns.tolist(), before.close.tolist())
    series = CandleStore(DataPaths(data).candles).list_series()
    assert [s.origin for s in series] == [BINANCE, origin]


async def test_an_exchange_tells_which_market_it_has(tmp_path: Path) -> None:
    process = PracticeProcess(data_dir=tmp_path, seed=7)
    endpoints = await asyncio.to_thread(process.start)
    control = PracticeControl(endpoints)
    try:
        assert (await control.state()).market == "synthetic-7"
        assert (await control.set_speed(2)).market == "synthetic-7"
        assert await ask_market(endpoints.rest) == "synthetic-7"
        link = await open_market_link(endpoints)
        assert (link.gateway.venue, link.origin) == ("binance", SEVENTH)  # the protocol, and whose bars they are
        await link.close()
        async with aiohttp.ClientSession() as session, session.get(f"{endpoints.control}/state") as response:
            assert response.status == 401  # only the name of the market is public
    finally:
        await control.close()
        await asyncio.to_thread(process.stop)


def test_the_window_keeps_live_and_downloaded_bars_apart_from_real_ones(
    tmp_path: Path, qtbot: QtBot, qapp: QApplication
) -> None:
    paths = DataPaths(tmp_path / "data").create()
    ensure_migrated(paths)
    candles = CandleStore(paths.candles)
    with exchange(tmp_path / "exchange", seed=7, speed="240") as endpoints:
        newest = asyncio.run(_newest_bars(endpoints))
        candles.write(BINANCE, _flat(newest), "import")  # real bars of the very minutes that are to come
        store = StoreWorker(lambda: StoreBackend(Store(paths.store_db), CandleStore(paths.candles)), SystemClock())
        market = MarketWorker(
            lambda told: open_market_link(endpoints, on_connection=told),
            BTC,
            M1,
            venue="binance",
            mode=TradingMode.PRACTICE,
            books=store,
        )
        start_ns = int(newest.time_ns[0]) - 500 * M1.ns
        wanted = HistoryRequest(BTC, M1, start_ns, start_ns + 400 * M1.ns)
        download = HistoryWorker(lambda: open_market_link(endpoints, link="history"), wanted, paths.candles, store)
        workers = (store, market, download)
        closed: list[int] = []
        market.candle_arrived.connect(lambda candle: closed.append(candle.open_time_ns) if candle.final else None)
        for worker in workers:
            worker.start()
        qtbot.waitUntil(lambda: len(closed) >= 3, timeout=LIMIT)
        qtbot.waitUntil(download.isFinished, timeout=LIMIT)
        for worker in reversed(workers):
            assert worker.stop(20)
    listed = CandleStore(paths.candles).list_series()
    assert [series.origin for series in listed] == [BINANCE, SEVENTH]
    assert set(candles.read(BINANCE, BTC, M1).close) == {1.0}
    stored = candles.read(SEVENTH, BTC, M1)
    assert set(closed) <= set(stored.time_ns.tolist())
    assert len(stored.between(wanted.start_ns, wanted.end_ns)) == 400
    assert 1.0 not in set(stored.close)


async def _newest_bars(endpoints: PracticeEndpoints) -> CandleFrame:
    link = await open_market_link(endpoints)
    try:
        return CandleFrame.from_candles(await link.gateway.fetch_candles(BTC, M1, limit=200), BTC, M1)
    finally:
        await link.close()


def _flat(frame: CandleFrame) -> CandleFrame:
    """Return bars of the same minutes and many after them, all at a price of 1."""
    from tests.unit.data.fake_gateway import candle

    first = int(frame.time_ns[0]) // M1.ns
    return CandleFrame.from_candles([candle(first + n) for n in range(2_000)], BTC, M1)
