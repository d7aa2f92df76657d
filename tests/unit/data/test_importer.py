"""Import of other people's files: every time format, guessed names, and one sentence for everything that is wrong."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from core.clock import ManualClock
from core.data.importer import guess_symbol, guess_timeframe, import_candles
from core.data.quality import check_quality
from core.domain.candles import Timeframe
from core.errors import UserError

T0 = 1_704_067_200  # 2024-01-01 00:00 UTC
HEADER = "date,open,high,low,close,volume\n"
REALDATA = Path(os.environ.get("MARU_REALDATA", Path(__file__).parents[4] / "shared" / "data"))


def write_csv(folder: Path, times: list[str], name: str = "BTC_USDT-1h.csv", header: str = HEADER) -> Path:
    path = folder / name
    path.write_text(header + "".join(f"{t},1,3,0.5,2,10\n" for t in times))
    return path


@pytest.mark.parametrize(
    "times",
    [
        [str(T0), str(T0 + 3600)],
        [str(T0 * 1000), str((T0 + 3600) * 1000)],
        [str(T0 * 10**6), str((T0 + 3600) * 10**6)],
        [str(T0 * 10**9), str((T0 + 3600) * 10**9)],
        [f"{T0}.0", f"{T0 + 3600}.0"],
        ["2024-01-01 00:00:00", "2024-01-01 01:00:00"],
        ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z"],
        ["2024-01-01 00:00:00+00:00", "2024-01-01 01:00:00+00:00"],
        ["2024-01-01 09:00:00+09:00", "2024-01-01 10:00:00+09:00"],
        ["2024-01-01 00:00:00 UTC", "2024-01-01 01:00:00 UTC"],
    ],
)
def test_every_time_format(tmp_path: Path, times: list[str]) -> None:
    frame = import_candles(write_csv(tmp_path, times)).frame
    assert frame.time_ns.tolist() == [T0 * 10**9, (T0 + 3600) * 10**9]
    assert (frame.symbol, frame.timeframe) == ("BTC/USDT", Timeframe.H1)
    assert frame.close.tolist() == [2.0, 2.0]


def test_headless_exchange_dump_gzipped_and_timeframe_from_rows(tmp_path: Path) -> None:
    path = tmp_path / "ETHUSDT.csv.gz"
    rows = "".join(f"{(T0 + i * 300) * 1000},1,3,0.5,2,10,{T0},5,7,1,1,0\n" for i in range(3))
    path.write_bytes(gzip.compress(rows.encode()))
    frame = import_candles(path).frame
    assert (frame.symbol, frame.timeframe, len(frame)) == ("ETH/USDT", Timeframe.M5, 3)


@pytest.mark.parametrize("suffix", [".feather", ".parquet"])
def test_columnar_files(tmp_path: Path, suffix: str) -> None:
    table = pa.table(
        {
            "timestamp": pa.array([T0 * 1000, (T0 + 60) * 1000], pa.timestamp("ms", tz="UTC")),
            **{name: pa.array([1, 2], pa.int64()) for name in ("Open", "High", "Low", "Close", "Volume")},
        }
    )
    path = tmp_path / f"SOL-USDT_1m{suffix}"
    if suffix == ".feather":
        pyarrow.feather.write_feather(table, path)
    else:
        pq.write_table(table, path)
    frame = import_candles(path).frame
    assert (frame.symbol, frame.timeframe) == ("SOL/USDT", Timeframe.M1)
    assert frame.open.tolist() == [1.0, 2.0]


def test_order_duplicates_and_finality(tmp_path: Path) -> None:
    path = write_csv(tmp_path, [str(T0 + 3600), str(T0), str(T0 + 3600)])
    result = import_candles(path, clock=ManualClock((T0 + 5000) * 10**9))
    assert (result.duplicates, result.resorted) == (1, True)
    assert result.frame.final.tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", "x", "no file type that can be imported"),
        ("BTC_USDT-1h.feather", "garbage", "damaged or not what its name says"),
        ("BTC_USDT-1h.parquet", "garbage", "damaged or not what its name says"),
        ("BTC_USDT-1h.csv", "date,open,high,low,close\n1,1,1,1,1\n", "no column for volume"),
        ("BTC_USDT-1h.csv", HEADER, "holds no rows"),
        ("BTC_USDT-1h.csv", HEADER + "yesterday,1,1,1,1,1\n", "times of .* cannot be read"),
        ("BTC_USDT-1h.csv", HEADER + f"{T0},one,1,1,1,1\n", "Column open .* no number"),
        ("BTC_USDT-1h.csv", HEADER + f"{T0},1,1,1,,1\n", "Row 1 .* no valid close"),
        ("BTC_USDT-1h.csv", HEADER + f"{T0},1,1,1,nan,1\n", r"Row 1 .*2024-01-01 00:00 UTC.* no valid close"),
        ("BTC_USDT-1h.csv", HEADER + f"{T0},1,1,2,1,1\n", "high below its low"),
        ("BTC_USDT-1h.csv", HEADER + f"{T0},1,2,1,1,-1\n", "no valid volume"),
        ("BTC_USDT-1h.csv", HEADER + f"{T0 + 60},1,2,1,1,1\n", "does not open on a multiple of 1h"),
        ("prices-1h.csv", HEADER + f"{T0},1,2,1,1,1\n", "market cannot be told"),
        ("BTCUSDT.csv", HEADER + f"{T0},1,2,1,1,1\n", "bar length"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        import_candles(path)
    assert caught.value.remedy
    assert "\n" not in caught.value.message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        import_candles(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "symbol", "timeframe"),
    [
        ("BTC_USDT-1h.feather", "BTC/USDT", Timeframe.H1),
        ("BTCUSDT-1m-2024-01.csv", "BTC/USDT", Timeframe.M1),
        ("binance_eth-btc_15m.parquet", "ETH/BTC", Timeframe.M15),
        ("BNB_USDT_USDT-5m-futures.feather", "BNB/USDT:USDT", Timeframe.M5),
        ("small-BTC_USDT-1h.csv", "BTC/USDT", Timeframe.H1),
        ("KRW.csv", None, None),
        ("x-7m.csv", None, None),
    ],
)
def test_guessing(name: str, symbol: str | None, timeframe: Timeframe | None) -> None:
    assert guess_symbol(name) == symbol
    assert guess_timeframe(name) == timeframe


@pytest.mark.realdata
def test_real_bars_with_their_known_outages() -> None:
    path = REALDATA / "ohlcv_binance_btc_2017_2024" / "BTC_USDT-1h.feather"
    if not path.exists():
        pytest.skip("the folder of real market data is absent")
    result = import_candles(path)
    report = check_quality(result.frame)
    assert (report.rows, len(report.gaps), report.missing, report.zero_volume) == (58_419, 28, 128, 4)
    assert max(gap.missing for gap in report.gaps) == 33  # 34 hours from bar to bar
    assert report.ohlc_violations == 0
    assert np.all(result.frame.final)
