"""Start and memory of the practice exchange. Qt-free; main thread."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

from app.benchmarks.figures import Measurement

_PAGES = 20


def run(folder: Path) -> dict[str, Measurement]:
    """Start the exchange, ask for years of history, look at its memory."""
    import psutil

    from core.practice.process import PracticeProcess

    process = PracticeProcess(data_dir=folder)
    began = time.perf_counter()
    endpoints = process.start()
    ready_s = time.perf_counter() - began
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        end = ""
        for _ in range(_PAGES):
            url = f"{endpoints.rest}/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000{end}"
            with opener.open(url, timeout=30) as response:
                rows = json.load(response)
            end = f"&endTime={rows[0][0] - 1}"
        rss_mb = psutil.Process(process.pid).memory_info().rss / 1e6
    finally:
        process.stop()
    return {"practice.ready_s": Measurement(ready_s), "practice.rss_mb": Measurement(rss_mb)}
