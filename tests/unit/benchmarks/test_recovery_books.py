"""The history of the recovery benchmark is one that both sides could have made."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from app.benchmarks.recovery_books import OPEN, Market, Trade, make_history, write_account, write_journal
from app.runtime import prepare_data
from core.domain.instruments import Instrument
from core.domain.orders import OrderState
from core.domain.positions import Position
from core.execution.journal import Journal
from core.practice.account_store import AccountStore
from core.practice.specs import UNITS, MarketSpec

NOW_MS = 1_800_000_000_000
BTC = Instrument("binance", "BTC/USDT", "BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))
ORDERS, FILLS = 300, 2_900


@pytest.fixture
def history() -> list[Trade]:
    spec = MarketSpec("BTCUSDT", "BTC", "USDT", 2, 5, level_lots=1)
    return make_history([Market(BTC, spec, 6_000_000)], NOW_MS, orders=ORDERS, fills=FILLS)


def test_every_fill_belongs_to_an_order_and_fills_it(history: list[Trade]) -> None:
    assert len(history) == ORDERS
    assert sum(len(trade.fills) for trade in history) == FILLS
    assert [trade.order.is_open for trade in history] == [False] * (ORDERS - OPEN) + [True] * OPEN
    for trade in history[:-OPEN]:
        assert sum(fill.quantity for fill in trade.fills) == trade.order.quantity == trade.order.executed
        assert all(fill.time_ms < NOW_MS for fill in trade.fills)


def test_journal_and_account_agree_on_what_is_held(history: list[Trade], tmp_path: Path) -> None:
    file = tmp_path / "account.sqlite"
    AccountStore(file, {"USDT": 1_000_000 * UNITS, "BTC": 0}).close()
    before = write_account(file, history, NOW_MS)
    paths = prepare_data(tmp_path / "data")
    positions = write_journal(paths, "f" * 16, history, before, "binance")

    journal, store = Journal(paths.journal_db), AccountStore(file, {})
    free, locked = store.balances()["BTC"]
    store.close()
    assert sum(position.quantity for position in positions) == Decimal(free + locked) / UNITS
    assert all(position.quantity > 0 and position.lots for position in positions)
    assert sorted(journal.positions(), key=_owner) == sorted(positions, key=_owner)
    assert len(journal.fills()) == FILLS
    assert [r.order.state for r in journal.unsettled_orders()] == [OrderState.ACCEPTED] * OPEN
    journal.close()


def test_an_account_that_cannot_pay_the_history_is_refused(history: list[Trade], tmp_path: Path) -> None:
    file = tmp_path / "account.sqlite"
    AccountStore(file, {"USDT": UNITS, "BTC": 0}).close()
    with pytest.raises(RuntimeError, match="more than the account holds"):
        write_account(file, history, NOW_MS)


def _owner(position: Position) -> str:
    return position.owner
