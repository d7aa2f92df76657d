"""Lots, funding, late prices and transfers through the journal: one commit each, and the same after a restart."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings

from core.config import DataPaths
from core.domain.orders import Intent, IntentSource, OrderDraft, OrderState, OrderType, Side
from core.domain.positions import Cursor, FundingPayment, Lot, Position
from core.errors import UserError
from core.events import PositionChanged
from core.execution.executor import Executor
from core.execution.journal import Journal
from core.execution.position_desk import PositionDesk
from core.execution.position_rebuild import load_positions
from core.execution.position_tracker import replay
from core.persistence.schema import ensure_migrated
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import BTC
from tests.unit.execution.test_fifo_lots import Step, play, steps

D = Decimal
SYMBOL = "BTC/USDT"
OLD = Path(__file__).parents[1] / "persistence" / "journal_0001.sql"
RULES = {SYMBOL: BTC}


async def buy(executor: Executor, desk: Desk, quantity: str, price: str, owner: str = "manual") -> None:
    await trade(executor, desk, Side.BUY, quantity, price, owner)


async def trade(executor: Executor, desk: Desk, side: Side, quantity: str, price: str, owner: str = "manual") -> None:
    desk.venue.clock.advance(3_000_000_000)
    desk.venue.prices[SYMBOL] = D(price)
    number = desk.venue.clock.now_ns()
    source = IntentSource.MANUAL if owner == "manual" else IntentSource.STRATEGY
    intent = Intent(f"{owner}:{number}", source, owner, SYMBOL, side, D(quantity), OrderType.MARKET, created_ns=number)
    order = await executor.submit(intent)
    assert order.state is OrderState.FILLED, order.message


def positions_desk(executor: Executor, desk: Desk) -> PositionDesk:
    return PositionDesk(desk.journal, executor._manager, executor._marks, desk.venue, desk.venue.clock)


def built_anew(journal: Journal, owner: str) -> Position:
    return replay(Position("fake", SYMBOL, owner), journal.history(SYMBOL, owner), BTC)[0]


async def test_lots_are_written_with_the_fill_and_survive(desk: Desk) -> None:
    executor = await desk.start()
    await buy(executor, desk, "1", "100")
    await buy(executor, desk, "0.5", "120")
    await trade(executor, desk, Side.SELL, "1.2", "130")
    position = executor.position(SYMBOL, "manual")
    assert [(lot.quantity, lot.price) for lot in position.lots] == [(D("0.2985"), D(120))]
    assert position.fifo_pnl == D("0.999") * 30 + D("0.201") * 10
    assert desk.journal.positions() == [position]
    await executor.stop()
    second = await desk.start()
    assert second.position(SYMBOL, "manual") == position == built_anew(desk.journal, "manual")


async def test_a_fill_that_cannot_be_written_leaves_no_lot(desk: Desk) -> None:
    executor = await desk.start()
    await buy(executor, desk, "1", "100")
    before = desk.journal.positions()
    with desk.journal._engine.connect() as connection:
        connection.execute(sa.text("DROP TABLE lots"))
        connection.commit()
    late = replace(desk.journal.fills()[0], trade_id="9999", time_ns=desk.venue.clock.now_ns() + 1)
    with pytest.raises(sa.exc.OperationalError, match="no such table"):
        executor._manager.book(late)
    assert len(desk.journal.fills()) == 1
    assert executor.position(SYMBOL, "manual") == before[0]


async def test_a_late_fill_is_booked_where_it_belongs_and_a_repeated_one_not_at_all(desk: Desk) -> None:
    executor = await desk.start()
    await buy(executor, desk, "1", "100")
    await buy(executor, desk, "1", "120")
    order = desk.journal.orders()[0]
    first, second = desk.journal.fills()
    missed = replace(first, trade_id="777", time_ns=first.time_ns + 1, price=D(90), quantity=D("0.5"), fee=D(0))
    missed = replace(missed, client_order_id=order.key, venue_order_id=order.order.venue_order_id)
    assert executor._manager.book(missed)
    assert not executor._manager.book(missed)
    assert not executor._manager.book(replace(second, client_order_id=order.key))
    position = executor.position(SYMBOL, "manual")
    assert [lot.price for lot in position.lots] == [D(100), D(90), D(120)]
    assert position == built_anew(desk.journal, "manual") == desk.journal.positions()[0]
    assert position.cursor.trade_id == second.trade_id


async def test_funding_is_booked_once_and_survives(desk: Desk) -> None:
    executor = await desk.start()
    books = positions_desk(executor, desk)
    await buy(executor, desk, "1", "100")
    await buy(executor, desk, "3", "100", "trend")
    payment = FundingPayment("fake", SYMBOL, "f1", D("-0.4"), "USDT", desk.venue.clock.now_ns())
    assert books.book_funding(payment)
    assert not books.book_funding(payment)
    assert executor.position(SYMBOL, "trend").funding == D("-0.3")
    assert executor.position(SYMBOL, "manual").funding == D("-0.1")
    assert desk.said(PositionChanged)[-1].position.funding == D("-0.3")
    for owner in ("manual", "trend"):
        assert built_anew(desk.journal, owner) == executor.position(SYMBOL, owner)
    await executor.stop()
    second = await desk.start()
    assert second.position(SYMBOL, "trend").funding == D("-0.3")


async def test_fees_and_funding_without_a_price_are_priced_later(desk: Desk) -> None:
    executor = await desk.start()
    books = positions_desk(executor, desk)
    asked: list[tuple[str, str]] = []
    executor._manager.on_unpriced = lambda currency, quote: asked.append((currency, quote))
    desk.venue.fee_currency = "BNB"
    await buy(executor, desk, "1", "100")
    books.book_funding(FundingPayment("fake", SYMBOL, "f1", D("0.5"), "XYZ", 5))
    position = executor.position(SYMBOL, "manual")
    assert (position.unpriced, position.fees, position.funding) == (2, 0, 0)
    assert asked == [("BNB", "USDT"), ("XYZ", "USDT")]
    books.price_open_amounts()
    assert asked[2:] == [("BNB", "USDT"), ("XYZ", "USDT")]
    reads: list[str] = []
    read = desk.journal.history
    desk.journal.history = lambda *key: reads.append("read") or read(*key)  # type: ignore[method-assign]
    books.price_open_amounts()
    assert reads == []  # nothing has changed since
    executor._marks.update("BNB/USDT", D(600))
    books.price_open_amounts()
    position = executor.position(SYMBOL, "manual")
    assert (position.unpriced, position.fees, position.lots[0].fee) == (1, D("0.6"), D("0.6"))
    executor._marks.update("USDT/XYZ", D(4))
    books.price_open_amounts()
    position = executor.position(SYMBOL, "manual")
    assert (position.unpriced, position.funding) == (0, D("0.125"))
    assert built_anew(desk.journal, "manual") == position == desk.journal.positions()[0]
    books.price_open_amounts()
    assert len(reads) == 3


async def test_a_transfer_is_one_commit_and_survives(desk: Desk) -> None:
    executor = await desk.start()
    books = positions_desk(executor, desk)
    await buy(executor, desk, "1", "100", "trend")
    await buy(executor, desk, "1", "110")
    await buy(executor, desk, "1", "120", "trend")
    await trade(executor, desk, Side.SELL, "0.5", "130", "trend")
    before = sum(p.quantity for p in executor.positions)
    moved = books.transfer(SYMBOL, "trend", "manual", "taken over")
    assert moved.quantity == D("1.498")
    trend, manual = executor.position(SYMBOL, "trend"), executor.position(SYMBOL, "manual")
    assert (trend.quantity, trend.lots, trend.realised_pnl > 0, trend.fees > 0) == (0, (), True, True)
    assert [lot.price for lot in manual.lots] == [D(100), D(110), D(120)]
    assert manual.quantity == before
    assert (manual.fifo_pnl, manual.realised_pnl) == (0, 0)
    assert desk.journal.commands("transfer")[0].payload["quantity"] == "1.498"
    await trade(executor, desk, Side.SELL, "2", "125")
    await executor.stop()
    second = await desk.start()
    for owner in ("manual", "trend"):
        assert second.position(SYMBOL, owner) == executor.position(SYMBOL, owner) == built_anew(desk.journal, owner)


async def test_a_fill_of_an_earlier_chapter_heard_again_changes_nothing(desk: Desk) -> None:
    executor = await desk.start()
    await buy(executor, desk, "1", "100", "trend")
    (first,) = desk.journal.fills()
    positions_desk(executor, desk).transfer(SYMBOL, "trend", "manual", "")
    before = executor.positions
    assert not executor._manager.book(first)
    assert executor.positions == before
    missed = replace(first, trade_id="777", time_ns=first.time_ns - 1)  # older, and heard after: it counts after
    assert executor._manager.book(missed)
    assert [lot.trade_id for lot in executor.position(SYMBOL, "trend").lots] == ["777"]
    assert executor.position(SYMBOL, "manual") == built_anew(desk.journal, "manual")
    assert executor.position(SYMBOL, "trend") == built_anew(desk.journal, "trend")


async def test_a_transfer_that_cannot_be_is_one_sentence(desk: Desk) -> None:
    executor = await desk.start()
    books = positions_desk(executor, desk)
    with pytest.raises(UserError, match="trend holds nothing in BTC/USDT"):
        books.transfer(SYMBOL, "trend", "manual", "")
    await buy(executor, desk, "1", "100")
    with pytest.raises(UserError, match="belongs to manual already"):
        books.transfer(SYMBOL, "manual", "manual", "")
    draft = OrderDraft(SYMBOL, Side.SELL, OrderType.LIMIT, D("0.5"), limit_price=D(104))
    order = await executor.place_order(draft)
    assert order.state is OrderState.ACCEPTED
    with pytest.raises(UserError, match="while orders of it work"):
        books.transfer(SYMBOL, "manual", "trend", "")
    await executor.cancel_order(order.client_order_id)
    await trade(executor, desk, Side.SELL, "0.1", "100", "short")
    with pytest.raises(UserError, match="stand on opposite sides"):
        books.transfer(SYMBOL, "manual", "short", "")
    books.transfer(SYMBOL, "manual", "trend", "")
    assert desk.journal.commands("transfer")[0].payload["to_owner"] == "trend"


@pytest.fixture
def old(tmp_path: Path) -> DataPaths:
    """A data folder as the version before lots left it: two owners, a fee in BNB nobody could price."""
    paths = DataPaths(tmp_path / "old").create()
    with closing(sqlite3.connect(paths.journal_db)) as made:
        made.executescript(OLD.read_text())
    return paths


def test_an_old_journal_gets_its_lots_from_its_fills(old: DataPaths) -> None:
    ensure_migrated(old)
    journal = Journal(old.journal_db)
    try:
        before = {p.owner: p for p in journal.positions()}
        assert journal.positions_without_lots() == [(SYMBOL, "manual"), (SYMBOL, "trend")]
        assert load_positions(journal, {})[0].lots == ()  # a market that is gone waits
        after = {p.owner: p for p in load_positions(journal, RULES)}
        for owner, position in after.items():
            written = before[owner]
            assert (position.quantity, position.average_price) == (written.quantity, written.average_price)
            assert (position.realised_pnl, position.fees) == (written.realised_pnl, written.fees)
        manual = after["manual"]
        assert [(lot.trade_id, lot.quantity, lot.price) for lot in manual.lots] == [
            ("5", D("0.2985"), D(120)),
            ("11", D("0.2"), D(125)),
        ]
        assert (manual.unpriced, manual.fifo_pnl) == (1, D("31.980"))
        assert manual.cursor == Cursor(0, 1700000012000000000, "11")
        assert after["trend"].lots == (Lot("7", 1700000006000000000, D("0.1997"), D(120), after["trend"].lots[0].fee),)
        assert journal.positions_without_lots() == []
        assert {p.owner: p for p in journal.positions()} == after
        assert {p.owner: p for p in load_positions(journal, RULES)} == after
    finally:
        journal.close()


def test_fills_decide_where_an_old_journal_contradicts_itself(old: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    ensure_migrated(old)
    with closing(sqlite3.connect(old.journal_db)) as changed:
        changed.execute("UPDATE positions SET quantity = '7' WHERE owner = 'trend'")
        changed.commit()
    journal = Journal(old.journal_db)
    try:
        built = {p.owner: p.quantity for p in load_positions(journal, RULES)}
        assert built == {"manual": D("0.4985"), "trend": D("0.1997")}
        assert "7 was written, its fills make 0.1997" in caplog.text
    finally:
        journal.close()


def test_quantities_of_an_old_journal_are_read_without_migrating_it(old: DataPaths) -> None:
    journal = Journal(old.journal_db)
    try:
        held = {p.owner: p.quantity for p in journal.holdings()}
        assert held == {"manual": D("0.4985"), "trend": D("0.1997")}
        assert journal.unsettled_orders() == []  # the other thing that `main.py kill` reads
    finally:
        journal.close()


async def test_an_executor_goes_on_with_an_old_journal(desk: Desk, old: DataPaths) -> None:
    ensure_migrated(old)
    desk.paths.journal_db.unlink()
    shutil.copy(old.journal_db, desk.paths.journal_db)
    desk.venue.free |= {"BTC": D("0.6982")}
    desk.venue._next_id = 100  # trade ids go on where the old journal ends
    desk.venue.clock.advance(60_000_000_000)
    executor = await desk.start()
    await trade(executor, desk, Side.SELL, "0.3", "140")
    position = executor.position(SYMBOL, "manual")
    assert [lot.trade_id for lot in position.lots] == ["11"]
    assert sum(lot.quantity for lot in position.lots) == position.quantity == D("0.1985")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_the_file_holds_the_lots_of_the_position_whatever_changed(migrated: Path, sequence: list[Step]) -> None:
    """Also for a journal that was just opened and has to read what it does not remember."""
    path = Path(tempfile.mkdtemp(dir=migrated.parent)) / "journal.sqlite"
    shutil.copy(migrated / "journal.sqlite", path)
    journal = Journal(path)
    try:
        for number in range(1, len(sequence) + 1):
            made = play(sequence[:number]).positions
            for position in made.values():
                journal.save_position(position)
            if number % 3 == 0:
                journal.close()
                journal = Journal(path)
            assert {p.owner: p for p in journal.positions()} == made
    finally:
        journal.close()
