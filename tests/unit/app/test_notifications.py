"""Notices: folding, rate limit, history, batches of fills."""

from __future__ import annotations

from decimal import Decimal

from app.notifications import FOLD_NS, HISTORY, LOUD_PER_MINUTE, FillBatch, Notification, NotificationManager
from core.clock import NS_PER_S, ManualClock
from core.domain.fills import Fill, Liquidity
from core.domain.orders import Side
from core.events import Notice, Severity


def notice(title: str, severity: Severity = Severity.INFO) -> Notice:
    return Notice(severity, title)


def fill(number: int, side: Side = Side.BUY, quantity: str = "0.1", symbol: str = "BTC/USDT") -> Fill:
    return Fill(
        "binance",
        symbol,
        str(number),
        "v",
        "c",
        side,
        Decimal(100),
        Decimal(quantity),
        Decimal(0),
        "USDT",
        Liquidity.TAKER,
        number,
    )


def test_repetition_is_folded_and_quiet() -> None:
    clock = ManualClock(0)
    manager = NotificationManager(clock)
    seen: list[Notification] = []
    manager.add_sink(seen.append)
    manager.publish(notice("a"))
    manager.publish(notice("b"))
    clock.advance(FOLD_NS - 1)
    manager.publish(notice("a"))
    assert [(n.notice.title, n.count, n.loud) for n in seen] == [("a", 1, True), ("b", 1, True), ("a", 2, False)]
    assert [(n.notice.title, n.count) for n in manager.history] == [("b", 1), ("a", 2)]
    clock.advance(FOLD_NS)
    assert manager.publish(notice("a")).count == 1
    assert len(manager.history) == 3


def test_interruptions_are_limited_but_errors_are_not() -> None:
    clock = ManualClock(0)
    manager = NotificationManager(clock)
    for number in range(LOUD_PER_MINUTE):
        assert manager.publish(notice(f"n{number}")).loud
    assert not manager.publish(notice("one too many")).loud
    assert manager.publish(notice("bad", Severity.ERROR)).loud
    clock.advance(61 * NS_PER_S)
    assert manager.publish(notice("later")).loud
    assert len(manager.history) == LOUD_PER_MINUTE + 3


def test_history_is_bounded() -> None:
    manager = NotificationManager(ManualClock(0))
    for number in range(3 * HISTORY):
        manager.publish(notice(str(number)))
    assert len(manager.history) == HISTORY
    assert manager.history[-1].notice.title == str(3 * HISTORY - 1)
    assert manager.publish(notice(str(3 * HISTORY - 1))).count == 2
    assert manager.publish(notice("0")).count == 1  # long gone


def test_fills_become_one_message() -> None:
    clock = ManualClock(0)
    batch = FillBatch(clock)
    assert not batch.due
    assert batch.take() is None
    for number in range(3):
        batch.add(fill(number))
    batch.add(fill(4, Side.SELL, "2", "ETH/USDT"))
    assert not batch.due
    clock.advance(5 * NS_PER_S)
    assert batch.due
    message = batch.take()
    assert message == Notice(Severity.SUCCESS, "4 fills", "Bought 0.3 BTC/USDT\nSold 2 ETH/USDT")
    assert not batch.due
    batch.add(fill(5))
    message = batch.take()
    assert message is not None
    assert message.title == "1 fill"
