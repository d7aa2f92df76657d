"""`main.py demo` as a user runs it: on real bars and on the made market, and the promises about its result."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.data.importer import import_candles
from core.domain.data_origin import BINANCE, caution, practice_origin
from tests.e2e.programs import left_over, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def check(out: Path, result: dict[str, Any]) -> None:
    """The contract of the demo's last line, and the report beside it."""
    assert result["orders_match"] is True
    assert result["positions_match"] is True
    assert type(result["orders"]) is int
    assert type(result["fills"]) is int
    assert isinstance(result["model"], dict)
    assert isinstance(result["pictures"], list)
    report = Path(result["report"])
    assert report == out / "report.html"
    page = report.read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    figures = json.loads((out / "report.json").read_text("utf-8"))
    assert figures["comparison"]["orders_match"] is True
    model = result["model"]
    assert {"model", "baselines", "verdict", "edge_p_value"} <= set(model)
    assert math.isfinite(model["model"]["mae"])
    assert model["verdict"]


@pytest.mark.realdata
def test_on_real_bars(realdata: Path, tmp_path: Path) -> None:
    bars = realdata / "ohlcv_binance_btc_2017_2024" / "BTC_USDT-1h.feather"
    out = tmp_path / "out"
    ended = run(tmp_path, "demo", "--data", bars, "--no-pictures", "--out", out, "--json", timeout_s=280)
    assert ended.code == 0, ended.err[-2_000:]
    result = ended.result()
    check(out, result)
    assert result["orders"] > 0
    assert result["fills"] >= result["orders"]
    assert result["pictures"] == []
    frame = import_candles(bars).frame.finals()
    store = CandleStore(DataPaths(out / "data").candles)
    assert [series.origin for series in store.list_series()] == [BINANCE]  # nothing of the replay lies over it
    assert np.array_equal(store.read(BINANCE, frame.symbol, frame.timeframe).close, frame.close)
    assert left_over(str(tmp_path)) == []


def test_on_the_made_market(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run(
        tmp_path, "demo", "--minutes", "0.2", "--epochs", "2", "--no-pictures", "--out", out, "--json", timeout_s=280
    )
    assert ended.code == 0, ended.err[-2_000:]
    check(out, ended.result())
    (series,) = CandleStore(DataPaths(out / "data").candles).list_series()
    assert series.origin == practice_origin("synthetic-1")
    assert caution(series.origin) in (out / "report.html").read_text("utf-8")
    assert left_over(str(tmp_path)) == []
