"""Which account and market the window opens next."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import app.trade_links as trade_links
from app.paper import PaperMarket, PaperPlace, place_path, read_place
from app.trade_links import TradeLinks
from core.config import DataPaths
from core.domain.data_origin import BINANCE
from core.domain.orders import TradingMode
from core.errors import UserError
from core.practice.control import PracticeEndpoints

PRACTICE, PAPER = TradingMode.PRACTICE, TradingMode.PAPER
ENDPOINTS = PracticeEndpoints("rest", "ws", "wsapi", "control", ("BTCUSDT",), "token", "key", "secret")


class Practice:
    """Stands for the practice exchange beside the window."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def market_now_ns(self) -> int:
        return 42

    async def open_trading(self, sink: object) -> str:
        return "practice session"

    async def open_account(self, balance: Decimal) -> None:
        self.calls.append(balance)


def links(tmp_path: Path, mode: TradingMode = PRACTICE, market: Path | None = None) -> TradeLinks:
    return TradeLinks(DataPaths(tmp_path), Practice(), mode, market, lambda *secrets: None)


def test_a_mode_the_window_cannot_trade_in_is_refused(tmp_path: Path) -> None:
    made = links(tmp_path, TradingMode.LIVE)
    assert made.mode is PRACTICE
    with pytest.raises(UserError, match="cannot trade in live mode"):
        made.choose(TradingMode.LIVE)
    made.choose(PAPER)
    assert made.mode is PAPER
    assert made.market_now_ns() != 42
    made.choose(PRACTICE)
    assert made.market_now_ns() == 42


async def test_the_session_is_that_of_the_mode_and_a_new_account_is_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[PaperMarket, Any, bool]] = []

    async def open_session(
        paths: DataPaths, market: PaperMarket, sink: object, *, opening: Any, new_account: bool
    ) -> str:
        opened.append((market, opening, new_account))
        return "paper session"

    monkeypatch.setattr(trade_links, "open_paper_session", open_session)
    made = links(tmp_path)
    assert await made.open_trading(print) == "practice session"
    await made.open_account(Decimal(5))
    assert opened == []
    made.choose(PAPER)
    assert await made.open_trading(print) == "paper session"
    await made.open_account(Decimal(500))
    for _ in range(2):
        await made.open_trading(print)
    nothing, fresh = (PaperMarket(None), None, False), (PaperMarket(None), {"USDT": Decimal(500)}, True)
    assert opened == [nothing, fresh, nothing]


async def test_a_lent_market_comes_without_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[PaperMarket] = []

    async def open_session(paths: DataPaths, market: PaperMarket, *_: object, **__: object) -> None:
        opened.append(market)

    monkeypatch.setattr(trade_links, "open_paper_session", open_session)
    ready = tmp_path / "ready.json"
    ready.write_text(json.dumps({name: getattr(ENDPOINTS, name) for name in PracticeEndpoints.__slots__}))
    await links(tmp_path, PAPER, ready).open_trading(print)
    (market,) = opened
    assert market.endpoints is not None
    assert (market.endpoints.rest, market.endpoints.api_key, market.endpoints.api_secret) == ("rest", "", "")


def test_where_a_paper_account_trades_is_written_down_without_keys(tmp_path: Path) -> None:
    paths = DataPaths(tmp_path)
    assert read_place(paths) is None
    for market in (PaperMarket(None), PaperMarket.of(ENDPOINTS)):
        place = PaperPlace(BINANCE, market)
        place.publish(paths)
        assert read_place(paths) == place
        assert place.account(paths) == tmp_path / "paper" / "binance.sqlite"
        assert place_path(paths).stat().st_mode & 0o077 == 0
    assert "secret" not in place_path(paths).read_text("utf-8").replace("api_secret", "")
    place_path(paths).write_text("{}")
    with pytest.raises(UserError, match="does not name a paper account"):
        read_place(paths)
