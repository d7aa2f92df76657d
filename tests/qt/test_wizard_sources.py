"""The training wizard's sources: read on the store worker's side, delivered in the GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QObject, Signal
from pytestqt.qtbot import QtBot

from app.flows.datasets import Dataset, SourceKind
from app.training_sources import StoreTrainingSources, practice_datasets
from app.workers.store import QueryAnswer
from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.errors import UserError

START = 1_704_067_200_000_000_000
HOUR = Timeframe.H1.ns


class FakeStore(QObject):
    """Answers in the order asked, when told."""

    answered = Signal(object)

    def __init__(self, candles: CandleStore) -> None:
        super().__init__()
        self._backend = SimpleNamespace(candles=candles)
        self._asked: list[Callable[[Any], Any]] = []

    def query(self, read: Callable[[Any], Any]) -> int:
        self._asked.append(read)
        return len(self._asked)

    def answer_all(self) -> None:
        for number, read in enumerate(self._asked, start=1):
            try:
                self.answered.emit(QueryAnswer(number, read(self._backend)))
            except UserError as exc:
                self.answered.emit(QueryAnswer(number, None, exc))


def frame(symbol: str = "BTC/USDT", bars: int = 300) -> CandleFrame:
    close = np.linspace(1.0, 2.0, bars)
    times = START + np.arange(bars, dtype=np.int64) * HOUR
    ones = np.ones(bars)
    return CandleFrame(times, close, close, close, close, ones, np.ones(bars, np.bool_), symbol, Timeframe.H1)


@pytest.fixture
def store(tmp_path: Path, qtbot: QtBot) -> FakeStore:
    candles = CandleStore(tmp_path / "candles")
    candles.write("binance", frame(), "rest")
    return FakeStore(candles)


def test_stored_and_practice_histories(store: FakeStore, qtbot: QtBot) -> None:
    sources = StoreTrainingSources(store, ["GPU A, 8 GiB, driver 1"])
    assert list(sources.datasets()) == []
    sources.refresh()
    with qtbot.waitSignal(sources.datasets_changed) as caught:
        store.answer_all()
    (stored,) = caught.args[0]
    assert (stored.kind, stored.symbol, stored.bars, stored.gaps) == (SourceKind.STORE, "BTC/USDT", 300, ())
    sources.set_practice(practice_datasets("binance", ["ETH/USDT"], [Timeframe.H1], START + 1, START + 50 * HOUR + 7))
    assert [item.kind for item in sources.datasets()] == [SourceKind.STORE, SourceKind.PRACTICE]
    practice = sources.datasets()[1]
    assert (practice.first_ns, practice.last_ns, practice.bars) == (START + HOUR, START + 49 * HOUR, 49)
    assert sources.devices()[2].available


def test_files_good_and_bad(store: FakeStore, tmp_path: Path) -> None:
    lines = ["time,open,high,low,close,volume"]
    lines += [f"{(START + index * HOUR) // 1_000_000},1,2,1,{1 + index / 100},5" for index in range(80)]
    good = tmp_path / "ETH_USDT-1h.csv"
    good.write_text("\n".join(lines) + "\n", encoding="utf-8")
    bad = tmp_path / "BTC_USDT-1h.csv"
    bad.write_text("nothing here", encoding="utf-8")
    sources = StoreTrainingSources(store)
    answers: list[Dataset | UserError] = []
    sources.inspect_file(good, answers.append)
    sources.inspect_file(bad, answers.append)
    assert answers == []
    store.answer_all()
    assert isinstance(answers[0], Dataset)
    assert (answers[0].symbol, answers[0].bars, answers[0].path) == ("ETH/USDT", 80, str(good))
    assert isinstance(answers[1], UserError)
