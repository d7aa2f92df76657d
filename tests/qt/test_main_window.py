from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QApplication, QCheckBox, QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app.flows.sample_session import sample_instruments, sample_order, sample_tickers
from app.i18n import MISSING, Language
from app.models.model_choice import ModelChoice
from app.settings import CLOSE_ACTION as CLOSE_SETTING
from app.settings import LANGUAGE, LAYOUT_PRESET, THEME, WINDOW_GEOMETRY, CloseAction, LanguageChoice
from app.theme import ThemeChoice
from app.ui.actions import ActionId
from app.ui.command_palette import palette_entries
from app.ui.dialogs.add_strategy_dialog import AddStrategyDialog
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.dialogs.new_account_dialog import NewAccountDialog
from app.ui.layouts import STATE_VERSION, DockName, Preset
from core.domain.orders import OrderState, TradingMode, TradingState
from core.domain.positions import Ownership, Position
from core.events import (
    AccountOpened,
    ConnectionState,
    ConnectionStatus,
    Notice,
    OrderUpdated,
    OwnershipChanged,
    PositionChanged,
    Severity,
    StrategyState,
    StrategyStatus,
    TradingStateChanged,
)
from tests.qt.window_kit import NOW_NS, WindowKit


@pytest.fixture
def kit(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> Iterator[WindowKit]:
    kit = WindowKit(qapp, tmp_path)
    kit.window.show()
    qtbot.waitExposed(kit.window)
    yield kit
    kit.close()


def dialog(kit: WindowKit, name: str) -> ConfirmDialog:
    found = kit.window.findChild(ConfirmDialog, name)
    assert found is not None
    return found


def press(qtbot: QtBot, kit: WindowKit, name: str, answer: str) -> None:
    button = dialog(kit, name).findChild(QPushButton, answer)
    assert button is not None
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_a_session_is_visible(kit: WindowKit) -> None:
    kit.play()
    window = kit.window
    assert window.windowTitle() == "PRACTICE – BTC/USDT – Maru"
    assert window.positions.table.proxy.rowCount() == 2
    assert window.orders.table.proxy.rowCount() == 3
    assert window.fills.table.proxy.rowCount() == 4
    assert window.strategies.table.proxy.rowCount() == 4
    assert window.log.table.proxy.rowCount() > 5
    assert window.status.indicators["orders"].text() == "Orders: online"
    assert window.top_bar.findChild(QLabel, "account_equity").text() == "15,843.85 USDT"
    assert window.ticket.head.market.text() == "BTC/USDT"


def test_the_kill_switch_needs_one_press_and_no_models(qtbot: QtBot, kit: WindowKit) -> None:
    kill = kit.window.top_bar.kill_switch.kill
    assert kill.isVisible()
    qtbot.mouseClick(kill, Qt.MouseButton.LeftButton)
    assert kit.trading.calls == [("kill", False)]
    qtbot.keyClick(kit.window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert kit.trading.named("kill") == [(False,), (False,)]


def test_the_kill_switch_works_beside_an_open_dialog(qtbot: QtBot, kit: WindowKit) -> None:
    kit.window.set_models((ModelChoice("m", "BTC/USDT", "1h", "fine", NOW_NS),))
    kit.window.strategies.open_add_dialog()
    kit.window.strategies.open_add_dialog()
    forms = kit.window.findChildren(AddStrategyDialog)
    assert len(forms) == 1
    assert not forms[0].isModal()
    forms[0].activateWindow()
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(forms[0], Qt.Key.Key_K, keys)
    qtbot.mouseClick(kit.window.top_bar.kill_switch.kill, Qt.MouseButton.LeftButton)
    assert kit.trading.calls == [("kill", False), ("kill", False)]
    forms[0].close()


def test_selling_everything_asks_without_blocking(qtbot: QtBot, kit: WindowKit) -> None:
    kit.play()
    kit.trading.calls.clear()
    menu = kit.window.top_bar.kill_switch.menu
    menu.actions()[1].trigger()
    assert [label.text() for label in dialog(kit, "flatten_dialog").findChildren(QLabel, "stake")] == [
        "•  BTC/USDT  0.0842  (Bitcoin hourly)",
        "•  ETH/USDT  0.55  (Ether quarter-hourly)",
    ]
    menu.actions()[1].trigger()
    assert len(kit.window.findChildren(ConfirmDialog)) == 1
    press(qtbot, kit, "flatten_dialog", "cancel")
    assert kit.trading.calls == []
    qtbot.waitUntil(lambda: not kit.window.findChildren(ConfirmDialog))
    menu.actions()[1].trigger()
    press(qtbot, kit, "flatten_dialog", "flatten")
    assert kit.trading.calls == [("kill", True)]


def test_selling_everything_names_what_is_held_as_positions_does(kit: WindowKit) -> None:
    kit.play()
    mine = Position("binance", "BTC/USDT", "manual", Decimal("0.05994000"), Decimal(60_000))
    kit.window.models.positions.set_position(mine, None)
    kit.window.models.flush()
    kit.window.deeds.ask_flatten()
    stakes = [label.text() for label in dialog(kit, "flatten_dialog").findChildren(QLabel, "stake")]
    assert "•  BTC/USDT  0.05994  (Manual)" in stakes


def test_halted_stays_visible_until_rearmed(qtbot: QtBot, kit: WindowKit) -> None:
    kill = kit.window.top_bar.kill_switch
    kit.window.on_executor_event(TradingStateChanged(TradingState.HALTED, "stopped with STOP"))
    assert kill.halted.isVisible()
    assert kill.halted.text() == "HALTED"
    assert kill.kill.isVisible()
    qtbot.mouseClick(kill.rearm, Qt.MouseButton.LeftButton)
    assert kit.trading.named("rearm") == []
    press(qtbot, kit, "rearm_dialog", "rearm")
    assert kit.trading.named("rearm") == [()]
    assert kill.halted.isVisible()  # the executor has not said so yet
    kit.window.on_executor_event(TradingStateChanged(TradingState.ACTIVE, "re-armed"))
    assert not kill.halted.isVisible()


@pytest.mark.parametrize("mode", list(TradingMode))
def test_the_mode_comes_from_the_executor(kit: WindowKit, mode: TradingMode) -> None:
    badge = kit.window.top_bar.badge
    assert not badge.isVisible()
    assert "Maru" in kit.window.windowTitle()
    kit.window.on_executor_event(ConnectionStatus("binance", "orders", mode, ConnectionState.ONLINE))
    assert badge.isVisible()
    assert badge.text() == mode.name
    assert kit.window.windowTitle().startswith(mode.name)
    assert kit.window.mode_frame.isVisible() == (mode is TradingMode.LIVE)
    if mode is TradingMode.LIVE:
        assert kit.window.mode_frame.geometry() == kit.window.rect()


def test_offline_disables_the_ticket(kit: WindowKit) -> None:
    kit.play()
    offline = ConnectionStatus("binance", "orders", TradingMode.PRACTICE, ConnectionState.OFFLINE, "socket closed")
    kit.window.on_executor_event(offline)
    kit.window.refresh_now()
    assert not kit.window.ticket.deed.isEnabled()
    assert "Offline" in kit.window.ticket.outcome.text()
    assert kit.window.status.indicators["orders"].text() == "Orders: offline"


def test_the_timers_bring_changes_to_the_screen(qtbot: QtBot, kit: WindowKit) -> None:
    with qtbot.waitSignals([kit.window.table_due, kit.window.frame_due]):
        kit.window.on_executor_event(OrderUpdated(sample_order(1, NOW_NS)))
    qtbot.waitUntil(lambda: kit.window.orders.table.proxy.rowCount() == 1)


def test_cancelling_orders(qtbot: QtBot, kit: WindowKit) -> None:
    kit.play()
    kit.window.layouts.show(DockName.ORDERS)
    orders = kit.window.orders
    assert not orders.cancel_selected.isEnabled()
    orders.table.select_key("maru-000002")
    qtbot.mouseClick(orders.cancel_selected, Qt.MouseButton.LeftButton)
    assert kit.trading.named("cancel_order") == [("maru-000002",)]
    pending = sample_order(2, NOW_NS, symbol="ETH/USDT", state=OrderState.PENDING_CANCEL)
    kit.window.on_executor_event(OrderUpdated(pending))
    kit.window.refresh_now()
    assert not orders.cancel_selected.isEnabled()
    qtbot.mouseClick(orders.cancel_all, Qt.MouseButton.LeftButton)
    assert kit.trading.named("cancel_all") == [(None,)]
    qtbot.mouseClick(orders.open_only, Qt.MouseButton.LeftButton)
    assert orders.table.proxy.rowCount() == 6


def test_dust_stands_behind_show_closed_and_is_not_offered_for_sale(qtbot: QtBot, kit: WindowKit) -> None:
    dust = Position("binance", "BTC/USDT", "manual", Decimal("0.00000163"), Decimal(60_000))
    kit.window.on_executor_event(PositionChanged(dust, Decimal(60_000)))
    kit.window.layouts.show(DockName.POSITIONS)
    kit.window.refresh_now()
    positions = kit.window.positions
    assert positions.table.proxy.rowCount() == 1
    kit.window.set_instruments(sample_instruments())  # only now it is known to be less than a lot
    assert positions.table.proxy.rowCount() == 0
    qtbot.mouseClick(positions.show_flat, Qt.MouseButton.LeftButton)
    assert positions.table.proxy.rowCount() == 1
    assert "dust" in positions.table.proxy.index(0, 0).data()
    positions.table.view.selectRow(0)
    assert not positions.close_position.isEnabled()
    kit.window.deeds.ask_flatten()
    assert not dialog(kit, "flatten_dialog").findChildren(QLabel, "stake")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("after", [OrderState.PENDING_CANCEL, OrderState.CANCELED])
def test_a_second_press_of_cancel_selected_does_not_cancel_everything(
    qtbot: QtBot, kit: WindowKit, after: OrderState, count: int
) -> None:
    orders = kit.window.orders
    for number in range(1, count + 1):
        kit.window.on_executor_event(OrderUpdated(sample_order(number, NOW_NS)))
    kit.window.layouts.show(DockName.ORDERS)
    kit.window.refresh_now()
    kit.window.activateWindow()
    orders.table.select_key("maru-000001")
    orders.cancel_selected.setFocus()
    qtbot.keyClick(orders.cancel_selected, Qt.Key.Key_Space)
    kit.window.on_executor_event(OrderUpdated(sample_order(1, NOW_NS, state=after)))
    kit.window.refresh_now()
    assert not orders.cancel_selected.isEnabled()
    focused = kit.window.focusWidget()
    assert focused is not None
    assert orders.table.isAncestorOf(focused)
    qtbot.keyClick(focused, Qt.Key.Key_Space)
    assert kit.trading.named("cancel_all") == []
    assert len(kit.trading.named("cancel_order")) == 1


def test_the_state_of_an_order_is_in_sight_in_a_common_window(qtbot: QtBot, kit: WindowKit) -> None:
    chart, book = QWidget(), QWidget()
    kit.window.attach_dock("chart", chart)
    kit.window.attach_dock("order_book", book)
    kit.play()
    kit.window.resize(1440, 840)
    kit.window.layouts.show(DockName.ORDERS)
    qtbot.wait(20)
    view = kit.window.orders.table.view
    column = kit.window.models.orders.column_index("state")
    right = view.columnViewportPosition(column) + view.columnWidth(column)
    assert right <= view.viewport().width()


def test_a_table_forgets_columns_saved_for_another_version(kit: WindowKit) -> None:
    table = kit.window.orders.table
    table.view.setColumnWidth(1, 199)
    saved = table.save_header()
    assert table.restore_header(saved)
    assert not table.restore_header(saved.replace(b"updated", b"changed", 1))
    assert not table.restore_header(kit.window.positions.table.save_header())


def test_closing_a_position_prepares_the_ticket(qtbot: QtBot, kit: WindowKit) -> None:
    kit.play()
    kit.window.positions.table.select_key("ethusdt-15m-1b7e55d2\nETH/USDT")
    with qtbot.waitSignal(kit.window.market_requested) as asked:
        qtbot.mouseClick(kit.window.positions.close_position, Qt.MouseButton.LeftButton)
    assert asked.args == ["ETH/USDT", "1m"]
    assert kit.window.ticket.deed.deed() == "SELL 0.5500 ETH @ market price (PRACTICE)"
    assert kit.trading.calls == []


def test_rows_copy_as_machine_readable_text(kit: WindowKit) -> None:
    kit.play()
    table = kit.window.positions.table
    table.select_key("btcusdt-1h-9f41c07b\nBTC/USDT")
    table.copy_selection()
    header, row = QApplication.clipboard().text().split("\n")
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert cells["Symbol"] == "BTC/USDT"
    assert float(cells["Entry price"]) == 59642.16
    assert float(cells["Open PnL"]) == pytest.approx(131.55, abs=0.01)


def test_language_changes_everything_live(kit: WindowKit) -> None:
    kit.play()
    window = kit.window
    window.actions_[ActionId.LANGUAGE_KO].trigger()
    assert kit.language.language is Language.KOREAN
    assert kit.settings.get(LANGUAGE) is LanguageChoice.KOREAN
    assert window.windowTitle().startswith("연습")
    assert window.layouts.dock(DockName.ORDERS).windowTitle() == "주문"
    assert window.ticket.form.buy.text() == "▲ 매수"
    assert window.top_bar.kill_switch.kill.text() == "긴급 정지"
    assert window.actions_[ActionId.QUIT].text() == "종료"
    window.actions_[ActionId.LANGUAGE_EN].trigger()
    assert window.ticket.form.buy.text() == "▲ Buy"


def test_theme_changes_everything_live(kit: WindowKit) -> None:
    kit.play()
    before = kit.window.grab().toImage().pixelColor(5, 200)
    kit.window.actions_[ActionId.THEME_LIGHT].trigger()
    assert kit.settings.get(THEME) is ThemeChoice.LIGHT
    after = kit.window.grab().toImage().pixelColor(5, 200)
    assert after.lightness() > before.lightness() + 100
    kit.window.actions_[ActionId.THEME_DARK].trigger()


def test_layout_survives_a_restart_and_another_language(
    qtbot: QtBot, qapp: QApplication, kit: WindowKit, tmp_path: Path
) -> None:
    kit.window.apply_layout(Preset.TRAINING)
    state = kit.window.layouts.save()
    kit.window.actions_[ActionId.LANGUAGE_KO].trigger()
    assert kit.window.restoreState(state, STATE_VERSION)
    kit.window.orders.table.view.setColumnWidth(0, 222)
    kit.window.memory.save()
    assert kit.settings.get(LAYOUT_PRESET) == "training"
    other = WindowKit(qapp, tmp_path)
    other.window.memory.restore()
    assert other.window.layouts.preset is Preset.TRAINING
    assert other.window.actions_[ActionId.LAYOUT_TRAINING].isChecked()
    assert other.window.orders.table.view.columnWidth(0) == 222
    other.close()


def test_a_broken_layout_falls_back_to_the_preset(kit: WindowKit) -> None:
    assert not kit.window.layouts.restore(Preset.TRADING, {Preset.TRADING: b"nonsense"})
    assert kit.window.layouts.dock(DockName.TICKET).isVisible()


def test_a_preset_comes_back_as_it_was_left(qapp: QApplication, kit: WindowKit, tmp_path: Path) -> None:
    layouts, actions = kit.window.layouts, kit.window.actions_
    log = layouts.dock(DockName.LOG)
    log.setFloating(True)
    actions[ActionId.LAYOUT_TRADING].trigger()  # the present one: nothing is lost
    assert log.isFloating()
    actions[ActionId.LAYOUT_TRAINING].trigger()
    assert not log.isFloating()
    layouts.dock(DockName.FILLS).hide()
    actions[ActionId.LAYOUT_TRADING].trigger()
    assert log.isFloating()
    assert not layouts.dock(DockName.FILLS).isHidden()
    kit.window.memory.save()
    other = WindowKit(qapp, tmp_path)
    other.window.show()
    other.window.memory.restore()
    assert other.window.layouts.dock(DockName.LOG).isFloating()
    other.window.actions_[ActionId.LAYOUT_TRAINING].trigger()
    assert other.window.layouts.dock(DockName.FILLS).isHidden()
    other.window.actions_[ActionId.LAYOUT_RESET].trigger()
    assert not other.window.layouts.dock(DockName.FILLS).isHidden()
    other.window.actions_[ActionId.LAYOUT_TRADING].trigger()
    assert other.window.layouts.dock(DockName.LOG).isFloating()  # only the present one was reset
    other.close()


def test_what_was_arranged_by_hand_survives_a_crash(
    qtbot: QtBot, qapp: QApplication, kit: WindowKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, settings = kit.window, kit.settings
    window.memory._quiet.setInterval(20)
    window.orders.table.view.setColumnWidth(0, 111)
    window.resize(1_100, 700)
    qtbot.wait(60)
    assert settings.get(WINDOW_GEOMETRY) == b""  # before the panels stand, nothing is anybody's wish
    saved: list[int] = []
    monkeypatch.setattr(window.memory, "save", lambda save=window.memory.save: (saved.append(1), save()))
    window.memory.watch()
    for width in range(200, 223):
        window.orders.table.view.setColumnWidth(0, width)
    window.layouts.dock(DockName.LOG).setFloating(True)
    qtbot.waitUntil(lambda: bool(saved))
    qtbot.wait(60)
    assert len(saved) <= 2  # many changes, one writing (a panel may settle a moment later)
    other = WindowKit(qapp, tmp_path)  # the first one never closed
    other.window.show()
    other.window.memory.restore()
    assert other.window.orders.table.view.columnWidth(0) == 222
    assert other.window.layouts.dock(DockName.LOG).isFloating()
    other.close()
    saved.clear()
    window.hide()
    window.orders.table.view.setColumnWidth(0, 99)
    qtbot.wait(60)
    assert saved == []


def test_panels_built_later_get_their_place(kit: WindowKit) -> None:
    chart, book = QWidget(), QWidget()
    kit.window.attach_dock("chart", chart)
    kit.window.attach_dock("order_book", book)
    kit.window.attach_dock("training", QWidget())
    docks = {name: kit.window.layouts.dock(name) for name in DockName}
    assert all(dock is not None for dock in docks.values())
    assert {f"dock_{name.value}" for name in DockName} == {dock.objectName() for dock in docks.values()}
    assert chart.isVisible()
    assert book.isVisible()
    names = {action.text() for action in kit.window.layouts.toggles()}
    assert {"Chart", "Order book", "Training", "Orders"} <= names


def test_notices_toast_without_taking_the_focus(qtbot: QtBot, kit: WindowKit) -> None:
    window = kit.window
    window.activateWindow()
    window.ticket.form.quantity.edit.setFocus()
    qtbot.waitUntil(window.ticket.form.quantity.edit.hasFocus)
    for _ in range(3):
        window.show_notice(Notice(Severity.ERROR, "Broken", "The socket closed."))
    assert len(window.toasts.toasts) == 1
    for number in range(5):
        window.show_notice(Notice(Severity.INFO, f"Notice {number}"))
    assert len(window.toasts.toasts) == 3
    assert window.ticket.form.quantity.edit.hasFocus()
    window.refresh_now()
    assert window.notifications.table.proxy.rowCount() == 6
    qtbot.mouseClick(window.toasts.toasts[-1], Qt.MouseButton.LeftButton)
    assert len(window.toasts.toasts) == 2
    qtbot.mouseClick(window.notifications.problems_only, Qt.MouseButton.LeftButton)
    assert window.notifications.table.proxy.rowCount() == 1


def test_log_filter_search_and_pause(qtbot: QtBot, kit: WindowKit) -> None:
    window, log = kit.window, kit.window.log
    window.layouts.show(DockName.LOG)
    window.add_log(10, "feed", "detail")
    window.add_log(20, "feed", "connected")
    window.add_log(40, "orders", "rejected")
    window.refresh_now()
    assert log.table.proxy.rowCount() == 2
    log.level.setCurrentIndex(0)
    assert log.table.proxy.rowCount() == 3
    qtbot.keyClicks(log.search, "reject")
    assert log.table.proxy.rowCount() == 1
    log.search.clear()
    qtbot.mouseClick(log.pause, Qt.MouseButton.LeftButton)
    window.add_log(20, "feed", "later")
    window.refresh_now()
    assert log.table.proxy.rowCount() == 3
    qtbot.mouseClick(log.pause, Qt.MouseButton.LeftButton)
    window.refresh_now()
    assert log.table.proxy.rowCount() == 4


def test_errors_are_coalesced(kit: WindowKit) -> None:
    window = kit.window
    for _ in range(14):
        window.show_error("The disk is full.", "Free some space.", "OSError: 28")
    window.show_error("The key was refused.", "Check it.", "")
    error = window.error_dialog
    assert error.isVisible()
    assert error.message.text() == "The disk is full."
    assert error.count.text() == "×14  1 more in the details"
    assert "The key was refused." in error.text()


def test_palette_finds_actions_markets_and_strategies(qtbot: QtBot, kit: WindowKit) -> None:
    kit.play()
    window = kit.window
    window.activateWindow()
    window.ticket.form.quantity.edit.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    palette = window.palette_
    assert palette.isVisible()
    qtbot.keyClicks(palette.search, "eth/u")
    with qtbot.waitSignal(window.market_requested) as asked:
        qtbot.keyClick(palette.search, Qt.Key.Key_Return)
    assert asked.args == ["ETH/USDT", "1m"]
    assert not palette.isVisible()
    window.palette_.open()
    qtbot.keyClicks(palette.search, "solana")
    qtbot.keyClick(palette.search, Qt.Key.Key_Return)
    assert [s.title for s in window.strategies.table.selected()] == ["Solana swing"]
    window.palette_.open()
    qtbot.keyClicks(palette.search, "train a mod")
    with qtbot.waitSignal(window.train_requested):
        qtbot.keyClick(palette.search, Qt.Key.Key_Return)
    window.palette_.open()
    qtbot.keyClick(palette.search, Qt.Key.Key_Escape)
    assert not palette.isVisible()


def test_the_palette_begins_with_something_harmless(qtbot: QtBot, kit: WindowKit) -> None:
    kit.play()
    entries = [entry.key for entry in palette_entries(kit.window.actions_, kit.window.models)]
    names = ("quit", "cancel_all", "kill", "kill_flatten", "rearm", "new_account", "mode_practice", "mode_paper")
    grave = [f"action:{name}" for name in names]
    assert entries[-len(grave) :] == grave
    assert "action:palette" not in entries
    assert set(entries) >= {"market:BTC/USDT", "strategy:btcusdt-1h-9f41c07b", "action:about"}
    kit.window.palette_.open()
    qtbot.keyClick(kit.window.palette_.search, Qt.Key.Key_Return)
    kit.window.activateWindow()
    qtbot.waitUntil(lambda: kit.window.ticket.form.quantity.edit.hasFocus())
    assert kit.trading.calls == []


def test_market_prices_keep_the_status_alive(kit: WindowKit) -> None:
    kit.play()
    kit.window.on_ticker(replace(sample_tickers(NOW_NS)[0], last=60_000.0))
    kit.wait(2.5)
    kit.window.status.tick(kit.clock.now_ns())
    assert kit.window.status.indicators["tick"].text() == "2.5\u00a0s"


def test_closing_with_nothing_at_stake_asks_nothing(qtbot: QtBot, kit: WindowKit) -> None:
    with qtbot.waitSignal(kit.window.close_requested):
        assert not kit.window.close()
    assert kit.window.isVisible()


def test_closing_lists_what_is_at_stake(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> None:
    kit = WindowKit(qapp, tmp_path, close_warnings=lambda: ["Training is at epoch 14."], tray_available=lambda: True)
    kit.window.show()
    kit.play()
    left: list[str] = []
    kit.window.close_requested.connect(lambda: left.append("quit"))
    kit.window.tray_requested.connect(lambda: left.append("tray"))
    kit.window.close()
    lines = [label.text() for label in dialog(kit, "close_dialog").findChildren(QLabel, "stake")]
    assert lines == [
        "•  2 strategies (Bitcoin hourly, Ether quarter-hourly) stop with the program and wait at the next start"
        " until you start them.",
        "•  2 positions (0.0842 BTC/USDT, 0.55 ETH/USDT) stay open, and nobody watches over them meanwhile.",
        "•  3 orders (▲ Buy 0.01 BTC/USDT, ▲ Buy 0.25 ETH/USDT, ▼ Sell 0.02 BTC/USDT) stay at the exchange and may"
        " still be filled.",
        "•  Training is at epoch 14.",
    ]
    press(qtbot, kit, "close_dialog", "stay")
    assert left == []
    for number in range(10, 16):
        kit.window.on_executor_event(OrderUpdated(sample_order(number, NOW_NS)))
    kit.window.refresh_now()
    assert sum("and 5 more) stay at the exchange" in line for line in kit.window.stakes()) == 1
    for state in (OrderState.UNKNOWN, OrderState.SUBMITTED):
        kit.window.on_executor_event(OrderUpdated(replace(sample_order(10, NOW_NS), state=state)))
        kit.window.refresh_now()
        assert sum("has no answer yet" in line for line in kit.window.stakes()) == 1
        assert sum("and 4 more) stay at the exchange" in line for line in kit.window.stakes()) == 1
    qtbot.waitUntil(lambda: not kit.window.findChildren(ConfirmDialog))
    kit.window.close()
    press(qtbot, kit, "close_dialog", "tray")
    assert left == ["tray"]
    assert not kit.window.isVisible()
    kit.window.show()
    qtbot.waitUntil(lambda: not kit.window.findChildren(ConfirmDialog))
    kit.window.close()
    press(qtbot, kit, "close_dialog", "quit")
    assert left == ["tray", "quit"]
    kit.close()


def test_the_tray_is_never_used_where_there_is_none(qtbot: QtBot, kit: WindowKit) -> None:
    kit.settings.set(CLOSE_SETTING, CloseAction.TRAY)
    kit.window.on_executor_event(StrategyStatus("s", "S", "BTC/USDT", "1h", "", StrategyState.RUNNING))
    kit.window.close()
    assert kit.window.isVisible()
    assert dialog(kit, "close_dialog").findChild(QPushButton, "tray") is None


def test_models_reach_the_strategy_form(kit: WindowKit) -> None:
    kit.window.set_models((ModelChoice("m", "BTC/USDT", "1h", "fine", NOW_NS),))
    assert kit.window.strategies.add.isEnabled()


HOURLY = "btcusdt-1h-9f41c07b"


def change(kit: WindowKit, ownership: Ownership, paused: tuple[str, ...] = (), symbol: str = "BTC/USDT") -> None:
    kit.window.on_executor_event(OwnershipChanged(symbol, ownership, "person", paused))
    kit.window.refresh_now()


def answer(qtbot: QtBot, kit: WindowKit, name: str, button: str) -> None:
    """Press a button and wait until the dialog is gone: the next one may have the same name."""
    press(qtbot, kit, name, button)
    qtbot.waitUntil(lambda: kit.window.findChild(ConfirmDialog, name) is None)


def menu(kit: WindowKit, key: str) -> dict[str, QAction]:
    """The row menu's actions by what they say."""
    assert kit.window.positions.table.select_key(key)
    return {action.text(): action for action in kit.window.positions._menu()}


def test_taking_over_from_the_ticket_asks_and_says_what_it_means(qtbot: QtBot, kit: WindowKit) -> None:
    kit.play()
    qtbot.mouseClick(kit.window.ticket.head.take_over, Qt.MouseButton.LeftButton)
    asked = dialog(kit, "take_over_dialog")
    words = " ".join(label.text() for label in asked.findChildren(QLabel))
    assert "working orders are cancelled" in words
    assert "Bitcoin hourly" in words
    assert asked.findChild(QCheckBox, "move").text() == "Move to me at what it cost: Bitcoin hourly: 0.0842 BTC"
    kit.window.ownership.ask_take_over("ETH/USDT")  # one question at a time
    assert kit.window.findChild(QWidget, "take_over_dialog") is asked
    answer(qtbot, kit, "take_over_dialog", "cancel")
    assert kit.trading.named("take_over") == []
    qtbot.mouseClick(kit.window.ticket.head.take_over, Qt.MouseButton.LeftButton)
    answer(qtbot, kit, "take_over_dialog", "yes")
    assert kit.trading.named("take_over") == [("BTC/USDT", False)]
    assert kit.trading.named("stop_strategy") == []


def test_the_position_moves_only_where_it_was_ticked(qtbot: QtBot, kit: WindowKit) -> None:
    kit.play()
    menu(kit, f"{HOURLY}\nBTC/USDT")["Take over…"].trigger()
    dialog(kit, "take_over_dialog").findChild(QCheckBox, "move").setChecked(True)
    answer(qtbot, kit, "take_over_dialog", "yes")
    assert kit.trading.named("take_over") == [("BTC/USDT", True)]


def test_handing_back_asks_and_offers_the_position_where_the_strategy_has_none(qtbot: QtBot, kit: WindowKit) -> None:
    kit.play()
    change(kit, Ownership.MANUAL, (HOURLY,))
    assert kit.window.ticket.head.manual.isVisible()
    qtbot.mouseClick(kit.window.ticket.head.take_over, Qt.MouseButton.LeftButton)
    assert dialog(kit, "handback_dialog").findChild(QCheckBox, "move") is None  # the person holds nothing
    answer(qtbot, kit, "handback_dialog", "yes")
    assert kit.trading.named("hand_back") == [("BTC/USDT", Ownership.SHARED, "")]
    mine = Position("binance", "BTC/USDT", "manual", Decimal("0.0842"), Decimal(60_000))
    for position in (mine, Position("binance", "BTC/USDT", HOURLY)):
        kit.window.on_executor_event(PositionChanged(position, Decimal(61_000)))
    kit.window.refresh_now()
    menu(kit, "manual\nBTC/USDT")["Hand back…"].trigger()
    asked = dialog(kit, "handback_dialog")
    assert asked.findChild(QCheckBox, "move").isChecked()
    answer(qtbot, kit, "handback_dialog", "yes")
    assert kit.trading.named("hand_back")[-1] == ("BTC/USDT", Ownership.SHARED, HOURLY)
    change(kit, Ownership.MANUAL)
    kit.window.ownership.ask_hand_back("BTC/USDT")
    assert "None starts by itself" in " ".join(x.text() for x in dialog(kit, "handback_dialog").findChildren(QLabel))
    answer(qtbot, kit, "handback_dialog", "cancel")
    assert len(kit.trading.named("hand_back")) == 2


def test_a_market_is_left_to_its_strategies_and_shared_again(qtbot: QtBot, kit: WindowKit) -> None:
    kit.play()
    key = f"{HOURLY}\nBTC/USDT"
    menu(kit, key)["Leave to the strategies…"].trigger()
    answer(qtbot, kit, "leave_dialog", "yes")
    assert kit.trading.named("hand_back") == [("BTC/USDT", Ownership.BOT, "")]
    change(kit, Ownership.BOT)
    assert set(menu(kit, key)) == {
        "Close position…",
        "Protect…",
        "Show this market",
        "Take over…",
        "Share with the strategies…",
    }
    menu(kit, key)["Share with the strategies…"].trigger()
    answer(qtbot, kit, "share_dialog", "yes")
    assert kit.trading.named("hand_back")[-1] == ("BTC/USDT", Ownership.SHARED, "")
    change(kit, Ownership.MANUAL)
    assert set(menu(kit, key)) == {"Close position…", "Protect…", "Show this market", "Hand back…"}
    kit.window.on_executor_event(AccountOpened("practice:a"))
    kit.window.on_executor_event(AccountOpened("practice:b"))
    assert kit.window.models.ownerships.of("BTC/USDT") is Ownership.SHARED


def test_a_new_practice_account_is_asked_for_with_its_balance(qtbot: QtBot, kit: WindowKit) -> None:
    kit.window.actions_[ActionId.NEW_ACCOUNT].trigger()
    asked = dialog(kit, "new_account_dialog")
    assert isinstance(asked, NewAccountDialog)
    begin = asked.findChild(QPushButton, "begin")
    for wrong in ("", "0", "-1", "0,001", "2000000000"):
        asked.balance.edit.setText(wrong)
        assert not begin.isEnabled(), wrong
    asked.balance.edit.setText("2500.50")
    qtbot.mouseClick(begin, Qt.MouseButton.LeftButton)
    assert kit.trading.named("new_account") == [(Decimal("2500.50"),)]
    kit.window.actions_[ActionId.NEW_ACCOUNT].trigger()
    qtbot.keyClick(dialog(kit, "new_account_dialog"), Qt.Key.Key_Escape)
    assert len(kit.trading.named("new_account")) == 1


def test_the_mode_is_asked_for_and_shown_as_it_is(qtbot: QtBot, kit: WindowKit) -> None:
    def link(name: str, mode: TradingMode) -> ConnectionStatus:
        return ConnectionStatus("binance", name, mode, ConnectionState.ONLINE)

    window = kit.window
    practice, paper = window.actions_[ActionId.MODE_PRACTICE], window.actions_[ActionId.MODE_PAPER]
    window.on_executor_event(link("orders", TradingMode.PRACTICE))
    assert (practice.isChecked(), paper.isChecked()) == (True, False)
    practice.trigger()  # it is so already: nothing to ask
    paper.trigger()
    assert practice.isChecked(), "a wish is no fact"
    press(qtbot, kit, "mode_dialog", "cancel")
    assert kit.trading.named("switch_mode") == []
    qtbot.waitUntil(lambda: kit.window.findChild(ConfirmDialog, "mode_dialog") is None)
    paper.trigger()
    press(qtbot, kit, "mode_dialog", "mode")
    assert kit.trading.named("switch_mode") == [(TradingMode.PAPER,)]
    window.on_connection(link("market", TradingMode.PAPER))
    assert practice.isChecked(), "the executor's link says it, not the market's"
    window.on_executor_event(link("orders", TradingMode.PAPER))
    assert paper.isChecked()
    assert window.top_bar.badge.mode is TradingMode.PAPER


def test_the_books_of_another_account_leave_the_window(kit: WindowKit) -> None:
    window = kit.window
    window.on_executor_event(AccountOpened("practice:a"))
    kit.play()
    window.on_executor_event(AccountOpened("practice:a"))  # the same again after a reconnection
    assert window.fills.table.proxy.rowCount() == 4
    window.on_executor_event(AccountOpened("practice:b"))
    window.refresh_now()
    for panel in (window.orders, window.positions, window.fills, window.strategies):
        assert panel.table.proxy.rowCount() == 0
    assert window.models.profit() is None
    assert window.models.equity("USDT") is None
    assert window.top_bar.findChild(QLabel, "account_equity").text() == MISSING


def test_a_mode_whose_venue_cannot_be_reached_shows_nothing_of_the_mode_before(kit: WindowKit) -> None:
    window = kit.window
    window.on_executor_event(AccountOpened("practice:a"))
    kit.play()
    assert window.models.equity("USDT") is not None
    offline = ConnectionStatus("binance", "orders", TradingMode.PAPER, ConnectionState.OFFLINE, "no connection")
    window.on_executor_event(offline)
    window.refresh_now()
    for panel in (window.orders, window.positions, window.fills):
        assert panel.table.proxy.rowCount() == 0
    assert window.top_bar.findChild(QLabel, "account_equity").text() == MISSING
    context = window.models.ticket_context("BTC/USDT")
    assert (context.free_quote, context.equity, context.last, context.bid) == (None, None, None, None)
    assert window.models.positions.newest_price("BTC/USDT") is None


def test_no_stray_key_reaches_the_kill_switch(qtbot: QtBot, kit: WindowKit) -> None:
    kit.window.activateWindow()
    kill = kit.window.top_bar.kill_switch
    for button in (kill.kill, kill.more, kill.rearm):
        assert button.focusPolicy() is Qt.FocusPolicy.NoFocus
        assert not button.hasFocus()
    focused = kit.window.focusWidget()
    qtbot.keyClick(focused if focused is not None else kit.window, Qt.Key.Key_Space)
    assert kit.trading.calls == []


def test_one_halt_is_one_toast(kit: WindowKit) -> None:
    kit.window.on_executor_event(TradingStateChanged(TradingState.HALTED, "stopped with STOP"))
    kit.window.on_executor_event(TradingStateChanged(TradingState.HALTED, "stopped with STOP", "reports/kill.json"))
    (toast,) = kit.window.toasts.toasts
    assert "reports/kill.json" in toast.row.notice.text
    kit.window.show_notice(Notice(Severity.WARNING, "Stop trading", "1 order cancelled, none is open."))
    kit.window.show_notice(Notice(Severity.WARNING, "Stop trading", "0 orders cancelled, none is open."))
    assert len(kit.window.toasts.toasts) == 3  # a second press does not hide what the first one did


def test_a_pause_of_the_window_is_forgotten_after_a_minute(kit: WindowKit) -> None:
    status = kit.window.status
    assert status.indicators["market"].text() == "Market data: connecting"  # nobody has said that it failed
    status.add_stall(579.0)
    for _ in range(59):
        status.add_stall(2.0)
    status.tick(NOW_NS)
    assert status.indicators["stall"].text() == "579\u00a0ms"
    status.add_stall(2.0)
    status.tick(NOW_NS)
    assert status.indicators["stall"].text() == "2\u00a0ms"


def test_sentences_of_the_core_follow_the_language(kit: WindowKit) -> None:
    kit.play()
    window = kit.window
    window.on_executor_event(Notice(Severity.ERROR, "The venue refuses this key", "no connection"))
    window.show_error("There is no model m1.", "Update the program.")
    window.on_executor_event(TradingStateChanged(TradingState.HALTED, "stopped with STOP"))
    window.refresh_now()

    def shown() -> tuple[str, ...]:
        orders, strategies, notices = window.models.orders, window.models.strategies, window.models.notifications
        return (
            str(orders.index(5, orders.column_index("message")).data()),
            str(strategies.index(3, strategies.column_index("detail")).data()),
            str(notices.index(notices.rowCount() - 2, notices.column_index("title")).data()),
            *(str(label.text()) for toast in window.toasts.toasts[-2:-1] for label in toast.findChildren(QLabel)[1:]),
            window.error_dialog.message.text(),
            window.error_dialog.remedy.text(),
            window.top_bar.kill_switch.halted.toolTip(),
        )

    english = shown()
    kit.language.set_language(Language.KOREAN)
    assert shown() == (
        "주문 금액이 한도를 넘습니다 (주문 152500.00, 한도 5000)",
        "모델의 종목과 봉 간격이 다릅니다: 학습 ETH/USDT 15m, 전략 BTC/USDT 5m.",
        "거래소가 이 키를 거부합니다",
        "거래소가 이 키를 거부합니다",
        "연결되지 않음",
        "모델이 없습니다: m1.",
        "프로그램을 업데이트하세요.",
        "긴급 정지",
    )
    kit.language.set_language(Language.ENGLISH)
    assert shown() == english
    window.error_dialog.close()
