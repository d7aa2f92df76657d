"""When a headless run is over because its strategies failed, and what it says then."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.commands.trade_events import StrategyWatch, Teller
from core.domain.fills import Fill, Liquidity
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side
from core.events import (
    AccountOpened,
    BooksTold,
    ExecutorEvent,
    FillBooked,
    Notice,
    OrderUpdated,
    Severity,
    StrategyState,
    StrategyStatus,
)


def status(name: str, state: StrategyState, detail: str = "") -> StrategyStatus:
    return StrategyStatus(name, name, "BTC/USDT", "1h", "m", state, detail, Decimal(0), Decimal(0), None)


class Run:
    """A watch, its teller, and how often it said that none is left."""

    def __init__(self, *expected: str) -> None:
        self.over = 0
        self.watch = StrategyWatch(self._end)
        self.tell = Teller(self.watch)
        self.watch.expect(expected)

    def _end(self) -> None:
        self.over += 1

    def hear(self, name: str, state: StrategyState, detail: str = "") -> None:
        self.tell(status(name, state, detail))


def test_the_run_ends_when_the_only_strategy_fails(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run("a")
    for state in (StrategyState.STOPPED, StrategyState.WARMING_UP, StrategyState.RUNNING):
        run.hear("a", state)
    assert (run.over, run.watch.failures) == (0, [])
    run.hear("a", StrategyState.FAILED, "There is no\n model.")
    assert run.over == 1
    assert run.watch.failures == ["Strategy a failed: There is no model."]
    told = capsys.readouterr()
    assert told.out == ""
    assert "Strategy a: failed There is no" in told.err


def test_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run("a", "b")
    run.hear("a", StrategyState.WARMING_UP)
    run.hear("a", StrategyState.FAILED, "oops")
    assert "Strategy a: failed oops" in capsys.readouterr().err  # at once
    run.hear("b", StrategyState.STOPPED)  # told again because a price moved; it is still to be started
    assert run.over == 0
    run.hear("b", StrategyState.RUNNING)
    run.hear("a", StrategyState.FAILED, "oops")
    assert run.over == 0
    run.hear("b", StrategyState.FAILED, "too")
    assert run.over == 1
    assert run.watch.failures == ["Strategy a failed: oops.", "Strategy b failed: too."]


def test_strategies_that_a_kill_paused_are_no_failure_and_run_no_more() -> None:
    run = Run("a", "b")
    run.hear("a", StrategyState.RUNNING)
    run.hear("b", StrategyState.RUNNING)
    run.hear("a", StrategyState.PAUSED)
    assert (run.over, run.watch.failures) == (0, [])
    run.hear("b", StrategyState.FAILED, "oops")
    assert run.over == 1
    assert run.watch.failures == ["Strategy b failed: oops."]


def test_without_strategies_nothing_ends() -> None:
    run = Run()
    run.hear("a", StrategyState.STOPPED)
    assert run.over == 0


# --- old books ------------------------------------------------------------------------------------------------------


def trades(tag: str) -> tuple[ExecutorEvent, ...]:
    """A fill and an order that ended without one; both say their tag."""
    wish = Intent(tag, IntentSource.MANUAL, "manual", tag, Side.BUY, Decimal(1), OrderType.LIMIT, Decimal(5))
    amounts = Decimal(5), Decimal(1), Decimal(0)
    fill = Fill("practice", tag, tag, tag, tag, Side.BUY, *amounts, "USDT", Liquidity.TAKER, 1)
    return FillBooked(fill, None), OrderUpdated(Order(tag, wish, OrderState.CANCELED))


def test_the_books_of_a_beginning_session_are_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run()
    events: list[ExecutorEvent] = []
    for session in ("first", "second"):  # told anew after a reconnection
        events += [AccountOpened("practice:a"), *trades(f"old-{session}")]
        events += [Notice(Severity.WARNING, f"Mind {session}"), BooksTold(), *trades(f"new-{session}")]
    for event in events:
        run.tell(event)
    said = capsys.readouterr().err
    assert "old" not in said
    for session in ("first", "second"):
        assert f"buy 1 new-{session} at 5" in said
        assert f"Order new-{session}: canceled" in said
        assert f"Mind {session}" in said  # a warning is never swallowed
