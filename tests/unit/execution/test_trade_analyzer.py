"""The account netted with funding, and each owner by lots."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given

from core.domain.orders import Side
from core.domain.positions import FundingPayment, FundingShare
from core.execution.position_tracker import BookedFill, History
from core.execution.trade_analyzer import analyze_owners, analyze_trades
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import BTC
from tests.unit.execution.test_fifo_lots import QUICK, SYMBOL, Books, Step, fill, play, prices, steps
from tests.unit.execution.test_position_desk import positions_desk, trade

D = Decimal
RULES = {SYMBOL: BTC}


def payment(amount: str, time_ns: int) -> FundingShare:
    paid = FundingPayment("fake", SYMBOL, str(time_ns), D(amount), "USDT", time_ns)
    return FundingShare(paid, "manual", D(amount), D(amount))


def test_funding_counts_where_its_time_belongs() -> None:
    fills = [fill(Side.BUY, "1", "100", n=1), fill(Side.SELL, "1", "110", n=2), fill(Side.BUY, "1", "110", n=3)]
    funding = [payment("-3", 15), payment("-20", 25), payment("1", 35)]
    stats = analyze_trades(fills, {SYMBOL: D(112)}, RULES, funding=funding)
    assert (stats.realised_pnl, stats.unrealised_pnl, stats.funding, stats.net_pnl) == (10, 2, -22, -10)
    assert [trip.pnl for trip in stats.round_trips] == [7]
    assert stats.max_drawdown == 20  # from 7 down to -13
    assert analyze_trades([], {}, RULES, funding=funding[:1]).net_pnl == -3


def test_a_market_that_is_not_listed_any_more_is_left_out() -> None:
    stats = analyze_trades([fill(Side.BUY, "1", "100", n=1)], {}, {}, funding=[payment("-3", 15)])
    assert (stats.fills, stats.turnover, stats.net_pnl, stats.open_quantity) == (0, 0, 0, {})


def test_each_owner_is_seen_by_entries_and_exits() -> None:
    books = Books()
    books.hear("manual", fill(Side.BUY, "1", "100", "1", n=1))
    books.hear("manual", fill(Side.BUY, "3", "120", "3", n=2))
    books.hear("manual", fill(Side.SELL, "2", "115", "2", n=3))
    books.hear("trend", fill(Side.BUY, "1", "90", n=4))
    books.fund(FundingPayment("fake", SYMBOL, "f", D("0.3"), "USDT", 50))
    histories = {(SYMBOL, owner): books.history(owner) for owner in ("trend", "manual")}
    manual, trend = analyze_owners(histories, {SYMBOL: D(130)}, RULES)
    assert (manual.owner, trend.owner, trend.hit_rate, trend.mean_holding_ns) == ("manual", "trend", None, None)
    assert [(t.entry_id, t.exit_id, t.gross_pnl, t.fees) for t in manual.trips] == [
        ("1", "3", 15, 2),
        ("2", "3", -5, 2),
    ]
    assert (manual.realised_pnl, manual.unrealised_pnl, manual.fees, manual.funding) == (10, 20, 6, D("0.2"))
    assert (manual.net_pnl, manual.hit_rate, manual.gains, manual.losses) == (D("24.2"), 0.5, 13, -7)
    assert (manual.mean_holding_ns, manual.fills, manual.quantity) == (15, 3, 2)
    assert trend.net_pnl == D("40.1")
    unmarked = analyze_owners(histories, {}, RULES)[0]
    assert unmarked.unrealised_pnl == 0
    assert analyze_owners(histories, {}, {}) == ()


def test_a_loss_without_profit_is_no_hit() -> None:
    even = History([BookedFill(fill(s, "1", "100", n=n), D(0), 0) for n, s in enumerate((Side.BUY, Side.SELL))])
    (stats,) = analyze_owners({(SYMBOL, "manual"): even}, {}, RULES)
    assert (stats.hit_rate, stats.gains, stats.losses) == (0.0, 0, 0)


@QUICK
@given(steps, prices)
def test_the_owners_together_are_the_account(sequence: list[Step], mark: Decimal) -> None:
    books = play(sequence)
    histories = {(SYMBOL, owner): books.history(owner) for owner in books.positions}
    owners = analyze_owners(histories, {SYMBOL: mark}, RULES)
    net = sum((stats.net_pnl for stats in owners), start=D(0))
    quantity = sum((position.quantity for position in books.positions.values()), start=D(0))
    assert net == sum(books.cash.values(), start=D(0)) + quantity * mark
    assert all(s.gains + s.losses == sum((t.pnl for t in s.trips), start=D(0)) for s in owners)


async def test_the_journal_tells_every_owner(desk: Desk) -> None:
    executor = await desk.start()
    await trade(executor, desk, Side.BUY, "1", "100")
    await trade(executor, desk, Side.BUY, "1", "110", "trend")
    positions_desk(executor, desk).transfer(SYMBOL, "trend", "manual", "")
    await trade(executor, desk, Side.SELL, "1.5", "120")
    manual, trend = analyze_owners(desk.journal.histories(), {SYMBOL: D(120)}, RULES)
    assert manual.realised_pnl == executor.position(SYMBOL, "manual").fifo_pnl
    assert [t.entry_price for t in manual.trips] == [100, 110]
    assert (trend.trips, trend.fees, trend.net_pnl) == ((), D("0.11"), D("-0.11"))
