from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QColor
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot

from app.flows.sample_session import sample_events, sample_instruments, sample_order, sample_tickers
from app.i18n import Language, set_language, tr
from app.models.format import age, machine, milliseconds, signed, signed_percent
from app.models.hub import WindowModels
from app.models.log_model import LOG_LIMIT, LogLevel, LogModel, level_of
from app.models.notifications_model import NotificationsModel
from app.models.orders_model import OrdersModel, is_open
from app.models.precision import Precision
from app.models.record_model import FLUSH_ROWS, SORT_ROLE, RecordProxy
from app.theme import ThemeName, palette
from core.clock import NS_PER_S
from core.domain.market import Ticker
from core.domain.order_plans import OrderPlan, PlanDraft, PlanKind
from core.domain.orders import OrderState, Side, TradingMode, TradingState
from core.domain.positions import Balance, Lot, Ownership, Position, Transfer
from core.events import (
    AccountOpened,
    BalancesChanged,
    BooksTold,
    ConnectionState,
    ConnectionStatus,
    FillBooked,
    Notice,
    OrderUpdated,
    OwnershipChanged,
    PlanUpdated,
    PositionChanged,
    Severity,
    StrategyState,
    StrategyStatus,
    TradingStateChanged,
    TransferBooked,
)

NOW = 1_780_000_000 * NS_PER_S


@pytest.fixture
def models(qtbot: QtBot) -> WindowModels:
    hub = WindowModels(lambda: NOW)
    hub.set_instruments(sample_instruments())
    return hub


def cell(model: OrdersModel, row: int, column: str, role: int = Qt.ItemDataRole.DisplayRole) -> object:
    return model.data(model.index(row, model.column_index(column)), role)


def test_every_model_obeys_the_protocol(models: WindowModels, qtmodeltester: ModelTester) -> None:
    for ticker in sample_tickers(NOW):
        models.set_ticker(ticker)
    for event in sample_events(NOW):
        models.apply(event)
    models.apply(
        PlanUpdated(OrderPlan("p1", PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, Decimal(1), slices=2, duration_s=9)))
    )
    models.flush()
    for table in models.tables:
        assert table.rowCount() > 0
        qtmodeltester.check(table)
        qtmodeltester.check(RecordProxy(table))


def test_tables_call_a_strategy_by_its_title_whichever_comes_first() -> None:
    models = WindowModels(lambda: NOW)
    strategies = [event for event in sample_events(NOW) if isinstance(event, StrategyStatus)]
    rest = [event for event in sample_events(NOW) if not isinstance(event, StrategyStatus)]
    for event in rest:
        models.apply(event)
    models.flush()
    for event in strategies:
        models.apply(event)
    for table in (models.orders, models.positions, models.fills):
        column = table.column_index("owner")
        shown = {table.index(row, column).data() for row in range(table.rowCount())}
        assert "Bitcoin hourly" in shown
        assert strategies[0].strategy_id not in shown


def test_a_flush_costs_one_signal_however_many_updates(qtbot: QtBot) -> None:
    model = OrdersModel(Precision())
    for number in range(50):
        model.put(sample_order(number, NOW))
    inserted: list[tuple[int, int]] = []
    changed: list[tuple[int, int]] = []
    model.rowsInserted.connect(lambda _parent, first, last: inserted.append((first, last)))
    model.dataChanged.connect(lambda top, bottom: changed.append((top.row(), bottom.row())))
    assert model.flush()
    assert inserted == [(0, 49)]
    for _ in range(20):
        for number in (7, 9, 30):
            model.put(sample_order(number, NOW, state=OrderState.FILLED, filled="0.01"))
    assert model.flush()
    assert changed == [(7, 30)]
    assert not model.flush()


def test_a_burst_is_spread_over_flushes_and_nothing_is_lost(qtbot: QtBot) -> None:
    model = OrdersModel(Precision())
    for number in range(FLUSH_ROWS + 50):
        model.put(sample_order(number, NOW))
    assert model.flush()
    assert model.rowCount() == FLUSH_ROWS
    assert len(model.records()) == FLUSH_ROWS + 50
    assert model.flush()
    assert model.rowCount() == FLUSH_ROWS + 50
    changed: list[tuple[int, int]] = []
    model.dataChanged.connect(lambda top, bottom: changed.append((top.row(), bottom.row())))
    for number in (1, 2, 240):
        model.put(sample_order(number, NOW, state=OrderState.CANCELED))
    model.flush()
    assert changed == [(1, 2), (240, 240)]


def test_rows_are_removed_and_found_again(qtbot: QtBot) -> None:
    model = OrdersModel(Precision())
    for number in range(5):
        model.put(sample_order(number, NOW))
    model.flush()
    model.discard("maru-000001")
    model.discard("maru-000003")
    model.discard("unknown")
    model.flush()
    assert [o.client_order_id for o in model.records()] == ["maru-000000", "maru-000002", "maru-000004"]
    model.put(sample_order(4, NOW, state=OrderState.CANCELED))
    model.flush()
    assert cell(model, 2, "state") == "Cancelled"
    assert model.record("maru-000001") is None


def test_the_limit_drops_the_oldest(qtbot: QtBot) -> None:
    model = LogModel()
    for number in range(LOG_LIMIT + 30):
        model.add(NOW, LogLevel.INFO, "test", f"line {number}")
    while model.flush():
        pass
    assert model.rowCount() == LOG_LIMIT
    assert model.record_at(0).text == "line 30"
    assert model.record_at(LOG_LIMIT - 1).text == f"line {LOG_LIMIT + 29}"


def test_a_paused_log_holds_lines_back(qtbot: QtBot) -> None:
    model = LogModel()
    model.paused = True
    model.add(NOW, LogLevel.INFO, "test", "two\nlines")
    assert not model.flush()
    assert model.rowCount() == 0
    model.paused = False
    assert model.flush()
    assert model.record_at(0).text == "two lines"


def test_sorting_uses_numbers_not_text(qtbot: QtBot) -> None:
    model = OrdersModel(Precision())
    for number, price in enumerate(("9", "10", "100", "2")):
        model.put(sample_order(number, NOW, price=price))
    model.flush()
    proxy = RecordProxy(model)
    proxy.sort(model.column_index("price"), Qt.SortOrder.AscendingOrder)
    prices = [proxy.record_at(row).intent.limit_price for row in range(proxy.rowCount())]
    assert prices == [Decimal(2), Decimal(9), Decimal(10), Decimal(100)]
    assert cell(model, 0, "price", SORT_ROLE) == 9.0


def test_the_filter_follows_changes(qtbot: QtBot) -> None:
    model = OrdersModel(Precision())
    model.put(sample_order(1, NOW))
    model.put(sample_order(2, NOW, symbol="ETH/USDT"))
    model.flush()
    proxy = RecordProxy(model)
    proxy.set_filter(is_open)
    assert proxy.rowCount() == 2
    model.put(sample_order(1, NOW, state=OrderState.FILLED, filled="0.01"))
    model.flush()
    assert proxy.rowCount() == 1
    proxy.set_filter(None)
    proxy.set_search("eth")
    assert [proxy.record_at(0).intent.symbol] == ["ETH/USDT"]
    assert proxy.rowCount() == 1


def test_cells_are_right_aligned_coloured_and_precise(models: WindowModels) -> None:
    orders = models.orders
    orders.set_palette(palette(ThemeName.DARK))
    models.apply(OrderUpdated(sample_order(1, NOW, price="60450")))
    models.flush()
    assert cell(orders, 0, "price") == "60,450.00"
    assert cell(orders, 0, "quantity") == "0.01000"
    alignment = cell(orders, 0, "price", Qt.ItemDataRole.TextAlignmentRole)
    assert isinstance(alignment, int)
    assert alignment & int(Qt.AlignmentFlag.AlignRight)
    colour = cell(orders, 0, "side", Qt.ItemDataRole.ForegroundRole)
    assert colour.name().upper() == palette(ThemeName.DARK).up  # type: ignore[attr-defined]
    assert cell(orders, 0, "average") == "—"
    assert orders.data(QModelIndex()) is None
    assert orders.headerData(0, Qt.Orientation.Vertical) is None


def test_language_changes_cells_and_headers(models: WindowModels) -> None:
    models.apply(OrderUpdated(sample_order(1, NOW)))
    models.flush()
    set_language(Language.KOREAN)
    models.retranslate()
    assert cell(models.orders, 0, "state") == "미체결"
    header = models.orders.headerData(models.orders.column_index("quantity"), Qt.Orientation.Horizontal)
    assert header == "수량"


def test_books_told_at_the_start_are_not_news(models: WindowModels) -> None:
    heard: list[str] = []
    models.notice_added.connect(lambda row: heard.append(row.notice.title))
    events = sample_events(NOW, TradingMode.PRACTICE)
    fills = [event for event in events if isinstance(event, FillBooked)]
    lost = OrderUpdated(sample_order(99, NOW, state=OrderState.UNKNOWN))
    orders = [*(event for event in events if isinstance(event, OrderUpdated)), lost]
    assert len(fills) > 1
    assert len(orders) > 2
    for event in (AccountOpened("practice:a"), *orders, *fills, BooksTold()):
        models.apply(event)
    models.flush()
    assert models.fills.rowCount() == len(fills)
    assert heard == [f"Order without an answer: {lost.order.intent.symbol}"]
    models.apply(fills[0])
    assert len(heard) == 2


def test_equity_counts_a_market_nobody_looks_at_at_the_price_of_its_position(models: WindowModels) -> None:
    balances = (Balance("USDT", Decimal(1000), Decimal(0)), Balance("BTC", Decimal("0.5"), Decimal(0)))
    models.apply(BalancesChanged(balances))
    assert models.equity("USDT") is None
    position = Position("binance", "BTC/USDT", "manual", Decimal("0.5"), Decimal(100))
    models.apply(PositionChanged(position, Decimal(100)))
    models.flush()
    assert models.equity("USDT") == 1050
    models.set_ticker(Ticker("BTC/USDT", 120.0, 119.0, 121.0, 0.0, 0.0, NOW))
    assert models.equity("USDT") == 1060
    models.apply(PositionChanged(position, Decimal(140)))  # another market is watched by now
    models.flush()
    assert (models.equity("USDT"), models.profit()) == (1070, 20)


def test_notices_of_earlier_sessions_are_listed_but_not_told(models: WindowModels) -> None:
    heard: list[object] = []
    models.notice_added.connect(heard.append)
    models.add_notice(Notice(Severity.INFO, "now"))
    models.notifications.restore([(NOW - 2, Notice(Severity.ERROR, "then")), (NOW - 1, Notice(Severity.ERROR, "then"))])
    models.flush()
    assert [row.notice.title for row in models.notifications.records()] == ["now", "then", "then"]
    assert len(heard) == 1


def test_positions_follow_the_price(models: WindowModels) -> None:
    for event in sample_events(NOW):
        models.apply(event)
    models.flush()
    ticker = sample_tickers(NOW)[0]
    models.set_ticker(replace(ticker, last=60_000.0))
    row = models.positions.record("btcusdt-1h-9f41c07b\nBTC/USDT")
    assert row is not None
    assert row.mark == Decimal("60000.0")
    assert row.open_pnl == (Decimal("60000.0") - Decimal("59642.16")) * Decimal("0.0842")
    assert models.positions.net_quantity("BTC/USDT") == Decimal("0.0842")
    models.flush()


def test_account_figures_need_every_price(models: WindowModels) -> None:
    assert models.equity("USDT") is None
    assert models.profit() is None
    for event in sample_events(NOW):
        if not isinstance(event, PositionChanged):
            models.apply(event)
    assert models.equity("USDT") is None
    for event in sample_events(NOW):
        models.apply(event)
    for ticker in sample_tickers(NOW):
        models.set_ticker(ticker)
    expected = Decimal("8421.37") + Decimal("612.04")
    expected += Decimal("0.0842") * Decimal("61204.5") + Decimal("0.55") * Decimal("3012.77")
    assert models.equity("USDT") == expected
    assert models.profit() is not None


def test_only_news_is_told(models: WindowModels) -> None:
    status = ConnectionStatus("binance", "orders", TradingMode.PRACTICE, ConnectionState.ONLINE, latency_ms=10)
    strategy = StrategyStatus("s", "S", "BTC/USDT", "1h", "", StrategyState.FAILED, "no model")
    for _ in range(5):
        models.apply(replace(status, latency_ms=11))
        models.apply(strategy)
    assert len(models.log.records()) == 2
    assert [row.count for row in models.notifications.records()] == [1]
    assert models.mode is TradingMode.PRACTICE
    models.apply(replace(status, state=ConnectionState.OFFLINE))
    assert len(models.log.records()) == 3
    assert not models.ticket_context("BTC/USDT").online


def test_the_trading_state_reaches_the_ticket(models: WindowModels) -> None:
    models.apply(TradingStateChanged(TradingState.HALTED, "stopped with STOP", "2 cancelled"))
    assert models.ticket_context("BTC/USDT").trading_state is TradingState.HALTED
    assert models.notifications.records()[0].notice.title == "Trading is halted"


@pytest.mark.parametrize(("first", "then"), [(Language.ENGLISH, Language.KOREAN), (Language.KOREAN, Language.ENGLISH)])
def test_titles_of_notices_follow_a_switch_of_the_language(first: Language, then: Language) -> None:
    titles = {Language.ENGLISH: "Training finished: BTC/USDT 1h", Language.KOREAN: "학습 완료: BTC/USDT 1h"}
    set_language(first)
    model = NotificationsModel()
    body = "No evidence of an edge over persistence (R² +0.04% on 1,333 unseen bars, p = 0.310)."
    model.add(Notice(Severity.INFO, tr("Training finished: {market}", market="BTC/USDT 1h"), body), 1)
    model.flush()
    set_language(then)
    model.retranslate()
    title, text = (model.index(0, model.column_index(name)).data() for name in ("title", "text"))
    assert title == titles[then]
    assert (text == body) == (then is Language.ENGLISH)


def test_repeated_notices_are_folded(qtbot: QtBot) -> None:
    model = NotificationsModel()
    notice = Notice(Severity.ERROR, "Broken", "again")
    for second in range(3):
        model.add(notice, NOW + second * NS_PER_S)
    assert model.add(notice, NOW + 600 * NS_PER_S).count == 1
    model.flush()
    assert [row.count for row in model.records()] == [3, 1]


def test_words_for_numbers() -> None:
    assert signed(Decimal("12.345")) == "▲ +12.34"
    assert signed(Decimal(-1)) == "▼ −1.00"
    assert signed(0) == "0.00"
    assert signed_percent(0.0123) == "▲ +1.23\u00a0%"
    assert machine("▼ −1,234.50") == "-1234.50"
    assert machine(signed_percent(0.0123)) == "1.23%"
    assert milliseconds(None) == "—"
    assert milliseconds(12_345) == "12\u00a0s"
    assert (age(400_000_000), age(15 * NS_PER_S), age(300 * NS_PER_S)) == ("0.4\u00a0s", "15\u00a0s", "5\u00a0min")
    assert (level_of(5), level_of(35), level_of(50)) == (LogLevel.DEBUG, LogLevel.WARNING, LogLevel.ERROR)


def test_a_trading_state_that_did_not_change_is_no_news(models: WindowModels) -> None:
    models.apply(TradingStateChanged(TradingState.ACTIVE, "first start"))
    assert models.notifications.rowCount() == 0
    models.apply(TradingStateChanged(TradingState.HALTED, "stopped with STOP"))
    models.apply(TradingStateChanged(TradingState.HALTED, "stopped with STOP", "report.json"))
    models.apply(TradingStateChanged(TradingState.ACTIVE, "re-armed"))
    models.flush()
    assert models.notifications.rowCount() == 3


def test_an_order_keeps_the_time_it_was_created_at() -> None:
    model = OrdersModel(Precision())
    placed = sample_order(1, NOW)
    model.put(replace(placed, state=OrderState.CANCELED, updated_ns=NOW + 90 * NS_PER_S))
    model.flush()
    assert cell(model, 0, "time", SORT_ROLE) == NOW
    assert cell(model, 0, "updated", SORT_ROLE) == NOW + 90 * NS_PER_S
    assert cell(model, 0, "time") != cell(model, 0, "updated")


def test_orders_that_ended_are_muted(models: WindowModels) -> None:
    model = models.orders
    dark = palette(ThemeName.DARK)
    model.set_palette(dark)
    model.put(sample_order(1, NOW))
    model.put(sample_order(2, NOW, state=OrderState.CANCELED))
    model.put(sample_order(3, NOW, state=OrderState.REJECTED))
    model.flush()
    colour = Qt.ItemDataRole.ForegroundRole
    assert cell(model, 0, "symbol", colour) is None
    for column in ("symbol", "side", "owner", "quantity", "state"):
        assert cell(model, 1, column, colour) == QColor(dark.muted)
    assert cell(model, 2, "state", colour) == QColor(dark.danger)  # why it ended stays in its colour


def test_a_market_of_several_owners_has_a_total(models: WindowModels) -> None:
    lot = Lot("1", NOW, Decimal("0.5"), Decimal(100))
    mine = Position("binance", "BTC/USDT", "manual", Decimal("0.5"), Decimal(100), Decimal(3), Decimal(1), lots=(lot,))
    its = replace(mine, owner="trend", average_price=Decimal(110), fifo_pnl=Decimal(2), funding=Decimal(-1), unpriced=2)
    its = replace(its, lots=(replace(lot, price=Decimal(120)),))
    for position in (mine, its):
        models.apply(PositionChanged(position, Decimal(130)))
    models.flush()
    positions = models.positions
    row = positions.record("\nBTC/USDT")
    assert row is not None
    assert (row.position.quantity, row.position.average_price) == (1, 105)
    assert (row.open_pnl, row.fifo_open_pnl, row.total_pnl) == (25, 20, 28)
    shown = {column.key: positions.index(2, number).data() for number, column in enumerate(positions.columns)}
    assert (shown["symbol"], shown["owner"], shown["ownership"]) == ("BTC/USDT · total", "All owners", "Shared")
    assert (shown["fees"], shown["funding"]) == ("2.00 + 2 unpriced", "▼ −1.00")
    assert (shown["fifo_open"], shown["fifo_realised"]) == ("▲ +20.00", "▲ +2.00")
    assert positions.is_held(row)
    assert not positions.is_closable(row)
    assert positions.held() == [mine, its]
    assert models.profit() == 28  # the total counts nothing twice
    assert positions.net_quantity("BTC/USDT") == 1
    models.set_ticker(Ticker("BTC/USDT", 140.0, 139.0, 141.0, 0.0, 0.0, NOW))
    models.apply(PositionChanged(replace(its, quantity=Decimal(0), lots=()), None))
    models.flush()
    row = positions.record("\nBTC/USDT")
    assert (row.mark, row.held_owners, positions.is_held(row)) == (140, 1, False)


def test_a_position_without_lots_shows_no_profit_by_lots(models: WindowModels) -> None:
    models.apply(PositionChanged(Position("binance", "BTC/USDT", "manual", Decimal("0.5"), Decimal(100)), Decimal(130)))
    row = models.positions.record("manual\nBTC/USDT")
    assert (row.open_pnl, row.fifo_open_pnl) == (15, None)
    whole = replace(row.position, lots=(Lot("1", NOW, Decimal("0.5"), Decimal(90)),))
    models.apply(PositionChanged(whole, Decimal(130)))
    assert models.positions.record("manual\nBTC/USDT").fifo_open_pnl == 20
    models.apply(PositionChanged(replace(whole, updated_ns=NOW), Decimal(140)))  # the same lots, another price
    row = models.positions.record("manual\nBTC/USDT")
    assert row.fifo_open_pnl == 25
    assert replace(row, mark=None).fifo_open_pnl is None
    models.apply(PositionChanged(replace(row.position, owner="trend", lots=()), None))
    assert models.positions.record("\nBTC/USDT").fifo_open_pnl is None


def test_the_table_says_who_trades_a_market(models: WindowModels) -> None:
    position = Position("binance", "BTC/USDT", "manual", Decimal("0.5"), Decimal(100))
    models.apply(OwnershipChanged("BTC/USDT", Ownership.BOT, "person"))
    models.apply(PositionChanged(position, Decimal(130)))
    models.apply(PositionChanged(replace(position, symbol="ETH/USDT"), Decimal(130)))
    models.flush()
    column = models.positions.column_index("ownership")
    assert [models.positions.index(row, column).data() for row in range(2)] == ["Strategies only", "Shared"]
    models.apply(OwnershipChanged("BTC/USDT", Ownership.MANUAL, "person"))
    models.flush()
    assert [models.positions.index(row, column).data() for row in range(2)] == ["Taken over", "Shared"]
    assert models.log.records()[-1].text == "BTC/USDT: manual (person)"
    lot = Lot("1", NOW, Decimal("0.5"), Decimal(90))
    moved = Transfer("binance", "BTC/USDT", "trend", "manual", Decimal(90), (lot,), "taken over by hand", NOW)
    models.apply(TransferBooked(moved))
    assert models.log.records()[-1].text == "0.5 BTC/USDT moved at cost: trend → manual"


def test_dust_is_no_open_position(models: WindowModels) -> None:
    held = Position("binance", "BTC/USDT", "a", Decimal("0.00001"), Decimal(60_000))
    dust = replace(held, owner="manual", quantity=Decimal("0.00000163"))
    for position in (held, dust, replace(held, owner="b", quantity=Decimal(0))):
        models.positions.set_position(position, Decimal(60_000))
    models.flush()
    assert models.positions.held() == [held]
    shown = {
        column: models.positions.index(1, models.positions.column_index(column)).data()
        for column in ("symbol", "quantity")
    }
    assert shown == {"symbol": "BTC/USDT · dust", "quantity": "0.00000163"}
