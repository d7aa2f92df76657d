"""`main.py data` as a user types it: child processes, exit codes, one JSON line, one sentence for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REALDATA = Path(os.environ.get("MARU_REALDATA", ROOT.parent / "shared" / "data"))


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, str(ROOT / "main.py"), "data", *arguments, "--data-dir", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    lines = done.stdout.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert len(lines) == 1
    return done.returncode, json.loads(lines[0]), done.stderr


def write_csv(path: Path, rows: int) -> Path:
    lines = [f"{1_704_067_200 + i * 3_600},1,3,0.5,2,10\n" for i in range(rows) if i != 5]
    path.write_text("date,open,high,low,close,volume\n" + "".join(lines))
    return path


def test_import_list_check_export(tmp_path: Path) -> None:
    store = tmp_path / "store"
    code, result, _ = run(store, "import", str(write_csv(tmp_path / "SOL_USDT-1h.csv", 100)))
    assert code == 0
    assert (result["rows"], result["gaps"], result["missing"], result["symbol"]) == (99, 1, 1, "SOL/USDT")
    _, listed, _ = run(store, "list")
    assert [(s["symbol"], s["timeframe"], s["rows"]) for s in listed["series"]] == [("SOL/USDT", "1h", 99)]
    code, checked, _ = run(store, "check")
    assert (code, checked["clean"], checked["series"][0]["missing"]) == (0, False, 1)
    out = tmp_path / "out.feather"
    _, exported, _ = run(store, "export", str(out), "--symbol", "SOL/USDT", "--start", "2024-01-02")
    assert exported["rows"] == 76
    code, again, _ = run(tmp_path / "other", "import", str(out), "--symbol", "SOL/USDT")
    assert (code, again["rows"], again["timeframe"]) == (0, 76, "1h")
    next(store.rglob("*.parquet")).write_bytes(b"broken")
    code, checked, _ = run(store, "check")
    assert (code, checked["clean"], len(checked["damaged"])) == (1, False, 1)


def test_fetch_from_an_exchange_started_for_the_call_and_resume(tmp_path: Path) -> None:
    period = ["--symbol", "ETH/USDT", "--timeframe", "1h", "--start", "2025-01-01"]
    code, first, progress = run(tmp_path, "fetch", *period, "--end", "2025-02-20")
    assert (code, first["received"], first["pages"]) == (0, 1_200, 2)
    assert "1200 of 1200 bars" in progress
    code, second, _ = run(tmp_path, "fetch", *period, "--end", "2025-02-21")
    assert (code, second["received"]) == (0, 24)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fetch", "--timeframe", "9x"], "no bar length"),
        (["fetch", "--start", "soon"], "no date"),
        (["fetch", "--rest", "http://127.0.0.1:9"], "cannot be reached"),
        (["fetch", "--rest", "http://10.0.0.1:9"], "this machine only"),
        (["import", "nothing.csv"], "no file"),
        (["export", "x.csv", "--symbol", "NO/USDT"], "no bars of NO/USDT"),
        (["check", "--symbol", "NO/USDT"], "Nothing is stored"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    code, result, _ = run(tmp_path, *arguments)
    assert code == 2
    assert sentence in result["error"]
    assert result["remedy"]


@pytest.mark.realdata
def test_real_bars(tmp_path: Path) -> None:
    path = REALDATA / "ohlcv_binance_btc_2017_2024" / "BTC_USDT-1h.feather"
    if not path.exists():
        pytest.skip("the folder of real market data is absent")
    code, result, _ = run(tmp_path, "import", str(path))
    assert code == 0
    assert (result["rows"], result["gaps"], result["missing"], result["zero_volume"]) == (58_419, 28, 128, 4)
