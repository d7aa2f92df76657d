"""CandleStore: what is written is read, the better version of a bar wins, nothing is lost when things break."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.candles import Candle, Timeframe
from core.errors import UserError

HOUR = Timeframe.H1.ns
START = 1_704_067_200_000_000_000 // HOUR * HOUR  # 2024-01-01 00:00 UTC


def make_frame(rows: int, start_ns: int = START, *, final: bool = True, price: float = 100.0) -> CandleFrame:
    prices = price + np.arange(rows, dtype=np.float64)
    return CandleFrame(
        np.arange(rows, dtype=np.int64) * HOUR + start_ns,
        prices,
        prices + 1,
        prices - 1,
        prices + 0.5,
        np.full(rows, 2.0),
        np.full(rows, final),
        "BTC/USDT",
        Timeframe.H1,
    )


def make_candle(index: int, *, final: bool, price: float = 50.0, source: str = "stream") -> Candle:
    return Candle("BTC/USDT", Timeframe.H1, START + index * HOUR, price, price, price, price, 1.0, final, source)


def read(store: CandleStore, start: int | None = None, end: int | None = None) -> CandleFrame:
    return store.read("binance", "BTC/USDT", Timeframe.H1, start, end)


def test_round_trip_over_months_and_ranges(tmp_path: Path) -> None:
    store, frame = CandleStore(tmp_path), make_frame(24 * 70)
    assert store.write("binance", frame, "import") == len(frame)
    assert read(store).equals(frame)
    part = read(store, START + 30 * HOUR, START + 900 * HOUR)
    assert part.equals(frame.slice(30, 900))
    assert sorted(p.name for p in tmp_path.rglob("*.parquet")) == [
        "2024-01.parquet",
        "2024-02.parquet",
        "2024-03.parquet",
    ]
    assert len(read(CandleStore(tmp_path / "nothing"))) == 0


def test_writing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    store, frame = CandleStore(tmp_path), make_frame(100)
    store.write("binance", frame, "rest")
    before = next(tmp_path.rglob("*.parquet")).stat().st_mtime_ns
    assert store.write("binance", frame, "rest") == 0
    assert next(tmp_path.rglob("*.parquet")).stat().st_mtime_ns == before


def test_unsorted_rows_with_duplicates_are_sorted_and_the_last_counts(tmp_path: Path) -> None:
    store, frame = CandleStore(tmp_path), make_frame(5)
    mixed = CandleFrame.concat([frame.select(np.array([3, 1, 4, 0, 2, 1])), make_frame(1, price=7.0)], *_market(frame))
    store.write("binance", mixed, "import")
    got = read(store)
    assert got.time_ns.tolist() == frame.time_ns.tolist()
    assert got.open.tolist() == [7.0, 101.0, 102.0, 103.0, 104.0]


def _market(frame: CandleFrame) -> tuple[str, Timeframe]:
    return frame.symbol, frame.timeframe


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        (("rest", True), ("rest", False), 1.0),  # a final bar never becomes unfinished
        (("stream", True), ("rest", False), 1.0),
        (("stream", False), ("rest", True), 2.0),
        (("stream", True), ("rest", True), 2.0),  # REST corrects the stream
        (("rest", True), ("stream", True), 1.0),  # and not the other way round
        (("rest", True), ("rest", True), 2.0),  # last wins
        (("stream", False), ("stream", False), 2.0),
    ],
)
def test_which_version_of_a_bar_wins(
    tmp_path: Path, first: tuple[str, bool], second: tuple[str, bool], winner: float
) -> None:
    store = CandleStore(tmp_path)
    store.write("binance", make_frame(1, final=first[1], price=1.0), first[0])
    store.write("binance", make_frame(1, final=second[1], price=2.0), second[0])
    assert read(store).open.tolist() == [winner]


def test_live_candles_are_readable_at_once_and_survive_a_flush(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    store.write("binance", make_frame(3), "rest")
    store.append("binance", [make_candle(3, final=False, price=1.0)])
    store.append("binance", [make_candle(3, final=False, price=2.0)])
    store.append("binance", [make_candle(3, final=True, price=3.0), make_candle(4, final=False)])
    live = read(store)
    assert live.open.tolist() == [100.0, 101.0, 102.0, 3.0, 50.0]
    assert live.final.tolist() == [True, True, True, True, False]
    assert len(read(CandleStore(tmp_path))) == 3  # another process does not see them yet
    store.flush()
    assert read(CandleStore(tmp_path)).equals(live)


def test_a_full_batch_is_written_without_being_asked(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    store.append("binance", [make_candle(i, final=True) for i in range(300)])
    assert len(read(CandleStore(tmp_path))) == 300


def test_damaged_month_is_named_and_the_others_stay_readable(tmp_path: Path) -> None:
    store, frame = CandleStore(tmp_path), make_frame(24 * 60)
    store.write("binance", frame, "rest")
    broken = next(tmp_path.rglob("2024-02.parquet"))
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"2024-02\.parquet is damaged") as caught:
        read(store)
    assert "fetch or import" in caught.value.remedy
    with pytest.raises(UserError, match="damaged"):
        store.write("binance", frame, "rest")
    january = read(store, START, START + 31 * 24 * HOUR)
    assert len(january) == 31 * 24
    listed = store.list_series()[0]
    assert listed.damaged == (broken,)
    assert listed.rows == 31 * 24


def test_foreign_parquet_under_our_name_is_damaged_too(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    store = CandleStore(tmp_path)
    store.write("binance", make_frame(2), "rest")
    path = next(tmp_path.rglob("*.parquet"))
    pq.write_table(pa.table({"time": pa.nulls(0, pa.int64())}), path)
    with pytest.raises(UserError, match="damaged"):
        read(store)


def test_full_disk_is_one_sentence_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, frame = CandleStore(tmp_path), make_frame(10)
    store.write("binance", frame, "rest")

    def no_space(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UserError, match="disk is full"):
        store.write("binance", make_frame(20, price=1.0), "rest")
    store.append("binance", [make_candle(30, final=True)])
    with pytest.raises(UserError, match="disk is full"):
        store.flush()
    monkeypatch.undo()
    assert read(CandleStore(tmp_path)).equals(frame)
    assert not list(tmp_path.rglob("*.tmp"))
    store.flush()  # what could not be written was kept
    assert len(read(CandleStore(tmp_path))) == 11


def test_series_are_listed_with_their_real_symbol(tmp_path: Path) -> None:
    store, frame = CandleStore(tmp_path), make_frame(30)
    for symbol in ("BTC/USDT", "BTC/USDT:USDT", "A_B-C/KRW"):
        store.write("upbit", replace(frame, symbol=symbol), "rest")
    listed = store.list_series()
    assert [s.symbol for s in listed] == ["A_B-C/KRW", "BTC/USDT", "BTC/USDT:USDT"]
    assert (listed[0].rows, listed[0].first_ns, listed[0].last_ns) == (30, START, START + 29 * HOUR)
    assert listed[0].size_bytes > 0


def test_storage_never_imports_pandas(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from core.data.data_storage import CandleStore; from core.data.frame import CandleFrame\n"
        "from core.domain.candles import Timeframe\n"
        "ones = np.ones(2); f = CandleFrame(np.array([0, 60_000_000_000]), ones, ones, ones, ones, ones,"
        " np.ones(2, bool), 'A/B', Timeframe.M1)\n"
        "s = CandleStore(Path(sys.argv[1])); s.write('x', f, 'rest')\n"
        "assert s.read('x', 'A/B', Timeframe.M1).equals(f)\n"
        "s.write('x', f, 'import'); assert s.list_series()\n"
        "assert 'pandas' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
